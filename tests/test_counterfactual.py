"""Tests of counterfactuals: their identities, what they hold, frames, and their distance from the known truth."""

import functools

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from sklearn_fairlatent import FairLatentTransformer, TabularCodec
from sklearn_fairlatent.datasets import load_german, make_biased_latents

pytestmark = pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning")

GROUPS = {"group": [0, 1], "category": ["a", "b", "c"]}


@pytest.fixture(scope="module")
def data():
    return make_biased_latents(600, 10, sensitive=("binary", "categorical", "continuous"), random_state=0)


@pytest.fixture(scope="module")
def fair(data):
    return FairLatentTransformer(max_epochs=6, random_state=0).fit(
        data.data, data.target, sensitive_features=data.sensitive_features
    )


@st.composite
def rows(draw):
    """Float64 embeddings on and off the data, with any groups, and one wanted value per row and attribute."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_samples, scale = draw(st.integers(1, 20)), draw(st.sampled_from([0.1, 1.0, 5.0, 30.0]))

    def attributes():
        return pd.DataFrame(
            {
                "group": rng.integers(2, size=n_samples),
                "category": rng.choice(GROUPS["category"], size=n_samples),
                "level": rng.normal(size=n_samples),
            }
        )

    return scale * rng.normal(size=(n_samples, 10)), attributes(), attributes()


ATTRS = st.sampled_from([["group"], ["category"], ["level"], ["group", "category"], ["group", "level", "category"]])


def _ask(fair, X, attrs, values, own):
    """``counterfactual`` of one attribute, or of several at once by a dict."""
    if len(attrs) == 1:
        return fair.counterfactual(X, attrs[0], values[attrs[0]].to_numpy(), sensitive_features=own)
    wanted = {name: values[name].to_numpy() for name in attrs}
    return fair.counterfactual(X, attrs, wanted, sensitive_features=own)


def _distance(X, X_other):
    """Largest difference, relative to the size of the rows."""
    return np.abs(X - X_other).max() / max(1.0, np.abs(X).max())


@settings(max_examples=60)
@given(rows(), ATTRS)
def test_the_own_group_is_the_row_itself(fair, drawn, attrs):
    X, own, _ = drawn
    assert _distance(X, _ask(fair, X, attrs, own, own)) <= 1e-8


@settings(max_examples=60)
@given(rows(), ATTRS)
def test_there_and_back_is_the_row_itself(fair, drawn, attrs):
    X, own, wanted = drawn
    there = _ask(fair, X, attrs, wanted, own)
    moved_on = own.copy()
    moved_on[attrs] = wanted[attrs]
    back = _ask(fair, there, attrs, own, moved_on)
    assert _distance(X, back) <= 1e-6
    stayed = (own[attrs] == wanted[attrs]).all(axis=1).to_numpy()
    np.testing.assert_array_equal(there[stayed], X[stayed])
    assert not np.isclose(there[~stayed], X[~stayed], atol=1e-9).all(axis=1).any()


@settings(max_examples=30)
@given(rows())
def test_the_other_of_two_groups_needs_no_value(fair, drawn):
    X, own, _ = drawn
    there = fair.counterfactual(X, "group", sensitive_features=own)
    np.testing.assert_array_equal(
        there, fair.counterfactual(X, "group", 1 - own["group"].to_numpy(), sensitive_features=own)
    )
    back = fair.counterfactual(there, "group", sensitive_features=own.assign(group=1 - own["group"]))
    assert _distance(X, back) <= 1e-6


@settings(max_examples=30)
@given(rows(), st.permutations(["group", "category", "level"]))
def test_several_attributes_at_once_are_the_same_in_any_order(fair, drawn, order):
    X, own, wanted = drawn
    together = _ask(fair, X, ["group", "category", "level"], wanted, own)
    assert _distance(together, _ask(fair, X, list(order), wanted, own)) <= 1e-8
    one_by_one = X
    for name in order:
        one_by_one = _ask(fair, one_by_one, [name], wanted, own)
    assert _distance(together, one_by_one) <= 1e-6


@pytest.mark.parametrize(("attr", "value"), [("group", None), ("category", "b"), ("level", 0.7), ("target", None)])
def test_one_block_moves_and_the_rest_is_held(fair, data, attr, value):
    X = data.data
    moved = fair.counterfactual(X, attr, value, sensitive_features=data.sensitive_features)
    L, L_moved = fair.to_latent(X), fair.to_latent(moved)
    block = fair.latent_layout_[attr]
    held = np.setdiff1d(np.arange(L.shape[1]), np.arange(block.start, block.stop))
    np.testing.assert_allclose(L_moved[:, held], L[:, held], rtol=0, atol=1e-8)
    assert (np.abs(L_moved - L)[:, block].max(axis=1) > 1e-3).mean() > 0.3
    if attr != "target":
        np.testing.assert_allclose(fair.transform(moved), fair.transform(X), rtol=0, atol=1e-8)


@pytest.mark.parametrize(("attr", "goal"), [("group", 0), ("group", 1), ("category", "a"), ("category", "c")])
def test_rows_keep_their_rank_inside_their_group(fair, data, attr, goal):
    A, X = data.sensitive_features, data.data
    block = fair.latent_layout_[attr]
    L = fair.to_latent(X)[:, block]
    moved = fair.to_latent(fair.counterfactual(X, attr, goal, sensitive_features=A))[:, block]
    own = A[attr].to_numpy()
    for source in set(GROUPS[attr]) - {goal}:
        for column in range(L.shape[1]):
            before, after = L[own == source, column], moved[own == source, column]
            np.testing.assert_array_equal(np.argsort(after), np.argsort(before))
            # And they fill the other group's range: the middle halves lie on each other.
            there = np.quantile(L[own == goal, column], [0.25, 0.5, 0.75])
            spread = L[:, column].std()
            np.testing.assert_allclose(np.quantile(after, [0.25, 0.5, 0.75]), there, rtol=0, atol=0.35 * spread)


def test_groups_differ_in_their_block_before_and_not_after(fair, data):
    A, X = data.sensitive_features, data.data
    block = fair.latent_layout_["group"]
    own = A["group"].to_numpy()
    L = fair.to_latent(X)[:, block]
    as_one = fair.to_latent(fair.counterfactual(X, "group", 1, sensitive_features=A))[:, block]
    assert LogisticRegression().fit(L, own).score(L, own) > 0.7
    assert abs(as_one[own == 0].mean() - as_one[own == 1].mean()) < 0.2 * L.std()


def test_a_continuous_value_moves_the_rows_in_proportion(fair, data):
    A, X = data.sensitive_features, data.data
    level = A["level"].to_numpy()
    block = fair.latent_layout_["level"]
    L = fair.to_latent(X)[:, block]
    steps = [
        fair.to_latent(fair.counterfactual(X, "level", level + by, sensitive_features=A))[:, block] - L
        for by in (1.0, 2.0, -1.0)
    ]
    assert np.abs(steps[0]).min() > 1e-3
    np.testing.assert_allclose(steps[1], 2 * steps[0], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(steps[2], -steps[0], rtol=1e-6, atol=1e-8)


def test_a_value_per_row_is_each_rows_own_value(fair, data):
    A, X = data.sensitive_features[:9], data.data[:9]
    wanted = np.array(list("abcabcabc"))
    per_row = fair.counterfactual(X, "category", wanted, sensitive_features=A)
    for goal in "abc":
        all_rows = fair.counterfactual(X, "category", goal, sensitive_features=A)
        np.testing.assert_allclose(per_row[wanted == goal], all_rows[wanted == goal], rtol=0, atol=1e-12)
    as_series = fair.counterfactual(X, "category", pd.Series(wanted, index=range(9, 0, -1)), sensitive_features=A)
    np.testing.assert_array_equal(as_series, per_row)
    np.testing.assert_array_equal(
        fair.counterfactual(X, ["category"], {"category": wanted}, sensitive_features=A), per_row
    )


def test_target_by_its_alias_and_by_its_name(data):
    X, A = data.data, data.sensitive_features["group"]
    y = pd.Series(np.where(data.target == 1, "good", "bad"), name="risk")
    fair = FairLatentTransformer(random_state=0).fit(X, y, sensitive_features=A)
    moved = fair.counterfactual(X, "target")
    np.testing.assert_array_equal(moved, fair.counterfactual(X, "risk"))
    probe = LogisticRegression(max_iter=1000).fit(X, y)
    assert (probe.predict(moved) != probe.predict(X)).mean() > 0.5
    good = fair.counterfactual(X, "target", "good")
    assert (probe.predict(good) == "good").mean() > (probe.predict(X) == "good").mean() + 0.2
    both = fair.counterfactual(X, ["target", "group"], {"target": "good", "group": 1}, sensitive_features=A)
    assert _distance(both, fair.counterfactual(good, "group", 1, sensitive_features=A)) < 1e-6


def test_without_the_group_it_is_read_from_the_latent(fair, data):
    A, X = data.sensitive_features, data.data
    told = fair.counterfactual(X, "group", sensitive_features=A)
    read = fair.counterfactual(X, "group")
    same = np.isclose(told, read, rtol=0, atol=1e-9).all(axis=1)
    assert 0.7 < same.mean() < 1
    # Of an attribute that was not told, only that one is read.
    told_group = fair.counterfactual(X, "group", sensitive_features=A[["group"]])
    np.testing.assert_array_equal(told_group, told)
    gaps = A.astype({"group": object}).assign(group=lambda A: A["group"].mask(np.arange(len(A)) < 300))
    half = fair.counterfactual(X, "group", sensitive_features=gaps)
    np.testing.assert_allclose(half, np.r_[read[:300], told[300:]], rtol=0, atol=1e-12)


def test_array_attributes_are_told_as_they_were_in_fit(data):
    X, A = data.data, data.sensitive_features["group"].to_numpy()
    fair = FairLatentTransformer(max_epochs=2, random_state=0).fit(X, data.target, sensitive_features=A)
    told = fair.counterfactual(X, "sensitive_feature_0", sensitive_features=A)
    back = fair.counterfactual(told, "sensitive_feature_0", sensitive_features=1 - A)
    assert _distance(back, X) <= 1e-6
    assert _distance(told, X) > 1e-2


# ---------------------------------------------------------------- frames


@pytest.fixture(scope="module")
def frame(data):
    frame = pd.DataFrame(data.data[:, :6], columns=list("uvwxyz"))
    frame.insert(2, "sex", np.where(data.sensitive_features["group"] == 1, "m", "f"))
    frame.index = [f"row {k}" for k in range(len(frame), 0, -1)]
    return frame


@pytest.fixture(scope="module")
def by_column(frame, data):
    return FairLatentTransformer(sensitive_columns=["sex"], max_epochs=3, random_state=0).fit(frame, data.target)


def test_a_frame_in_is_a_frame_out(frame, data):
    X = frame.drop(columns="sex")
    A = frame["sex"]
    fair = FairLatentTransformer(max_epochs=3, random_state=0).fit(X, data.target, sensitive_features=A)
    moved = fair.counterfactual(X, "sex", sensitive_features=A)
    pd.testing.assert_index_equal(moved.index, X.index)
    assert moved.columns.tolist() == X.columns.tolist()
    own = fair.counterfactual(X, "sex", A.to_numpy(), sensitive_features=A)
    pd.testing.assert_frame_equal(own, X)
    as_polars = fair.counterfactual(pl.from_pandas(X), "sex", sensitive_features=pl.Series("sex", A.to_numpy()))
    assert isinstance(as_polars, pl.DataFrame)
    assert as_polars.columns == X.columns.tolist()
    np.testing.assert_array_equal(as_polars.to_numpy(), moved.to_numpy())


def test_counterfactual_sets_the_sensitive_column(by_column, frame):
    moved = by_column.counterfactual(frame, "sex")
    assert moved.columns.tolist() == frame.columns.tolist()
    pd.testing.assert_index_equal(moved.index, frame.index)
    assert (moved["sex"] == frame["sex"].map({"m": "f", "f": "m"})).all()
    back = by_column.counterfactual(moved, "sex")
    assert back["sex"].tolist() == frame["sex"].tolist()
    np.testing.assert_allclose(
        back.drop(columns="sex").to_numpy(), frame.drop(columns="sex").to_numpy(), rtol=0, atol=1e-6
    )
    all_m = by_column.counterfactual(frame, "sex", "m")
    assert set(all_m["sex"]) == {"m"}
    own = (frame["sex"] == "m").to_numpy()
    np.testing.assert_array_equal(all_m[own].to_numpy(), frame[own].to_numpy())
    # Another block moves: whoever a row is stays as it is.
    assert by_column.counterfactual(frame, "target")["sex"].tolist() == frame["sex"].tolist()


def test_polars_with_a_sensitive_column(frame, data):
    rows = pl.from_pandas(frame)
    fair = FairLatentTransformer(sensitive_columns=["sex"], max_epochs=3, random_state=0).fit(rows, data.target)
    moved = fair.counterfactual(rows, "sex")
    assert isinstance(moved, pl.DataFrame)
    assert moved.columns == rows.columns
    assert (moved["sex"] != rows["sex"]).all()
    neutral = fair.inverse_transform(fair.transform(rows))
    assert isinstance(neutral, pl.DataFrame)
    assert neutral["sex"].is_null().all() or neutral["sex"].is_nan().all()


def test_a_row_whose_sex_is_not_told_gets_the_wanted_one(by_column, frame):
    wanted = by_column.counterfactual(frame.drop(columns="sex"), "sex", "m")
    assert wanted.columns.tolist() == frame.columns.tolist()
    assert wanted["sex"].tolist() == ["m"] * len(frame)
    gaps = frame.assign(sex=frame["sex"].mask(np.arange(len(frame)) < 100))
    wanted = by_column.counterfactual(gaps, "sex", "m")
    assert wanted["sex"].tolist() == ["m"] * len(frame)


def test_inverse_transform_never_invents_a_sex(by_column, frame):
    X_fair = by_column.inverse_transform(by_column.transform(frame))
    assert isinstance(X_fair, pd.DataFrame)
    assert X_fair.columns.tolist() == frame.columns.tolist()
    assert X_fair["sex"].isna().all()
    assert X_fair.drop(columns="sex").notna().all().all()
    np.testing.assert_allclose(by_column.transform(X_fair), by_column.transform(frame), rtol=0, atol=1e-7)
    X_back = by_column.from_latent(by_column.to_latent(frame))
    assert X_back["sex"].isna().all()
    numbers = frame.drop(columns="sex").to_numpy()
    np.testing.assert_allclose(X_back.drop(columns="sex").to_numpy(), numbers, rtol=0, atol=1e-10)


def test_sensitive_columns_by_position_in_an_array(data):
    A = data.sensitive_features
    X = np.insert(data.data, [0, 4], A[["group", "level"]].to_numpy(), axis=1)  # columns 0 and 5
    fair = FairLatentTransformer(sensitive_columns=[5, 0], max_epochs=3, random_state=0).fit(X, data.target)
    assert fair.latent_layout_.sensitive == ("x5", "x0")
    moved = fair.counterfactual(X, "x0")
    np.testing.assert_array_equal(moved[:, 0], 1 - X[:, 0])
    np.testing.assert_array_equal(moved[:, 5], X[:, 5])
    assert _distance(np.delete(moved, [0, 5], axis=1), data.data) > 1e-2
    older = fair.counterfactual(X, "x5", X[:, 5] + 1)
    np.testing.assert_allclose(older[:, 5], X[:, 5] + 1, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(older[:, 0], X[:, 0])
    neutral = fair.inverse_transform(fair.transform(X))
    assert np.isnan(neutral[:, [0, 5]]).all()
    assert np.isfinite(np.delete(neutral, [0, 5], axis=1)).all()


# ---------------------------------------------------------------- mixed tables


@pytest.fixture(scope="module")
def german():
    return load_german()


@pytest.fixture(scope="module")
def german_fair(german):
    fair = FairLatentTransformer(encoder=TabularCodec(), max_epochs=4, random_state=0)
    return fair.fit(german.data, german.target, sensitive_features=german.sensitive_features["sex"])


def _assert_valid(rows, table):
    """Only values that ``table`` could hold."""
    assert rows.columns.tolist() == table.columns.tolist()
    assert rows.dtypes.tolist() == table.dtypes.tolist()
    pd.testing.assert_index_equal(rows.index, table.index)
    for name in table.columns:
        if pd.api.types.is_numeric_dtype(table[name]):
            assert rows[name].between(table[name].min(), table[name].max()).all(), name
        else:
            assert set(rows[name]) <= set(table[name]), name


def test_counterfactual_rows_of_a_mixed_table_can_be_read(german, german_fair):
    X, sex = german.data, german.sensitive_features["sex"]
    moved = german_fair.counterfactual(X, "sex", sensitive_features=sex)
    _assert_valid(moved, X)
    changed = (moved != X).any(axis=1)
    assert changed.mean() > 0.5
    own = german_fair.counterfactual(X, "sex", sex, sensitive_features=sex)
    pd.testing.assert_frame_equal(own, X)
    _assert_valid(german_fair.counterfactual(X, "target", "good"), X)
    _assert_valid(german_fair.counterfactual(X, "target"), X)
    pd.testing.assert_frame_equal(german_fair.from_latent(german_fair.to_latent(X)), X)
    odd = X.iloc[::-3]
    moved_odd = german_fair.counterfactual(odd, "sex", sensitive_features=sex.iloc[::-3])
    pd.testing.assert_frame_equal(moved_odd, moved.iloc[::-3])


def test_a_mixed_table_with_the_attribute_inside(german):
    X = german.data.assign(sex=german.sensitive_features["sex"])
    fair = FairLatentTransformer(encoder=TabularCodec(), sensitive_columns=["sex"], max_epochs=3, random_state=0).fit(
        X, german.target
    )
    moved = fair.counterfactual(X, "sex")
    _assert_valid(moved.drop(columns="sex"), german.data)
    assert moved.columns.tolist() == X.columns.tolist()
    assert (moved["sex"].astype(str) != X["sex"].astype(str)).all()
    assert set(moved["sex"]) == {"male", "female"}
    neutral = fair.inverse_transform(fair.transform(X))
    assert neutral["sex"].isna().all()
    _assert_valid(neutral.drop(columns="sex").reset_index(drop=True), german.data)


# ---------------------------------------------------------------- the truth


@functools.cache
def moved_with_truth(seed):
    """Rows, their counterfactuals by a whole fit, the true ones, and the groups. One fit for all tests of a seed."""
    data = make_biased_latents(2000, random_state=seed)
    X, A = data.data, data.sensitive_features
    fair = FairLatentTransformer(random_state=seed).fit(X, data.target, sensitive_features=A)
    ours = fair.counterfactual(X, "group", sensitive_features=A)
    return X, ours, data.truth.counterfactual("group"), A["group"].to_numpy()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_moves_towards_the_truth(seed):
    X, ours, truth, _ = moved_with_truth(seed)

    def error(rows):
        return np.linalg.norm(rows - truth, axis=1).mean() / np.linalg.norm(X - truth, axis=1).mean()

    assert error(X) == 1
    # As long a move the other way leads away from the truth: it is the direction that is right.
    assert error(ours) < 1 < error(2 * X - ours)


def test_nearer_to_the_truth_than_the_shift_of_the_group_means():
    ours, shifts = [], []
    for seed in range(4):
        X, moved, truth, s = moved_with_truth(seed)
        shift = X + np.where(s == 0, 1, -1)[:, None] * (X[s == 1].mean(axis=0) - X[s == 0].mean(axis=0))
        step = np.linalg.norm(X - truth, axis=1).mean()
        ours.append(np.linalg.norm(moved - truth, axis=1).mean() / step)
        shifts.append(np.linalg.norm(shift - truth, axis=1).mean() / step)
    assert np.mean(ours) < np.mean(shifts)
