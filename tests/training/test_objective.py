"""The penalty's exchange rate, the scores, and what is learnt."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.stats import foldnorm
from sklearn.metrics import r2_score, roc_auc_score

from sklearn_fairlatent._attributes import Variable
from sklearn_fairlatent._batches import Codes
from sklearn_fairlatent._latent import LatentLayout
from sklearn_fairlatent._objective import RATE_FACTOR, WIDE_FACTOR, LatentLoss, Task, describe_task, exchange_rate
from sklearn_fairlatent._training import adversary_auc, chance_utility, least_utility, utility

# The objective


def test_the_penalty_weighs_what_the_label_is_worth():
    loss = LatentLoss(task_of("binary", n_comparisons=1), LatentLayout("y", ("s",), (1, 1, 2), 1), torch.Generator())
    terms = {"label_loss": torch.tensor(0.5), "dependence": torch.tensor(0.1)}

    def penalty(rate, ramp):
        loss.task.exchange_rate = rate
        return float(loss(terms, ramp)) - 0.5

    assert penalty(2.0, 0.0) == 0
    assert penalty(2.0, 1.0) == pytest.approx(2 * penalty(1.0, 1.0)) == pytest.approx(2 * penalty(2.0, 0.5))
    alone = penalty(2.0, 1.0)
    loss.layout = LatentLayout("y", ("s",), (1, 1, 2), 2)
    assert WIDE_FACTOR > 1
    assert penalty(2.0, 1.0) == pytest.approx(WIDE_FACTOR * alone)


def test_the_gap_of_the_rates_weighs_a_share_of_the_dependence():
    loss = LatentLoss(task_of("binary", n_comparisons=1), LatentLayout("y", ("s",), (1, 1, 2), 1), torch.Generator())
    of_distance, of_rates = (float(loss({name: torch.tensor(0.2)}, 0.5)) for name in ("dependence", "rate_gap"))
    assert of_rates == pytest.approx(RATE_FACTOR * of_distance)
    assert of_rates > 0
    loss.task.strength = 0.0
    assert loss({"rate_gap": torch.tensor(0.2)}, 1.0) == 0


def scored_groups(shift, n=4000):
    """Scores of two groups, ``shift`` standard deviations apart, with their memberships."""
    members = (np.arange(n) % 2).astype(float)[:, None]
    return np.random.RandomState(0).standard_normal((n, 1)) + shift * members, members


def test_the_exchange_rate_is_information_over_dependence():
    scores, members = scored_groups(1.0)
    weights = np.ones(1)
    rates = [exchange_rate(nats, scores, members, weights) for nats in (0.1, 0.2)]
    assert rates[1] == pytest.approx(2 * rates[0])
    # The energy distance of two normal groups one standard deviation apart, over the spread of their mixture.
    between, within = foldnorm.mean(0.5**0.5, scale=2**0.5), 2 / np.pi**0.5
    assert 0.2 / rates[1] == pytest.approx(4 * (between - within) / (between + within), rel=0.1)
    # Neither the scale of the scores nor a second column with the same in it changes it.
    for same in (100 * scores, np.column_stack([scores, scores])):
        assert exchange_rate(0.1, same, members, weights) == pytest.approx(rates[0])


def test_the_exchange_rate_has_bounds():
    weights = np.ones(1)
    far, none = scored_groups(20.0), scored_groups(0.0)
    assert exchange_rate(0.0, *far, weights) == pytest.approx(0.1)
    assert exchange_rate(9.0, *none, weights) == pytest.approx(0.25 / 0.08)
    assert exchange_rate(9.0, far[0], np.zeros((4000, 0)), np.zeros(0)) == 1.0


# The scores


def task_of(kind, n_scores=1, n_comparisons=0):
    return Task(kind, n_scores, np.full(n_comparisons, 1.0), 1.0)


def test_utility_of_two_classes_is_the_auc():
    rng = np.random.default_rng(0)
    label, scores = rng.integers(0, 2, 50).astype(float), rng.normal(size=(50, 1))
    assert utility(scores, label, task_of("binary")) == roc_auc_score(label, scores[:, 0])
    assert utility(label[:, None], label, task_of("binary")) == 1.0
    assert utility(-label[:, None], label, task_of("binary")) == 0.0


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_chance_utility_is_what_one_noise_in_forty_exceeds(share):
    rng = np.random.RandomState(0)
    label = (np.arange(400) < 400 * share).astype(float)
    noise = rng.standard_normal((2000, 400))
    # The AUC of every noise by its ranks, all at once; ``utility`` takes them one by one.
    ranks = noise.argsort(axis=1).argsort(axis=1)
    n_pos = int(label.sum())
    found = (ranks[:, label == 1].sum(axis=1) - n_pos * (n_pos - 1) / 2) / (n_pos * (400 - n_pos))
    assert_allclose(found[:20], [utility(row[:, None], label, task_of("binary")) for row in noise[:20]])
    chance = chance_utility(label, task_of("binary"))
    assert 0.01 < np.mean(found > chance) < 0.04
    assert chance_utility(np.ones(400), task_of("binary")) == 0.5
    # The AUC of three classes is a mean of three.
    assert 0.5 < chance_utility(np.arange(400) % 3, task_of("multiclass", 3)) < 0.6


def test_a_label_is_lost_at_chance_or_with_a_quarter_of_its_best():
    label = (np.arange(4000) % 2).astype(float)
    chance = chance_utility(label, task_of("binary"))
    assert least_utility(0.9, label, task_of("binary")) == pytest.approx(0.6)
    assert least_utility(0.51, label, task_of("binary")) == chance == least_utility(np.nan, label, task_of("binary"))
    # A quarter of the correlation is a sixteenth of R2.
    assert least_utility(0.8, label, task_of("continuous")) == pytest.approx(0.05)
    assert least_utility(-1.0, label, task_of("continuous")) == chance_utility(label, task_of("continuous")) > 0


def test_utility_of_many_classes_is_the_macro_auc():
    rng = np.random.default_rng(0)
    label, scores = np.arange(60) % 3, rng.normal(size=(60, 3))
    proba = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    expected = np.mean([roc_auc_score(label == k, scores[:, k]) for k in range(3)])
    assert_allclose(utility(scores, label, task_of("multiclass", 3)), expected)
    # The rank of one class's score is what counts, so sklearn's own needs equal sums to agree.
    assert_allclose(utility(proba, label, task_of("multiclass", 3)), roc_auc_score(label, proba, multi_class="ovr"))


def test_utility_leaves_out_a_class_that_was_not_held_out():
    rng = np.random.default_rng(0)
    label, scores = np.arange(40) % 2, rng.normal(size=(40, 3))
    expected = np.mean([roc_auc_score(label == k, scores[:, k]) for k in range(2)])
    assert_allclose(utility(scores, label, task_of("multiclass", 3)), expected)


@pytest.mark.parametrize(("kind", "n_scores"), [("binary", 1), ("multiclass", 3)])
def test_utility_of_a_single_class_is_unknown(kind, n_scores):
    assert np.isnan(utility(np.zeros((9, n_scores)), np.zeros(9), task_of(kind, n_scores)))


def test_utility_of_a_number_is_r2():
    rng = np.random.default_rng(0)
    label, scores = rng.normal(size=30), rng.normal(size=(30, 1))
    assert utility(scores, label, task_of("continuous")) == r2_score(label, scores[:, 0])


def codes_of(members, strata=None):
    n = len(members)
    return Codes(np.zeros(n), np.zeros(n, dtype=np.int64) if strata is None else strata, members, [])


def test_adversary_auc_is_the_highest_over_the_comparisons():
    rng = np.random.default_rng(0)
    members = np.column_stack([np.arange(60) % 2, rng.permutation(60) < 20]).astype(float)
    scores = rng.normal(size=(60, 2)) + 1.5 * members * [0, 1]
    aucs = [roc_auc_score(members[:, k], scores[:, k]) for k in range(2)]
    found = adversary_auc(scores, codes_of(members))
    assert found == max(max(auc, 1 - auc) for auc in aucs)
    assert found == aucs[1] > 0.7
    assert_allclose(adversary_auc(-scores, codes_of(members)), found)


def test_adversary_auc_leaves_out_missing_members_and_uncompared_rows():
    members = (np.arange(60) % 2.0)[:, None]
    scores = np.random.default_rng(0).normal(size=(60, 1))
    strata = np.zeros(60, dtype=np.int64)
    scores[:10], strata[:10] = 100 * members[:10], -1
    gone = np.arange(10, 20)
    scores[gone] = 100 * members[gone]
    holed = members.copy()
    holed[gone] = np.nan
    auc = roc_auc_score(members[20:, 0], scores[20:, 0])
    assert_allclose(adversary_auc(scores, codes_of(holed, strata)), max(auc, 1 - auc))
    # Negative control: those rows would have given the group away.
    assert adversary_auc(scores, codes_of(members)) > max(auc, 1 - auc) + 0.05


def test_adversary_auc_looks_within_the_strata():
    label = np.arange(80) // 40
    members = np.where(np.arange(80) % 8 == 0, 1 - label, label)[:, None].astype(float)
    scores = label[:, None] + np.zeros((80, 1))
    assert adversary_auc(scores, codes_of(members, label)) == 0.5
    assert adversary_auc(scores, codes_of(members)) > 0.8


@pytest.mark.parametrize(("n_inside", "expected"), [(4, 0.5), (5, 1.0), (35, 1.0), (36, 0.5), (0, 0.5)])
def test_adversary_auc_of_fewer_than_five_rows_does_not_count(n_inside, expected):
    members = (np.arange(40) < n_inside).astype(float)[:, None]
    assert adversary_auc(members, codes_of(members)) == expected


def test_adversary_auc_where_nothing_is_compared():
    members = (np.arange(40) % 2.0)[:, None]
    assert adversary_auc(members, codes_of(members, np.full(40, -1))) == 0.5


# What is learnt


def test_task_weighs_every_attribute_the_same():
    race = Variable.from_values("race", list("abc"), continuous=False)
    sex = Variable.from_values("sex", list("ab"), continuous=False)
    label = Variable.from_values("y", [0, 1, 2], continuous=False)
    attributes = [race.encode(list("abcab")), sex.encode(list("ababa"))]
    codes, task = describe_task(label, np.arange(5.0) % 3, [race, sex], attributes, np.zeros(5), 0.5)
    assert (task.kind, task.n_scores, task.strength) == ("multiclass", 3, 0.5)
    assert_allclose(task.comparison_weights, [1 / 3, 1 / 3, 1 / 3, 1])
    assert codes.members.shape == (5, 4)
    assert [design.shape for design in codes.designs] == [(5, 3), (5, 2)]


@pytest.mark.parametrize(
    ("values", "continuous", "kind"), [([0, 1], False, "binary"), ([0.5, 1.5], True, "continuous")]
)
def test_task_without_attributes(values, continuous, kind):
    label = Variable.from_values("y", values, continuous=continuous)
    codes, task = describe_task(label, label.encode(values), [], [], np.zeros(2), 1)
    assert (task.kind, task.n_scores) == (kind, 1)
    assert codes.members.shape == (2, 0)
    assert task.comparison_weights.shape == (0,)


def test_task_without_a_label():
    sex = Variable.from_values("sex", list("ab"), continuous=False)
    _, task = describe_task(None, np.zeros(2), [sex], [sex.encode(list("ab"))], np.zeros(2), 1)
    assert (task.kind, task.n_scores) == (None, 0)


@pytest.mark.parametrize("within", [True, False])
@pytest.mark.parametrize(("values", "continuous"), [([0, 1], False), ([0, 1, 2], False), ([0.5, 1.5], True)])
def test_rates_are_compared_within_labels_of_classes(values, continuous, within):
    label = Variable.from_values("y", values, continuous=continuous)
    sex = Variable.from_values("sex", list("ab"), continuous=False)
    codes = label.encode(values)
    strata, sexes = np.zeros(len(values)), sex.encode(list("aba")[: len(values)])
    assert describe_task(label, codes, [sex], [sexes], strata, 1, within)[1].compares_rates == (
        within and not continuous
    )
    # Without an attribute there is nothing to compare.
    assert not describe_task(label, codes, [], [], strata, 1, within)[1].compares_rates
