"""Group metrics: tables against fairlearn, the papers' measures against arithmetic by hand, groups and bins."""

import fairlearn.metrics
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.metrics import balanced_accuracy_score

from sklearn_fairlatent import SmallGroupWarning
from sklearn_fairlatent._groups import binary_labels, crossed, read_groups
from sklearn_fairlatent.metrics import (
    bias_amplification,
    disparity_table,
    group_table,
    score_distribution_gap,
    worst_group_score,
)


def draw(n=400, seed=0):
    rng = np.random.default_rng(seed)
    A = pd.DataFrame({"sex": rng.choice(["f", "m"], n), "race": rng.choice(["k", "l", "o"], n)})
    y = rng.integers(0, 2, n)
    guess = np.where(rng.random(n) < 0.2 + 0.3 * (A["sex"] == "m"), 1, y)
    return y, guess, A


def test_group_table_counts():
    y, guess, A = draw()
    table = group_table(y, guess, sensitive_features=A)
    assert table.index.get_level_values("attribute").unique().tolist() == ["sex", "race", "sex & race"]
    assert table.loc["sex & race"].index.tolist() == [f"{s} & {r}" for s in "fm" for r in "klo"]
    rows = (A["sex"] == "f").to_numpy()
    assert table.loc[("sex", "f"), "n_samples"] == rows.sum()
    assert_allclose(
        table.loc[("sex", "f"), ["selection_rate", "true_positive_rate", "false_positive_rate", "accuracy"]].astype(
            float
        ),
        [guess[rows].mean(), guess[rows & (y == 1)].mean(), guess[rows & (y == 0)].mean(), (guess == y)[rows].mean()],
    )


def test_group_table_has_no_rate_of_no_rows():
    table = group_table([0, 0, 1, 0], [1, 0, 1, 0], sensitive_features=["a", "a", "b", "b"])
    rate = table["true_positive_rate"]["sensitive_feature_0"]
    assert np.isnan(rate["a"])
    assert rate["b"] == 1
    # What fairlearn says of a group without positives: that all of them are missed.
    frame = fairlearn.metrics.MetricFrame(
        metrics=fairlearn.metrics.true_positive_rate, y_true=[0, 0, 1, 0], y_pred=[1, 0, 1, 0],
        sensitive_features=["a", "a", "b", "b"],
    )  # fmt: skip
    assert frame.by_group["a"] == 0


def test_disparity_table_equals_fairlearn():
    y, guess, A = draw()
    table = disparity_table(y, guess, sensitive_features=A)
    for name, given_ in (("sex", A["sex"]), ("race", A["race"]), ("sex & race", A)):
        for constraint in ("demographic_parity", "equalized_odds", "equal_opportunity"):
            for kind in ("difference", "ratio"):
                wanted = getattr(fairlearn.metrics, f"{constraint}_{kind}")(y, guess, sensitive_features=given_)
                assert_allclose(table.loc[name, f"{constraint}_{kind}"], wanted)
    low, high = table.loc["sex", "lowest_selection_rate"], table.loc["sex", "highest_selection_rate"]
    assert_allclose(high - low, table.loc["sex", "demographic_parity_difference"])
    assert table.loc["sex", "worst_group"] == "m"


def test_four_fifths_and_small_differences():
    """0.015 of difference where few are selected is no parity."""
    group = np.repeat(["a", "b"], 1000)
    guess = np.r_[np.arange(1000) < 5, np.arange(1000) < 20].astype(int)
    table = disparity_table(guess, guess, sensitive_features={"s": group})
    assert_allclose(table.loc["s", "demographic_parity_difference"], 0.015)
    assert_allclose(table.loc["s", "demographic_parity_ratio"], 0.25)
    assert not table.loc["s", "four_fifths"]
    nobody = disparity_table(np.arange(2000) % 2, np.zeros(2000, int), sensitive_features={"s": group})
    assert nobody.loc["s", "four_fifths"] is None
    four, five = np.r_[np.arange(1000) < 800, np.arange(1000) < 1000].astype(int), np.arange(2000) % 2
    assert disparity_table(five, four, sensitive_features={"s": group}).loc["s", "four_fifths"]


def test_disparity_table_leaves_small_groups_out_and_says_so():
    y, guess, A = draw()
    sex = A["sex"].astype(object)
    sex.iloc[:3] = "x"
    with pytest.warns(SmallGroupWarning, match=r"'sex': group\(s\) \['x'\] have fewer than min_group_size=5 rows"):
        table = disparity_table(y, guess, sensitive_features=sex)
    kept = np.arange(len(y)) >= 3
    wanted = fairlearn.metrics.demographic_parity_difference(y[kept], guess[kept], sensitive_features=sex[kept])
    assert_allclose(table.loc["sex", "demographic_parity_difference"], wanted)
    assert table.loc["sex", "left_out"] == "x"
    with pytest.raises(ValueError, match="'s' has fewer than two groups with enough rows"):
        disparity_table([1, 0] * 10, [1, 0] * 10, sensitive_features={"s": ["a"] * 20})


def test_disparity_table_has_no_number_without_positives():
    y, group = np.r_[np.zeros(20, int), [0, 1] * 10], np.repeat(["a", "b"], 20)
    with pytest.warns(SmallGroupWarning, match="group 'a' has no row of the favourable label, so equal"):
        table = disparity_table(y, y, sensitive_features={"s": group})
    assert np.isnan(table.loc["s", ["equalized_odds_difference", "equal_opportunity_ratio"]].astype(float)).all()
    assert_allclose(table.loc["s", "demographic_parity_difference"], 0.5)


def test_worst_group_is_a_cell_of_attribute_and_label():
    y = np.array([1, 1, 0, 0, 1, 1, 0, 0])
    guess = np.array([1, 1, 0, 0, 1, 0, 0, 0])
    group = ["a"] * 4 + ["b"] * 4
    assert worst_group_score(y, guess, sensitive_features=group) == 0.5
    assert worst_group_score(y, guess, sensitive_features=group, within_labels=False) == 0.75
    score = worst_group_score(y, guess, sensitive_features=group, within_labels=False, metric=balanced_accuracy_score)
    assert score == 0.75
    words = np.where(y, "yes", "no")
    assert worst_group_score(words, np.where(guess, "yes", "no"), sensitive_features=group) == 0.5


def test_bias_amplification_by_hand():
    # a: rate 0.2 below the mean of 0.5, predicted 0.1; b: rate 0.8, predicted 1.0. (0.1 + 0.2) / 2.
    y = np.r_[np.arange(10) < 2, np.arange(10) < 8].astype(int)
    guess = np.r_[np.arange(10) < 1, np.arange(10) < 10].astype(int)
    group = ["a"] * 10 + ["b"] * 10
    assert_allclose(bias_amplification(y, guess, sensitive_features=group), 0.15)
    assert_allclose(bias_amplification(y, y, sensitive_features=group), 0)
    # The unfavourable label has the same amplification.
    assert_allclose(bias_amplification(y, guess, sensitive_features=group, pos_label=0), 0.15)
    flat = np.r_[np.arange(10) < 5, np.arange(10) < 5].astype(int)
    assert_allclose(bias_amplification(y, flat, sensitive_features=group), -0.3)


@settings(max_examples=25, deadline=None)  # an example takes about 80 ms
@given(st.integers(0, 10**6))
def test_bounds_and_permutation_invariance(seed):
    y, guess, A = draw(120, seed)
    scores = np.random.default_rng(seed).normal(size=120)
    order = np.random.default_rng(seed + 1).permutation(120)
    for metric, first, low, high in (
        (bias_amplification, guess, -1, 1),
        (worst_group_score, guess, 0, 1),
        (score_distribution_gap, scores, 0, np.inf),
    ):
        found = metric(y, first, sensitive_features=A["sex"])
        assert low <= found <= high
        assert_allclose(metric(y[order], first[order], sensitive_features=A["sex"].iloc[order]), found, atol=1e-12)


def test_score_gap_by_hand():
    # Two bins; a has shares 3/4, 1/4 and b 1/4, 3/4 but for one row of smoothing spread over both.
    scores = np.r_[np.repeat([0.0, 1.0], [75, 25]), np.repeat([0.0, 1.0], [25, 75])]
    group = np.repeat(["a", "b"], 100)
    p, q = 75.5 / 101, 25.5 / 101
    wanted = 2 * (p - q) * np.log(p / q)
    assert_allclose(score_distribution_gap(None, scores, sensitive_features=group, n_bins=2), wanted)
    # Within labels that explain all of it, none is left.
    assert_allclose(score_distribution_gap(scores > 0, scores, sensitive_features=group, n_bins=2), 0, atol=0.02)
    mean = score_distribution_gap(np.arange(200) % 2, scores, sensitive_features=group, n_bins=2, agg="mean")
    assert 0 < mean <= score_distribution_gap(np.arange(200) % 2, scores, sensitive_features=group, n_bins=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"agg": "sum"}, "agg='sum'"),
        ({"smoothing": 0}, "smoothing=0"),
        ({"sensitive_features": ["a"] * 4}, "single group within every label"),
        ({"y_true": [0, 1]}, "y_true has 2 rows, y_score has 4"),
        ({"y_score": [0, 1, np.nan, 1]}, "y_score contains NaN"),
    ],
)
def test_score_gap_bad_input(arguments, message):
    given_ = {"y_true": None, "y_score": [0.0, 1, 2, 3], "sensitive_features": list("aabb"), **arguments}
    with pytest.raises(ValueError, match=message):
        score_distribution_gap(given_.pop("y_true"), given_.pop("y_score"), **given_)


@pytest.mark.parametrize("labels", [(0, 1), (-1, 1), (False, True), (0.0, 1.0)])
def test_labels_whose_favourable_one_is_known(labels):
    found = binary_labels(np.array(labels)[[0, 1, 1]], np.array(labels)[[0, 0, 1]], None)
    assert [part.tolist() for part in found] == [[0, 1, 1], [0, 0, 1]]


def test_labels_that_are_refused():
    with pytest.raises(ValueError, match="y_true has 2 rows, y_pred has 3"):
        binary_labels([0, 1], [0, 1, 1], None)
    with pytest.raises(ValueError, match="contains missing values"):
        binary_labels([0, np.nan], [0, 1], None)
    with pytest.raises(ValueError, match=r"the labels are \[0, 10, 2, 3, 4, 5\] and 4 more"):
        binary_labels([0, 10, 2, 3, 4, 5, 6, 7, 8, 9], [0] * 10, None)


def test_labels_and_predictions_of_different_kinds_are_refused():
    with pytest.raises(ValueError, match=r"y_true has \['a', 'b'\] and y_pred \[0, 1\]: .*must be of one kind"):
        binary_labels(["a", "b", "a"], [0, 1, 1], "a")


def test_crossed_groups_are_never_merged():
    missing = crossed(pd.DataFrame({"sex": ["f", None, "m"], "race": ["k", "k", np.nan]}, dtype=object))
    assert missing.tolist() == ["f & k", None, None]
    table = group_table([1, 0, 1, 0], [1, 0, 0, 0], sensitive_features={"a": ["f", None, "m", "m"], "b": list("kkkl")})
    assert table.loc["a & b", "n_samples"].sum() == 3
    mixed = crossed(pd.DataFrame({"x": [1, "1", "k & l", "k"], "y": ["z", "z", "m", "l & m"]}, dtype=object))
    assert len(set(mixed)) == 4
    edges = [1234001, 1234002, 1234003]
    assert read_groups({"pay": [1234001, 1234002]}, 2, bins={"pay": edges})["pay"].nunique() == 2
    assert crossed(pd.DataFrame({"ward": [2, 1]}, dtype=object)).tolist() == [2, 1]


def test_groups_of_frames_dicts_and_bins():
    age = [20.0, 30, 40, np.nan]
    groups = read_groups({"age": age, "sex": ["f", None, "m", "m"]}, 4, bins={"age": [40, 30]})
    assert groups["age"].tolist() == ["< 30", "30 to < 40", ">= 40", None]
    assert groups["sex"].tolist() == ["f", None, "m", "m"]
    assert read_groups({"ward": [1, 2, 3, 1]}, 4)["ward"].tolist() == [1, 2, 3, 1]
    with pytest.raises(ValueError, match=r"bins\['age'\]=\[\]: expected a list of finite edges"):
        read_groups({"age": age}, 4, bins={"age": []})
    with pytest.raises(ValueError, match="bins names 'sex', whose values are not numbers"):
        read_groups({"sex": ["f", "m"]}, 2, bins={"sex": [1]})
    with pytest.raises(ValueError, match="'pay' is a quantity with 30 different values"):
        read_groups({"pay": np.arange(30)}, 30)


def test_an_attribute_may_have_any_name():
    y, guess, A = draw()
    plain = worst_group_score(y, guess, sensitive_features={"x": A["sex"].to_numpy()})
    assert worst_group_score(y, guess, sensitive_features={"the label": A["sex"].to_numpy()}) == plain
    with pytest.raises(ValueError, match="they must have as many"):
        worst_group_score(y, guess[1:], sensitive_features=A)


def test_rows_in_another_order_are_refused():
    y, guess, A = draw()
    for metric in (disparity_table, group_table, bias_amplification, worst_group_score, score_distribution_gap):
        with pytest.raises(ValueError, match="in another order"):
            metric(pd.Series(y), pd.Series(guess), sensitive_features=A.sample(frac=1, random_state=0))


def test_four_fifths_exactly():
    guess = np.r_[1, np.zeros(4, int), np.ones(4, int), np.zeros(21, int)]  # 1/5 and 4/25
    y = np.arange(30) % 2
    assert disparity_table(y, guess, sensitive_features=["a"] * 5 + ["b"] * 25)["four_fifths"].iloc[0]
    with pytest.raises(ValueError, match="n_bins=1"):
        score_distribution_gap(None, y, sensitive_features=["a"] * 15 + ["b"] * 15, n_bins=1)


NOBODY = {
    "group_table": lambda y, guess, A: group_table(y, guess, sensitive_features=A),
    "worst_group_score": lambda y, guess, A: worst_group_score(y, guess, sensitive_features=A),
    "bias_amplification": lambda y, guess, A: bias_amplification(y, guess, sensitive_features=A),
    "score_distribution_gap": lambda y, guess, A: score_distribution_gap(y, guess, sensitive_features=A),
}


@pytest.mark.parametrize("metric", NOBODY.values(), ids=NOBODY)
def test_without_a_row_whose_group_is_known_there_is_an_error(metric):
    y, guess, _ = draw()
    with pytest.raises(ValueError, match="the group of every row is missing"):
        metric(y, guess, [None] * len(y))
    with pytest.raises(ValueError, match="the group of every row is missing"):
        metric(y, guess, pd.DataFrame({"sex": draw()[2]["sex"], "race": None}))


def test_attributes_that_are_never_known_together_have_tables_of_their_own():
    y, guess, A = draw()
    A = A.astype(object)
    A.iloc[:200, 0] = A.iloc[200:, 1] = None
    table = group_table(y, guess, sensitive_features=A)
    assert table.index.get_level_values("attribute").unique().tolist() == ["sex", "race"]
    assert table.loc["sex", "n_samples"].sum() == 200


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_scores_of_rows_without_a_label_are_refused(missing):
    y, guess, A = draw()
    y = y.astype(object)
    y[3] = missing
    with pytest.raises(ValueError, match="y_true contains missing values"):
        score_distribution_gap(y, guess, sensitive_features=A)


def test_groups_may_be_tuples():
    words = np.repeat(["f", "m"], 20)
    pairs = pd.Series([(word, 1) for word in words], name="group")
    y_true, y_pred = np.tile([0, 1, 1, 0], 10), np.tile([0, 1], 20)
    plain = group_table(y_true, y_pred, sensitive_features=pd.Series(words, name="group"))
    found = group_table(y_true, y_pred, sensitive_features=pairs)
    assert found.index.get_level_values(1).tolist() == [("f", 1), ("m", 1)]
    np.testing.assert_array_equal(found.to_numpy(), plain.to_numpy())
