"""The bounds on a distance: exact values, other libraries' values, and how often they are too low."""

from bisect import bisect_left
from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, ks_2samp

from sklearn_fairlatent.certification import _bounds
from sklearn_fairlatent.certification._bounds import (
    clopper_pearson,
    clopper_pearson_bound,
    dkw_bound,
    fixed_set_bound,
    l1_bound,
    largest_step,
    total_variation,
)

ERROR = 0.05


def _fixed_set_too_low(gaps, sizes, true, error):
    """How many of the bounds are below the truth: the bound rises with the gap, so that few have to be computed."""
    gaps = np.sort(gaps)
    return bisect_left(gaps, True, key=lambda gap: fixed_set_bound(gap, *sizes, error) >= true - 1e-12)


# The number of samples whose bound is below the truth.
TOO_LOW = {
    "fixed_set": lambda p, q, true, error: _fixed_set_too_low(
        total_variation(p, q), (p[0].sum(), q[0].sum()), true, error
    ),
    "clopper_pearson": lambda p, q, true, error: (clopper_pearson_bound(p, q, error) < true - 1e-12).sum(),
    "l1": lambda p, q, true, error: (l1_bound(p, q, error) < true - 1e-12).sum(),
}


@st.composite
def tables(draw):
    n_codes = draw(st.integers(1, 6))
    counts = st.lists(st.integers(0, 30), min_size=n_codes, max_size=n_codes).filter(any)
    return np.array(draw(counts)), np.array(draw(counts))


@given(tables())
def test_the_distance_is_the_largest_difference_over_sets(pair):
    p, q = (counts / counts.sum() for counts in pair)
    cells = range(len(p))
    sets = chain.from_iterable(combinations(cells, size) for size in range(len(p) + 1))
    assert total_variation(*pair) == pytest.approx(max(p[list(s)].sum() - q[list(s)].sum() for s in sets), abs=1e-12)


@given(tables())
def test_the_largest_step_is_that_of_kolmogorov_and_smirnov(pair):
    rows = [np.repeat(np.arange(len(counts)), counts) for counts in pair]
    assert largest_step(*pair) == pytest.approx(ks_2samp(*rows, method="asymp").statistic, abs=1e-12)
    assert largest_step(*pair) <= total_variation(*pair) + 1e-12


def _exact(difference, gap, n_first, n_second, grid=2001):
    """The largest probability of at most ``gap``, over a grid of frequencies: at most the largest of all."""
    q = np.linspace(0, 1 - difference, grid)[:, None]
    y = np.arange(n_second + 1)
    highest = np.floor(n_first * (gap + y / n_second) + 1e-9)
    return (binom.cdf(highest, n_first, q + difference) * binom.pmf(y, n_second, q)).sum(axis=1).max()


@pytest.mark.parametrize(
    ("n_first", "n_second", "gap"),
    [(2, 2, 0.0), (2, 2, 0.5), (3, 50, 0.1), (15, 285, 0.05), (15, 285, 0.6), (60, 80, 0.0), (40, 40, 0.3)],
)
@pytest.mark.parametrize("error", [0.2, 0.05, 1e-4])
def test_the_exact_test_rules_out_no_more_than_it_may(n_first, n_second, gap, error):
    bound = fixed_set_bound(gap, n_first, n_second, error)
    assert gap <= bound <= 1
    if bound < 1:
        assert _exact(bound, gap, n_first, n_second) <= error
        # And it rules out nearly all: what lies a little below is possible.
        assert _exact(bound - 0.05 * (bound - gap), gap, n_first, n_second) > error


def test_a_sample_that_rules_out_nothing_bounds_nothing():
    assert fixed_set_bound(1.0, 50, 50, 0.05) == 1.0
    assert fixed_set_bound(0.0, 1, 1, 0.05) > 0.7
    assert fixed_set_bound(-0.3, 50, 50, 0.05) == fixed_set_bound(0.0, 50, 50, 0.05)


@settings(max_examples=10)  # of half a second each
@given(
    st.floats(0, 1),
    st.floats(0, 0.2),
    st.tuples(st.integers(1, 400), st.integers(1, 400)),
    st.sampled_from([0.1, 0.01]),
)
def test_a_larger_gap_or_fewer_errors_give_no_lower_bound(gap, more, sizes, error):
    bound = fixed_set_bound(gap, *sizes, error)
    slack = 0.02 * (bound - gap) + 1e-9  # the grid is another one
    assert fixed_set_bound(min(1.0, gap + more), *sizes, error) >= bound - slack
    assert fixed_set_bound(gap, *sizes, error / 5) >= bound - slack
    hoeffding = np.sqrt((1 / sizes[0] + 1 / sizes[1]) * np.log(1 / error) / 2)
    assert bound <= min(1.0, gap + hoeffding) + 1e-12


@given(st.integers(_bounds.EXACT_ROWS + 1, 10**6), st.floats(1e-6, 1 - 1e-6), st.floats(-6, 6))
def test_many_rows_are_enclosed(n, p, deviations):
    k = np.floor(np.clip(n * p + deviations * np.sqrt(n * p * (1 - p)), -1, n))
    exact = binom.cdf(k, n, p)
    low, high = (_bounds._at_most(np.array([k]), n, np.array([p]), upper=upper)[0] for upper in (False, True))
    assert low <= exact + 1e-12
    assert high >= exact - 1e-12
    # Not far: half a step of a normal value at most where the binomial is nearly normal.
    if n * p * (1 - p) > 1000:
        assert high - low < 0.05


def test_few_and_many_rows_agree(monkeypatch):
    exact = fixed_set_bound(0.03, 900, 950, 0.05)
    _bounds._fixed_set_bound.cache_clear()
    monkeypatch.setattr(_bounds, "EXACT_ROWS", 100)
    enclosed = fixed_set_bound(0.03, 900, 950, 0.05)
    _bounds._fixed_set_bound.cache_clear()
    assert exact < enclosed < exact + 0.05 * (exact - 0.03)


@pytest.mark.parametrize("n", [1, 7, 400])
def test_intervals_are_those_of_scipy(n):
    counts = np.unique(np.linspace(0, n, 8).astype(int))
    low, high = clopper_pearson(counts, n, 0.03)
    exact = [binomtest(int(k), n).proportion_ci(0.97, method="exact") for k in counts]
    np.testing.assert_allclose(low, [found.low for found in exact], atol=1e-10)
    np.testing.assert_allclose(high, [found.high for found in exact], atol=1e-10)


def test_the_deviation_in_the_sum_of_differences_is_weissmans():
    p, q = np.array([30, 20, 50]), np.array([100, 200, 100])
    off = sum(np.sqrt(2 * np.log((2**3 - 2) / (ERROR / 2)) / n) for n in (100, 400))
    assert l1_bound(p, q, ERROR) == pytest.approx(total_variation(p, q) + off / 2)
    many = np.ones(5000, dtype=int)
    assert 0 < l1_bound(100_000 * many, 100_000 * many, ERROR) < 1
    assert l1_bound(np.array([5]), np.array([9]), ERROR) == 0


def _problem(seed, n_codes, sizes, n, apart):
    rng = np.random.RandomState(seed)
    p = rng.dirichlet(np.ones(n_codes))
    q = (1 - apart) * p + apart * rng.dirichlet(np.ones(n_codes))
    return p, q, rng.multinomial(sizes[0], p, n), rng.multinomial(sizes[1], q, n)


@pytest.mark.parametrize("method", TOO_LOW)
@pytest.mark.parametrize(("n_codes", "sizes"), [(2, (30, 570)), (8, (400, 400)), (2, (1, 40))])
def test_bounds_are_rarely_too_low(method, n_codes, sizes):
    p, q, first, second = _problem(3, n_codes, sizes, 400, apart=0.6)
    true = total_variation(p, q)
    assert TOO_LOW[method](first, second, true, ERROR) <= binom.ppf(0.9999, 400, ERROR)


def test_a_bound_that_may_fail_often_does():
    """A negative control: of two codes a bound that may be too low in three samples of ten is so in some two."""
    rng = np.random.RandomState(0)
    p, q = np.array([0.3, 0.7]), np.array([0.5, 0.5])
    first, second, true = rng.multinomial(150, p, 400), rng.multinomial(300, q, 400), 0.2
    assert 0.15 < TOO_LOW["fixed_set"](first, second, true, 0.3) / 400 < 0.36
    assert (total_variation(first, second) < true).mean() > 0.3


def test_bounds_of_thresholds_are_rarely_too_low():
    p, q, first, second = _problem(5, 10, (200, 400), 400, apart=0.7)
    true = largest_step(p, q)
    gaps = largest_step(first, second)
    allowed = binom.ppf(0.9999, 400, ERROR)
    assert (dkw_bound(first, second, ERROR) < true).sum() <= allowed
    assert _fixed_set_too_low(gaps, (200, 400), true, ERROR) <= allowed
    assert fixed_set_bound(gaps[0], 200, 400, ERROR) < dkw_bound(first[0], second[0], ERROR)


def test_the_fixed_set_gives_the_lower_bound_but_where_all_codes_but_one_are_rare():
    _, _, (p,), (q,) = _problem(0, 16, (300, 400), 1, apart=0.2)
    fixed = fixed_set_bound(total_variation(p, q), 300, 400, ERROR)
    assert fixed < min(l1_bound(p, q, ERROR), clopper_pearson_bound(p, q, ERROR))
    p, q = np.array([998, 2]), np.array([1996, 4])
    assert clopper_pearson_bound(p, q, ERROR) < fixed_set_bound(total_variation(p, q), 1000, 2000, ERROR)
