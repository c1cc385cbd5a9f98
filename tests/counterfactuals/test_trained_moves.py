"""Counterfactuals by a trained map: exact, doing what they say, and the way there."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from sklearn_fairlatent.datasets import make_biased_latents

from .samples import _bend, _distance, _trained

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
]

GROUPS = {"group": [0, 1], "category": ["a", "b", "c"]}


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


def test_rows_with_versions_go_to_their_version(monkeypatch):
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
    # What it cannot know of a row it makes up for by going a bit beyond.
    monkeypatch.setattr("sklearn_fairlatent._counterfactual_map.STRETCH", 0.0)
    plain = _trained(X, None, A).counterfactual(base[new], "g", 1, sensitive_features=np.zeros(100, dtype=int))
    way = (versions - base)[new].mean(0)
    lengths = [(there - base[new]).mean(0) @ way / (way @ way) for there in (plain, moved)]
    assert lengths[0] + 0.03 < lengths[1] < lengths[0] + 0.35
    back = fair.counterfactual(moved, "g", 0, sensitive_features=pd.Series(np.ones(100, dtype=int), name="g"))
    assert _distance(back, base[new]) < 1e-6
    # The same rows without their versions: half of each group.
    alone = np.r_[base[:200], versions[~new][rng.permutation(200)] + 0.8 * rng.normal(size=(200, d))]
    assert _trained(alone, None, A).counterfactual_map_.maps["g"].kind != "partners"


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
