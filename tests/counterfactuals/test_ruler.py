"""Moves measured by what a decoder makes of them."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import KernelPCA

from sklearn_fairlatent._encoding import Encoding
from sklearn_fairlatent._ruler import LEAST_EFFECT, MOST_COLUMNS, Ruler, output_metric

from .samples import _small, _trained

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
]


class _Pictures:
    """A linear decoder to pictures of ``shape``."""

    def __init__(self, weights, shape=(1, 4, 5), dtype=np.float64):
        self.weights, self.shape, self.dtype = weights, shape, dtype

    def __call__(self, E):
        return (E @ self.weights).reshape(len(E), *self.shape).astype(self.dtype)


class _Noisy(_Pictures):
    """The same with another noise for every row, or for every call."""

    def __init__(self, weights, by_row):
        super().__init__(weights)
        self.rng, self.by_row = np.random.default_rng(0), by_row

    def __call__(self, E):
        return super().__call__(E) + self.rng.normal(size=(len(E) if self.by_row else 1, 1, 4, 5))


def _metric(decoder, E, fixed=()):
    return output_metric(Encoding(None, decoder), E, np.arange(len(E)), np.array(fixed, dtype=int))


def _rows(n=200, d=6):
    return np.random.default_rng(0).normal(size=(n, d)) * np.logspace(-2, 2, d)


def _weights(d=6, n_values=20):
    return np.random.default_rng(1).normal(size=(d, n_values))


def test_a_step_is_as_long_as_that_of_the_picture():
    E, decode = _rows(), _Pictures(_weights() / np.logspace(-2, 2, 6)[:, None])
    ruler = Ruler.of(E.std(0), _metric(decode, E))
    pictures = np.linalg.norm(np.diff(decode(E).reshape(len(E), -1), axis=0), axis=1)
    ratios = np.linalg.norm(ruler.measured(np.diff(E, axis=0)), axis=1) / pictures
    assert_allclose(ratios, ratios[0], rtol=1e-6)
    # By the columns' deviations it is not.
    ratios = np.linalg.norm(Ruler(E.std(0)).measured(np.diff(E, axis=0)), axis=1) / pictures
    assert ratios.std() > 0.1 * ratios.mean()


def test_a_column_without_variance_has_no_length():
    E = _rows()
    E[:, 2] = 0.1 + 0.2
    metric = _metric(_Pictures(_weights()), E)
    assert not metric[2].any()
    assert not metric[:, 2].any()
    assert_allclose(metric, metric.T)
    assert np.linalg.eigvalsh(np.delete(np.delete(metric, 2, 0), 2, 1)).min() > 0


def test_a_direction_without_effect_counts_a_little():
    E, weights = _rows(), _weights()
    weights[3] = 0
    metric = _metric(_Pictures(weights), E)
    nudge = np.zeros((1, 6))
    nudge[0, 3] = E[:, 3].std()
    assert_allclose(np.linalg.norm(Ruler.of(E.std(0), metric).measured(nudge)), np.sqrt(LEAST_EFFECT), rtol=1e-6)


@pytest.mark.parametrize(
    "decoder",
    [
        None,
        _Pictures(_weights(), (20,)),
        _Pictures(_weights(), dtype=np.int64),
        _Pictures(_weights() * np.nan),
        _Pictures(_weights() * 0),
        _Noisy(_weights(), by_row=True),
        _Noisy(_weights(), by_row=False),
        lambda E: [["some", "words"]] * len(E),
        lambda E: pd.DataFrame(E),
    ],
    ids=["none", "table", "integers", "nan", "constant", "noise", "noise of a call", "words", "frame"],
)
def test_what_cannot_be_measured_is_not(decoder):
    assert _metric(decoder, _rows()) is None


def test_very_many_columns_and_an_encoder_without_a_way_back_are_not_measured():
    d = MOST_COLUMNS + 1
    assert _metric(_Pictures(_weights(d)), _rows(20, d)) is None
    # What it would raise on being asked for its inverse is no matter of the fit.
    assert output_metric(Encoding(KernelPCA(2).fit(_rows()), None), _rows(), np.arange(200), np.arange(0)) is None
    assert _metric(_Pictures(_weights()), np.ones((20, 6))) is None


def test_large_pictures_are_looked_at_in_part(monkeypatch):
    E, weights = _rows(d=4), _weights(4, 4000)
    weights /= E.std(0)[:, None]
    weights[0, :3000] = 0  # shows at the bottom only
    whole = _metric(_Pictures(weights, (40, 100)), E) * np.outer(E.std(0), E.std(0))
    monkeypatch.setattr("sklearn_fairlatent._ruler.LOOKED_AT", 2000)
    monkeypatch.setattr("sklearn_fairlatent._ruler.DECODED_ROWS", 3)
    part = _metric(_Pictures(weights, (40, 100)), E) * np.outer(E.std(0), E.std(0))
    assert not np.array_equal(part, whole)
    assert_allclose(part, whole, atol=0.1)
    assert 0.2 < whole[0, 0] < 0.5


def test_parts_of_a_row_are_measured_like_all_of_it(monkeypatch):
    decode = _Pictures(_weights())
    whole = _metric(decode, _rows())
    monkeypatch.setattr("sklearn_fairlatent._ruler.DECODED_VALUES", 2 * 20)
    assert_allclose(_metric(decode, _rows()), whole, rtol=1e-9)


@pytest.mark.parametrize("d", [126, 127, 128])
def test_rounding_of_a_network_is_no_noise(d):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(d, 16),
        torch.nn.ReLU(),
        torch.nn.Linear(16, 192),
        torch.nn.Tanh(),
        torch.nn.Unflatten(1, (3, 8, 8)),
    )
    assert _metric(network, np.random.default_rng(0).normal(size=(40, d))) is not None


class _Float32Only:
    """A callable that takes rows as they were fitted and nothing else, and spoils what it is given."""

    def __init__(self):
        self.network = _generator(slice(0, 4))

    def __call__(self, E):
        assert E.dtype == np.float32
        with torch.no_grad():
            pictures = self.network(torch.from_numpy(E)).numpy()
        E *= 3
        return pictures


def test_a_decoder_is_given_rows_of_the_type_that_was_fitted():
    X, _, _ = _small()
    found = _metric(_Float32Only(), X.astype(np.float32))
    assert_allclose(found, _metric(_generator(slice(0, 4)), X.astype(np.float32)), rtol=1e-3, atol=1e-6)


def test_a_loud_column_that_may_not_move_does_not_count():
    E = _rows()
    weights = _weights() / E.std(0)[:, None]
    loud = weights.copy()
    loud[0] *= 1000
    found = _metric(_Pictures(loud), E, fixed=[0])
    assert not found[0].any()
    assert_allclose(found, _metric(_Pictures(weights), E, fixed=[0]), rtol=1e-9)
    drowned = _metric(_Pictures(loud), E)[1:, 1:]
    assert np.abs(drowned - found[1:, 1:]).max() > 0.5 * np.abs(found).max()


def _generator(loud):
    """Pictures in which the columns ``loud`` show twenty times as much as the others."""
    weights = np.random.default_rng(2).normal(size=(8, 48)).astype(np.float32)
    weights[loud] *= 20
    generator = torch.nn.Sequential(torch.nn.Linear(8, 48, bias=False), torch.nn.Unflatten(1, (3, 4, 4)))
    with torch.no_grad():
        generator[0].weight.copy_(torch.as_tensor(weights.T))
    return generator


def test_a_map_moves_where_the_pictures_change_least():
    rng = np.random.default_rng(0)
    A = pd.DataFrame({"group": rng.integers(2, size=400)})
    # The group can be read, and moved, in loud columns as well as in quiet ones.
    X, y = rng.normal(size=(400, 8)), rng.integers(2, size=400)
    X[:, [0, 1, 4, 5]] += 1.5 * A.to_numpy()
    generator = _generator(slice(0, 4))
    moved = {}
    for decoder in (None, generator):
        fair = _trained(X, y, A, decoder=decoder, steps={"N_STEPS": 60})
        E = fair.counterfactual(X, "group", sensitive_features=A, output="embedding")
        with torch.no_grad():
            change = generator(torch.as_tensor(E - X, dtype=torch.float32)).flatten(1).norm(dim=1).numpy()
        read = fair.counterfactual_map_.panel.read(E, "group")
        moved[decoder is not None] = change.mean(), (read == 1 - A["group"]).mean()
    assert moved[True][0] < 0.7 * moved[False][0]
    assert moved[True][1] > 0.8
    assert moved[False][1] > 0.8


def test_a_measured_map_is_exact_there_and_back():
    X, y, A = _small()
    fair = _trained(X, y, A, decoder=_generator(slice(0, 2)), immutable_features=[0, 5])
    there = fair.counterfactual(X, "group", sensitive_features=A, output="embedding")
    back = fair.counterfactual(there, "group", sensitive_features=1 - A, output="embedding")
    assert np.abs(there - X).max() > 0.1
    assert_allclose(back, X, atol=1e-8)
    assert_array_equal(there[:, [0, 5]], X[:, [0, 5]])
    own = fair.counterfactual(X, "group", A["group"], sensitive_features=A, output="embedding")
    assert_array_equal(own, X)
