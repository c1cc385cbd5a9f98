"""The dependence measure against a naive version and known cases, and the other terms of the objective."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.metrics import log_loss

from sklearn_fairlatent._losses import (
    NOISE,
    dependence,
    design_loss,
    gaussian_nll,
    label_loss,
    random_directions,
    rate_gap,
    soft_decisions,
)

AXIS = torch.ones(1, 1, dtype=torch.float64)


def tensor(values):
    return torch.as_tensor(np.asarray(values, dtype=np.float64))


def measure(Z, members, *, strata=None, weights=None, directions=None):
    """The measure in float64, on the axes unless told otherwise."""
    Z, members = np.atleast_2d(np.asarray(Z, float).T).T, np.atleast_2d(np.asarray(members, float).T).T
    strata = np.zeros(len(Z), dtype=np.int64) if strata is None else strata
    weights = np.ones(members.shape[1]) if weights is None else weights
    directions = np.eye(Z.shape[1]) if directions is None else directions
    return dependence(tensor(Z), tensor(members), tensor(weights), torch.as_tensor(strata), tensor(directions)).item()


def mean_distance(a, b):
    return np.abs(a[:, None] - b[None, :]).mean()


def naive(z, inside, *, corrected=True):
    """One direction and one comparison by the pairwise distances, and the bias of the estimate."""
    a, b = z[inside == 1], z[inside == 0]
    everyone = np.r_[a, b]
    energy = mean_distance(a, b) - mean_distance(a, a) / 2 - mean_distance(b, b) / 2
    bias = 1 / len(a) + 1 / len(b)
    return energy / (mean_distance(everyone, everyone) / 2) - bias * corrected, bias


def test_agrees_with_the_pairwise_formula():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(60, 2))
    members = np.column_stack([rng.random(60) < 0.4, rng.random(60) < 0.2]).astype(float)
    strata = rng.integers(-1, 2, 60)
    weights = np.array([0.7, 0.3])
    directions = np.column_stack([np.eye(2), [0.6, 0.8]])
    expected = 0.0
    for stratum in (0, 1):
        rows = strata == stratum
        for k, weight in enumerate(weights):
            values = [naive(z, members[rows, k]) for z in (Z[rows] @ directions).T]
            expected += weight * np.mean([v for v, _ in values]) / (1 + NOISE * values[0][1])
    found = measure(Z, members, strata=strata, weights=weights, directions=directions)
    # A mean over the two strata, times the width.
    assert_allclose(found, expected / 2 * Z.shape[1], rtol=1e-9)


# Independence, and the kinds of dependence


@pytest.mark.parametrize(("n", "n_seeds"), [(50, 300), (2000, 100)])
@pytest.mark.parametrize("share", [0.5, 0.2])
def test_is_zero_on_average_under_independence(n, n_seeds, share):
    corrected, uncorrected = [], []
    n_in = int(n * share)
    bias = 1 / n_in + 1 / (n - n_in)
    inside = (np.arange(n) < n_in).astype(float)
    for seed in range(n_seeds):
        z = np.random.default_rng(seed).exponential(size=n)
        statistic = measure(z, inside) * (1 + NOISE * bias)
        corrected.append(statistic)
        uncorrected.append(statistic + bias)
    error = np.std(corrected) / np.sqrt(n_seeds)
    assert error < 0.15 * bias
    assert abs(np.mean(corrected)) < 3 * error + 2 * bias / n
    # Negative control: without the correction, independent groups look as far apart as the bias.
    assert abs(np.mean(uncorrected) - bias) < 3 * error + 2 * bias / n
    assert np.mean(uncorrected) > 6 * error
    assert_allclose(uncorrected[-1], naive(z, inside, corrected=False)[0], rtol=1e-9)


def sample(kind, n=400, seed=0):
    """Latents of two columns and a group that depends on them in one way only."""
    rng = np.random.default_rng(seed)
    inside = np.arange(n) % 2
    Z = rng.normal(size=(n, 2))
    if kind == "mean":
        Z[:, 0] += 0.7 * inside
    elif kind == "variance":
        Z[:, 0] *= 1 + 1.5 * inside
    elif kind == "joint":
        signs = rng.choice([-1, 1], n)
        Z = 0.3 * Z + 2 * np.column_stack([signs, signs * (2 * inside - 1)])
    return Z, inside.astype(float)


SLICES = np.column_stack([np.eye(2), [0.5**0.5, 0.5**0.5], [0.5**0.5, -(0.5**0.5)]])


@pytest.mark.parametrize(
    ("kind", "at_least"), [("independent", None), ("mean", 0.03), ("variance", 0.01), ("joint", 0.03)]
)
def test_sees_every_kind_of_dependence(kind, at_least):
    Z, inside = sample(kind)
    found = measure(Z, inside, directions=SLICES)
    if at_least is None:
        assert abs(found) < 0.01
    else:
        assert found > at_least


@pytest.mark.parametrize("kind", ["variance", "joint"])
def test_linear_measures_see_nothing_there(kind):
    Z, inside = sample(kind)
    assert np.abs(np.corrcoef(Z.T, inside)[2, :2]).max() < 0.1


def test_joint_dependence_is_invisible_on_the_axes():
    Z, inside = sample("joint")
    assert abs(measure(Z, inside)) < 0.01
    assert measure(Z, inside, directions=SLICES) > 0.03


def test_random_directions_find_a_joint_dependence():
    Z, inside = sample("joint")
    directions = random_directions(2, 32, torch.Generator().manual_seed(0), "cpu").numpy()
    assert measure(Z, inside, directions=directions) > 0.03


def test_two_attributes_are_both_seen_with_their_weights():
    Z, inside = sample("mean")
    coin = np.random.default_rng(5).permutation(inside)
    members = np.column_stack([coin, inside])
    alone, noise = measure(Z, inside), measure(Z, coin)
    assert alone > 0.01
    assert_allclose(measure(Z, members, weights=[0.25, 0.75]), 0.25 * noise + 0.75 * alone, rtol=1e-9)
    assert measure(Z, members, weights=[1.0, 0.0]) < alone / 3


# Invariances


@settings(max_examples=30)
@given(
    seed=st.integers(0, 1000),
    scale=st.floats(1e-2, 1e3),
    shift=st.floats(-1e3, 1e3),
    kind=st.sampled_from(["independent", "mean", "variance", "joint"]),
)
def test_invariant_to_order_scale_shift_and_the_side_called_inside(seed, scale, shift, kind):
    Z, inside = sample(kind, n=40, seed=seed)
    strata = np.arange(40) % 3 - 1
    before = measure(Z, inside, strata=strata, directions=SLICES)
    order = np.random.default_rng(seed).permutation(40)
    assert_allclose(
        measure(Z[order], inside[order], strata=strata[order], directions=SLICES), before, rtol=1e-8, atol=1e-10
    )
    assert_allclose(measure(scale * Z + shift, inside, strata=strata, directions=SLICES), before, rtol=1e-6, atol=1e-8)
    assert_allclose(measure(Z, 1 - inside, strata=strata, directions=SLICES), before, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("missing", ["at random", "outlying"])
def test_missing_members_count_like_absent_rows(missing):
    Z, inside = sample("mean", n=80)
    gone = np.arange(0, 80, 4)
    if missing == "outlying":
        Z[gone] += 30
    kept = np.setdiff1d(np.arange(80), gone)
    expected = measure(Z[kept], inside[kept], directions=SLICES)
    inside[gone] = np.nan
    assert_allclose(measure(Z, inside, directions=SLICES), expected, rtol=1e-9)


def test_missing_members_of_one_attribute_leave_the_others_alone():
    Z, inside = sample("mean", n=80)
    other = np.where(np.arange(80) % 5 == 0, np.nan, np.arange(80) % 3 == 0)
    both = measure(Z, np.column_stack([inside, other]), weights=[1.0, 0.0])
    assert_allclose(both, measure(Z, inside), rtol=1e-12)


def test_rows_of_stratum_minus_one_count_like_absent_rows():
    Z, inside = sample("variance", n=80)
    strata = np.where(np.arange(80) % 3 == 0, -1, 0)
    kept = strata == 0
    assert_allclose(measure(Z, inside, strata=strata), measure(Z[kept], inside[kept]), rtol=1e-12)
    assert measure(Z, inside, strata=np.full(80, -1)) == 0.0


def test_strata_hide_what_the_label_explains():
    rng = np.random.default_rng(0)
    label = np.arange(1000) % 2
    inside = (rng.random(1000) < 0.2 + 0.6 * label).astype(float)
    z = rng.normal(size=1000) + 2.0 * label
    assert abs(measure(z, inside, strata=label)) < 0.01
    # Negative control: without the label's strata the groups are far apart.
    assert measure(z, inside) > 0.1
    # And a difference within the label is seen.
    assert measure(z + 0.7 * inside, inside, strata=label) > 0.05


# Small groups and gradients


@pytest.mark.parametrize("n_inside", [0, 1, 39, 40])
def test_groups_of_less_than_two_weigh_nothing(n_inside):
    z = np.random.default_rng(0).normal(size=40)
    inside = (np.arange(40) < n_inside).astype(float)
    assert measure(z + 5 * inside, inside) == 0.0


@pytest.mark.parametrize(("n_inside", "n", "share"), [(1024, 2048, 0.97), (4, 2048, 0.2)])
def test_comparisons_with_few_rows_weigh_less(n_inside, n, share):
    inside = (np.arange(n) < n_inside).astype(float)
    z = np.random.default_rng(0).normal(size=n) + inside
    assert_allclose(measure(z, inside) / naive(z, inside)[0], share, atol=0.01)


def test_a_stratum_of_three_rows_is_left_out():
    Z, inside = sample("mean", n=43)
    strata = np.r_[np.zeros(40, dtype=np.int64), np.ones(3, dtype=np.int64)]
    assert_allclose(measure(Z, inside, strata=strata), measure(Z[:40], inside[:40]), rtol=1e-12)


def test_gradient_agrees_with_finite_differences():
    rng = np.random.default_rng(0)
    Z = tensor(rng.normal(size=(16, 2))).requires_grad_()
    members = tensor(np.column_stack([np.arange(16) % 2, np.arange(16) < 6]))
    members[3, 0] = torch.nan
    strata = torch.as_tensor(np.arange(16) % 3 - 1)

    def objective(Z):
        return dependence(Z, members, tensor([0.5, 1.0]), strata, tensor(SLICES))

    assert objective(Z).item() != 0.0
    assert torch.autograd.gradcheck(objective, (Z,), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("kind", ["ties", "collapsed", "missing", "tiny"])
def test_gradient_is_finite(kind):
    Z, inside = sample("mean", n=40)
    if kind == "ties":
        Z = Z.round()
    elif kind == "collapsed":
        Z[:] = 1.0
    elif kind == "missing":
        inside[:] = np.nan
    elif kind == "tiny":
        inside[1:] = 0.0
    Z = torch.tensor(Z, dtype=torch.float32, requires_grad=True)
    members = torch.tensor(inside[:, None], dtype=torch.float32)
    strata = torch.zeros(40, dtype=torch.int64)
    loss = dependence(Z, members, torch.ones(1), strata, torch.eye(2))
    (loss + Z.sum()).backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(Z.grad).all()


def test_descending_the_gradient_removes_the_dependence():
    Z, inside = sample("variance", n=200)
    scale = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    members, strata = tensor(inside[:, None]), torch.zeros(200, dtype=torch.int64)
    optimiser = torch.optim.Adam([scale], lr=0.1)
    values = []
    for _ in range(60):
        z = tensor(Z[:, :1]) * torch.exp(scale * members)
        loss = dependence(z, members, torch.ones(1, dtype=torch.float64), strata, AXIS)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(loss.item())
    assert values[0] > 0.02
    assert values[-1] < 0.2 * values[0]
    assert_allclose(scale.item(), -np.log(2.5), atol=0.3)


# Directions


def test_random_directions():
    draws = [random_directions(3, 5, torch.Generator().manual_seed(seed), "cpu") for seed in (0, 0, 1)]
    assert draws[0].shape == (3, 8)
    assert_allclose(draws[0][:, :3], np.eye(3))
    assert_allclose(draws[0].norm(dim=0), np.ones(8), rtol=1e-6)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_one_column_has_one_direction():
    assert random_directions(1, 32, torch.Generator(), "cpu").tolist() == [[1.0]]


# The label and the likelihood


def test_label_loss_of_two_classes_is_the_log_loss():
    rng = np.random.default_rng(0)
    scores, codes = rng.normal(size=(30, 1)), rng.integers(0, 2, 30)
    expected = log_loss(codes, 1 / (1 + np.exp(-scores[:, 0])))
    assert_allclose(label_loss(tensor(scores), tensor(codes), "binary").item(), expected, rtol=1e-9)


def test_label_loss_of_many_classes_is_the_log_loss():
    rng = np.random.default_rng(0)
    scores, codes = rng.normal(size=(30, 4)), np.arange(30) % 4
    proba = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert_allclose(label_loss(tensor(scores), tensor(codes), "multiclass").item(), log_loss(codes, proba), rtol=1e-9)


def test_label_loss_of_a_number_is_half_the_squared_error():
    scores, codes = tensor([[1.0], [2.0]]), tensor([0.0, 4.0])
    assert label_loss(scores, codes, "continuous").item() == 0.5 * (1 + 4) / 2


def test_gaussian_nll_leaves_missing_locations_out():
    Z = tensor([[1.0, 2.0], [3.0, 4.0]])
    location = tensor([[0.0, 0.0], [np.nan, 1.0]])
    assert gaussian_nll(Z, location).tolist() == [2.5, 4.5]
    assert gaussian_nll(Z, 0.0).tolist() == [2.5, 12.5]


def test_gradient_of_gaussian_nll_is_finite_where_locations_are_missing():
    Z = tensor([[1.0, 2.0], [3.0, 4.0]]).requires_grad_()
    location = tensor([[0.0, 0.0], [np.nan, 1.0]]).requires_grad_()
    gaussian_nll(Z, location).sum().backward()
    assert Z.grad.tolist() == [[1.0, 2.0], [0.0, 3.0]]
    assert location.grad.tolist() == [[-1.0, -2.0], [0.0, -3.0]]


def test_design_loss_of_groups_is_the_log_loss_of_the_known_rows():
    rng = np.random.default_rng(0)
    scores, codes = rng.normal(size=(30, 3)), np.arange(30) % 3
    proba = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    design = np.eye(3)[codes]
    assert_allclose(design_loss(tensor(scores), tensor(design)).item(), log_loss(codes, proba), rtol=1e-9)
    design[::4] = np.nan
    known = np.arange(30) % 4 != 0
    expected = log_loss(codes[known], proba[known])
    assert_allclose(design_loss(tensor(scores), tensor(design)).item(), expected, rtol=1e-9)


def test_design_loss_of_a_number_is_half_the_squared_error():
    scores = tensor([[1.0], [5.0], [2.0]]).requires_grad_()
    loss = design_loss(scores, tensor([[0.0], [np.nan], [4.0]]))
    loss.backward()
    assert loss.item() == 0.5 * (1 + 4) / 2
    assert scores.grad.tolist() == [[0.5], [0.0], [-1.0]]


def test_design_loss_without_a_known_row_is_zero():
    assert design_loss(tensor(np.ones((3, 2))), tensor(np.full((3, 2), np.nan))).item() == 0.0


# The rates of decision


@pytest.mark.parametrize("n_scores", [1, 3])
def test_soft_decisions_are_probabilities_and_harden_as_the_temperature_falls(n_scores):
    scores = tensor(np.random.default_rng(0).normal(size=(50, n_scores)))
    logits = scores if n_scores > 1 else torch.cat([torch.zeros_like(scores), scores], dim=1)
    assert_allclose(soft_decisions(scores, 1.0), torch.softmax(logits, dim=1))
    assert_allclose(soft_decisions(scores, 0.25).sum(dim=1), 1.0)
    hard = torch.nn.functional.one_hot(logits.argmax(dim=1), logits.shape[1]).double()
    distances = [(soft_decisions(scores, temperature) - hard).abs().max() for temperature in (1.0, 0.25, 1e-4)]
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 1e-6


def decided(rates, inside):
    """Decisions with the given rates in the groups: row 0 of ``rates`` outside, row 1 inside."""
    return tensor(np.asarray(rates)[inside.astype(int)])


def gap_of(decisions, members, *, strata=None, weights=None):
    members = members[:, None] if members.ndim == 1 else members
    strata = torch.as_tensor(np.zeros(len(members), dtype=np.int64) if strata is None else strata)
    weights = tensor(np.ones(members.shape[1]) if weights is None else weights)
    return rate_gap(tensor(decisions), tensor(members), weights, strata).item()


def noise_share(n_in, n_out):
    return 1 / (1 + NOISE * (1 / n_in + 1 / n_out))


def test_rate_gap_of_two_labels_is_the_difference_of_the_rates():
    inside = (np.arange(400) < 100).astype(float)
    decisions = decided([[0.7, 0.3], [0.55, 0.45]], inside)
    assert_allclose(gap_of(decisions, inside), 0.15 * noise_share(100, 300))
    assert_allclose(gap_of(decisions, 1 - inside), 0.15 * noise_share(100, 300))
    assert gap_of(decided([[0.7, 0.3]] * 2, inside), inside) == pytest.approx(0, abs=1e-12)


def test_rate_gap_counts_in_proportion_where_the_dependence_counts_squares():
    inside = (np.arange(2000) % 2).astype(float)
    z = np.random.default_rng(0).normal(size=2000)
    gaps, distances = [], []
    for shift in (0.5, 1.0):
        gaps.append(gap_of(decided([[1.0, 0.0], [1 - shift / 10, shift / 10]], inside), inside))
        distances.append(measure(z + shift * inside, inside))
    assert gaps[1] == pytest.approx(2 * gaps[0])
    assert distances[1] > 3 * distances[0]


def test_rate_gap_of_three_labels_is_their_total_variation():
    inside = (np.arange(60) < 30).astype(float)
    decisions = decided([[0.5, 0.3, 0.2], [0.2, 0.4, 0.4]], inside)
    assert_allclose(gap_of(decisions, inside), 0.3 * noise_share(30, 30))


def test_rate_gap_is_taken_within_the_strata_and_weighs_comparisons():
    rng = np.random.default_rng(0)
    decisions, strata = rng.dirichlet([1, 1], 300), rng.integers(-1, 2, 300)
    members = rng.integers(0, 2, (300, 2)).astype(float)
    members[rng.random((300, 2)) < 0.2] = np.nan
    weights, expected = np.array([0.25, 0.75]), 0.0
    for stratum in (0, 1):
        for member, weight in zip(members.T, weights, strict=True):
            a, b = (decisions[(strata == stratum) & (member == value)][:, 0] for value in (1, 0))
            expected += weight * noise_share(len(a), len(b)) * abs(a.mean() - b.mean()) / 2
    found = gap_of(decisions, members, strata=strata, weights=weights)
    assert_allclose(found, expected)
    # Negative control: regardless of the label it is another number.
    assert abs(found - gap_of(decisions, members, weights=weights)) > 1e-3
    assert gap_of(decisions, members, strata=np.full(300, -1), weights=weights) == 0


@pytest.mark.parametrize("n_inside", [0, 1, 39, 40])
def test_rates_of_groups_of_less_than_two_weigh_nothing(n_inside):
    inside = (np.arange(40) < n_inside).astype(float)
    assert gap_of(decided([[1.0, 0.0], [0.0, 1.0]], inside), inside) == 0


def test_gradient_of_the_rate_gap_agrees_with_finite_differences():
    rng = np.random.default_rng(0)
    scores = tensor(rng.normal(size=(24, 1))).requires_grad_()
    members = tensor(np.column_stack([np.arange(24) % 2, np.arange(24) < 9]))
    members[3, 0] = torch.nan
    strata = torch.as_tensor(np.arange(24) % 3 - 1)

    def objective(scores):
        return rate_gap(soft_decisions(scores, 0.25), members, tensor([0.5, 1.0]), strata)

    assert objective(scores).item() > 0
    assert torch.autograd.gradcheck(objective, (scores,), eps=1e-7, atol=1e-5)
