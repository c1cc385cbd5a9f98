"""Partners of the other group: rows of every kind, pairs, judges, generators, files, imbalanced-learn's pipelines."""

import contextlib
import os
import pickle
import subprocess
import sys
import warnings
from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import Parallel, delayed
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sklearn_fairlatent import FairLatentTransformer, SmallGroupWarning, TabularCodec
from sklearn_fairlatent import _counterfactual_map as counterfactual_map
from sklearn_fairlatent import _readers as readers
from sklearn_fairlatent.augmentation import LatentFlipSampler
from sklearn_fairlatent.augmentation import _judging as judging
from sklearn_fairlatent.augmentation._pairs import all_pairs, balancing_pairs, cell_needs, intersections
from sklearn_fairlatent.datasets import make_biased_latents

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
]

N = 300
NAMES = list("abcdef")


class Reads(BaseEstimator):
    """Reads one of some values from the sign, or the tenths, of a column; learns nothing."""

    def __init__(self, column=0, values=(0, 1), tenths=False):
        self.column, self.values, self.tenths = column, values, tenths

    def fit(self, X, y):
        self.fitted_ = True
        return self

    def predict(self, X):
        column = np.asarray(X).reshape(len(X), -1)[:, self.column]
        code = np.floor(10 * column).astype(int) if self.tenths else (column > 0).astype(int)
        return np.asarray(self.values)[code % len(self.values)]


class Flattened(BaseEstimator):
    """A logistic regression on pictures."""

    def fit(self, X, y):
        self.model_ = LogisticRegression(max_iter=1000).fit(np.asarray(X).reshape(len(X), -1), y)
        return self

    def predict(self, X):
        return self.model_.predict(np.asarray(X).reshape(len(X), -1))


class Generator:
    """A fixed mixture of latents that notes how many rows it makes at once."""

    def __init__(self, n_latent=4, n_columns=6, seed=0):
        self.mixture = np.random.default_rng(seed).normal(size=(n_latent, n_columns))
        self.sizes = []

    def __call__(self, Z):
        self.sizes.append(len(Z))
        return Z @ self.mixture


@pytest.fixture(autouse=True)
def _few_trees(request, monkeypatch):
    """A tenth of the trees of the default judge judges a few hundred rows as well; processes beside have all."""
    if "slow" not in request.keywords:
        monkeypatch.setattr(
            judging, "HistGradientBoostingClassifier", partial(HistGradientBoostingClassifier, max_iter=10)
        )


def module(*layers, seed=0):
    """A torch generator with weights that do not depend on the test that runs before."""
    made = torch.nn.Sequential(*layers)
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=source))
    return made


def sampler(**params):
    return LatentFlipSampler(**{"random_state": 0, "judge": None} | params)


def small(**params):
    return FairLatentTransformer(**{"max_epochs": 2, "n_layers": 2, "hidden_size": 16} | params)


@pytest.fixture(scope="module")
def data():
    return make_biased_latents(2 * N, 6, random_state=0)


@pytest.fixture(scope="module")
def rows(data):
    """Rows, labels and one attribute with two groups."""
    return data.data[:N], data.target[:N], data.sensitive_features["group"].iloc[:N]


@pytest.fixture(scope="module")
def groups(rows):
    """Attributes: two groups, three groups, and three groups of which some are missing."""
    X, _, group = rows
    rng = np.random.default_rng(0)
    three = np.select([X[:, 1] + rng.normal(size=N) > 0.7, X[:, 2] + rng.normal(size=N) > 0], ["u", "v"], "w")
    some = three.astype(object)
    some[::9] = None
    return pd.DataFrame({"two": group.map({0: "f", 1: "m"}), "three": three, "some": some})


@pytest.fixture(scope="module")
def fair(rows):
    X, y, group = rows
    return small(random_state=0).fit(X, y, sensitive_features=group)


@pytest.fixture(scope="module")
def mixed(rows):
    """A frame with columns of every kind."""
    X, _, group = rows
    return pd.DataFrame(
        {
            "pay": X[:, 0],
            "sex": group.map({0: "f", 1: "m"}).to_numpy(),
            "job": np.select([X[:, 1] > 0.5, X[:, 2] > 0], ["x", "y"], "z"),
            "years": np.round(5 * X[:, 3]).astype(int),
            "member": X[:, 4] > 0,
            "ward": pd.Categorical(np.where(X[:, 5] > 0, "north", "south")),
        },
        index=np.arange(N) + 1000,
    )


def cells(y, A):
    """How many rows every label has of every group (of every combination)."""
    keys = [A[name].to_numpy() for name in A]
    return pd.crosstab(np.asarray(y), keys, dropna=False)


def flip(rows, A=None, **params):
    """The fitted sampler and what came back."""
    X, y, group = rows
    made = sampler(**params)
    given_ = {} if params.get("sensitive_columns") else {"sensitive_features": group if A is None else A}
    X_more, y_more = made.fit_resample(X, y, **given_)
    return made, X_more, y_more


# ---------------------------------------------------------------- what comes back


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize("transformer", [None, small()], ids=["linear", "transformer"])
def test_arrays_stay_arrays_and_the_rows_come_first(rows, dtype, transformer):
    X, y, group = rows
    X = (10 * X).astype(dtype)
    before = X.copy()
    made, X_more, y_more = flip((X, y, group), transformer=transformer)
    assert X_more.dtype == (np.float32 if dtype == np.float32 else np.float64)
    assert X_more.shape == (2 * N, 6)
    assert y_more.shape == (2 * N,)
    assert y_more.dtype == y.dtype
    assert_array_equal(X_more[:N], X)
    assert_array_equal(X, before)
    assert_array_equal(y_more, np.tile(y, 2))
    assert_array_equal(made.sample_indices_, np.tile(np.arange(N), 2))
    assert_array_equal(made.flipped_, np.repeat([False, True], N))
    assert_array_equal(made.sensitive_features_["group"], np.r_[group, 1 - group])
    assert np.isfinite(X_more).all()
    assert (np.abs(X_more[N:] - X).max(axis=1) > 1e-6).mean() > 0.9
    X_more[:] = 0
    assert_array_equal(X, before)


def test_lists_become_arrays(rows):
    X, y, group = rows
    made, X_more, y_more = flip((X.tolist(), y.tolist(), group.tolist()))
    _, expected, _ = flip(rows)
    assert_array_equal(X_more, expected)
    assert isinstance(y_more, np.ndarray)
    assert_array_equal(y_more, np.tile(y, 2))
    assert made.sensitive_features_.columns.tolist() == ["sensitive_feature_0"]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_pandas_frames_of_numbers(rows, dtype):
    X, y, group = rows
    frame = pd.DataFrame(X, columns=NAMES, index=np.arange(N)[::-1] + 7).astype(dtype)
    before = frame.copy()
    made, more, y_more = flip((frame, y, group.to_numpy()), judge="auto")
    pd.testing.assert_frame_equal(frame, before)
    assert more.dtypes.tolist() == frame.dtypes.tolist()
    assert more.index.tolist() == list(range(2 * N))
    assert_array_equal(more, flip((X.astype(dtype), y, group))[1])
    assert made.feature_names_in_.tolist() == NAMES
    assert made.n_features_in_ == 6
    assert isinstance(y_more, np.ndarray)


def test_polars_frames_of_numbers(rows):
    X, y, group = rows
    frame = pl.DataFrame({name: X[:, k] for k, name in enumerate(NAMES)})
    _, more, _ = flip((frame, y, pl.DataFrame({"group": group.to_numpy()})), judge="auto")
    assert isinstance(more, pl.DataFrame)
    assert more.schema == frame.schema
    assert_array_equal(more.to_numpy(), flip(rows)[1])


def test_whole_numbers_of_pandas_become_floats_that_a_flip_can_move(rows):
    X, y, group = rows
    frame = pd.DataFrame(X, columns=NAMES).assign(a=np.round(3 * X[:, 0]).astype(int))
    _, more, _ = flip((frame, y, group), judge="auto")
    assert_allclose(more, flip((frame.to_numpy(), y, group))[1], atol=1e-12)


def test_whole_numbers_of_polars_become_floats_that_a_flip_can_move(rows):
    X, y, group = rows
    frame = pl.DataFrame({name: X[:, k] for k, name in enumerate(NAMES)})
    frame = frame.with_columns(pl.Series("a", np.round(3 * X[:, 0]).astype(int)))
    _, more, _ = flip((frame, y, group))
    assert_allclose(more.to_numpy(), flip((frame.to_numpy(), y, group))[1], atol=1e-12)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_booleans_become_floats_that_a_flip_can_move(rows, library):
    X, y, group = rows
    frame = pd.DataFrame(X, columns=NAMES).assign(a=X[:, 0] > 0)
    frame = pl.from_pandas(frame) if library == "polars" else frame
    _, more, _ = flip((frame, y, group))
    column = np.asarray(more["a"])
    assert column.dtype == np.float64
    assert_allclose(column[:N], X[:, 0] > 0)


def test_the_default_judge_reads_what_became_of_booleans(rows):
    X, y, group = rows
    frame = pd.DataFrame(X, columns=NAMES).assign(a=X[:, 0] > 0)
    assert flip((frame, y, group), judge="auto")[1].shape == (2 * N, 6)


@pytest.mark.filterwarnings("ignore:Constructing a Categorical")
def test_categories_that_are_numbers_are_moved_or_refused(rows):
    X, y, group = rows
    frame = pd.DataFrame(X, columns=NAMES).assign(a=pd.Categorical((X[:, 0] > 0).astype(int)))
    with contextlib.suppress(ValueError):
        assert flip((frame, y, group))[1]["a"].notna().all()


@pytest.mark.parametrize("kind", ["pandas", "polars", "enum"])
def test_text_that_reads_as_numbers_is_refused(rows, kind):
    X, y, group = rows
    frame = pd.DataFrame(X, columns=NAMES).assign(a=np.where(X[:, 0] > 0, "1", "0"))
    if kind != "pandas":
        frame = pl.from_pandas(frame)
    if kind == "enum":
        frame = frame.with_columns(pl.col("a").cast(pl.Enum(["0", "1"])))
    with pytest.raises(ValueError, match="'a'|text|string"):
        flip((frame, y, group))


@pytest.mark.parametrize("dtype", ["Int64", "boolean", "Float64"])
def test_nullable_columns_may_lack_values_behind_a_codec(rows, dtype):
    X, y, group = rows
    column = pd.Series(X[:, 0] > 0).astype(dtype).where(X[:, 1] < 1)
    frame = pd.DataFrame(X, columns=NAMES).assign(a=column)
    _, more, _ = flip((frame, y, group), transformer=small(encoder=TabularCodec()), judge="auto")
    assert more["a"].dtype == dtype
    assert more["a"].isna().any()


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_plain_columns_may_lack_values_behind_a_codec(rows, library):
    X, y, group = rows
    frame = pd.DataFrame(X, columns=NAMES).assign(a=np.where(X[:, 1] < 1, np.round(X[:, 0]), np.nan))
    frame = (
        pl.from_pandas(frame, nan_to_null=True).with_columns(pl.col("a").cast(pl.Int64))
        if library == "polars"
        else frame
    )
    made, more, _ = flip((frame, y, group), transformer=small(encoder=TabularCodec()), judge="auto")
    assert list(more.dtypes) == list(frame.dtypes)
    assert 0 < made.label_changed_ < 1


def test_a_frame_of_words_needs_a_transformer(rows, mixed):
    with pytest.raises(ValueError, match="hold no numbers, which the linear flip takes"):
        flip((mixed, *rows[1:]))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_of_every_kind_of_column_through_a_codec(rows, groups, mixed, library):
    X = mixed.drop(columns="sex") if library == "pandas" else pl.from_pandas(mixed.drop(columns="sex"))
    _, y, _ = rows
    made = sampler(transformer=small(encoder=TabularCodec()), judge="auto")
    more, y_more = made.fit_resample(X, y, sensitive_features=groups["three"].to_numpy())
    assert type(more) is type(X)
    assert list(more.columns) == list(X.columns)
    assert list(more.dtypes) == list(X.dtypes)
    assert more.shape == (3 * N, 5)
    assert len(y_more) == 3 * N
    back = more[:N]
    assert back.equals(X.reset_index(drop=True) if library == "pandas" else X)
    values = pd.DataFrame({name: more[name].to_numpy() for name in ("job", "ward", "member")})
    for name in values:
        assert set(values[name][N:]) <= set(values[name][:N])
        assert (values[name].to_numpy()[N:] != values[name].to_numpy()[made.sample_indices_[N:]]).any()
    assert 0 < made.label_changed_ < 1


@pytest.mark.parametrize(
    "y",
    [
        pd.Series([0, 1], name="hired"),
        pd.Series(["no", "yes"], name="hired"),
        pd.Series(["no", "yes"], name="hired", dtype="category"),
        pd.Series(["no", "yes"], dtype=pd.CategoricalDtype(["yes", "maybe", "no"], ordered=True)),
        pd.Series([0, 1], dtype="Int64"),
        pd.Series([False, True], dtype="boolean"),
        pd.Series([0, 1], dtype="int8"),
    ],
    ids=lambda y: str(y.dtype),
)
def test_a_series_of_labels_stays_one(rows, y):
    X, target, group = rows
    y = y.iloc[target].set_axis(np.arange(N) + 50)
    _, _, y_more = flip((X, y, group), judge="auto")
    pd.testing.assert_series_equal(y_more, pd.concat([y, y], ignore_index=True))


@pytest.mark.parametrize("values", [("no", "yes"), (False, True), (-1, 1), (0.0, 1.0)])
def test_arrays_of_labels_keep_their_values(rows, values):
    X, target, group = rows
    y = np.array(values)[target]
    _, _, y_more = flip((X, y, group), judge="auto")
    assert y_more.dtype == y.dtype
    assert_array_equal(y_more, np.tile(y, 2))
    words = flip((X, y.astype(str).astype(object), group), judge="auto")[2]
    assert words.dtype == object
    assert_array_equal(words, np.tile(y.astype(str), 2))


def test_numbers_that_are_objects_are_labels(rows):
    X, y, group = rows
    _, _, y_more = flip((X, pd.Series(y, dtype=object), group), judge="auto")
    assert y_more.tolist() == np.tile(y, 2).tolist()


def test_labels_of_several_types_are_refused(rows):
    X, y, group = rows
    with pytest.raises((ValueError, TypeError)):
        flip((X, np.where(y == 1, "a", y.astype(object)), group))


def test_a_polars_series_of_labels_stays_one(rows):
    X, y, group = rows
    for kind, values in ((pl.Int8, y), (pl.Boolean, y == 1), (pl.Enum(["no", "yes"]), np.where(y, "yes", "no"))):
        given_ = pl.Series("hired", values.tolist()).cast(kind)
        y_more = flip((X, given_, group), judge="auto")[2]
        assert isinstance(y_more, pl.Series)
        assert y_more.equals(given_.append(given_), check_names=True, check_dtypes=True)


def test_several_labels(rows, groups):
    X, _, group = rows
    made, X_more, y_more = flip((X, groups["three"], group), judge="auto")
    assert cells(y_more, made.sensitive_features_).nunique(axis=1).eq(1).all()
    assert set(y_more) == {"u", "v", "w"}


# ---------------------------------------------------------------- sensitive columns


SENSITIVE = {
    "int64": np.array([0, 1]),
    "int8": np.array([0, 1], dtype=np.int8),
    "float32": np.array([0, 1], dtype=np.float32),
    "bool": np.array([False, True]),
    "str": np.array(["f", "m"], dtype=object),
}


@pytest.mark.parametrize("kind", [*SENSITIVE, "category", "ordered"])
def test_partners_bear_the_other_group_in_a_pandas_frame(rows, kind):
    X, y, group = rows
    column = pd.Series(SENSITIVE.get(kind, SENSITIVE["str"])[group])
    if kind in ("category", "ordered"):
        column = column.astype(pd.CategoricalDtype(["m", "none", "f"], ordered=kind == "ordered"))
    frame = pd.DataFrame(X, columns=NAMES)
    frame.insert(2, "sex", column)
    made, more, _ = flip((frame, y, None), sensitive_columns=["sex"], judge="auto")
    assert more.dtypes.tolist() == frame.dtypes.tolist()
    assert more.columns.tolist() == frame.columns.tolist()
    assert more["sex"].tolist() == made.sensitive_features_["sex"].tolist()
    assert more["sex"].tolist() == [*column, *column.map(dict(zip(*_both(column), strict=True)))]
    assert_array_equal(more.drop(columns="sex"), flip(rows)[1])


def _both(column):
    """The two values of a column, and the same the other way round."""
    values = sorted(set(column))
    return values, values[::-1]


@pytest.mark.parametrize("kind", ["int8", "bool", "str", "category", "enum"])
def test_partners_bear_the_other_group_in_a_polars_frame(rows, kind):
    X, y, group = rows
    column = pl.Series("sex", SENSITIVE.get(kind, SENSITIVE["str"])[group].tolist())
    casts = {"int8": pl.Int8, "category": pl.Categorical, "enum": pl.Enum(["m", "none", "f"])}
    column = column.cast(casts[kind]) if kind in casts else column
    frame = pl.DataFrame({name: X[:, k] for k, name in enumerate(NAMES)}).insert_column(2, column)
    made, more, _ = flip((frame, y, None), sensitive_columns=["sex"], judge="auto")
    assert more.schema == frame.schema
    assert more["sex"].to_list() == made.sensitive_features_["sex"].tolist()
    values, others = _both(column.to_list())
    assert more["sex"].to_list()[N:] == [dict(zip(values, others, strict=True))[value] for value in column.to_list()]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_partners_bear_the_other_group_in_an_array(rows, groups, dtype):
    X, y, group = rows
    codes = np.unique(groups["three"], return_inverse=True)[1]
    wide = np.insert(np.insert(10 * X, 1, group + 5, axis=1), 6, codes, axis=1).astype(dtype)
    made, more, _ = flip((wide, y, None), sensitive_columns=[6, 1], judge="auto")
    assert more.shape == (6 * N, 8)
    assert_array_equal(more[:N], wide)
    assert made.sensitive_features_.columns.tolist() == ["x6", "x1"]
    assert_array_equal(more[:, [6, 1]], made.sensitive_features_)
    assert set(more[:, 1]) == {5, 6}
    A = pd.DataFrame({"x6": codes, "x1": group + 5})
    plain = flip((np.delete(wide, [1, 6], axis=1), y, A), judge="auto")[1]
    assert_array_equal(np.delete(more, [1, 6], axis=1), plain)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_sensitive_columns_of_a_mixed_frame_through_a_codec(rows, mixed, library):
    X = mixed if library == "pandas" else pl.from_pandas(mixed)
    made = sampler(transformer=small(encoder=TabularCodec()), sensitive_columns=["ward", "sex"], judge="auto")
    more, y_more = made.fit_resample(X, rows[1])
    assert list(more.columns) == list(X.columns)
    assert list(more.dtypes) == list(X.dtypes)
    for name in ("ward", "sex"):
        assert list(more[name]) == made.sensitive_features_[name].tolist()
    counts = cells(y_more, made.sensitive_features_)
    assert counts.shape == (2, 4)
    assert (counts.nunique(axis=1) == 1).all()


def test_columns_and_features_may_be_told_side_by_side(rows, groups):
    X, y, group = rows
    frame = pd.DataFrame(X, columns=NAMES).assign(sex=group)
    made = sampler(sensitive_columns=["sex"])
    more, y_more = made.fit_resample(frame, y, sensitive_features=groups[["three"]])
    assert made.sensitive_features_.columns.tolist() == ["sex", "three"]
    assert len(more) == 6 * N
    assert_array_equal(more["sex"], made.sensitive_features_["sex"])
    assert (cells(y_more, made.sensitive_features_).nunique(axis=1) == 1).all()
    with pytest.raises(ValueError, match=r"\['sex'\] are in sensitive_columns and in sensitive_features"):
        made.fit_resample(frame, y, sensitive_features=group.rename("sex"))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            ["pay"],
            r"sensitive_columns=\['pay'\]: expected different columns of X, by name or position; it has \['a', 'b'",
        ),
        (["a", "a"], r"sensitive_columns=\['a', 'a'\]: expected different columns"),
        (NAMES, "takes every column of X. Leave at least one"),
        (["a"], r"\['a'\] are numbers, not groups"),
    ],
)
def test_sensitive_columns_that_cannot_be(rows, columns, message):
    X, y, _ = rows
    with pytest.raises(ValueError, match=message):
        sampler(sensitive_columns=columns).fit_resample(pd.DataFrame(X, columns=NAMES), y)


def test_a_missing_group_keeps_its_row_in_a_frame(rows, mixed):
    frame = mixed.assign(sex=mixed["sex"].where(np.arange(N) % 5 > 0))
    made = sampler(transformer=small(encoder=TabularCodec()), sensitive_columns=["sex"])
    with pytest.warns(UserWarning, match="60 of 300 rows have no value of 'sex'"):
        more, _ = made.fit_resample(frame, rows[1])
    assert len(more) == N + 240
    assert more["sex"].isna().sum() == 60
    assert more["sex"][N:].notna().all()
    assert_array_equal(more["sex"].isna(), made.sensitive_features_["sex"].isna())
    assert more["sex"].dtype == frame["sex"].dtype


def test_nullable_whole_numbers_keep_their_dtype(rows):
    X, y, group = rows
    frame = pd.DataFrame(X, columns=NAMES).assign(sex=group.astype("Int64").where(np.arange(N) > 5))
    assert flip((frame, y, None), sensitive_columns=["sex"])[1]["sex"].dtype == "Int64"


def test_frames_with_numbered_columns(rows):
    X, y, group = rows
    wide = pd.DataFrame(np.column_stack([X, group]))
    # The transformer takes them.
    small(max_epochs=1, sensitive_columns=[6]).fit(wide, y)
    assert_array_equal(flip((wide, y, None), sensitive_columns=[6])[1][6], np.r_[group, 1 - group])


def test_positions_in_a_frame(rows):
    X, y, group = rows
    frame = pd.DataFrame(X, columns=NAMES).assign(sex=group)
    small(max_epochs=1, sensitive_columns=[6]).fit(frame, y)
    assert_array_equal(flip((frame, y, None), sensitive_columns=[6])[1]["sex"], np.r_[group, 1 - group])


# ---------------------------------------------------------------- pairs


@pytest.mark.parametrize("attributes", [["two"], ["three"], ["two", "three"], ["some"], ["two", "some"]])
@pytest.mark.parametrize("pairs", ["all", "balance"])
def test_the_groups_of_every_label_become_equally_large(rows, groups, attributes, pairs):
    A = groups[attributes]
    made, X_more, y_more = flip(rows, A, pairs=pairs)
    told = made.sensitive_features_
    assert told.columns.tolist() == attributes
    assert len(told) == len(X_more) == len(y_more) == len(made.flipped_) == len(made.sample_indices_)
    known = told.notna().all(axis=1).to_numpy()
    counts = cells(y_more[known], told[known])
    n_groups = np.prod([A[name].nunique() for name in attributes])
    assert counts.shape == (2, n_groups)
    assert (counts.nunique(axis=1) == 1).all()
    y, has_group = rows[1], A.notna().all(axis=1).to_numpy()
    before = cells(y[has_group], A[has_group])
    largest = before.max(axis=1) if pairs == "balance" else before.sum(axis=1)
    assert_array_equal(counts.iloc[:, 0], largest)
    # Rows without a group stay, and nobody is their partner.
    assert (~has_group).sum() == (~known).sum()
    assert_array_equal(np.flatnonzero(~known), np.flatnonzero(~has_group))
    partners = made.sample_indices_[made.flipped_]
    assert has_group[partners].all()
    assert_array_equal(y_more[made.flipped_], y[partners])
    # A partner is of another group than its row, and a row has one partner at most in a group.
    joined = told[made.flipped_].astype(str).agg(" & ".join, axis=1).to_numpy()
    left = A.iloc[partners].astype(str).agg(" & ".join, axis=1).to_numpy()
    assert (joined != left).all()
    assert not pd.DataFrame({"row": partners, "joined": joined}).duplicated().any()
    summary = made.pair_summary_
    assert summary["n_pairs"].sum() == summary["n_kept"].sum() == made.flipped_.sum()
    found = pd.Series(1, index=pd.MultiIndex.from_arrays([left, joined])).groupby(level=[0, 1]).sum()
    assert_array_equal(summary["n_pairs"].sort_index(), found.sort_index())


def test_nothing_is_added_to_what_is_balanced(rows):
    X, y, _ = rows
    y, group = np.tile([0, 1], N // 2), np.repeat(["f", "m"], N // 2)
    made, X_more, _ = flip((X, y, group), pairs="balance", judge="auto")
    assert_array_equal(X_more, X)
    assert not made.flipped_.any()
    assert np.isnan(made.label_changed_)
    assert len(made.pair_summary_) == 0


def test_a_cell_without_rows_is_filled(rows):
    X, y, group = rows
    group = np.where(y == 1, "f", np.where(group == 1, "m", "f"))
    made, _, y_more = flip((X, y, group), pairs="balance", max_stretch=100)
    counts = cells(y_more, made.sensitive_features_)
    assert_array_equal(counts["m"], counts["f"])
    assert (counts > 0).all(axis=None)


def test_balance_draws_other_rows_with_another_seed(rows):
    one, other = (flip(rows, pairs="balance", random_state=seed)[0].sample_indices_[N:] for seed in (0, 1))
    assert len(one) == len(other)
    assert set(one) != set(other)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 3)), min_size=1, max_size=60), st.integers(0, 10**6))
def test_pairs_of_any_labels_and_groups(rows, seed):
    label, group = (np.array(column) for column in zip(*rows, strict=True))
    n_groups = 4
    source, wanted = all_pairs(group, n_groups)
    assert sorted(zip(source, wanted, strict=True)) == [
        (k, g) for k in range(len(group)) for g in range(n_groups) if group[k] >= 0 and g != group[k]
    ]
    needs = cell_needs(label, group, 3, n_groups)
    counts = np.array([[((label == k) & (group == g)).sum() for g in range(n_groups)] for k in range(3)])
    assert_array_equal(counts + needs, np.broadcast_to(counts.max(1, keepdims=True), counts.shape))
    source, wanted, missing = balancing_pairs(label, group, needs, np.random.RandomState(seed))
    assert missing == 0
    assert (group[source] >= 0).all()
    assert (group[source] != wanted).all()
    assert len(set(zip(source, wanted, strict=True))) == len(source)
    made = np.zeros_like(needs)
    np.add.at(made, (label[source], wanted), 1)
    assert_array_equal(made, needs)
    # What there is no row for is counted.
    *_, missing = balancing_pairs(label, group, needs + 100, np.random.RandomState(seed))
    others = np.array([[((label == k) & (group >= 0) & (group != g)).sum() for g in range(n_groups)] for k in range(3)])
    assert missing == np.maximum(needs + 100 - others, 0).sum()


def test_intersections_are_those_that_occur():
    codes = {"one": np.array([0, 1, np.nan, 1, 0, 1]), "other": np.array([2, 0, 1, np.nan, 2, 2])}
    found, members = intersections(codes)
    assert found.tolist() == [0, 1, -1, -1, 0, 2]
    assert members.tolist() == [[0, 2], [1, 0], [1, 2]]


# ---------------------------------------------------------------- what a flip does


def readings(judge, X_more, made):
    """How often a judge reads another group than a row's own: of rows as their own, and of partners as the joined."""
    wrong = judge.predict(X_more) != made.sensitive_features_["group"].to_numpy()
    return wrong[~made.flipped_].mean(), wrong[made.flipped_].mean()


def test_a_judge_that_learned_from_other_rows_reads_the_partner_as_the_other_group(data, rows):
    judge = LogisticRegression().fit(data.data[N:], data.sensitive_features["group"].iloc[N:])
    made, X_more, _ = flip(rows)
    errors = readings(judge, X_more, made)
    assert errors[0] < 0.25
    assert errors[1] < 0.25
    # The control: who goes hardly anywhere is read as who it was.
    made, X_more, _ = flip(rows, step=1e-3)
    assert readings(judge, X_more, made)[1] > 0.75
    made, X_more, _ = flip(rows, step=0.5)
    assert 0.3 < readings(judge, X_more, made)[1] < 0.7


def test_a_judge_reads_the_partner_of_a_transformer_as_the_other_group(data, rows, fair):
    judge = LogisticRegression().fit(data.data[N:], data.sensitive_features["group"].iloc[N:])
    made, X_more, _ = flip(rows, transformer=FrozenEstimator(fair))
    assert readings(judge, X_more, made)[1] < 0.35
    made, X_more, _ = flip(rows, transformer=FrozenEstimator(fair), step=1e-3)
    assert readings(judge, X_more, made)[1] > 0.75


def scorer(X, y):
    """The linear score that the sampler holds."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(X, y).decision_function


def test_the_score_of_the_label_is_held_unless_it_is_not(rows):
    X, y, group = rows
    label, sensitive = scorer(X, y), scorer(X, group)
    _, held, _ = flip(rows)
    assert_allclose(label(held[N:]), label(X), atol=1e-8)
    assert_allclose(sensitive(held[N:]), -sensitive(X), atol=1e-8)
    _, free, _ = flip(rows, hold_target=False)
    assert np.abs(label(free[N:]) - label(X)).mean() > 0.1
    assert_allclose(sensitive(free[N:]), -sensitive(X), atol=1e-8)
    _, projected, _ = flip(rows, step=0.5)
    assert_allclose(sensitive(projected[N:]), 0, atol=1e-8)


def test_what_is_not_asked_for_is_held_with_several_attributes(rows):
    X, y, group = rows
    other = np.where(X[:, 1] + np.random.default_rng(0).normal(size=N) > 0, "u", "v")
    made, X_more, _ = flip(rows, pd.DataFrame({"group": group.to_numpy(), "other": other}))
    assert len(X_more) == 4 * N
    scores = {"group": scorer(X, group), "other": scorer(X, other), "label": scorer(X, y)}
    own = made.sample_indices_
    told = made.sensitive_features_
    for name, score in scores.items():
        stays = np.ones(len(own), dtype=bool) if name == "label" else (told[name] == told[name].to_numpy()[own])
        assert 0 < stays.mean() <= 1
        assert_allclose(score(X_more)[stays], score(X)[own][stays], atol=1e-8)
        assert_allclose(score(X_more)[~stays], -score(X)[own][~stays], atol=1e-8)


def test_between_three_groups_the_logits_change_places(rows, groups):
    X, y, _ = rows
    made, X_more, _ = flip(rows, groups["three"])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(X, groups["three"])
    before, after = model.decision_function(X)[made.sample_indices_], model.decision_function(X_more)
    names = list(model.classes_)
    own = np.array([names.index(name) for name in groups["three"]])[made.sample_indices_]
    joined = np.array([names.index(name) for name in made.sensitive_features_["three"]])
    row = np.arange(len(own))
    assert_allclose((after[row, joined] - after[row, own]), -(before[row, joined] - before[row, own]), atol=1e-8)


def test_a_label_that_is_the_attribute_cannot_be_held(rows):
    X, _, group = rows
    with pytest.raises(ValueError, match="lies in the span of target_direction"):
        flip((X, group.to_numpy(), group))
    _, X_more, _ = flip((X, group.to_numpy(), group), on_parallel="clip")
    assert_allclose(X_more[N:], X, atol=1e-6)
    _, X_more, _ = flip((X, group.to_numpy(), group), hold_target=False)
    assert np.abs(X_more[N:] - X).max() > 1


@pytest.mark.parametrize("params", [{}, {"transformer": "fair"}, {"judge": "auto"}])
def test_the_size_of_batches_changes_nothing(rows, fair, params):
    params = {name: FrozenEstimator(fair) if value == "fair" else value for name, value in params.items()}
    one, other = (flip(rows, pairs="balance", batch_size=size, **params) for size in (3, 1000))
    assert_allclose(one[1], other[1], atol=1e-8)
    assert_array_equal(one[0].sample_indices_, other[0].sample_indices_)
    assert_allclose(one[0].label_changed_, other[0].label_changed_)


# ---------------------------------------------------------------- transformers


def test_a_transformer_is_cloned_and_fitted(rows):
    X, y, group = rows
    given_ = small()
    made, X_more, _ = flip(rows, transformer=given_)
    assert not hasattr(given_, "flow_")
    assert given_.random_state is None
    assert made.transformer_ is not given_
    there = made.transformer_.counterfactual(X, "group", sensitive_features=group)
    assert_array_equal(X_more[N:], there)
    # With the seed it has of its own, and the label.
    seeded = flip(rows, transformer=small(random_state=3))[0].transformer_
    expected = small(random_state=3).fit(X, y, sensitive_features=group)
    assert_array_equal(seeded.transform(X), expected.transform(X))


def test_a_frozen_transformer_is_used_as_it_is(rows, fair):
    X, _, group = rows
    before = pickle.dumps(fair)
    made, X_more, _ = flip(rows, transformer=FrozenEstimator(fair))
    assert made.transformer_ is fair
    assert_array_equal(X_more[N:], fair.counterfactual(X, "group", sensitive_features=group))
    half = flip(rows, transformer=FrozenEstimator(fair), step=0.5)[1]
    assert_array_equal(half[N:], fair.counterfactual(X, "group", sensitive_features=group, step=0.5))
    assert pickle.dumps(fair) == before


def test_a_transformer_with_missing_and_with_several_attributes(rows, groups):
    A = groups[["two", "some"]]
    with pytest.warns(UserWarning, match="34 of 300 rows have no value of 'some'"):
        made, X_more, y_more = flip(rows, A, transformer=small(), pairs="balance")
    known = made.sensitive_features_.notna().all(axis=1)
    assert (cells(y_more[known], made.sensitive_features_[known]).nunique(axis=1) == 1).all()
    goal = made.sensitive_features_[made.flipped_].to_dict("list")
    own = A.iloc[made.sample_indices_[made.flipped_]].reset_index(drop=True)
    there = made.transformer_.counterfactual(
        rows[0][made.sample_indices_[made.flipped_]],
        ["two", "some"],
        {name: np.array(values, dtype=object) for name, values in goal.items()},
        sensitive_features=own,
    )
    assert_allclose(X_more[made.flipped_], there, atol=1e-9)


def test_a_part_of_a_frame_may_have_any_index(rows):
    X, y, group = rows
    order = np.random.default_rng(0).permutation(N)[:200]
    frame = pd.DataFrame(X, columns=NAMES).iloc[order]
    _, more, _ = flip((frame, y[order], group.iloc[order]), transformer=small())
    assert_array_equal(more, flip((X[order], y[order], group.iloc[order]), transformer=small())[1])
    twice = frame.set_axis(np.arange(200) // 2)
    assert_array_equal(flip((twice, y[order], group.to_numpy()[order]), transformer=small())[1], more)


def test_a_shuffled_frame_may_have_its_index(rows):
    X, y, group = rows
    order = np.random.default_rng(0).permutation(N)
    frame = pd.DataFrame(X, columns=NAMES).iloc[order]
    _, more, _ = flip((frame, y[order], group.iloc[order]), transformer=small())
    assert len(more) == 2 * N


def test_nothing_of_an_earlier_call_is_left(rows, fair):
    X, y, group = rows
    made = sampler(transformer=FrozenEstimator(fair))
    made.fit_resample(X, y, sensitive_features=group)
    made.set_params(transformer=None).fit_resample(X, y, sensitive_features=group)
    assert not hasattr(made, "transformer_")


def test_transformers_that_cannot_be(rows, fair):
    X, y, group = rows
    for transformer in (small(sensitive_columns=[0]), FrozenEstimator(small(sensitive_columns=[0]))):
        with pytest.raises(ValueError, match="transformer has sensitive_columns, which it would not see"):
            flip(rows, transformer=transformer)
    with pytest.raises(TypeError, match="transformer is a LogisticRegression; expected a FairLatentTransformer"):
        flip(rows, transformer=LogisticRegression())
    with pytest.raises(sklearn.exceptions.NotFittedError):
        flip(rows, transformer=FrozenEstimator(small()))
    with pytest.raises(ValueError, match="attr='sensitive_feature_0' is not known"):
        flip((X, y, group.to_numpy()), transformer=FrozenEstimator(fair))


# ---------------------------------------------------------------- the step of a counterfactual


@contextlib.contextmanager
def few_steps():
    """What is claimed of trained maps holds after a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counterfactual_map, "N_STEPS", 10)
        patch.setattr(counterfactual_map, "GAINS", (1.0,))
        patch.setattr(counterfactual_map, "TABLE_GAINS", (1.2,))
        patch.setattr(readers, "READER_STEPS", 30)
        patch.setattr(readers, "READER_EPOCHS", 2)
        yield


@pytest.fixture(scope="module")
def movers(data):
    """Transformers with a latent and with a trained map, for two groups, three and a quantity."""
    found = make_biased_latents(N, 8, sensitive=("binary", "categorical", "continuous"), random_state=0)
    latent = small(random_state=0).fit(found.data, found.target, sensitive_features=found.sensitive_features)
    with few_steps():
        trained = small(random_state=0, counterfactual_map="trained")
        trained.fit(found.data, found.target, sensitive_features=found.sensitive_features)
    return found, {"latent": latent, "trained": trained}


MOVES = [("group", None), ("category", "b"), (["group", "category"], {"group": 1, "category": "a"}), ("target", 1)]


@pytest.mark.parametrize("kind", ["latent", "trained"])
@pytest.mark.parametrize(("attr", "value"), MOVES)
def test_one_step_is_the_whole_way_and_half_a_step_half_of_it(movers, kind, attr, value):
    found, fitted = movers
    X, A = found.data, found.sensitive_features

    def ask(**options):
        return fitted[kind].counterfactual(X, attr, value, sensitive_features=A, **options)

    whole = ask()
    for one in (1, 1.0, np.float32(1)):
        assert_array_equal(ask(step=one), whole)
    path = fitted[kind].counterfactual_path(X, attr, value, n_steps=2, sensitive_features=A)
    assert_allclose(ask(step=0.5), path[1], atol=1e-9)
    assert_allclose(ask(step=1e-9), X, atol=1e-6)
    moved = (whole != X).any(axis=1)
    assert moved.mean() > 0.3
    assert_array_equal(ask(step=3.0)[~moved], X[~moved])
    far = [np.linalg.norm(ask(step=step) - X, axis=1)[moved].mean() for step in (0.25, 0.5, 1.0, 1.5)]
    assert far == sorted(far)
    assert far[0] > 0


def test_steps_move_the_block_of_the_latent_in_proportion(movers):
    found, fitted = movers
    X, A = found.data, found.sensitive_features
    fair = fitted["latent"]
    L, whole, *others = (
        fair.counterfactual(X, "category", "b", sensitive_features=A, output="latent", step=step)
        for step in (1e-12, 1.0, 0.5, 0.1, 2.0)
    )
    block = fair.latent_layout_["category"]
    held = np.setdiff1d(np.arange(L.shape[1]), np.arange(block.start, block.stop))
    assert_allclose(L, fair.to_latent(X), atol=1e-8)
    for step, found_ in zip((0.5, 0.1, 2.0), others, strict=True):
        assert_allclose(found_[:, block] - L[:, block], step * (whole - L)[:, block], atol=1e-7)
        assert_allclose(found_[:, held], L[:, held], atol=1e-7)
    # Of a quantity half a step is half as much more of it.
    level = A["level"].to_numpy()
    half = fair.counterfactual(X, "level", level + 1, sensitive_features=A, step=0.5)
    assert_allclose(half, fair.counterfactual(X, "level", level + 0.5, sensitive_features=A), atol=1e-7)


def test_the_step_of_a_table_moves_what_is_revised_to(mixed, rows):
    X, A = mixed.drop(columns="sex"), mixed["sex"]
    with few_steps():
        fair = small(random_state=0, counterfactual_map="trained", encoder=TabularCodec())
        fair.fit(X, rows[1], sensitive_features=A)
    whole, default, half, hardly = (
        fair.counterfactual(X, "sex", sensitive_features=A, **options)
        for options in ({"step": 1.0}, {}, {"step": 0.5}, {"step": 1e-9})
    )
    pd.testing.assert_frame_equal(whole, default, check_exact=True)
    changed = [(frame != X).any(axis=1).mean() for frame in (whole, half)]
    assert min(changed) > 0.5
    assert not half.equals(whole)
    # What goes hardly anywhere is the row again, but for rounding.
    kinds = ["job", "years", "member", "ward"]
    assert_array_equal(hardly[kinds], X[kinds])
    assert_allclose(hardly["pay"], X["pay"], atol=1e-6)


@pytest.mark.parametrize("step", [0, -1.0, np.inf, np.nan, "1", None, True, [1.0]])
@pytest.mark.parametrize("kind", ["latent", "sampler"])
def test_steps_that_cannot_be(rows, fair, step, kind):
    X, _, group = rows
    asks = {
        "latent": lambda: fair.counterfactual(X, "group", sensitive_features=group, step=step),
        "sampler": lambda: flip(rows, step=step),
    }
    with pytest.raises(ValueError, match=r"step=.*: expected a number > 0"):
        asks[kind]()


# ---------------------------------------------------------------- generators


TELLERS = {"target": Reads(0), "group": Reads(1)}


def generate(rows, A=None, **params):
    return flip(rows, A, **{"generator": Generator(), "n_latent": 4, "n_generated": 400} | params)


@pytest.mark.parametrize("annotators", [None, "fitted", "frozen", "one of two"])
def test_what_a_generator_makes_is_added_with_its_partners(rows, annotators):
    X, y, group = rows
    tellers = {"target": LogisticRegression(), "group": LogisticRegression()}
    if annotators == "frozen":
        tellers = {"target": FrozenEstimator(clone(tellers["target"]).fit(X, y)),
                   "group": FrozenEstimator(clone(tellers["group"]).fit(X, group))}  # fmt: skip
    elif annotators == "one of two":
        del tellers["target"]
    generator = Generator()
    made, X_more, y_more = generate(rows, generator=generator, annotators=tellers if annotators else None, judge="auto")
    assert X_more.shape == (N + 800, 6)
    assert_array_equal(X_more[:N], X)
    assert_array_equal(y_more[:N], y)
    assert_array_equal(made.sample_indices_, np.r_[np.arange(N), np.full(800, -1)])
    assert_array_equal(made.flipped_, np.arange(N + 800) >= N + 400)
    drawn, partners = slice(N, N + 400), slice(N + 400, None)
    assert_array_equal(y_more[drawn], y_more[partners])
    told = made.sensitive_features_["group"].to_numpy()
    assert_array_equal(told[:N], group)
    assert_array_equal(told[drawn], 1 - told[partners])
    assert 0 <= made.label_changed_ < 0.5
    # What is told is what was read.
    if annotators in ("fitted", "frozen"):
        assert_array_equal(y_more[drawn], LogisticRegression().fit(X, y).predict(X_more[drawn]))
        assert_array_equal(told[drawn], LogisticRegression().fit(X, group).predict(X_more[drawn]))
    # They lie where the generator puts latents.
    latents = np.linalg.lstsq(generator.mixture.T, X_more[N:].T, rcond=None)[0].T
    assert_allclose(latents @ generator.mixture, X_more[N:], atol=1e-8)
    assert abs(latents[:400].mean()) < 0.1
    assert abs(latents[:400].std() - 1) < 0.1


def test_generated_partners_balance_the_rows(rows, groups):
    made, X_more, y_more = generate(rows, groups[["three"]], pairs="balance", n_generated=1500)
    assert_array_equal(X_more[:N], rows[0])
    assert made.flipped_[N:].all()
    assert (made.sample_indices_[N:] == -1).all()
    assert (cells(y_more, made.sensitive_features_).nunique(axis=1) == 1).all()
    largest = cells(rows[1], groups[["three"]]).max(axis=1)
    assert_array_equal(cells(y_more, made.sensitive_features_).iloc[:, 0], largest)


def test_too_few_generated_rows_are_told(rows):
    X, y, _ = rows
    group = np.r_[np.zeros(N - 4, dtype=int), np.ones(4, dtype=int)]
    with pytest.warns(UserWarning, match=r"pairs='balance': \d+ partner\(s\) are missing: .* Draw more"):
        made, _, y_more = generate((X, y, group), annotators={"target": Reads(0), "sensitive_feature_0": Reads(1)},
                                   n_generated=40, pairs="balance")  # fmt: skip
    counts = cells(y_more, made.sensitive_features_)
    assert (counts[1] < counts[0]).any()


@pytest.mark.parametrize("kind", ["module", "callable", "estimator"])
def test_all_kinds_of_generators(rows, kind):
    generator = {
        "module": module(torch.nn.Linear(4, 6)),
        "callable": Generator(),
        "estimator": FrozenEstimator(PCA(6).fit(np.random.default_rng(0).normal(size=(50, 6)))),
    }[kind]
    made, X_more, _ = generate(rows, generator=generator, annotators=TELLERS, n_latent=6 if kind == "estimator" else 4)
    assert X_more.shape == (N + 800, 6)
    pickle.loads(pickle.dumps(made))
    other = clone(made)
    assert_array_equal(other.fit_resample(rows[0], rows[1], sensitive_features=rows[2])[0], X_more)


def test_float32_rows_stay_so_beside_generated_ones(rows):
    X, y, group = rows
    assert generate((X.astype(np.float32), y, group))[1].dtype == np.float32


def test_as_many_latents_are_drawn_as_there_are_rows_but_a_thousand_at_least(rows):
    X, y, group = rows
    assert len(generate(rows, annotators=TELLERS, n_generated=None)[1]) == N + 2000
    many = np.repeat(X, 4, axis=0), np.repeat(y, 4), np.repeat(group.to_numpy(), 4)
    tellers = {"target": Reads(0), "sensitive_feature_0": Reads(1)}
    assert len(generate(many, annotators=tellers, n_generated=None)[1]) == 3 * 4 * N


@pytest.mark.parametrize("pairs", ["all", "balance"])
def test_a_transformer_moves_the_latents(rows, pairs):
    made, X_more, y_more = generate(rows, transformer=small(), annotators=TELLERS, pairs=pairs, n_generated=600)
    assert made.transformer_.n_features_in_ == 4
    assert made.n_features_in_ == 6
    if pairs == "balance":
        assert (cells(y_more, made.sensitive_features_).nunique(axis=1) == 1).all()
    # One that is fitted tells how many columns latents have.
    frozen = FrozenEstimator(made.transformer_)
    _, X_again, _ = generate(
        rows, transformer=frozen, n_latent=None, annotators=TELLERS, pairs=pairs, n_generated=600, random_state=0
    )
    assert X_again.shape == X_more.shape


def pictures(rows):
    X, y, group = rows
    source = module(torch.nn.Linear(6, 12), torch.nn.Unflatten(1, (3, 2, 2)))
    with torch.no_grad():
        return source(torch.tensor(X, dtype=torch.float32)).numpy(), y, group


@pytest.mark.parametrize("pairs", ["all", "balance"])
def test_pictures_of_a_generator(rows, pairs):
    shown = pictures(rows)
    params = {
        "generator": module(torch.nn.Linear(4, 12), torch.nn.Unflatten(1, (3, 2, 2))),
        "annotators": {"target": Flattened(), "group": Flattened()},
        "pairs": pairs,
        "judge": "auto",
    }
    made, X_more, y_more = generate(shown, **params)
    assert X_more.shape[1:] == (3, 2, 2)
    assert X_more.dtype == np.float32
    assert len(X_more) == len(y_more) == (N + 800 if pairs == "all" else N + made.flipped_.sum())
    assert_array_equal(X_more[:N], shown[0])
    assert not np.isnan(made.label_changed_)
    with pytest.raises(ValueError, match=r"annotators=None read tables; X has the shape \(300, 3, 2, 2\)"):
        generate(shown, **{**params, "annotators": None})
    with pytest.raises(ValueError, match=r"X has the shape \(300, 3, 2, 2\): the linear flip takes embeddings"):
        flip(shown)


@pytest.mark.parametrize("batch_size", [1, 7, 64, 400, 10_000])
def test_no_more_rows_are_made_at_once_than_asked_for(rows, batch_size):
    generator = Generator()
    params = {"generator": generator, "annotators": TELLERS, "judge": "auto", "batch_size": batch_size}
    _, X_more, _ = generate(rows, n_generated=150, **params)
    assert max(generator.sizes) == min(batch_size, 150)
    assert min(generator.sizes) > 0
    assert X_more.shape == (N + 300, 6)
    generator.sizes.clear()
    generate(rows, n_generated=300, transformer=small(max_epochs=1), pairs="balance", **params)
    assert 0 < max(generator.sizes) <= batch_size


@pytest.mark.parametrize("pairs", ["all", "balance"])
def test_sensitive_columns_beside_a_generator(rows, pairs):
    X, y, group = rows
    wide = np.insert(X, 2, group, axis=1)
    tellers = {"target": Reads(0), "x2": Reads(1)}
    made, X_more, _ = generate((wide, y, None), sensitive_columns=[2], annotators=tellers, pairs=pairs)
    assert_array_equal(X_more[:N], wide)
    assert_array_equal(X_more[:, 2], made.sensitive_features_["x2"])
    if pairs == "all":
        assert_array_equal(made.sensitive_features_["x2"][N : N + 400], Reads(1).predict(X_more[N : N + 400]))


class FrameGenerator(Generator):
    def __call__(self, Z):
        return pd.DataFrame(super().__call__(Z), columns=NAMES)


@pytest.mark.parametrize("pairs", ["all", "balance"])
def test_a_generator_of_frames(rows, pairs):
    X, y, group = rows
    frame = pd.DataFrame(X, columns=NAMES)
    frame.insert(2, "sex", group)
    # Trees, or readings that have all groups of both labels.
    tellers = None if pairs == "all" else {"target": Reads(0), "sex": Reads(1)}
    params = {"generator": FrameGenerator(), "annotators": tellers, "sensitive_columns": ["sex"], "pairs": pairs}
    made, more, _ = generate((frame, y, None), **params)
    assert more.columns.tolist() == frame.columns.tolist()
    assert more.dtypes.tolist() == frame.dtypes.tolist()
    assert_array_equal(more["sex"], made.sensitive_features_["sex"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_latent": None}, "n_latent=None: the generator does not tell how many columns"),
        ({"n_latent": 0}, "n_latent=0: expected an integer >= 1"),
        ({"n_generated": 1}, "n_generated=1: expected an integer >= 2"),
        ({"n_generated": 10.0}, "n_generated=10.0: expected an integer >= 2"),
        ({"annotators": {"sex": Reads()}}, r"annotators names \['sex'\], expected \['target', 'group'\]"),
        ({"annotators": TELLERS | {"group": Reads(0, (1,))}}, r"annotators\['group'\] reads one value only in 400"),
        ({"annotators": TELLERS | {"target": Reads(0, (1,))}}, r"annotators\['target'\] reads one value only"),
        ({"annotators": TELLERS | {"group": Reads(0, (1, 7))}}, r"annotators\['group'\]: 7 is not a known value"),
        ({"generator": Generator(4, 5)}, "X has 5 features, but .* is expecting 6 features"),
        (
            {"generator": Generator(4, 5), "annotators": TELLERS},
            r"rows of shape \(5,\) do not go with those of X, of shape \(6,\)",
        ),
        (
            {"generator": Generator(4, 5), "annotators": TELLERS, "pairs": "balance"},
            r"rows of shape \(5,\) do not go with those of X",
        ),
    ],
)
def test_generators_that_cannot_be(rows, wrong, message):
    with pytest.raises(ValueError, match=message):
        generate(rows, **wrong)


def test_a_group_of_x_that_no_generated_row_shows_cannot_be_balanced(rows, groups):
    tellers = {"target": Reads(0), "three": Reads(1, ("u", "w"))}
    with pytest.raises(ValueError, match=r"No generated row is read as one of the group\(s\) \[\['v'\]\]"):
        generate(rows, groups[["three"]], annotators=tellers, pairs="balance")


def test_a_group_that_no_generated_row_shows_is_left_out(rows, groups):
    tellers = {"target": Reads(0), "three": Reads(1, ("u", "w"))}
    made, _, _ = generate(rows, groups[["three"]], annotators=tellers)
    assert set(made.sensitive_features_["three"][N:]) == {"u", "w"}


def test_a_forest_may_annotate(rows):
    tellers = {"target": RandomForestClassifier(5, random_state=0), "group": Reads(1)}
    assert generate(rows, annotators=tellers)[1].shape == (N + 800, 6)


def test_groups_of_booleans_some_missing_can_be_annotated(rows):
    X, y, group = rows
    told = pd.Series(np.where(np.arange(N) % 9 > 0, group == 1, None), name="member")
    assert generate((X, y, told))[1].shape == (N + 800, 6)


def test_a_generator_of_arrays_beside_a_frame(rows):
    X, y, group = rows
    with pytest.raises(ValueError, match="X is a frame, and the generator or decoder gives arrays"):
        generate((pd.DataFrame(X, columns=NAMES), y, group), annotators=TELLERS)


def test_parameters_of_a_generator_need_one(rows):
    for name, value in (("annotators", TELLERS), ("n_latent", 3), ("n_generated", 100)):
        with pytest.raises(ValueError, match=rf"\['{name}'\] are of a generator, and generator=None"):
            flip(rows, **{name: value})


# ---------------------------------------------------------------- judges


def test_a_frozen_judge_is_asked_as_it_is(rows):
    judge = Reads(2, ("low", "high"))
    made, X_more, _ = flip(rows, judge=FrozenEstimator(judge))
    before, after = judge.predict(rows[0]), judge.predict(X_more[N:])
    assert 0 < (before != after).mean() < 1
    assert made.label_changed_ == (before != after).mean()
    summary = made.pair_summary_
    own = rows[2].to_numpy()
    assert_allclose([summary.loc[(g, 1 - g), "label_changed"] for g in (0, 1)],
                    [(before != after)[own == g].mean() for g in (0, 1)])  # fmt: skip
    assert summary["n_pairs"].tolist() == summary["n_kept"].tolist() == [(own == 0).sum(), (own == 1).sum()]


@pytest.mark.parametrize("batch_size", [1024, 16])
@pytest.mark.parametrize("transformer", [None, "fair"])
def test_what_is_inconsistent_is_dropped_and_nothing_else(rows, fair, transformer, batch_size):
    judge = Reads(2)
    params = {"judge": FrozenEstimator(judge), "transformer": FrozenEstimator(fair) if transformer else None}
    full, X_full, y_full = flip(rows, **params)
    made, X_more, y_more = flip(rows, drop_inconsistent=True, batch_size=batch_size, **params)
    kept = np.r_[np.ones(N, dtype=bool), judge.predict(X_full[N:]) == judge.predict(rows[0])]
    assert N < kept.sum() < 2 * N
    assert_allclose(X_more, X_full[kept], atol=1e-9)
    assert_array_equal(y_more, y_full[kept])
    for name in ("sample_indices_", "flipped_"):
        assert_array_equal(getattr(made, name), getattr(full, name)[kept])
    pd.testing.assert_frame_equal(made.sensitive_features_, full.sensitive_features_[kept].reset_index(drop=True))
    assert made.label_changed_ == full.label_changed_
    assert_array_equal(made.pair_summary_["n_pairs"], full.pair_summary_["n_pairs"])
    assert made.pair_summary_["n_kept"].sum() == kept.sum() - N


def test_generated_partners_that_are_inconsistent_are_dropped(rows):
    judge = Reads(2)
    params = {"annotators": TELLERS, "judge": FrozenEstimator(judge)}
    full, X_full, y_full = generate(rows, **params)
    made, X_more, y_more = generate(rows, drop_inconsistent=True, **params)
    same = judge.predict(X_full[N + 400 :]) == judge.predict(X_full[N : N + 400])
    kept = np.r_[np.ones(N + 400, dtype=bool), same]
    assert 0 < same.sum() < 400
    assert_array_equal(X_more, X_full[kept])
    assert_array_equal(y_more, y_full[kept])
    assert made.label_changed_ == full.label_changed_ == 1 - same.mean()
    # By default the annotator of the label judges.
    auto, X_auto, _ = generate(rows, annotators=TELLERS, judge="auto")
    read = Reads(0).predict(X_auto)
    assert auto.label_changed_ == (read[N : N + 400] != read[N + 400 :]).mean()


def test_nobody_judges(rows):
    made, *_ = flip(rows, judge=None)
    assert np.isnan(made.label_changed_)
    assert made.pair_summary_["label_changed"].isna().all()
    with pytest.raises(ValueError, match="drop_inconsistent=True needs a judge"):
        flip(rows, judge=None, drop_inconsistent=True)
    with pytest.raises(ValueError, match="judge='trees': expected 'auto', an estimator with predict, or None"):
        flip(rows, judge="trees")


class Jealous(BaseEstimator):
    """Refuses rows that it learned from."""

    asked = []  # noqa: RUF012 - shared by clones, which is what it is for

    def fit(self, X, y):
        self.known_ = set(np.asarray(X)[:, 0].tolist())
        self.values_ = np.unique(y)
        return self

    def predict(self, X):
        rows = set(np.asarray(X)[:, 0].tolist())
        assert not rows & self.known_
        self.asked.append((len(rows), len(self.known_)))
        return np.full(len(X), self.values_[0])


def test_no_judge_learned_from_the_row_it_is_asked_about(rows):
    Jealous.asked.clear()
    made, *_ = flip(rows, judge=Jealous())
    assert made.label_changed_ == 0
    assert [known for _, known in Jealous.asked] == [N // 2] * 4
    assert sum(asked for asked, _ in Jealous.asked) == 2 * N


@pytest.mark.parametrize("kind", ["frame", "array"])
def test_a_judge_does_not_see_the_sensitive_columns(rows, kind):
    X, y, group = rows
    wide = np.insert(X, 0, group, axis=1)
    wide = pd.DataFrame(wide, columns=["sex", *NAMES]) if kind == "frame" else wide
    judge = LogisticRegression().fit(pd.DataFrame(X, columns=NAMES) if kind == "frame" else X, y)
    made, more, _ = flip((wide, y, None), sensitive_columns=["sex" if kind == "frame" else 0],
                         judge=FrozenEstimator(judge))  # fmt: skip
    kept = more.drop(columns="sex") if kind == "frame" else more[:, 1:]
    assert made.label_changed_ == (judge.predict(kept[N:]) != judge.predict(kept[:N])).mean()


class Contrary(BaseEstimator):
    """Never says the same twice."""

    def fit(self, X, y):
        self.fitted_ = True
        return self

    def predict(self, X):
        self.n_calls_ = getattr(self, "n_calls_", 0) + 1
        return np.full(len(X), self.n_calls_)


@pytest.mark.parametrize("library", ["array", "pandas", "pandas, categories", "polars", "polars, categories"])
def test_all_partners_may_be_dropped(rows, library):
    X, y, group = rows
    wide = np.column_stack([X, group])
    if library != "array":
        sex = group.map({0: "f", 1: "m"}).astype("category" if "categories" in library else "str")
        wide = pd.DataFrame(X, columns=NAMES).assign(sex=sex)
        wide = pl.from_pandas(wide) if "polars" in library else wide
    made, more, y_more = flip((wide, y, None), sensitive_columns=[6 if library == "array" else "sex"],
                              judge=FrozenEstimator(Contrary()), drop_inconsistent=True)  # fmt: skip
    assert made.label_changed_ == 1
    assert made.pair_summary_["n_kept"].tolist() == [0, 0]
    assert more.shape == wide.shape
    assert_array_equal(y_more, y)
    if library == "array":
        assert_array_equal(more, wide)
    else:
        assert more.equals(wide)


@pytest.mark.parametrize("kind", ["int64", "bool", "str"])
def test_all_partners_of_a_batch_may_be_dropped(rows, kind):
    X, y, group = rows
    frame = pd.DataFrame(X, columns=NAMES).assign(sex=pd.Series(SENSITIVE[kind][group]).infer_objects())
    frame["sex"] = frame["sex"].astype("str") if kind == "str" else frame["sex"]
    params = {"judge": FrozenEstimator(Reads(2)), "drop_inconsistent": True, "sensitive_columns": ["sex"]}
    made, more, _ = flip((frame[:60], y[:60], None), batch_size=1, **params)
    assert 0 < made.flipped_.sum() < 60
    assert more["sex"].dtype == frame["sex"].dtype


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_file_has_the_rows_that_memory_would_have(rows, tmp_path, drop, dtype):
    X, y, group = rows
    rows = X.astype(dtype), y, group
    params = {"judge": FrozenEstimator(Reads(2)), "drop_inconsistent": drop, "batch_size": 64}
    _, expected, y_expected = flip(rows, **params)
    file = tmp_path / "more.npy"
    for path in (file, str(file)):
        made, X_more, y_more = flip(rows, output_file=path, **params)
        assert isinstance(X_more, np.memmap)
        assert not X_more.flags.writeable
        assert X_more.dtype == dtype
        assert_array_equal(X_more, expected)
        assert_array_equal(np.load(file), expected)
        assert_array_equal(y_more, y_expected)
        assert [found.name for found in tmp_path.iterdir()] == ["more.npy"]
    assert (N < len(expected) < 2 * N) == drop
    # The file ends with its last row.
    assert file.stat().st_size == 128 + expected.nbytes


def test_a_file_of_pictures_and_of_sensitive_columns(rows, tmp_path):
    shown = pictures(rows)
    params = {
        "generator": module(torch.nn.Linear(4, 12), torch.nn.Unflatten(1, (3, 2, 2))),
        "annotators": {"target": Flattened(), "group": Flattened()},
        "judge": FrozenEstimator(Reads(2)),
        "drop_inconsistent": True,
    }
    _, expected, _ = generate(shown, **params)
    _, X_more, _ = generate(shown, output_file=tmp_path / "more.npy", **params)
    assert_array_equal(np.load(tmp_path / "more.npy"), expected)
    assert N + 400 < len(X_more) < N + 800
    X, y, group = rows
    wide = np.column_stack([X, group])
    _, X_more, _ = flip((wide, y, None), sensitive_columns=[6], output_file=tmp_path / "wide.npy")
    assert_array_equal(X_more, flip((wide, y, None), sensitive_columns=[6])[1])


def test_rows_may_come_from_a_file_even_from_the_one_they_go_to(rows, tmp_path):
    X, y, group = rows
    np.save(tmp_path / "rows.npy", X)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    _, X_more, _ = flip((mapped, y, group), output_file=tmp_path / "rows.npy")
    assert_array_equal(X_more, flip(rows)[1])
    assert_array_equal(mapped, X)


def test_a_file_may_be_read_by_whom_any_new_file_may(rows, tmp_path):
    flip(rows, output_file=tmp_path / "more.npy")
    np.save(tmp_path / "any.npy", rows[0])
    assert (tmp_path / "more.npy").stat().st_mode == (tmp_path / "any.npy").stat().st_mode


def test_a_full_disk_leaves_no_file(rows, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(np.lib.format, "open_memmap", full)
    with pytest.raises(OSError, match="No space left"):
        flip(rows, output_file=tmp_path / "more.npy")
    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be(rows, tmp_path):
    X, y, group = rows
    with pytest.raises(ValueError, match=r"output_file='.*more\.npz': expected a path that ends in \.npy, or None"):
        flip(rows, output_file=tmp_path / "more.npz")
    with pytest.raises(ValueError, match=r"output_file='.*more\.npy': only arrays go into a \.npy file; X is a frame"):
        flip((pd.DataFrame(X, columns=NAMES), y, group), output_file=tmp_path / "more.npy")
    with pytest.raises(FileNotFoundError):
        flip(rows, output_file=tmp_path / "none" / "more.npy")
    assert list(tmp_path.iterdir()) == []


class Breaks(BaseEstimator):
    """Fails when it is asked for the fifth time."""

    def fit(self, X, y):
        self.n_left_ = 4
        return self

    def predict(self, X):
        self.n_left_ -= 1
        if self.n_left_ < 0:
            raise ArithmeticError("broken")
        return np.zeros(len(X))


def test_a_failed_call_leaves_everything_as_it_was(rows, tmp_path):
    X, y, group = rows
    file = tmp_path / "more.npy"
    made = sampler(output_file=file, batch_size=16)
    made.fit_resample(X, y, sensitive_features=group)
    before, content = dict(vars(made)), file.read_bytes()
    made.set_params(judge=FrozenEstimator(Breaks().fit(None, None)))
    with pytest.raises(ArithmeticError, match="broken"):
        made.fit_resample(pd.DataFrame(X[:, :3]).to_numpy(), y, sensitive_features=group)
    calls = [
        (X, y[:-1], group),
        (X, X[:, 0], group),
        (X[:, :2], y, np.zeros(N)),
        (pd.DataFrame(X, columns=["a", 1, 2, 3, 4, 5]), y, group),
    ]
    for X_bad, y_bad, A_bad in calls:
        with pytest.raises((ValueError, TypeError)):
            made.fit_resample(X_bad, y_bad, sensitive_features=A_bad)
    fitted = [name for name in before if name.endswith("_")]
    assert len(fitted) == 6
    assert sorted(name for name in vars(made) if name.endswith("_")) == sorted(fitted)
    assert all(vars(made)[name] is before[name] for name in fitted)
    assert [found.name for found in tmp_path.iterdir()] == ["more.npy"]
    assert file.read_bytes() == content


class RunsAnother(BaseEstimator):
    """Another run that writes the same file, in the middle of this one: as two processes of a search do."""

    def __init__(self, rows=None, file=None):
        self.rows, self.file = rows, file

    def fit(self, X, y):
        self.done_ = False
        return self

    def predict(self, X):
        if not self.done_:
            self.done_ = True
            flip(self.rows, output_file=self.file, batch_size=16)
        return np.zeros(len(X))


def test_two_runs_may_write_the_same_file_at_once(rows, tmp_path):
    X, y, group = rows
    file = tmp_path / "more.npy"
    other = RunsAnother((X + 1, y, group), file).fit(None, None)
    _, X_more, _ = flip(rows, output_file=file, batch_size=16, judge=FrozenEstimator(other))
    assert_array_equal(X_more, flip(rows)[1])


def test_no_other_file_is_touched(rows, tmp_path):
    (tmp_path / "more.partial.npy").write_text("mine")
    flip(rows, output_file=tmp_path / "more.npy")
    assert (tmp_path / "more.partial.npy").read_text() == "mine"


# ---------------------------------------------------------------- determinism and conventions


WAYS = {
    "linear": {"pairs": "balance", "judge": "auto"},
    "transformer": {"transformer": small(max_epochs=1), "judge": "auto"},
    "generator": {"generator": module(torch.nn.Linear(4, 40)), "n_latent": 4, "n_generated": 300, "judge": "auto"},
}


def _bits(way, found, random_state=0):
    """All that one call gives."""
    made = sampler(**{**WAYS[way], "random_state": random_state})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        X, y = made.fit_resample(found.data, found.target, sensitive_features=found.sensitive_features)
    told = made.sensitive_features_["group"].to_numpy()
    return b"".join(part.tobytes() for part in (X, y, told, made.sample_indices_, np.float64(made.label_changed_)))


@pytest.fixture(scope="module")
def wide():
    return make_biased_latents(400, 40, random_state=0)


@pytest.mark.parametrize("way", WAYS)
def test_the_same_seed_gives_the_same_bits_everywhere(way, wide):
    bits = _bits(way, wide)
    assert _bits(way, wide, np.random.RandomState(0)) == bits
    with threadpool_limits(3):
        assert _bits(way, wide) == bits
    assert Parallel(n_jobs=2, backend="threading")(delayed(_bits)(way, wide) for _ in range(2)) == [bits] * 2
    assert _bits(way, wide, 1) != bits


def test_threads_do_not_change_sums_over_many_columns():
    # So many that products of matrices are split over three threads, and then end in other bits.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 200))
    y, group = (X[:, k] + rng.normal(size=3000) > 0 for k in range(2))
    expected = flip((X, y, group))[1]
    with threadpool_limits(3):
        assert_array_equal(flip((X, y, group))[1], expected)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_in_other_processes(wide):
    found = Parallel(n_jobs=2, backend="loky")(delayed(_bits)(way, wide) for way in WAYS)
    assert found == [_bits(way, wide) for way in WAYS]


@pytest.mark.parametrize("way", WAYS)
def test_global_generators_are_not_touched(way, wide):
    state, torch_state = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - the global one is what is tested
    _bits(way, wide)
    after = np.random.get_state()  # noqa: NPY002 - the global one is what is tested
    assert_array_equal(after[1], state[1])
    assert after[2:] == state[2:]
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_it_is_cloned_pickled_and_its_parameters_are_those_of_the_constructor(rows):
    params = {
        "transformer": small(),
        "pairs": "balance",
        "step": 0.7,
        "hold_target": False,
        "max_stretch": 3.0,
        "on_parallel": "clip",
        "judge": LogisticRegression(),
        "drop_inconsistent": True,
        "sensitive_columns": ["sex"],
        "output_file": "more.npy",
        "batch_size": 5,
        "random_state": 3,
        "generator": Generator(),
        "annotators": TELLERS,
        "n_latent": 4,
        "n_generated": 50,
    }
    made = LatentFlipSampler(**params)
    assert made.get_params(deep=False) == params
    assert made.get_params()["transformer__max_epochs"] == 2
    assert made.get_params()["judge__C"] == 1.0
    copy = clone(made)
    assert copy.get_params(deep=False).keys() == params.keys()
    assert copy.transformer is not made.transformer
    assert copy.step == 0.7
    made = flip(rows, judge="auto")[0]
    again = pickle.loads(pickle.dumps(made))
    pd.testing.assert_frame_equal(again.pair_summary_, made.pair_summary_)
    assert not hasattr(clone(made), "flipped_")
    assert repr(sampler(step=0.5)) == "LatentFlipSampler(judge=None, random_state=0, step=0.5)"
    assert "LatentFlipSampler" in made._repr_html_()


def test_the_next_call_forgets_the_names_of_columns(rows):
    X, y, group = rows
    made = sampler()
    made.fit_resample(pd.DataFrame(X, columns=NAMES), y, sensitive_features=group)
    assert made.feature_names_in_.tolist() == NAMES
    made.fit_resample(X[:, :4], y, sensitive_features=group)
    assert made.n_features_in_ == 4
    assert not hasattr(made, "feature_names_in_")


def test_names_of_features_out(rows):
    X, y, group = rows
    made, *_ = flip((pd.DataFrame(X, columns=NAMES), y, group))
    assert made.get_feature_names_out().tolist() == NAMES


def test_fit_checks_what_fit_resample_would(rows):
    X, y, group = rows
    made = sampler()
    assert made.fit(pd.DataFrame(X, columns=NAMES), y, sensitive_features=group) is made
    assert made.get_feature_names_out().tolist() == NAMES
    assert not hasattr(made, "flipped_")
    with pytest.raises(ValueError, match="sensitive_features=None: there is nothing to flip"):
        made.fit(X, y)
    with pytest.raises(ValueError, match="pairs='some'"):
        sampler(pairs="some").fit(X, y, sensitive_features=group)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_the_kind_of_output_that_scikit_learn_is_set_to_does_not_matter(rows, kind):
    X, y, group = rows
    frame = pd.DataFrame(X, columns=NAMES)
    with sklearn.config_context(transform_output=kind):
        made, more, _ = flip((frame, y, group), judge="auto")
    assert_array_equal(more, flip(rows)[1])
    assert 0 < made.label_changed_ < 1


# ---------------------------------------------------------------- bad input


def test_a_missing_attribute_is_an_error_that_says_what_to_do(rows):
    X, y, _ = rows
    with pytest.raises(ValueError, match="sensitive_features=None.*sensitive_columns.*imbalanced-learn.*metadata rout"):
        sampler().fit_resample(X, y)
    with pytest.raises(ValueError, match=r"sensitive_columns=\[\]: expected a non-empty list"):
        sampler(sensitive_columns=[]).fit_resample(X, y)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"A": np.arange(N) / 7}, r"\['sensitive_feature_0'\] are numbers, not groups. Cut them into groups before"),
        ({"A": np.arange(N) // 10}, r"\['sensitive_feature_0'\] are numbers, not groups. Cut them into groups before"),
        ({"A": ["f"] * N}, r"has a single group \['f'\]"),
        ({"A": ["f"] * (N - 1)}, "has 299 rows, X has 300"),
        ({"A": pd.DataFrame({"target": [0, 1] * (N // 2)})}, "'target' bears the name of the label"),
        ({"A": pd.DataFrame({0: [0, 1] * (N // 2)})}, "column names must be strings"),
        ({"y": np.arange(N) / 7}, "Unknown label type: continuous"),
        ({"y": np.zeros(N)}, r"y has a single class \[0.0\]"),
        ({"y": np.zeros(N - 1, dtype=int)}, "y has 299 rows, X has 300"),
        ({"y": np.where(np.arange(N) > 5, "a", None)}, "NaN|missing|Unknown label type"),
        ({"y": np.ones((N, 2), dtype=int)}, "1d array"),
        ({"X": np.full((N, 2), np.nan)}, "Input X contains NaN"),
        ({"X": np.zeros(N)}, "Expected 2D array"),
        ({"X": np.full((N, 2), "a")}, "could not convert|string|dtype"),
    ],
)
def test_bad_rows_are_named(rows, wrong, message):
    X, y, group = rows
    given_ = {"X": X, "y": y, "A": group.to_numpy()} | wrong
    with pytest.raises((ValueError, TypeError), match=message):
        flip((given_["X"], given_["y"], given_["A"]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pairs": "some"}, "pairs='some': expected 'all' or 'balance'"),
        ({"pairs": None}, "pairs=None: expected"),
        ({"batch_size": 0}, "batch_size=0: expected an integer >= 1"),
        ({"batch_size": None}, "batch_size=None: expected an integer >= 1"),
        ({"batch_size": True}, "batch_size=True: expected an integer >= 1"),
        ({"max_stretch": 0.5}, "max_stretch=0.5: expected a finite number >= 1"),
        ({"on_parallel": "skip"}, "on_parallel='skip': expected 'raise' or 'clip'"),
        ({"on_parallel": "skip", "transformer": small()}, "on_parallel='skip': expected 'raise' or 'clip'"),
        ({"max_stretch": -3, "transformer": small()}, "max_stretch=-3: expected a finite number >= 1"),
        ({"hold_target": "no"}, "hold_target='no': expected True or False"),
        ({"drop_inconsistent": "yes", "judge": "auto"}, "drop_inconsistent='yes': expected True or False"),
        ({"sensitive_columns": "sex"}, "sensitive_columns='sex': expected a non-empty list of names or positions"),
        ({"random_state": "x"}, "'x' cannot be used to seed"),
    ],
)
def test_bad_parameters_are_named(rows, wrong, message):
    with pytest.raises(ValueError, match=message):
        flip(rows, **wrong)
    with pytest.raises(TypeError, match="unexpected keyword"):
        LatentFlipSampler(strength=1)
    with pytest.raises(ValueError, match="Invalid parameter 'strength'"):
        sampler().set_params(strength=1)


def test_rows_in_another_order_are_refused(rows):
    X, y, group = rows
    with pytest.raises(ValueError, match="in another order"):
        flip((pd.DataFrame(X, columns=NAMES), y, group.iloc[::-1]))


def test_a_group_of_one_row_is_told(rows):
    X, y, _ = rows
    with pytest.warns(SmallGroupWarning, match=r"\['x'\]"):
        flip((X, y, np.array(["x", *["f", "m"] * 149, "f"])))


def test_few_rows_are_enough():
    X = np.random.default_rng(0).normal(size=(4, 3))
    made, X_more, _ = flip((X, [0, 1, 0, 1], list("aabb")), judge="auto", max_stretch=1e6)
    assert X_more.shape == (8, 3)


# ---------------------------------------------------------------- imbalanced-learn


@pytest.fixture(scope="module")
def imblearn_pipeline():
    return pytest.importorskip("imblearn.pipeline").Pipeline


def steps(*between, **params):
    return [("scale", StandardScaler()), ("sampler", sampler(**params)), *between, ("classify", LogisticRegression())]


class Counts(BaseEstimator):
    """A classifier that notes how many rows it learned from."""

    def fit(self, X, y):
        self.classes_, self.n_rows_ = np.unique(y), len(X)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


def n_rows(pipe, X, y):
    return pipe["count"].n_rows_


def test_with_routing_the_attribute_reaches_the_sampler(rows, imblearn_pipeline):
    X, y, group = rows
    with sklearn.config_context(enable_metadata_routing=True):
        pipe = imblearn_pipeline(steps()).fit(X, y, sensitive_features=group)
        scores = cross_val_score(imblearn_pipeline(steps()), X, y, params={"sensitive_features": group}, cv=3)
        counting = imblearn_pipeline([("sampler", sampler()), ("count", Counts())])
        counts = cross_val_score(counting, X, y, params={"sensitive_features": group}, cv=3, scoring=n_rows)
        with pytest.raises(ValueError, match="sensitive_features=None: there is nothing to flip"):
            imblearn_pipeline(steps()).fit(X, y)
    assert_array_equal(pipe["sampler"].sensitive_features_["group"], np.r_[group, 1 - group])
    scaled = StandardScaler().fit_transform(X)
    expected = LogisticRegression().fit(*sampler().fit_resample(scaled, y, sensitive_features=group))
    assert_array_equal(pipe["classify"].coef_, expected.coef_)
    # Only at fit.
    assert pipe.predict(X).shape == (N,)
    assert np.mean(scores) > 0.7
    assert counts.tolist() == [400] * 3


def test_a_search_over_the_step(rows, imblearn_pipeline):
    X, y, group = rows
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(imblearn_pipeline(steps()), {"sampler__step": [0.01, 0.5, 1.0]}, cv=3)
        search.fit(X, y, sensitive_features=group)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(set(search.cv_results_["mean_test_score"])) > 1
    assert_array_equal(search.best_estimator_["sampler"].sensitive_features_["group"], np.r_[group, 1 - group])


def test_the_request_of_routing_is_the_attribute():
    pytest.importorskip("imblearn")
    with sklearn.config_context(enable_metadata_routing=True):
        assert sampler().get_metadata_routing().fit_resample.requests == {"sensitive_features": True}
        renamed = sampler().set_fit_resample_request(sensitive_features="sex")
        assert clone(renamed).get_metadata_routing().fit_resample.requests == {"sensitive_features": "sex"}


def test_without_routing_a_keyword_is_never_dropped_in_silence(rows, imblearn_pipeline):
    X, y, group = rows
    with pytest.raises(ValueError, match="imbalanced-learn's Pipeline drops this keyword.*enable_metadata_routing"):
        imblearn_pipeline(steps()).fit(X, y, sampler__sensitive_features=group)


def test_without_routing_the_attribute_is_a_column(rows, imblearn_pipeline):
    X, y, group = rows
    frame = pd.DataFrame(X, columns=NAMES).assign(sex=group.map({0: "f", 1: "m"}))
    fair = small(random_state=0, sensitive_columns=["sex"])
    pipe = imblearn_pipeline(
        [("sampler", sampler(sensitive_columns=["sex"])), ("fair", fair), ("classify", LogisticRegression())]
    )
    pipe.fit(frame, y)
    more, y_more = sampler(sensitive_columns=["sex"]).fit_resample(frame, y)
    expected = clone(fair).fit(more, y_more)
    assert_array_equal(pipe["fair"].transform(frame), expected.transform(frame))
    # What it learned is the flipped column, not the one that the rows had.
    control = clone(fair).fit(more.assign(sex=np.tile(frame["sex"], 2)), y_more)
    assert np.abs(control.transform(frame) - expected.transform(frame)).max() > 1e-3
    assert_array_equal(pipe.predict(frame.drop(columns="sex")), pipe.predict(frame))
    assert cross_val_score(pipe, frame, y, cv=3).shape == (3,)
    arrays = imblearn_pipeline([("sampler", sampler(sensitive_columns=[6])),
                                ("fair", small(random_state=0, sensitive_columns=[6])),
                                ("classify", LogisticRegression())])  # fmt: skip
    wide = np.column_stack([X, group])
    assert_array_equal(arrays.fit(wide, y).predict(wide), pipe.predict(frame))


def test_after_another_sampler(rows, imblearn_pipeline):
    over = pytest.importorskip("imblearn.over_sampling").RandomOverSampler(random_state=0)
    X, y, group = rows
    rare = (np.arange(N) % 4 > 0) | (y == 0)
    frame = pd.DataFrame(X, columns=NAMES).assign(sex=group)[rare]
    pipe = imblearn_pipeline(
        [("over", over), ("sampler", sampler(sensitive_columns=["sex"])), ("classify", LogisticRegression())]
    ).fit(frame, y[rare])
    more, y_more = sampler(sensitive_columns=["sex"]).fit_resample(*over.fit_resample(frame, y[rare]))
    assert (cells(y_more, more[["sex"]]).nunique(axis=1) == 1).all()
    assert cells(y_more, more[["sex"]]).sum(axis=1).nunique() == 1
    assert_array_equal(pipe["sampler"].sensitive_features_["sex"], more["sex"])


def test_at_the_end_of_a_pipeline(rows, imblearn_pipeline):
    X, y, group = rows
    pipe = imblearn_pipeline([("scale", StandardScaler()), ("sampler", sampler(sensitive_columns=[6]))])
    assert pipe.fit_resample(np.column_stack([X, group]), y)[0].shape == (2 * N, 7)


def test_routing_gives_a_step_behind_the_attribute_of_the_rows_as_they_were_passed(rows, imblearn_pipeline):
    X, y, group = rows
    pipe = imblearn_pipeline(steps(("fair", small(random_state=0))))
    with (
        sklearn.config_context(enable_metadata_routing=True),
        pytest.raises(ValueError, match="has 300 rows, X has 600"),
    ):
        pipe.fit(X, y, sensitive_features=group)


WITHOUT = """
import sys
import numpy as np, sklearn
from sklearn.base import clone

rng = np.random.default_rng(0)
X = rng.normal(size=(100, 3))
y, group = X[:, 0] > 0, X[:, 1] > 0
for state in ("absent", "broken"):
    for name in [name for name in sys.modules if name.startswith("sklearn_fairlatent.augmentation")]:
        del sys.modules[name]
    if state == "absent":
        sys.modules["imblearn"] = None
    else:  # as a release that does not know this scikit-learn
        del sys.modules["imblearn"]
        sys.path.insert(0, sys.argv[1])
    from sklearn_fairlatent.augmentation import LatentFlipSampler

    sampler = LatentFlipSampler(random_state=0)
    X_more, _ = sampler.fit_resample(X, y, sensitive_features=group)
    with sklearn.config_context(enable_metadata_routing=True):
        sampler.get_metadata_routing()
        X_again, _ = clone(sampler).fit_resample(X, y, sensitive_features=group)
    print(state, X_more.shape, (X_more == X_again).all(), sys.modules.get("imblearn"))
"""


def test_without_imbalanced_learn_it_works(tmp_path):
    (tmp_path / "imblearn").mkdir()
    (tmp_path / "imblearn" / "__init__.py").write_text("raise ImportError('cannot import name')")
    found = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", WITHOUT, str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert found.stdout.splitlines() == [f"{state} (200, 3) True None" for state in ("absent", "broken")], found.stderr
