"""The disparity of decisions against fairlearn's metrics, and the traps of its published code."""

import numpy as np
import pytest
import torch
from fairlearn.metrics import MetricFrame, false_negative_rate, false_positive_rate, selection_rate
from hypothesis import given
from hypothesis import strategies as st

from sklearn_fairlatent.stitching._constraints import disparity, means_by

CASES = st.tuples(st.integers(0, 2**31 - 1), st.integers(20, 200))


def drawn(case, n_groups=2, n_classes=2):
    """Decisions, losses, labels, groups of random rows, with every cell present."""
    seed, n = case
    rng = np.random.RandomState(seed)
    cells = np.r_[np.arange(n_groups * n_classes), rng.randint(n_groups * n_classes, size=n)]
    label, groups = cells % n_classes, cells // n_classes
    return rng.randint(n_classes, size=len(cells)), rng.exponential(size=len(cells)), label, groups


def measured(decided, nll, label, groups, constraint, n_groups=2, n_classes=2, weights=None, pos_label=None):
    rates = torch.nn.functional.one_hot(torch.as_tensor(decided), n_classes).double()
    weights = torch.ones(len(label), dtype=torch.float64) if weights is None else torch.as_tensor(weights)
    return float(
        disparity(
            rates, torch.as_tensor(nll), torch.as_tensor(label), torch.as_tensor(groups), n_groups, weights, constraint,
            pos_label,
        )
    )  # fmt: skip


def gaps(decided, label, groups):
    """fairlearn's differences of three rates, from one frame: to make one costs more than all it measures."""
    rates = {rate.__name__: rate for rate in (false_positive_rate, false_negative_rate, selection_rate)}
    return MetricFrame(metrics=rates, y_true=label, y_pred=decided, sensitive_features=groups).difference()


@given(CASES)
def test_two_groups_and_two_classes_are_fairlearns_rates(case):
    decided, nll, label, groups = drawn(case)
    fpr, fnr, selected = gaps(decided, label, groups)
    assert measured(decided, nll, label, groups, "equalized_odds") == pytest.approx(fpr + fnr, abs=1e-12)
    found = measured(decided, nll, label, groups, "true_positive_rate_parity", pos_label=1)
    assert found == pytest.approx(fnr, abs=1e-12)
    found = measured(decided, nll, label, groups, "true_positive_rate_parity", pos_label=0)
    assert found == pytest.approx(fpr, abs=1e-12)
    found = measured(decided, nll, label, groups, "demographic_parity")
    assert found == pytest.approx(selected, abs=1e-12)


@given(CASES)
def test_losses_of_groups_and_cells(case):
    decided, nll, label, groups = drawn(case)
    of_group = [nll[groups == g].mean() for g in (0, 1)]
    assert measured(decided, nll, label, groups, "accuracy_equality") == pytest.approx(abs(np.diff(of_group)[0]))
    cells = [nll[(groups == g) & (label == k)].mean() for g in (0, 1) for k in (0, 1)]
    assert measured(decided, nll, label, groups, "max_min") == pytest.approx(max(cells))


@given(CASES, st.sampled_from(["equalized_odds", "demographic_parity", "accuracy_equality", "max_min"]))
def test_bounds_and_invariance(case, constraint):
    decided, nll, label, groups = drawn(case, n_groups=3, n_classes=4)
    sizes = {"n_groups": 3, "n_classes": 4}
    found = measured(decided, nll, label, groups, constraint, **sizes)
    assert found >= 0
    if constraint in ("equalized_odds", "demographic_parity"):
        assert found <= 2
    order = np.random.RandomState(0).permutation(len(label))
    shuffled = [part[order] for part in (decided, nll, label, groups)]
    assert measured(*shuffled, constraint, **sizes) == pytest.approx(found, abs=1e-12)
    # Groups have no order, and a row of weight two is two rows.
    assert measured(decided, nll, label, 2 - groups, constraint, **sizes) == pytest.approx(found, abs=1e-12)
    weights = np.where(np.arange(len(label)) % 3 == 0, 2.0, 1.0)
    twice = np.repeat(np.arange(len(label)), weights.astype(int))
    repeated = [part[twice] for part in (decided, nll, label, groups)]
    weighted = measured(decided, nll, label, groups, constraint, weights=weights, **sizes)
    assert weighted == pytest.approx(measured(*repeated, constraint, **sizes), abs=1e-12)


@given(CASES)
def test_rows_of_unknown_group_are_left_out(case):
    decided, nll, label, groups = drawn(case)
    unknown = [np.r_[part, more] for part, more in zip((decided, nll, label, groups), (1, 99.0, 1, -1), strict=True)]
    for constraint in ("equalized_odds", "demographic_parity", "accuracy_equality", "max_min"):
        told = measured(decided, nll, label, groups, constraint)
        assert measured(*unknown, constraint) == pytest.approx(told, abs=1e-12)


def test_three_groups_are_measured_from_their_middle():
    decided = np.array([0, 1, 0, 1, 1, 1])
    groups = np.array([0, 0, 1, 1, 2, 2])
    # Rates 1/2, 1/2, 1: middle 2/3, mean distance 2/9.
    found = measured(decided, np.ones(6), np.zeros(6, dtype=int), groups, "demographic_parity", n_groups=3)
    assert found == pytest.approx(4 / 9)


def test_rates_divide_by_the_count_of_label_and_group():
    """Equal rates within labels, other shares of labels: divided by the group's size they would differ by .3."""
    label = np.r_[np.repeat([1, 0], [80, 20]), np.repeat([1, 0], [20, 80])]
    groups = np.repeat([0, 1], 100)
    decided = np.zeros(200, dtype=int)
    for g in (0, 1):
        for k in (0, 1):
            cell = np.flatnonzero((groups == g) & (label == k))
            decided[cell[: len(cell) // 2]] = 1
    assert measured(decided, np.ones(200), label, groups, "equalized_odds") == pytest.approx(0, abs=1e-12)
    by_group_size = [((decided == 0) & (label == 1) & (groups == g)).sum() / 100 for g in (0, 1)]
    assert abs(by_group_size[0] - by_group_size[1]) == pytest.approx(0.3)


@pytest.mark.parametrize("constraint", ["equalized_odds", "demographic_parity", "accuracy_equality"])
def test_a_batch_of_one_row_says_nothing_about_groups(constraint):
    """Why batches are large and stratified: no gap between a group and nobody."""
    logits = torch.tensor([[0.3, -0.2]], dtype=torch.float64, requires_grad=True)
    one = torch.zeros(1, dtype=torch.int64)
    found = disparity(torch.softmax(logits, 1), logits[:, 0], one, one, 2, torch.ones(1).double(), constraint, None)
    assert float(found) == 0
    assert not found.requires_grad


def test_means_of_what_is_not_there():
    means, present = means_by(torch.ones(3, 1), torch.tensor([0, 2, -1]), 4, torch.ones(3))
    assert present.tolist() == [True, False, True, False]
    assert torch.isfinite(means).all()
