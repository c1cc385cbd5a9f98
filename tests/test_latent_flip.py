"""The hyperplane flip in closed form: what it negates, what it holds, how long its steps are, and what it refuses."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression

from sklearn_fairlatent.augmentation import latent_flip


def unit(direction):
    return direction / np.linalg.norm(direction)


def share_left(w, targets):
    """What of ``w`` no combination of the targets reaches, by least squares."""
    if not len(targets):
        return 1.0
    mixture = np.linalg.lstsq(targets.T, w, rcond=None)[0]
    return np.linalg.norm(w - targets.T @ mixture) / np.linalg.norm(w)


@st.composite
def problems(draw, least_targets=0, most_targets=3):
    """Rows, a sensitive direction, directions to hold, an intercept, and the size of scores."""
    n_latent = draw(st.integers(2, 12))
    n_targets = draw(st.integers(least_targets, min(most_targets, n_latent - 1)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows_scale, w_scale, target_scale = (draw(st.sampled_from([1.0, 7.0, 100.0])) for _ in range(3))
    Z = rows_scale * rng.normal(size=(draw(st.integers(1, 20)), n_latent))
    w, targets = w_scale * rng.normal(size=n_latent), target_scale * rng.normal(size=(n_targets, n_latent))
    intercept = draw(st.sampled_from([0.0, 0.5, -1.0])) * rows_scale * w_scale
    assume(share_left(w, targets) > 0.05)
    return Z, w, targets, float(intercept), rows_scale * w_scale * n_latent


def flip(Z, w, targets, intercept=0.0, **options):
    return latent_flip(Z, w, targets if len(targets) else None, intercept=intercept, max_stretch=20.0, **options)


@settings(max_examples=150)
@given(problems())
def test_the_sensitive_score_is_negated_and_every_target_score_is_kept(problem):
    Z, w, targets, intercept, size = problem
    there = flip(Z, w, targets, intercept)
    assert_allclose(there @ w + intercept, -(Z @ w + intercept), rtol=0, atol=1e-10 * size)
    for target in targets:
        assert_allclose(there @ target, Z @ target, rtol=0, atol=1e-10 * size * np.linalg.norm(target))


@settings(max_examples=100)
@given(problems())
def test_twice_is_the_row_itself(problem):
    Z, w, targets, intercept, _ = problem
    twice = flip(flip(Z, w, targets, intercept), w, targets, intercept)
    assert_allclose(twice, Z, rtol=0, atol=1e-10 * np.abs(Z).max())


@settings(max_examples=100)
@given(problems(), st.sampled_from([0.0, 0.3, 1.0, 2.0, 3.5]))
def test_the_factor_is_how_far_a_row_goes(problem, factor):
    Z, w, targets, intercept, size = problem
    there, back = (flip(Z, w, targets, intercept, factor=f) for f in (factor, 2.0))
    assert_allclose(there @ w + intercept, (1 - factor) * (Z @ w + intercept), rtol=0, atol=1e-10 * size)
    assert_allclose(there - Z, factor / 2 * (back - Z), rtol=0, atol=1e-10 * size)


@settings(max_examples=100)
@given(problems())
def test_the_projection_lies_on_the_hyperplane_and_stays_there(problem):
    Z, w, targets, intercept, size = problem
    on_it = flip(Z, w, targets, intercept, factor=1.0)
    assert_allclose(on_it @ w + intercept, 0, rtol=0, atol=1e-10 * size)
    assert_allclose(flip(on_it, w, targets, intercept), on_it, rtol=0, atol=1e-9 * np.abs(Z).max())


@settings(max_examples=100)
@given(problems(most_targets=0))
def test_without_a_target_it_is_the_mirror(problem):
    Z, w, _, intercept, _ = problem
    mirrored = Z - 2 * np.outer(Z @ w + intercept, w) / (w @ w)
    assert_allclose(latent_flip(Z, w, intercept=intercept), mirrored, rtol=0, atol=1e-10 * np.abs(Z).max())
    assert_allclose(np.linalg.norm(latent_flip(Z, w), axis=1), np.linalg.norm(Z, axis=1), rtol=1e-10)


@settings(max_examples=150)
@given(problems(1, 1))
def test_of_unit_vectors_it_is_the_formula_of_the_paper(problem):
    Z, w, targets, intercept, _ = problem
    w, a = unit(w), unit(targets[0])
    by_hand = Z - 2 * np.outer((Z @ w + intercept) / (1 - (w @ a) ** 2), w - (w @ a) * a)
    size = np.abs(Z).max() + abs(intercept)
    assert_allclose(flip(Z, w, a, intercept), by_hand, rtol=0, atol=1e-9 * size)


@settings(max_examples=100)
@given(problems(), st.floats(-100, 100), st.lists(st.floats(-100, 100), min_size=3, max_size=3))
def test_the_length_of_the_directions_does_not_matter(problem, power, powers):
    Z, w, targets, intercept, size = problem
    longer = targets * 10.0 ** np.array(powers)[: len(targets), None]
    there = flip(Z, w * 10.0**power, longer, intercept * 10.0**power)
    assert_allclose(there, flip(Z, w, targets, intercept), rtol=0, atol=1e-9 * size)


@settings(max_examples=50)
@given(problems(1, 3))
def test_a_target_may_point_the_other_way_and_so_may_the_hyperplane(problem):
    Z, w, targets, intercept, size = problem
    expected = flip(Z, w, targets, intercept)
    assert_allclose(flip(Z, w, -targets, intercept), expected, rtol=0, atol=1e-10 * size)
    assert_allclose(flip(Z, -w, targets, -intercept), expected, rtol=0, atol=1e-10 * size)


@settings(max_examples=100)
@given(problems(1, 3), st.integers(0, 10**6))
def test_what_is_held_twice_or_is_zero_or_follows_from_the_rest_changes_nothing(problem, seed):
    Z, w, targets, intercept, size = problem
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(2, len(targets))) @ targets
    more = np.vstack([targets, 3 * targets, np.zeros_like(targets), mixed])[rng.permutation(3 * len(targets) + 2)]
    assert_allclose(
        flip(Z, w, more, intercept), flip(Z, w, targets, intercept), rtol=0, atol=1e-8 * size / share_left(w, targets)
    )


def test_zeros_alone_hold_nothing():
    Z, w = np.random.default_rng(0).normal(size=(5, 3)), np.array([1.0, 2.0, 0.5])
    for nothing in (np.zeros(3), np.zeros((2, 3)), np.zeros((0, 3))):
        assert_array_equal(latent_flip(Z, w, nothing, max_stretch=1), latent_flip(Z, w))


@settings(max_examples=50)
@given(problems())
def test_float32_rows_stay_float32_and_all_others_become_float64(problem):
    Z, w, targets, intercept, size = problem
    narrow = flip(Z.astype(np.float32), w, targets, intercept)
    assert narrow.dtype == np.float32
    assert_allclose(narrow, flip(Z, w, targets, intercept), rtol=0, atol=1e-4 * size)
    whole = np.round(Z).astype(int)
    assert flip(whole, w, targets).dtype == np.float64
    assert_array_equal(flip(whole, w, targets), flip(whole.astype(float), w, targets))
    assert_array_equal(flip(whole.tolist(), w.tolist(), targets.tolist()), flip(whole, w, targets))


@settings(max_examples=50)
@given(problems())
def test_nothing_that_was_passed_is_changed(problem):
    Z, w, targets, intercept, _ = problem
    before = Z.copy(), w.copy(), targets.copy()
    there = flip(Z, w, targets, intercept)
    there += 1
    for now, then in zip((Z, w, targets), before, strict=True):
        assert_array_equal(now, then)
    kept = latent_flip(Z, w, w, on_parallel="clip")
    kept += 1
    assert_array_equal(Z, before[0])


# ---------------------------------------------------------------- how far is too far


def at_angle(degrees, n_latent=5, seed=0):
    """Rows, and two unit directions at an angle."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(n_latent, n_latent)))[0].T
    angle = np.radians(degrees)
    return rng.normal(size=(8, n_latent)), np.cos(angle) * basis[0] + np.sin(angle) * basis[1], basis[0]


def lengths(Z, there):
    return np.linalg.norm(there - Z, axis=1)


@settings(max_examples=60)
@given(st.floats(0.5, 89), st.floats(1, 200), st.integers(0, 1000))
def test_a_step_may_be_max_stretch_times_as_long_and_no_longer(degrees, max_stretch, seed):
    Z, w, a = at_angle(degrees, seed=seed)
    stretch = 1 / np.sin(np.radians(degrees))
    assume(abs(stretch / max_stretch - 1) > 1e-6)
    plain = lengths(Z, latent_flip(Z, w))
    clipped = latent_flip(Z, w, a, max_stretch=max_stretch, on_parallel="clip")
    assert_allclose(lengths(Z, clipped), min(stretch, max_stretch) * plain, rtol=1e-6)
    assert_allclose(clipped @ a, Z @ a, rtol=0, atol=1e-9 * max_stretch)
    part = min(1.0, max_stretch / stretch)
    assert_allclose(clipped @ w, (1 - 2 * part) * (Z @ w), rtol=0, atol=1e-9 * max_stretch)
    if stretch < max_stretch:
        assert_array_equal(latent_flip(Z, w, a, max_stretch=max_stretch), clipped)
        return
    with pytest.raises(ValueError, match="sensitive_direction lies in the span of target_direction"):
        latent_flip(Z, w, a, max_stretch=max_stretch)


@pytest.mark.parametrize("degrees", [1.0, 1e-2, 1e-4, 1e-6])
def test_steps_are_cut_to_the_same_length_however_parallel_the_directions_are(degrees):
    Z, w, a = at_angle(degrees)
    clipped = latent_flip(Z, w, a, max_stretch=3, on_parallel="clip")
    assert_allclose(lengths(Z, clipped), 3 * lengths(Z, latent_flip(Z, w)), rtol=1e-6)
    assert_allclose(clipped @ a, Z @ a, rtol=0, atol=1e-12)
    projected = latent_flip(Z, w, a, max_stretch=3, on_parallel="clip", factor=1)
    assert_allclose(lengths(Z, projected), 1.5 * lengths(Z, latent_flip(Z, w)), rtol=1e-6)


@pytest.mark.parametrize("targets", [[2.0], [-0.5], [1.0, 1.0], [0.0, 3.0]])
def test_rows_stay_where_what_moves_is_what_is_held(targets):
    Z, w, _ = at_angle(30)
    held = np.outer(targets, w)
    assert_array_equal(latent_flip(Z, w, held, on_parallel="clip"), Z)
    with pytest.raises(ValueError, match=r"up to an angle of 0\.00 degrees.*max_stretch=10\.0.*on_parallel='clip'"):
        latent_flip(Z, w, held)


def test_rows_stay_where_the_targets_span_everything():
    rng = np.random.default_rng(0)
    Z, w = rng.normal(size=(5, 3)), rng.normal(size=3)
    assert_array_equal(latent_flip(Z, w, rng.normal(size=(4, 3)), on_parallel="clip"), Z)
    with pytest.raises(ValueError, match="lies in the span of target_direction"):
        latent_flip(Z, w, np.eye(3))


def test_the_error_says_how_long_the_step_would_be():
    Z, w, a = at_angle(2)
    with pytest.raises(ValueError, match=r"up to an angle of 2\.00 degrees: .* 28\.7 times as long, max_stretch=10\.0"):
        latent_flip(Z, w, a)
    assert_allclose(latent_flip(Z, w, a, max_stretch=29) @ w, -(Z @ w), atol=1e-10)


def test_directions_that_are_orthogonal_need_no_stretch():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        Z, w, a = rng.normal(size=(3, 4)), rng.normal(size=4), rng.normal(size=4)
        latent_flip(Z, w, a - (a @ w) / (w @ w) * w, max_stretch=1)


def test_rows_stay_where_the_directions_are_parallel_whatever_the_stretch():
    rng = np.random.default_rng(0)
    Z, w = rng.normal(size=(3, 4)), rng.normal(size=4)
    assert_array_equal(latent_flip(Z, w, 3 * w, max_stretch=1e20, on_parallel="clip"), Z)


@pytest.mark.parametrize(("w_scale", "target_scale"), [(1e200, 1), (1e-200, 1), (1, 1e200), (1, 1e-200)])
def test_the_length_of_extreme_directions_does_not_matter(w_scale, target_scale):
    Z, w, a = at_angle(40)
    assert_allclose(latent_flip(Z, w * w_scale, a * target_scale), latent_flip(Z, w, a), atol=1e-9)


# ---------------------------------------------------------------- what is given


def test_it_takes_what_a_linear_model_of_scikit_learn_learned():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(200, 4))
    group, label = (Z[:, 0] + 0.5 * Z[:, 1] + 0.3 > 0).astype(int), (Z[:, 1] + Z[:, 2] > 0).astype(int)
    g, t = (LogisticRegression().fit(Z, y) for y in (group, label))
    there = latent_flip(Z, g.coef_, t.coef_, intercept=g.intercept_[0])
    assert_allclose(g.decision_function(there), -g.decision_function(Z), atol=1e-9)
    assert_allclose(t.decision_function(there), t.decision_function(Z), atol=1e-9)
    assert (g.predict(there) != g.predict(Z)).all()


GOOD = {"Z": np.ones((3, 2)), "sensitive_direction": [1.0, 0.0], "target_direction": [1.0, 1.0]}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"Z": [1.0, 2.0]}, "Expected 2D array"),
        ({"Z": [[1.0, np.nan]]}, "Input Z contains NaN"),
        ({"sensitive_direction": [1.0]}, r"sensitive_direction has shape \(1,\); expected directions of 2 numbers"),
        ({"sensitive_direction": 1.0}, r"sensitive_direction has shape \(\)"),
        ({"sensitive_direction": [0.0, 0.0]}, r"sensitive_direction=\[0\.0, 0\.0\]: expected one .* not zero"),
        ({"sensitive_direction": np.eye(2)}, r"(?s)sensitive_direction=array\(.*\): expected one direction"),
        ({"sensitive_direction": [1.0, np.nan]}, "sensitive_direction contains NaN or infinity"),
        ({"target_direction": [1.0, 2.0, 3.0]}, r"target_direction has shape \(3,\); expected directions of 2"),
        ({"target_direction": np.ones((1, 1, 2))}, r"target_direction has shape \(1, 1, 2\)"),
        ({"target_direction": [1.0, np.inf]}, "target_direction contains NaN or infinity"),
        ({"intercept": np.nan}, "intercept=nan: expected a finite number"),
        ({"intercept": np.inf}, "intercept=inf: expected a finite number"),
        ({"intercept": "0"}, "intercept='0': expected a finite number"),
        ({"intercept": True}, "intercept=True: expected a finite number"),
        ({"factor": -1.0}, "factor=-1.0: expected a finite number >= 0"),
        ({"factor": np.inf}, "factor=inf: expected a finite number >= 0"),
        ({"factor": None}, "factor=None: expected a finite number >= 0"),
        ({"max_stretch": 0.9}, "max_stretch=0.9: expected a finite number >= 1"),
        ({"max_stretch": np.inf}, "max_stretch=inf: expected a finite number >= 1"),
        ({"on_parallel": "ignore"}, "on_parallel='ignore': expected 'raise' or 'clip'"),
        ({"on_parallel": None}, "on_parallel=None: expected 'raise' or 'clip'"),
    ],
)
def test_bad_input_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        latent_flip(**{**GOOD, **wrong})


def test_the_intercept_of_a_linear_model_is_taken():
    expected = latent_flip(**GOOD, intercept=0.5)
    assert_array_equal(latent_flip(**GOOD, intercept=np.array([0.5])), expected)
    with pytest.raises(ValueError, match="intercept=array"):
        latent_flip(**GOOD, intercept=np.array([0.5, 0.5]))


def test_an_infinite_intercept_is_refused():
    with pytest.raises(ValueError, match="intercept=-inf: expected a finite number"):
        latent_flip(**GOOD, intercept=-np.inf)


@pytest.mark.parametrize("name", ["sensitive_direction", "target_direction"])
def test_directions_that_are_no_numbers_are_named(name):
    with pytest.raises(ValueError, match=name):
        latent_flip(**{**GOOD, name: ["a", "b"]})
