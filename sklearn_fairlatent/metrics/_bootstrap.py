"""Average precision and bias of scores, with bootstrapped medians, as latent de-biasing is evaluated."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score
from sklearn.utils import check_random_state, column_or_1d

from .._attributes import as_values
from .._groups import binary_labels, crossed, read_groups
from .._parameters import check_value, is_integer, is_real
from ._disparity import _amplification, _histogram_gaps, score_bins

BIAS_MEASURES = (
    "average_precision",
    "equal_opportunity_difference",
    "bias_amplification",
    "score_distribution_gap",
)
# Bins of the score histograms, and rows added to each: those of score_distribution_gap.
N_BINS, SMOOTHING = 20, 1.0


def calibrated_threshold(y_true, y_score, *, pos_label=None):
    """The threshold at which as many rows are selected as have the favourable label.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Labels of rows that are not those to be judged.
    y_score : array-like of shape (n_samples,)
        Scores of any scale, higher for the favourable label.
    pos_label : object, default=None
        The favourable label. None: 1 of {0, 1}, {-1, 1} or booleans.

    Returns
    -------
    float
        ``y_score >= threshold`` selects as many rows as are favourable, more only where scores are tied.

    Raises
    ------
    ValueError
        If no row has the favourable label, or a score is not finite.

    References
    ----------
    .. [1] Ramaswamy, Kim, Russakovsky (2021), "Fair attribute classification through latent space de-biasing", CVPR,
       section 4, whose thresholds are calibrated on validation rows.

    Examples
    --------
    >>> from sklearn_fairlatent.metrics import calibrated_threshold
    >>> calibrated_threshold([0, 1, 0, 1], [0.1, 0.4, 0.6, 0.9])
    0.6
    """
    y_true, y_score = _labels_and_scores(y_true, y_score, pos_label)
    n_favourable = int(y_true.sum())
    if not n_favourable:
        raise ValueError("y_true has no row of the favourable label: there is no rate to calibrate to.")
    return float(np.sort(y_score)[-n_favourable])


def bias_scores(
    y_true,
    y_score,
    *,
    sensitive_features,
    threshold,
    pos_label=None,
    bins=None,
    n_bootstraps=500,
    random_state=None,
):
    """How well scores tell the label and how far they are biased, each with its median over bootstraps.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Two classes.
    y_score : array-like of shape (n_samples,)
        Scores of any scale, higher for the favourable label.
    sensitive_features : Series, DataFrame or array-like of shape (n_samples,) or (n_samples, n_attributes)
        The groups are the intersections of all attributes. Rows with a missing value do not count.
    threshold : float
        Scores from it on are favourable; see :func:`calibrated_threshold`, on other rows.
    pos_label : object, default=None
        The favourable label. None: 1 of {0, 1}, {-1, 1} or booleans.
    bins : dict of str to list of float, default=None
        Edges at which continuous attributes are cut.
    n_bootstraps : int, default=500
        How often the rows are drawn with replacement, at least 1.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    DataFrame of shape (4, 4)
        Rows: ``average_precision`` in [0, 1]; ``equal_opportunity_difference``, the largest difference of the groups'
        true positive rates, in [0, 1]; ``bias_amplification`` (see :func:`bias_amplification`) in [-1, 1];
        ``score_distribution_gap`` within labels (see :func:`score_distribution_gap`), in nats. Columns: ``value`` of
        all rows, the ``median`` over the bootstraps, and ``low`` and ``high``, their 2.5th and 97.5th percentiles. NaN
        where a group has no row of the favourable label; bootstraps without one do not count.

    Raises
    ------
    ValueError
        If there is one group only, or an argument is out of its range.

    Notes
    -----
    The largest of several divergences between histograms grows with every row that is drawn twice: of
    ``score_distribution_gap`` the median and the interval lie above ``value``, the more so the fewer the rows. They
    compare methods on the same rows and are no interval for the value.

    References
    ----------
    .. [1] Ramaswamy, Kim, Russakovsky (2021), "Fair attribute classification through latent space de-biasing", CVPR,
       section 4.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_fairlatent.metrics import bias_scores, calibrated_threshold
    >>> rng = np.random.default_rng(0)
    >>> sex = rng.choice(["f", "m"], 1000)
    >>> y = rng.integers(2, size=1000)
    >>> score = y + (sex == "m") + rng.normal(size=1000)
    >>> table = bias_scores(
    ...     y[500:],
    ...     score[500:],
    ...     sensitive_features=sex[500:],
    ...     threshold=calibrated_threshold(y[:500], score[:500]),
    ...     n_bootstraps=50,
    ...     random_state=0,
    ... )
    >>> bool(table.loc["equal_opportunity_difference", "median"] > 0.2)
    True
    """
    index = getattr(y_true, "index", None)
    y_true, y_score = _labels_and_scores(y_true, y_score, pos_label)
    check_value("n_bootstraps", n_bootstraps, is_integer(n_bootstraps) and n_bootstraps >= 1, "an integer >= 1")
    check_value("threshold", threshold, is_real(threshold) and np.isfinite(threshold), "a finite number")
    cells = crossed(read_groups(sensitive_features, len(y_true), index=index, bins=bins))
    known = pd.notna(cells)
    y_true, y_score = y_true[known], y_score[known]
    group, names = pd.factorize(cells[known], sort=False)
    if len(names) < 2:
        raise ValueError(f"sensitive_features has a single group {list(names)}: there is nothing to compare.")
    position = score_bins(y_score, N_BINS)
    selected = (y_score >= threshold).astype(int)

    def measured(rows):
        true, predicted, where = y_true[rows], selected[rows], group[rows]
        n_true = np.bincount(where, weights=true, minlength=len(names))
        hits = np.bincount(where, weights=true * predicted, minlength=len(names))
        with np.errstate(invalid="ignore"):
            rates = hits / n_true
        return (
            average_precision_score(true, y_score[rows]) if true.any() else np.nan,
            rates.max() - rates.min(),
            _amplification(true, predicted, where, len(names)),
            max(_histogram_gaps(position[rows], where, true, len(names), N_BINS, SMOOTHING), default=np.nan),
        )

    rng = check_random_state(random_state)
    n = len(y_true)
    draws = np.array([measured(rng.randint(n, size=n)) for _ in range(n_bootstraps)])
    table: dict[str, Any] = {"value": measured(np.arange(n))}
    for name, share in (("median", 0.5), ("low", 0.025), ("high", 0.975)):
        table[name] = [
            np.quantile(column[~np.isnan(column)], share) if not np.isnan(column).all() else np.nan
            for column in draws.T
        ]
    return pd.DataFrame(table, index=pd.Index(BIAS_MEASURES, name="measure"), dtype=float)


def _labels_and_scores(y_true, y_score, pos_label):
    y_true, _ = binary_labels(y_true, y_true, pos_label)
    y_score = column_or_1d(as_values(y_score)).astype(np.float64)
    if len(y_true) != len(y_score):
        raise ValueError(f"y_true has {len(y_true)} rows, y_score has {len(y_score)}; they must have the same length.")
    if not np.isfinite(y_score).all():
        raise ValueError("y_score contains NaN or infinity. Drop these rows before.")
    return y_true, y_score
