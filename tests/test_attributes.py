"""The label and the sensitive attributes: codes and back, what a user may pass, and the texts of the errors."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_fairlatent._attributes import (
    MAX_WHOLE_NUMBER_GROUPS,
    Variable,
    label_conditions,
    label_variable,
    read_sensitive_features,
    resolve_pos_label,
    sensitive_variable,
    warn_of_lonely_rows,
)
from sklearn_fairlatent._exceptions import SmallGroupWarning


def objects(values):
    """A 1-D object array."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


# Values to codes and back

VALUES = {
    "strings": st.text(max_size=5),
    "integers": st.integers(-(2**40), 2**40),
    "booleans": st.booleans(),
    "floats": st.floats(-1e6, 1e6),
}
MISSING = [None, np.nan, pd.NA]


@given(data=st.data(), kind=st.sampled_from(sorted(VALUES)))
def test_groups_round_trip(data, kind):
    values = data.draw(st.lists(VALUES[kind], min_size=1, max_size=30))
    variable = Variable.from_values("a", objects(values), continuous=False)
    codes = variable.encode(objects(values))
    assert variable.decode(codes).tolist() == values
    assert variable.n_groups == len(set(values))
    assert sorted(set(codes)) == list(range(variable.n_groups))
    assert variable.categories.tolist() == sorted(set(values))


@given(data=st.data(), kind=st.sampled_from(sorted(VALUES)))
def test_groups_round_trip_around_missing_values(data, kind):
    values = data.draw(st.lists(VALUES[kind] | st.sampled_from(MISSING), min_size=1, max_size=30))
    gone = pd.isna(objects(values))
    assume(not gone.all())
    variable = Variable.from_values("a", objects(values), continuous=False)
    codes = variable.encode(objects(values))
    assert_array_equal(np.isnan(codes), gone)
    assert variable.decode(codes[~gone]).tolist() == [v for v, g in zip(values, gone, strict=True) if not g]


@pytest.mark.parametrize("dtype", ["U5", "int8", "int64", "bool", "float32", "datetime64[D]"])
def test_groups_round_trip_of_native_arrays(dtype):
    values = np.array([1, 0, 0, 1], dtype="int64").astype(dtype)
    variable = Variable.from_values("a", values, continuous=False)
    assert_array_equal(variable.encode(values), [1, 0, 0, 1])
    assert_array_equal(variable.decode(np.array([1.0, 0.0])), values[:2])


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30))
def test_continuous_values_are_standardised_and_come_back(values):
    values = np.array(values)
    assume(np.ptp(values) > 1e-3)
    variable = Variable.from_values("age", values, continuous=True)
    codes = variable.encode(values)
    assert_allclose(codes.mean(), 0.0, atol=1e-6)
    assert_allclose(codes.std(), 1.0, rtol=1e-6)
    assert_allclose(variable.decode(codes), values, rtol=1e-9, atol=1e-6)
    assert (variable.n_groups, variable.width) == (0, 1)


@pytest.mark.parametrize("missing", MISSING, ids=repr)
def test_missing_numbers_stay_missing(missing):
    variable = Variable.from_values("age", objects([10.0, missing, 30.0]), continuous=True)
    assert (variable.mean, variable.scale) == (20.0, 10.0)
    assert_array_equal(variable.encode(objects([10.0, missing, 50])), [-1.0, np.nan, 3.0])


def test_continuous_takes_numbers_in_other_clothes():
    variable = Variable.from_values("age", ["10", "30"], continuous=True)
    assert variable.mean == 20.0
    assert Variable.from_values("b", [True, False], continuous=True).mean == 0.5


def test_integers_with_missing_values_are_known_as_integers():
    variable = Variable.from_values("a", np.array([0.0, 1.0, np.nan]), continuous=False)
    assert_array_equal(variable.encode([1, 0]), [1, 0])


def test_unknown_group():
    variable = Variable.from_values("sex", ["F", "M"], continuous=False)
    with pytest.raises(ValueError, match=r"sensitive_features: 'X' is not a known value of 'sex'.*\['F', 'M'\]"):
        variable.encode(["F", "X"])
    with pytest.raises(ValueError, match=r"^value: 'Z' is not a known value"):
        variable.encode(["Z"], argument="value")


@pytest.mark.parametrize(("values", "width"), [([0, 1], 1), ([0, 1, 2], 2), (list("abcde"), 4), ([True, False], 1)])
def test_width_is_one_less_than_the_groups(values, width):
    assert Variable.from_values("a", values, continuous=False).width == width


# Comparisons and designs


def test_memberships_of_two_groups_are_one_comparison():
    variable = Variable.from_values("sex", ["F", "M"], continuous=False)
    codes = variable.encode(objects(["M", "F", None]))
    assert_array_equal(variable.memberships(codes), [[1], [0], [np.nan]])
    assert_array_equal(variable.design(codes), [[0, 1], [1, 0], [np.nan, np.nan]])


def test_memberships_of_many_groups_are_one_against_the_rest():
    variable = Variable.from_values("race", list("abc"), continuous=False)
    codes = variable.encode(objects(["c", None, "a"]))
    expected = [[0, 0, 1], [np.nan] * 3, [1, 0, 0]]
    assert_array_equal(variable.memberships(codes), expected)
    assert_array_equal(variable.design(codes), expected)


def test_memberships_of_a_number_are_low_against_high():
    values = np.arange(80.0)
    variable = Variable.from_values("age", values, continuous=True)
    codes = variable.encode(np.r_[values, np.nan])
    inside = variable.memberships(codes)
    assert inside.shape == (81, 7)
    assert np.isnan(inside[-1]).all()
    assert_allclose(inside[:-1].mean(axis=0), 1 - np.arange(1, 8) / 8, atol=0.02)
    assert_array_equal(variable.design(codes), codes[:, None])


@pytest.mark.parametrize("rare", [-1.0, 1.0], ids=["below", "above"])
def test_every_comparison_of_a_skewed_number_has_two_sides(rare):
    values = np.r_[np.zeros(95), np.full(5, rare)]
    variable = Variable.from_values("gain", values, continuous=True)
    shares = variable.memberships(variable.encode(values)).mean(axis=0)
    assert ((shares > 0) & (shares < 1)).all()


# A sensitive attribute


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", "b", "a", "b"], "groups"),
        ([0, 1, 0, 1], "groups"),
        ([True, False, True, False], "groups"),
        ([0.5, 1.5, 0.5, 1.5], "groups"),  # two values are two groups, whatever they are
        ([0.5, 1.5, 2.5, 0.5], "continuous"),
        (list(range(MAX_WHOLE_NUMBER_GROUPS)) * 2, "groups"),
        (objects([0.5, None, 1.25, 2.0]), "continuous"),
    ],
)
def test_kind_of_an_undeclared_attribute(values, kind):
    assert sensitive_variable("a", values, continuous_features=[]).kind == kind


def test_declared_whole_numbers_are_continuous():
    variable = sensitive_variable("age", np.arange(50), continuous_features=["age"])
    assert variable.kind == "continuous"


@pytest.mark.parametrize("as_type", [float, int, objects])
def test_many_whole_numbers_have_to_be_declared(as_type):
    values = list(range(21)) * 2
    values = objects(values) if as_type is objects else np.array(values, dtype=as_type)
    with pytest.raises(ValueError, match=r"'age' has 21 different whole numbers.*continuous_features=\['age'\]"):
        sensitive_variable("age", values, continuous_features=["other"])


@pytest.mark.parametrize("continuous_features", [[], ["age"]])
def test_infinity(continuous_features):
    with pytest.raises(ValueError, match="'age' contains infinity. Clip"):
        sensitive_variable("age", [1.0, np.inf, 2.5], continuous_features=continuous_features)


@pytest.mark.parametrize("values", [["a", "a"], [1, 1], objects(["a", None])])
def test_single_group(values):
    with pytest.raises(ValueError, match=r"'sex' has a single group \[.*\]; fairness .* at least two"):
        sensitive_variable("sex", values, continuous_features=[])


def test_nothing_but_missing_values():
    with pytest.raises(ValueError, match=r"'sex' has a single group \[\]"):
        sensitive_variable("sex", objects([None, None]), continuous_features=[])


@pytest.mark.parametrize("values", [[3.0, 3.0], objects([None, None])])
def test_constant_continuous_attribute(values):
    with pytest.raises(ValueError, match="'age' is constant: a continuous attribute needs at least two"):
        sensitive_variable("age", values, continuous_features=["age"])


def _coded(values):
    variable = sensitive_variable("sex", values, continuous_features=[])
    return variable, variable.encode(values)


def test_group_of_one_row():
    with pytest.warns(SmallGroupWarning, match=r"group\(s\) \['x'\] of 'sex' have one row each") as caught:
        warn_of_lonely_rows(*_coded(["a", "b", "a", "b", "x"]), stacklevel=1)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_groups_of_two_rows_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_lonely_rows(*_coded(["a", "b", "a", "b"]), stacklevel=1)
        quantity = sensitive_variable("age", [1.5, 2.5, 3.5], continuous_features=[])
        warn_of_lonely_rows(quantity, np.zeros(3), stacklevel=1)


@pytest.mark.parametrize(("value", "name"), [([1], "list"), ({"a": 1}, "dict"), ({1}, "set")])
def test_unhashable_values(value, name):
    with pytest.raises(TypeError, match=f"'a' holds a {name}: every value .* a string or a number"):
        sensitive_variable("a", objects(["x", value]), continuous_features=[])


def test_values_of_different_types():
    with pytest.raises(ValueError, match="'a' mixes values of different types.*Convert the column to strings"):
        sensitive_variable("a", objects(["x", 1, "x", 1]), continuous_features=[])


def test_text_declared_continuous():
    with pytest.raises(ValueError, match="'a' is declared continuous but holds values that are not numbers"):
        sensitive_variable("a", ["x", "y"], continuous_features=["a"])


def test_text_after_many_numbers_is_no_declaration():
    values = objects([0, 1] * 600 + ["x"])
    with pytest.raises(ValueError, match="'a' mixes values of different types"):
        sensitive_variable("a", values, continuous_features=[])


# Reading sensitive_features

SEX = ["F", "M", None]


@pytest.mark.parametrize(
    ("given_as", "names"),
    [
        (pd.Series(SEX, name="sex"), ["sex"]),
        (pd.Series(SEX), ["sensitive_feature_0"]),
        (pd.Series(SEX, dtype="category", name="sex"), ["sex"]),
        (pl.Series("sex", SEX), ["sex"]),
        (pl.Series(SEX), ["sensitive_feature_0"]),
        (pd.DataFrame({"sex": SEX, "age": [1.5, 2.5, 3.5]}), ["sex", "age"]),
        (pl.DataFrame({"sex": SEX, "age": [1.5, 2.5, 3.5]}), ["sex", "age"]),
        ({"sex": SEX, "age": (1.5, 2.5, 3.5)}, ["sex", "age"]),
        (objects(SEX), ["sensitive_feature_0"]),
        (SEX, ["sensitive_feature_0"]),
        ([["F", 1.5], ["M", 2.5], [None, 3.5]], ["sensitive_feature_0", "sensitive_feature_1"]),
        (
            np.array([["F", 1.5], ["M", 2.5], [None, 3.5]], dtype=object),
            ["sensitive_feature_0", "sensitive_feature_1"],
        ),
    ],
)
def test_containers(given_as, names):
    columns = read_sensitive_features(given_as, 3)
    assert list(columns) == names
    first = columns[names[0]]
    assert isinstance(first, np.ndarray)
    assert first[:2].tolist() == ["F", "M"]
    assert pd.isna(first).tolist() == [False, False, True]
    if len(names) == 2:
        assert_array_equal(columns[names[1]].astype(float), [1.5, 2.5, 3.5])


@pytest.mark.parametrize(
    "given_as",
    [
        pd.Series([1, None, 0], dtype="Int64"),
        pd.Series([True, None, False], dtype="boolean"),
        pl.Series([1, None, 0]),
        pl.Series([True, None, False]),
        np.array([1.0, np.nan, 0.0]),
        [1, None, 0],
        [1, np.nan, 0],
    ],
)
def test_missing_values_of_every_container(given_as):
    values = read_sensitive_features(given_as, 3)["sensitive_feature_0"]
    assert_array_equal(Variable.from_values("a", values, continuous=False).encode(values), [1, np.nan, 0])


@pytest.mark.parametrize(
    "given_as", [["F", "M", np.nan], {"sensitive_feature_0": ["F", "M", np.nan]}], ids=["list", "dict"]
)
def test_a_missing_value_in_a_list_of_strings_is_no_group_called_nan(given_as):
    values = read_sensitive_features(given_as, 3)["sensitive_feature_0"]
    assert Variable.from_values("a", values, continuous=False).categories.tolist() == ["F", "M"]


def test_numbers_beside_strings_in_nested_lists_stay_numbers():
    columns = read_sensitive_features([["F", 30.5], ["M", 41.0], ["F", 52.0]], 3)
    assert sensitive_variable("a", columns["sensitive_feature_1"], continuous_features=[]).kind == "continuous"


@pytest.mark.parametrize("shape", [(2, 1, 1), (2, 2, 2), ()])
def test_wrong_number_of_dimensions(shape):
    with pytest.raises(ValueError, match=f"has {len(shape)} dimensions; expected 1 or 2. Pass a DataFrame"):
        read_sensitive_features(np.zeros(shape), 2)


def test_two_columns_of_an_array_keep_their_order():
    columns = read_sensitive_features(np.array([[0, 5], [1, 6]]), 2)
    assert {name: values.tolist() for name, values in columns.items()} == {
        "sensitive_feature_0": [0, 1],
        "sensitive_feature_1": [5, 6],
    }


@pytest.mark.parametrize(
    "given_as",
    [{"sex": [0, 1]}, [0, 1], pd.Series([0, 1], name="sex"), pl.DataFrame({"sex": [0, 1]}), np.zeros((2, 2))],
)
def test_unequal_lengths(given_as):
    with pytest.raises(ValueError, match="has 2 rows, X has 3.*dict of arrays is not sliced.*pass a DataFrame"):
        read_sensitive_features(given_as, 3)


def test_the_shorter_column_of_a_dict_is_named():
    with pytest.raises(ValueError, match="'race' has 2 rows, X has 3"):
        read_sensitive_features({"sex": [0, 1, 0], "race": [0, 1]}, 3)


@pytest.mark.parametrize("given_as", [{}, pd.DataFrame(index=range(3)), pl.DataFrame(), np.zeros((3, 0))])
def test_no_columns(given_as):
    with pytest.raises(ValueError, match="sensitive_features has no columns. Pass at least one"):
        read_sensitive_features(given_as, 3)


def test_empty_list():
    with pytest.raises(ValueError, match="^sensitive_features"):
        read_sensitive_features([], 3)


def test_dict_of_a_scalar():
    with pytest.raises(ValueError, match="^sensitive_features: 'sex'"):
        read_sensitive_features({"sex": "F"}, 3)


def test_dict_of_a_matrix():
    with pytest.raises(ValueError, match="^sensitive_features: 'sex'"):
        read_sensitive_features({"sex": np.zeros((3, 2))}, 3)


@pytest.mark.parametrize(
    "given_as",
    [
        pd.DataFrame([[0, 1], [1, 0]]),
        pd.DataFrame([[0, 1], [1, 0]], columns=["a", 1]),
        {0: [0, 1]},
        pd.Series([0, 1], name=("a", "b")),
    ],
)
def test_names_that_are_no_strings(given_as):
    with pytest.raises(TypeError, match="column names must be strings, got .* Rename the columns"):
        read_sensitive_features(given_as, 2)


# The index of X


@pytest.mark.parametrize("frame", [False, True])
def test_index_in_another_order(frame):
    series = pd.Series([0, 1, 0], index=[12, 10, 11], name="sex")
    sensitive_features = series.to_frame() if frame else series
    with pytest.raises(ValueError, match=r"same index labels as X in another order.*loc\[X.index\]"):
        read_sensitive_features(sensitive_features, 3, index=pd.Index([10, 11, 12]))


@pytest.mark.parametrize(
    "index",
    [
        pd.Index([12, 10, 11]),  # the same order
        pd.RangeIndex(3),  # unrelated
        pd.Index([10, 11, 99]),  # partly other rows
        pd.Index([10, 10, 12]),  # not unique: nothing can be said
        None,
    ],
)
def test_index_that_is_no_permutation(index):
    series = pd.Series([0, 1, 0], index=[12, 10, 11], name="sex")
    assert read_sensitive_features(series, 3, index=index)["sex"].tolist() == [0, 1, 0]


def test_repeated_labels_are_no_permutation():
    series = pd.Series([0, 1, 0], index=[0, 0, 1], name="sex")
    assert read_sensitive_features(series, 3, index=pd.Index([0, 1, 0]))["sex"].tolist() == [0, 1, 0]


# The label


@pytest.mark.parametrize(
    ("y", "task", "kind"),
    [
        ([0, 1, 1], "auto", "groups"),
        (["b", "a", "b"], "auto", "groups"),
        ([True, False, True], "auto", "groups"),
        ([0.0, 2.0, 1.0], "auto", "groups"),
        ([0.5, 2.0, 1.0], "auto", "continuous"),
        ([0, 2, 1], "classification", "groups"),
        ([0, 2, 1], "regression", "continuous"),
        ([0.5, 2.0, 1.0], "regression", "continuous"),
        (pd.Series([1, 0, 1], dtype="Int64"), "auto", "groups"),
        (pd.Series([1.5, 0, 1], dtype="Float64"), "auto", "continuous"),
        (pl.Series([1, 0, 1]), "auto", "groups"),
        (pl.Series([1.5, 0.0, 1.0]), "auto", "continuous"),
    ],
)
def test_kind_of_the_label(y, task, kind):
    variable, codes = label_variable(y, task, "income")
    assert (variable.name, variable.kind) == ("income", kind)
    assert codes.dtype == np.float64
    if kind == "groups":
        assert variable.decode(codes).tolist() == np.asarray(y).tolist()
    else:
        assert_allclose(variable.decode(codes), np.asarray(y, dtype=float), atol=1e-12)


@pytest.mark.parametrize(
    ("y", "task", "match"),
    [
        ([0.0, np.nan, 1.0], "auto", "Input y contains NaN. Drop or impute"),
        (objects(["a", None]), "auto", "Input y contains NaN"),
        (pd.Series([1, None, 0], dtype="Int64"), "auto", "Input y contains NaN"),
        ([0.5, 1.5, 2.5], "classification", "task='classification' but y holds numbers that are not whole"),
        ([1, 1, 1], "auto", r"y has a single class \[1\]; a label needs at least two"),
        (["a", "a"], "classification", "y has a single class"),
        ([1.0, 1.0], "regression", "constant"),
        (["a", "b"], "regression", "not numbers"),
        (np.eye(3), "auto", "1d array"),
    ],
)
def test_labels_that_cannot_be_used(y, task, match):
    with pytest.raises(ValueError, match=match):
        label_variable(y, task, "y")


def test_infinite_label():
    with pytest.raises(ValueError, match="(?i)y contains infinity"):
        label_variable([0.5, np.inf, 1.0], "auto", "y")


@pytest.mark.parametrize("y", [["a", "b"], [1.0, 1.0]])
def test_errors_about_the_label_do_not_speak_of_attributes(y):
    with pytest.raises(ValueError, match="'y'") as caught:
        label_variable(y, "regression", "y")
    assert "continuous_features" not in str(caught.value)
    assert "attribute" not in str(caught.value)


def test_a_missing_label_in_a_list_of_strings_is_no_class_called_nan():
    with pytest.raises(ValueError, match="Input y contains NaN"):
        label_variable(["a", np.nan, "b"], "auto", "y")


def test_numbers_of_an_object_column_are_a_continuous_label():
    assert label_variable(objects([0.5, 1.25, 7.75]), "auto", "y")[0].kind == "continuous"


# Label-conditional constraints


def test_demographic_parity_compares_everyone():
    assert label_conditions(None, np.zeros(3), "demographic_parity", None).tolist() == [0, 0, 0]


def test_equalized_odds_compares_within_classes():
    label, codes = label_variable(["b", "a", "c", "b"], "auto", "y")
    strata = label_conditions(label, codes, "equalized_odds", None)
    assert strata.tolist() == [1, 0, 2, 1]
    assert strata.dtype == np.int64


def test_equalized_odds_cuts_a_number_into_quarters():
    label, codes = label_variable(np.arange(40) + 0.5, "auto", "y")
    strata = label_conditions(label, codes, "equalized_odds", None)
    assert strata.tolist() == np.repeat([0, 1, 2, 3], 10).tolist()


def test_equal_opportunity_compares_the_favourable_rows():
    label, codes = label_variable(["good", "bad", "good"], "auto", "y")
    strata = label_conditions(label, codes, "true_positive_rate_parity", "good")
    assert strata.tolist() == [0, -1, 0]


@pytest.mark.parametrize(
    ("y", "asked", "expected"),
    [
        ([0, 1], None, 1),
        ([-1, 1], None, 1),
        ([0.0, 1.0], None, 1),
        ([False, True], None, True),
        (["bad", "good"], "bad", "bad"),
        ([1, 2, 3], 2, 2),
        ([0, 1], 0, 0),
    ],
)
def test_favourable_label(y, asked, expected):
    label, _ = label_variable(y, "auto", "y")
    assert resolve_pos_label(label, asked) == expected


@pytest.mark.parametrize(
    ("y", "asked", "match"),
    [
        (["bad", "good"], None, r"pos_label=None is ambiguous: y has the classes \['bad', 'good'\]"),
        ([1, 2], None, "pos_label=None is ambiguous"),
        ([0, 1, 2], None, "pos_label=None is ambiguous"),
        ([0, 1], 7, "pos_label: 7 is not a known value of 'y'"),
        ([0.5, 1.5, 2.5], None, "needs a label with classes; y is continuous"),
    ],
)
def test_favourable_label_that_cannot_be_told(y, asked, match):
    label, _ = label_variable(y, "auto", "y")
    with pytest.raises(ValueError, match=match):
        resolve_pos_label(label, asked)
