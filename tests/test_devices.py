"""Tests of devices: names that this machine has not, pickles that travel, and fits on CUDA, where there is any."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from stitching.networks import mlp
from synthesis.rows import table
from torch import nn

from sklearn_fairlatent import FairLatentTransformer, TabularCodec
from sklearn_fairlatent import _counterfactual_bench as map_bench
from sklearn_fairlatent import _counterfactual_training as map_training
from sklearn_fairlatent import _readers as readers
from sklearn_fairlatent._devices import forked_generators, is_device, seed_generators
from sklearn_fairlatent.datasets import make_biased_latents
from sklearn_fairlatent.metrics import leakage_score
from sklearn_fairlatent.stitching import FairStitchClassifier
from sklearn_fairlatent.synthesis import FairSynthesizer

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
]


def _rows(n=600, n_features=12):
    data = make_biased_latents(n, n_features, random_state=0)
    return data.data, data.target, data.sensitive_features


def _fitted(device, **params):
    X, y, A = _rows()
    fair = FairLatentTransformer(**{"max_epochs": 4, "random_state": 0, "device": device} | params)
    return fair.fit(X, y, sensitive_features=A), X, A


@pytest.fixture(scope="module")
def on_cpu():
    """A fit, its rows and what it hands on of them; not to be changed."""
    fair, X, _ = _fitted("cpu")
    return fair, X, fair.transform(X)


@pytest.mark.parametrize("value", ["nonsense", 3.5, None, "meta", "cuda:99"])
def test_what_this_machine_cannot_compute_on_is_no_device(value):
    assert not is_device(value)


def test_the_cpu_is_one_however_it_is_named():
    assert is_device("cpu")
    assert is_device(torch.device("cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for what is absent")
@pytest.mark.parametrize("estimator", [FairLatentTransformer(), FairStitchClassifier(mlp()), FairSynthesizer()])
def test_a_device_that_is_absent_is_refused_before_anything_is_fitted(estimator):
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(60, 3)), rng.randint(0, 2, 60)
    with pytest.raises(ValueError, match=r"device='cuda': expected a device that torch has on this machine"):
        estimator.set_params(device="cuda").fit(X, y, sensitive_features=1 - y)


def test_generators_are_as_before_after_a_fork_and_the_seed_holds_inside():
    torch.default_generator.seed()
    before = torch.default_generator.get_state()
    drawn = []
    for _ in range(2):
        with forked_generators("cpu"):
            seed_generators(7, "cpu")
            drawn.append(torch.randn(3))
    assert torch.equal(*drawn)
    assert torch.equal(before, torch.default_generator.get_state())


def test_a_pickle_of_the_cpu_is_the_plain_one(on_cpu):
    fair, X, expected = on_cpu
    assert "_of_torch" not in fair.__getstate__()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fair)).transform(X), expected)


def test_a_pickle_of_a_device_gives_the_same_answers(on_cpu):
    fair, X, expected = copy.copy(on_cpu[0]), *on_cpu[1:]
    fair.device = "cuda"  # the tensors are the CPU's: what is tested is how they are written
    loaded = pickle.loads(pickle.dumps(fair))
    assert "_of_torch" in fair.__getstate__()
    assert loaded.get_params().keys() == fair.get_params().keys()
    assert loaded.device == "cuda"
    np.testing.assert_array_equal(loaded.transform(X), expected)
    np.testing.assert_array_equal(copy.deepcopy(fair).transform(X), expected)


def test_an_unfitted_estimator_with_any_device_can_be_pickled():
    for device in ("cuda", "nonsense", 3.5):
        assert pickle.loads(pickle.dumps(FairLatentTransformer(device=device))).device == device


def test_where_the_device_is_absent_a_pickle_loads_onto_the_cpu_and_says_so(on_cpu, monkeypatch):
    fair, X, expected = copy.copy(on_cpu[0]), *on_cpu[1:]
    fair.device = "cuda"
    written, load = pickle.dumps(fair), torch.load

    def without_cuda(file, map_location=None, **kwargs):
        if map_location is None:
            raise RuntimeError("Attempting to deserialize object on a CUDA device")
        return load(file, map_location=map_location, **kwargs)

    monkeypatch.setattr(torch, "load", without_cuda)
    with pytest.warns(UserWarning, match=r"FairLatentTransformer was fitted with device='cuda'.*device='cpu'"):
        loaded = pickle.loads(written)
    np.testing.assert_array_equal(loaded.transform(X), expected)


# ---------------------------------------------------------------- on CUDA


def _answers(fair, X, A):
    return [
        fair.transform(X),
        fair.to_latent(X),
        fair.from_latent(fair.to_latent(X)),
        fair.counterfactual(X, "group", sensitive_features=A),
    ]


@cuda
@pytest.mark.parametrize("params", [{}, {"n_components": 4}, {"n_components": None}, {"n_codes": 4}])
def test_the_same_seed_gives_the_same_bits_on_cuda(params):
    torch.cuda.seed()
    first = _answers(*_fitted("cuda", **params))
    torch.cuda.seed()
    for expected, found in zip(first, _answers(*_fitted("cuda", **params)), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(_fitted("cuda", **params | {"random_state": 1})[0].transform(_rows()[0]), first[0])


@cuda
def test_the_generators_of_cuda_are_left_alone():
    torch.cuda.seed()
    before = torch.cuda.get_rng_state()
    _fitted("cuda", n_components=4)
    assert torch.equal(before, torch.cuda.get_rng_state())


@cuda
def test_everything_is_fitted_and_answered_on_cuda_as_on_the_cpu():
    fair, X, A = _fitted("cuda", n_components=4)
    assert {p.device.type for p in fair.flow_.parameters()} == {"cuda"}
    L = fair.to_latent(X)
    np.testing.assert_allclose(fair.from_latent(L), X, atol=1e-6 * np.abs(X).max())
    np.testing.assert_allclose(fair.transform(fair.inverse_transform(fair.transform(X))), fair.transform(X), atol=1e-6)
    there = fair.counterfactual(X, "group", sensitive_features=A)
    own = fair.counterfactual(X, "group", A.iloc[:, 0], sensitive_features=A)
    np.testing.assert_allclose(own, X, atol=1e-8 * np.abs(X).max())
    # The same fitted module, moved: only rounding may differ.
    moved = copy.deepcopy(fair)
    moved.flow_.cpu()
    for mine, other in zip(_answers(moved, X, A), _answers(fair, X, A), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-7 * np.abs(other).max())
    assert not np.allclose(there, X)


@cuda
def test_a_fit_on_cuda_hides_the_attribute_as_one_on_the_cpu_does():
    X, y, A = _rows(3000)
    train, test = np.arange(2000), np.arange(2000, 3000)
    for device in ("cpu", "cuda"):
        leaks = []
        for strength in (0.0, 1.0):
            fair = FairLatentTransformer(fairness_strength=strength, random_state=0, device=device)
            fair.fit(X[train], y[train], sensitive_features=A.iloc[train])
            leaks.append(leakage_score(fair.transform(X[test]), A.iloc[test, 0], random_state=0)["group"].score)
        assert leaks[1] < leaks[0] - 0.1, (device, leaks)


@cuda
def test_a_pickle_travels_from_cuda_and_back():
    fair, X, _ = _fitted("cuda")
    loaded = pickle.loads(pickle.dumps(fair))
    assert {p.device.type for p in loaded.flow_.parameters()} == {"cuda"}
    np.testing.assert_array_equal(loaded.transform(X), fair.transform(X))
    on_cpu = torch.load(io.BytesIO(fair.__getstate__()["_of_torch"]), map_location="cpu", weights_only=False)
    assert {p.device.type for p in on_cpu["flow_"].parameters()} == {"cpu"}


@cuda
def test_warm_starts_on_cuda_go_on():
    fair, X, A = _fitted("cuda", warm_start=True, fairness_strength=0.1)
    before = fair.transform(X)
    fair.set_params(fairness_strength=1.0).fit(*_rows()[:2], sensitive_features=A)
    assert not np.array_equal(fair.transform(X), before)


@cuda
@pytest.mark.parametrize("kind", ["rows", "table", "pictures"])
def test_trained_counterfactuals_on_cuda(kind, monkeypatch):
    monkeypatch.setattr(map_training, "N_STEPS", 20)
    for name, value in (("GAINS", (1.0, 1.3)), ("TABLE_GAINS", (1.2,))):
        monkeypatch.setattr(map_bench, name, value)
    monkeypatch.setattr(readers, "READER_STEPS", 60)
    X, y, A = _rows()
    encoder, decoder, of_table = None, None, kind == "table"
    if kind == "pictures":
        torch.manual_seed(0)
        decoder = torch.nn.Sequential(torch.nn.Linear(X.shape[1], 12), torch.nn.Unflatten(1, (3, 2, 2))).cuda()
    if of_table:
        X, y = table(600)
        A, encoder = X.pop("sex"), TabularCodec()
    fair = FairLatentTransformer(
        encoder=encoder,
        decoder=decoder,
        max_epochs=2,
        counterfactual_map="trained",
        random_state=0,
        device="cuda",
    ).fit(X, y, sensitive_features=A)
    name, output = "sex" if of_table else "group", "embedding" if decoder else "input"
    moved = fair.counterfactual(X, name, sensitive_features=A, output=output)
    again = pickle.loads(pickle.dumps(fair)).counterfactual(X, name, sensitive_features=A, output=output)
    assert len(moved) == len(X)
    assert moved.equals(again) if of_table else np.array_equal(moved, again)
    assert not (moved.equals(X) if of_table else np.array_equal(moved, X))


@cuda
def test_an_encoder_on_cuda_stays_there_and_is_not_changed():
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(12, 8).double().cuda(), nn.Linear(8, 12).double().cuda()
    before = copy.deepcopy(encoder.state_dict())
    fair, X, A = _fitted("cuda", encoder=encoder, decoder=decoder)
    assert fair.counterfactual(X, "group", sensitive_features=A).shape == X.shape
    for key, value in encoder.state_dict().items():
        assert value.is_cuda
        assert torch.equal(value, before[key])


@cuda
def test_a_transformer_on_cuda_in_a_pipeline():
    X, y, A = _rows()
    with config_context(enable_metadata_routing=True):
        fair = FairLatentTransformer(max_epochs=3, random_state=0, device="cuda")
        pipeline = make_pipeline(fair.set_fit_request(sensitive_features=True), LogisticRegression())
        pipeline.fit(X, y, sensitive_features=A)
    assert pipeline.score(X.astype(np.float32), y) > max(np.mean(y), 1 - np.mean(y))


@cuda
@pytest.mark.parametrize(
    "stitch", ["residual", "linear", "last_layer", nn.Sequential(nn.Dropout(0.3), nn.Linear(8, 8))]
)
def test_a_stitch_on_cuda(stitch):
    rng = np.random.RandomState(0)
    X, group = rng.normal(size=(800, 3)).astype(np.float32), rng.randint(0, 2, 800)
    y = (X[:, 0] + group + 0.5 * rng.normal(size=800) > 0.5).astype(int)
    fitted = [
        FairStitchClassifier(mlp(), split="1", stitch=stitch, max_epochs=5, random_state=0, device="cuda").fit(
            X, y, sensitive_features=group
        )
        for _ in range(2)
    ]
    first, second = (model.predict_proba(X) for model in fitted)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted[0])).predict_proba(X), first)


@cuda
def test_a_synthesizer_on_cuda():
    X, y = table()
    fitted = [
        FairSynthesizer(max_epochs=5, random_state=0, device="cuda").fit(
            X.drop(columns="sex"), y, sensitive_features=X["sex"]
        )
        for _ in range(2)
    ]
    assert {p.device.type for p in fitted[0].teacher_.transformer.flow_.parameters()} == {"cuda"}
    first, second = (model.sample(50, random_state=1) for model in fitted)
    assert first[0].equals(second[0])
    assert pickle.loads(pickle.dumps(fitted[0])).sample(50, random_state=1)[0].equals(first[0])
