"""Sensitive attributes that are columns of X: read, left out, and given back in the kind of X."""

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.decomposition import TruncatedSVD

from sklearn_fairlatent import FairLatentTransformer, TabularCodec
from sklearn_fairlatent import _counterfactual_training as map_training
from sklearn_fairlatent import _readers as readers
from sklearn_fairlatent.augmentation import LatentFlipSampler
from sklearn_fairlatent.datasets import make_biased_latents

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
    pytest.mark.filterwarnings("ignore:sensitive_features. .* have no value:UserWarning"),
]

DATA = make_biased_latents(300, 6, random_state=0)
X, Y, S = DATA.data, DATA.target, DATA.sensitive_features["group"].to_numpy()
INSIDE = np.column_stack([S, X])


def _fair(**params):
    return FairLatentTransformer(**{"max_epochs": 2, "random_state": 0, **params})


def test_frames_whose_columns_are_called_by_numbers():
    frame = pd.DataFrame(INSIDE)
    fair = _fair(sensitive_columns=[0]).fit(frame, Y)
    moved = fair.counterfactual(frame, "x0")
    assert moved.columns.tolist() == list(range(7))
    assert_array_equal(moved[0], 1 - S)
    back = fair.inverse_transform(fair.transform(frame))
    assert back.columns.tolist() == list(range(7))
    assert back[0].isna().all()
    assert_array_equal(moved, _fair(sensitive_columns=[0]).fit(INSIDE, Y).counterfactual(INSIDE, "x0"))


@pytest.mark.parametrize("encoder", [None, TabularCodec()])
def test_what_stays_of_such_a_frame_stays_in_its_own_column(encoder):
    frame = pd.DataFrame(INSIDE)
    named = frame.add_prefix("c")
    fair, same = (
        _fair(sensitive_columns=[0], immutable_features=[1], encoder=encoder).fit(rows, Y) for rows in (frame, named)
    )
    moved = fair.counterfactual(frame, "x0")
    assert_array_equal(moved[0], 1 - S)
    assert_array_equal(moved[1], frame[1])
    assert_array_equal(moved, same.counterfactual(named, "c0"))


def test_a_column_without_a_name_is_called_alike_by_all():
    frame = pd.DataFrame(INSIDE).rename(columns=lambda k: 60 - 10 * k)
    fair = _fair(sensitive_columns=[60]).fit(frame, Y)
    sampler = LatentFlipSampler(sensitive_columns=[60], random_state=0)
    sampler.fit_resample(frame, Y)
    assert list(fair.latent_layout_.sensitive) == list(sampler.sensitive_features_) == ["x0"]


def test_a_table_without_names_is_matched():
    frame = pd.DataFrame(INSIDE)
    fair = _fair(sensitive_columns=[0], encoder=TabularCodec(), counterfactual_map="transport").fit(frame, Y)
    moved = fair.counterfactual(frame, "x0")
    assert_array_equal(moved[0], 1 - S)
    assert not (moved == frame).all(axis=1).any()


@pytest.mark.parametrize("kind", ["bool", "boolean", "Int64", "Float32", "polars"])
def test_rows_that_stay_do_not_spoil_the_type_of_a_column(kind):
    frame = pd.DataFrame(X).add_prefix("c")
    whole = np.round(X[:, 5])
    if kind == "polars":
        frame = pl.from_pandas(frame).with_columns(pl.Series("c5", whole > 0))
    else:
        frame = frame.assign(c5=pd.Series(whole > 0 if "bool" in kind else whole).astype(kind))
    fair = _fair().fit(frame, Y, sensitive_features=S)
    moved = fair.counterfactual(frame, "sensitive_feature_0", 1, sensitive_features=S)
    assert nw.from_native(moved["c5"], series_only=True).dtype == nw.Float64
    column = np.asarray(moved["c5"], dtype=np.float64)
    assert_array_equal(column[S == 1], np.asarray(frame["c5"], dtype=np.float64)[S == 1])
    assert (column[S == 0] != np.asarray(frame["c5"], dtype=np.float64)[S == 0]).all()


@pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")
def test_lists_behind_a_frame():
    fair = _fair(encoder=TabularCodec()).fit(pd.DataFrame(X).add_prefix("c"), Y, sensitive_features=S)
    moved = fair.counterfactual(X.tolist(), "sensitive_feature_0")
    assert_array_equal(moved, fair.counterfactual(X, "sensitive_feature_0"))


def test_what_an_array_was_is_put_back_beside_its_sensitive_column():
    fair = _fair(sensitive_columns=[0], immutable_features=[1], encoder=TabularCodec()).fit(INSIDE, Y)
    beyond = INSIDE.copy()
    beyond[:, 1] = 99  # the codec would clip it
    assert_array_equal(fair.counterfactual(beyond, "x0")[:, 1], beyond[:, 1])
    beyond[:, 2] = -99
    stays = S == 1
    moved = fair.counterfactual(beyond, "x0", 1.0)
    assert_array_equal(moved[stays], beyond[stays])
    assert (moved[~stays, 2] != -99).all()


def test_an_array_that_came_back_without_its_attribute_can_be_read_again():
    fair = _fair(sensitive_columns=[0]).fit(INSIDE, Y)
    Z = fair.transform(INSIDE)
    back = fair.inverse_transform(Z)
    assert np.isnan(back[:, 0]).all()
    assert_allclose(fair.transform(back), Z, atol=1e-8)
    # Of a row whose group is missing it is read from the row itself.
    assert np.isin(fair.counterfactual(back, "x0")[:, 0], [0, 1]).all()
    back[1:, 0] = S[1:]
    for accident in (fair.transform, lambda rows: fair.fit(rows, Y)):
        with pytest.raises(ValueError, match="contains NaN"):
            accident(back)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_categories_stay_categories(library):
    frame = pd.DataFrame(X, columns=list("abcdef")).assign(sex=pd.Categorical(np.where(S == 1, "m", "f")))
    frame = frame if library == "pandas" else pl.from_pandas(frame)
    fair = _fair(sensitive_columns=["sex"]).fit(frame, Y)
    moved = fair.counterfactual(frame, "sex")
    assert moved["sex"].dtype == frame["sex"].dtype
    assert moved["sex"].to_list() == np.where(S == 1, "f", "m").tolist()
    back = fair.inverse_transform(fair.transform(frame))["sex"]
    assert back.dtype == frame["sex"].dtype
    assert (back.isna() if library == "pandas" else back.is_null()).all()


@pytest.mark.parametrize("dtype", ["string", "boolean", "Int64", "int64[pyarrow]", "datetime64[us]", "object", "bool"])
def test_a_column_that_does_not_move_keeps_its_type_and_what_is_missing(dtype):
    words = {"string": "fm", "object": "fm", "datetime64[us]": ["2020-01-01", "2021-06-01"]}.get(dtype, [False, True])
    column = pd.Series(np.array(list(words))[S]).astype(dtype)
    if dtype != "bool":
        column = column.mask(np.arange(len(S)) % 9 == 0)
    if dtype == "object":
        column = column.where(column.notna(), None)
    frame = pd.DataFrame(X, columns=list("abcdef")).assign(sex=column)
    fair = _fair(sensitive_columns=["sex"]).fit(frame, Y)
    pd.testing.assert_series_equal(fair.counterfactual(frame, "target")["sex"], column.rename("sex"))
    moved = fair.counterfactual(frame, "sex")["sex"]
    assert moved.dtype == column.dtype
    known = column.notna()
    assert (moved[known] != column[known]).all()
    back = fair.inverse_transform(fair.transform(frame))["sex"]
    assert back.isna().all()
    assert back.dtype == column.dtype or dtype == "bool"  # which has no word for what is missing


@pytest.mark.parametrize("values", [["f", "m"], [0, 1]])
def test_of_polars_too(values):
    given = [None if k % 9 == 0 else values[s] for k, s in enumerate(S)]
    frame = pl.from_numpy(X, schema=list("abcdef")).with_columns(pl.Series("sex", given))
    fair = _fair(sensitive_columns=["sex"]).fit(frame, Y)
    assert fair.counterfactual(frame, "target")["sex"].equals(frame["sex"])
    back = fair.inverse_transform(fair.transform(frame))
    assert back["sex"].is_null().all()
    assert len(pl.concat([frame, back])) == 2 * len(frame)


@pytest.mark.filterwarnings("ignore:X (does not have|has) .*feature names:UserWarning")
def test_what_stays_is_put_back_whatever_the_kind_of_rows_at_fit():
    frame = pd.DataFrame(X, columns=list("abcdef"))
    fair = _fair(encoder=TabularCodec(), immutable_features=["c"]).fit(frame, Y, sensitive_features=S)
    beyond = frame + 100.0  # the codec would clip it
    moved = fair.counterfactual(beyond.to_numpy(), "sensitive_feature_0", sensitive_features=S)
    assert_array_equal(moved["c"], beyond["c"])
    assert not np.isin(moved["a"], beyond["a"]).any()
    assert_array_equal(fair.counterfactual(beyond.to_numpy(), "sensitive_feature_0", S, sensitive_features=S), beyond)
    inside = _fair(encoder=TabularCodec(), immutable_features=[3], sensitive_columns=[0]).fit(INSIDE, Y)
    table = pd.DataFrame(INSIDE).add_prefix("c")
    table["c3"] += 100.0
    moved = inside.counterfactual(table, "x0")
    assert_array_equal(moved["c3"], table["c3"])
    assert_array_equal(moved["c0"], 1 - S)


@pytest.mark.parametrize("kind", ["latent", "transport"])
def test_rows_and_columns_that_run_backwards(kind):
    frame = pd.DataFrame(X, columns=list("abcdef"))
    fair = _fair(counterfactual_map=kind).fit(frame.iloc[:, ::-1], Y, sensitive_features=S)
    rows = frame.iloc[:, ::-1]
    assert_allclose(fair.transform(rows[::-1])[::-1], fair.transform(rows.copy()), atol=1e-12)
    there = fair.counterfactual(rows.copy(), "sensitive_feature_0", sensitive_features=S)
    back = fair.counterfactual(rows[::-1], "sensitive_feature_0", sensitive_features=S[::-1])
    assert_allclose(back[::-1], there, atol=1e-10)
    assert_allclose(fair.from_latent(fair.to_latent(rows)[::-1])[::-1], rows, atol=1e-8)


def test_memory_maps_and_encoders_that_run_backwards(tmp_path):
    mapped = np.lib.format.open_memmap(tmp_path / "rows.npy", mode="w+", dtype=np.float32, shape=X.shape)
    mapped[:] = X
    there = _fair().fit(np.array(mapped[::-1]), Y[::-1], sensitive_features=S[::-1])
    assert_array_equal(_fair().fit(mapped[::-1], Y[::-1], sensitive_features=S[::-1]).transform(mapped[::-1]),
                       there.transform(np.array(mapped[::-1])))  # fmt: skip
    behind, plain = _fair(encoder=_reversed), _fair()
    found = behind.fit(X, Y, sensitive_features=S).transform(X)
    assert_array_equal(found, plain.fit(X[:, ::-1].copy(), Y, sensitive_features=S).transform(X[:, ::-1]))


def _reversed(rows):
    return rows[:, ::-1]


def test_a_codec_that_gives_frames(monkeypatch):
    monkeypatch.setattr(map_training, "N_STEPS", 5)
    monkeypatch.setattr(readers, "READER_STEPS", 5)
    frame = pd.DataFrame(X, columns=list("abcdef"))
    codec = TabularCodec().set_output(transform="pandas")
    fair = _fair(encoder=codec, counterfactual_map="trained").fit(frame, Y, sensitive_features=S)
    moved = fair.counterfactual(frame, "sensitive_feature_0", sensitive_features=S)
    assert (moved.dtypes == frame.dtypes).all()
    assert not (moved == frame).all(axis=1).any()


def test_a_generator_gives_what_it_gives_for_a_frame_of_latents():
    frame = pd.DataFrame(X, columns=list("abcdef"))
    for n_copies in (1, 3):
        fair = _fair(decoder=np.exp if n_copies == 1 else _thrice)
        fair.fit(frame, Y, sensitive_features=pd.Series(S, name="group"))
        moved = fair.counterfactual(frame[:4], "group")
        assert isinstance(moved, np.ndarray)
        assert moved.shape == (4, 6 * n_copies)


def _thrice(E):
    return np.hstack([E] * 3)


def test_sparse_rows_behind_an_encoder_that_takes_them():
    rows = csr_matrix(X)
    fair = _fair(encoder=TruncatedSVD(6, random_state=0)).fit(rows, Y, sensitive_features=S)
    dense = _fair(encoder=TruncatedSVD(6, random_state=0)).fit(X, Y, sensitive_features=S)
    assert_allclose(fair.transform(rows), dense.transform(X), atol=1e-6)
    assert fair.counterfactual(rows, "sensitive_feature_0").shape == X.shape
