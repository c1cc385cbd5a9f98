"""Choosing a counterfactual map: held-out rows with judges of their own, which took no part in its training."""

import numpy as np
import torch

from ._counterfactual_rows import partners_of
from ._readers import Judges
from ._revision import Revision

# The expected flip rate that is enough, and the gains tried on the held-out rows, up to which multiple of the distance
# of a shift of the group means.
ENOUGH_FLIPS = 0.95
GAINS = (0.6, 0.8, 1.0, 1.15, 1.3, 1.5, 1.7, 2.0, 2.4)
MOST_DISTANCE = 1.4
# A table's rows are revised for every gain tried: fewer gains, fewer rows, and no limit of the distance.
TABLE_GAINS = (0.8, 1.2, 1.7)
MOST_REVISED = 1500
# Where an attribute is not linear a shift of the means may be next to nothing, less than the first share of the rows'
# spread: a move may then be as long as the second one.
SHORT_SHIFT, LONGEST_MOVE = 0.15, 0.6


class Bench:
    """Held-out rows with judges of their own, on which a map's gains are chosen and maps are compared."""

    def __init__(self, X, codes, X_training, codes_training, variables, ruler, rounding, rng):
        self.rounding, self.ruler = rounding, ruler
        self.X, self.codes, self.X_training, self.codes_training = X, codes, X_training, codes_training
        self.variables = variables
        # Each half is judged by judges of the other one: of their own rows they remember what they were.
        self.half = rng.permutation(len(X)) % 2
        self.judges = [Judges(X[self.half != k], variables, codes[self.half != k], rng) for k in range(2)]
        self.wanted = [_wanted(variable, code, rng) for variable, code in zip(variables, codes.T, strict=True)]
        self.partners = partners_of(X / ruler.scale, variables, codes, rng)
        self.spread = self._length(X - X.mean(0))

    def best_of(self, found, k, candidates):
        """The best candidate for the ``k``-th variable, every one with its best gain."""
        for candidate in candidates:
            self._calibrate(found, k, candidate)
        return max(candidates, key=lambda candidate: candidate.scores["quality"])

    def missed(self, found, k, candidate):
        """The part of the way to their partners that the rows miss after the candidate's move."""
        name, known = self.variables[k].name, self._asked(k)
        if name not in self.partners:
            return 0.0
        X, own, wanted = self.X[known], self.codes[known, k], self.wanted[k][known]
        moved = self._moved(found, candidate, X, name, own, wanted)
        way = self._to_partner(name, X, known, wanted)
        return min(1.0, self._to_partner(name, moved, known, wanted) / max(way, 1e-12))

    def _calibrate(self, found, k, candidate):
        """Choose the gain of a candidate and note how good it then is.

        Where rows have partners, the gain that comes nearest to them. Else the least gain that flips enough within
        the distance allowed, and where none does, that of the highest product of flip rate and consistency.
        """
        variable = self.variables[k]
        name, known = variable.name, self._asked(k)
        own, wanted, X = self.codes[known, k], self.wanted[k][known], self.X[known]
        candidate.scores = {"quality": 0.0}
        if not len(X):
            return
        shift = self._mean_shift(k, own, wanted)
        limit = MOST_DISTANCE * shift if shift > SHORT_SHIFT * self.spread else LONGEST_MOVE * self.spread
        before = {other.name: self._verdicts(X, other.name, known) for other in self.variables}
        gains = (1.0,) if candidate.kind == "partners" else GAINS if self.rounding is None else TABLE_GAINS
        tried = []
        for gain in gains:
            candidate.gain = gain
            moved = self._moved(found, candidate, X, name, own, wanted)
            score = {"gain": gain, "distance": self._length(moved - X) / self.spread}
            score["flip_rate"] = self._expected_flips(variable, moved, known, wanted)
            kept = [
                _agreement(other, self._verdicts(moved, other.name, known), before[other.name])
                for other in self.variables
                if other is not variable
            ]
            score["consistency"] = float(np.mean(kept or [1.0]))
            score["quality"] = score["flip_rate"] * score["consistency"]
            if name in self.partners:
                score["to_partner"] = self._to_partner(name, moved, known, wanted) / self.spread
                score["quality"] = 1 - score["to_partner"]
            if self.rounding is not None or score["distance"] * self.spread <= limit or not tried:
                tried.append(score)
        best = max(tried, key=lambda score: score["quality"])
        enough = [score for score in tried if score["flip_rate"] >= ENOUGH_FLIPS]
        if enough and name not in self.partners:
            best = enough[0]
        candidate.gain, candidate.scores = best.pop("gain"), best

    def _moved(self, found, candidate, X, name, own, wanted):
        """Rows as a user gets them: those of a table rounded and revised."""
        moved = X.copy()
        moved[:, found.movable] = candidate.move(X[:, found.movable], X[:, found.context], name, own, wanted)
        if self.rounding is None:
            return moved
        with torch.inference_mode():
            moved = self.rounding(torch.as_tensor(moved, dtype=torch.float32)).double().numpy()
        return Revision(found.panel, self.rounding.columns).revise(X, [moved], {name: wanted})

    def _verdicts(self, X, name, known):
        """Codes that the judges tell of ``X``, the rows where ``known``: shape (n_judges, n)."""
        half = self.half[known]
        told = np.empty((len(self.judges[0].fitted[name]), len(X)))
        for k, judges in enumerate(self.judges):
            if (half == k).any():
                told[:, half == k] = judges.verdicts(X[half == k], name)
        return told

    def _expected_flips(self, variable, X, known, wanted):
        """Share of rows that flip, the mean of the judges.

        Of the linear ones the probability counts, which knows how noisy a variable is; of the boosted ones the
        verdict, since on few rows their probabilities know little.
        """
        if variable.kind == "continuous":
            return _agreement(variable, self._verdicts(X, variable.name, known), wanted)
        half = self.half[known]
        told = [
            judges.flipped(X[half == k], variable.name, wanted[half == k])
            for k, judges in enumerate(self.judges)
            if (half == k).any()
        ]
        return float(np.concatenate(told, axis=1).mean())

    def _asked(self, k):
        """Which rows are moved to other values of the ``k``-th variable."""
        known = ~np.isnan(self.codes[:, k])
        return known if self.rounding is None else known & (np.cumsum(known) <= MOST_REVISED)

    def _to_partner(self, name, moved, known, wanted):
        """How far the rows ``moved``, those where ``known``, are from their partners in the groups ``wanted``."""
        partner = self.partners[name][0][known, wanted.astype(int)]
        pairs = partner >= 0
        return self._length(moved[pairs] - self.X[partner[pairs]]) if pairs.any() else 0.0

    def _length(self, step):
        return float(np.sqrt((self.ruler.measured(step) ** 2).sum(1).mean()))

    def _mean_shift(self, k, own, wanted):
        """Root mean square length of the shift of the group means."""
        variable, code = self.variables[k], self.codes_training[:, k]
        known = ~np.isnan(code)
        X, code = self.X_training[known], code[known]
        if variable.kind == "continuous":
            centred = code - code.mean()
            return self._length((wanted - own)[:, None] * (centred @ X / (centred @ centred)))
        overall = X.mean(0)
        means = [X[code == g].mean(0) if (code == g).any() else overall for g in range(variable.n_groups)]
        return self._length(np.stack(means)[wanted.astype(int)] - np.stack(means)[own.astype(int)])


def _wanted(variable, code, rng):
    """Another code for every row: a random other group, or another row's number; NaN where the own one is missing."""
    if variable.kind == "continuous":
        known = code[~np.isnan(code)]
        return np.where(np.isnan(code), np.nan, rng.choice(known, len(code)) if len(known) else code)
    return (code + rng.randint(1, variable.n_groups, size=len(code))) % variable.n_groups


def _agreement(variable, told, wanted):
    """Share of rows that the judges read as wanted, mean of the judges; of numbers one less the mean error in sd."""
    if variable.kind == "continuous":
        return float(np.clip(1 - np.abs(told - wanted).mean(), 0, 1))
    return float((told == wanted).mean())
