"""Fairness metrics as scorers for cross-validation and searches, which say when they mean nothing."""

import functools
from typing import Any

import fairlearn.metrics
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from .._groups import AND, binary_labels, crossed, group_sizes, read_groups
from .._lookup import find_attributes
from ._disparity import lacking_labels

# Metrics by name, and the labels of which every group needs rows.
_NEEDS = {
    "demographic_parity": (),
    "selection_rate": (),
    "equalized_odds": (0, 1),
    "equal_opportunity": (1,),
    "true_positive_rate": (1,),
    "false_negative_rate": (1,),
    "false_positive_rate": (0,),
    "true_negative_rate": (0,),
}
NAMED_METRICS = tuple(sorted(f"{name}_{kind}" for name in _NEEDS for kind in ("difference", "ratio")))


class FairnessScorer(BaseEstimator):
    """A scorer made by :func:`fairness_scorer`, whose parameters these are.

    Examples
    --------
    >>> from sklearn_fairlatent.metrics import FairnessScorer, fairness_scorer
    >>> scorer = fairness_scorer("equalized_odds_difference", sensitive_features="sex")
    >>> isinstance(scorer, FairnessScorer)
    True
    """

    # With routing on, the attribute is asked for without a set_score_request call.
    __metadata_request__score = {"sensitive_features": True}

    def __init__(
        self,
        metric,
        *,
        sensitive_features=None,
        pos_label=None,
        bins=None,
        min_group_size=5,
        greater_is_better=None,
        response_method="predict",
    ):
        self.metric = metric
        self.sensitive_features = sensitive_features
        self.pos_label = pos_label
        self.bins = bins
        self.min_group_size = min_group_size
        self.greater_is_better = greater_is_better
        self.response_method = response_method

    def __repr__(self, N_CHAR_MAX=700):
        # The frame of all attributes is not to be printed.
        kind = type(self.sensitive_features).__name__
        shown = self.sensitive_features if isinstance(self.sensitive_features, (str, list, type(None))) else kind
        return f"fairness_scorer({_name_of(self.metric)!r}, sensitive_features={shown!r}, pos_label={self.pos_label!r})"

    def score(self, estimator, X, y, sensitive_features=None):
        """The same as calling the scorer: scikit-learn routes to methods, and takes this one's request.

        Parameters
        ----------
        estimator : estimator
        X : array-like or frame of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sensitive_features : Series, DataFrame or array-like, default=None

        Returns
        -------
        float
        """
        return self(estimator, X, y, sensitive_features=sensitive_features)

    def __call__(self, estimator, X, y, sensitive_features=None):
        """Score a fitted estimator on rows with their labels.

        Parameters
        ----------
        estimator : estimator
        X : array-like or frame of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sensitive_features : Series, DataFrame or array-like, default=None
            The attributes of these rows, unless the scorer was made with its own.

        Returns
        -------
        float
            Greater is better: differences have a minus sign.
        """
        metric, sign, needed = self._metric()
        attributes = sensitive_features
        # What the scorer was made with counts: beside it another scorer may ask for what is routed.
        if attributes is None or self.sensitive_features is not None:
            attributes = find_attributes(self.sensitive_features, X, y, owner=repr(self))
        y_true, y_pred = self._predictions(estimator, X, y)
        index = getattr(X, "index", getattr(y, "index", None))
        groups = read_groups(attributes, len(y_true), index=index, bins=self.bins)
        known = groups.notna().all(axis=1).to_numpy()
        groups, y_true, y_pred = groups[known], y_true[known], y_pred[known]
        self._check_groups(groups, y_true, needed)
        named = groups.astype(str)
        if named.drop_duplicates().shape[0] < groups.drop_duplicates().shape[0]:  # 1 and "1"
            named = pd.Series(pd.factorize(crossed(groups))[0], name=AND.join(groups.columns)).astype(str)
        value = float(metric(y_true, y_pred, sensitive_features=named))
        if not np.isfinite(value):
            raise ValueError(
                f"{_name_of(self.metric)} is {value} on these {len(y_true)} rows: the predictions have the values "
                f"{np.unique(y_pred)[:5].tolist()}."
            )
        return sign * value

    def _accept_sample_weight(self):
        # scikit-learn asks every scorer of a dict.
        return False

    def _metric(self):
        """The metric, its sign, and the labels that every group needs."""
        metric, name = self.metric, _name_of(self.metric)
        if isinstance(metric, str):
            if metric not in NAMED_METRICS:
                raise ValueError(
                    f"metric={metric!r} is not known. Pass a function metric(y_true, y_pred, *, sensitive_features), "
                    f"or one of {list(NAMED_METRICS)}."
                )
            metric = getattr(fairlearn.metrics, metric)
        if self.response_method != "predict" and name in NAMED_METRICS:
            raise ValueError(
                f"response_method={self.response_method!r}: {name} counts predicted labels, of which scores have none. "
                "Use 'predict'."
            )
        greater = self.greater_is_better
        if greater is None:
            if name.endswith("_difference"):
                greater = False
            elif name.endswith(("_ratio", "_min", "_score")):
                greater = True
            else:
                raise ValueError(
                    f"greater_is_better=None: {name!r} does not tell whether more of it is better. Pass True or False."
                )
        return metric, 1.0 if greater else -1.0, _NEEDS.get(name.rsplit("_", 1)[0], ())

    def _predictions(self, estimator, X, y):
        if self.response_method == "predict":
            return binary_labels(y, estimator.predict(X), self.pos_label)
        if self.response_method not in ("predict_proba", "decision_function"):
            raise ValueError(
                f"response_method={self.response_method!r}: expected 'predict', 'predict_proba' or 'decision_function'."
            )
        y_true = binary_labels(y, y, self.pos_label)[0]
        scores = np.asarray(getattr(estimator, self.response_method)(X))
        classes = np.asarray(estimator.classes_).tolist()
        if len(classes) != 2:
            raise ValueError(f"the estimator has the classes {classes}; scores of a favourable label need two.")
        positive = 1 if self.pos_label is None else classes.index(self.pos_label)
        if scores.ndim == 2:
            return y_true, scores[:, positive]
        return y_true, scores if positive == 1 else -scores

    def _check_groups(self, groups, y_true, needed):
        """Refuse what fairlearn would answer with a comforting number."""
        name = AND.join(groups.columns)
        cells = crossed(groups)
        sizes = group_sizes(cells)
        where = f"{_name_of(self.metric)} is undefined on these {len(y_true)} rows"
        if len(sizes) < 2:
            raise ValueError(
                f"{where}: {name!r} has {len(sizes)} group(s) here, {sizes.index.tolist()}. Use fewer or stratified "
                "folds (AttributeStratifiedKFold), or more rows."
            )
        if sizes.iloc[0] < self.min_group_size:
            raise ValueError(
                f"{where}: group {sizes.index[0]!r} of {name!r} has {sizes.iloc[0]} row(s), fewer than "
                f"min_group_size={self.min_group_size}. Merge small groups, use fewer or stratified folds "
                "(AttributeStratifiedKFold), or lower min_group_size."
            )
        lacking = lacking_labels(y_true, cells, needed)
        if lacking:
            group, label = lacking[0]
            kind = "favourable" if label else "unfavourable"
            raise ValueError(
                f"{where}: group {group!r} of {name!r} has no row with the {kind} label. Use fewer or stratified folds "
                "(AttributeStratifiedKFold), or merge groups."
            )


def _name_of(metric):
    while isinstance(metric, functools.partial):
        metric = metric.func
    return metric if isinstance(metric, str) else getattr(metric, "__name__", type(metric).__name__)


def fairness_scorer(
    metric: Any,
    *,
    sensitive_features=None,
    pos_label=None,
    bins=None,
    min_group_size=5,
    greater_is_better=None,
    response_method="predict",
) -> Any:
    """Make a scorer of a fairness metric, for ``cross_validate`` and searches.

    With metadata routing on, the scorer asks for ``sensitive_features`` by itself. With routing off it finds the
    attribute by the index of X (or y), or in a column of X. Where the metric means nothing it raises, instead of
    giving the comforting number that fairlearn gives (0.0 for a single group); scikit-learn makes a failed score NaN
    and warns, or raises with ``error_score="raise"``.

    Parameters
    ----------
    metric : str or callable
        A name such as "demographic_parity_difference" or "equalized_odds_ratio" (fairlearn's functions), or
        ``metric(y_true, y_pred, *, sensitive_features)``; labels and predictions come as 0 and 1.
    sensitive_features : str, list of str, Series or DataFrame, default=None
        Columns of X by name, or the attributes of all rows with the index of X. None: for routing on. Several
        attributes are compared by their intersections.
    pos_label : object, default=None
        The favourable label. None: 1 of {0, 1}, {-1, 1} or booleans; other labels need it.
    bins : dict of str to list of float, default=None
        Edges at which continuous attributes are cut.
    min_group_size : int, default=5
        Fewer rows in a group are refused.
    greater_is_better : bool, default=None
        None: False for names ending in "_difference", True for those in "_ratio", "_min" or "_score".
    response_method : {"predict", "predict_proba", "decision_function"}, default="predict"
        What the metric sees of the estimator.

    Returns
    -------
    scorer : FairnessScorer
        ``scorer(estimator, X, y)`` or ``scorer(estimator, X, y, sensitive_features=A)``; greater is better, so that
        differences are negative.

    Raises
    ------
    ValueError
        When called: if the attribute cannot be found, has one group, a group with fewer than ``min_group_size`` rows or
        without a label that the metric counts, is continuous without ``bins``, or if the favourable label is not told.

    See Also
    --------
    sklearn_fairlatent.model_selection.ConstrainedRefit : Choose the most accurate setting under a disparity.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_validate
    >>> from sklearn_fairlatent.datasets import make_biased_latents
    >>> from sklearn_fairlatent.metrics import fairness_scorer
    >>> data = make_biased_latents(400, random_state=0)
    >>> X = pd.DataFrame(data.data).add_prefix("x")
    >>> scorer = fairness_scorer("demographic_parity_difference", sensitive_features=data.sensitive_features)
    >>> scores = cross_validate(LogisticRegression(), X, data.target, scoring=scorer, cv=2)
    >>> bool((scores["test_score"] < -0.1).all())
    True
    """
    scorer = FairnessScorer(
        metric,
        sensitive_features=sensitive_features,
        pos_label=pos_label,
        bins=bins,
        min_group_size=min_group_size,
        greater_is_better=greater_is_better,
        response_method=response_method,
    )
    scorer._metric()  # a misspelt name is told here, not as a NaN in a search
    if isinstance(sensitive_features, (list, tuple)) and not all(isinstance(name, str) for name in sensitive_features):
        raise TypeError("sensitive_features is a list of values, whose rows cannot be told in a fold. Pass a Series.")
    return scorer
