"""Ordered categories, dates and durations: one number each."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from sklearn_fairlatent._codec import TabularCodec

from .samples import DATES, FRAMES, assert_same_table, make_table

SIZES = ["S", "M", "L", "XL"]


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
