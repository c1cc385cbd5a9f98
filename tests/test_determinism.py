"""Tests of determinism: one seed gives the same bits everywhere, and nothing outside is touched."""

import hashlib
import pickle

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from sklearn.base import clone
from threadpoolctl import threadpool_info, threadpool_limits

from sklearn_fairlatent import FairLatentTransformer
from sklearn_fairlatent.datasets import make_biased_latents

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
]

# Enough rows and columns that products of matrices are split over threads where there are several.
DATA = {"n_samples": 500, "n_features": 40, "sensitive": ("binary", "continuous"), "random_state": 0}


def _fit(random_state, **params):
    data = make_biased_latents(**DATA)
    fair = FairLatentTransformer(2, max_epochs=3, random_state=random_state, **params)
    return fair.fit(data.data, data.target, sensitive_features=data.sensitive_features), data


def _bits(random_state, **params):
    """Hash of all that a fit answers."""
    fair, data = _fit(random_state, **params)
    answers = [
        fair.transform(data.data),
        fair.to_latent(data.data),
        fair.counterfactual(data.data, "group", sensitive_features=data.sensitive_features),
    ]
    return hashlib.sha256(b"".join(part.tobytes() for part in answers)).hexdigest()


@pytest.fixture(scope="module")
def bits():
    return {seed: _bits(seed) for seed in (0, 1, 2)}


def test_the_same_seed_gives_the_same_bits_and_another_one_others(bits):
    assert _bits(0) == bits[0]
    assert len(set(bits.values())) == 3


def test_no_seed_draws_a_new_one_each_time():
    state = np.random.get_state()  # noqa: NPY002 - the global generator is what is tested
    try:
        assert _bits(None) != _bits(None)
    finally:
        np.random.set_state(state)  # noqa: NPY002 - the global generator is what is tested


@pytest.mark.parametrize("backend", ["loky", "threading"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_workers_give_the_same_bits(bits, backend, n_jobs):
    found = Parallel(n_jobs=n_jobs, backend=backend)(delayed(_bits)(seed) for seed in (0, 1, 2, 0))
    assert found == [bits[0], bits[1], bits[2], bits[0]]


@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_threads_of_the_process_change_nothing(bits, n_threads):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(n_threads)
        with threadpool_limits(n_threads):
            fair, data = _fit(0)
        with threadpool_limits(1):
            torch.set_num_threads(1)
            expected = _fit(0)[0].to_latent(data.data)
            np.testing.assert_array_equal(fair.to_latent(data.data), expected)
    finally:
        torch.set_num_threads(before)
    assert _bits(0) == bits[0]


def test_a_random_state_instance_is_drawn_from(bits):
    first, second = np.random.RandomState(5), np.random.RandomState(5)
    one = _bits(first)
    assert one == _bits(second)
    assert _bits(first) != one  # the instance has moved on
    assert one not in bits.values()
    assert _bits(np.int64(1)) == bits[1]


def _surroundings():
    name, keys, position, *_ = np.random.get_state()  # noqa: NPY002 - the global generator is what is tested
    return (
        keys.tobytes(),
        position,
        torch.get_rng_state().numpy().tobytes(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_default_dtype(),
        [(pool["filepath"], pool["num_threads"]) for pool in threadpool_info()],
    )


@pytest.mark.parametrize("outside", [1, 2])
def test_generators_and_thread_counts_are_left_as_they_were(outside):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(outside)
        with threadpool_limits(outside):
            surroundings = _surroundings()
            fair, data = _fit(0, n_threads=3 - outside)
            assert _surroundings() == surroundings
            L = fair.to_latent(data.data)
            fair.from_latent(L)
            fair.inverse_transform(fair.transform(data.data))
            fair.counterfactual(data.data, ["group", "target"])
            assert _surroundings() == surroundings
            with pytest.raises(ValueError, match="encoder"):
                fair.fit(np.array([["a", "b"]] * 9), sensitive_features=[0, 1, 0] * 3)
            with pytest.raises(ZeroDivisionError):
                _fit(0, net_params={"callbacks": [("fail", Failing())]})
            assert _surroundings() == surroundings
    finally:
        torch.set_num_threads(before)


class Failing:
    """A callback that breaks the training loop."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self

    def on_batch_end(self, net, **kwargs):
        raise ZeroDivisionError("on purpose")


def test_the_global_generators_do_not_matter(bits):
    numpy_state, torch_state = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - the global generator is what is tested
    try:
        np.random.seed(7)  # noqa: NPY002 - the global generator is what is tested
        torch.manual_seed(7)
        assert _bits(0) == bits[0]
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002 - the global generator is what is tested
        torch.set_rng_state(torch_state)


def test_answers_do_not_depend_on_earlier_ones():
    fair, data = _fit(0)
    Z = fair.transform(data.data)
    before = pickle.dumps(fair.flow_.state_dict())
    fair.counterfactual(data.data[:7], "target")
    fair.transform(data.data[:5].astype(np.float32))
    fair.inverse_transform(Z[:3])
    np.testing.assert_array_equal(fair.transform(data.data), Z)
    assert pickle.dumps(fair.flow_.state_dict()) == before


# ---------------------------------------------------------------- refits


def _values(fair):
    """Names of all that a fit leaves."""
    return sorted(set(vars(fair)) - set(fair.get_params(deep=False)))


@pytest.mark.parametrize("first", ["binary", "regression", "no label", "frame", "sensitive column"])
@pytest.mark.parametrize("second", ["binary", "no label"])
def test_a_refit_is_a_fresh_fit(first, second):
    def fit(fair, kind):
        if kind == "sensitive column":
            data = make_biased_latents(100, 5, random_state=1)
            fair.set_params(sensitive_columns=["sex"])
            frame = data.sensitive_features.set_axis(["sex"], axis=1).assign(a=data.data[:, 0], b=data.data[:, 1])
            fair.fit(frame, data.target)
            return fair.set_params(sensitive_columns=None)
        task = "regression" if kind == "regression" else "binary"
        data = make_biased_latents(200, 6, task=task, random_state=2)
        X = data.data if kind != "frame" else data.sensitive_features.assign(a=data.data[:, 0], b=data.data[:, 1])
        label = None if kind == "no label" else data.target
        return fair.fit(X, label, sensitive_features=data.sensitive_features)

    fresh = FairLatentTransformer(max_epochs=1, random_state=0)
    refitted = fit(fit(clone(fresh), first), second)
    fit(fresh, second)
    X = make_biased_latents(200, 6, random_state=2).data
    np.testing.assert_array_equal(refitted.transform(X), fresh.transform(X))
    np.testing.assert_array_equal(refitted.to_latent(X), fresh.to_latent(X))
    np.testing.assert_array_equal(refitted.counterfactual(X, "group"), fresh.counterfactual(X, "group"))
    public = [name for name in _values(refitted) if not name.startswith("_")]
    assert public == [name for name in _values(fresh) if not name.startswith("_")]
    assert _timeless(refitted.history_) == _timeless(fresh.history_)


def _timeless(history):
    return [{name: value for name, value in epoch.items() if name != "dur"} for epoch in history]
