"""How good counterfactuals are: flips, what stayed, distance, the way back, and whether they look like real rows."""

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from sklearn.base import is_classifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.utils import check_array, check_random_state
from threadpoolctl import threadpool_limits

from .._codec import TabularCodec
from .._encoding import as_frame, column_names, column_values
from .._groups import none_where_missing

# Below this many rows a classifier of real against counterfactual has nothing to learn from.
LEAST_ROWS = 20


@dataclass(frozen=True)
class CounterfactualScores:
    """What :func:`counterfactual_scores` returns.

    Attributes
    ----------
    flip_rate : dict of str to float
        For every judge of the moved attribute, the share of rows that it then reads as the wanted value, in [0, 1].
    consistency : dict of str to float
        For every judge of what was to stay, the share of rows of which it says the same as before, in [0, 1]; for a
        regressor one less the mean change in standard deviations of its predictions.
    distance : float
        Root mean square distance of a row to its counterfactual, relative to that of a row to the mean row, at least 0.
    changed : float
        Mean share of the columns that changed, in [0, 1].
    round_trip : float
        Like ``distance``, of a row to the counterfactual of its counterfactual; NaN if that was not given.
    realism : float
        ROC AUC of boosted trees that tell counterfactuals from real rows, cross-validated: 0.5 if they cannot, 1 if
        every counterfactual gives itself away. NaN for fewer than 20 rows.
    n_samples : int

    Examples
    --------
    >>> from sklearn_fairlatent.metrics import CounterfactualScores
    >>> scores = CounterfactualScores({"linear": 0.9}, {"label": 0.8}, 0.3, 0.5, 0.0, 0.6, 200)
    >>> scores.to_frame().index.tolist()[:2]
    ['flip_rate by linear', 'consistency of label']
    """

    flip_rate: dict[str, float]
    consistency: dict[str, float]
    distance: float
    changed: float
    round_trip: float
    realism: float
    n_samples: int

    def to_dict(self):
        """All scores as a dict that JSON can hold."""
        return asdict(self)

    def to_frame(self):
        """All scores, one row each.

        Returns
        -------
        DataFrame of shape (n_scores, 1)
        """
        rows = {f"{kind} of {name}" if kind == "consistency" else f"{kind} by {name}": value
                for kind in ("flip_rate", "consistency") for name, value in getattr(self, kind).items()}  # fmt: skip
        rows |= {name: getattr(self, name) for name in ("distance", "changed", "round_trip", "realism")}
        return pd.DataFrame({"score": rows}).rename_axis("measure")


def counterfactual_scores(X, X_counterfactual, *, judges, kept=None, value=None, X_back=None, random_state=None):
    """Judge counterfactuals in the space of X, by estimators that took no part in making them.

    Parameters
    ----------
    X : array-like or frame of shape (n_samples, n_features)
        Real rows, best such as the maker of the counterfactuals never saw.
    X_counterfactual : array-like or frame of shape (n_samples, n_features)
        Their counterfactuals, row for row.
    judges : estimator or dict of str to estimator
        Fitted classifiers of the moved attribute, trained on OTHER rows of this space. Several, of different kinds, say
        more than one.
    kept : estimator or dict of str to estimator, default=None
        Fitted judges of what was to stay as it was: the label, the other attributes.
    value : object or array-like of shape (n_samples,), default=None
        The wanted value of the moved attribute. None: any other than the judge reads from the real row.
    X_back : array-like or frame of shape (n_samples, n_features), default=None
        Counterfactuals of the counterfactuals, back to where they came from.
    random_state : int, RandomState instance or None, default=None
        Seed of the classifier behind ``realism``.

    Returns
    -------
    CounterfactualScores

    Raises
    ------
    ValueError, TypeError
        If the rows do not correspond, or a judge is no classifier.

    Notes
    -----
    A row and its counterfactual are in the same fold of ``realism``: apart, a tree would know one from the other.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_fairlatent import FairLatentTransformer
    >>> from sklearn_fairlatent.datasets import make_biased_latents
    >>> from sklearn_fairlatent.metrics import counterfactual_scores
    >>> data = make_biased_latents(900, random_state=0)
    >>> A = data.sensitive_features
    >>> fair = FairLatentTransformer(max_epochs=5, random_state=0)
    >>> fair = fair.fit(data.data[:400], data.target[:400], sensitive_features=A[:400])
    >>> judge = LogisticRegression().fit(data.data[400:700], A["group"][400:700])
    >>> X = data.data[700:]
    >>> X_cf = fair.counterfactual(X, "group", sensitive_features=A[700:])
    >>> scores = counterfactual_scores(X, X_cf, judges=judge, value=1 - A["group"][700:])
    >>> scores.flip_rate["LogisticRegression"] > 0.3
    True
    """
    before, after, back = _numbers(X, X_counterfactual, X_back)
    spread = np.sqrt(((before - before.mean(axis=0)) ** 2).sum(axis=1).mean())
    if not spread > 0:
        raise ValueError("X has equal rows only: a distance relative to their spread is undefined. Pass other rows.")
    wanted = None if value is None else np.broadcast_to(np.asarray(value, dtype=object), len(before))
    flips = {}
    for name, judge in _named(judges, "judges").items():
        if not is_classifier(judge):
            raise TypeError(f"judges[{name!r}] is a {type(judge).__name__}; expected a fitted classifier.")
        told = np.asarray(judge.predict(X_counterfactual))
        flips[name] = float(np.mean(told != judge.predict(X) if wanted is None else told == wanted))
    return CounterfactualScores(
        flip_rate=flips,
        consistency={name: _consistency(judge, X, X_counterfactual)
                     for name, judge in _named(kept or {}, "kept").items()},
        distance=_distance(before, after) / spread,
        changed=_changed(X, X_counterfactual),
        round_trip=float("nan") if back is None else _distance(before, back) / spread,
        realism=_realism(before, after, random_state),
        n_samples=len(before),
    )  # fmt: skip


def _named(judges, argument):
    if isinstance(judges, dict):
        return judges
    if not hasattr(judges, "predict"):
        raise TypeError(f"{argument}={judges!r}: expected a fitted estimator, or a dict of them by name.")
    return {type(judges).__name__: judges}


def _numbers(X, X_counterfactual, X_back):
    """All rows as arrays; frames through one codec, categories as indicators of length 1 between two of them."""
    given = {"X": X, "X_counterfactual": X_counterfactual, "X_back": X_back}
    given = {name: rows for name, rows in given.items() if rows is not None}
    shapes = {name: np.shape(rows) for name, rows in given.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(
            f"the rows do not correspond: {shapes}. Pass a counterfactual for every row, in the same columns."
        )
    if as_frame(X) is not None:
        names = column_names(X)
        for name, rows in given.items():
            if as_frame(rows) is None or column_names(rows) != names:
                raise ValueError(f"X is a frame with the columns {names}; {name} must be one, with the same.")
        table = {name: np.concatenate([column_values(rows, name) for rows in given.values()]) for name in names}
        parts = np.split(TabularCodec().fit_transform(pd.DataFrame(table)), len(given))
    else:
        parts = [check_array(rows, dtype=np.float64, input_name=name, allow_nd=True).reshape(len(rows), -1)
                 for name, rows in given.items()]  # fmt: skip
    return (*parts, None) if X_back is None else tuple(parts)


def _distance(rows, others):
    return float(np.sqrt(((rows - others) ** 2).sum(axis=1).mean()))


def _changed(X, X_counterfactual):
    if as_frame(X) is None:
        return float(np.mean(np.asarray(X) != np.asarray(X_counterfactual)))
    columns = [
        [none_where_missing(column_values(rows, name)) for rows in (X, X_counterfactual)] for name in column_names(X)
    ]
    return float(np.mean([before != after for before, after in columns]))


def _consistency(judge, X, X_counterfactual):
    before, after = np.asarray(judge.predict(X)), np.asarray(judge.predict(X_counterfactual))
    if is_classifier(judge):
        return float(np.mean(before == after))
    return float(1 - np.mean(np.abs(after - before)) / before.std()) if before.std() > 0 else float("nan")


def _realism(before, after, random_state):
    if len(before) < LEAST_ROWS:
        return float("nan")
    seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    real = np.repeat([1, 0], len(before))
    pair = np.tile(np.arange(len(before)), 2)
    trees = HistGradientBoostingClassifier(random_state=seed)
    folds = GroupKFold(5, shuffle=True, random_state=seed)
    # One thread: on busy cores the trees' threads wait for each other for minutes.
    with threadpool_limits(1):
        told = cross_val_predict(trees, np.vstack([before, after]), real, groups=pair, cv=folds, method="predict_proba")
    return float(roc_auc_score(real, told[:, 1]))
