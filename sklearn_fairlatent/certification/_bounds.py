"""Upper bounds on a total variation distance from two samples of cells (numpy and scipy; nothing of rows or groups)."""

from functools import lru_cache

import numpy as np
from scipy.special import betaincinv, ndtr, xlogy
from scipy.stats import binom

# Beyond this many rows the binomial is enclosed by two normal values instead of computed: they are a
# sixteenth of its standard deviation apart at most.
EXACT_ROWS = 1000
# The second group's probability is cut into intervals, of this share of Hoeffding's deviation or wider where that
# rules them out, and its count into steps of this share of its standard deviation: the bound is wider by as much.
FREQUENCY_SLACK = 0.014
COUNT_SLACK = 0.06
# Standard deviations of the second group's count that are summed over; what lies beyond counts in full.
COUNT_RANGE = 7.0
# The bound is found to within this share of Hoeffding's deviation.
PRECISION = 1e-3
FIRST_INTERVALS = 32
# Intervals whose probabilities are computed at once: 64 of 250 steps are 0.1 MB an array.
CHUNK = 64


def total_variation(first, second):
    """The total variation distance of two tables of counts: the largest difference over sets of cells.

    Parameters
    ----------
    first, second : ndarray of shape (..., n_codes)
        Counts; every row of them has at least one.

    Returns
    -------
    ndarray of shape (...)
        In [0, 1].
    """
    p = first / first.sum(-1, keepdims=True)
    q = second / second.sum(-1, keepdims=True)
    return 0.5 * np.abs(p - q).sum(-1)


def largest_step(first, second):
    """The largest difference between the shares of two groups beyond a threshold: cells in their order, one to the end.

    Parameters
    ----------
    first, second : ndarray of shape (..., n_codes)

    Returns
    -------
    ndarray of shape (...)
        In [0, 1]; the Kolmogorov-Smirnov statistic.
    """
    p = first.cumsum(-1) / first.sum(-1, keepdims=True)
    q = second.cumsum(-1) / second.sum(-1, keepdims=True)
    return np.abs(p - q).max(-1)


def clopper_pearson(counts, n, error):
    """Two-sided intervals of binomial probabilities, each of which misses with probability ``error`` at most.

    Parameters
    ----------
    counts : ndarray of int
    n : int or ndarray
        Trials.
    error : float
        In (0, 1).

    Returns
    -------
    low, high : ndarray
        In [0, 1].
    """
    with np.errstate(invalid="ignore"):
        low = np.where(counts > 0, betaincinv(np.maximum(counts, 1), n - counts + 1, error / 2), 0.0)
        high = np.where(counts < n, betaincinv(counts + 1, np.maximum(n - counts, 1), 1 - error / 2), 1.0)
    return low, high


def clopper_pearson_bound(first, second, error):
    """The largest total variation distance that intervals for all cells of both groups at once leave.

    Parameters
    ----------
    first, second : ndarray of shape (..., n_codes)
        Counts.
    error : float
        In (0, 1): with this probability at most the bound is too low.

    Returns
    -------
    ndarray of shape (...)
        In [0, 1].
    """
    n_codes = first.shape[-1]
    (p_low, p_high), (q_low, q_high) = (
        clopper_pearson(counts, counts.sum(-1, keepdims=True), error / (2 * n_codes)) for counts in (first, second)
    )
    # The distance is the sum of (p - q)+, also that of (q - p)+, also one less the sum of min(p, q).
    more = np.maximum(p_high - q_low, 0).sum(-1)
    less = np.maximum(q_high - p_low, 0).sum(-1)
    overlap = np.minimum(p_low, q_low).sum(-1)
    return np.minimum(np.minimum(more, less), 1 - overlap)


def l1_bound(first, second, error):
    """The plug-in distance and half of how far either group's frequencies may be off in the sum over cells.

    Parameters
    ----------
    first, second : ndarray of shape (..., n_codes)
        Counts.
    error : float
        In (0, 1).

    Returns
    -------
    ndarray of shape (...)
        In [0, 1].
    """
    n_codes = first.shape[-1]
    if n_codes == 1:
        return np.zeros(first.shape[:-1])
    # log(2^k - 2), without the power, which is no number of floating point beyond a thousand cells.
    log_sets = n_codes * np.log(2) + np.log1p(-(2.0 ** (1 - n_codes)))
    off = sum(np.sqrt(2 * (log_sets - np.log(error / 2)) / counts.sum(-1)) for counts in (first, second))
    return np.minimum(total_variation(first, second) + off / 2, 1.0)


def dkw_bound(first, second, error):
    """The plug-in Kolmogorov-Smirnov distance and how far either group's distribution function may be off.

    Parameters
    ----------
    first, second : ndarray of shape (..., n_codes)
        Counts of ordered cells.
    error : float
        In (0, 1).

    Returns
    -------
    ndarray of shape (...)
        In [0, 1].
    """
    off = sum(np.sqrt(np.log(4 / error) / (2 * counts.sum(-1))) for counts in (first, second))
    return np.minimum(largest_step(first, second) + off, 1.0)


def fixed_set_bound(gap, n_first, n_second, error):
    """The largest difference of two probabilities that a difference of frequencies of ``gap`` does not rule out.

    The largest ``d`` for which some pair of probabilities ``p - q = d`` gives two independent samples a difference of
    frequencies of at most ``gap`` with probability above ``error``: the one-sided exact unconditional interval.

    Parameters
    ----------
    gap : float
        In [-1, 1]; below 0 it counts as 0.
    n_first, n_second : int
        Sizes of the samples, at least 1.
    error : float
        In (0, 1).

    Returns
    -------
    float
        In [``gap``, 1]; never below the exact value, and above it by two to four hundredths of ``bound - gap`` at 95 %.

    References
    ----------
    Chan and Zhang (1999), "Test-based exact confidence intervals for the difference of two binomial proportions",
    Biometrics 55, section 2.
    """
    return _fixed_set_bound(max(0.0, float(gap)), int(n_first), int(n_second), float(error))


# Several pairs of groups, and repeated calls, ask for the same.
@lru_cache(maxsize=4096)
def _fixed_set_bound(gap, n_first, n_second, error):
    # Hoeffding's inequality always holds.
    most = min(1.0, gap + np.sqrt((1 / n_first + 1 / n_second) * np.log(1 / error) / 2))

    def probability(difference, low, high):
        return _largest_probability(difference, low, high, gap, n_first, n_second)

    def first_impossible(low, high, below):
        """The least difference that is impossible in the interval, or ``most``, to within the precision."""
        above = most
        if probability(above, low, high)[0] > error:
            return most
        while above - below > PRECISION * (most - gap):
            middle = (below + above) / 2
            below, above = (middle, above) if probability(middle, low, high)[0] > error else (below, middle)
        return above

    # Where the variance is about the largest, one frequency alone: the bound is no lower.
    hardest = np.clip(0.5 - gap * n_second / (n_first + n_second), 0.0, 1.0 - gap)
    found = first_impossible(np.array([hardest]), np.array([hardest]), gap)
    fine = FREQUENCY_SLACK * (most - gap)
    ends = np.linspace(0.0, 1.0, FIRST_INTERVALS + 1)
    low, high = ends[:-1], ends[1:]
    # What is impossible stays so for larger differences. Wide intervals are cut in two; of narrow ones the hardest
    # sets a new bound.
    while found < most:
        chance = probability(found, low, high)
        left = chance > error
        if not left.any():
            return float(found)
        low, high, chance = low[left], high[left], chance[left]
        wide = high - low > fine
        if wide.any():
            middle = (low[wide] + high[wide]) / 2
            low, high = np.r_[low[~wide], low[wide], middle], np.r_[high[~wide], middle, high[wide]]
        else:
            k = [int(chance.argmax())]
            # A little more, so that intervals as hard as this one need not be looked at one by one.
            found = first_impossible(low[k], high[k], found) + PRECISION * (most - gap)
    return float(most)


def _largest_probability(difference, low, high, gap, n_first, n_second):
    """Upper bounds, over q in each interval, of ``P(X / n_first - Y / n_second <= gap)``, ``p = q + difference``.

    The probability falls in p and rises in q, so that p at the low and q at the high end bound it.
    """
    out = np.zeros(len(low))
    # An interval whose p would all exceed one holds no pair.
    possible = np.flatnonzero(low + difference <= 1.0)
    for start in range(0, len(possible), CHUNK):
        part = possible[start : start + CHUNK]
        p, q = (low[part] + difference)[:, None], high[part][:, None]
        mean, spread = n_second * q, np.sqrt(n_second * q * (1 - q))
        n_steps = int(np.ceil(2 * COUNT_RANGE / COUNT_SLACK)) + 1
        steps = mean + spread * np.linspace(-COUNT_RANGE, COUNT_RANGE, n_steps)
        if n_second < n_steps:
            steps = np.broadcast_to(np.arange(n_second + 1.0), (len(part), n_second + 1))
        steps = np.clip(np.floor(steps), 0, n_second)
        # g(y) = P(X <= n_first (gap + y / n_second)) rises in y; y in (steps[j - 1], steps[j]] counts as steps[j].
        # A count that rounding puts just below a whole number is that number, which errs upwards.
        highest = np.floor(n_first * (gap + steps / n_second) + 1e-9 * n_first * gap + 1e-9)
        g = _at_most(highest, n_first, p, upper=True)
        below = _at_most(steps[:, :-1], n_second, q, upper=False)
        # Summed by parts, so that a lower bound of Y's distribution function gives an upper one of the whole.
        beyond = 1.0 - _at_most(steps[:, -1:], n_second, q, upper=False)[:, 0]
        out[part] = g[:, -1] - (below * np.diff(g, axis=1)).sum(axis=1) + beyond * (1.0 - g[:, -1])
    return out


def _at_most(k, n, p, *, upper):
    """A bound, from above or from below, of the binomial distribution function; itself for few rows."""
    if n <= EXACT_ROWS:
        return binom.cdf(k, n, p)
    # Zubkov and Serov (2013), "A complete proof of universal inequalities for the distribution function of the binomial
    # law", Theory Probab. Appl. 57, theorem 1: C(k) <= P(X <= k) <= C(k + 1).
    at = np.clip(k + 1.0 if upper else k, 0.0, n)
    share = at / n
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence = xlogy(share, share / p) + xlogy(1 - share, (1 - share) / (1 - p))
        value = ndtr(np.sign(share - p) * np.sqrt(2 * n * np.maximum(divergence, 0)))
        # At the ends the enclosing values are probabilities themselves.
        if upper:
            value = np.where(at >= n, 1.0, value)
        else:
            value = np.where(at <= 0, np.exp(n * np.log1p(-p)), value)
    value = np.where(k < 0, 0.0, np.where(k >= n, 1.0, value))
    # p is a probability at the very end of its range.
    value = np.where(p >= 1.0, (k >= n).astype(float), value)
    return np.where(p <= 0.0, (k >= 0).astype(float), value)
