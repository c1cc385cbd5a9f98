"""The student against brute force: likelihood, what it draws, its labels, its size."""

from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, multivariate_normal

from sklearn_fairlatent.synthesis._distilling import (
    DistillationLoss,
    Schedule,
    Shape,
    StudentModule,
    distil,
    fitting_shape,
    places_of,
)
from sklearn_fairlatent.synthesis._student import Student, draw_labelled

SIZES, GROUPS, N_VECTORS = (3, 2), (2, 3), 3


@pytest.fixture(scope="module")
def module():
    shape = Shape(SIZES, GROUPS, N_VECTORS, n_classes=3, n_components=4, rank=2, n_hidden=5, n_factors=2)
    return StudentModule(shape, np.zeros(sum(SIZES) + sum(GROUPS)), torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def student(module):
    return Student(SIZES, GROUPS, {name: value.numpy() for name, value in module.state_dict().items()})


def tables(student):
    """Shares of the components, and of every level and group in each."""
    return np.exp(student.arrays["mixture"]) / np.exp(student.arrays["mixture"]).sum(), [
        np.exp(table) for table in student._log_tables
    ]


def likelihood(student, codes, groups, vector):
    """p(row, groups) by the sum over the components; a group that is NaN is summed over."""
    shares, levels = tables(student)
    own = student.arrays
    covariance = own["factor"] @ own["factor"].T + np.diag(np.exp(2 * own["log_scale"]))
    centres = own["components"] @ own["loadings"][-N_VECTORS:].T
    total = 0.0
    for k, share in enumerate(shares):
        p = share * multivariate_normal(centres[k], covariance).pdf(vector)
        for table, level in zip(levels, [*codes, *groups], strict=True):
            p *= 1.0 if np.isnan(level) else table[k, int(level)]
        total += p
    return total


@pytest.mark.parametrize("groups", [(0.0, 2.0), (1.0, np.nan), (np.nan, np.nan)])
def test_likelihood_is_that_of_the_mixture(module, student, groups):
    codes, vector = np.array([[2, 0]]), np.array([[0.3, -1.0, 2.0]])
    places = places_of(codes, np.array([groups]), SIZES, GROUPS)
    with torch.no_grad():
        found = module.log_likelihood(torch.as_tensor(places), torch.as_tensor(vector, dtype=torch.float32))
    assert found.item() == pytest.approx(np.log(likelihood(student, codes[0], groups, vector[0])), abs=1e-4)


def test_draws_have_the_distribution_of_the_mixture(student):
    groups, n = np.array([1, 2]), 40_000
    codes, vectors = student.draw(groups, n, np.random.default_rng(0))
    shares, levels = tables(student)
    posterior = shares * levels[2][:, 1] * levels[3][:, 2]
    posterior /= posterior.sum()
    expected = [posterior @ (levels[0][:, a] * levels[1][:, b]) for a, b in product(range(3), range(2))]
    counts = np.bincount(codes[:, 0] * 2 + codes[:, 1], minlength=6)
    assert chisquare(counts, n * np.array(expected)).pvalue > 1e-4
    centres = student.arrays["components"] @ student.arrays["loadings"][-N_VECTORS:].T
    np.testing.assert_allclose(vectors.mean(0), posterior @ centres, atol=0.05)
    # A negative control: the groups matter.
    other = shares * levels[2][:, 0] * levels[3][:, 0]
    assert np.abs(other / other.sum() - posterior).max() > 0.1


def test_label_probabilities_are_those_of_the_module(module, student):
    rng = np.random.RandomState(0)
    codes = np.column_stack([rng.randint(size, size=20) for size in SIZES])
    vectors = rng.normal(size=(20, N_VECTORS))
    places = places_of(codes, np.zeros((20, 2)), SIZES, GROUPS)
    with torch.no_grad():
        logits = module.label_logits(torch.as_tensor(places), torch.as_tensor(vectors, dtype=torch.float32))
    np.testing.assert_allclose(student.label_probabilities(codes, vectors), torch.softmax(logits, 1), atol=1e-5)


def test_rows_of_a_wanted_label_are_drawn_as_the_head_says(student):
    cells = np.array([[label, 1, 2] for label in range(3)])
    drawn = np.repeat([0, 1, 2], [20_000, 20_000, 100])
    codes, vectors = draw_labelled(student.draw, student.label_probabilities, cells, drawn, np.random.default_rng(0))
    assert len(codes) == len(vectors) == len(drawn)
    # By Bayes' rule p(x | y) is q(y | x) p(x) over its sum.
    plain, vectors_of_plain = student.draw(cells[0, 1:], 40_000, np.random.default_rng(1))
    weights = student.label_probabilities(plain, vectors_of_plain)
    for label in (0, 1):
        own = codes[drawn == label]
        expected = np.bincount(plain[:, 0], weights=weights[:, label], minlength=3) / weights[:, label].sum()
        np.testing.assert_allclose(np.bincount(own[:, 0], minlength=3) / len(own), expected, atol=0.02)


def test_a_label_that_never_comes_is_an_error(student):
    def never(codes, vectors):
        return np.tile([1.0, 0.0, 0.0], (len(codes), 1))

    with pytest.raises(ValueError, match="label number 2 .* too rare to be drawn"):
        draw_labelled(student.draw, never, np.array([[2, 0, 0]]), np.zeros(5, dtype=int), np.random.default_rng(0))


@pytest.mark.parametrize("budget", [2000, 10_000, 10**6])
@pytest.mark.parametrize(("sizes", "n_vectors"), [((30, 40, 5), 0), ((), 64), ((8,), 8)])
def test_the_shape_keeps_the_budget_and_counts_right(sizes, n_vectors, budget):
    shape = fitting_shape(sizes, (2,), n_vectors, 2, 10_000, budget)
    assert shape.n_parameters <= budget
    n_outputs = sum(sizes) + 2
    module = StudentModule(shape, np.zeros(n_outputs), torch.Generator().manual_seed(0))
    assert sum(parameter.numel() for parameter in module.parameters()) == shape.n_parameters


def test_few_rows_make_a_small_student():
    few, many = (fitting_shape((30, 40), (2,), 0, 2, n, 10**6) for n in (300, 10_000))
    assert few.n_components < many.n_components
    assert few.rank < many.rank


def test_utility_is_the_divergence_of_the_labels():
    teacher = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    loss = DistillationLoss(0.0, 2.0)
    terms = loss.terms((torch.zeros(2), logits), teacher)
    assert terms["utility"].item() == pytest.approx(np.log(2) / 2)
    assert loss(terms).item() == pytest.approx(np.log(2))


@cache
def learnt(weights, n=2000):
    """A student of two columns that go together, with labels that follow the first. Tests read it only."""
    rng = np.random.RandomState(0)
    first = rng.randint(3, size=n)
    codes = np.column_stack([first, np.where(rng.random_sample(n) < 0.9, first % 2, 1 - first % 2)])
    attributes = (rng.random_sample(n) < np.array([0.2, 0.5, 0.8])[first])[:, None].astype(float)
    teacher = np.column_stack([1 - first / 2, first / 2])
    shape = fitting_shape((3, 2), (2,), 0, 2, n, 10**6)
    schedule = Schedule(20, "auto", 0.05, "cpu", 0, {})
    parts = np.arange(n - 200), np.arange(n - 200, n)
    student, history = distil(shape, (codes, np.zeros((n, 0)), attributes), teacher, parts, schedule, weights, 0)
    return student, history, codes


def test_a_student_learns_pairs_groups_and_labels():
    student, history, codes = learnt((1.0, 1.0))
    drawn, _ = student.draw(np.array([1]), 20_000, np.random.default_rng(0))
    expected = np.bincount(codes[:, 0] * 2 + codes[:, 1], weights=np.array([0.2, 0.5, 0.8])[codes[:, 0]], minlength=6)
    found = np.bincount(drawn[:, 0] * 2 + drawn[:, 1], minlength=6)
    np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), atol=0.03)
    q = student.label_probabilities(np.array([[0, 0], [1, 1], [2, 0]]), np.zeros((3, 0)))
    np.testing.assert_allclose(q[:, 1], [0, 0.5, 1], atol=0.05)
    for term in ("quality", "utility"):
        assert history[-1][f"valid_{term}"] < history[0][f"valid_{term}"]


def test_without_its_weight_a_term_is_not_learnt():
    for weights, term in (((1.0, 0.0), "utility"), ((0.0, 1.0), "quality")):
        _, history, _ = learnt(weights)
        _, both, _ = learnt((1.0, 1.0))
        assert history[-1][f"valid_{term}"] > both[-1][f"valid_{term}"] + 0.05
