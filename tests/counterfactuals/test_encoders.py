"""Counterfactuals behind encoders and decoders: spaces, frozen networks, callables, skorch nets."""

import hashlib

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier

from sklearn_fairlatent.datasets import make_biased_latents

from .samples import _fit, _model, _trained

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
]


def test_outputs_agree_without_an_encoder(small, small_fair):
    X, _, A = small
    told = {
        output: small_fair.counterfactual(X, "group", sensitive_features=A, output=output)
        for output in ("input", "embedding", "latent")
    }
    assert_array_equal(told["input"], told["embedding"])
    assert_allclose(told["latent"], small_fair.to_latent(told["input"]), rtol=0, atol=1e-9)
    assert_allclose(small_fair.from_latent(told["latent"]), told["input"], rtol=0, atol=1e-8)
    assert np.abs(told["latent"] - small_fair.to_latent(X)).max() > 0.1


@pytest.mark.parametrize("mode", ["latent", "trained"])
def test_outputs_agree_behind_an_estimator(small, mode):
    X, y, A = small
    fair = _trained(X, y, A, encoder=PCA(5), counterfactual_map=mode)
    told = {
        output: fair.counterfactual(X, "group", 1, sensitive_features=A, output=output)
        for output in ("input", "embedding", "latent")
    }
    pca, own = fair.encoding_.encoder, (A["group"] == 1).to_numpy()
    assert told["embedding"].shape == told["latent"].shape == (300, 5)
    assert_allclose(told["input"][~own], pca.inverse_transform(told["embedding"])[~own], rtol=0, atol=1e-9)
    assert_allclose(pca.transform(told["input"]), told["embedding"], rtol=0, atol=1e-9)
    assert_allclose(fair.to_latent(told["input"]), told["latent"], rtol=0, atol=1e-8)
    # What a lossy decoder loses, rows that do not move keep.
    assert_array_equal(told["input"][own], X[own])
    assert np.abs(pca.inverse_transform(pca.transform(X)) - X)[own].max() > 0.1


@pytest.mark.parametrize("mode", ["latent", "trained"])
def test_rows_of_a_frame_that_do_not_move_keep_what_a_decoder_loses(small, mode):
    X, y, A = small
    frame = pd.DataFrame(X, columns=list("abcdefgh"), index=np.arange(len(X), 0, -1))
    fair = _trained(frame, y, A.set_axis(frame.index), encoder=PCA(5), counterfactual_map=mode)
    moved = fair.counterfactual(frame, "group", 1, sensitive_features=A.set_axis(frame.index))
    own = (A["group"] == 1).to_numpy()
    pd.testing.assert_frame_equal(moved[own], frame[own], check_exact=True)
    assert (moved != frame)[~own].all().all()


def _digest(module):
    """Hash of all parameters and buffers, and every part's mode."""
    state = b"".join(value.numpy().tobytes() for value in module.state_dict().values())
    return hashlib.sha256(state).hexdigest(), [part.training for part in module.modules()]


def _frozen_networks():
    """An encoder and a decoder of pictures of 4x4, with parts whose mode matters, some of them in training mode."""
    torch.manual_seed(0)
    encoder = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(16, 16), torch.nn.BatchNorm1d(16), torch.nn.Tanh(), torch.nn.Linear(16, 8)
    )
    decoder = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Dropout(0.5), torch.nn.Unflatten(1, (1, 4, 4)))
    encoder.train()
    encoder[2].eval()
    decoder.train()
    return encoder, decoder


@pytest.mark.parametrize("mode", ["latent", "trained"])
def test_frozen_networks_stay_as_they_are(mode):
    data = make_biased_latents(300, 16, random_state=2)
    pictures = data.data.reshape(-1, 1, 4, 4).astype(np.float32)
    A = data.sensitive_features
    encoder, decoder = _frozen_networks()
    before = _digest(encoder), _digest(decoder)
    fair = _trained(pictures, data.target, A, encoder=encoder, decoder=decoder, counterfactual_map=mode)
    moved = fair.counterfactual(pictures, "group", 1, sensitive_features=A)
    embedding = fair.counterfactual(pictures, "group", 1, sensitive_features=A, output="embedding")
    path = fair.counterfactual_path(pictures[:4], "group", 1, n_steps=2, sensitive_features=A[:4])
    assert (_digest(encoder), _digest(decoder)) == before
    assert moved.shape == pictures.shape == (300, 1, 4, 4)
    assert [rows.shape for rows in path] == [(4, 1, 4, 4)] * 3
    own = (A["group"] == 1).to_numpy()
    with torch.no_grad():
        plain = decoder.eval()(torch.as_tensor(embedding, dtype=torch.float32)).numpy()
    assert_allclose(moved[~own], plain[~own], rtol=0, atol=1e-6)
    assert_array_equal(moved[own], pictures[own])
    assert_allclose(embedding[own], fair.encoding_.encode(pictures)[own], rtol=0, atol=1e-6)
    assert (np.abs(embedding - fair.encoding_.encode(pictures))[~own].max(axis=1) > 1e-3).all()


@pytest.mark.parametrize("mode", ["latent", "trained"])
def test_a_generator_alone_turns_its_own_latents_into_pictures(small, mode):
    X, y, A = small
    torch.manual_seed(0)
    generator = torch.nn.Sequential(torch.nn.Linear(8, 48), torch.nn.Unflatten(1, (3, 4, 4)))
    before = _digest(generator)
    fair = _trained(X, y, A, decoder=generator, counterfactual_map=mode)
    pictures = fair.counterfactual(X, "group", 1, sensitive_features=A)
    latents = fair.counterfactual(X, "group", 1, sensitive_features=A, output="embedding")
    assert pictures.shape == (300, 3, 4, 4)
    with torch.no_grad():
        expected = generator(torch.as_tensor(latents, dtype=torch.float32)).numpy()
    assert_allclose(pictures, expected, rtol=0, atol=1e-6)
    own = (A["group"] == 1).to_numpy()
    assert_array_equal(latents[own], X[own])
    assert (np.abs(latents - X)[~own].max(axis=1) > 1e-3).all()
    path = fair.counterfactual_path(X, "group", 1, n_steps=2, sensitive_features=A)
    assert [rows.shape for rows in path] == [(300, 3, 4, 4)] * 3
    assert_array_equal(path[-1], pictures)
    assert _digest(generator) == before


def test_a_generator_of_as_many_columns_answers_every_row(small):
    X, y, A = small
    torch.manual_seed(0)
    generator = torch.nn.Linear(8, 8).double()
    fair = _trained(X, y, A, decoder=generator, counterfactual_map="latent")
    answer = fair.counterfactual(X, "group", 1, sensitive_features=A)
    latents = fair.counterfactual(X, "group", 1, sensitive_features=A, output="embedding")
    with torch.no_grad():
        assert_allclose(answer, generator(torch.as_tensor(latents)).numpy(), rtol=0, atol=1e-9)


def _halve(X):
    return np.asarray(X, dtype=np.float64) / 2


def _double(E):
    return 2 * E


def test_callables_and_frozen_estimators_encode(small, small_fair):
    X, y, A = small
    plain = small_fair.counterfactual(X, "group", sensitive_features=A)
    called = _trained(X, y, A, encoder=_halve, decoder=_double).counterfactual(X, "group", sensitive_features=A)
    # The readers see standardised columns, and a half is exact: the same moves.
    assert_allclose(called, plain, rtol=0, atol=1e-4)
    one_way = _trained(X, y, A, encoder=_halve, counterfactual_map="latent")
    assert one_way.counterfactual(X, "group", output="embedding").shape == (300, 8)
    with pytest.raises(ValueError, match="there is no way back"):
        one_way.counterfactual(X, "group")
    pca = PCA(5).fit(X[:100])
    components = pca.components_.copy()
    frozen = _trained(X, y, A, encoder=FrozenEstimator(pca))
    assert frozen.encoding_.encoder.estimator is pca
    assert_array_equal(pca.components_, components)
    moved = frozen.counterfactual(X, "group", sensitive_features=A)
    embedding = frozen.counterfactual(X, "group", sensitive_features=A, output="embedding")
    assert_allclose(pca.transform(moved), embedding, rtol=0, atol=1e-9)


def test_a_skorch_net_encodes_as_it_is(small):
    X, y, A = small
    torch.manual_seed(0)
    net = NeuralNetClassifier(torch.nn.Linear(8, 6).double(), max_epochs=1, verbose=0)
    with pytest.raises(ValueError, match="encoder=NeuralNetClassifier is a skorch net that was not fitted"):
        _model(encoder=net).fit(X, y, sensitive_features=A)
    net.fit(X, y)
    net.module_.train()
    before = _digest(net.module_)
    fair = _trained(X, y, A, encoder=net)
    assert fair.encoding_.encoder is net
    moved = fair.counterfactual(X, "group", sensitive_features=A, output="embedding")
    assert moved.shape == (300, 6)
    assert (np.abs(moved - fair.encoding_.encode(X)).max(axis=1) > 1e-3).all()
    assert _digest(net.module_) == before
    # A clone of a transformer clones what is no module: frozen, the net goes along.
    frozen = _fit(clone(_model(encoder=FrozenEstimator(net))), X, y, A)
    assert_array_equal(frozen.counterfactual(X, "group", sensitive_features=A, output="embedding"), moved)


def test_a_skorch_net_decodes(small):
    X, y, A = small
    torch.manual_seed(0)
    net = NeuralNetClassifier(torch.nn.Linear(8, 12).double(), verbose=0).initialize()
    fair = _trained(X, y, A, decoder=net, counterfactual_map="latent")
    answer = fair.counterfactual(X, "group", sensitive_features=A)
    latents = fair.counterfactual(X, "group", sensitive_features=A, output="embedding")
    with torch.no_grad():
        assert_allclose(answer, net.module_(torch.as_tensor(latents)).numpy(), rtol=0, atol=1e-9)


def test_float32_rows_give_float32_rows(small):
    X, y, A = small
    rows = X.astype(np.float32)
    fair = _trained(rows, y, A)
    moved = fair.counterfactual(rows, "group", sensitive_features=A)
    assert moved.dtype == np.float32
    exact = fair.counterfactual(rows.astype(np.float64), "group", sensitive_features=A)
    assert_allclose(moved, exact, rtol=0, atol=1e-5)
