"""Columns that counterfactuals leave as they are."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator

from sklearn_fairlatent import FairLatentTransformer, TabularCodec

from .samples import _bend, _distance, _model, _trained

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
]


def test_dead_columns_come_back_bit_for_bit(small):
    X, y, A = small
    X = X.copy()
    X[:, 2] = 0.1
    X[:, 5] = 1e-33 * np.random.default_rng(0).normal(size=len(X))
    fair = _trained(X, y, A)
    moved = fair.counterfactual(X, ["group", "target"], sensitive_features=A)
    assert_array_equal(moved[:, [2, 5]], X[:, [2, 5]])
    assert (moved != X).all(axis=0).sum() == 6
    back = fair.counterfactual(moved, ["group", "target"], {"group": A["group"].to_numpy(), "target": y},
                               sensitive_features=1 - A)  # fmt: skip
    assert_array_equal(back[:, [2, 5]], X[:, [2, 5]])


@pytest.mark.parametrize("mode", ["latent", "trained"])
def test_immutable_columns_of_an_array(small, small_of, mode):
    X, y, A = small
    fair = _trained(X, y, A, counterfactual_map=mode, immutable_features=[3, np.int64(0)])
    for attr in ("group", "target", ["group", "target"]):
        moved = fair.counterfactual(X, attr, sensitive_features=A)
        assert_array_equal(moved[:, [0, 3]], X[:, [0, 3]])
        changed = (moved != X).any(axis=1)
        assert changed.mean() > 0.9
        assert (moved != X)[changed][:, [1, 2, 4, 5, 6, 7]].mean() > 0.99
    path = fair.counterfactual_path(X, "group", n_steps=3, sensitive_features=A)
    assert all((rows[:, [0, 3]] == X[:, [0, 3]]).all() for rows in path)
    # Without the parameter they move.
    free = small_of[mode]
    assert (free.counterfactual(X, "group", sensitive_features=A)[:, [0, 3]] != X[:, [0, 3]]).all()


def test_a_map_with_immutable_columns_is_exact(small):
    X, y, A = small
    fair = _bend(_trained(X, y, A, immutable_features=[0, 3]))
    there = fair.counterfactual(X, "group", sensitive_features=A)
    assert _distance(X, fair.counterfactual(there, "group", sensitive_features=1 - A)) < 1e-6
    # The columns that stay are looked at.
    shifted = X + 2.0 * (np.arange(8) == 0)
    step = fair.counterfactual(shifted, "group", sensitive_features=A) - shifted
    assert np.abs(step - (there - X)).max() > 1e-3


@pytest.mark.parametrize("mode", ["latent", "trained"])
def test_immutable_columns_of_a_frame(small, mode):
    X, y, A = small
    frame = pd.DataFrame(X, columns=list("abcdefgh"))
    fair = _trained(frame, y, A, counterfactual_map=mode, immutable_features=["d", 0])
    moved = fair.counterfactual(frame, "group", sensitive_features=A)
    assert isinstance(moved, pd.DataFrame)
    assert (moved != frame).all().to_dict() == {name: name not in "ad" for name in "abcdefgh"}


@pytest.mark.parametrize("mode", ["latent", "trained"])
def test_positions_of_immutable_columns_are_positions_in_X(small, mode):
    X, y, A = small
    rows = np.column_stack([A["group"], X])
    fair = _trained(rows, y, sensitive_columns=[0], immutable_features=[3, 8], counterfactual_map=mode)
    for given in (rows, pd.DataFrame(rows)):
        moved = np.asarray(fair.counterfactual(given, "x0"))
        assert_array_equal((moved != rows).all(axis=0), ~np.isin(np.arange(9), [3, 8]))
        assert_array_equal(moved[:, [3, 8]], rows[:, [3, 8]])


@pytest.mark.parametrize("mode", ["latent", "trained"])
def test_immutable_columns_of_a_frame_with_a_sensitive_one(small, mode):
    X, y, A = small
    frame = pd.DataFrame(X, columns=list("abcdefgh"))
    frame.insert(2, "sex", np.where(A["group"] == 1, "m", "f"))
    fair = _trained(frame, y, sensitive_columns=["sex"], immutable_features=["d"], counterfactual_map=mode)
    moved = fair.counterfactual(frame, "sex")
    assert (moved != frame).all().to_dict() == {name: name != "d" for name in frame.columns}
    assert moved["d"].equals(frame["d"])


@pytest.mark.parametrize("features", [["height"], [8], [-1], [1.5], ["group"]])
def test_unknown_immutable_columns_are_told_before_the_training(small, features, monkeypatch):
    X, y, A = small
    monkeypatch.delattr("sklearn_fairlatent._transformer.train")
    with pytest.raises(ValueError, match=rf"immutable_features: {features[0]!r} is not a column of X"):
        _model(immutable_features=features, counterfactual_map="latent").fit(X, y, sensitive_features=A)


def test_a_sensitive_column_cannot_be_immutable(small):
    X, y, A = small
    fair = _model(sensitive_columns=[0], immutable_features=[0], counterfactual_map="latent")
    with pytest.raises(ValueError, match="immutable_features: 0 is not a column of X beside the sensitive ones"):
        fair.fit(np.column_stack([A["group"], X]), y)


@pytest.mark.parametrize("features", [[], "age", 3])
def test_immutable_columns_must_be_a_list(small, features):
    X, y, A = small
    with pytest.raises(ValueError, match="immutable_features=.*expected a non-empty list"):
        _model(immutable_features=features).fit(X, y, sensitive_features=A)


@pytest.mark.parametrize("encoder", [PCA(4), FrozenEstimator(PCA(4)), lambda X: X[:, :4]])
def test_an_encoder_must_tell_its_columns(small, encoder):
    X, y, A = small
    if isinstance(encoder, FrozenEstimator):
        encoder.estimator.fit(X)
    fair = _model(encoder=encoder, immutable_features=[0], counterfactual_map="latent")
    with pytest.raises(ValueError, match="does not say which of its columns.*Use encoder=TabularCodec"):
        fair.fit(X, y, sensitive_features=A)


@pytest.mark.parametrize("n_immutable", [8, 7])
def test_a_map_needs_columns_to_move(small, n_immutable):
    X, y, A = small
    with pytest.raises(ValueError, match="immutable_features"):
        _trained(X, y, A, immutable_features=list(range(n_immutable)))


def test_the_unit_of_a_column_that_stays_changes_nothing(small):
    X, y, A = small
    unit = np.r_[1000.0, np.ones(7)]
    moved, other = (
        _trained(rows, y, A, immutable_features=[0]).counterfactual(rows, "group", sensitive_features=A)
        for rows in (X, X * unit)
    )
    assert_allclose(other / unit, moved, rtol=0, atol=0.01 * np.abs(moved - X).max())


AGES = [
    ([25.5, 30.9, 40.1], "int64"),
    ([25.5, np.nan, 40.1], "int64"),
    ([300, 30, 40], "int8"),
    ([2.0**40, 30.0, 40.0], "Int16"),
]


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize(("ages", "fitted_as"), AGES, ids=str)
def test_what_stays_may_be_of_a_kind_that_fit_did_not_see(library, ages, fitted_as):
    rng = np.random.default_rng(0)
    sex = rng.integers(0, 2, 200)
    frame = pd.DataFrame(
        {"age": pd.Series(rng.integers(20, 70, 200)).astype(fitted_as), "f": rng.normal(size=200) + sex}
    )
    new = frame[:3].assign(age=ages)
    if library == "polars":
        frame, new = pl.from_pandas(frame), pl.from_pandas(new)
    codec = TabularCodec(handle_unknown="ignore")
    for immutable in (["age"], None):
        fair = FairLatentTransformer(encoder=codec, immutable_features=immutable, max_epochs=1, random_state=0).fit(
            frame, sex, sensitive_features=pd.Series(sex, name="sex")
        )
        wanted = sex[:3] if immutable is None else 1 - sex[:3]
        moved = fair.counterfactual(new, "sex", wanted, sensitive_features=sex[:3])
        assert_array_equal(np.asarray(moved["age"], dtype=float), ages)


def test_an_array_keeps_fractions_and_gaps_among_whole_numbers():
    rng = np.random.default_rng(0)
    sex = rng.integers(0, 2, 200)
    whole = np.column_stack([rng.integers(20, 70, 200), rng.integers(0, 9, 200)])
    codec = TabularCodec(handle_unknown="ignore")
    fair = FairLatentTransformer(encoder=codec, immutable_features=[0], max_epochs=1, random_state=0)
    fair.fit(whole, sex, sensitive_features=sex)
    new = np.array([[25.5, 1.0], [np.nan, 3.0]])
    moved = fair.counterfactual(new, "sensitive_feature_0", 1 - sex[:2], sensitive_features=sex[:2])
    assert_array_equal(moved[:, 0], new[:, 0])
