"""Counterfactual rows of tables: valid, few columns changed, gaps, polars."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import HistGradientBoostingClassifier

from sklearn_fairlatent import TabularCodec
from sklearn_fairlatent.datasets import load_german

from .samples import _trained

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
]


@pytest.fixture(scope="module")
def german():
    """Rows with an odd index, the sex inside and the label, and a map of them."""
    bunch = load_german()
    X = bunch.data.assign(sex=bunch.sensitive_features["sex"].astype(str)).set_axis(np.arange(2000, 1000, -1))
    y = bunch.target.set_axis(X.index)
    fair = _trained(
        X,
        y,
        encoder=TabularCodec(),
        sensitive_columns=["sex"],
        steps={"N_STEPS": 40, "TABLE_GAINS": (1.2, 1.7), "MOST_REVISED": 200},
        reader_steps={"READER_STEPS": 150},
        immutable_features=["foreign_worker", "duration"],
    )
    return X, y, fair, fair.counterfactual(X, "sex")


def _assert_valid(rows, table):
    """Only values that ``table`` could hold."""
    assert rows.columns.tolist() == table.columns.tolist()
    assert rows.dtypes.tolist() == table.dtypes.tolist()
    pd.testing.assert_index_equal(rows.index, table.index)
    for name in table.columns:
        if pd.api.types.is_numeric_dtype(table[name]):
            present = rows[name].dropna()
            assert present.between(table[name].min(), table[name].max()).all(), name
        else:
            assert set(rows[name].dropna()) <= set(table[name].dropna()), name
        if not table[name].isna().any():
            assert not rows[name].isna().any(), name


def test_rows_of_a_table_are_valid_and_who_they_are_changes(german):
    X, _, fair, moved = german
    _assert_valid(moved, X)
    assert_array_equal(moved["sex"], X["sex"].map({"male": "female", "female": "male"}))
    label = fair.counterfactual(X, "target", "good")
    _assert_valid(label, X)
    assert_array_equal(label["sex"], X["sex"])
    both = fair.counterfactual(X, ["sex", "target"], {"sex": "female", "target": "good"})
    _assert_valid(both, X)
    assert set(both["sex"]) == {"female"}


def test_few_columns_of_a_table_change(german):
    X, y, fair, moved = german
    codec, found = fair.encoding_.encoder, fair.counterfactual_map_
    n_changed = (moved != X).drop(columns="sex").sum(axis=1)
    assert 0.9 < n_changed.mean() < 6
    E = fair.encoding_.encode(X.drop(columns="sex"))
    read = found.panel.read(E, y.name)
    some = read == 0
    better = fair.counterfactual(X[some], "target", "good")
    n_changed = (better != X[some]).sum(axis=1)
    assert (n_changed >= 1).mean() > 0.8
    # What is moved but not revised changes many more of them.
    whole = codec.inverse_transform(found.move(E[some], [(y.name, read[some], np.ones(some.sum()))], 1.2))
    n_whole = (whole.to_numpy() != X[some].drop(columns="sex").to_numpy()).sum(axis=1)
    assert n_changed.mean() < 0.7 * n_whole.mean()


def test_immutable_columns_of_a_table(german):
    X, _, fair, moved = german
    immutable = ["foreign_worker", "duration"]
    pd.testing.assert_frame_equal(moved[immutable], X[immutable])
    good = fair.counterfactual(X, "target", "good")
    pd.testing.assert_frame_equal(good[immutable], X[immutable])
    for rows in fair.counterfactual_path(X[:50], "target", "good", n_steps=3):
        pd.testing.assert_frame_equal(rows[immutable], X[immutable][:50])
    assert (good["credit_amount"] != X["credit_amount"]).any() or (
        good["checking_status"] != X["checking_status"]
    ).any()


def test_readers_of_a_table_are_flipped(german):
    X, _, fair, moved = german
    read = fair.counterfactual_map_.panel.read
    own = (X["sex"] == "male").to_numpy()
    before, after = (read(fair.encoding_.encode(rows.drop(columns="sex")), "sex") != own for rows in (X, moved))
    assert before.mean() < 0.35
    assert after.mean() > 0.8


def test_judges_of_other_rows_of_a_table_are_flipped(german):
    X, y, fair, _ = german
    bad = X[fair.counterfactual_map_.panel.read(fair.encoding_.encode(X.drop(columns="sex")), y.name) == 0]
    codec = TabularCodec().fit(X)
    judge = HistGradientBoostingClassifier(max_iter=40, random_state=0).fit(codec.transform(X)[::2], y[::2])
    other = bad[bad.index % 2 == 1]
    goal = next(value for value in sorted(set(y)) if value == "good")
    moved = fair.counterfactual(other, "target", goal)
    before, after = ((judge.predict(codec.transform(rows)) == goal).mean() for rows in (other, moved))
    assert after > before + 0.2


def test_rows_of_a_table_that_do_not_move_are_identical(german):
    X, _, fair, _ = german
    women = fair.counterfactual(X, "sex", "female")
    own = X["sex"] == "female"
    pd.testing.assert_frame_equal(women[own], X[own], check_exact=True)
    assert ((women != X).any(axis=1) == ~own).all()
    odd = X.iloc[::-7]
    pd.testing.assert_frame_equal(fair.counterfactual(odd, "sex", "female"), women.iloc[::-7])


def test_outputs_of_a_table_agree(german):
    X, _, fair, moved = german
    embedding = fair.counterfactual(X, "sex", output="embedding")
    latent = fair.counterfactual(X, "sex", output="latent")
    assert_allclose(fair.encoding_.encode(moved.drop(columns="sex")), embedding, rtol=0, atol=1e-9)
    assert_allclose(fair.to_latent(moved), latent, rtol=0, atol=1e-8)
    pd.testing.assert_frame_equal(fair.from_latent(latent).drop(columns="sex").set_axis(X.index),
                                  moved.drop(columns="sex"))  # fmt: skip


@pytest.mark.parametrize(("attr", "value"), [("sex", None), ("target", "good"), ("target", "bad")])
def test_the_way_through_a_table(german, attr, value):
    X, _, fair, _ = german
    moved = fair.counterfactual(X, attr, value)
    path = fair.counterfactual_path(X, attr, value, n_steps=4)
    pd.testing.assert_frame_equal(path[0], X)
    pd.testing.assert_frame_equal(path[-1], moved)
    same = moved == X
    for rows in path[1:-1]:
        _assert_valid(rows, X)
        # Whoever a row is changes at the end, and a column that stays does not leave on the way.
        assert_array_equal(rows["sex"], X["sex"])
        assert ((rows == X) | ~same).drop(columns="sex").all().all()
    goes = ~same.drop(columns="sex").all(axis=1)
    assert (path[-2] != X)[goes].any(axis=1).mean() > 0.5


def test_steps_through_a_table_lead_away_from_the_row(german):
    X, _, fair, _ = german
    path = fair.counterfactual_path(X, "target", "good", n_steps=10, output="embedding")
    lengths = np.stack([np.linalg.norm(rows - path[0], axis=1) for rows in path])
    assert (np.diff(lengths, axis=0) >= -1e-9).all()


@pytest.fixture(scope="module")
def mixed():
    """A small table with gaps, an ordered category, decimals, and a label and a group that columns tell."""
    rng = np.random.default_rng(0)
    n = 300
    s, y = rng.integers(2, size=(2, n))
    X = pd.DataFrame(
        {
            "height": (2 * s - 1) + 0.5 * rng.normal(size=n),
            "debt": pd.Series(np.round(2 * y + rng.normal(size=n), 2)).mask(rng.random(n) < 0.15 + 0.3 * y),
            "size": pd.Categorical(rng.choice(["S", "M", "L"], size=n), ["S", "M", "L"], ordered=True),
            "pet": pd.Series(np.where(rng.random(n) < 0.2 + 0.5 * s, "dog", "cat")).mask(rng.random(n) < 0.1),
            "rooms": rng.integers(1, 6, size=n),
        }
    )
    return X, y, pd.Series(np.where(s == 1, "m", "f"), name="sex")


@pytest.fixture(scope="module")
def mixed_fair(mixed):
    X, y, s = mixed
    return _trained(X, y, s, encoder=TabularCodec(), steps={"N_STEPS": 25})


def test_a_table_with_gaps(mixed, mixed_fair):
    X, _, s = mixed
    other = s.map({"m": "f", "f": "m"})
    moved = mixed_fair.counterfactual(X, "sex", sensitive_features=s)
    _assert_valid(moved, X)
    assert moved["debt"].isna().any()
    assert_array_equal((moved["height"] - X["height"] > 0) | (moved["height"] == X["height"]), s == "f")
    label = mixed_fair.counterfactual(X, "target", 1, sensitive_features=s)
    _assert_valid(label, X)
    read = mixed_fair.counterfactual_map_.panel.read
    before, after = (read(mixed_fair.encoding_.encode(rows), "sex") == (other == "m") for rows in (X, moved))
    assert after.mean() > before.mean() + 0.5


def test_rows_of_decimals_that_do_not_move_are_identical(mixed, mixed_fair):
    X, _, s = mixed
    moved = mixed_fair.counterfactual(X, "sex", "m", sensitive_features=s)
    own = (s == "m").to_numpy()
    pd.testing.assert_frame_equal(moved[own], X[own], check_exact=True)
    assert (moved[~own].astype(str) != X[~own].astype(str)).any(axis=1).mean() > 0.9


def test_columns_of_a_moved_row_that_stay_are_identical(mixed, mixed_fair):
    X, _, s = mixed
    moved = mixed_fair.counterfactual(X, "target", 1, sensitive_features=s)
    same = np.isclose(moved["height"], X["height"], rtol=0, atol=1e-6)
    changed = (moved.astype(str) != X.astype(str)).drop(columns="height").any(axis=1)
    assert (same & changed).mean() > 0.1
    assert_array_equal(moved["height"][same], X["height"][same])


def test_rows_with_fewer_categories_than_fit_saw(mixed, mixed_fair):
    X, _, s = mixed
    few = X[X["size"] != "L"].copy()
    few["size"] = few["size"].cat.remove_unused_categories()
    moved = mixed_fair.counterfactual(few, "sex", "m", sensitive_features=s[few.index])
    all_rows = mixed_fair.counterfactual(X, "sex", "m", sensitive_features=s)
    columns = ["size", "pet", "rooms"]
    expected = all_rows.loc[few.index, columns]
    pd.testing.assert_frame_equal(moved[columns].astype(object), expected.astype(object))


def test_polars_tables(mixed, mixed_fair):
    X, y, s = mixed
    rows = pl.from_pandas(X).with_columns(sex=pl.Series(s.to_numpy()))
    fair = _trained(rows, y, encoder=TabularCodec(), sensitive_columns=["sex"])
    moved = fair.counterfactual(rows, "sex")
    assert isinstance(moved, pl.DataFrame)
    assert moved.schema == rows.schema
    assert (moved["sex"] != rows["sex"]).all()
    assert set(moved["pet"].drop_nulls()) <= {"cat", "dog"}
    assert moved["rooms"].is_between(1, 5).all()
    assert moved["rooms"].null_count() == 0
    path = fair.counterfactual_path(rows, "sex", n_steps=2)
    assert path[0].drop("height").equals(rows.drop("height"))
    assert path[-1].equals(moved)
    assert path[1]["sex"].equals(rows["sex"])
    women = fair.counterfactual(rows, "sex", "f")
    own = rows["sex"] == "f"
    assert women.filter(own).drop("height").equals(rows.filter(own).drop("height"))
    assert not women.filter(~own).equals(rows.filter(~own))
