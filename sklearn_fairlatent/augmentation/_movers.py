"""What moves rows from group to group: hyperplanes, or the sensitive blocks of a fair latent."""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array

from .._encoding import as_frame, column_names, frame_like
from ._flip import latent_flip
from ._given import FLOATS
from ._rows import is_number


class LinearMover:
    """Flips by hyperplanes that logistic regressions find in the rows.

    Between two of several groups the hyperplane is where their logits are equal. Moving one attribute holds the label
    and all other attributes.

    Parameters
    ----------
    step : float
        Half of the factor of :func:`latent_flip`: 1 mirrors, 0.5 projects.
    hold_target : bool
    max_stretch, on_parallel
        As in :func:`latent_flip`.
    """

    def __init__(self, step, hold_target, max_stretch, on_parallel):
        self.step, self.hold_target = step, hold_target
        self.max_stretch, self.on_parallel = max_stretch, on_parallel

    def fit(self, X, label, codes):
        """Find the directions.

        Parameters
        ----------
        X : array or frame of numbers of shape (n, n_latent)
        label : ndarray of int of shape (n,)
        codes : dict of str to ndarray of shape (n,)
            Codes of the attributes, NaN where missing.
        """
        if as_frame(X) is None and np.ndim(X) != 2:
            raise ValueError(
                f"X has the shape {np.shape(X)}: the linear flip takes embeddings of two dimensions. Pass a "
                "transformer with an encoder and a decoder, or a generator."
            )
        frame = as_frame(X)
        words = [name for name, kind in frame.schema.items() if not is_number(kind)] if frame is not None else []
        if words:
            raise ValueError(
                f"X: the column(s) {words} hold no numbers, which the linear flip takes. Encode them before, or pass "
                "transformer=FairLatentTransformer(encoder=TabularCodec())."
            )
        X = _numbers(X)
        self.label = _Logits(X, label)
        self.logits = {name: _Logits(X, values) for name, values in codes.items()}
        return self

    def move(self, X, own, wanted):
        """Rows ``X`` moved from the codes ``own`` to the codes ``wanted``, both dicts by attribute."""
        given, X = X, np.array(_numbers(X))
        for name, logits in self.logits.items():
            held = [other.directions for key, other in self.logits.items() if key != name]
            if self.hold_target:
                held.append(self.label.directions)
            held = np.vstack([np.zeros((0, X.shape[1])), *held])
            pairs = np.column_stack([own[name], wanted[name]]).astype(int)
            for o, w in np.unique(pairs, axis=0):
                rows = (pairs == (o, w)).all(1)
                if o != w:
                    direction, intercept = logits.between(o, w)
                    bound = {"max_stretch": self.max_stretch, "on_parallel": self.on_parallel}
                    try:
                        X[rows] = latent_flip(
                            X[rows], direction, held, intercept=intercept, factor=2 * self.step, **bound
                        )
                    except ValueError as error:
                        raise ValueError(f"{name!r} cannot be flipped: {error}") from None
        if as_frame(given) is None:
            return X
        return frame_like(given, dict(zip(column_names(given), X.T, strict=True)), given)


class _Logits:
    """A logistic regression of codes on the columns of X: NaN where a code is missing."""

    def __init__(self, X, codes):
        known = ~np.isnan(codes.astype(np.float64))
        linear = LogisticRegression(max_iter=1000)
        model = make_pipeline(StandardScaler(), linear).fit(X[known], codes[known].astype(int))
        scaler = model[0]
        weights = linear.coef_ / scaler.scale_
        offsets = linear.intercept_ - weights @ scaler.mean_
        if len(linear.classes_) == 2:
            weights, offsets = np.vstack([np.zeros_like(weights), weights]), np.r_[0.0, offsets]
        self.weights, self.offsets, self.seen = weights, offsets, linear.classes_

    @property
    def directions(self):
        """What has to stay for all scores to stay: (n_seen - 1, n_latent)."""
        return self.weights[1:] - self.weights[:1]

    def between(self, own, wanted):
        """Normal and intercept of the hyperplane where two codes are equally likely, positive at the wanted one."""
        o, w = np.searchsorted(self.seen, [own, wanted])
        return self.weights[w] - self.weights[o], float(self.offsets[w] - self.offsets[o])


def _numbers(X):
    return check_array(X, dtype=FLOATS, input_name="X")


class TransformerMover:
    """Counterfactuals of a fitted transformer.

    Parameters
    ----------
    fair : FairLatentTransformer
    variables : list of Variable
        The attributes.
    step : float
    """

    def __init__(self, fair, variables, step):
        self.fair, self.variables, self.step = fair, variables, step

    def move(self, X, own, wanted):
        """Rows ``X`` moved from the codes ``own`` to the codes ``wanted``, both dicts by attribute."""
        A = pd.DataFrame({v.name: v.decode(own[v.name]) for v in self.variables}, index=getattr(X, "index", None))
        goal = {v.name: v.decode(wanted[v.name]) for v in self.variables}
        return self.fair.counterfactual(X, list(goal), goal, sensitive_features=A, step=self.step)
