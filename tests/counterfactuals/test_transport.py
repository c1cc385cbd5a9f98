"""Counterfactuals by optimal transport: between distributions, beside the other variables, there and back."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_fairlatent._attributes import Variable
from sklearn_fairlatent._counterfactual_map import _some_of_all
from sklearn_fairlatent._group_maps import transport_maps
from sklearn_fairlatent.datasets import make_biased_latents

from .samples import _small, _trained
from .variables import NUMBER, THREE, TWO, _assert_there_and_back, _codes, _rows

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
]


def _groups(n, n_groups, d=4, *, seed=0):
    """Rows of normal distributions, each of its own mean and covariance, with their codes."""
    rng = np.random.default_rng(seed)
    code = np.arange(n) % n_groups
    mixing = np.eye(d) + 0.25 * rng.normal(size=(n_groups, d, d))
    return rng.normal(size=(n_groups, d))[code] + np.einsum("ni,nij->nj", rng.normal(size=(n, d)), mixing[code]), code


def _maps(X, variables, codes, k=0):
    return transport_maps(X, variables, codes, k, np.ones(X.shape[1]))


LABEL = Variable("label", "groups", categories=np.array([0, 1]))

# ---------------------------------------------------------------- between distributions


@pytest.mark.parametrize("variable", [TWO, THREE])
def test_rows_become_alike_to_those_they_join(variable):
    X, code = _groups(6000, variable.n_groups)
    maps = _maps(X, [variable], code[:, None].astype(float))
    for source in range(variable.n_groups):
        own = np.full((code == source).sum(), float(source))
        for goal in range(variable.n_groups):
            moved, real = maps.move(X[code == source], own, np.full(len(own), float(goal))), X[code == goal]
            assert_allclose(moved.mean(0), real.mean(0), atol=0.01)
            # The covariances are shrunk a little.
            assert np.abs(np.cov(moved.T) - np.cov(real.T)).max() < 0.03 * np.cov(real.T).max()
            if source != goal:
                # Negative control: a shift of the means leaves the covariance as it was.
                assert np.abs(np.cov(X[code == source].T) - np.cov(real.T)).max() > 0.2 * np.cov(real.T).max()


def test_between_two_groups_it_is_the_shortest_way():
    X, code = _groups(6000, 2)
    source, goal = (np.cov(X[code == k].T, bias=True) for k in (0, 1))
    own = np.zeros((code == 0).sum())
    moved = _maps(X, [TWO], code[:, None].astype(float)).move(X[code == 0], own, own + 1)
    found = ((moved - X[code == 0]) ** 2).sum(1).mean()
    # The squared Wasserstein distance of two normal distributions: that of the means and that of Bures.
    root = np.linalg.cholesky(source)
    cross = np.sqrt(np.linalg.eigvals(root.T @ goal @ root).real).sum()
    distance = ((X[code == 0].mean(0) - X[code == 1].mean(0)) ** 2).sum() + np.trace(source + goal) - 2 * cross
    assert found == pytest.approx(distance, rel=0.01)
    # Whitening and colouring reach the same distribution by a longer way.
    centred = X[code == 0] - X[code == 0].mean(0)
    other = centred @ np.linalg.inv(root).T @ np.linalg.cholesky(goal).T + X[code == 1].mean(0)
    assert ((other - X[code == 0]) ** 2).sum(1).mean() > 1.005 * distance


@settings(max_examples=30)
@given(st.sampled_from([TWO, THREE]), st.sampled_from([0.01, 1.0, 100.0]), st.integers(3, 8), st.integers(0, 2**32 - 1))
def test_transport_is_exact_there_and_back(variable, scale, d, seed):
    X, code = _groups(60, variable.n_groups, d, seed=seed)
    X *= scale
    maps = transport_maps(X, [variable], code[:, None].astype(float), 0, X.std(0))
    there, moves = _assert_there_and_back(maps, X, variable.n_groups, np.random.default_rng(seed))
    assert (np.abs(there - X)[moves].max(axis=1) > 1e-9 * scale).all()


@pytest.mark.parametrize("d", [30, 80])
def test_few_rows_and_columns_that_repeat_others(d):
    variables = [TWO, NUMBER]
    rng = np.random.default_rng(0)
    codes = _codes(variables, 40, rng)
    X = _rows(variables, codes, d, rng)
    X[:, 3], X[:, 4] = X[:, 0] + X[:, 1], 7.0
    maps = transport_maps(X, variables, codes, 0, np.where(X.std(0) > 0, X.std(0), 1.0))
    own = codes[:, 0]
    there = maps.move(X, own, 1 - own)
    assert np.isfinite(there).all()
    assert_allclose(maps.move(there, 1 - own, own), X, atol=1e-7 * np.abs(X).max())
    # What the columns have in common stays so.
    assert_allclose(there[:, 3], there[:, 0] + there[:, 1], atol=1e-7)
    assert_allclose(there[:, 4], 7.0)
    assert np.abs(there - X).max() > 0.1


@pytest.mark.parametrize("left", [0, 1])
def test_a_group_of_no_or_one_row_is_where_all_are(left):
    X, code = _groups(200, 3)
    rows = np.r_[np.flatnonzero(code < 2), np.flatnonzero(code == 2)[:left]]
    codes = code[rows, None].astype(float)
    maps = _maps(X[rows], [THREE], codes)
    there = maps.move(X[rows], codes[:, 0], np.full(len(rows), 2.0))
    assert np.isfinite(there).all()
    assert_allclose(there[codes[:, 0] == 0].mean(0), X[rows].mean(0) if left == 0 else X[rows[-1]], atol=1e-6)


def test_a_group_of_equal_rows_and_a_column_that_is_constant_in_one():
    X, code = _groups(400, 3)
    rows = np.r_[np.flatnonzero(code < 2), np.flatnonzero(code == 2)[:3]]
    X, codes = X[rows].copy(), code[rows, None].astype(float)
    X[codes[:, 0] == 2] = 1.0
    X[codes[:, 0] == 0, 1] = 0.0
    maps = _maps(X, [THREE], codes)
    for goal in range(3):
        there = maps.move(X, codes[:, 0], np.full(len(X), float(goal)))
        assert np.abs(there).max() < 3 * np.abs(X).max()
    # A new row that is not 0 in that column does not go far.
    new = X[codes[:, 0] == 0][:1] + [[0.0, 1.0, 0.0, 0.0]]
    assert np.abs(maps.move(new, np.zeros(1), np.ones(1))).max() < 10 * np.abs(X).max()


@pytest.mark.parametrize("fixed", [None, [1, 2]])
def test_what_the_group_determines_is_shifted(fixed):
    group = np.arange(200) % 2
    X = np.column_stack([group, np.arange(200) % 3, np.arange(200) % 5]).astype(float)
    X = X if fixed else X[:, [0, 0]]
    A = pd.DataFrame({"group": group})
    fair = _trained(X, None, A, counterfactual_map="transport", immutable_features=fixed)
    moved = fair.counterfactual(X, "group", sensitive_features=A)
    assert_allclose(moved[:, 0], 1 - group, atol=1e-9)


def test_a_rare_group_has_rows_in_the_sample():
    code = np.zeros(30_000)
    code[:2], code[2:20_000] = 2, 1
    # A number with rare values is no group.
    codes = np.column_stack([code, np.arange(30_000) < 50])
    some = _some_of_all(np.arange(30_000), [THREE, NUMBER], codes, np.random.RandomState(0))
    assert {0, 1} <= set(some)
    assert len(some) == len(set(some)) <= 10_002
    few = np.arange(0, 30_000, 10)
    assert_array_equal(_some_of_all(few, [THREE, NUMBER], codes, np.random.RandomState(0)), few)


# ---------------------------------------------------------------- beside the other variables


def test_what_another_variable_explains_does_not_move():
    rng = np.random.default_rng(0)
    label = np.arange(8000) % 2
    group = (rng.random(8000) < 0.2 + 0.6 * label).astype(float)
    # Mean and spread hang on the label alone.
    X = rng.normal(size=(8000, 3)) * np.where(label == 1, 2.0, 0.5)[:, None] + 3.0 * label[:, None]
    codes = np.column_stack([group, label])
    steps = {
        names: np.sqrt(((_maps(X, variables, told).move(X, group, 1 - group) - X) ** 2).mean())
        for names, variables, told in (("both", [TWO, LABEL], codes), ("alone", [TWO], codes[:, :1]))
    }
    assert steps["both"] < 0.1
    # Negative control: the group alone seems to move everything.
    assert steps["alone"] > 1.0


def test_a_variable_that_is_constant_in_a_group_tells_nothing_there():
    X, code = _groups(400, 2)
    X += 10
    # All rows of one group have one label; in the other it explains nothing.
    label = np.where(code == 0, np.arange(400) % 4 // 2, 1.0)
    codes = np.column_stack([code, label]).astype(float)
    moved = _maps(X, [TWO, LABEL], codes).move(X, codes[:, 0], 1 - codes[:, 0])
    for group in (0, 1):
        assert np.abs(moved[code == group].mean(0) - X[code != group].mean(0)).max() < 0.5


@pytest.mark.filterwarnings("error")
def test_two_variables_that_are_known_of_different_rows():
    X, code = _groups(300, 2)
    codes = np.column_stack([code, code[::-1]]).astype(float)
    codes[:150, 0], codes[150:, 1] = np.nan, np.nan
    for k in (0, 1):
        known = ~np.isnan(codes[:, k])
        moved = _maps(X, [TWO, LABEL], codes, k).move(X[known], codes[known, k], 1 - codes[known, k])
        assert np.isfinite(moved).all()


def test_missing_codes_are_left_out():
    X, code = _groups(300, 2)
    codes = np.column_stack([code.astype(float), np.random.default_rng(0).normal(size=300)])
    X[:20] += 100.0
    codes[:20, 0], codes[20:40, 1] = np.nan, np.nan
    maps = _maps(X, [TWO, NUMBER], codes)
    same = _maps(X[20:], [TWO, NUMBER], codes[20:])
    assert_array_equal(maps.matrices, same.matrices)
    assert_array_equal(maps.offsets, same.offsets)


def test_a_number_moves_along_its_slope():
    rng = np.random.default_rng(0)
    codes = np.column_stack([rng.normal(size=2000), np.arange(2000) % 2])
    codes[:, 0] += codes[:, 1]
    slope = np.array([1.0, -2.0, 0.0])
    X = codes[:, :1] * slope + 5.0 * codes[:, 1:] + 0.1 * rng.normal(size=(2000, 3))
    maps = _maps(X, [NUMBER, TWO], codes)
    wanted = rng.permutation(codes[:, 0])
    there = maps.move(X, codes[:, 0], wanted)
    assert_allclose(there - X, (wanted - codes[:, 0])[:, None] * slope, atol=0.05)
    assert_allclose(maps.move(there, wanted, codes[:, 0]), X, atol=1e-12)


# ---------------------------------------------------------------- through the transformer


def test_transport_is_nearer_to_the_truth_than_a_shift_of_the_means():
    data = make_biased_latents(4000, random_state=0)
    X, A, s = data.data, data.sensitive_features, data.sensitive_features["group"].to_numpy()
    fair = _trained(X[:3000], data.target[:3000], A[:3000], counterfactual_map="transport")
    assert {found.kind for found in fair.counterfactual_map_.maps.values()} == {"transport"}
    truth = data.truth.counterfactual("group")[3000:]
    moved = fair.counterfactual(X[3000:], "group", sensitive_features=A[3000:])
    means = np.stack([X[:3000][s[:3000] == group].mean(0) for group in (0, 1)])
    shifted = X[3000:] + (means[::-1] - means)[s[3000:]]
    error, of_shift = (np.linalg.norm(rows - truth, axis=1).mean() for rows in (moved, shifted))
    assert error < 0.75 * of_shift
    # Negative control: rows of other people are further away than the row itself.
    assert np.linalg.norm(np.roll(moved, 1, axis=0) - truth, axis=1).mean() > of_shift


def test_transport_goes_there_and_back_and_part_of_the_way():
    X, y, A = _small()
    fair = _trained(X, y, A, counterfactual_map="transport")
    moved = fair.counterfactual(X, "group", sensitive_features=A)
    assert_allclose(fair.counterfactual(moved, "group", sensitive_features=1 - A), X, atol=1e-8)
    assert_array_equal(fair.counterfactual(X, "group", A["group"].to_numpy(), sensitive_features=A), X)
    half = fair.counterfactual(X, "group", sensitive_features=A, step=0.5)
    assert_allclose(half, (X + moved) / 2, atol=1e-9)
    label = fair.counterfactual(X, "target", 1)
    assert (fair.counterfactual_map_.panel.read(label, "target") == 1).mean() > 0.8
