"""What must hold between columns: the rows that a repair gives back, and bad ones."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone

from sklearn_fairlatent._codec import TabularCodec

from .samples import FRAMES, assert_same_table, make_table


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
