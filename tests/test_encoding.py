"""Encoders and decoders of every kind, and frames of any kind."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from sklearn_fairlatent._encoding import (
    MODULE_ROWS,
    Encoding,
    as_frame,
    column_names,
    column_values,
    frame_like,
    take_columns,
)

FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame}


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(3.0, 2.0, size=(20, 4))


# Estimators


def test_estimator_is_cloned_and_fitted(X):
    scaler = StandardScaler()
    encoding, _ = Encoding.fit(scaler, None, X, None)
    assert not hasattr(scaler, "mean_")
    assert_allclose(encoding.encode(X), (X - X.mean(axis=0)) / X.std(axis=0))
    assert_allclose(encoding.decode(encoding.encode(X)), X)


def test_estimator_sees_the_label(X):
    y = np.arange(20)
    assert_array_equal(Encoding.fit(OneWay(), None, X, y)[0].encoder.y_, y)


def test_frozen_estimator_is_not_fitted_again(X):
    fitted = StandardScaler().fit(X)
    encoding, _ = Encoding.fit(FrozenEstimator(fitted), None, 10 * X + 5, None)
    assert_allclose(encoding.encode(X), fitted.transform(X))
    assert_allclose(fitted.mean_, X.mean(axis=0))
    assert encoding.can_decode
    assert_allclose(encoding.decode(fitted.transform(X)), X)


def test_without_an_encoder_rows_pass_unchanged(X):
    encoding, _ = Encoding.fit(None, None, X, None)
    assert encoding.encode(X) is X
    assert encoding.can_decode
    assert encoding.decode(X) is X


def test_frames_from_an_encoder_become_numbers(X):
    encoding, _ = Encoding.fit(StandardScaler().set_output(transform="pandas"), None, pd.DataFrame(X), None)
    E = encoding.encode(pd.DataFrame(X))
    assert isinstance(E, np.ndarray)
    assert E.dtype == np.float64


@pytest.mark.parametrize(
    ("output", "match"),
    [
        (lambda X: np.full((len(X), 2), np.nan), "the output of encoder contains NaN"),
        (lambda X: np.zeros((len(X), 0)), r"0 feature\(s\)"),
        (lambda X: np.zeros(len(X)), "Expected 2D array, got 1D"),
    ],
)
def test_bad_output_of_an_encoder(X, output, match):
    with pytest.raises(ValueError, match=match):
        Encoding.fit(output, None, X, None)[0].encode(X)


def test_sparse_output_of_an_encoder(X):
    with pytest.raises(TypeError, match="[Ss]parse"):
        Encoding.fit(OneHotEncoder(), None, X, None)[0].encode(X)


# Callables and decoders


class OneWay(TransformerMixin, BaseEstimator):
    """An encoder without ``inverse_transform``."""

    def fit(self, X, y=None):
        self.y_ = y
        return self

    def transform(self, X):
        return np.abs(X)


def test_callable(X):
    encoding, _ = Encoding.fit(np.exp, np.log, X, None)
    E = encoding.encode(X)
    assert_allclose(E, np.exp(X))
    assert_allclose(encoding.decode(E), X)


def halve():
    """A decoder of each kind that halves its input."""
    module = torch.nn.Linear(4, 4, bias=False).double()
    with torch.no_grad():
        module.weight.copy_(torch.eye(4) / 2)
    return {
        "estimator": FunctionTransformer(lambda E: E / 2),
        "module": module,
        "callable": lambda E: E / 2,
    }


@pytest.mark.parametrize("kind", ["estimator", "module", "callable"])
def test_decoder_takes_precedence_over_the_encoders_own_way_back(X, kind):
    encoding, _ = Encoding.fit(StandardScaler(), halve()[kind], X, None)
    assert encoding.can_decode
    assert_allclose(encoding.decode(X), X / 2)


@pytest.mark.parametrize("kind", ["estimator", "module", "callable"])
def test_decoder_without_an_encoder(X, kind):
    assert_allclose(Encoding.fit(None, halve()[kind], X, None)[0].decode(X), X / 2)


@pytest.mark.parametrize("encoder", [np.exp, torch.nn.Linear(4, 2), OneWay()], ids=repr)
def test_no_way_back(X, encoder):
    encoding, _ = Encoding.fit(encoder, None, X, None)
    assert not encoding.can_decode
    name = type(encoder).__name__
    with pytest.raises(ValueError, match=rf"encoder={name} has no inverse_transform and decoder=None.*Pass decoder="):
        encoding.decode(X)


# Torch modules


class Watcher(torch.nn.Module):
    """Flags what it is given, through a dropout that must be off."""

    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3, dtype=dtype)
        self.dropout = torch.nn.Dropout(0.5)
        self.seen = []

    def forward(self, x):
        self.seen.append((len(x), x.dtype, self.training, torch.is_grad_enabled()))
        return self.dropout(self.linear(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("training", [True, False])
def test_module_is_used_frozen_and_left_as_it_was(X, training, dtype):
    module = Watcher(dtype).train(training)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    E = Encoding(module, None).encode(X)
    assert module.seen == [(20, dtype, False, False)]
    assert module.training is training
    assert module.dropout.training is training
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    expected = X @ module.linear.weight.detach().double().numpy().T + module.linear.bias.detach().double().numpy()
    assert_allclose(E, expected, rtol=1e-5, atol=1e-5)
    assert E.dtype == (np.float64 if dtype == torch.float64 else np.float32)


def test_modes_of_the_parts_of_a_module_come_back(X):
    # The usual way to fine-tune: the whole in training mode, its batch norm frozen.
    module = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.BatchNorm1d(2)).train()
    module[1].eval()
    Encoding(module, None).encode(X)
    assert [part.training for part in module] == [True, False]


def test_mode_comes_back_after_an_error(X):
    module = torch.nn.Linear(3, 2).train()
    with pytest.raises(RuntimeError):
        Encoding(module, None).encode(X)
    assert module.training


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_module_of_half_precision(X, dtype):
    module = torch.nn.Linear(4, 2).to(dtype)
    E = Encoding(module, None).encode(X)
    assert E.shape == (20, 2)
    assert np.isfinite(E).all()


def test_module_reads_batches_of_rows():
    X = np.zeros((2 * MODULE_ROWS + 1, 4), dtype=np.float32)
    module = Watcher()
    assert Encoding(module, None).encode(X).shape == (len(X), 3)
    assert [seen[0] for seen in module.seen] == [MODULE_ROWS, MODULE_ROWS, 1]


def test_module_without_parameters_flattens_images():
    images = np.arange(24.0).reshape(2, 3, 4)
    E = Encoding.fit(torch.nn.Identity(), None, images, None)[0].encode(images)
    assert_array_equal(E, images.reshape(2, 12))


def test_module_reads_frames_and_read_only_arrays(X):
    module = torch.nn.Linear(4, 2).double()
    expected = Encoding(module, None).encode(X)
    assert_array_equal(Encoding(module, None).encode(pd.DataFrame(X)), expected)
    X.setflags(write=False)
    assert_array_equal(Encoding(module, None).encode(X), expected)


# Frames


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_are_read_by_name(kind):
    frame = FRAMES[kind]({"a": [1, 2], "b": ["x", "y"], "c": [0.5, 1.5]})
    assert as_frame(frame) is not None
    assert column_names(frame) == ["a", "b", "c"]
    assert column_values(frame, "b").tolist() == ["x", "y"]
    taken = take_columns(frame, ["c", "a"])
    assert type(taken) is type(frame)
    assert list(taken.columns) == ["c", "a"]
    assert list(frame.columns) == ["a", "b", "c"]


@pytest.mark.parametrize("make", [np.array, list], ids=["array", "list"])
def test_arrays_are_read_by_position(make):
    X = make([[1, 2, 3], [4, 5, 6]])
    assert as_frame(X) is None
    assert column_names(X) == [0, 1, 2]
    assert column_values(X, 1).tolist() == [2, 5]
    assert take_columns(X, [2, 0]).tolist() == [[3, 1], [6, 4]]


def test_frames_whose_names_are_numbers():
    frame = pd.DataFrame([[1, 2, 3], [4, 5, 6]])
    assert column_names(frame) == [0, 1, 2]
    assert column_values(frame, 1).tolist() == [2, 5]
    assert take_columns(frame, [2, 0]).to_numpy().tolist() == [[3, 1], [6, 4]]


@pytest.mark.parametrize("kind", FRAMES)
def test_frame_like(kind):
    template = FRAMES[kind]({"a": [1, 2]})
    made = frame_like(template, {"p": np.array([0.5, 1.5]), "q": ["x", None]})
    assert type(made) is type(template)
    assert list(made.columns) == ["p", "q"]
    assert made["p"].to_list() == [0.5, 1.5]


def test_frame_like_takes_the_index_of_the_rows():
    rows = pd.DataFrame({"a": [1, 2]}, index=["u", "v"])
    assert frame_like(rows, {"p": [0, 1]}, rows).index.tolist() == ["u", "v"]
    assert frame_like(rows, {"p": [0, 1]}).index.tolist() == [0, 1]
    assert frame_like(rows, {"p": [0, 1]}, np.zeros((2, 1))).index.tolist() == [0, 1]
    assert isinstance(frame_like(pl.DataFrame({"a": [1]}), {"p": [0, 1]}, rows), pl.DataFrame)


def test_a_series_is_no_frame():
    assert as_frame(pd.Series([1, 2])) is None
