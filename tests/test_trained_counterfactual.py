"""Counterfactuals by a trained map: exact, doing what they say, frames, tables, encoders, determinism."""

import copy
import hashlib
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import Parallel, delayed
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from skorch import NeuralNetClassifier

from sklearn_fairlatent import FairLatentTransformer, TabularCodec
from sklearn_fairlatent import _counterfactual_map as counterfactual_map
from sklearn_fairlatent import _readers as readers
from sklearn_fairlatent.datasets import load_german, make_biased_latents

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
]

GROUPS = {"group": [0, 1], "category": ["a", "b", "c"]}
# Most of what is claimed holds after a few steps: a fit then takes a second instead of half a minute.
FEW_STEPS = {"N_STEPS": 10, "GAINS": (1.0, 1.3), "TABLE_GAINS": (1.2,)}
FEW_READER_STEPS = {"READER_STEPS": 30, "READER_EPOCHS": 2}


def _fit(fair, X, y, A=None, *, steps=None, reader_steps=None):
    """Fit with few steps."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (FEW_STEPS | (steps or {})).items():
            patch.setattr(counterfactual_map, name, value)
        for name, value in (FEW_READER_STEPS | (reader_steps or {})).items():
            patch.setattr(readers, name, value)
        return fair.fit(X, y, sensitive_features=A)


def _model(**params):
    """A small transformer."""
    params = {"max_epochs": 1, "n_layers": 3, "hidden_size": 16, "random_state": 0} | params
    return FairLatentTransformer(**{"counterfactual_map": "trained"} | params)


def _trained(X, y, A=None, *, steps=None, reader_steps=None, **params):
    """A small transformer with a map that trained for a few steps."""
    return _fit(_model(**params), X, y, A, steps=steps, reader_steps=reader_steps)


def _bend(fair):
    """Couplings that are not the identity, whatever the few steps made of them."""
    for seed, found in enumerate(fair.counterfactual_map_.maps.values()):
        generator = torch.Generator().manual_seed(seed)
        found.flow = copy.deepcopy(found.flow)
        with torch.no_grad():
            for coupling in found.flow.couplings:
                for parameter in (coupling.hyper[-1].weight, coupling.hyper[-1].bias):
                    parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return fair


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


# ---------------------------------------------------------------- exactness


@pytest.fixture(scope="module")
def data():
    return make_biased_latents(400, 10, sensitive=("binary", "categorical", "continuous"), random_state=0)


@pytest.fixture(scope="module")
def fair(data):
    return _bend(_trained(data.data, data.target, data.sensitive_features))


@st.composite
def rows(draw):
    """Float64 rows on and off the data, with any groups, and two wanted values per row and attribute."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_samples, scale = draw(st.integers(1, 20)), draw(st.sampled_from([0.1, 1.0, 5.0, 30.0]))

    def attributes():
        return pd.DataFrame(
            {
                "group": rng.integers(2, size=n_samples),
                "category": rng.choice(GROUPS["category"], size=n_samples),
                "level": rng.normal(size=n_samples),
            }
        )

    return scale * rng.normal(size=(n_samples, 10)), attributes(), attributes(), attributes()


ATTRS = st.sampled_from([["group"], ["category"], ["level"], ["group", "category"], ["group", "level", "category"]])


def _ask(fair, X, attrs, values, own):
    """``counterfactual`` of one attribute, or of several at once by a dict."""
    if len(attrs) == 1:
        return fair.counterfactual(X, attrs[0], values[attrs[0]].to_numpy(), sensitive_features=own)
    wanted = {name: values[name].to_numpy() for name in attrs}
    return fair.counterfactual(X, attrs, wanted, sensitive_features=own)


def _distance(X, X_other):
    """Largest difference, relative to the size of the rows."""
    return np.abs(X - X_other).max() / max(1.0, np.abs(X).max())


@settings(max_examples=40)
@given(rows(), ATTRS)
def test_the_own_group_is_the_row_itself(fair, drawn, attrs):
    X, own, wanted, _ = drawn
    assert_array_equal(_ask(fair, X, attrs, own, own), X)
    there = _ask(fair, X, attrs, wanted, own)
    stayed = (own[attrs] == wanted[attrs]).all(axis=1).to_numpy()
    assert_array_equal(there[stayed], X[stayed])
    assert not np.isclose(there[~stayed], X[~stayed], atol=1e-9).all(axis=1).any()


@settings(max_examples=40)
@given(rows(), ATTRS)
def test_there_and_back_is_the_row_itself(fair, drawn, attrs):
    X, own, wanted, _ = drawn
    moved_on = own.copy()
    moved_on[attrs] = wanted[attrs]
    there = _ask(fair, X, attrs, wanted, own)
    # Several attributes move one after the other: back the other way round.
    assert _distance(X, _ask(fair, there, attrs[::-1], own, moved_on)) <= 1e-6


@settings(max_examples=40)
@given(rows(), st.sampled_from(["group", "category", "level"]))
def test_any_detour_ends_at_the_same_row(fair, drawn, name):
    X, own, between, wanted = drawn
    moved_on = own.assign(**{name: between[name]})
    detour = _ask(fair, _ask(fair, X, [name], between, own), [name], wanted, moved_on)
    assert _distance(_ask(fair, X, [name], wanted, own), detour) <= 1e-6


@settings(max_examples=30)
@given(rows(), st.permutations(["group", "category", "level"]))
def test_several_attributes_at_once_are_one_after_the_other(fair, drawn, order):
    X, own, wanted, _ = drawn
    one_by_one = X
    for name in order:
        one_by_one = _ask(fair, one_by_one, [name], wanted, own)
    assert _distance(_ask(fair, X, list(order), wanted, own), one_by_one) <= 1e-6


def test_several_attributes_at_once_there_and_back_in_reverse(fair, data):
    X, A = data.data, data.sensitive_features
    moved_on = A.assign(group=1 - A["group"], level=A["level"] + 1)
    there = _ask(fair, X, ["group", "level"], moved_on, A)
    assert _distance(X, _ask(fair, there, ["level", "group"], A, moved_on)) <= 1e-6
    # Two maps that bend do not commute: the order matters.
    assert _distance(X, _ask(fair, there, ["group", "level"], A, moved_on)) > 1e-6


def test_the_map_bends(fair, data):
    moved = fair.counterfactual(data.data, "group", 1, sensitive_features=data.sensitive_features)
    steps = (moved - data.data)[data.sensitive_features["group"] == 0]
    assert np.linalg.norm(steps - steps.mean(0), axis=1).mean() > 0.02 * np.linalg.norm(steps, axis=1).mean()


def test_the_label_moves_too(fair, data):
    X = data.data
    there = fair.counterfactual(X, "target", 1)
    read = fair.counterfactual_map_.panel.read(X, "target")
    assert_array_equal((there != X).any(axis=1), read != 1)
    assert 0.2 < (read == 1).mean() < 0.8
    both = fair.counterfactual(X, ["target", "group"], {"target": 1, "group": 1}, sensitive_features=_both(data))
    one_by_one = fair.counterfactual(there, "group", 1, sensitive_features=_both(data))
    assert _distance(both, one_by_one) <= 1e-6


def _both(data):
    return data.sensitive_features[["group"]]


def test_a_group_that_is_not_told_is_read(fair, data):
    X, A = data.data, data.sensitive_features
    read = fair.counterfactual(X, "group")
    told = fair.counterfactual(X, "group", sensitive_features=A)
    same = (read == told).all(axis=1)
    assert_array_equal(same, fair.counterfactual_map_.panel.read(X, "group") == A["group"])
    assert 0.6 < same.mean() < 1
    gaps = A.astype({"group": object}).assign(group=lambda A: A["group"].mask(np.arange(len(A)) < 100))
    assert_allclose(
        fair.counterfactual(X, "group", sensitive_features=gaps), np.r_[read[:100], told[100:]], rtol=0, atol=1e-12
    )


def test_rows_one_by_one_are_the_rows_at_once(fair, data):
    X, A = data.data[:5], data.sensitive_features[:5]
    together = fair.counterfactual(X, "category", "c", sensitive_features=A)
    for k in range(5):
        alone = fair.counterfactual(X[k : k + 1], "category", "c", sensitive_features=A[k : k + 1])
        assert_allclose(alone, together[k : k + 1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_other_labels(task):
    data = make_biased_latents(400, 8, task=task, random_state=0)
    X, A = data.data, data.sensitive_features
    fair = _trained(X, data.target, A)
    goal = 2 if task == "multiclass" else 1.0
    there = fair.counterfactual(X, "target", goal)
    read = fair.counterfactual_map_.panel.read
    if task == "multiclass":
        assert (read(there, "target") == 2).mean() > 0.3 + (read(X, "target") == 2).mean()
    else:
        wanted = (1.0 - data.target.mean()) / data.target.std()
        assert np.abs(read(there, "target") - wanted).mean() < 0.8 * np.abs(read(X, "target") - wanted).mean()
    assert _distance(X, fair.counterfactual(fair.counterfactual(X, "group", sensitive_features=A), "group",
                                            sensitive_features=1 - A)) <= 1e-6  # fmt: skip


def test_without_a_label_the_attributes_move():
    data = make_biased_latents(400, 8, random_state=0)
    X, A = data.data, data.sensitive_features
    fair = _trained(X, None, A)
    there = fair.counterfactual(X, "group", sensitive_features=A)
    told = fair.counterfactual_map_.panel.read(there, "group")
    assert (told == 1 - A["group"]).mean() > 0.8
    assert (fair.counterfactual_map_.panel.read(X, "group") == 1 - A["group"]).mean() < 0.3


# ---------------------------------------------------------------- it does what it says


@pytest.fixture(scope="module")
def judged():
    """Rows that others judge: a fit on a third, judges of another third, and what becomes of the last one."""
    data = make_biased_latents(1800, 16, correlation=0.6, nonlinearity=0.3, random_state=3)
    X, y, s = data.data, data.target, data.sensitive_features["group"].to_numpy()
    own, judging, rows = slice(600), slice(600, 1200), slice(1200, 1800)
    A = data.sensitive_features[own]
    fair = _trained(
        X[own],
        y[own],
        A,
        steps={"N_STEPS": 40, "GAINS": (0.8, 1.0, 1.3, 1.7)},
        reader_steps={"READER_STEPS": 100},
        max_epochs=5,
    )
    signs = np.where(s[rows] == 0, 1, -1)[:, None]
    start = X[rows]
    moved = fair.counterfactual(start, "group", sensitive_features=data.sensitive_features[rows])
    shift = signs * (X[own][s[own] == 1].mean(0) - X[own][s[own] == 0].mean(0))
    noise = np.random.default_rng(0).normal(size=start.shape)
    noise *= (np.linalg.norm(moved - start, axis=1) / np.linalg.norm(noise, axis=1))[:, None]
    # The same closed form, but nothing of the label is held.
    alone = _trained(X[own], None, A).counterfactual(start, "group", sensitive_features=data.sensitive_features[rows])
    told = {"before": start, "moved": moved, "shift": start + shift, "random": start + noise, "alone": alone}
    models = {
        "linear": LogisticRegression(max_iter=2000),
        "boosting": HistGradientBoostingClassifier(max_iter=60, random_state=0),
    }
    group = {name: clone(model).fit(X[judging], s[judging]) for name, model in models.items()}
    label = {name: clone(model).fit(X[judging], y[judging]) for name, model in models.items()}
    return fair, data, {
        judge: {
            name: {
                "flipped": (group[judge].predict(there) != s[rows]).mean(),
                "kept": (label[judge].predict(there) == label[judge].predict(start)).mean(),
            }
            for name, there in told.items()
        }
        for judge in models
    }  # fmt: skip


@pytest.mark.parametrize("judge", ["linear", "boosting"])
def test_judges_of_other_rows_are_flipped(judged, judge):
    found = judged[2][judge]
    assert found["before"]["flipped"] < 0.15
    assert found["moved"]["flipped"] > 0.75
    # As long a move in any direction does not.
    assert found["random"]["flipped"] < 0.35


@pytest.mark.parametrize("judge", ["linear", "boosting"])
def test_the_label_stays_more_than_under_moves_that_do_not_hold_it(judged, judge):
    found = judged[2][judge]
    assert found["moved"]["kept"] > 0.8
    for other in ("shift", "alone"):
        assert found[other]["flipped"] > 0.7
        assert found["moved"]["kept"] > found[other]["kept"] + 0.05


def test_more_than_one_reader_is_flipped(judged):
    fair, data, _ = judged
    X, A = data.data[1200:], data.sensitive_features[1200:]
    scores = fair.counterfactual_map_.panel.scores
    moved = fair.counterfactual(X, "group", sensitive_features=A)
    own = A["group"].to_numpy()
    before, after = ((scores(there, "group").argmax(-1) == own).mean(axis=1) for there in (X, moved))
    assert len(after) == 8
    assert (before > 0.75).all()
    assert (after < 0.4).all()


def test_what_the_map_says_of_itself_holds_for_other_rows(judged):
    fair, _, found = judged
    score = fair.counterfactual_map_.maps["group"].scores
    assert abs(score["flip_rate"] - np.mean([found[judge]["moved"]["flipped"] for judge in found])) < 0.15
    assert abs(score["consistency"] - np.mean([found[judge]["moved"]["kept"] for judge in found])) < 0.15
    assert set(fair.counterfactual_map_.maps) == {"target", "group"}
    for chosen in fair.counterfactual_map_.maps.values():
        assert chosen.kind in ("closed form", "trained")
        assert chosen.gain in (0.8, 1.0, 1.3, 1.7)


def test_rows_with_versions_go_to_their_version():
    rng = np.random.default_rng(0)
    n, d = 300, 16
    base = rng.normal(size=(n, d))
    versions = base + rng.normal(size=d) + base @ (0.15 * rng.normal(size=(d, d))) + 0.1 * rng.normal(size=(n, d))
    new = np.arange(n) >= 200
    s = np.repeat([0, 1], 200)
    X = np.r_[base[~new], versions[~new]]
    A = pd.Series(s, name="g")
    fair = _trained(X, None, A)
    assert list(fair.counterfactual_map_.maps) == ["g"]
    assert fair.counterfactual_map_.maps["g"].kind == "partners"
    moved = fair.counterfactual(base[new], "g", 1, sensitive_features=pd.Series(np.zeros(100, dtype=int), name="g"))
    shift = base[new] + X[s == 1].mean(0) - X[s == 0].mean(0)
    error, error_of_shift, unmoved = (
        np.linalg.norm(there - versions[new], axis=1).mean() for there in (moved, shift, base[new])
    )
    assert error < 0.9 * error_of_shift < error_of_shift < unmoved
    back = fair.counterfactual(moved, "g", 0, sensitive_features=pd.Series(np.ones(100, dtype=int), name="g"))
    assert _distance(back, base[new]) < 1e-6
    # The same rows without their versions: half of each group.
    alone = np.r_[base[:200], versions[~new][rng.permutation(200)] + 0.8 * rng.normal(size=(200, d))]
    assert _trained(alone, None, A).counterfactual_map_.maps["g"].kind != "partners"


# ---------------------------------------------------------------- one seed, the same bits


def _small():
    data = make_biased_latents(300, 8, random_state=1)
    return data.data, data.target, data.sensitive_features


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


@pytest.fixture(scope="module")
def small():
    return _small()


@pytest.fixture(scope="module")
def small_fair(small):
    """Tests read it only: whoever fits or sets something takes a model of their own."""
    return _trained(*small)


@pytest.fixture(scope="module")
def small_latent(small):
    """The same without a trained map, to read only."""
    return _trained(*small, counterfactual_map="latent")


@pytest.fixture
def small_of(small_fair, small_latent):
    """Either of the two by the name of its map."""
    return {"latent": small_latent, "trained": small_fair}


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


# ---------------------------------------------------------------- columns that stay


def test_dead_columns_come_back_bit_for_bit(small):
    X, y, A = small
    X = X.copy()
    X[:, 2] = 0.1
    X[:, 5] = 1e-33 * np.random.default_rng(0).normal(size=len(X))
    fair = _trained(X, y, A)
    moved = fair.counterfactual(X, ["group", "target"], sensitive_features=A)
    assert_array_equal(moved[:, [2, 5]], X[:, [2, 5]])
    assert (moved != X).all(axis=0).sum() == 6
    back = fair.counterfactual(moved, ["group", "target"], {"group": A["group"].to_numpy(), "target": y},
                               sensitive_features=1 - A)  # fmt: skip
    assert_array_equal(back[:, [2, 5]], X[:, [2, 5]])


@pytest.mark.parametrize("mode", ["latent", "trained"])
def test_immutable_columns_of_an_array(small, small_of, mode):
    X, y, A = small
    fair = _trained(X, y, A, counterfactual_map=mode, immutable_features=[3, np.int64(0)])
    for attr in ("group", "target", ["group", "target"]):
        moved = fair.counterfactual(X, attr, sensitive_features=A)
        assert_array_equal(moved[:, [0, 3]], X[:, [0, 3]])
        changed = (moved != X).any(axis=1)
        assert changed.mean() > 0.9
        assert (moved != X)[changed][:, [1, 2, 4, 5, 6, 7]].mean() > 0.99
    path = fair.counterfactual_path(X, "group", n_steps=3, sensitive_features=A)
    assert all((rows[:, [0, 3]] == X[:, [0, 3]]).all() for rows in path)
    # Without the parameter they move.
    free = small_of[mode]
    assert (free.counterfactual(X, "group", sensitive_features=A)[:, [0, 3]] != X[:, [0, 3]]).all()


def test_a_map_with_immutable_columns_is_exact(small):
    X, y, A = small
    fair = _bend(_trained(X, y, A, immutable_features=[0, 3]))
    there = fair.counterfactual(X, "group", sensitive_features=A)
    assert _distance(X, fair.counterfactual(there, "group", sensitive_features=1 - A)) < 1e-6
    # The columns that stay are looked at.
    shifted = X + 2.0 * (np.arange(8) == 0)
    step = fair.counterfactual(shifted, "group", sensitive_features=A) - shifted
    assert np.abs(step - (there - X)).max() > 1e-3


@pytest.mark.parametrize("mode", ["latent", "trained"])
def test_immutable_columns_of_a_frame(small, mode):
    X, y, A = small
    frame = pd.DataFrame(X, columns=list("abcdefgh"))
    fair = _trained(frame, y, A, counterfactual_map=mode, immutable_features=["d", 0])
    moved = fair.counterfactual(frame, "group", sensitive_features=A)
    assert isinstance(moved, pd.DataFrame)
    assert (moved != frame).all().to_dict() == {name: name not in "ad" for name in "abcdefgh"}


@pytest.mark.parametrize("mode", ["latent", "trained"])
def test_positions_of_immutable_columns_leave_sensitive_ones_out(small, mode):
    X, y, A = small
    rows = np.column_stack([A["group"], X])
    fair = _trained(rows, y, sensitive_columns=[0], immutable_features=[3], counterfactual_map=mode)
    moved = fair.counterfactual(rows, "x0")
    assert_array_equal((moved != rows).all(axis=0), np.arange(9) != 4)
    assert_array_equal(moved[:, 4], rows[:, 4])


@pytest.mark.parametrize("mode", ["latent", "trained"])
def test_immutable_columns_of_a_frame_with_a_sensitive_one(small, mode):
    X, y, A = small
    frame = pd.DataFrame(X, columns=list("abcdefgh"))
    frame.insert(2, "sex", np.where(A["group"] == 1, "m", "f"))
    fair = _trained(frame, y, sensitive_columns=["sex"], immutable_features=["d"], counterfactual_map=mode)
    moved = fair.counterfactual(frame, "sex")
    assert (moved != frame).all().to_dict() == {name: name != "d" for name in frame.columns}
    assert moved["d"].equals(frame["d"])


@pytest.mark.parametrize("features", [["height"], [8], [-1], [1.5], ["group"]])
def test_unknown_immutable_columns(small, features):
    X, y, A = small
    with pytest.raises(ValueError, match=rf"immutable_features: {features[0]!r} is not a column of X"):
        _model(immutable_features=features, counterfactual_map="latent").fit(X, y, sensitive_features=A)


@pytest.mark.parametrize("features", [[], "age", 3])
def test_immutable_columns_must_be_a_list(small, features):
    X, y, A = small
    with pytest.raises(ValueError, match="immutable_features=.*expected a non-empty list"):
        _model(immutable_features=features).fit(X, y, sensitive_features=A)


@pytest.mark.parametrize("encoder", [PCA(4), FrozenEstimator(PCA(4)), lambda X: X[:, :4]])
def test_an_encoder_must_tell_its_columns(small, encoder):
    X, y, A = small
    if isinstance(encoder, FrozenEstimator):
        encoder.estimator.fit(X)
    fair = _model(encoder=encoder, immutable_features=[0], counterfactual_map="latent")
    with pytest.raises(ValueError, match="does not say which of its columns.*Use encoder=TabularCodec"):
        fair.fit(X, y, sensitive_features=A)


@pytest.mark.parametrize("n_immutable", [8, 7])
def test_a_map_needs_columns_to_move(small, n_immutable):
    X, y, A = small
    with pytest.raises(ValueError, match="immutable_features"):
        _trained(X, y, A, immutable_features=list(range(n_immutable)))


def test_the_unit_of_a_column_that_stays_changes_nothing(small):
    X, y, A = small
    unit = np.r_[1000.0, np.ones(7)]
    moved, other = (
        _trained(rows, y, A, immutable_features=[0]).counterfactual(rows, "group", sensitive_features=A)
        for rows in (X, X * unit)
    )
    assert_allclose(other / unit, moved, rtol=0, atol=0.01 * np.abs(moved - X).max())


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
    with pytest.raises(ValueError, match="counterfactual_map='best': expected 'latent' or 'trained'"):
        _model(counterfactual_map="best").fit(X, small[1], sensitive_features=A)


# ---------------------------------------------------------------- spaces and encoders


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


# ---------------------------------------------------------------- the way


@pytest.mark.parametrize("mode", ["latent", "trained"])
@pytest.mark.parametrize("output", ["input", "embedding"])
def test_the_way_leads_from_the_rows_to_their_counterfactuals(small, small_of, mode, output):
    X, _, A = small
    fair = small_of[mode]
    path = fair.counterfactual_path(X, "group", 1, n_steps=4, sensitive_features=A, output=output)
    assert len(path) == 5
    assert_array_equal(path[0], X)
    assert_array_equal(path[-1], fair.counterfactual(X, "group", 1, sensitive_features=A))
    lengths = np.stack([np.linalg.norm(rows - X, axis=1) for rows in path])
    moves = (A["group"] == 0).to_numpy()
    assert (np.diff(lengths[:, moves], axis=0) > 0).all()
    assert (lengths[:, ~moves] == 0).all()
    short = fair.counterfactual_path(X, "group", 1, n_steps=1, sensitive_features=A, output=output)
    assert len(short) == 2
    assert_array_equal(short[1], path[-1])


def test_steps_on_the_way_are_equal_in_the_block(small, small_latent):
    X, _, A = small
    fair = small_latent
    path = fair.counterfactual_path(X, "group", n_steps=np.int64(4), sensitive_features=A, output="latent")
    block = fair.latent_layout_["group"]
    steps = np.diff([rows[:, block] for rows in path], axis=0)
    assert_allclose(steps, np.broadcast_to(steps[:1], steps.shape), rtol=0, atol=1e-9)
    assert np.abs(steps).min(axis=(0, 2)).mean() > 0.1
    held = np.delete(path[2], np.arange(block.start, block.stop), axis=1)
    assert_allclose(held, np.delete(path[0], np.arange(block.start, block.stop), axis=1), rtol=0, atol=1e-8)


# ---------------------------------------------------------------- tables


@pytest.fixture(scope="module")
def german():
    """Rows with an odd index, the sex inside and the label, and a map of them."""
    bunch = load_german()
    X = bunch.data.assign(sex=bunch.sensitive_features["sex"].astype(str)).set_axis(np.arange(2000, 1000, -1))
    y = bunch.target.set_axis(X.index)
    fair = _trained(
        X,
        y,
        encoder=TabularCodec(),
        sensitive_columns=["sex"],
        steps={"N_STEPS": 40, "TABLE_GAINS": (1.2, 1.7), "MOST_REVISED": 200},
        reader_steps={"READER_STEPS": 150},
        immutable_features=["foreign_worker", "duration"],
    )
    return X, y, fair, fair.counterfactual(X, "sex")


def _assert_valid(rows, table):
    """Only values that ``table`` could hold."""
    assert rows.columns.tolist() == table.columns.tolist()
    assert rows.dtypes.tolist() == table.dtypes.tolist()
    pd.testing.assert_index_equal(rows.index, table.index)
    for name in table.columns:
        if pd.api.types.is_numeric_dtype(table[name]):
            present = rows[name].dropna()
            assert present.between(table[name].min(), table[name].max()).all(), name
        else:
            assert set(rows[name].dropna()) <= set(table[name].dropna()), name
        if not table[name].isna().any():
            assert not rows[name].isna().any(), name


def test_rows_of_a_table_are_valid_and_who_they_are_changes(german):
    X, _, fair, moved = german
    _assert_valid(moved, X)
    assert_array_equal(moved["sex"], X["sex"].map({"male": "female", "female": "male"}))
    label = fair.counterfactual(X, "target", "good")
    _assert_valid(label, X)
    assert_array_equal(label["sex"], X["sex"])
    both = fair.counterfactual(X, ["sex", "target"], {"sex": "female", "target": "good"})
    _assert_valid(both, X)
    assert set(both["sex"]) == {"female"}


def test_few_columns_of_a_table_change(german):
    X, y, fair, moved = german
    codec, found = fair.encoding_.encoder, fair.counterfactual_map_
    n_changed = (moved != X).drop(columns="sex").sum(axis=1)
    assert 0.9 < n_changed.mean() < 6
    E = fair.encoding_.encode(X.drop(columns="sex"))
    read = found.panel.read(E, y.name)
    some = read == 0
    better = fair.counterfactual(X[some], "target", "good")
    n_changed = (better != X[some]).sum(axis=1)
    assert (n_changed >= 1).mean() > 0.8
    # What is moved but not revised changes many more of them.
    whole = codec.inverse_transform(found.move(E[some], [(y.name, read[some], np.ones(some.sum()))], 1.2))
    n_whole = (whole.to_numpy() != X[some].drop(columns="sex").to_numpy()).sum(axis=1)
    assert n_changed.mean() < 0.7 * n_whole.mean()


def test_immutable_columns_of_a_table(german):
    X, _, fair, moved = german
    immutable = ["foreign_worker", "duration"]
    pd.testing.assert_frame_equal(moved[immutable], X[immutable])
    good = fair.counterfactual(X, "target", "good")
    pd.testing.assert_frame_equal(good[immutable], X[immutable])
    for rows in fair.counterfactual_path(X[:50], "target", "good", n_steps=3):
        pd.testing.assert_frame_equal(rows[immutable], X[immutable][:50])
    assert (good["credit_amount"] != X["credit_amount"]).any() or (
        good["checking_status"] != X["checking_status"]
    ).any()


def test_readers_of_a_table_are_flipped(german):
    X, _, fair, moved = german
    read = fair.counterfactual_map_.panel.read
    own = (X["sex"] == "male").to_numpy()
    before, after = (read(fair.encoding_.encode(rows.drop(columns="sex")), "sex") != own for rows in (X, moved))
    assert before.mean() < 0.35
    assert after.mean() > 0.8


def test_judges_of_other_rows_of_a_table_are_flipped(german):
    X, y, fair, _ = german
    bad = X[fair.counterfactual_map_.panel.read(fair.encoding_.encode(X.drop(columns="sex")), y.name) == 0]
    codec = TabularCodec().fit(X)
    judge = HistGradientBoostingClassifier(max_iter=40, random_state=0).fit(codec.transform(X)[::2], y[::2])
    other = bad[bad.index % 2 == 1]
    goal = next(value for value in sorted(set(y)) if value == "good")
    moved = fair.counterfactual(other, "target", goal)
    before, after = ((judge.predict(codec.transform(rows)) == goal).mean() for rows in (other, moved))
    assert after > before + 0.2


def test_rows_of_a_table_that_do_not_move_are_identical(german):
    X, _, fair, _ = german
    women = fair.counterfactual(X, "sex", "female")
    own = X["sex"] == "female"
    pd.testing.assert_frame_equal(women[own], X[own], check_exact=True)
    assert ((women != X).any(axis=1) == ~own).all()
    odd = X.iloc[::-7]
    pd.testing.assert_frame_equal(fair.counterfactual(odd, "sex", "female"), women.iloc[::-7])


def test_outputs_of_a_table_agree(german):
    X, _, fair, moved = german
    embedding = fair.counterfactual(X, "sex", output="embedding")
    latent = fair.counterfactual(X, "sex", output="latent")
    assert_allclose(fair.encoding_.encode(moved.drop(columns="sex")), embedding, rtol=0, atol=1e-9)
    assert_allclose(fair.to_latent(moved), latent, rtol=0, atol=1e-8)
    pd.testing.assert_frame_equal(fair.from_latent(latent).drop(columns="sex").set_axis(X.index),
                                  moved.drop(columns="sex"))  # fmt: skip


@pytest.mark.parametrize(("attr", "value"), [("sex", None), ("target", "good"), ("target", "bad")])
def test_the_way_through_a_table(german, attr, value):
    X, _, fair, _ = german
    moved = fair.counterfactual(X, attr, value)
    path = fair.counterfactual_path(X, attr, value, n_steps=4)
    pd.testing.assert_frame_equal(path[0], X)
    pd.testing.assert_frame_equal(path[-1], moved)
    same = moved == X
    for rows in path[1:-1]:
        _assert_valid(rows, X)
        # Whoever a row is changes at the end, and a column that stays does not leave on the way.
        assert_array_equal(rows["sex"], X["sex"])
        assert ((rows == X) | ~same).drop(columns="sex").all().all()
    goes = ~same.drop(columns="sex").all(axis=1)
    assert (path[-2] != X)[goes].any(axis=1).mean() > 0.5


def test_steps_through_a_table_lead_away_from_the_row(german):
    X, _, fair, _ = german
    path = fair.counterfactual_path(X, "target", "good", n_steps=10, output="embedding")
    lengths = np.stack([np.linalg.norm(rows - path[0], axis=1) for rows in path])
    assert (np.diff(lengths, axis=0) >= -1e-9).all()


@pytest.fixture(scope="module")
def mixed():
    """A small table with gaps, an ordered category, decimals, and a label and a group that columns tell."""
    rng = np.random.default_rng(0)
    n = 300
    s, y = rng.integers(2, size=(2, n))
    X = pd.DataFrame(
        {
            "height": (2 * s - 1) + 0.5 * rng.normal(size=n),
            "debt": pd.Series(np.round(2 * y + rng.normal(size=n), 2)).mask(rng.random(n) < 0.15 + 0.3 * y),
            "size": pd.Categorical(rng.choice(["S", "M", "L"], size=n), ["S", "M", "L"], ordered=True),
            "pet": pd.Series(np.where(rng.random(n) < 0.2 + 0.5 * s, "dog", "cat")).mask(rng.random(n) < 0.1),
            "rooms": rng.integers(1, 6, size=n),
        }
    )
    return X, y, pd.Series(np.where(s == 1, "m", "f"), name="sex")


@pytest.fixture(scope="module")
def mixed_fair(mixed):
    X, y, s = mixed
    return _trained(X, y, s, encoder=TabularCodec(), steps={"N_STEPS": 25})


def test_a_table_with_gaps(mixed, mixed_fair):
    X, _, s = mixed
    other = s.map({"m": "f", "f": "m"})
    moved = mixed_fair.counterfactual(X, "sex", sensitive_features=s)
    _assert_valid(moved, X)
    assert moved["debt"].isna().any()
    assert_array_equal((moved["height"] - X["height"] > 0) | (moved["height"] == X["height"]), s == "f")
    label = mixed_fair.counterfactual(X, "target", 1, sensitive_features=s)
    _assert_valid(label, X)
    read = mixed_fair.counterfactual_map_.panel.read
    before, after = (read(mixed_fair.encoding_.encode(rows), "sex") == (other == "m") for rows in (X, moved))
    assert after.mean() > before.mean() + 0.5


def test_rows_of_decimals_that_do_not_move_are_identical(mixed, mixed_fair):
    X, _, s = mixed
    moved = mixed_fair.counterfactual(X, "sex", "m", sensitive_features=s)
    own = (s == "m").to_numpy()
    pd.testing.assert_frame_equal(moved[own], X[own], check_exact=True)
    assert (moved[~own].astype(str) != X[~own].astype(str)).any(axis=1).mean() > 0.9


def test_columns_of_a_moved_row_that_stay_are_identical(mixed, mixed_fair):
    X, _, s = mixed
    moved = mixed_fair.counterfactual(X, "target", 1, sensitive_features=s)
    same = np.isclose(moved["height"], X["height"], rtol=0, atol=1e-6)
    changed = (moved.astype(str) != X.astype(str)).drop(columns="height").any(axis=1)
    assert (same & changed).mean() > 0.1
    assert_array_equal(moved["height"][same], X["height"][same])


def test_rows_with_fewer_categories_than_fit_saw(mixed, mixed_fair):
    X, _, s = mixed
    few = X[X["size"] != "L"].copy()
    few["size"] = few["size"].cat.remove_unused_categories()
    moved = mixed_fair.counterfactual(few, "sex", "m", sensitive_features=s[few.index])
    all_rows = mixed_fair.counterfactual(X, "sex", "m", sensitive_features=s)
    columns = ["size", "pet", "rooms"]
    expected = all_rows.loc[few.index, columns]
    pd.testing.assert_frame_equal(moved[columns].astype(object), expected.astype(object))


def test_polars_tables(mixed, mixed_fair):
    X, y, s = mixed
    rows = pl.from_pandas(X).with_columns(sex=pl.Series(s.to_numpy()))
    fair = _trained(rows, y, encoder=TabularCodec(), sensitive_columns=["sex"])
    moved = fair.counterfactual(rows, "sex")
    assert isinstance(moved, pl.DataFrame)
    assert moved.schema == rows.schema
    assert (moved["sex"] != rows["sex"]).all()
    assert set(moved["pet"].drop_nulls()) <= {"cat", "dog"}
    assert moved["rooms"].is_between(1, 5).all()
    assert moved["rooms"].null_count() == 0
    path = fair.counterfactual_path(rows, "sex", n_steps=2)
    assert path[0].drop("height").equals(rows.drop("height"))
    assert path[-1].equals(moved)
    assert path[1]["sex"].equals(rows["sex"])
    women = fair.counterfactual(rows, "sex", "f")
    own = rows["sex"] == "f"
    assert women.filter(own).drop("height").equals(rows.filter(own).drop("height"))
    assert not women.filter(~own).equals(rows.filter(~own))
