"""Unknown values, and input and parameters that are refused."""

import copy
import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError

from sklearn_fairlatent._codec import TabularCodec

from .samples import DATES, assert_same_table

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
