"""Tables with every kind of column, drawn or not, and what makes two tables the same."""

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
from hypothesis import strategies as st
from numpy.testing import assert_allclose

FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame}
DAY, NOON = dt.datetime(2024, 2, 29), dt.datetime(2024, 2, 29, 12, 30)
A_DAY, A_SECOND = dt.timedelta(days=1), dt.timedelta(seconds=1)
DATES = pd.date_range("2020-01-01", periods=3)


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
