"""Differences between groups: with their ratios and selection rates, the worst group, amplified bias, score gaps."""

import warnings
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pandas as pd
from fairlearn.metrics import (
    MetricFrame,
    demographic_parity_difference,
    demographic_parity_ratio,
    equal_opportunity_difference,
    equal_opportunity_ratio,
    equalized_odds_difference,
    equalized_odds_ratio,
    false_positive_rate,
    selection_rate,
    true_positive_rate,
)
from sklearn.metrics import accuracy_score
from sklearn.utils import column_or_1d

from .._attributes import as_values
from .._exceptions import SmallGroupWarning
from .._groups import binary_labels, crossed, group_sizes, read_groups, with_intersection

# "A selection rate ... less than four-fifths of the rate for the group with the highest rate" is evidence of adverse
# impact: Uniform Guidelines on Employee Selection Procedures (1978), 29 CFR 1607.4(D).
FOUR_FIFTHS = 0.8
_LABEL = {1: "the favourable", 0: "another"}
# Difference, ratio, and the labels that every group needs for them.
DISPARITIES: dict[str, tuple[Callable, Callable, tuple[int, ...]]] = {
    "demographic_parity": (demographic_parity_difference, demographic_parity_ratio, ()),
    "equalized_odds": (equalized_odds_difference, equalized_odds_ratio, (0, 1)),
    "equal_opportunity": (equal_opportunity_difference, equal_opportunity_ratio, (1,)),
}


def lacking_labels(y_true, group, needed):
    """Groups without a row of a label in ``needed``, as (group, label)."""
    codes, names = pd.factorize(group)  # a group may be a tuple, which compares by its parts
    return [
        (name, label)
        for code, name in enumerate(names)
        for label in needed
        if not (y_true[codes == code] == label).any()
    ]  # fmt: skip


def group_table(y_true, y_pred, *, sensitive_features, pos_label=None, bins=None):
    """Size, selection rate, error rates and accuracy of every group.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        Labels and predictions.
    sensitive_features : Series, DataFrame or array-like of shape (n_samples,) or (n_samples, n_attributes)
        Rows with a missing value do not count for that attribute.
    pos_label : object, default=None
        The favourable label; all others count as one. None: 1 of {0, 1}, {-1, 1} or booleans.
    bins : dict of str to list of float, default=None
        Edges at which continuous attributes are cut.

    Returns
    -------
    DataFrame of shape (n_groups, 5)
        One row per attribute and group, intersections of several attributes included: ``n_samples``,
        ``selection_rate``, ``true_positive_rate``, ``false_positive_rate`` and ``accuracy``, in [0, 1]; NaN where a
        group has no row of the label that a rate is of.

    See Also
    --------
    disparity_table : The differences and ratios between these groups.

    Examples
    --------
    >>> from sklearn_fairlatent.metrics import group_table
    >>> group_table([1, 0, 1, 0], [1, 0, 0, 0], sensitive_features={"sex": ["f", "f", "m", "m"]})["selection_rate"]
    attribute  group
    sex        f        0.5
               m        0.0
    Name: selection_rate, dtype: float64
    """
    index = getattr(y_true, "index", None)
    y_true, y_pred = binary_labels(y_true, y_pred, pos_label)
    attributes = read_groups(sensitive_features, len(y_true), index=index, bins=bins)
    groups = with_intersection(attributes)
    metrics = {
        "selection_rate": selection_rate,
        "true_positive_rate": true_positive_rate,
        "false_positive_rate": false_positive_rate,
        "accuracy": accuracy_score,
    }
    tables = {}
    for name in groups:
        known = groups[name].notna().to_numpy()
        if name not in attributes and not known.any():
            continue  # attributes that are never known together have no intersection
        _check_known(name, known)
        group = groups[name].to_numpy()[known]
        frame = MetricFrame(
            metrics=metrics, y_true=y_true[known], y_pred=y_pred[known], sensitive_features=pd.Series(group, name=name)
        )
        table = frame.by_group.copy()
        table.insert(0, "n_samples", group_sizes(group).reindex(table.index))
        for rate, label in (("true_positive_rate", 1), ("false_positive_rate", 0)):
            # fairlearn gives 0 where there is nothing to count.
            lacking = [group for group, _ in lacking_labels(y_true[known], group, (label,))]
            table.loc[table.index.isin(lacking), rate] = np.nan
        tables[name] = table
    return pd.concat(tables, names=["attribute", "group"])


def disparity_table(y_true, y_pred, *, sensitive_features, pos_label=None, bins=None, min_group_size=5):
    """Differences between the groups, beside each its ratio and the selection rates that it is a difference of.

    Parameters
    ----------
    y_true, y_pred, sensitive_features, pos_label, bins
        As in :func:`group_table`.
    min_group_size : int, default=5
        Smaller groups are left out, with a warning: a rate of a few rows is noise, and the largest difference finds it.

    Returns
    -------
    DataFrame of shape (n_attributes, 12)
        One row per attribute and, with several, one for their intersection: for demographic parity, equalized odds and
        equal opportunity the ``_difference`` (in [0, 1], 0 is fair) and the ``_ratio`` (in [0, 1], 1 is fair) of
        fairlearn; ``four_fifths``, whether the lowest selection rate is at least four fifths of the highest [1]_, None
        where nobody is selected; both rates; accuracy in the worst group, its name, and the groups left out. NaN where
        a group has no row of a label that is needed.

    Warns
    -----
    SmallGroupWarning
        If a group is left out, or lacks a label.

    References
    ----------
    .. [1] Uniform Guidelines on Employee Selection Procedures (1978), 29 CFR 1607.4(D).

    Examples
    --------
    >>> from sklearn_fairlatent.metrics import disparity_table
    >>> sex = {"sex": ["f"] * 10 + ["m"] * 10}
    >>> table = disparity_table([1, 0] * 10, [1, 0] * 5 + [1] * 10, sensitive_features=sex)
    >>> float(table.loc["sex", "demographic_parity_difference"]), bool(table.loc["sex", "four_fifths"])
    (0.5, False)
    """
    index = getattr(y_true, "index", None)
    y_true, y_pred = binary_labels(y_true, y_pred, pos_label)
    groups = with_intersection(read_groups(sensitive_features, len(y_true), index=index, bins=bins))
    rows = {}
    for name in groups:
        sizes = group_sizes(groups[name].dropna())
        small = sizes.index[sizes < min_group_size].tolist()
        kept = (groups[name].notna() & ~groups[name].isin(small)).to_numpy()
        rows[name] = _disparities(name, y_true[kept], y_pred[kept], groups[name].to_numpy()[kept])
        rows[name]["left_out"] = ", ".join(map(str, small))
        if small:
            warnings.warn(
                f"{name!r}: group(s) {small} have fewer than min_group_size={min_group_size} rows and are left out.",
                SmallGroupWarning,
                stacklevel=2,
            )
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("attribute")
    return table.astype({"four_fifths": object})


def _disparities(name, y_true, y_pred, group):
    if len(pd.unique(group)) < 2:
        raise ValueError(
            f"{name!r} has fewer than two groups with enough rows, between which there is no difference. Pass rows of "
            "another group, lower min_group_size, or leave the attribute out."
        )
    row = {}
    for constraint, (difference, ratio, needed) in DISPARITIES.items():
        lacking = lacking_labels(y_true, group, needed)
        if lacking:
            warnings.warn(
                f"{name!r}: group {lacking[0][0]!r} has no row of {_LABEL[lacking[0][1]]} label, so {constraint} is "
                "undefined.",
                SmallGroupWarning,
                stacklevel=3,
            )
        for kind, metric in (("difference", difference), ("ratio", ratio)):
            found = np.nan if lacking else metric(y_true, y_pred, sensitive_features=group)
            row[f"{constraint}_{kind}"] = float(found)
    rates = MetricFrame(metrics=selection_rate, y_true=y_true, y_pred=y_pred, sensitive_features=group).by_group
    accuracy = MetricFrame(metrics=accuracy_score, y_true=y_true, y_pred=y_pred, sensitive_features=group).by_group
    lowest, highest = float(rates.min()), float(rates.max())
    return row | {
        "four_fifths": bool(lowest >= FOUR_FIFTHS * highest * (1 - 1e-9)) if highest > 0 else None,
        "lowest_selection_rate": lowest,
        "highest_selection_rate": highest,
        "worst_accuracy": float(accuracy.min()),
        "worst_group": accuracy.idxmin(),
    }


def _check_known(name, known):
    if not known.any():
        raise ValueError(f"{name}: the group of every row is missing. Pass rows whose groups are known.")


def worst_group_score(y_true, y_pred, *, sensitive_features, metric=accuracy_score, within_labels=True, bins=None):
    """The score of the group that fares worst.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
    sensitive_features : Series, DataFrame or array-like of shape (n_samples,) or (n_samples, n_attributes)
        The groups are the intersections of all attributes. Rows with a missing value do not count.
    metric : callable, default=accuracy_score
        ``metric(y_true, y_pred)``, greater is better.
    within_labels : bool, default=True
        True: the cells of attribute and label are the groups, as in worst-group accuracy [1]_. False: the attribute's.
    bins : dict of str to list of float, default=None
        Edges at which continuous attributes are cut.

    Returns
    -------
    float

    References
    ----------
    .. [1] Sagawa, Koh, Hashimoto, Liang (2020), "Distributionally robust neural networks for group shifts", ICLR,
       section 2.

    Examples
    --------
    >>> from sklearn_fairlatent.metrics import worst_group_score
    >>> worst_group_score([1, 0, 1, 0], [1, 0, 0, 0], sensitive_features=["f", "f", "m", "m"])
    0.0
    """
    index = getattr(y_true, "index", None)
    y_true, y_pred = (column_or_1d(as_values(values)) for values in (y_true, y_pred))
    if len(y_true) != len(y_pred) or pd.isna(y_true).any() or pd.isna(y_pred).any():
        raise ValueError(
            f"y_true has {len(y_true)} rows, y_pred has {len(y_pred)}; they must have as many, none of them missing."
        )
    cells = crossed(read_groups(sensitive_features, len(y_true), index=index, bins=bins))
    if within_labels:
        cells = crossed(pd.DataFrame({"cell": cells, "label": y_true}, dtype=object))
    known = pd.notna(cells)
    _check_known("sensitive_features", known)
    frame = MetricFrame(metrics=metric, y_true=y_true[known], y_pred=y_pred[known], sensitive_features=cells[known])
    return float(frame.group_min())


def bias_amplification(y_true, y_pred, *, sensitive_features, pos_label=None, bins=None):
    """How much further than the labels the predictions tie the favourable label to the groups.

    For every group, the rate of the favourable label among its predictions less that among its labels, counted positive
    where the group has more of it than the average and negative where it has less; the mean over the groups.

    Parameters
    ----------
    y_true, y_pred, sensitive_features, pos_label, bins
        As in :func:`group_table`; the groups are the intersections of all attributes.

    Returns
    -------
    float
        In [-1, 1]: 0 for predictions with the rates of the labels, positive if they exaggerate the differences. Where
        the labels have the same rate in all groups there is nothing to exaggerate, and new differences cancel: look at
        the differences themselves.

    References
    ----------
    .. [1] Wang and Russakovsky (2021), "Directional bias amplification", ICML, eq. 2-4, from attribute to task.
    .. [2] Ramaswamy, Kim, Russakovsky (2021), "Fair attribute classification through latent space de-biasing", CVPR,
       section 4, which uses it.

    Examples
    --------
    >>> from sklearn_fairlatent.metrics import bias_amplification
    >>> sex = ["f"] * 4 + ["m"] * 4
    >>> bias_amplification([1, 0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1, 1, 0], sensitive_features=sex)
    0.25
    """
    index = getattr(y_true, "index", None)
    y_true, y_pred = binary_labels(y_true, y_pred, pos_label)
    cells = crossed(read_groups(sensitive_features, len(y_true), index=index, bins=bins))
    known = pd.notna(cells)
    _check_known("sensitive_features", known)
    group, names = pd.factorize(cells[known])
    return _amplification(y_true[known], y_pred[known], group, len(names))


def _amplification(y_true, y_pred, group, n_groups):
    """:func:`bias_amplification` of labels, predictions and groups as codes; groups without rows do not count."""
    sizes = np.bincount(group, minlength=n_groups)
    here = sizes > 0
    true, predicted = (
        np.bincount(group, weights=values, minlength=n_groups)[here] / sizes[here] for values in (y_true, y_pred)
    )
    sign = np.where(true > y_true.mean(), 1, -1)
    return float((sign * (predicted - true)).mean())


def score_distribution_gap(
    y_true, y_score, *, sensitive_features, bins=None, n_bins=20, smoothing=1.0, agg="worst_case"
):
    """How far the groups' distributions of scores lie apart: symmetrised Kullback-Leibler divergence of histograms.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or None
        Labels, within which the scores are compared (a stricter equalized odds). None: over all rows.
    y_score : array-like of shape (n_samples,)
        Scores of any scale.
    sensitive_features, bins
        As in :func:`group_table`; the groups are the intersections of all attributes.
    n_bins : int, default=20
        Bins of equal width between the lowest and the highest score.
    smoothing : float, default=1.0
        Rows added to a histogram, spread evenly over its bins, so that an empty one does not make the gap infinite.
    agg : {"worst_case", "mean"}, default="worst_case"
        Over pairs of groups and labels.

    Returns
    -------
    float
        In nats, at least 0: ``KL(p, q) + KL(q, p)``.

    References
    ----------
    .. [1] Chen and Wu (2020), "Towards fairer machine learning", and Ramaswamy, Kim, Russakovsky (2021), "Fair
       attribute classification through latent space de-biasing", CVPR, section 4 ("KL").

    Examples
    --------
    >>> from sklearn_fairlatent.metrics import score_distribution_gap
    >>> sex = ["f"] * 50 + ["m"] * 50
    >>> score_distribution_gap(None, list(range(50)) * 2, sensitive_features=sex)
    0.0
    """
    if agg not in ("worst_case", "mean"):
        raise ValueError(f"agg={agg!r}: expected 'worst_case' or 'mean'.")
    if not smoothing > 0:
        raise ValueError(f"smoothing={smoothing!r}: expected a number > 0.")
    if isinstance(n_bins, bool) or not isinstance(n_bins, (int, np.integer)) or n_bins < 2:
        raise ValueError(f"n_bins={n_bins!r}: expected an integer >= 2.")
    index = getattr(y_score, "index", getattr(y_true, "index", None))
    y_score = column_or_1d(y_score).astype(np.float64)
    if not np.isfinite(y_score).all():
        raise ValueError("y_score contains NaN or infinity. Drop these rows before.")
    cells = crossed(read_groups(sensitive_features, len(y_score), index=index, bins=bins))
    labels = np.zeros(len(y_score)) if y_true is None else column_or_1d(as_values(y_true))
    if len(labels) != len(y_score):
        raise ValueError(f"y_true has {len(labels)} rows, y_score has {len(y_score)}; they must have the same length.")
    if pd.isna(labels).any():
        raise ValueError("y_true contains missing values. Drop these rows before.")
    known = pd.notna(cells)
    _check_known("sensitive_features", known)
    group, names = pd.factorize(cells[known])
    position = score_bins(y_score[known], n_bins)
    gaps = _histogram_gaps(position, group, labels[known], len(names), n_bins, smoothing)
    if not gaps:
        raise ValueError("sensitive_features has a single group within every label: there is no gap to measure.")
    return float(max(gaps) if agg == "worst_case" else np.mean(gaps))


def score_bins(y_score, n_bins):
    """The bin of every score, of ``n_bins`` of equal width between the lowest and the highest."""
    edges = np.linspace(y_score.min(), y_score.max(), n_bins + 1)
    return np.clip(np.searchsorted(edges, y_score, side="right") - 1, 0, n_bins - 1)


def _histogram_gaps(position, group, labels, n_groups, n_bins, smoothing):
    """Symmetrised divergences of the histograms of every two groups, within every label."""
    gaps = []
    for label in pd.unique(labels):
        here = labels == label
        counts = np.bincount(group[here] * n_bins + position[here], minlength=n_groups * n_bins)
        counts = counts.reshape(n_groups, n_bins)
        shares = counts[counts.any(1)] + smoothing / n_bins
        shares = shares / shares.sum(1, keepdims=True)
        gaps += [((p - q) * np.log(p / q)).sum() for p, q in combinations(shares, 2)]
    return gaps
