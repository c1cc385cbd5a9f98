"""TabularCodec: the round trip, valid rows from any numbers, scikit-learn's checks, bad input."""

import copy
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


@pytest.mark.parametrize("kind", FRAMES)
@settings(max_examples=50, deadline=None)
@given(columns=mixed_columns())
def test_round_trip_of_random_frames(kind, columns):
    X = build_frame(columns, kind)
    codec = TabularCodec().fit(X)
    Z = codec.transform(X)
    assert Z.shape[1] == sum(group.stop - group.start for group in codec.feature_groups_.values())
    assert_same_table(codec.inverse_transform(Z), X)


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
    codec = TabularCodec(numeric=numeric).fit(X)
    n_encoded = len(codec.get_feature_names_out())
    finite = st.floats(allow_nan=False, allow_infinity=False) | st.floats(-3, 3)
    Z = data.draw(st.lists(st.lists(finite, min_size=n_encoded, max_size=n_encoded), min_size=1, max_size=4))
    rows = codec.inverse_transform(Z)
    assert rows.shape == (len(Z), X.shape[1])
    if numeric == "quantile":  # whose own round trip is not exact
        codec = TabularCodec().fit(X)
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
        (pd.DataFrame({"t": DATES}), TypeError, r"'t' of X has dtype datetime64.*Convert it to a number"),
        (pd.DataFrame({"t": DATES.to_period("D")}), TypeError, "Convert it to a number"),
        (pd.DataFrame({"t": DATES.date}), TypeError, "Convert it to a number"),
        (pl.DataFrame({"t": DATES.to_pydatetime().tolist()}), TypeError, "Convert it to a number"),
        (pl.DataFrame({"t": DATES - DATES[0]}), TypeError, "Convert it to a number"),
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
        ({"categorical_features": ["c"]}, "the column 'c', which X does not have: its columns are 'a', 'b'"),
        ({"categorical_features": [2]}, "names the column 2, which X does not have"),
        ({"categorical_features": [-1]}, "names the column -1, which X does not have"),
        ({"categorical_features": [True, False]}, "holds True, but a mask is not taken"),
    ],
)
def test_bad_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        TabularCodec(**params).fit(pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}))


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
