"""Other ways to a counterfactual of an embedding, fitted on rows of known group: what ours is compared with."""

import numpy as np
from sklearn.covariance import OAS
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

# The closed form's shrinkage of the covariance, its mixture of the two metrics and the part of a row's own deviation
# that it keeps: the defaults with which it was proposed.
SHRINKAGE, METRIC, KEPT = 0.5, 0.5, 0.3


class MeanShift:
    """The difference of the two groups' means is added."""

    def fit(self, X, values, attribute):
        codes = values[attribute]
        self.means = {group: X[codes == group].mean(0) for group in np.unique(codes)}
        return self

    def move(self, X, own, wanted):
        return X + np.stack([self.means[w] - self.means[o] for o, w in zip(own, wanted, strict=True)])


class LinearFlip:
    """The hyperplane flip of Ramaswamy, Kim and Russakovsky (CVPR 2021): minus the attribute's score, the same others.

    Between two of several groups the score is the difference of their logits.
    """

    def fit(self, X, values, attribute):
        self.models = {}
        for name, codes in values.items():
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(X, codes)
            scaler, linear = model[0], model[-1]
            weights = linear.coef_ / scaler.scale_
            offsets = linear.intercept_ - weights @ scaler.mean_
            if len(linear.classes_) == 2:
                weights, offsets = np.vstack([0 * weights, weights]), np.r_[0, offsets]
            self.models[name] = linear.classes_, weights, offsets
        self.attribute = attribute
        held = [weights[1:] - weights[:1] for name, (_, weights, _) in self.models.items() if name != attribute]
        self.held = np.linalg.qr(np.vstack(held).T)[0] if held else np.zeros((X.shape[1], 0))
        return self

    def move(self, X, own, wanted):
        classes, weights, offsets = self.models[self.attribute]
        o, w = np.searchsorted(classes, own), np.searchsorted(classes, wanted)
        direction = weights[w] - weights[o]
        score = (X * direction).sum(1) + offsets[w] - offsets[o]
        free = direction - direction @ self.held @ self.held.T
        return X - (2 * score / (direction * free).sum(1))[:, None] * free


class ClosedForm:
    """Discriminant scores of all variables; the attribute's moves to the other group's mean, the others stay.

    The move is the least one in a mixture of the Euclidean and the Mahalanobis metric.
    """

    def fit(self, X, values, attribute):
        d = X.shape[1]
        self.attribute = attribute
        designs = {name: (v[:, None] == np.unique(v)[1:]).astype(float) for name, v in values.items()}
        design = np.column_stack([np.ones(len(X)), *designs.values()])
        within = X - design @ np.linalg.lstsq(design, X, rcond=None)[0]
        S = OAS(assume_centered=True).fit(within).covariance_
        spread = np.trace(S) / d * np.eye(d)
        shrunk = (1 - SHRINKAGE) * S + SHRINKAGE * spread
        scores, start = [], 0
        for name, v in values.items():
            means = np.stack([X[v == group].mean(0) for group in np.unique(v)])
            w = np.linalg.solve(shrunk, (means[1:] - means[:1]).T)
            scores.append(w / np.sqrt((w * (S @ w)).sum(0)))
            if name == attribute:
                own = slice(start, start + w.shape[1])
                self.groups, self.means = np.unique(v), means @ scores[-1]
            start += w.shape[1]
        C = np.column_stack(scores)
        M = METRIC * np.eye(d) / spread[0, 0] + (1 - METRIC) * np.linalg.inv(S + 1e-3 * spread)
        V = np.linalg.solve(M, C)
        V = V @ np.linalg.inv(C.T @ V)
        self.score, self.step = C[:, own], V[:, own]
        return self

    def move(self, X, own, wanted):
        o, w = np.searchsorted(self.groups, own), np.searchsorted(self.groups, wanted)
        z = X @ self.score
        goal = self.means[w] + KEPT * (z - self.means[o])
        return X + (goal - z) @ self.step.T


def random_move(X, moved, rng):
    """A move of every row as long as that to ``moved``, in a random direction."""
    direction = rng.normal(size=X.shape)
    lengths = np.linalg.norm((moved - X).reshape(len(X), -1), axis=1)
    return X + direction * (lengths / np.linalg.norm(direction, axis=1))[:, None]


PEERS = {"mean shift": MeanShift, "linear flip": LinearFlip, "closed form": ClosedForm}
