"""Transformers with a trained map: set after a fit, of one seed, copied, asked for what is not there."""

import hashlib
import pickle

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from sklearn_fairlatent.datasets import make_biased_latents

from .samples import _distance, _fit, _model, _small, _trained

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
]


# ---------------------------------------------------------------- fitted, and set afterwards


def test_a_parameter_set_after_fit_waits_for_the_next_fit():
    data = make_biased_latents(300, random_state=0)
    X, A = data.data[:50], data.sensitive_features[:50]
    judge = LogisticRegression().fit(data.data, data.target)
    latent = _model(counterfactual_map="latent").fit(data.data, data.target, sensitive_features=data.sensitive_features)
    trained = _trained(data.data, data.target, data.sensitive_features)
    for fair in (latent, trained):
        before = fair.counterfactual(X, "group", sensitive_features=A)
        fair.set_params(counterfactual_map="trained" if fair is latent else "latent")
        assert_array_equal(fair.counterfactual(X, "group", sensitive_features=A), before)
        assert fair.explain(X, judge, sensitive_features=A).blocks.index.tolist() == ["target", "group", "residual"]
    latent = _fit(latent, data.data, data.target, data.sensitive_features)
    trained.fit(data.data, data.target, sensitive_features=data.sensitive_features)
    assert hasattr(latent, "counterfactual_map_")
    assert not hasattr(trained, "counterfactual_map_")


def test_a_memory_map_and_a_warm_start_train_the_same_kind_of_map(tmp_path):
    data = make_biased_latents(300, random_state=0)
    A = data.sensitive_features
    np.save(tmp_path / "X.npy", data.data)
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    from_disk, from_memory = (_trained(rows, data.target, A, warm_start=True) for rows in (X, data.data))
    moved = [fair.counterfactual(data.data, "group", sensitive_features=A) for fair in (from_disk, from_memory)]
    assert_array_equal(*moved)
    again = _fit(from_disk, X, data.target, A)
    assert list(again.counterfactual_map_.maps) == ["target", "group"]
    back = again.counterfactual(
        again.counterfactual(data.data, "group", sensitive_features=A), "group", sensitive_features=1 - A
    )
    assert_allclose(back, data.data, atol=1e-6)


# ---------------------------------------------------------------- one seed, the same bits


def _hash(fair):
    """Hash of all that a fitted transformer answers."""
    X, _, A = _small()
    told = fair.counterfactual(X, "group", sensitive_features=A)
    read = fair.counterfactual(X, ["group", "target"])
    return hashlib.sha256(told.tobytes() + read.tobytes()).hexdigest()


def _bits(fair):
    """The same of a clone after a fit; a worker sets the few steps itself."""
    return _hash(_fit(clone(fair), *_small()))


def test_a_seed_gives_the_same_bits_here_and_in_workers(small_fair):
    first, second = _hash(small_fair), _bits(_model(random_state=1))
    assert first != second
    found = Parallel(n_jobs=2, backend="loky")(delayed(_bits)(_model(random_state=seed)) for seed in (1, 0))
    assert found == [second, first]


def _generators():
    name, keys, position, *_ = np.random.get_state()  # noqa: NPY002 - the global generator is what is tested
    return keys.tobytes(), position, torch.get_rng_state().numpy().tobytes(), torch.get_num_threads()


def test_generators_outside_are_left_as_they_were(small):
    X, y, A = small
    before = _generators()
    fair = _trained(X, y, A, random_state=3)
    fair.counterfactual(X, "group", sensitive_features=A)
    fair.counterfactual_path(X, "group", n_steps=2)
    assert _generators() == before
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global generator is what is tested
    assert _generators() != before
    again = _trained(X, y, A, random_state=3)
    assert_array_equal(again.counterfactual(X, "group"), fair.counterfactual(X, "group"))


def test_a_pickled_map_gives_the_same_bits(small, small_fair):
    X, _, A = small
    loaded = pickle.loads(pickle.dumps(small_fair))
    assert_array_equal(
        loaded.counterfactual(X, "group", sensitive_features=A),
        small_fair.counterfactual(X, "group", sensitive_features=A),
    )
    assert_array_equal(loaded.counterfactual(X, "target"), small_fair.counterfactual(X, "target"))


def test_a_clone_is_not_fitted_and_has_the_parameters(small, small_fair):
    fair = clone(small_fair)
    assert fair.get_params()["counterfactual_map"] == "trained"
    with pytest.raises(ValueError, match="not fitted"):
        fair.counterfactual(small[0], "group")


@pytest.mark.parametrize("bad", [{"immutable_features": ["height"]}, {"counterfactual_map": "best"}])
def test_a_failed_fit_leaves_the_earlier_one(small, bad):
    X, y, A = small
    fair = _trained(X, y, A)
    before = fair.counterfactual(X, "group", sensitive_features=A)
    state = set(vars(fair))
    good = {name: getattr(fair, name) for name in bad}
    with pytest.raises(ValueError, match=next(iter(bad))):
        _fit(fair.set_params(**bad), X[:200], y[:200], A[:200])
    assert set(vars(fair)) == state
    assert_array_equal(fair.set_params(**good).counterfactual(X, "group", sensitive_features=A), before)


def test_another_fit_leaves_nothing_of_the_map(small, small_latent):
    X, y, A = small
    fair = _trained(X, y, A)
    trained = fair.counterfactual(X, "group", sensitive_features=A)
    fair.set_params(counterfactual_map="latent").fit(X, y, sensitive_features=A)
    assert set(vars(fair)) == set(vars(small_latent))
    latent = fair.counterfactual(X, "group", sensitive_features=A)
    assert_array_equal(latent, small_latent.counterfactual(X, "group", sensitive_features=A))
    assert _distance(latent, trained) > 1e-3


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("output", ["x", "Latent", None, 3])
def test_unknown_outputs(small, small_fair, output):
    with pytest.raises(ValueError, match=r"output=.*: expected one of \['input', 'embedding', 'latent'\]"):
        small_fair.counterfactual(small[0], "group", output=output)
    with pytest.raises(ValueError, match="output="):
        small_fair.counterfactual_path(small[0], "group", output=output)


@pytest.mark.parametrize("n_steps", [0, -1, 2.0, "3", None, True])
def test_steps_must_be_an_integer_of_at_least_one(small, small_fair, n_steps):
    with pytest.raises(ValueError, match=r"n_steps=.*: expected an integer >= 1"):
        small_fair.counterfactual_path(small[0], "group", n_steps=n_steps)


def test_unknown_attributes_and_values(small, small_fair):
    X, _, A = small
    with pytest.raises(ValueError, match="attr='age' is not known"):
        small_fair.counterfactual(X, "age")
    with pytest.raises(ValueError, match="value: 7 is not a known value of 'group'"):
        small_fair.counterfactual(X, "group", 7, sensitive_features=A)
    with pytest.raises(ValueError, match="value has shape"):
        small_fair.counterfactual(X, "group", [0, 1], sensitive_features=A)
    with pytest.raises(ValueError, match=r"'best': expected one of \['latent', 'trained', 'transport'\]"):
        _model(counterfactual_map="best").fit(X, small[1], sensitive_features=A)


def test_a_group_that_only_one_half_of_the_judges_sees():
    X = np.random.RandomState(0).normal(size=(400, 5))
    groups = np.full(400, "many", dtype=object)
    groups[np.arange(6) * 7] = "few"
    for seed in range(3):
        fair = _trained(X, None, groups, random_state=seed)
        moved = fair.counterfactual(X, "sensitive_feature_0", "few")
        assert np.isfinite(moved).all()
        assert (moved != X).any(axis=1).sum() >= 300
