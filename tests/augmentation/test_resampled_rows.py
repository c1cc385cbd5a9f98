"""What comes back: rows of every kind, with sensitive columns and without."""

import contextlib

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_fairlatent import TabularCodec

from .samples import (
    NAMES,
    SENSITIVE,
    N,
    cells,
    flip,
    sampler,
    small,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
]


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


@pytest.mark.parametrize("odd", ["a rare word", "a missing number"])
def test_the_default_judge_reads_what_half_of_the_rows_do_not_have(rows, odd):
    X, y, group = rows
    frame = pd.DataFrame(X, columns=NAMES).assign(word=np.where(X[:, 1] > 0, "u", "v"))
    if odd == "a rare word":
        frame.loc[3, "word"] = "rare"
    else:
        frame.loc[3, "a"] = np.nan
    fair = small(encoder=TabularCodec(handle_unknown="ignore"), max_epochs=1)
    assert flip((frame, y, group), transformer=fair, judge="auto")[1].shape == (2 * N, 7)


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
