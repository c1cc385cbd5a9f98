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
from sklearn_fairlatent.augmentation import LatentFlipSampler
from sklearn_fairlatent.datasets import make_biased_latents

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
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
