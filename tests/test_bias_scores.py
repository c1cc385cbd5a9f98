"""Bias of scores with bootstraps: against fairlearn, scikit-learn and the package's own measures on the same rows."""

import fairlearn.metrics
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import average_precision_score

from sklearn_fairlatent.metrics import bias_amplification, bias_scores, calibrated_threshold, score_distribution_gap

MEASURES = ["average_precision", "equal_opportunity_difference", "bias_amplification", "score_distribution_gap"]


def draw(n=300, seed=0, n_groups=2):
    """Labels, scores and groups that all go together."""
    rng = np.random.default_rng(seed)
    group = rng.choice(list("abc")[:n_groups], n)
    y = (rng.random(n) < 0.3 + 0.3 * (group == "a")).astype(int)
    return y, y + 0.8 * (group == "a") + rng.normal(size=n), group


def scored(y, score, group, **options):
    options = {"threshold": 0.8, "n_bootstraps": 20, "random_state": 0} | options
    return bias_scores(y, score, sensitive_features=group, **options)


def by_hand(y, score, group, threshold):
    """The four measures, one after the other."""
    guess = (score >= threshold).astype(int)
    return [
        average_precision_score(y, score),
        fairlearn.metrics.equal_opportunity_difference(y, guess, sensitive_features=group),
        bias_amplification(y, guess, sensitive_features=group),
        score_distribution_gap(y, score, sensitive_features=group),
    ]


def test_a_score_on_the_threshold_is_favourable():
    y, score, group = draw()
    for threshold in score[:5]:
        assert_allclose(scored(y, score, group, threshold=threshold)["value"], by_hand(y, score, group, threshold))
    all_of_them = scored(y, np.ones(len(y)), group, threshold=1.0)
    assert_allclose(
        all_of_them.loc["bias_amplification", "value"],
        bias_amplification(y, np.ones(len(y), dtype=int), sensitive_features=group),
    )


def test_the_table_has_a_row_for_every_measure():
    table = scored(*draw())
    assert table.index.tolist() == MEASURES
    assert table.index.name == "measure"
    assert table.columns.tolist() == ["value", "median", "low", "high"]
    assert set(table.dtypes) == {np.dtype(float)}
    assert np.isfinite(table).all(axis=None)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(2, 3), st.floats(-1, 2), st.sampled_from([1.0, 1e-3, 1e5]))
def test_values_are_those_of_fairlearn_of_scikit_learn_and_of_the_package(seed, n_groups, threshold, scale):
    y, score, group = draw(120, seed, n_groups)
    table = scored(y, score * scale, group, threshold=threshold * scale, n_bootstraps=1)
    assert_allclose(table["value"], by_hand(y, score * scale, group, threshold * scale), rtol=1e-9, atol=1e-12)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 40))
def test_the_median_lies_between_low_and_high_and_all_in_their_range(seed, n_bootstraps):
    table = scored(*draw(100, seed), n_bootstraps=n_bootstraps, random_state=seed)
    assert (table["low"] <= table["median"]).all()
    assert (table["median"] <= table["high"]).all()
    least, most = np.array([[0], [0], [-1], [0]]), np.array([[1], [1], [1], [np.inf]])
    assert ((table.to_numpy() >= least) & (table.to_numpy() <= most)).all()


def test_one_bootstrap_is_its_own_interval():
    table = scored(*draw(), n_bootstraps=1)
    assert_array_equal(table["median"], table["low"])
    assert_array_equal(table["median"], table["high"])
    assert (table["median"] != table["value"]).all()


def test_medians_and_intervals_are_those_of_rows_drawn_again():
    y, score, group = draw(400)
    table = scored(y, score, group, n_bootstraps=400).drop(index="score_distribution_gap")
    rng = np.random.default_rng(1)
    found = []
    for rows in (rng.integers(400, size=400) for _ in range(400)):
        true, guess, where = y[rows], (score[rows] >= 0.8).astype(int), group[rows]
        rates = [guess[(true == 1) & (where == name)].mean() for name in "ab"]
        amplified = bias_amplification(true, guess, sensitive_features=where)
        found.append([average_precision_score(true, score[rows]), max(rates) - min(rates), amplified])
    for column, share in (("median", 0.5), ("low", 0.025), ("high", 0.975)):
        off = np.abs(table[column] - np.quantile(found, share, axis=0))
        assert (off < 0.6 * np.std(found, axis=0)).all()


def test_intervals_are_narrower_of_more_rows():
    few, many = (scored(*draw(n), n_bootstraps=100) for n in (100, 4000))
    width = [(table["high"] - table["low"])[:2] for table in (few, many)]
    assert (width[1] < 0.5 * width[0]).all()


def test_the_seed_decides_the_bootstraps_and_nothing_else():
    data = draw()
    first = scored(*data)
    pd.testing.assert_frame_equal(scored(*data), first, check_exact=True)
    pd.testing.assert_frame_equal(scored(*data, random_state=np.random.RandomState(0)), first, check_exact=True)
    other = scored(*data, random_state=1)
    assert_array_equal(other["value"], first["value"])
    assert (other["median"] != first["median"]).all()
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - the global generator is what is tested
    scored(*data)
    assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002 - the global generator is what is tested


def test_scores_without_bias_have_none():
    rng = np.random.default_rng(0)
    y, group = np.tile([0, 1], 1000), np.repeat(["a", "b"], 1000)
    table = scored(y, y + 0.1 * rng.normal(size=2000), group, threshold=0.5)
    assert_allclose(table["value"], [1, 0, 0, 0], atol=0.1)
    assert table.loc["average_precision", "value"] == 1


# ---------------------------------------------------------------- kinds of rows


def test_rows_without_a_group_do_not_count():
    y, score, group = draw()
    group = group.astype(object)
    group[::7] = None
    # Not even for the bins, however far away they lie.
    score[::7] = 1e3
    known = np.arange(len(y)) % 7 > 0
    expected = scored(y[known], score[known], group[known])
    pd.testing.assert_frame_equal(scored(y, score, group), expected, check_exact=True)
    pd.testing.assert_frame_equal(scored(y, score, pd.Series(group)), expected, check_exact=True)
    several = pd.DataFrame({"one": group, "other": np.where(np.arange(len(y)) == 1, np.nan, 1.0)})
    known[1] = False
    pd.testing.assert_frame_equal(scored(y, score, several), scored(y[known], score[known], group[known]))


def test_the_gap_is_that_of_the_rows_that_count():
    y, score, group = draw()
    group = group.astype(object)
    group[::7], score[::7] = None, 1e3
    gap = score_distribution_gap(y, score, sensitive_features=group)
    assert_allclose(gap, scored(y, score, group).loc["score_distribution_gap", "value"])


def test_several_attributes_are_crossed():
    y, score, group = draw(n_groups=3)
    other = np.where(np.arange(len(y)) % 2, "x", "y")
    crossed = np.char.add(group, other)
    together = scored(y, score, pd.DataFrame({"one": group, "other": other}))
    pd.testing.assert_frame_equal(together, scored(y, score, crossed), check_exact=True)


def test_all_kinds_of_columns_give_the_same():
    y, score, group = draw()
    expected = scored(y, score, group)
    kinds = [
        (y.tolist(), score.tolist(), group.tolist()),
        (pd.Series(y), pd.Series(score), pd.Series(group, dtype="category")),
        (pl.Series(y), pl.Series(score), pl.DataFrame({"g": group.tolist()})),
        (y == 1, score, {"g": group}),
        (2 * y - 1, score, group == "a"),
    ]
    for kind in kinds:
        pd.testing.assert_frame_equal(scored(*kind), expected)
    words = scored(np.where(y == 1, "yes", "no"), score, group, pos_label="yes")
    pd.testing.assert_frame_equal(words, expected)
    assert scored(y, score, group, pos_label=0).loc["average_precision", "value"] == average_precision_score(
        1 - y, score
    )


def test_quantities_are_cut_at_bins():
    y, score, group = draw()
    age = np.where(group == "a", 20.5, 40.25) + np.arange(len(y)) % 10
    found = scored(y, score, {"age": age}, bins={"age": [35]})
    assert_array_equal(found["value"], scored(y, score, group)["value"])


def test_scores_that_are_all_alike_have_no_bias():
    y, _, group = draw()
    table = scored(y, np.zeros(len(y)), group)
    assert_allclose(table.loc["equal_opportunity_difference"], 0)
    assert_allclose(table.loc["average_precision", "value"], y.mean())


# ---------------------------------------------------------------- too few rows


def test_a_group_without_favourable_rows_has_no_rate():
    y, score, group = draw()
    table = scored(np.where(group == "b", 0, y), score, group)
    assert table.loc["equal_opportunity_difference"].isna().all()
    assert np.isfinite(table.drop(index="equal_opportunity_difference")).all(axis=None)


def test_bootstraps_without_a_favourable_row_do_not_count():
    y, score, group = draw()
    lonely = np.flatnonzero(group == "b")
    y[lonely] = 0
    y[lonely[0]], score[lonely[0]] = 1, -9.0
    row = scored(y, score, group, n_bootstraps=60).loc["equal_opportunity_difference"]
    # The one favourable row of the group is missed in every draw that has it; it is in two of three.
    hits = (score >= 0.8)[(y == 1) & (group == "a")].mean()
    assert_allclose(row["value"], hits)
    assert_allclose(row["median"], hits, atol=0.05)
    assert row["low"] > hits - 0.2


def test_without_favourable_rows_only_the_selection_can_be_compared():
    _, score, group = draw()
    table = scored(np.zeros(len(score), dtype=int), score, group)
    assert table.loc[["average_precision", "equal_opportunity_difference"]].isna().all(axis=None)
    assert table.loc["score_distribution_gap", "value"] > 0


def test_groups_that_never_share_a_label_have_no_gap():
    table = scored([0, 1, 0, 1], [0.1, 0.9, 0.2, 0.8], list("abab"), threshold=0.5)
    assert table.loc["score_distribution_gap"].isna().all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"y_true": [0, 1]}, "y_true has 2 rows, y_score has 4"),
        ({"y_true": [0, 1, 2, 1]}, r"pos_label=None is ambiguous: the labels are \[0, 1, 2\]"),
        ({"y_true": list("pqpq")}, r"pos_label=None is ambiguous: the labels are \['p', 'q'\]"),
        ({"y_true": [0, 1, np.nan, 1]}, "contains missing values"),
        ({"y_score": [0.0, 1, np.nan, 1]}, "y_score contains NaN or infinity"),
        ({"y_score": [0.0, 1, np.inf, 1]}, "y_score contains NaN or infinity"),
        ({"y_score": np.ones((4, 2))}, "1d array"),
        ({"sensitive_features": ["a"] * 4}, r"single group \['a'\]: there is nothing to compare"),
        ({"sensitive_features": ["a", "a", None, None]}, r"single group \['a'\]"),
        ({"sensitive_features": ["a", "b"]}, "has 2 rows, X has 4"),
        ({"sensitive_features": {"age": [0.1, 0.2, 0.3, 0.4]}}, r"'age' is a quantity.*bins=\{'age'"),
        ({"bins": {"pay": [1]}}, r"bins names \['pay'\], which sensitive_features has not"),
        ({"threshold": np.nan}, "threshold=nan: expected a finite number"),
        ({"threshold": np.inf}, "threshold=inf: expected a finite number"),
        ({"threshold": "0.5"}, "threshold='0.5': expected a finite number"),
        ({"threshold": True}, "threshold=True: expected a finite number"),
        ({"n_bootstraps": 0}, "n_bootstraps=0: expected an integer >= 1"),
        ({"n_bootstraps": 2.5}, "n_bootstraps=2.5: expected an integer >= 1"),
        ({"n_bootstraps": True}, "n_bootstraps=True: expected an integer >= 1"),
        ({"pos_label": 7}, r"pos_label=7 is not among the labels \[0, 1\]"),
        ({"random_state": "a"}, "'a' cannot be used to seed"),
    ],
)
def test_bad_input_is_named(wrong, message):
    given_ = {"y_true": [0, 1, 0, 1], "y_score": [0.0, 1, 2, 3], "sensitive_features": list("aabb"), "threshold": 0.5}
    given_ |= wrong
    with pytest.raises(ValueError, match=message):
        bias_scores(given_.pop("y_true"), given_.pop("y_score"), **given_)


def test_rows_in_another_order_are_refused():
    y, score, group = draw()
    with pytest.raises(ValueError, match="in another order"):
        scored(pd.Series(y), pd.Series(score), pd.Series(group).sample(frac=1, random_state=0))


# ---------------------------------------------------------------- the threshold


@settings(max_examples=100)
@given(st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=1, max_size=30), st.booleans())
def test_as_many_rows_are_selected_as_are_favourable(rows, tied):
    y = np.array([favourable for favourable, _ in rows])
    if not y.any():
        y[0] = True
    score = np.array([value for _, value in rows], dtype=float)
    score += 0 if tied else np.arange(len(score)) * 1e-3
    threshold = calibrated_threshold(y, score)
    assert isinstance(threshold, float)
    assert threshold in score
    # Those above it are fewer than the favourable; with those on it they are enough.
    assert (score > threshold).sum() < y.sum() <= (score >= threshold).sum()
    if len(set(score)) == len(score):
        assert (score >= threshold).sum() == y.sum()


def test_the_favourable_label_of_a_threshold_may_be_told():
    assert calibrated_threshold(["q", "p", "p"], [1, 2, 3], pos_label="q") == 3
    assert calibrated_threshold(["q", "p", "p"], [1, 2, 3], pos_label="p") == 2
    assert calibrated_threshold(pd.Series([-1, 1]), pd.Series([5, 4])) == 5
    assert calibrated_threshold([1, 1, 1], [3, 2, 1]) == 1


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([0, 0], [1, 2]), {}, "y_true has no row of the favourable label"),
        (([0, 1], [1, 2, 3]), {}, "y_true has 2 rows, y_score has 3"),
        (([0, 1], [1, np.nan]), {}, "y_score contains NaN"),
        ((["p", "q"], [1, 2]), {}, "pos_label=None is ambiguous"),
        (([0, 1], [1, 2]), {"pos_label": 3}, "pos_label=3 is not among the labels"),
    ],
)
def test_a_threshold_that_cannot_be_told(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        calibrated_threshold(*arguments, **options)
