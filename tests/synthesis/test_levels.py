"""Columns as levels and back."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklearn_fairlatent import TabularCodec
from sklearn_fairlatent.synthesis._levels import NumberLevels, TableRows, VectorRows

from .rows import quick, table, table_teacher

numbers = st.lists(
    st.one_of(st.integers(-5, 5).map(float), st.floats(-1e6, 1e6, allow_nan=False), st.none()), min_size=1, max_size=300
)


def read(values):
    missing = np.array([value is None for value in values])
    return np.array([0.0 if value is None else value for value in values]), missing


@given(numbers)
def test_levels_give_back_what_they_were_told(values):
    column, missing = read(values)
    levels = NumberLevels.learn(column, missing, bool(missing.any()))
    codes = levels.encode(column, missing)
    assert ((codes >= 0) & (codes < levels.n_levels)).all()
    given_back, gone = levels.decode(codes, np.random.default_rng(0))
    np.testing.assert_array_equal(gone, missing)
    present = column[~missing]
    single = np.isin(present, levels.points)
    np.testing.assert_array_equal(given_back[~missing][single], present[single])
    if len(present):
        assert given_back[~missing].min() >= present.min()
        assert given_back[~missing].max() <= present.max()
    # Coded once more, a drawn number has the level that it was drawn from, but at an edge that two intervals share.
    again = levels.encode(given_back, gone)
    assert (np.abs(again - codes) <= 1).all()


def test_a_spike_has_a_level_of_its_own_and_the_rest_is_cut_finely():
    rng = np.random.RandomState(0)
    column = np.where(rng.random_sample(5000) < 0.9, 0.0, rng.randint(1, 10_000, 5000))
    levels = NumberLevels.learn(column, np.zeros(5000, dtype=bool), False)
    assert levels.points.tolist() == [0.0]
    assert levels.n_intervals >= 8


def test_few_values_are_all_levels():
    levels = NumberLevels.learn(np.array([1.0, 2.0, 2.0, 5.0]), np.zeros(4, dtype=bool), False)
    assert levels.points.tolist() == [1.0, 2.0, 5.0]
    # What was never seen is the nearest of them.
    np.testing.assert_array_equal(levels.encode(np.array([0.0, 3.0, 9.0]), np.zeros(3, dtype=bool)), [0, 1, 2])


def test_a_table_comes_back_as_its_levels_allow():
    X, _ = table()
    codec = TabularCodec().fit(X)
    rows = TableRows.learn(codec, X)
    codes, nothing = rows.encode(X, codec)
    assert nothing.shape == (len(X), 0)
    again = rows.decode(codes, nothing, np.random.default_rng(0))
    pd.testing.assert_series_equal(again.dtypes, X.dtypes)
    for name in ("job", "size", "member", "children", "sex"):
        pd.testing.assert_series_equal(again[name], X[name])
    assert (again["pay"].isna() == X["pay"].isna()).all()
    # Intervals are narrow where there are many rows: ranks hardly move.
    assert again["age"].corr(X["age"], method="spearman") > 0.95


def test_vectors_are_standardised_and_come_back():
    E = np.random.RandomState(0).normal([1, 2, 3], [1, 10, 0], size=(50, 3)).astype(np.float32)
    rows = VectorRows.learn(None, E)
    _, vectors = rows.encode(E)
    np.testing.assert_allclose(vectors.std(0), [1, 1, 0], rtol=1e-5)
    again = rows.decode(None, vectors, None)
    assert again.dtype == np.float32
    np.testing.assert_allclose(again, E, rtol=1e-5)


def test_names_and_texts_are_refused():
    X, y = table(1200)
    X["name"] = [f"person {k}" for k in range(1200)]
    with pytest.raises(ValueError, match="Column 'name' of X has 1200 categories; at most 1000"):
        quick(table_teacher(max_epochs=1), sensitive_columns=["sex"]).fit(X, y)
