"""What probes read of one attribute: the rows and folds, the panel, and the influence of every row on its scores."""

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from .._exceptions import SmallGroupWarning

# A group with fewer rows than this a fold is left out: the error of an AUC of so few is not normal, and the strongest
# of many comparisons is always one of theirs (docs/design_notes.md, "Reading leakage").
ROWS_A_FOLD = 4
# An AUC, and its error, need as many.
FEWEST_RANKED = 2
# Training rows below which a network has none to spare for early stopping.
EARLY_STOPPING_ROWS = 400


def default_probes(continuous, n_train=None):
    """The panel: a linear model, a network and boosted trees.

    Parameters
    ----------
    continuous : bool
        Regressors instead of classifiers.
    n_train : int, default=None
        Rows that a probe is trained on; a network on few of them does not hold out some for early stopping.
    """
    network: dict[str, Any] = {"hidden_layer_sizes": (64, 64), "early_stopping": True, "max_iter": 100}
    if n_train is not None and n_train < EARLY_STOPPING_ROWS:
        network |= {"early_stopping": False, "max_iter": 50, "alpha": 1.0}
    if continuous:
        linear, net, trees = RidgeCV(np.logspace(-2, 4, 7)), MLPRegressor(**network), HistGradientBoostingRegressor()
    else:
        linear, net, trees = (
            LogisticRegression(max_iter=1000),
            MLPClassifier(**network),
            HistGradientBoostingClassifier(),
        )
    return {
        "linear": make_pipeline(StandardScaler(), linear),
        "network": make_pipeline(StandardScaler(), net),
        "boosting": trees,
    }


@dataclass
class Problem:
    """An attribute among the rows of one label: what the probes are to read, and what they read."""

    rows: np.ndarray  # positions in Z
    target: np.ndarray  # codes of the groups, or numbers
    names: list  # of the groups; empty if continuous
    folds: list
    label: Any
    clusters: np.ndarray | None
    left_out: tuple = ()
    scores: dict = field(default_factory=dict)

    @property
    def continuous(self):
        return not self.names

    def shuffled(self, rng):
        """The same with the attribute shuffled, between persons where it belongs to the person."""
        target = rng.permutation(self.target)
        if self.clusters is not None:
            first, member = np.unique(self.clusters, return_index=True, return_inverse=True)[1:]
            if (self.target[first][member] == self.target).all():
                target = rng.permutation(self.target[first])[member]
        return Problem(self.rows, target, self.names, self.folds, self.label, self.clusters)


class TooFewRowsError(ValueError):
    """Fewer than two groups of an attribute are large enough to be probed."""


def problems_of(name, values, continuous, within, groups, cv, seed):
    """The problems of one attribute, one for each label of ``within``."""
    missing = pd.isna(values)
    labels = [None] if within is None else pd.unique(within[~missing]).tolist()
    parts, left_out = [], set()
    for label in labels:
        rows = np.flatnonzero(~missing & (True if label is None else within == label))
        clusters = None if groups is None else groups[rows]
        if continuous:
            if len(rows) < 10 or np.ptp(values[rows].astype(np.float64)) == 0:
                raise ValueError(f"{name!r} is constant or has fewer than 10 known values{_among(label)}.")
            target, names = values[rows].astype(np.float64), []
        else:
            # Of persons with several rows the persons count.
            counted = pd.DataFrame({"group": values[rows], "row": rows if clusters is None else clusters}, dtype=object)
            sizes = counted.drop_duplicates()["group"].value_counts()
            least = ROWS_A_FOLD * (cv if isinstance(cv, (int, np.integer)) else 2)
            small = sizes.index[sizes < least].tolist()
            left_out.update(small)
            names = sorted(set(sizes.index) - set(small), key=lambda value: (str(type(value)), value))
            kind = "rows" if clusters is None else "persons of groups="
            if len(names) < 2:
                raise TooFewRowsError(
                    f"{name!r} has {len(names)} group(s) with at least {least} {kind}{_among(label)}: {dict(sizes)}. "
                    "Pass more rows, merge groups, or leave the attribute out."
                )
            rows = rows[~pd.Series(values[rows], dtype=object).isin(small).to_numpy()] if small else rows
            clusters = None if groups is None else groups[rows]
            target = _positions(names, values[rows])
        folds = _folds(cv, target, clusters, continuous, seed)
        parts.append(Problem(rows, target, names, folds, label, clusters))
    if left_out:
        warnings.warn(
            f"leakage of {name!r}: group(s) {sorted(left_out, key=str)} have too few rows for {cv} folds and are left "
            "out. Merge them with others, or pass more rows.",
            SmallGroupWarning,
            stacklevel=4,
        )
        parts[0].left_out = tuple(sorted(left_out, key=str))
    return parts


def _positions(names, values):
    codes = {name: code for code, name in enumerate(names)}
    return np.array([codes[value] for value in values.tolist()])


def _among(label):
    return "" if label is None else f" among the rows labelled {label!r}"


def _folds(cv, target, clusters, continuous, seed):
    splitter: Any = cv
    if isinstance(cv, (int, np.integer)) and not isinstance(cv, bool):
        if cv < 3:
            raise ValueError(f"cv={cv}: expected at least 3 folds.")
        kinds = {(True, False): KFold, (False, False): StratifiedKFold, (True, True): GroupKFold,
                 (False, True): StratifiedGroupKFold}  # fmt: skip
        splitter = kinds[continuous, clusters is not None](int(cv), shuffle=True, random_state=seed)
    if isinstance(splitter, str) or not hasattr(splitter, "split"):
        raise ValueError(f"cv={cv!r}: expected a number of folds or a splitter with split(X, y, groups).")
    blocks = [test for _, test in splitter.split(np.zeros((len(target), 1)), target, clusters)]
    if len(blocks) < 3 or len(np.unique(np.concatenate(blocks))) < sum(map(len, blocks)):
        raise ValueError(f"cv={cv!r}: expected at least 3 folds without a row in common.")
    return [(np.concatenate(_followers(blocks, k)), test) for k, test in enumerate(blocks)]


def _followers(blocks, k):
    """The blocks that train the probes for block ``k``: the half that follows it in a circle.

    Of any two blocks at most one trains the other's probes. Under independence their scores are then uncorrelated:
    the one that trains for neither has, given everything else, 0.5 on average. In plain cross-validation every
    block trains for every other, and the mean score has up to twice the variance that its rows suggest.
    """
    return [blocks[(k + step) % len(blocks)] for step in range(1, (len(blocks) - 1) // 2 + 1)]


def panel(probes, part):
    """The probes for a problem, each checked to be of the right kind."""
    if isinstance(probes, str) and probes == "default":
        return default_probes(part.continuous, min(len(train) for train, _ in part.folds))
    if not isinstance(probes, dict) or not probes:
        raise ValueError(f"probes={probes!r}: expected 'default' or a dict of names and estimators.")
    for name, probe in probes.items():
        if not (is_regressor if part.continuous else is_classifier)(probe):
            kind = "a regressor, for a continuous attribute" if part.continuous else "a classifier"
            raise TypeError(f"probes[{name!r}] is a {type(probe).__name__}; expected {kind}.")
        if not part.continuous and not hasattr(probe, "predict_proba"):
            raise TypeError(f"probes[{name!r}] is a {type(probe).__name__}, which has no predict_proba. Calibrate it.")
    return probes


def _seeded(probe, seed):
    """A clone with every ``random_state`` set."""
    probe = clone(probe)
    names = [name for name in probe.get_params() if name.split("__")[-1] == "random_state"]
    return probe.set_params(**dict.fromkeys(names, seed))


def read(Z, part, probe, seed):
    """Score and influence of every row on it, by group: tuple of ndarrays (n_groups,) and (n_rows, n_groups)."""
    Z = Z[part.rows]
    n_columns = 1 if part.continuous else len(part.names)
    predicted = np.full((len(Z), n_columns), np.nan)
    # One thread and so one order of additions: the bits do not depend on where the probe runs.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for train, test in part.folds:
            model = _seeded(probe, seed).fit(Z[train], part.target[train])
            if part.continuous:
                told = np.asarray(model.predict(Z[test]))
                predicted[test, 0] = told
            else:
                told = np.asarray(model.predict_proba(Z[test]))
                predicted[np.ix_(test, model.classes_)] = told
            if not np.isfinite(told).all():
                raise ValueError(
                    f"the probe {type(probe).__name__} gave NaN or infinity on held-out rows. Scale Z, or drop it."
                )
    tests = [test for _, test in part.folds]
    if part.continuous:
        return _r2(predicted[:, 0], part.target, tests)
    return _aucs(predicted, part.target, tests)


def _aucs(scores, codes, tests):
    """One-against-rest AUC of every group, a mean over folds, and the rows' influence on it (DeLong's components)."""
    n, n_groups = scores.shape
    totals, weights, influence = np.zeros(n_groups), np.zeros(n_groups), np.zeros((n, n_groups))
    for test in tests:
        for group in range(n_groups):
            inside = codes[test] == group
            n_in, n_out = int(inside.sum()), int((~inside).sum())
            values = scores[test, group]
            if min(n_in, n_out) < FEWEST_RANKED or np.isnan(values).any():
                continue
            ranks = rankdata(values)
            component = np.empty(len(test))
            component[inside] = (ranks[inside] - rankdata(values[inside])) / n_out
            component[~inside] = 1 - (ranks[~inside] - rankdata(values[~inside])) / n_in
            auc = component[inside].mean()
            # The inverse of the variance of an AUC under independence.
            weight = n_in * n_out / (n_in + n_out + 1)
            share = np.where(inside, 1 / np.sqrt(n_in * (n_in - 1)), 1 / np.sqrt(n_out * (n_out - 1)))
            totals[group] += weight * auc
            weights[group] += weight
            influence[test, group] += weight * share * (component - auc)
    with np.errstate(invalid="ignore"):
        return totals / weights, influence / np.where(weights > 0, weights, 1)


def _r2(predicted, target, tests):
    """R2 of out-of-fold predictions against the folds' own means, and the rows' influence on it."""
    tested = np.concatenate(tests)
    error, spread = np.zeros(len(target)), np.zeros(len(target))
    for test in tests:
        error[test] = (target[test] - predicted[test]) ** 2
        spread[test] = (target[test] - target[test].mean()) ** 2
    r2 = 1 - error.sum() / spread.sum()
    influence = np.zeros(len(target))
    influence[tested] = ((1 - r2) * spread[tested] - error[tested]) / spread.sum()
    return np.array([r2]), influence[:, None]
