"""Counterfactual rows of tables by matching: rows that were seen, many of them, what was to stay stays."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from sklearn_fairlatent import TabularCodec
from sklearn_fairlatent import _row_matching as row_matching
from sklearn_fairlatent._row_matching import _most_uses, _prices, _typical
from sklearn_fairlatent.datasets import load_german

from .samples import _trained

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
]


def _table(n=1500, seed=0):
    """Rows whose job hangs on the group, the pay on the label, the town on nothing; both are tied."""
    rng = np.random.default_rng(seed)
    group = rng.choice(["f", "m"], n, p=[0.3, 0.7])
    label = (rng.random(n) < np.where(group == "m", 0.5, 0.2)).astype(int)
    jobs = np.array(["nurse", "midwife", "clerk", "smith"])
    shares = {"f": [0.5, 0.4, 0.05, 0.05], "m": [0.05, 0.05, 0.3, 0.6]}
    X = pd.DataFrame({
        "job": [rng.choice(jobs, p=shares[g]) for g in group],
        "pay": (20 + 15 * label + 4 * rng.normal(size=n)).round(1),
        "town": rng.choice(["a", "b", "c"], n),
        "hours": rng.integers(20, 60, n),
    })  # fmt: skip
    return X, label, pd.DataFrame({"group": group, "level": rng.normal(size=n)})


@pytest.fixture(scope="module")
def matched():
    """Rows, a transport of them, and the rows as members of the other group."""
    X, y, A = _table()
    A = A[["group"]]
    fair = _trained(
        X,
        y,
        A,
        counterfactual_map="transport",
        encoder=TabularCodec(),
        immutable_features=["town"],
        reader_steps={"READER_STEPS": 150},
    )
    return X, y, A, fair, fair.counterfactual(X, "group", sensitive_features=A)


def test_rows_become_rows_of_the_other_group_that_were_seen(matched):
    X, _, A, fair, moved = matched
    assert fair.counterfactual_map_.maps["group"].kind == "matching"
    assert moved.dtypes.tolist() == X.dtypes.tolist()
    assert_array_equal(moved["town"], X["town"])
    far = moved["pay"] != X["pay"]
    assert far.sum() > 50
    for group, other in (("f", "m"), ("m", "f")):
        seen = set(map(tuple, X.loc[A["group"] == other, ["job", "pay"]].round(1).to_numpy()))
        rows = moved.loc[far & (A["group"] == group), ["job", "pay"]].round(1)
        assert set(map(tuple, rows.to_numpy())) <= seen
        # Negative control: not all of them were seen in the own group.
        own = set(map(tuple, X.loc[A["group"] == group, ["job", "pay"]].round(1).to_numpy()))
        assert not set(map(tuple, rows.to_numpy())) <= own


def test_numbers_that_hardly_differ_stay(matched):
    X, _, _, _, moved = matched
    for name in ("pay", "hours"):
        step = (moved[name] - X[name]).abs() / X[name].std()
        assert (step == 0).mean() > 0.2
        assert step[step > 0].min() > 0.9 * row_matching.NEAR


def test_the_rows_that_come_of_it_are_spread_as_those_of_the_other_group(matched):
    X, y, A, _, moved = matched
    for group, other in (("f", "m"), ("m", "f")):
        for label in (0, 1):
            own, real = (X["job"][(A["group"] == g) & (y == label)] for g in (group, other))
            there = moved["job"][(A["group"] == group) & (y == label)]
            gaps = [
                (rows.value_counts(normalize=True).sub(real.value_counts(normalize=True), fill_value=0)).abs().sum() / 2
                for rows in (there, own)
            ]
            # Rows that are read as of another group than they are, such as a smith who is a woman, are not given.
            assert gaps[0] < 0.2
            # Negative control: before, they were not.
            assert gaps[1] > 0.7


def test_what_else_is_read_stays(matched):
    X, _, A, fair, moved = matched
    panel = fair.counterfactual_map_.panel
    encode = fair.encoding_.encode
    assert (panel.read(encode(moved), "target") == panel.read(encode(X), "target")).mean() > 0.93
    assert (panel.read(encode(moved), "group") == (A["group"] == "f")).mean() > 0.9
    # Negative control: labels of rows of the other group taken at random.
    other = X.iloc[np.random.default_rng(0).permutation(len(X))]
    assert (panel.read(encode(other), "target") == panel.read(encode(X), "target")).mean() < 0.75


def test_own_group_and_label_and_path_and_pickle(matched):
    X, _, A, fair, moved = matched
    pd.testing.assert_frame_equal(fair.counterfactual(X, "group", A["group"].to_numpy(), sensitive_features=A), X)
    again = pickle.loads(pickle.dumps(fair)).counterfactual(X, "group", sensitive_features=A)
    pd.testing.assert_frame_equal(again, moved)
    label = fair.counterfactual(X, "target", 1)
    assert label["pay"].mean() > X["pay"].mean() + 3
    path = fair.counterfactual_path(X[:5], "group", n_steps=2, sensitive_features=A[:5])
    pd.testing.assert_frame_equal(path[-1], moved[:5])


@pytest.mark.parametrize("step", [0.5, 2.0])
def test_a_row_is_matched_as_a_whole(matched, step):
    X, _, A, fair, _ = matched
    with pytest.raises(ValueError, match=rf"step={step}: .*'transport'.*Pass step=1, or fit with .*'trained'"):
        fair.counterfactual(X, "group", sensitive_features=A, step=step)


def test_a_number_beside_a_group_of_a_table():
    X, y, A = _table(600)
    X["hours"] = (X["hours"] + 6 * A["level"]).round().astype(int)
    fair = _trained(X, y, A, counterfactual_map="transport", encoder=TabularCodec(), continuous_features=["level"])
    kinds = {name: found.kind for name, found in fair.counterfactual_map_.maps.items()}
    assert kinds == {"target": "matching", "group": "matching", "level": "transport"}
    moved = fair.counterfactual(X, "level", A["level"] + 2, sensitive_features=A)
    assert moved["hours"].mean() > X["hours"].mean() + 4
    both = fair.counterfactual(X, ["group", "level"], {"level": A["level"] + 2}, sensitive_features=A)
    for name in ("job", "town"):
        assert set(both[name]) <= set(X[name])
    assert (both["job"] != X["job"]).mean() > 0.3


def test_a_table_with_gaps_and_many_groups():
    bunch = load_german()
    X = bunch.data.copy()
    X["duration"] = X["duration"].astype(float).where(np.arange(len(X)) % 7 > 0)
    A = bunch.sensitive_features["age"].astype(str).to_frame()
    A["housing"] = X.pop("housing").astype(str)
    fair = _trained(X, bunch.target, A, counterfactual_map="transport", encoder=TabularCodec())
    moved = fair.counterfactual(X, "housing", A["housing"].unique()[0], sensitive_features=A)
    stays = (A["housing"] == A["housing"].unique()[0]).to_numpy()
    pd.testing.assert_frame_equal(moved[stays], X[stays])
    assert 0.02 < moved["duration"].isna().mean() < 0.3
    for name in X.select_dtypes(exclude="number"):
        assert set(moved[name].dropna()) <= set(X[name].dropna())


def test_rows_that_readers_do_not_believe_are_left_out_but_not_most():
    margins = np.arange(-7.0, 13.0)
    assert_array_equal(_typical(np.arange(20), margins + 5), np.arange(2, 20))
    assert_array_equal(_typical(np.arange(20), margins), np.arange(5, 20))
    assert_array_equal(_typical(np.arange(20), margins - 20), np.arange(5, 20))


def test_two_attributes_one_after_the_other_keep_what_may_not_change_between():
    X, y, A = _table(800)
    A = A[["group"]].assign(second=np.where(A["level"] > 0, "high", "low"))
    X["hours"] += 20 * (A["second"] == "high")
    fair = _trained(X, y, A, counterfactual_map="transport", encoder=TabularCodec(), immutable_features=["town", "pay"])
    both = fair.counterfactual(X, ["group", "second"], sensitive_features=A)
    first = fair.counterfactual(X, "group", sensitive_features=A)
    other = A.assign(group=A["group"].map({"f": "m", "m": "f"}))
    pd.testing.assert_frame_equal(fair.counterfactual(first, "second", sensitive_features=other), both)


# ---------------------------------------------------------------- prices


def test_prices_spread_the_uses():
    rng = np.random.default_rng(0)
    # A few columns are cheap for everybody.
    costs = (10 * rng.random((900, 300)) + np.where(np.arange(300) < 10, 0.0, 10.0)).astype(np.float32)
    most = np.full(300, 3.0)
    prices = _prices(costs, most)
    uses = np.bincount((costs + prices).argmin(1), minlength=300)
    assert uses.max() <= 3 * most[0]
    assert (uses > 0).mean() > 0.85
    assert (prices >= 0).all()
    # Negative control: without prices ten columns take all.
    assert np.bincount(costs.argmin(1), minlength=300)[10:].sum() == 0
    assert _prices(costs[:0], most).tolist() == [0.0] * 300


def test_rows_in_a_rare_cell_may_be_used_more_often():
    asking = np.array([[0.0]] * 60 + [[1.0]] * 40)
    donors = np.array([[0.0]] * 90 + [[1.0]] * 10)
    most = _most_uses(asking, donors)
    assert np.unique(most[:90]).tolist() == [1.0]
    assert np.unique(most[90:]).tolist() == [4.0]
    assert (_most_uses(asking[:60], donors) >= 1).all()
