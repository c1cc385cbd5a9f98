"""TabularCodec: the round trip, valid rows from any numbers, scikit-learn's checks, bad input."""

import copy
import datetime as dt
import pickle
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler
from sklearn.utils import estimator_checks, get_tags
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from sklearn_fairlatent._codec import TabularCodec

VARIANTS = [TabularCodec(), TabularCodec(numeric="quantile"), TabularCodec(handle_unknown="ignore")]
FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame}
SIZES = ["S", "M", "L", "XL"]
DAY, NOON = dt.datetime(2024, 2, 29), dt.datetime(2024, 2, 29, 12, 30)
A_DAY, A_SECOND = dt.timedelta(days=1), dt.timedelta(seconds=1)


# scikit-learn's own checks


@parametrize_with_checks(VARIANTS)
def test_sklearn_checks(estimator, check):
    check(estimator)


def test_sklearn_checks_are_collected():
    for variant in VARIANTS:
        assert len(list(estimator_checks_generator(variant))) > 40


@pytest.mark.parametrize(
    "name",
    [
        "check_set_output_transform",
        "check_set_output_transform_pandas",
        "check_set_output_transform_polars",
        "check_global_output_transform_pandas",
        "check_global_set_output_transform_polars",
        "check_transformer_get_feature_names_out",
        "check_transformer_get_feature_names_out_pandas",
        "check_dataframe_column_names_consistency",
    ],
)
@pytest.mark.parametrize("variant", VARIANTS, ids=repr)
@pytest.mark.filterwarnings("ignore:X (does not have valid|has) feature names")  # they mix frames and arrays
def test_sklearn_output_checks(name, variant):
    getattr(estimator_checks, name)("TabularCodec", clone(variant))


def test_tags():
    tags = get_tags(TabularCodec()).input_tags
    assert tags.categorical
    assert tags.allow_nan
    assert not tags.sparse


# The round trip


def make_table(kind):
    """Nine rows with every kind of column, missing values of their own kind included."""
    data = {
        "age": [39, 50, 28, 17, 90, 33, 41, 28, 52],
        "hours": [40.0, None, 13.5, 60.25, 7.0, None, 40.0, 38.5, 99.0],
        "children": [0.0, 2.0, None, 1.0, 0.0, 0.0, 3.0, None, 1.0],
        "zero": [0.0] * 9,
        "job": ["clerk", "nurse", None, "clerk", "Bäcker", "nurse", "clerk", "", "農家"],
        "only": ["one"] * 9,
        "member": [True, False, True, True, False, False, True, False, True],
        "maybe": [True, None, False, True, False, None, True, False, True],
        "nothing": [None] * 9,
    }
    if kind == "polars":
        return pl.DataFrame(data).with_columns(
            pl.Series("grade", ["low", "high", None] * 3, dtype=pl.Enum(["low", "mid", "high"])),
            pl.Series("town", ["a", "b", "a"] * 3, dtype=pl.Categorical),
            pl.Series("small", [1, 2, 255] * 3, dtype=pl.UInt8),
            pl.Series("objects", ["a", None, "b"] * 3, dtype=pl.Object),
            pl.Series("count", [1, None, 3] * 3, dtype=pl.Int32),
            pl.Series("nan", [1.5, float("nan"), 3.0] * 3, dtype=pl.Float32),
            pl.Series("day", [DAY, None, DAY + 40 * A_DAY] * 3, dtype=pl.Date),
            pl.Series("time", [NOON, None, NOON + 7 * A_SECOND] * 3, dtype=pl.Datetime("ns")),
            pl.Series("aware", [NOON, DAY, NOON] * 3, dtype=pl.Datetime("ms")).dt.replace_time_zone("Europe/Berlin"),
            pl.Series("span", [A_DAY, None, 3 * A_SECOND] * 3, dtype=pl.Duration("us")),
        )
    if kind == "pandas":
        grade = pd.CategoricalDtype(["low", "mid", "high"], ordered=True)
        frame = pd.DataFrame(data | {"children": np.array(data["children"], dtype=float)})
        frame["grade"] = pd.Series(["low", "high", None] * 3, dtype=grade)
        frame["code"] = pd.Series([7, 5, None] * 3, dtype=pd.CategoricalDtype([7, 5, 3]))
        frame["bins"] = pd.cut(frame["age"], 3)
        frame["small"] = np.array([1, 2, 255] * 3, dtype=np.uint8)
        frame["count"] = pd.array([1, None, 3] * 3, dtype="Int64")
        frame["ratio"] = pd.array([0.5, None, 3] * 3, dtype="Float64")
        frame["flag"] = pd.array([True, None, False] * 3, dtype="boolean")
        frame["single"] = np.array([0.1, 0.2, np.nan] * 3, dtype=np.float32)
        frame["text"] = pd.array(["a", None, "c"] * 3, dtype="string")
        frame["objects"] = np.array(["a", pd.NA, "c"] * 3, dtype=object)
        frame["int_objects"] = np.array([1, None, 30] * 3, dtype=object)
        frame["float_objects"] = np.array([1.0, np.nan, 2.0] * 3, dtype=object)
        frame["arrow_int"] = pd.array([1, None, 3] * 3, dtype="int64[pyarrow]")
        frame["arrow_text"] = pd.array(["x", None, "z"] * 3, dtype="string[pyarrow]")
        frame["sparse"] = pd.arrays.SparseArray([0.0, 0.0, 1.0] * 3)
        frame["day"] = pd.Series([DAY, None, DAY + 40 * A_DAY] * 3, dtype="datetime64[ns]")
        frame["time"] = pd.Series([NOON, None, NOON + 7 * A_SECOND] * 3, dtype="datetime64[s]")
        frame["aware"] = pd.Series([NOON, DAY, NOON] * 3, dtype="datetime64[ms]").dt.tz_localize("Europe/Berlin")
        frame["midnights"] = frame["day"].dt.tz_localize("America/Sao_Paulo")
        frame["offset"] = frame["time"].dt.tz_localize(dt.timezone(dt.timedelta(hours=2)))
        frame["span"] = pd.Series([A_DAY, None, 3 * A_SECOND] * 3, dtype="timedelta64[us]")
        frame["arrow_time"] = frame["time"].astype("timestamp[us][pyarrow]")
        frame["arrow_day"] = frame["day"].astype("timestamp[us][pyarrow]").astype("date32[pyarrow]")
        frame["dates"] = frame["day"].astype("category")
        frame.columns.name = "columns"
        return frame
    columns = [data["age"], data["hours"], data["job"], data["member"], data["nothing"]]
    return np.array(columns, dtype=object).T


def assert_same_table(result, expected, fitted=None):
    """Equal in kind, names, dtypes, values, kind of missing value; floats to 1e-15 of the largest at fit."""
    fitted = expected if fitted is None else fitted
    assert type(result) is type(expected)
    if isinstance(expected, np.ndarray):
        assert result.dtype == expected.dtype
        result, expected, fitted = pd.DataFrame(result), pd.DataFrame(expected), pd.DataFrame(fitted)
    if isinstance(expected, pl.DataFrame):
        assert result.schema == expected.schema
        assert result.null_count().equals(expected.null_count())
        result, expected, fitted = result.to_pandas(), expected.to_pandas(), fitted.to_pandas()
    pd.testing.assert_index_equal(result.columns, expected.columns)
    for column in expected:
        got, wanted = result[column], expected[column]
        if wanted.dtype.kind == "f" and isinstance(wanted.dtype, np.dtype):
            assert got.dtype == wanted.dtype
            largest = fitted[column].abs().max() if wanted.notna().any() else 0.0
            assert_allclose(got, wanted, rtol=0, atol=1e-15 * float(largest))
        elif wanted.dtype == object:
            assert [(type(v), str(v)) for v in got] == [(type(v), str(v)) for v in wanted]
        else:
            pd.testing.assert_series_equal(got, wanted, check_exact=True)


def test_round_trip_of_decimals_is_exact():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3))
    X = np.c_[X[:, 0].round(4), (1e6 * X[:, 1]).round(2), X[:, 2].round(9)]
    codec = TabularCodec().fit(X)
    assert_array_equal(codec.inverse_transform(codec.transform(X)), X)


@pytest.mark.parametrize("numeric", ["standardize", "quantile"])
@pytest.mark.parametrize("kind", ["pandas", "polars", "objects"])
def test_round_trip_of_every_kind_of_column(kind, numeric):
    X = make_table(kind)
    codec = TabularCodec(numeric=numeric).fit(X)
    Z = codec.transform(X)
    assert isinstance(Z, np.ndarray)
    assert Z.dtype == np.float64
    assert Z.shape == (9, len(codec.get_feature_names_out()))
    assert np.isfinite(Z).all()
    assert_same_table(codec.inverse_transform(Z), X)
    assert_same_table(pickle.loads(pickle.dumps(codec)).inverse_transform(Z), X)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_round_trip_of_numbers_as_categories(kind):
    X = make_table(kind)
    numbers = ["age", "hours", "children", "small", "count", "zero"]
    codec = TabularCodec(categorical_features=numbers).fit(X)
    assert set(numbers) <= set(codec.categories_)
    assert codec.categories_["count"] == [1, 3]
    assert all(type(category) is int for category in codec.categories_["count"])
    assert_same_table(codec.inverse_transform(codec.transform(X)), X)


@pytest.mark.parametrize(
    "X",
    [
        np.array([[1.5, 2.0], [np.nan, 4.0], [2.5, 4.0]], dtype=np.float32),
        np.array([[1, 2], [3, 2**49]]),
        np.array([[1, 2], [3, 4]], dtype=np.uint8),
        np.array([[True, False], [True, True]]),
        np.array([["a", "bcd"], ["", "bcd"]]),
        np.array([["2024-02-29", "1950-01-01"], ["NaT", "2024-03-01"]], dtype="M8[ns]"),
        np.array([["2024-02", "1950-01"], ["NaT", "2024-03"]], dtype="M8[M]"),
        np.array([["2024-02-29T11", "1950-01-01"], ["NaT", "2024-03-01"]], dtype="M8[h]"),
        np.array([[1, 2], ["NaT", -3]], dtype="m8[h]"),
    ],
    ids=lambda X: str(X.dtype),
)
def test_round_trip_of_arrays(X):
    codec = TabularCodec().fit(X)
    assert_same_table(codec.inverse_transform(codec.transform(X)), X)
    assert list(codec.feature_groups_) == [0, 1]
    assert not hasattr(codec, "feature_names_in_")


def test_nested_lists():
    codec = TabularCodec().fit([[1, 2.5], [3, 4.5]])
    assert_same_table(codec.inverse_transform(codec.transform([[1, 2.5]])), np.array([[1, 2.5]]))
    codec = TabularCodec().fit([[1, "a"], [3, "b"]])
    assert codec.categories_ == {1: ["a", "b"]}
    expected = np.array([[3, "a"]], dtype=object)
    assert_same_table(codec.inverse_transform(codec.transform([[3, "a"]])), expected)


def values_with_gaps(values, n_rows):
    return st.lists(st.none() | values, min_size=n_rows, max_size=n_rows)


@st.composite
def mixed_columns(draw):
    """Lists of values, None where missing, and for each a dtype in either library."""
    n_rows = draw(st.integers(1, 12))
    numbers = st.floats(-1e100, 1e100)
    times = st.datetimes(dt.datetime(1800, 1, 1), dt.datetime(2050, 1, 1), timezones=st.just(dt.UTC))
    times = times.map(lambda time: time.replace(microsecond=0))
    spans = st.timedeltas(-36500 * A_DAY, 36500 * A_DAY).map(lambda span: span.days * A_DAY + span.seconds * A_SECOND)
    berlin = pl.Datetime("ms", "Europe/Berlin")
    kinds = {
        "int": (st.integers(-(2**49), 2**49), "int64", pl.Int64),
        "gappy_int": (st.none() | st.integers(-(2**49), 2**49), "Int64", pl.Int64),
        "narrow": (st.integers(0, 255), "uint8", pl.UInt8),
        "float": (numbers, "float64", pl.Float64),
        "gappy_float": (st.none() | numbers, "float64", pl.Float64),
        "close": (st.floats(1e6, 1e6 + 1e-6), "float64", pl.Float64),
        "single": (st.none() | st.floats(-(2.0**99), 2.0**99, width=32), "float32", pl.Float32),
        "bool": (st.booleans(), "bool", pl.Boolean),
        "gappy_bool": (st.none() | st.booleans(), "boolean", pl.Boolean),
        "text": (st.text(max_size=3), "str", pl.String),
        "gappy_text": (st.none() | st.text(max_size=3), "str", pl.String),
        "category": (
            st.none() | st.sampled_from("abcé"),
            pd.CategoricalDtype([*"éabcd"]),
            pl.Enum([*"éabcd"]),
        ),
        "ordered": (
            st.none() | st.sampled_from("abcé"),
            pd.CategoricalDtype([*"éabcd"], ordered=True),
            pl.Enum([*"éabcd"]),
        ),
        "day": (st.none() | st.dates(dt.date(1800, 1, 1), dt.date(2050, 1, 1)), "datetime64[ns]", pl.Date),
        "time": (st.none() | times.map(lambda time: time.replace(tzinfo=None)), "datetime64[us]", pl.Datetime("us")),
        "aware": (times, "datetime64[ns, Europe/Berlin]", berlin),
        "span": (st.none() | spans, "timedelta64[ns]", pl.Duration("us")),
    }
    columns = {}
    for name in draw(st.lists(st.sampled_from(sorted(kinds)), min_size=1, max_size=6, unique=True)):
        values, *dtypes = kinds[name]
        constant = draw(st.booleans())
        drawn = draw(st.lists(values, min_size=1 if constant else n_rows, max_size=1 if constant else n_rows))
        columns[name] = (drawn * n_rows if constant else drawn, *dtypes)
    return columns


def build_frame(columns, kind):
    if kind == "polars":
        return pl.DataFrame([pl.Series(key, values, dtype=dtype) for key, (values, _, dtype) in columns.items()])
    return pd.DataFrame({key: pd.Series(values, dtype=dtype) for key, (values, dtype, _) in columns.items()})


def name_order(columns):
    """An order for one of mixed_columns, other than that of the alphabet or of its dtype."""
    return {"category": [*"cadéb"]} if "category" in columns else None


@pytest.mark.parametrize("kind", FRAMES)
@settings(max_examples=80, deadline=None)
@given(columns=mixed_columns())
def test_round_trip_of_random_frames(kind, columns):
    X = build_frame(columns, kind)
    codec = TabularCodec(ordered_features=name_order(columns)).fit(X)
    Z = codec.transform(X)
    assert Z.shape[1] == sum(group.stop - group.start for group in codec.feature_groups_.values())
    assert_same_table(codec.inverse_transform(Z), X)


@pytest.mark.parametrize("kind", FRAMES)
def test_round_trip_of_text_that_ends_in_a_null_character(kind):
    X = FRAMES[kind]({"text": ["a\0", "a", "\0"]})
    codec = TabularCodec().fit(X)
    assert codec.categories_ == {"text": ["\0", "a", "a\0"]}
    assert_same_table(codec.inverse_transform(codec.transform(X)), X)


def test_round_trip_of_many_categories():
    X = pd.DataFrame({"id": [f"user {i}" for i in range(2000)]})
    codec = TabularCodec().fit(X)
    assert_same_table(codec.inverse_transform(codec.transform(X)), X)


@pytest.mark.parametrize("n_rows", [300, 5000])
def test_round_trip_under_quantiles_is_as_close_as_documented(n_rows):
    rng = np.random.default_rng(0)
    X = np.c_[rng.normal(size=n_rows), rng.lognormal(sigma=2.0, size=n_rows), 1e-9 * rng.uniform(size=n_rows)]
    codec = TabularCodec(numeric="quantile").fit(X)
    error = np.abs(codec.inverse_transform(codec.transform(X)) - X)
    spread = np.ptp(X, axis=0)
    inner = np.abs(codec.transform(X)) < 5.19
    assert (np.where(inner, error, 0.0) <= 1e-9 * spread).all()
    quantiles = np.quantile(X, [0, 1 / 999, 998 / 999, 1], axis=0)
    outermost = np.maximum(quantiles[1] - quantiles[0], quantiles[3] - quantiles[2])
    assert (error <= 1e-9 * spread + 1e-4 * outermost).all()


def test_quantiles_give_normal_scores():
    X = np.random.default_rng(0).lognormal(size=(2001, 1))
    Z = TabularCodec(numeric="quantile").fit_transform(X)
    assert abs(np.median(Z)) < 0.01
    assert abs(np.quantile(Z, 0.975) - 1.96) < 0.01


def test_standardize_uses_observed_values_only():
    X = pd.DataFrame({"a": [1.0, 2.0, 6.0, np.nan, np.nan, np.nan]})
    Z = TabularCodec().fit_transform(X)
    assert_allclose(Z[:3, 0].mean(), 0, atol=1e-12)
    assert_allclose(Z[:3, 0].std(), 1)
    assert_allclose(Z[3:, 0], Z[1, 0])  # the median
    assert_array_equal(Z[:, 1], [0, 0, 0, 1, 1, 1])


# Any numbers decode to valid rows


def assert_valid_rows(rows, codec, X):
    """Same dtypes, known values only; and rows that the codec itself takes for what they are."""
    result = rows if isinstance(rows, pd.DataFrame) else rows.to_pandas()
    seen = X if isinstance(X, pd.DataFrame) else X.to_pandas()
    if isinstance(rows, pd.DataFrame):
        assert (rows.dtypes == X.dtypes).all()
    else:
        assert rows.schema == X.schema
    for name in seen:
        got, known = result[name].dropna(), seen[name].dropna()
        if seen[name].notna().all():
            assert len(got) == len(result)
        if name in codec.categories_:
            assert set(got) <= set(codec.categories_[name])
        elif len(known) and known.dtype.kind in "mM":
            assert got.empty or known.min() <= got.min() <= got.max() <= known.max()
            # All that mixed_columns draws are whole seconds, and its days midnights.
            length = A_DAY if name == "day" else A_SECOND
            assert ((got - known.min()) % length == 0 * A_SECOND).all()
        elif len(known):
            assert got.empty or known.min() <= got.min() <= got.max() <= known.max()
            if (known == known.round()).all():
                assert (got == got.round()).all()
        else:
            assert got.empty
    assert_same_table(codec.inverse_transform(codec.transform(rows)), rows, fitted=X)


@pytest.mark.parametrize("numeric", ["standardize", "quantile"])
@pytest.mark.parametrize("kind", FRAMES)
@settings(max_examples=30, deadline=None)
@given(columns=mixed_columns(), data=st.data())
def test_any_numbers_decode_to_valid_rows(kind, numeric, columns, data):
    X = build_frame(columns, kind)
    order = name_order(columns)
    codec = TabularCodec(numeric=numeric, ordered_features=order).fit(X)
    n_encoded = len(codec.get_feature_names_out())
    finite = st.floats(allow_nan=False, allow_infinity=False) | st.floats(-3, 3)
    Z = data.draw(st.lists(st.lists(finite, min_size=n_encoded, max_size=n_encoded), min_size=1, max_size=4))
    rows = codec.inverse_transform(Z)
    assert rows.shape == (len(Z), X.shape[1])
    if numeric == "quantile":  # whose own round trip is not exact
        codec = TabularCodec(ordered_features=order).fit(X)
    assert_valid_rows(rows, codec, X)


def test_decoding_rules():
    X = pd.DataFrame({"n": [1.0, 2.0, 4.0, None], "x": [0.5, 1.0, 2.0, 1.5], "c": ["a", "b", "b", None]})
    codec = TabularCodec().fit(X)
    assert codec.get_feature_names_out().tolist() == ["n", "n_missing", "x", "c_a", "c_b", "c_missing"]
    Z = np.array(
        [
            [99, 0.49, -99, 0.2, 0.1, 0.1],
            [-99, 0.5, 99, -9, -8, -7],
            [0.1, -5, 0, 0, 0, 0],
        ]
    )
    expected = pd.DataFrame({"n": [4.0, None, 2.0], "x": [0.5, 2.0, 1.25], "c": ["a", None, "b"]})
    pd.testing.assert_frame_equal(codec.inverse_transform(Z), expected)


def test_numbers_beyond_the_range_are_clipped_on_the_way_back():
    X = pd.DataFrame({"whole": [1.0, 5.0], "x": [0.5, 2.5]})
    codec = TabularCodec().fit(X)
    new = pd.DataFrame({"whole": [2.25, 7.0], "x": [2.25, 7.0]})
    Z = codec.transform(new)
    assert Z[1, 1] > codec.transform(X)[:, 1].max()  # not on the way in
    expected = pd.DataFrame({"whole": [2.0, 5.0], "x": [2.25, 2.5]})
    pd.testing.assert_frame_equal(codec.inverse_transform(Z), expected)


def test_index_follows_a_pandas_frame():
    X = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "x"]}, index=[30, 10, 20])
    codec = TabularCodec().set_output(transform="pandas").fit(X)
    Z = codec.transform(X)
    assert list(Z.columns) == ["a", "b_x", "b_y"]
    pd.testing.assert_frame_equal(codec.inverse_transform(Z), X)
    pd.testing.assert_frame_equal(codec.inverse_transform(Z.to_numpy()), X.reset_index(drop=True))
    codec.set_output(transform="polars")
    pd.testing.assert_frame_equal(codec.inverse_transform(codec.transform(X)), X.reset_index(drop=True))


def test_inverse_of_a_pipeline():
    X = make_table("pandas")
    pipeline = make_pipeline(TabularCodec(), MaxAbsScaler()).fit(X)
    result = pipeline.inverse_transform(pipeline.transform(X))
    pd.testing.assert_frame_equal(result, X)


# What a consumer of the encoding reads


def test_groups_and_categories():
    X = pd.DataFrame(
        {
            "a": [1.0, None, 3.0],
            "c": pd.Series(["x", "y", "x"], dtype=pd.CategoricalDtype(["y", "unseen", "x"])),
            "b": [True, True, True],
            "t": ["z", None, "k"],
        }
    )
    codec = TabularCodec().fit(X)
    assert codec.feature_groups_ == {"a": slice(0, 2), "c": slice(2, 5), "b": slice(5, 7), "t": slice(7, 10)}
    assert codec.categories_ == {"c": ["y", "unseen", "x"], "b": [False, True], "t": ["k", "z"]}
    assert list(codec.feature_names_in_) == ["a", "c", "b", "t"]
    assert codec.n_features_in_ == 4
    unseen = X.assign(c=pd.Series(["unseen"] * 3, dtype=X["c"].dtype), b=False)
    assert_same_table(codec.inverse_transform(codec.transform(unseen)), unseen)


def test_integer_labels():
    X = pd.DataFrame([[1, "a"], [2, "b"]], columns=[10, 20])
    codec = TabularCodec(categorical_features=[0]).fit(X)
    assert codec.categories_ == {10: [1, 2], 20: ["a", "b"]}
    assert codec.get_feature_names_out().tolist() == ["x0_1", "x0_2", "x1_a", "x1_b"]
    assert_same_table(codec.inverse_transform(codec.transform(X)), X)


def test_names_are_unique():
    X = pd.DataFrame({"a": ["missing", None, "b_c"], "a_b": ["c", "c", "c"], "a_b_c_2": [1, 2, 3]})
    codec = TabularCodec().set_output(transform="polars").fit(X)
    names = ["a_b_c", "a_missing", "a_missing_2", "a_b_c_2", "a_b_c_2_2"]
    assert codec.get_feature_names_out().tolist() == names
    assert codec.transform(X).columns == names


def test_names_in_may_be_given_for_arrays():
    codec = TabularCodec().fit([[1, "a"], [2, "b"]])
    assert codec.get_feature_names_out(["n", "c"]).tolist() == ["n", "c_a", "c_b"]


# Unknown values


def test_unknown_category():
    X = pd.DataFrame({"job": ["clerk", "nurse", "nurse"]})
    new = pd.DataFrame({"job": ["clerk", "pilot"]})
    message = r"'job'.*unknown category 'pilot' in row 1; the known ones are 'clerk', 'nurse'\."
    with pytest.raises(ValueError, match=message):
        TabularCodec().fit(X).transform(new)
    codec = TabularCodec(handle_unknown="ignore").fit(X)
    Z = codec.transform(new)
    assert_array_equal(Z, [[1, 0], [0, 0]])
    assert codec.inverse_transform(Z)["job"].tolist() == ["clerk", "nurse"]


def test_long_lists_of_known_categories_are_cut():
    codec = TabularCodec().fit([[f"c{i:02}"] for i in range(30)])
    with pytest.raises(ValueError, match=r"'c19', \.\.\.\. Correct it"):
        codec.transform([["x"]])


@pytest.mark.parametrize("gap", [None, np.nan, pd.NA])
def test_missing_values_that_fit_did_not_see(gap):
    X = pd.DataFrame({"a": [1, 2, 30], "c": ["u", "v", "v"]})
    for column in X:
        new = X.astype(object)
        new.loc[1, column] = gap
        with pytest.raises(ValueError, match=rf"'{column}' of X has 1 missing value\(s\), .* in row 1"):
            TabularCodec().fit(X).transform(new)
    new = pd.DataFrame({"a": [1, gap], "c": ["u", gap]}, dtype=object)
    codec = TabularCodec(handle_unknown="ignore").fit(X)
    Z = codec.transform(new)
    assert_array_equal(Z[1, 1:], [0, 0])
    pd.testing.assert_frame_equal(codec.inverse_transform(Z), pd.DataFrame({"a": [1, 2], "c": ["u", "v"]}))


def test_declared_but_all_missing():
    X = pd.DataFrame({"c": pd.Series([None, None], dtype=pd.CategoricalDtype(["u", "v"]))})
    codec = TabularCodec().fit(X)
    assert_same_table(codec.inverse_transform(codec.transform(X)), X)
    assert codec.inverse_transform([[0, 0, 0]])["c"].isna().all()


# Ordered categories


def order_sizes(kind):
    """A frame whose first column is ordered, and the parameters that say so."""
    values = ["M", "S", "XL", "M", None, "S"]
    if kind == "pandas":
        return pd.DataFrame({"size": pd.Categorical(values, SIZES, ordered=True)}), {}
    return pl.DataFrame({"size": pl.Series(values, dtype=pl.Enum(SIZES))}), {"ordered_features": {"size": SIZES}}


@pytest.mark.parametrize("kind", FRAMES)
def test_ordered_categories_are_one_number(kind):
    X, params = order_sizes(kind)
    codec = clone(TabularCodec(**params)).set_output(transform="pandas").fit(X)
    Z = codec.transform(X)
    assert list(Z.columns) == ["size", "size_missing"]
    assert codec.categories_ == {"size": SIZES}
    assert codec.feature_groups_ == {"size": slice(0, 2)}
    ranks = np.array([1.0, 0, 3, 1, 1, 0])  # the median where missing
    observed = ranks[[0, 1, 2, 3, 5]]
    assert_allclose(Z["size"], (ranks - observed.mean()) / observed.std(), atol=1e-12)
    assert_array_equal(Z["size_missing"], [0, 0, 0, 0, 1, 0])
    # "L" was not seen, but its rank is known.
    large = pd.DataFrame({"size": pd.Categorical(["L"], SIZES, ordered=True)})
    large = large if kind == "pandas" else pl.DataFrame({"size": pl.Series(["L"], dtype=pl.Enum(SIZES))})
    assert_same_table(codec.inverse_transform(codec.transform(large)), large)


@pytest.mark.parametrize("kind", FRAMES)
def test_decoding_of_ordered_categories(kind):
    X, params = order_sizes(kind)
    codec = TabularCodec(**params).fit(X)
    mean, spread = 1.0, np.std([1.0, 0, 3, 1, 0])
    Z = [[(rank - mean) / spread, missing] for rank, missing in [(-9, 0), (0.4, 0), (1.6, 0.4), (99, 0), (1, 0.5)]]
    assert codec.inverse_transform(Z)["size"].to_list()[:4] == ["S", "S", "L", "XL"]
    assert pd.isna(codec.inverse_transform(Z)["size"].to_list()[4])


def test_an_order_may_be_named_for_any_column():
    X = pd.DataFrame(
        {
            "text": ["lo", "hi", "mid"],
            "code": [30, 10, 20],
            "gappy": [1.0, np.nan, 0.5],
            "flag": [True, False, True],
            "kind": pd.Categorical(["u", "v", "u"]),
        }
    )
    order = {
        "text": ["lo", "mid", "hi", "top"],
        1: [20, 30, 10],
        "gappy": [1, 0.5],
        "flag": [True, False],
        4: ["v", "u"],
    }
    for frame in [X, pl.from_pandas(X)]:
        codec = TabularCodec(ordered_features=order).fit(frame)
        assert codec.get_feature_names_out().tolist() == ["text", "code", "gappy", "gappy_missing", "flag", "kind"]
        assert list(codec.categories_.values()) == list(order.values())
        assert [type(category) for category in codec.categories_["gappy"]] == [float, float]
        Z = codec.transform(frame)
        assert_array_equal(np.argsort(Z[:, 0]), [0, 2, 1])
        assert_array_equal(np.argsort(Z[:, 1]), [2, 0, 1])
        assert_same_table(pickle.loads(pickle.dumps(codec)).inverse_transform(Z), frame)
        assert codec.inverse_transform(Z + 9)["text"][0] == "top"
    array = X[["text", "code"]].to_numpy()
    codec = TabularCodec(ordered_features={0: np.array(["lo", "mid", "hi"])}).fit(array)
    assert codec.categories_ == {0: ["lo", "mid", "hi"]}
    assert_same_table(codec.inverse_transform(codec.transform(array)), array)


def test_an_enum_or_a_column_named_as_categories_keeps_its_one_hot_columns():
    X, _ = order_sizes("polars")
    assert len(TabularCodec().fit(X).get_feature_names_out()) == 5
    X, _ = order_sizes("pandas")
    codec = TabularCodec(categorical_features=["size"]).fit(X)
    assert codec.get_feature_names_out().tolist() == ["size_S", "size_M", "size_L", "size_XL", "size_missing"]
    assert_same_table(codec.inverse_transform(codec.transform(X)), X)


def test_quantiles_of_ranks():
    X = pd.DataFrame({"size": pd.Categorical(["S"] * 3000 + ["M"] + ["L"] * 900 + ["XL"], SIZES, ordered=True)})
    codec = TabularCodec(numeric="quantile").fit(X)
    Z = codec.transform(X)
    assert_allclose(Z[[0, -1], 0], [-5.2, 5.2], atol=0.01)
    assert_same_table(codec.inverse_transform(Z), X)


def test_unknown_ordered_category():
    X, _ = order_sizes("pandas")
    X = X.dropna().reset_index(drop=True)
    new = pd.DataFrame({"size": ["S", "XXL", None]}, dtype=object)
    with pytest.raises(ValueError, match=r"'size'.*unknown category 'XXL' in row 1; the known ones are 'S', 'M'"):
        TabularCodec().fit(X).transform(new[:2])
    with pytest.raises(ValueError, match=r"'size' of X has 1 missing value\(s\), the first in row 2"):
        TabularCodec().fit(X).transform(new)
    codec = TabularCodec(handle_unknown="ignore").fit(X)
    assert codec.inverse_transform(codec.transform(new))["size"].tolist() == ["S", "M", "M"]
    gappy = pd.concat([X, pd.DataFrame({"size": pd.Categorical([None], SIZES, ordered=True)})])
    codec = TabularCodec(handle_unknown="ignore").fit(gappy)
    Z = codec.transform(new)
    assert_array_equal(Z[:, 1], [0, 0, 1])
    assert Z[1, 0] == Z[2, 0]


def test_ordered_but_all_missing():
    X = pd.DataFrame({"size": pd.Categorical([None, None], SIZES, ordered=True)})
    codec = TabularCodec().fit(X)
    assert_same_table(codec.inverse_transform(codec.transform(X)), X)
    assert codec.inverse_transform([[0, 0], [9, 9]])["size"].isna().all()


# Dates and durations


def test_dates_are_one_number():
    X = pd.DataFrame({"t": pd.to_datetime(["2024-02-28", "2024-03-01", None, "2024-03-05"])})
    codec = TabularCodec().set_output(transform="polars").fit(X)
    Z = codec.transform(X)
    assert Z.columns == ["t", "t_missing"]
    assert codec.categories_ == {}
    days = np.array([0.0, 2, 2, 6])  # since any day
    observed = days[[0, 1, 3]]
    assert_allclose(Z["t"], (days - observed.mean()) / observed.std(), atol=1e-12)
    assert Z["t_missing"].to_list() == [0, 0, 1, 0]
    rows = codec.inverse_transform([[-9, 0], [9, 0], [0.1, 0.4], [0, 0.6]])
    assert (rows.dtypes == X.dtypes).all()
    assert rows["t"].tolist()[:2] == [X["t"][0], X["t"][3]]
    assert rows["t"][2] == pd.Timestamp("2024-03-02")
    assert rows["t"].isna().tolist() == [False, False, False, True]


UNITS = ["s", "ms", "us", "ns"]
STEPS = [
    ("1D", "1D", UNITS),
    ("90min", "1s", UNITS),
    ("7s", "1s", UNITS),
    ("250ms", "1ms", UNITS[1:]),
    ("3us", "1us", UNITS[2:]),
]


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "America/Sao_Paulo"])
@pytest.mark.parametrize(
    ("length", "step", "unit"), [(length, step, u) for length, step, units in STEPS for u in units]
)
def test_times_are_rounded_to_the_resolution_seen(length, step, unit, zone):
    times = pd.date_range("2024-02-27", periods=9, freq=length, tz=zone).as_unit(unit)
    X = pd.DataFrame({"t": times[[0, 4, 1, 8]]})
    codec = TabularCodec().fit(X)
    assert_same_table(codec.inverse_transform(codec.transform(X)), X)
    rows = codec.inverse_transform(np.random.default_rng(0).normal(size=(50, 1)))
    assert (rows.dtypes == X.dtypes).all()
    assert ((rows["t"] - times[0]) % pd.Timedelta(step) == pd.Timedelta(0)).all()
    assert rows["t"].nunique() > 5
    assert times[0] <= rows["t"].min() <= rows["t"].max() <= times[-1]


def test_days_of_a_time_zone_are_midnights_across_its_clock_changes():
    midnights = pd.to_datetime(["2018-10-01", "2018-11-03", "2018-11-06", "2019-03-01"]).tz_localize(
        "America/Sao_Paulo"
    )
    X = pd.DataFrame({"t": midnights})
    codec = TabularCodec().fit(X)
    assert_same_table(codec.inverse_transform(codec.transform(X)), X)
    rows = codec.inverse_transform(np.linspace(-2, 2, 500)[:, None])["t"]
    # The clock of 2018-11-04 started at one.
    assert set(rows[rows.dt.hour != 0].astype(str)) == {"2018-11-04 01:00:00-02:00"}
    assert rows.nunique() == 152


def test_an_hour_or_a_midnight_that_occurs_twice_comes_back():
    hours = pd.date_range("2024-10-26 23:00", periods=12, freq="30min", tz="UTC").tz_convert("Europe/Berlin")
    twice = pd.date_range("2020-11-01 03:00", periods=3, freq="1h", tz="UTC").tz_convert("America/Havana")
    second = pd.DatetimeIndex(["2020-11-01", "2020-11-02"]).tz_localize("America/Havana", ambiguous=[False, False])
    for times in [hours, twice, second]:
        X = pd.DataFrame({"t": times})
        codec = TabularCodec().fit(X)
        assert_same_table(codec.inverse_transform(codec.transform(X)), X)


def test_short_steps_over_a_long_range_are_as_close_as_documented():
    rng = np.random.default_rng(0)
    exact = {"ms": 30_000 * 365 * 86_400_000, "us": 30 * 365 * 86_400 * 10**6, "ns": 10 * 86_400 * 10**9}
    for unit, length in exact.items():
        X = rng.integers(-length // 2, length // 2, size=(500, 1)).astype(f"M8[{unit}]")
        codec = TabularCodec().fit(X)
        assert_array_equal(codec.inverse_transform(codec.transform(X)), X)
    X = rng.integers(-9 * 10**18, 9 * 10**18, size=(500, 1)).astype("M8[ns]")
    codec = TabularCodec().fit(X)
    error = np.abs(codec.inverse_transform(codec.transform(X)) - X)
    assert error.max() <= np.timedelta64(18_000, "ns")
    ends = codec.inverse_transform([[-1e300], [1e300]])
    assert X.min() <= ends[0, 0] < ends[1, 0] <= X.max()


@pytest.mark.parametrize("kind", FRAMES)
def test_quantiles_of_times(kind):
    days = np.random.default_rng(0).integers(0, 9000, size=3000).astype("M8[D]").astype("M8[ms]")
    X = FRAMES[kind]({"t": days})
    codec = TabularCodec(numeric="quantile").fit(X)
    Z = codec.transform(X)
    assert abs(np.median(Z)) < 0.05
    assert_same_table(codec.inverse_transform(Z), X)


def test_times_of_another_unit_or_library():
    X = make_table("pandas")[["day", "time", "aware", "span"]]
    codec = TabularCodec().fit(X)
    Z = codec.transform(X)
    other = X.astype({"day": "datetime64[s]", "time": "datetime64[us]", "aware": "datetime64[us, UTC]"})
    assert_array_equal(codec.transform(other), Z)
    assert_array_equal(codec.transform(pl.from_pandas(X)), Z)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        assert_array_equal(codec.transform(X.astype(object).to_numpy()), Z)
    gaps = codec.transform(pd.DataFrame({"day": [None], "time": [np.nan], "aware": X["aware"][:1], "span": [None]}))
    assert_array_equal(gaps[:, [1, 3, 6]], [[1, 1, 1]])
    # Another unit may hold times that nanoseconds cannot.
    far = codec.transform(X.assign(day=np.full(len(X), "9999-01-01", dtype="M8[s]")))
    assert (far[:, 0] > 1000).all()


def test_missing_times_that_fit_did_not_see():
    X = pd.DataFrame({"t": DATES})
    new = pd.DataFrame({"t": [pd.NaT, DATES[0]]})
    with pytest.raises(ValueError, match=r"'t' of X has 1 missing value\(s\), the first in row 0"):
        TabularCodec().fit(X).transform(new)
    codec = TabularCodec(handle_unknown="ignore").fit(X)
    assert codec.inverse_transform(codec.transform(new))["t"].tolist() == [DATES[1], DATES[0]]


def test_bad_times_at_transform():
    X = pd.DataFrame({"t": DATES, "d": DATES - DATES[0]})
    codec = TabularCodec().fit(X)
    with pytest.raises(ValueError, match=r"'t' of X held dates at fit, but holds float64 values. Pass dates"):
        codec.transform(X.assign(t=1.5))
    with pytest.raises(ValueError, match=r"'t' of X held dates at fit, but holds (object|str) values"):
        codec.transform(X.assign(t=["2024-01-01"] * 3).astype({"t": object}))
    with pytest.raises(ValueError, match=r"'d' of X held durations at fit, but holds datetime64\[..\] values"):
        codec.transform(X.assign(d=DATES))
    aware = X.assign(t=DATES.tz_localize("UTC"))
    for new in [aware, aware.astype({"t": object})]:
        with pytest.raises(ValueError, match="'t' of X has the time zone UTC, but had no time zone at fit. Convert it"):
            codec.transform(new)
    with pytest.raises(ValueError, match="'t' of X has no time zone, but had the time zone UTC at fit"):
        TabularCodec().fit(aware).transform(X)


# What must hold between columns


def add_up(X):
    """The total of two parts, in either library."""
    if isinstance(X, pl.DataFrame):
        return X.with_columns(total=pl.col("rent") + pl.col("food"))
    return X.assign(total=X["rent"] + X["food"])


@pytest.mark.parametrize("kind", FRAMES)
def test_repair_is_called_on_decoded_rows(kind):
    rng = np.random.default_rng(0)
    rent, food = rng.integers(0, 1000, size=(2, 30))
    X = FRAMES[kind]({"rent": rent, "food": food, "total": rent + food, "town": ["a", "b"] * 15})
    plain = TabularCodec().fit(X)
    codec = clone(TabularCodec(repair=add_up)).fit(X)
    assert codec.repair is add_up
    Z = rng.normal(size=(20, 5))
    before = plain.inverse_transform(Z)
    assert (before["total"] != before["rent"] + before["food"]).any()
    for fitted in [codec, pickle.loads(pickle.dumps(codec))]:
        rows = fitted.inverse_transform(Z)
        assert_same_table(rows, add_up(before))
        assert_same_table(fitted.inverse_transform(fitted.transform(X)), X)
    if kind == "pandas":
        rows = codec.inverse_transform(pd.DataFrame(Z, index=range(20, 0, -1)))
        assert rows.index.tolist() == list(range(20, 0, -1))
        assert (rows["total"] == rows["rent"] + rows["food"]).all()


def test_repair_of_an_array():
    def add_up_columns(X):
        X[:, 2] = X[:, 0] + X[:, 1]
        return X.astype(np.float64)

    X = np.array([[1, 2, 3], [5, 3, 8], [0, 7, 7]], dtype=np.float32)
    rows = TabularCodec(repair=add_up_columns).fit(X).inverse_transform([[0.1, 0.3, 5.0]])
    assert rows.dtype == np.float32
    assert rows[0, 2] == rows[0, 0] + rows[0, 1]


def loosen(X):
    """The same values in wider dtypes."""
    if isinstance(X, pd.DataFrame):
        return X.astype(object)
    wider = {pl.UInt8: pl.Int64, pl.Enum: pl.String, pl.Float32: pl.Float64, pl.Date: pl.Datetime("us")}
    return X.cast({name: wider.get(dtype.base_type(), dtype) for name, dtype in X.schema.items() if dtype != pl.Object})


@pytest.mark.parametrize("kind", FRAMES)
def test_repair_gets_back_the_dtypes_of_fit(kind):
    X = make_table(kind)
    codec = TabularCodec(repair=loosen).fit(X)
    assert_same_table(codec.inverse_transform(codec.transform(X)), X)


GRADES = pd.CategoricalDtype(["a", "b"])


@pytest.mark.parametrize(
    ("repair", "error", "message"),
    [
        (
            lambda X: None,
            TypeError,
            "repair returned NoneType, but was given pandas.DataFrame. Return a table of the same",
        ),
        (lambda X: X.to_numpy(), TypeError, r"repair returned numpy\.ndarray"),
        (lambda X: pl.from_pandas(X), TypeError, r"repair returned polars\.DataFrame, but was given pandas\.DataFrame"),
        (
            lambda X: X.drop(columns="n"),
            ValueError,
            "returned the columns 'x', 'c', but was given 'n', 'x', 'c'. Return",
        ),
        (lambda X: X[["x", "n", "c"]], ValueError, "Return the same columns in the same order"),
        (
            lambda X: X.iloc[:1],
            ValueError,
            r"of shape \(1, 3\), but was given one of shape \(2, 3\). Return the same rows",
        ),
        (lambda X: X.iloc[::-1], ValueError, "another index than it was given. Return the same rows in the same order"),
        (lambda X: X.assign(n=[1.0, 2.5]), ValueError, "'n' of dtype int64 cannot hold: 2.5 .*Round or"),
        (
            lambda X: X.assign(n=[1.0, np.nan]),
            ValueError,
            "repair returned values that column 'n' of dtype int64 cannot",
        ),
        (
            lambda X: X.assign(n=["1", "u"]),
            ValueError,
            "column 'n' of dtype int64 cannot hold: .*Round or convert them",
        ),
        (lambda X: X.assign(c=["a", "z"]), ValueError, "'c' of dtype category cannot hold: 'z' is not one of its"),
        (lambda X: X.insert(0, "new", 1), TypeError, "repair returned NoneType"),
        (
            lambda X: X.insert(0, "new", 1) or X,
            ValueError,
            "returned the columns 'new', 'n', 'x', 'c', but was given 'n'",
        ),
    ],
)
def test_bad_repair(repair, error, message):
    X = pd.DataFrame({"n": [1, 2], "x": [0.5, 1.5], "c": pd.Series(["a", "b"], dtype=GRADES)})
    codec = TabularCodec(repair=repair).fit(X)
    with pytest.raises(error, match=message):
        codec.inverse_transform(codec.transform(X))


@pytest.mark.parametrize(
    ("repair", "error", "message"),
    [
        (lambda X: X.to_pandas(), TypeError, r"repair returned pandas\.DataFrame, but was given polars\.DataFrame"),
        (lambda X: X.rename({"n": "m"}), ValueError, "returned the columns 'm', 'e', but was given 'n', 'e'"),
        (lambda X: X.head(1), ValueError, r"of shape \(1, 2\), but was given one of shape \(2, 2\)"),
        (
            lambda X: X.with_columns(n=pl.Series([1.0, 2.5])),
            ValueError,
            "'n' of dtype Int64 cannot hold: 2.5 would become",
        ),
        (lambda X: X.with_columns(e=pl.Series(["a", "z"])), ValueError, r"'e' of dtype Enum\(.*\) cannot hold: "),
    ],
)
def test_bad_repair_of_a_polars_frame(repair, error, message):
    X = pl.DataFrame({"n": [1, 2], "e": pl.Series(["a", "b"], dtype=pl.Enum(["a", "b"]))})
    codec = TabularCodec(repair=repair).fit(X)
    with pytest.raises(error, match=message):
        codec.inverse_transform(codec.transform(X))


def test_bad_repair_of_an_array():
    X = np.array([[1, 2], [3, 4]])
    for repair, message in [
        (lambda X: X[:, :1], r"of shape \(2, 1\), but was given one of shape \(2, 2\)"),
        (lambda X: X / 2, "column 0 of dtype int64 cannot hold: 0.5 would become 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            TabularCodec(repair=repair).fit(X).inverse_transform([[-1.0, 1.0], [1.0, -1.0]])


# Bad input


DATES = pd.date_range("2020-01-01", periods=3)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (pd.DataFrame({"a": [1.0, np.inf]}), ValueError, r"'a' of X holds inf in row 1.*Replace it"),
        (pl.DataFrame({"a": [1.0, -np.inf]}), ValueError, r"'a' of X holds -inf in row 1"),
        (np.array([[1.0, 1e101]]), ValueError, r"Column 1 of X holds 1e\+101"),
        (
            pd.DataFrame({"a": [1, 2**49 + 1]}),
            ValueError,
            r"'a' of X holds an integer of size 562949953421313",
        ),
        (pd.DataFrame({"a": pd.array([None, -(2**60)], dtype="Int64")}), ValueError, "integer of size"),
        (np.array([[2**60], [1]], dtype=object), ValueError, "integer of size"),
        (np.array([[10**400], [1]], dtype=object), ValueError, "Column 0 of X is numeric, but: int too"),
        (pd.DataFrame({"t": DATES.to_period("D")}), TypeError, r"'t' of X has dtype period.*Convert it to datetime64"),
        (pd.DataFrame({"t": DATES.date}), TypeError, "Convert it to datetime64"),
        (pd.DataFrame({"t": DATES.time}), TypeError, "Convert it to datetime64"),
        (pd.DataFrame({"t": DATES}, dtype=object), TypeError, "Convert it to datetime64"),
        (pl.DataFrame({"t": [dt.time(12), None]}), TypeError, "Convert it to datetime64"),
        (np.array([[1], [2]], dtype="m8[M]"), TypeError, "durations in months"),
        (pd.DataFrame({"m": [1, "a"]}, dtype=object), TypeError, r"'m' .* of type int, str: .*astype\(str\)"),
        ([["a", {"b": 1}]], TypeError, "Column 1 of X .* of type dict"),
        (pl.DataFrame({"s": [{"q": 1}]}), TypeError, "'s' of X has dtype Struct"),
        (pl.DataFrame({"l": [[1]]}), TypeError, "'l' of X has dtype List"),
        (np.array([[b"a"]]), TypeError, "of type bytes"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), ValueError, "2 columns named 'a'"),
        (pd.DataFrame({"a": [1], 2: [3]}), TypeError, "Feature names are only supported"),
        (pd.DataFrame({"a": []}), ValueError, r"0 sample\(s\) .*Pass at least one row"),
        (pl.DataFrame({"a": [1]}).select([]), ValueError, r"0 (sample|feature)\(s\)"),
        (pd.DataFrame(index=[1, 2]), ValueError, r"0 feature\(s\) .*Pass at least one column"),
        (np.empty((0, 2)), ValueError, r"0 sample\(s\)"),
        (np.arange(3.0), ValueError, "Expected 2D array"),
        (sp.csr_array(np.eye(3)), TypeError, "[Ss]parse"),
        (pl.LazyFrame({"a": [1]}), TypeError, r"LazyFrame.*\.collect\(\)"),
        (pl.DataFrame({"a": [1]}).to_arrow(), TypeError, r"pyarrow.*\.to_pandas\(\)"),
    ],
)
def test_bad_input_is_named_and_leaves_the_fit(X, error, message):
    codec = TabularCodec().fit(pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}))
    before = copy.deepcopy(vars(codec))
    with pytest.raises(error, match=message):
        codec.fit(X)
    assert vars(codec).keys() == before.keys()
    assert codec.feature_groups_ == before["feature_groups_"]
    assert list(codec.feature_names_in_) == ["a", "b"]
    assert codec.inverse_transform([[9.0, 0.0, 1.0]]).to_dict("list") == {"a": [2.0], "b": ["y"]}
    fresh = TabularCodec()
    with pytest.raises(error, match=message):
        fresh.fit(X)
    assert vars(fresh).keys() == TabularCodec().get_params().keys()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"numeric": "log"}, "numeric='log' is not known. Pass one of 'standardize', 'quantile'"),
        ({"numeric": None}, "numeric=None is not known"),
        ({"handle_unknown": "drop"}, "handle_unknown='drop' is not known"),
        ({"categorical_features": "a"}, r"categorical_features='a' is not known.*\['a'\]"),
        ({"categorical_features": 3}, "categorical_features=3 is not known"),
        ({"categorical_features": ["z"]}, "the column 'z', which X does not have: its columns are 'a', 'b'"),
        ({"categorical_features": [9]}, "names the column 9, which X does not have"),
        ({"categorical_features": [-1]}, "names the column -1, which X does not have"),
        ({"categorical_features": [True, False]}, "holds True, but a mask is not taken"),
        ({"categorical_features": ["t"]}, "categorical_features names the column 't', which holds dates.*Leave it out"),
        ({"ordered_features": ["b"]}, r"ordered_features=\['b'\] is not known. Pass None or a dict"),
        ({"ordered_features": {"z": ["x"]}}, "ordered_features names the column 'z', which X does not have: its"),
        ({"ordered_features": {9: ["x"]}}, "ordered_features names the column 9, which X does not have"),
        ({"ordered_features": {True: ["x"]}}, "ordered_features holds True, but a mask is not taken"),
        (
            {"ordered_features": {"b": "xy"}},
            r"ordered_features\['b'\]='xy' is not a list. Pass the categories in order",
        ),
        ({"ordered_features": {"b": 3}}, r"ordered_features\['b'\]=3 is not a list"),
        ({"ordered_features": {"b": ["x", None, "y"]}}, r"ordered_features\['b'\] lists None, .*Leave it out"),
        ({"ordered_features": {"b": ["x", ["y"]]}}, r"ordered_features\['b'\] lists \['y'\], .*not a single value"),
        ({"ordered_features": {"b": ["x", "y", "x"]}}, r"\['b'\] lists 'x' more than once. List each category once"),
        ({"ordered_features": {"b": ["x", "z"]}}, r"\['b'\] lacks 'y', which column 'b' of X holds; it lists 'x', 'z'"),
        ({"ordered_features": {"b": []}}, r"\['b'\] lacks 'x', 'y', which column 'b' of X holds"),
        (
            {"ordered_features": {"a": [1, 2, "z"]}},
            r"\['a'\] lists values that column 'a' of dtype float64 cannot hold",
        ),
        ({"ordered_features": {"c": ["u", "w"]}}, r"column 'c' of dtype category cannot hold: 'w' is not one of its"),
        ({"ordered_features": {"i": [1, 2.5, 2]}}, "column 'i' of dtype int8 cannot hold: .*Leave them out"),
        ({"ordered_features": {"i": [1, 2, 300]}}, "(?s)column 'i' of dtype int8 cannot hold: .*Leave them out"),
        ({"ordered_features": {"t": [1, 2]}}, "ordered_features names the column 't', which holds dates or durations"),
        ({"ordered_features": {"b": ["x", "y"], 1: ["x", "y"]}}, "ordered_features names the column 'b' twice"),
        (
            {"ordered_features": {"b": ["x", "y"]}, "categorical_features": [1]},
            "ordered_features and categorical_features both name the column 'b'. Leave it out of one",
        ),
        ({"repair": "add_up"}, "repair='add_up' cannot be called. Pass None or a function of one table"),
    ],
)
def test_bad_parameters(params, message):
    X = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"], "c": pd.Categorical(["u", "v"])})
    X = X.assign(i=np.array([1, 2], dtype=np.int8), t=DATES[:2])
    with pytest.raises(ValueError, match=message):
        TabularCodec(**params).fit(X)


def test_bad_input_at_transform():
    X = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    codec = TabularCodec().fit(X)
    with pytest.raises(ValueError, match="must be in the same order"):
        codec.transform(X[["b", "a"]])
    with pytest.raises(ValueError, match="unseen at fit time"):
        codec.transform(X.assign(c=1))
    with pytest.raises(ValueError, match="'a' of X is numeric, but: could not convert string .*ten"):
        codec.transform(X.assign(a=["ten", "2"]))
    with pytest.raises(ValueError, match="'a' of X is numeric, but: holds datetime64"):
        codec.transform(X.assign(a=DATES[:2]))
    with pytest.raises(ValueError, match="'a' of X holds inf"):
        codec.transform(X.assign(a=np.inf))
    with pytest.raises(TypeError, match="'b' of X .* cannot be a category: .*unhashable"):
        codec.transform(X.assign(b=[["x"], ["y"]]))
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        codec.transform(X.iloc[:0])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        Z = codec.transform(X.to_numpy())
    assert_array_equal(Z, codec.transform(X))
    assert_array_equal(codec.transform(pl.from_pandas(X)), Z)


def test_bad_input_at_inverse_transform():
    codec = TabularCodec().fit(pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}))
    with pytest.raises(ValueError, match="Z has 2 columns, but TabularCodec encodes to 3"):
        codec.inverse_transform([[0.0, 1.0]])
    with pytest.raises(ValueError, match="contains NaN"):
        codec.inverse_transform([[0.0, 1.0, np.nan]])
    with pytest.raises(ValueError, match="infinity"):
        codec.inverse_transform([[0.0, 1.0, np.inf]])
    for method in ["inverse_transform", "transform"]:
        with pytest.raises(NotFittedError):
            getattr(TabularCodec(), method)([[1.0]])
    with pytest.raises(NotFittedError):
        TabularCodec().get_feature_names_out()


# Housekeeping


def test_refit_forgets_the_names():
    codec = TabularCodec().fit(pd.DataFrame({"a": [1.0, 2.0]}))
    assert list(codec.feature_names_in_) == ["a"]
    codec.fit([[1.0, 2.0]])
    assert not hasattr(codec, "feature_names_in_")
    assert codec.n_features_in_ == 2


def test_input_is_not_changed():
    X = make_table("pandas")
    before = X.copy(deep=True)
    codec = TabularCodec(numeric="quantile").fit(X)
    Z = codec.transform(X)
    kept = Z.copy()
    codec.inverse_transform(Z)
    pd.testing.assert_frame_equal(X, before)
    assert_array_equal(Z, kept)


def test_fit_keeps_no_rows():
    X = pd.DataFrame({"a": np.arange(20_000), "b": ["x", "y"] * 10_000})
    assert len(pickle.dumps(TabularCodec().fit(X))) < 10_000


def test_large_numbers_decode_without_a_warning():
    codec = TabularCodec().fit([[1e90], [-1e90]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_array_equal(codec.inverse_transform([[1e300], [-1e300]]), [[1e90], [-1e90]])


def test_memory_is_a_few_times_the_encoding():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({f"n{i}": rng.normal(size=20_000) for i in range(6)})
    X = X.assign(**{f"c{i}": rng.choice(list("abcdefgh"), 20_000) for i in range(6)})
    codec = TabularCodec().fit(X)
    tracemalloc.start()
    try:
        Z = codec.transform(X)
        encoding = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        codec.inverse_transform(Z)
        decoding = tracemalloc.get_traced_memory()[1] - Z.nbytes
    finally:
        tracemalloc.stop()
    assert encoding < 3 * Z.nbytes
    assert decoding < 3 * Z.nbytes
