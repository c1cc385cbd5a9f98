"""Readers of a counterfactual's attributes, and judges of a map."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_fairlatent import _readers as readers_module
from sklearn_fairlatent._readers import Judges, fit_panel, live_columns, score_loss

from .variables import THREE, TWO, VARIABLES, _codes, _rows


@pytest.fixture(scope="module")
def read():
    """Rows to learn from and others, and a panel that learnt, with a dead column."""
    rng = np.random.default_rng(0)
    variables = VARIABLES["all"]
    codes = _codes(variables, 1000, rng)
    X = _rows(variables, codes, 10, rng, strength=2.0)
    X[:, 3] = 1e-33 * rng.normal(size=len(X))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers_module, "READER_STEPS", 150)
        generator = torch.Generator().manual_seed(0)
        panel = fit_panel(
            X[:600], variables, codes[:600], device="cpu", generator=generator, rng=np.random.RandomState(0)
        )
    return panel, variables, X, codes


def test_a_panel_reads_rows_that_it_did_not_learn_from(read):
    panel, variables, X, codes = read
    new, told = X[600:], codes[600:]
    assert panel.names == [variable.name for variable in variables]
    assert (panel.read(new, "two") == told[:, 0]).mean() > 0.8
    assert (panel.read(new, "three") == told[:, 1]).mean() > 0.7
    assert np.corrcoef(panel.read(new, "num.ber"), told[:, 2])[0, 1] > 0.7
    # And from rows in another order nothing.
    shuffled = np.random.default_rng(0).permutation(new)
    assert (panel.read(shuffled, "two") == told[:, 0]).mean() < 0.6
    assert abs(np.corrcoef(panel.read(shuffled, "num.ber"), told[:, 2])[0, 1]) < 0.15


def test_scores_and_margins_of_a_panel(read):
    panel, variables, X, codes = read
    new = X[600:]
    n_readers = len(panel.readers.members)
    assert n_readers == len(readers_module.LINEAR_STRENGTHS) + readers_module.N_NETWORKS + readers_module.N_ADDITIVE
    for variable in variables:
        assert panel.scores(new, variable.name).shape == (n_readers, 400, variable.n_groups or 1)
    right, wrong = (panel.margin(new, "two", code) for code in (codes[600:, 0], 1 - codes[600:, 0]))
    assert_allclose(right, -wrong, atol=1e-5)
    assert right.mean() > 0.5
    near, far = (panel.margin(new, "num.ber", codes[600:, 2] + by) for by in (0.0, 3.0))
    assert (far < near).mean() > 0.95
    assert near.max() <= 0


def test_linear_weights_are_the_gradients_of_the_linear_readers(read):
    panel, variables, X, _ = read
    weights = panel.linear_weights()
    n_linear = len(readers_module.LINEAR_STRENGTHS)
    step = np.random.default_rng(0).normal(size=10) * (np.arange(10) != 3)
    for variable in variables:
        change = (panel.scores(X + step, variable.name) - panel.scores(X, variable.name))[:n_linear].mean(1)
        assert_allclose((step @ weights[variable.name]).reshape(n_linear, -1), change, atol=1e-3)
        assert np.abs(change).max() > 0.05


def test_readers_do_not_see_a_dead_column(read):
    panel, _, X, _ = read
    assert_array_equal(live_columns(X), np.arange(10) != 3)
    changed = X.copy()
    changed[:, 3] = 1e6
    assert_array_equal(panel.scores(changed, "two"), panel.scores(X, "two"))
    changed[:, 4] += 1.0
    assert np.abs(panel.scores(changed, "two") - panel.scores(X, "two")).max() > 1e-3


def test_constant_columns_are_dead_whatever_rounding_makes_of_them():
    X = np.random.default_rng(0).normal(size=(1000, 4))
    X[:, 1], X[:, 2] = 0.1, 1e-33 * X[:, 2]
    assert_array_equal(live_columns(X), [True, False, False, True])


def test_a_column_in_a_small_unit_is_alive():
    X = np.random.default_rng(0).normal(size=(100, 2)) * [1e5, 0.02]
    assert live_columns(X).all()


def test_rows_without_a_code_teach_readers_and_judges_nothing():
    rng = np.random.default_rng(0)
    codes = _codes([TWO], 300, rng)
    X = _rows([TWO], codes, 5, rng)
    gaps, garbage = np.r_[codes, np.full((100, 1), np.nan)], np.r_[X, X.mean(0) + 3 * rng.normal(size=(100, 5))]
    judges = Judges(garbage, [TWO], gaps, np.random.RandomState(0))
    assert_array_equal(judges.verdicts(X, "two"), Judges(X, [TWO], codes, np.random.RandomState(0)).verdicts(X, "two"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers_module, "READER_STEPS", 60)
        generator = torch.Generator().manual_seed(0)
        panel = fit_panel(garbage, [TWO], gaps, device="cpu", generator=generator, rng=np.random.RandomState(0))
    assert np.isfinite(panel.scores(X, "two")).all()
    assert (panel.read(X, "two") == codes[:, 0]).mean() > 0.7


def test_a_group_that_the_rows_lack_is_not_read():
    rng = np.random.default_rng(0)
    codes = rng.integers(2, size=(200, 1)).astype(float)
    X = _rows([THREE], codes, 5, rng, strength=3.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers_module, "READER_STEPS", 60)
        generator = torch.Generator().manual_seed(0)
        panel = fit_panel(X, [THREE], codes, device="cpu", generator=generator, rng=np.random.RandomState(0))
    assert set(panel.read(X, "three")) == {0.0, 1.0}


def test_judges_are_two_kinds_of_models_of_other_rows():
    rng = np.random.default_rng(0)
    variables = VARIABLES["all"]
    codes = _codes(variables, 600, rng)
    X = _rows(variables, codes, 8, rng, strength=2.0)
    judges = Judges(X[:300], variables, codes[:300], np.random.RandomState(0))
    for k, least in ((0, 0.8), (1, 0.6)):
        verdicts = judges.verdicts(X[300:], variables[k].name)
        assert verdicts.shape == (2, 300)
        assert ((verdicts == codes[300:, k]).mean(axis=1) > least).all()
        assert (verdicts[0] != verdicts[1]).any()
    numbers = judges.verdicts(X[300:], "num.ber")
    assert all(np.corrcoef(told, codes[300:, 2])[0, 1] > 0.6 for told in numbers)
    alone = Judges(X[:50], [TWO], np.ones((50, 1)), np.random.RandomState(0))
    # Of one group there are two as well: halves that see more groups are put beside those that do not.
    assert_array_equal(alone.verdicts(X, "two"), np.ones((2, 600)))


def test_losses_of_scores_are_cross_entropy_and_half_the_squared_error():
    generator = torch.Generator().manual_seed(0)
    scores, codes = torch.randn(2, 7, 3, generator=generator), torch.arange(7) % 3
    expected = torch.stack([torch.nn.functional.cross_entropy(own, codes, reduction="none") for own in scores])
    assert_allclose(score_loss(scores, codes.float()), expected, rtol=1e-6)
    assert_allclose(score_loss(scores[..., :1], codes.float()), 0.5 * (scores[..., 0] - codes) ** 2, rtol=1e-6)
