"""fairness_frontier: score against disparity over the fairness strength, and the models that nothing beats."""

import inspect
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.utils import column_or_1d, indexable
from sklearn.utils.parallel import Parallel, delayed

from .._attributes import as_values
from .._fit_state import seeded
from .._groups import binary_labels, read_columns
from ..metrics._scorers import NAMED_METRICS, fairness_scorer
from ._fitting import fit_arguments, fit_with_attributes, take_rows
from ._refit import check_bound
from ._split import AttributeStratifiedKFold, fresh_generator

STRENGTH = "fairness_strength"


@dataclass(frozen=True, eq=False, repr=False)
class FairnessFrontier:
    """What :func:`fairness_frontier` found.

    Attributes
    ----------
    results_ : DataFrame of shape (n_strengths, 7)
        One row per strength, in the order given: ``strength``; ``score`` and ``score_std``, mean and standard
        deviation over the folds; ``disparity`` (0 is fair) and ``ratio`` (in [0, 1], 1 is fair; NaN where it is
        undefined, as where nobody is selected), of the out-of-fold predictions of all folds together; ``selected``,
        the share of these that is the favourable label; ``on_frontier``, False if another strength has no worse score
        and no more disparity, and is better in one of them.
    estimators_ : dict of float to estimator
        By strength, for those on the frontier: the estimator fitted on all rows.

    See Also
    --------
    fairness_frontier : Makes it.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_fairlatent.model_selection import FairnessFrontier
    >>> points = {"strength": [0.0, 1.0], "score": [0.9, 0.8], "disparity": [0.2, 0.01], "on_frontier": [True, True]}
    >>> frontier = FairnessFrontier(pd.DataFrame(points), {0.0: "the plain model", 1.0: "the fair model"})
    >>> frontier.best(max_disparity=0.02)
    'the fair model'
    """

    results_: pd.DataFrame
    estimators_: Mapping[float, Any]

    def __repr__(self):
        n_points, n_best = len(self.results_), len(self.estimators_)
        table = self.results_.to_string(index=False, float_format="{:.3f}".format)
        return f"FairnessFrontier: {n_best} of {n_points} strengths on the frontier\n{table}"

    def best_strength(self, max_disparity=0.02):
        """The strength with the best score within a bound on the disparity.

        Parameters
        ----------
        max_disparity : float, default=0.02
            Greatest disparity, at least 0.

        Returns
        -------
        strength : float
            Of equal scores the one with the least disparity, then the first.

        Raises
        ------
        ValueError
            If no strength is within the bound.
        """
        check_bound(max_disparity)
        points = self.results_[self.results_["on_frontier"]]
        within = points[points["disparity"] <= max_disparity]
        if within.empty:
            least = points.loc[points["disparity"].idxmin()]
            raise ValueError(
                f"No strength has a disparity of at most max_disparity={max_disparity}: the least is "
                f"{least['disparity']:.4g}, at strength {least['strength']:g}. Raise max_disparity, or pass greater "
                "strengths to fairness_frontier."
            )
        order = within.sort_values(["score", "disparity"], ascending=[False, True], kind="stable")
        return next(strength for strength in self.estimators_ if strength == order["strength"].iloc[0])

    def best(self, max_disparity=0.02):
        """The fitted estimator with the best score within a bound on the disparity.

        Its score and disparity chose it: report those on other rows.

        Parameters
        ----------
        max_disparity : float, default=0.02
            Greatest disparity, at least 0.

        Returns
        -------
        estimator : estimator
            Fitted on all rows.

        Raises
        ------
        ValueError
            If no strength is within the bound.
        """
        return self.estimators_[self.best_strength(max_disparity)]


def on_frontier(score, disparity):
    """Whether no other point has both a score as high and a disparity as low, one of them strictly so."""
    as_good = (score >= score[:, None]) & (disparity <= disparity[:, None])
    better = (score > score[:, None]) | (disparity < disparity[:, None])
    return ~(as_good & better).any(axis=1)


def _strength_parameter(estimator, param_name):
    names = list(estimator.get_params(deep=True))
    if param_name is not None:
        if param_name not in names:
            raise ValueError(f"param_name={param_name!r} is no parameter of the estimator, which has {names}.")
        return param_name
    found = [name for name in names if name == STRENGTH or name.endswith(f"__{STRENGTH}")]
    if len(found) != 1:
        raise ValueError(
            f"The estimator has {len(found)} parameters named {STRENGTH}{': ' + str(found) if found else ''}; expected "
            "exactly one. Pass param_name= the parameter to vary."
        )
    return found[0]


def _check_strengths(strengths):
    strengths = list(strengths)
    if not strengths or not all(
        isinstance(value, numbers.Real) and not isinstance(value, bool) and np.isfinite(float(value))
        for value in strengths
    ):
        raise ValueError(f"strengths={strengths}: expected finite numbers, at least one.")
    return list(dict.fromkeys(strengths))


def _fit(estimator, params, X, y, A, rows):
    # All rows are taken too, so that a worker does not fit on joblib's memory map of X, but on the kind of array given.
    model = clone(estimator).set_params(**params)
    return fit_with_attributes(model, take_rows(X, rows), take_rows(y, rows), take_rows(A, rows))


def _fit_and_score(estimator, params, X, y, A, train, test, scorer):
    model = _fit(estimator, params, X, y, A, train)
    X_test, y_test = take_rows(X, test), take_rows(y, test)
    return np.asarray(model.predict(X_test)), float(scorer(model, X_test, y_test))


class _Predicted:
    """Stands for a fitted estimator where the predictions are there already."""

    def predict(self, X):
        return X


class _Measures:
    """Difference and ratio of predictions, with the checks of :func:`~sklearn_fairlatent.metrics.fairness_scorer`."""

    def __init__(self, disparity, **params):
        self._difference = fairness_scorer(disparity, greater_is_better=False, **params)
        self._ratio = None
        if isinstance(disparity, str):
            if not disparity.endswith("_difference"):
                raise ValueError(
                    f"disparity={disparity!r}: expected one of "
                    f"{[name for name in NAMED_METRICS if name.endswith('_difference')]}, or a function. The ratio is "
                    "given beside a difference."
                )
            self._ratio = fairness_scorer(disparity.removesuffix("_difference") + "_ratio", **params)

    def difference(self, y_true, y_pred, A):
        return -self._difference(_Predicted(), y_pred, y_true, sensitive_features=A)

    def ratio(self, y_true, y_pred, A):
        if self._ratio is None:
            return np.nan
        try:
            return self._ratio(_Predicted(), y_pred, y_true, sensitive_features=A)
        except ValueError:
            # The difference passed the same checks: what remains is a ratio of 0 to 0.
            return np.nan


def _splits(cv, X, y, A, bins, random_state):
    if cv is None or (isinstance(cv, numbers.Integral) and not isinstance(cv, bool)):
        cv = AttributeStratifiedKFold(5 if cv is None else int(cv), bins=bins, random_state=random_state)
    cv = check_cv(cv)
    takes = "sensitive_features" in inspect.signature(cv.split).parameters
    return list(cv.split(X, y, sensitive_features=A) if takes else cv.split(X, y))


def fairness_frontier(
    estimator,
    X,
    y,
    *,
    sensitive_features,
    strengths=(0.0, 0.1, 0.2, 0.5, 1.0, 2.0),
    param_name=None,
    scoring: Any = "accuracy",
    disparity: Any = "demographic_parity_difference",
    pos_label=None,
    bins=None,
    min_group_size=5,
    cv: Any = 5,
    n_jobs=None,
    random_state=None,
):
    """Cross-validate every strength, and fit again on all rows those that no other strength beats.

    The score is the mean over the folds. The disparity is measured once, on the held-out predictions of all folds
    together: a difference between the largest and the smallest of noisy rates is biased upwards, the more the fewer
    rows there are [1]_, and a mean over small folds keeps the bias, as of other measures that are no means over rows
    [2]_.

    Parameters
    ----------
    estimator : estimator
        A classifier, or a pipeline that ends with one. It is cloned, never fitted.
    X : array-like or frame of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
        Class labels.
    sensitive_features : Series, DataFrame or array-like of shape (n_samples,) or (n_samples, n)
        The attributes, row for row with X. They are given to the ``fit`` of whoever takes them, with metadata routing
        on or off, unless a step has ``sensitive_columns``. The groups of several attributes are their intersections.
    strengths : iterable of float, default=(0.0, 0.1, 0.2, 0.5, 1.0, 2.0)
        Values to try. One that is named twice is tried once.
    param_name : str, default=None
        The parameter that takes them, as ``set_params`` names it. None: the only ``fairness_strength`` there is.
    scoring : str, callable or None, default="accuracy"
        Greater is better. A name, or ``scorer(estimator, X, y)``. None: the estimator's ``score``.
    disparity : str or callable, default="demographic_parity_difference"
        A ``_difference`` known to :func:`~sklearn_fairlatent.metrics.fairness_scorer`, or
        ``metric(y_true, y_pred, *, sensitive_features)``, of which less is better.
    pos_label : object, default=None
        The favourable label. None: 1 of {0, 1}, {-1, 1} or booleans; other labels need it.
    bins : dict of str to list of float, default=None
        Edges at which continuous attributes are cut, for folds and disparity. ``fit`` is given the numbers.
    min_group_size : int, default=5
        Fewer rows in a group are refused.
    cv : int, splitter, iterable or None, default=5
        An integer makes an :class:`AttributeStratifiedKFold` with ``random_state``; None is 5. Another splitter is
        called with X and y, and with the attributes if it takes them. Rows that are never held out do not count in the
        disparity.
    n_jobs : int, default=None
        Number of processes, as in scikit-learn. The result is the same for any number.
    random_state : int, RandomState instance or None, default=None
        Seed of the folds, and of every ``random_state`` of the estimator that is None.

    Returns
    -------
    frontier : FairnessFrontier
        With ``results_``, ``estimators_``, ``best`` and ``best_strength``.

    Raises
    ------
    ValueError
        If the parameter is not found, nobody takes the attributes, a score is NaN, or the disparity is undefined, as
        with one group, a group of fewer than ``min_group_size`` rows, or a favourable label that is not told.

    See Also
    --------
    ConstrainedRefit : The choice under a bound in a search over several parameters.

    Notes
    -----
    What was chosen by these numbers looks better in them than it is: report both on rows that took no part.

    References
    ----------
    .. [1] Lum, Zhang, Bower (2022), "De-biasing 'bias' measurement", FAccT.
    .. [2] Forman and Scholz (2010), "Apples-to-apples in cross-validation studies: pitfalls in classifier performance
       measurement", SIGKDD Explorations 12(1).

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import Pipeline
    >>> from sklearn_fairlatent import FairLatentTransformer
    >>> from sklearn_fairlatent.datasets import make_biased_latents
    >>> from sklearn_fairlatent.model_selection import fairness_frontier
    >>> data = make_biased_latents(400, random_state=0)
    >>> model = Pipeline([("fair", FairLatentTransformer(max_epochs=8)), ("classify", LogisticRegression())])
    >>> frontier = fairness_frontier(
    ...     model, data.data, data.target, sensitive_features=data.sensitive_features,
    ...     strengths=[0.0, 2.0], cv=2, random_state=0,
    ... )
    >>> frontier.results_[["strength", "on_frontier"]]
       strength  on_frontier
    0       0.0         True
    1       2.0         True
    >>> frontier.best_strength(max_disparity=0.2)
    2.0
    >>> frontier.best(max_disparity=0.2).predict(data.data[:3]).shape
    (3,)
    """
    name = _strength_parameter(estimator, param_name)
    strengths = _check_strengths(strengths)
    if not (scoring is None or isinstance(scoring, str) or callable(scoring)):
        raise ValueError(f"scoring={scoring!r}: expected one score, by name or as a callable.")
    fit_arguments(estimator)
    scorer: Any = check_scoring(estimator, scoring=scoring)
    measures = _Measures(disparity, pos_label=pos_label, bins=bins, min_group_size=min_group_size)

    X = np.asarray(X) if isinstance(X, (list, tuple)) else X
    X, y = indexable(X, y if isinstance(y, pd.Series) else column_or_1d(as_values(y)))
    index = next((rows.index for rows in (X, y) if isinstance(getattr(rows, "index", None), pd.Index)), None)
    A = pd.DataFrame(read_columns(sensitive_features, len(y), index), index=index)
    splits = _splits(cv, X, y, A, bins, random_state)
    held_out = np.concatenate([test for _, test in splits])
    # Their order was compared when they were read, and the index of a part of the rows says nothing more.
    y_true, groups = as_values(take_rows(y, held_out)), take_rows(A, held_out)
    measures.difference(y_true, y_true, groups)  # what is undefined for any predictions is told before the first fit

    # All strengths start alike.
    estimator = seeded(estimator, int(fresh_generator(random_state).randint(np.iinfo(np.int32).max)))
    outcomes: Any = Parallel(n_jobs=n_jobs)(
        delayed(_fit_and_score)(estimator, {name: strength}, X, y, A, train, test, scorer)
        for strength in strengths
        for train, test in splits
    )
    results = []
    for k, strength in enumerate(strengths):
        predictions, scores = zip(*outcomes[k * len(splits) : (k + 1) * len(splits)], strict=True)
        if np.isnan(scores).any():
            raise ValueError(
                f"scoring={scoring!r} is NaN in a fold at strength {strength}. Use fewer folds, or another score."
            )
        y_pred = np.concatenate(predictions)
        results.append({
            "strength": strength,
            "score": np.mean(scores),
            "score_std": np.std(scores),
            "disparity": measures.difference(y_true, y_pred, groups),
            "ratio": measures.ratio(y_true, y_pred, groups),
            "selected": binary_labels(y_true, y_pred, pos_label)[1].mean(),
        })  # fmt: skip
    table = pd.DataFrame(results)
    table["on_frontier"] = on_frontier(table["score"].to_numpy(), table["disparity"].to_numpy())

    kept = [strength for strength, keep in zip(strengths, table["on_frontier"], strict=True) if keep]
    everything = np.arange(len(y))
    fitted: Any = Parallel(n_jobs=n_jobs)(
        delayed(_fit)(estimator, {name: strength}, X, y, A, everything) for strength in kept
    )
    return FairnessFrontier(table, dict(zip(kept, fitted, strict=True)))
