"""Tests of bad input: every error names the argument and the remedy, and an earlier fit stays as it was."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler

from sklearn_fairlatent import (
    FairLatentTransformer,
    LabelLostWarning,
    SmallGroupWarning,
    TabularCodec,
)
from sklearn_fairlatent.datasets import make_biased_latents

pytestmark = pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning")

DATA = make_biased_latents(120, 6, sensitive=("binary", "categorical", "continuous"), random_state=0)
X, Y, A = DATA.data, DATA.target, DATA.sensitive_features
S = A["group"].to_numpy()
PARAMS = {"max_epochs": 1, "random_state": 0}


def _with(value, row=3, column=2):
    rows = X.copy()
    rows[row, column] = value
    return rows


@pytest.fixture(scope="module")
def fitted():
    fair = FairLatentTransformer(**PARAMS).fit(X, Y, sensitive_features=A)
    return pickle.dumps(fair), fair.transform(X), fair.to_latent(X)


@pytest.fixture
def unharmed(fitted):
    """A fitted estimator, found after the test as it was before."""
    stored, Z, L = fitted
    fair = pickle.loads(stored)
    before = dict(vars(fair))
    yield fair
    fair.set_params(**{name: before[name] for name in fair.get_params(deep=False)})
    after = dict(vars(fair))
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)
    np.testing.assert_array_equal(fair.transform(X), Z)
    np.testing.assert_array_equal(fair.to_latent(X), L)


# ---------------------------------------------------------------- fit

FRAME = pd.DataFrame(X, columns=list("abcdef"))
INSIDE = FRAME.assign(sex=S)

# name: (constructor arguments, X, y, sensitive_features, what the text says)
BAD_FITS = {
    "NaN": ({}, _with(np.nan), Y, A, r"(?s)X contains NaN.*(imput|missing values)"),
    "infinity": ({}, _with(np.inf), Y, A, "X contains infinity"),
    "no rows": ({}, X[:0], Y[:0], A[:0], r"0 sample\(s\).*minimum of 2"),
    "one row": ({}, X[:1], Y[:1], A[:1], r"1 sample.*minimum of 2"),
    "one row of a table": ({"encoder": TabularCodec()}, FRAME[:1], Y[:1], A[:1], r"1 sample.*minimum of 2"),
    "no columns": ({}, X[:, :0], Y, A, r"0 feature\(s\).*minimum of 1"),
    "one dimension": ({}, X[:, 0], Y, A, r"(?s)Expected 2D array, got 1D array.*Reshape"),
    "three dimensions": ({}, X[:, :, None], Y, A, "dim 3"),
    "sparse": ({}, scipy.sparse.csr_matrix(X), Y, A, r"(?s)[Ss]parse.*toarray"),
    "text": ({}, np.array([["a"] * 6] * 120), Y, A, r"encoder=None.*encoder=TabularCodec\(\)"),
    "a frame with text": ({}, FRAME.assign(a="x"), Y, A, r"encoder=TabularCodec\(\)"),
    "text beside an attribute": (
        {"sensitive_columns": ["sex"]},
        INSIDE.assign(a="x"),
        Y,
        None,
        r"encoder=TabularCodec\(\)",
    ),
    "NaN beside an attribute": (
        {"sensitive_columns": ["sex"]},
        INSIDE.assign(a=np.nan),
        Y,
        None,
        "contains NaN",
    ),
    "sparse with a sensitive column": (
        {"sensitive_columns": [0]},
        scipy.sparse.csr_matrix(X),
        Y,
        None,
        r"(?s)[Ss]parse.*toarray",
    ),
    # the label
    "label missing": ({}, X, np.where(Y == 1, np.nan, 0.0), A, r"y contains NaN.*impute"),
    "one class": ({}, X, np.zeros(120), A, r"y has a single class \[0.0\].*y=None"),
    "label too short": ({}, X, Y[:-1], A, "y has 119 rows, X has 120.*same length"),
    "two labels": ({}, X, np.column_stack([Y, Y]), A, "y should be a 1d array"),
    "fractions as classes": (
        {"task": "classification"},
        X,
        X[:, 0],
        A,
        "task='classification'.*Pass task='regression'",
    ),
    "constant number": ({"task": "regression"}, X, np.ones(120), A, "'target' is constant.*two different"),
    "no label to condition on": ({"constraints": "equalized_odds"}, X, None, A, "y=None. Pass y, or use"),
    "no class to favour": (
        {"constraints": "true_positive_rate_parity"},
        X,
        X[:, 0],
        A,
        "y is continuous. Use 'demographic_parity'",
    ),
    "which class to favour": (
        {"constraints": "true_positive_rate_parity"},
        X,
        np.where(Y == 1, "yes", "no"),
        A,
        r"pos_label=None is ambiguous.*\['no', 'yes'\]. Pass pos_label=",
    ),
    "favoured class unknown": (
        {"constraints": "equal_opportunity", "pos_label": 7},
        X,
        Y,
        A,
        r"pos_label: 7 is not a known value of 'target'. Groups seen in fit: \[0, 1\]",
    ),
    "favoured class missing": (
        {"constraints": "equal_opportunity", "pos_label": np.nan},
        X,
        Y,
        A,
        "pos_label=nan: exp",
    ),
    "several favoured classes": ({"pos_label": [1]}, X, Y, A, r"pos_label=\[1\]: expected one of the classes, or None"),
    # the attributes
    "attribute too short": ({}, X, Y, A[:-1], "'group' has 119 rows, X has 120.*pass a DataFrame"),
    "dict not sliced": ({}, X[:60], Y[:60], {"sex": S}, "'sex' has 120 rows, X has 60.*pass a DataFrame"),
    "single group": ({}, X, Y, np.zeros(120), r"sensitive_feature_0' has a single group \[0.0\].*at least two"),
    "all missing": ({}, X, Y, pd.Series([None] * 120, name="sex", dtype=object), "'sex' has a single group"),
    "another order": (
        {},
        FRAME,
        Y,
        A.iloc[::-1],
        r"same index labels as X in another order.*sensitive_features.loc\[X.index\]",
    ),
    "many whole numbers": (
        {},
        X,
        Y,
        pd.DataFrame({"age": np.arange(120)}),
        r"'age' has 120 different whole numbers.*continuous_features=\['age'\].*strings",
    ),
    "constant quantity": (
        {"continuous_features": ["age"]},
        X,
        Y,
        pd.DataFrame({"age": np.ones(120)}),
        "'age' is constant.*Leave it out",
    ),
    "words as quantity": (
        {"continuous_features": ["category"]},
        X,
        Y,
        A,
        "'category' is declared continuous but holds values that are not numbers.*continuous_features",
    ),
    "unknown quantity": (
        {"continuous_features": ["height"]},
        X,
        Y,
        A,
        r"continuous_features names \['height'\], but the sensitive attributes are \['category', 'group'",
    ),
    "infinite attribute": (
        {},
        X,
        Y,
        A.assign(level=A["level"].mask(A["level"] > 1, np.inf)),
        "'level' contains infinity. Clip",
    ),
    "mixed types": (
        {},
        X,
        Y,
        pd.Series([1, "a"] * 60, name="sex", dtype=object),
        "'sex' mixes values of different types.*strings",
    ),
    "no attributes": ({}, X, Y, A[[]], "sensitive_features has no columns. Pass at least one"),
    "attribute of three dimensions": ({}, X, Y, np.zeros((120, 1, 1)), "3 dimensions; expected 1 or 2"),
    "attribute called residual": ({}, X, Y, A.rename(columns={"group": "residual"}), r"\['residual'\].*Rename"),
    "attribute called as the label": (
        {},
        X,
        pd.Series(Y, name="group"),
        A,
        r"\['group'\] bear the name of another block.*Rename",
    ),
    "label called residual": ({}, X, pd.Series(Y, name="residual"), A, "y bears the name 'residual'.*Rename it"),
    "attributes of a dict in another order": (
        {},
        FRAME,
        Y,
        {"group": A["group"].iloc[::-1]},
        r"another order.*loc\[X.index\]",
    ),
    "attribute called target": ({}, X, Y, A.rename(columns={"group": "target"}), r"\['target'\].*Rename"),
    "attribute given twice": (
        {"sensitive_columns": ["sex"]},
        INSIDE,
        Y,
        pd.Series(S, name="sex"),
        r"\['sex'\] are in sensitive_columns and in sensitive_features. Name each attribute once",
    ),
    "no such column": (
        {"sensitive_columns": ["gender"]},
        INSIDE,
        Y,
        None,
        "sensitive_columns: 'gender' is not a column of X, which has .*'sex'",
    ),
    "no such position": ({"sensitive_columns": [6]}, X, Y, None, "sensitive_columns: 6 is not a column of X"),
    "column twice": ({"sensitive_columns": ["sex", 6]}, INSIDE, Y, None, "names a column twice"),
    "nothing left": (
        {"sensitive_columns": ["a"]},
        FRAME[["a"]],
        Y,
        None,
        "sensitive_columns takes every column of X. Leave at least one",
    ),
    "nothing sensitive": (
        {"on_missing_sensitive": "raise"},
        X,
        Y,
        None,
        r"sensitive_features=...\) or sensitive_columns=",
    ),
    "too wide a hand-on": (
        {"n_components": 4},
        X,
        Y,
        A,
        r"n_components=4 does not fit.*6 column\(s\).*take 4 of them. Pass n_components<=2",
    ),
}


@pytest.mark.parametrize("case", list(BAD_FITS))
def test_a_bad_fit_says_what_to_do_and_harms_nothing(unharmed, case):
    params, rows, label, attributes, text = BAD_FITS[case]
    unharmed.set_params(**params)
    with pytest.raises((ValueError, TypeError), match=text):
        unharmed.fit(rows, label, sensitive_features=attributes)
    fresh = FairLatentTransformer(**PARAMS, **params)
    with pytest.raises((ValueError, TypeError), match=text):
        fresh.fit(rows, label, sensitive_features=attributes)
    assert set(vars(fresh)) == set(fresh.get_params(deep=False))
    with pytest.raises(NotFittedError):
        fresh.transform(X)


BAD_PARAMS = {
    "n_components": [0, -1, 1.5, "all", True],
    "constraints": ["parity", None, ["demographic_parity"]],
    "fairness_strength": [-0.1, np.inf, np.nan, "1", None],
    "sensitive_columns": ["sex", [], 3],
    "continuous_features": ["age", []],
    "task": ["binary", None],
    "on_missing_sensitive": ["ignore", None],
    "max_epochs": [0, 2.5, "many"],
    "batch_size": [0, 1, 8.0],
    "lr": [0, -1e-3, np.inf, "auto"],
    "n_layers": [-1, 1.0],
    "hidden_size": [0, "auto"],
    "module": ["flow", StandardScaler()],
    "early_stopping": ["yes", 1],
    "validation_fraction": [0, 1, 1.5],
    "n_threads": [0, None],
    "verbose": ["yes", None],
    "net_params": [[("lr", 1)], "lr"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD_PARAMS.items() for value in values], ids=str
)
def test_a_bad_argument_is_named_with_what_was_expected(unharmed, name, value):
    unharmed.set_params(**{name: value})
    with pytest.raises(ValueError, match=f"{name}=.*: expected "):
        unharmed.fit(X, Y, sensitive_features=A)


@pytest.mark.parametrize(
    ("name", "value"), [("device", "toaster"), ("random_state", "seed"), ("net_params", {"no_such_option": 1})]
)
def test_what_others_refuse_harms_nothing(unharmed, name, value):
    unharmed.set_params(**{name: value})
    with pytest.raises(Exception, match="toaster|seed|no_such_option"):
        unharmed.fit(X, Y, sensitive_features=A)


# ---------------------------------------------------------------- odd input that works


def test_a_group_with_one_row_is_warned_about():
    lonely = pd.Series(np.where(np.arange(120) == 5, "x", np.where(S == 1, "m", "f")), name="sex")
    fair = FairLatentTransformer(**PARAMS)
    with pytest.warns(SmallGroupWarning, match=r"group\(s\) \['x'\] of 'sex' have one row.*merge") as caught:
        fair.fit(X, Y, sensitive_features=lonely)
    assert caught[0].filename == __file__
    own = fair.counterfactual(X, "sex", lonely, sensitive_features=lonely)
    np.testing.assert_allclose(own, X, rtol=0, atol=1e-8)
    as_x = fair.counterfactual(X, "sex", "x", sensitive_features=lonely)
    assert np.isfinite(as_x).all()


@pytest.mark.parametrize("strength", [1.0, 4.0])
def test_a_label_that_is_the_attribute_is_lost_with_a_warning(strength):
    data = make_biased_latents(600, random_state=0)
    fair = FairLatentTransformer(fairness_strength=strength, max_epochs=20, random_state=0)
    s = data.sensitive_features["group"]
    with pytest.warns(LabelLostWarning, match="lost the label"):
        fair.fit(data.data, s.to_numpy(), sensitive_features=s)
    assert fair.label_lost_


@pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning")
def test_a_label_that_is_the_attribute_keeps_the_map_exact():
    fair = FairLatentTransformer(**PARAMS).fit(X, S, sensitive_features=S)
    np.testing.assert_allclose(fair.from_latent(fair.to_latent(X)), X, rtol=0, atol=1e-8)


@pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning")
@pytest.mark.parametrize("label", [Y, None], ids=["label", "no label"])
@pytest.mark.parametrize("n_columns", [1, 2, 3])
def test_few_columns_stay_a_bijection(n_columns, label):
    rows = X[:, :n_columns]
    fair = FairLatentTransformer(**PARAMS).fit(rows, label, sensitive_features=A["group"])
    np.testing.assert_allclose(fair.from_latent(fair.to_latent(rows)), rows, rtol=0, atol=1e-8)
    assert fair.transform(rows).shape[1] == fair._n_features_out >= 1


@pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning")
def test_a_block_without_room_says_so(unharmed):
    fair = FairLatentTransformer(**PARAMS).fit(X[:, :1], Y, sensitive_features=A["group"])
    assert fair.latent_layout_.width("group") == 0
    with pytest.raises(ValueError, match=r"attr='group'.*"):
        fair.counterfactual(X[:, :1], "group")


@pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning")
def test_constant_columns_alone_and_among_others():
    rows = np.column_stack([X, np.full(120, 3.0), np.zeros(120)])
    fair = FairLatentTransformer(**PARAMS).fit(rows, Y, sensitive_features=A)
    np.testing.assert_allclose(fair.from_latent(fair.to_latent(rows)), rows, rtol=0, atol=1e-8)
    constant = np.full((120, 3), 2.0)
    fair.fit(constant, Y, sensitive_features=A["group"])
    assert np.isfinite(fair.transform(constant)).all()
    np.testing.assert_allclose(fair.from_latent(fair.to_latent(constant)), constant, rtol=0, atol=1e-8)


@pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning")
def test_fewer_rows_than_the_batch():
    few = slice(0, 12)
    fair = FairLatentTransformer(batch_size=512, **PARAMS).fit(X[few], Y[few], sensitive_features=S[few])
    assert np.isfinite(fair.transform(X)).all()
    assert fair.n_iter_ == 1


@pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning")
@pytest.mark.parametrize("n_samples", [2, 3, 5])
def test_a_handful_of_rows(n_samples):
    rows, s, y = X[:n_samples], np.arange(n_samples) % 2, (np.arange(n_samples) > 0).astype(int)
    fair = FairLatentTransformer(**PARAMS)
    if np.bincount(s).min() < 2:
        with pytest.warns(SmallGroupWarning, match="one row each"):
            fair.fit(rows, y, sensitive_features=s)
    else:
        fair.fit(rows, y, sensitive_features=s)
    np.testing.assert_allclose(fair.from_latent(fair.to_latent(rows)), rows, rtol=0, atol=1e-8)


def test_rows_are_matched_by_position_where_the_labels_are_no_permutation():
    rows = FRAME.set_index(np.arange(1000, 1120))
    same = [
        FairLatentTransformer(**PARAMS).fit(rows, Y, sensitive_features=attributes).transform(rows)
        for attributes in (A, A.set_index(rows.index), A.set_index(np.arange(120)[::-1]), pl.from_pandas(A))
    ]
    for Z in same[1:]:
        np.testing.assert_array_equal(Z, same[0])


# ---------------------------------------------------------------- after fit


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("transform", (X,)),
        ("to_latent", (X,)),
        ("from_latent", (X,)),
        ("inverse_transform", (X[:, :1],)),
        ("counterfactual", (X, "group")),
        ("get_feature_names_out", ()),
    ],
)
def test_unfitted_use(method, given):
    with pytest.raises(NotFittedError, match="not fitted"):
        getattr(FairLatentTransformer(), method)(*given)


@pytest.mark.parametrize("method", ["transform", "to_latent", "counterfactual"])
@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (X[:, :5], "X has 5 features, but FairLatentTransformer is expecting 6"),
        (np.hstack([X, X]), "X has 12 features, but FairLatentTransformer is expecting 6"),
        (_with(np.nan), "X contains NaN"),
        (_with(-np.inf), "X contains infinity"),
        (X[:0], r"0 sample\(s\)"),
        (X[0], "Reshape your data"),
        (scipy.sparse.csr_matrix(X), "(?s)[Ss]parse.*toarray"),
        (np.array([["a"] * 6]), r"encoder=TabularCodec\(\)"),
    ],
    ids=["narrow", "wide", "NaN", "infinity", "no rows", "one dimension", "sparse", "text"],
)
def test_bad_rows_after_fit(unharmed, method, rows, text):
    extra = ("group",) if method == "counterfactual" else ()
    with pytest.raises((ValueError, TypeError), match=text):
        getattr(unharmed, method)(rows, *extra)


def test_one_row_is_enough_after_fit(unharmed):
    assert unharmed.transform(X[:1]).shape == (1, 1)
    assert unharmed.counterfactual(X[:1], "group").shape == (1, 6)


def test_bad_latents(unharmed):
    with pytest.raises(ValueError, match=r"L has 5 columns, expected 6: LatentLayout\(target\[0:1\]"):
        unharmed.from_latent(X[:, :5])
    with pytest.raises(ValueError, match="Z has 2 columns, expected 1"):
        unharmed.inverse_transform(X[:, :2])
    with pytest.raises(ValueError, match="Z contains NaN"):
        unharmed.inverse_transform([[np.nan]])
    with pytest.raises(ValueError, match="L contains infinity"):
        unharmed.from_latent(_with(np.inf))


BAD_QUESTIONS = {
    "unknown attribute": ("sex", None, A, r"attr='sex' is not known. Known names: \['target', 'group', 'category'"),
    "residual": ("residual", None, A, "attr='residual' is not known"),
    "no name": (3, None, A, "attr=3: expected a name or a list of names. Known names"),
    "no names": ([], None, A, "expected a name or a list of names"),
    "name twice": (["group", "group"], None, A, "names a variable twice. Name each once"),
    "unknown value": ("group", 2, A, r"value: 2 is not a known value of 'group'. Groups seen in fit: \[0, 1\]"),
    "word for a number": ("level", "high", A, "value='high': 'level' is a quantity; expected finite numbers"),
    "no end": ("level", np.inf, A, "value=inf: 'level' is a quantity; expected finite numbers"),
    "a missing word": ("category", ["a", np.nan] * 60, A, "value holds missing values for 'category'"),
    "missing value": ("level", np.nan, A, "value holds missing values for 'level'. Pass a known value"),
    "no value of three groups": (
        "category",
        None,
        A,
        r"value=None: 'category' has 3 groups \['a', 'b', 'c'\].*Pass value=",
    ),
    "no value of a quantity": ("level", None, A, "value=None: 'level' is continuous.*Pass value="),
    "values too short": ("group", S[:-1], A, r"value has shape \(119,\), X has 120 rows. Pass one value, or"),
    "values too wide": ("group", np.column_stack([S, S]), A, r"value has shape \(120, 2\)"),
    "no dict": (["group", "level"], 1, A, "with several attributes pass a dict, for example"),
    "stranger in the dict": (
        ["group", "level"],
        {"group": 1, "level": 0.0, "sex": 1},
        A,
        r"value has keys \['sex'\] that are not in attr.*Drop them",
    ),
    "one missing in the dict": (["group", "level"], {"group": 1}, A, "value=None: 'level' is continuous"),
    "strange attribute told": ("group", None, A.assign(sex=1), r"\['sex'\] were not in fit, which saw \['group'"),
    "attribute told too short": ("group", None, A[:5], "'group' has 5 rows, X has 120"),
    "unknown group told": ("group", None, A.assign(group=5), "sensitive_features: 5 is not a known value of 'group'"),
}


@pytest.mark.parametrize("case", list(BAD_QUESTIONS))
def test_a_bad_question_says_what_to_ask(unharmed, case):
    attr, value, told, text = BAD_QUESTIONS[case]
    with pytest.raises((ValueError, TypeError), match=text):
        unharmed.counterfactual(X, attr, value, sensitive_features=told)


def test_an_attribute_without_a_block_does_not_move():
    fair = FairLatentTransformer(**PARAMS).fit(X[:, :2], Y, sensitive_features=A)
    text = r"attr='level' has no block: the columns .* leave room only for those of \['target', 'group'\]. Fit on more"
    for attr, value in (("level", 0.5), (["group", "level"], {"level": 0.5})):
        with pytest.raises(ValueError, match=text):
            fair.counterfactual(X[:, :2], attr, value)
    assert fair.counterfactual(X[:, :2], "group").shape == (120, 2)


def test_groups_told_in_another_order():
    fair = FairLatentTransformer(**PARAMS).fit(FRAME, Y, sensitive_features=A)
    for told in (A.iloc[::-1], {"group": A["group"].iloc[::-1]}):
        with pytest.raises(ValueError, match=r"another order.*loc\[X.index\]"):
            fair.counterfactual(FRAME, "group", sensitive_features=told)


def test_the_attribute_inside_an_array_may_not_be_absent():
    inside = np.column_stack([X, S])
    fair = FairLatentTransformer(sensitive_columns=[6], **PARAMS).fit(inside, Y)
    with pytest.raises(ValueError, match="X has 6 features, but FairLatentTransformer is expecting 7"):
        fair.transform(X)


def test_some_of_the_attributes_may_not_be_absent():
    inside = INSIDE.assign(age=A["level"])
    fair = FairLatentTransformer(sensitive_columns=["sex", "age"], **PARAMS).fit(inside, Y)
    assert fair.transform(FRAME).shape == (120, 1)
    with pytest.raises(ValueError, match="(?s)feature names.*age"):
        fair.transform(inside.drop(columns="age"))


def test_a_codec_says_what_it_does_not_know():
    frame = FRAME.assign(job=np.where(S == 1, "nurse", "clerk"))
    fair = FairLatentTransformer(encoder=TabularCodec(), **PARAMS).fit(frame, Y, sensitive_features=A["group"])
    Z = fair.transform(frame)
    with pytest.raises(ValueError, match="(?s)pilot.*job|job.*pilot"):
        fair.transform(frame.assign(job="pilot"))
    with pytest.raises(ValueError, match="(?s)feature names.*job"):
        fair.transform(frame.drop(columns="job"))
    np.testing.assert_array_equal(fair.transform(frame), Z)
