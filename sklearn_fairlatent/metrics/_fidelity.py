"""How near the distribution of synthetic rows is to that of real ones: columns, pairs of columns, and the manifold."""

from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp
from sklearn.neighbors import NearestNeighbors

# Numbers are cut at these quantiles of the real rows to be counted in pairs.
DECILES = np.arange(1, 10) / 10
# Of more pairs a random choice is taken, whose mean has a standard error of 1/45 of the pairs' spread.
MAX_PAIRS = 2000


def marginal_fidelity(real, synthetic):
    """Likeness of every column.

    Parameters
    ----------
    real, synthetic : DataFrame
        With the same columns: numbers, or anything that has categories.

    Returns
    -------
    Series
        Per column, in [0, 1]: one minus the Kolmogorov-Smirnov distance of numbers, or the total variation distance
        of the shares of categories (missing is one). A missing number counts as one below all others.
    """
    scores = {}
    for name in real:
        pair = [column[name] for column in (real, synthetic)]
        if _is_number(pair[0]):
            numbers = [_numbers(column) for column in pair]
            scores[name] = 1 - ks_2samp(*[np.nan_to_num(n, nan=-np.finfo(float).max) for n in numbers]).statistic
        else:
            scores[name] = 1 - _total_variation(*_codes(*pair))
    return pd.Series(scores, dtype=float)


def pairwise_fidelity(real, synthetic, random_state=0):
    """Mean likeness of pairs of columns.

    Parameters
    ----------
    real, synthetic : DataFrame
        With the same columns.
    random_state : int
        Chooses among more than 2,000 pairs.

    Returns
    -------
    float
        In [0, 1]: one minus the mean total variation distance of the pairs' joint shares; numbers are cut at the
        deciles of the real ones.
    """
    coded = [_codes(*(_cut(table[name], real[name]) for table in (real, synthetic))) for name in real]
    pairs = list(combinations(range(len(coded)), 2))
    if not pairs:
        return 1.0 - _total_variation(*coded[0])
    if len(pairs) > MAX_PAIRS:
        chosen = np.random.RandomState(random_state).choice(len(pairs), MAX_PAIRS, replace=False)
        pairs = [pairs[k] for k in chosen]
    distances = []
    for i, j in pairs:
        width = 1 + max(part.max() for part in coded[j])
        distances.append(_total_variation(*(a * width + b for a, b in zip(coded[i], coded[j], strict=True))))
    return 1.0 - float(np.mean(distances))


def manifold_scores(real, synthetic, n_neighbors=5):
    """Precision, recall, density and coverage of synthetic rows.

    Parameters
    ----------
    real, synthetic : ndarray of shape (n, n_columns)
        In units in which distances mean something.
    n_neighbors : int

    Returns
    -------
    dict of str to float
        "precision": share of synthetic rows within the ball of some real row, which reaches to its ``n_neighbors``-th
        neighbour [1]_; "recall": the same the other way round; "density": mean number of such balls over
        ``n_neighbors``, about 1 at best; "coverage": share of real rows with a synthetic one within their ball [2]_.

    References
    ----------
    .. [1] Kynkaanniemi, Karras, Laine, Lehtinen, Aila (2019), "Improved precision and recall metric for assessing
       generative models", NeurIPS, eq. 1-2.
    .. [2] Naeem, Oh, Uh, Choi, Yoo (2020), "Reliable fidelity and diversity metrics for generative models", ICML, eq.
       3-4.
    """
    # Near the origin rounding takes the least from distances.
    middle = real.mean(axis=0)
    real, synthetic = real - middle, synthetic - middle
    radii = [_radii(rows, n_neighbors) for rows in (real, synthetic)]
    within_real, balls, covered = _within(synthetic, real, radii[0])
    within_synthetic, _, _ = _within(real, synthetic, radii[1])
    return {
        "precision": float(within_real.mean()),
        "recall": float(within_synthetic.mean()),
        "density": float(balls.mean() / n_neighbors),
        "coverage": float(covered.mean()),
    }


def _radii(rows, n_neighbors):
    """Distance of every row to its neighbour of that number, itself left out."""
    distances, _ = NearestNeighbors(n_neighbors=n_neighbors).fit(rows).kneighbors()
    return distances[:, -1]


def _within(points, centres, radii, chunk=1000):
    """Whether a point is in some ball, in how many, and whether a ball holds some point."""
    inside, balls, covered = [], [], np.zeros(len(centres), dtype=bool)
    squares = (centres**2).sum(axis=1)
    for start in range(0, len(points), chunk):
        part = points[start : start + chunk]
        distances = (part**2).sum(axis=1)[:, None] - 2 * part @ centres.T + squares
        # Rounding leaves equal rows a hair apart: the square root of its size relative to the largest square.
        hair = 1e-7 * np.sqrt(squares.max())
        member = np.sqrt(np.maximum(distances, 0)) <= radii * (1 + 1e-7) + hair
        inside.append(member.any(axis=1))
        balls.append(member.sum(axis=1))
        covered |= member.any(axis=0)
    return np.concatenate(inside), np.concatenate(balls), covered


def _is_number(column):
    return _is_time(column) or (
        pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype)
    )


def _is_time(column):
    return pd.api.types.is_datetime64_any_dtype(column.dtype) or pd.api.types.is_timedelta64_dtype(column.dtype)


def _numbers(column):
    """Numbers, dates and durations (in nanoseconds) as floats, NaN where missing."""
    if not _is_time(column):
        return column.to_numpy(dtype=float, na_value=np.nan)
    unit = "timedelta64[ns]" if pd.api.types.is_timedelta64_dtype(column.dtype) else "datetime64[ns]"
    times = (column.dt.tz_convert(None) if getattr(column.dtype, "tz", None) else column).to_numpy().astype(unit)
    return np.where(np.isnat(times), np.nan, times.astype(np.int64))


def _cut(column, reference):
    """Numbers as the decile of the reference, everything else as it is."""
    if not _is_number(reference):
        return column
    known = _numbers(reference)
    known = known[~np.isnan(known)]
    edges = np.unique(np.quantile(known, DECILES)) if len(known) else known
    numbers = _numbers(column)
    return pd.Series(np.where(np.isnan(numbers), -1, np.searchsorted(edges, numbers, side="right")))


def _codes(first, second):
    """Both columns as the same whole numbers from 0."""
    both = pd.concat([pd.Series(np.asarray(column, dtype=object)) for column in (first, second)], ignore_index=True)
    codes = pd.factorize(both)[0] + 1  # missing: 0
    return codes[: len(first)], codes[len(first) :]


def _total_variation(first, second):
    n = 1 + max(first.max(), second.max())
    return (
        0.5
        * np.abs(np.bincount(first, minlength=n) / len(first) - np.bincount(second, minlength=n) / len(second)).sum()
    )
