"""Columns as levels and back."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

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
    # Coded once more, a drawn number has the level that it was drawn from, but where it hits a point by chance.
    again = levels.encode(given_back, gone)
    assert ((again == codes) | np.isin(given_back, levels.points)).all()
    if levels.decimals is not None:
        np.testing.assert_array_equal(given_back, np.round(given_back, levels.decimals))


def test_a_spike_has_a_level_of_its_own_and_the_rest_is_cut_finely():
    rng = np.random.RandomState(0)
    column = np.where(rng.random_sample(5000) < 0.9, 0.0, rng.randint(1, 10_000, 5000))
    levels = NumberLevels.learn(column, np.zeros(5000, dtype=bool), False)
    assert levels.points.tolist() == [0.0]
    assert len(levels.starts) >= 8


def test_few_values_are_all_levels():
    levels = NumberLevels.learn(np.array([1.0, 2.0, 2.0, 5.0]), np.zeros(4, dtype=bool), False)
    assert levels.points.tolist() == [1.0, 2.0, 5.0]
    # What was never seen is the nearest of them.
    np.testing.assert_array_equal(levels.encode(np.array([0.0, 3.0, 9.0]), np.zeros(3, dtype=bool)), [0, 1, 2])


def test_a_table_comes_back_as_its_levels_allow():
    X, _ = table()
    codec = TabularCodec().fit(X)
    rows = TableRows.learn(codec, codec._column_codes(X))
    codes, nothing = rows.encode(codec._column_codes(X))
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
    X, y = table(300)
    X["name"] = [f"person {k}" for k in range(300)]
    with pytest.raises(ValueError, match="Column 'name' of X has 300 categories; at most 150 can be"):
        quick(table_teacher(max_epochs=1), sensitive_columns=["sex"]).fit(X, y)


@pytest.mark.parametrize(
    "column",
    [
        np.random.RandomState(0).randint(18, 60, 4000).astype(float),
        np.exp(2 * np.random.RandomState(0).normal(size=4000)),
        np.round(np.exp(np.random.RandomState(0).normal(size=4000)), 2),
        np.random.RandomState(0).poisson(20, 4000).astype(float),
    ],
    ids=["whole", "long tail", "prices", "counts"],
)
def test_drawn_numbers_are_distributed_as_the_column(column):
    levels = NumberLevels.learn(column, np.zeros(len(column), dtype=bool), False)
    codes = levels.encode(column, np.zeros(len(column), dtype=bool))
    drawn, _ = levels.decode(codes, np.random.default_rng(0))
    assert ks_2samp(column, drawn, method="asymp").statistic < 0.02
    assert drawn.mean() == pytest.approx(column.mean(), rel=0.05)
    assert drawn.std() == pytest.approx(column.std(), rel=0.2)
    np.testing.assert_array_equal(levels.encode(drawn, np.zeros(len(column), dtype=bool)), codes)


def test_no_step_gives_a_row_away():
    column = np.random.RandomState(0).normal(size=1000)
    levels = NumberLevels.learn(column, np.zeros(1000, dtype=bool), False)
    assert sum(len(own) - 1 for own in levels.quantiles) <= 1000 / 10


def test_categories_that_the_codec_did_not_know_are_the_most_frequent():
    X = pd.DataFrame({"job": ["a"] + ["b"] * 30})
    codec = TabularCodec(handle_unknown="ignore").fit(X)
    rows = TableRows.learn(codec, codec._column_codes(X))
    codes, _ = rows.encode(codec._column_codes(pd.DataFrame({"job": ["a", "new"]})))
    assert codes[:, 0].tolist() == [0, 1]


def test_large_single_floats_do_not_overflow():
    E = (np.random.RandomState(0).normal(size=(50, 2)) * 1e30).astype(np.float32)
    _, vectors = VectorRows.learn(None, E).encode(E)
    np.testing.assert_allclose(vectors.std(0), 1, rtol=1e-5)
