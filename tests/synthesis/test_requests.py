"""What is asked of a sample: labels, groups, how they are balanced, and requests that make no sense."""

import numpy as np
import pandas as pd
import pytest

from .rows import quick, quick_teacher, vectors


@pytest.fixture(scope="module")
def two_attributes():
    """Three labels, two attributes of which some are missing, and one cell without rows."""
    X, _, group = vectors()
    rng = np.random.RandomState(1)
    y = rng.choice(["a", "b", "c"], len(X), p=[0.5, 0.3, 0.2])
    A = pd.DataFrame({"sex": np.where(group, "m", "f"), "origin": rng.choice(["here", "there"], len(X))})
    A.loc[(y == "c") & (A["origin"] == "there"), "origin"] = "here"
    A["sex"] = A["sex"].astype(object).where(rng.random_sample(len(X)) > 0.1, None)
    with pytest.warns(UserWarning, match="have no value of 'sex'"):
        return quick(quick_teacher()).fit(X, y, sensitive_features=A), y, A


def test_label_and_groups_are_drawn_independently(of_table, frame):
    X, y, A = of_table.sample(20_000)
    table = of_table.sampled_distribution_
    shares = pd.crosstab(y, A["sex"], normalize="columns")
    assert abs(shares.loc["yes", "f"] - shares.loc["yes", "m"]) < 0.02
    assert shares.loc["yes"].mean() == pytest.approx((frame[1] == "yes").mean(), abs=0.02)
    assert list(table.columns) == ["hired", "sex", "probability", "n_rows"]
    assert table["probability"].sum() == pytest.approx(1)
    assert table["n_rows"].sum() == len(X)
    # A negative control: in the training rows they are not independent.
    real = pd.crosstab(frame[1], frame[0]["sex"], normalize="columns").loc["yes"]
    assert abs(real["f"] - real["m"]) > 0.15


def test_as_observed_keeps_what_was_there(of_table, frame):
    _, y, A = of_table.sample(20_000, balance="as_observed")
    real = pd.crosstab(frame[1], frame[0]["sex"], normalize=True)
    found = pd.crosstab(y, A["sex"], normalize=True)
    np.testing.assert_allclose(found, real, atol=0.02)


def test_a_mapping_says_how_often_each_cell_comes(two_attributes):
    synthesizer = two_attributes[0]
    wanted = {("a", "f", "here"): 0.25, ("c", "m", "here"): 0.75}
    _, y, A = synthesizer.sample(4000, balance=wanted)
    cells = pd.Series(list(zip(y, A["sex"], A["origin"], strict=True))).value_counts(normalize=True)
    assert set(cells.index) == set(wanted)
    assert cells[("c", "m", "here")] == pytest.approx(0.75, abs=0.03)


def test_labels_and_groups_row_by_row(two_attributes):
    synthesizer = two_attributes[0]
    y = ["a", "b", "c", "a"] * 5
    A = pd.DataFrame({"origin": ["here"] * 20, "sex": ["f", "m"] * 10})
    _, labels, groups = synthesizer.sample(20, y=y, sensitive_features=A)
    assert labels.tolist() == y
    pd.testing.assert_frame_equal(groups[["origin", "sex"]].astype(object), A.astype(object))


def test_one_value_for_all_rows_and_the_rest_drawn(two_attributes):
    synthesizer = two_attributes[0]
    _, y, A = synthesizer.sample(300, y="c", balance="as_observed")
    assert set(y) == {"c"}
    assert set(A["origin"]) == {"here"}
    assert A["sex"].nunique() == 2
    _, y, A = synthesizer.sample(300, sensitive_features={"sex": "f", "origin": "there"}, balance="as_observed")
    assert set(A["sex"]) == {"f"}
    assert set(y) == {"a", "b"}


def test_the_only_attribute_needs_no_name(of_table):
    assert set(of_table.sample(20, sensitive_features="f")[2]["sex"]) == {"f"}
    assert of_table.sample(2, sensitive_features=["m", "f"])[2]["sex"].tolist() == ["m", "f"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"n_samples": 0}, "n_samples=0: expected an integer >= 1"),
        ({"n_samples": 2.5}, "n_samples=2.5: expected an integer >= 1"),
        ({"y": "maybe"}, "y: 'maybe' is not a known value of 'hired'"),
        ({"y": None, "sensitive_features": "x"}, "'x' is not a known value of 'sex'"),
        ({"y": ["yes"] * 3}, r"y has shape \(3,\): expected one label, or 10 of them"),
        ({"y": [None] * 10}, "y: a value of 'hired' is missing"),
        ({"sensitive_features": {"age": ["f"] * 10}}, r"sensitive_features holds \['age'\]: expected \['sex'\]"),
        ({"sensitive_features": ["f"] * 3}, r"sensitive_features has \[3\] rows: expected 10"),
        ({"balance": "fair"}, "balance='fair': expected one of"),
        ({"balance": {}}, "expected a probability for at least one"),
        ({"balance": {("yes", "f"): 0.5}}, "the probabilities sum to 0.5; expected 1"),
        ({"balance": {("yes", "f"): 1.5, ("no", "f"): -0.5}}, r"expected numbers in \[0, 1\]"),
        ({"balance": {("yes",): 1.0}}, r"balance has the key \('yes',\): expected a tuple of \['hired', 'sex'\]"),
        ({"balance": {("yes", "x"): 1.0}}, "balance: 'x' is not a known value of 'sex'"),
        ({"balance": {("yes", "f"): 1.0}, "y": "yes"}, "Pass the one or the other"),
        ({"source": "pupil"}, "source='pupil': expected one of"),
    ],
)
def test_requests_that_make_no_sense(of_table, asked, message):
    with pytest.raises(ValueError, match=message):
        of_table.sample(**{"n_samples": 10, **asked})


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"balance": {("c", "f", "there"): 1.0}},
        {"y": "c", "sensitive_features": {"sex": "f", "origin": "there"}},
    ],
)
def test_a_cell_without_training_rows_is_refused(two_attributes, asked):
    with pytest.raises(ValueError, match=r"target='c', sex='f', origin='there'.* of which fit saw none"):
        two_attributes[0].sample(10, **asked)
    # With no probability it does no harm.
    two_attributes[0].sample(10, balance={("c", "f", "there"): 0.0, ("a", "f", "here"): 1.0})


def test_what_is_not_asked_for_does_no_harm(two_attributes):
    # No row has c and there; of label "a" every group has some.
    assert set(two_attributes[0].sample(50, y="a")[1]) == {"a"}


@pytest.mark.filterwarnings("ignore:sensitive_features. .* rows have no value")
def test_labels_are_as_frequent_as_in_all_rows():
    X, _, group = vectors(1000)
    rng = np.random.RandomState(0)
    y = np.where(rng.random_sample(1000) < 0.3, "rare", "often")
    A = pd.Series(np.where(group, "m", "f"), name="sex").where((y == "often") | (rng.random_sample(1000) < 0.2))
    synthesizer = quick(quick_teacher()).fit(X, y, sensitive_features=A)
    for balance in ("independent", "as_observed"):
        labels = synthesizer.sample(20_000, balance=balance)[1]
        assert (labels == "rare").mean() == pytest.approx((y == "rare").mean(), abs=0.015)
    with pytest.raises(ValueError, match="every row with target='rare' misses an attribute"):
        quick(quick_teacher()).fit(X, y, sensitive_features=A.where(y == "often"))


@pytest.mark.filterwarnings("ignore::sklearn_fairlatent.MissingSensitiveWarning")
def test_two_keys_for_one_cell():
    X, y, _ = vectors()
    with pytest.raises(ValueError, match="balance has two keys for one cell"):
        quick(quick_teacher()).fit(X, y).sample(5, balance={1: 0.5, (1,): 0.5})
