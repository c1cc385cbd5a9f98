"""The benchmark's own parts: the fair tree beside a library's, and codes of other numbers without another fit."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier

from sklearn_fairlatent import FairLatentTransformer
from sklearn_fairlatent.datasets import make_biased_latents

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in ("certificate", "fare_tree", "measuring", "problems", "running"):
        sys.modules.pop(name, None)


def test_without_a_weight_on_the_groups_the_fair_tree_is_an_ordinary_one(benchmarks):
    from fare_tree import FareTree

    rng = np.random.RandomState(0)
    X = rng.randint(6, size=(600, 5)).astype(float)
    y = (X[:, 0] + X[:, 1] * (X[:, 2] > 2) + rng.normal(size=600) > 5).astype(int)
    group = rng.randint(2, size=600)
    ours = FareTree(max_leaves=8, gamma=0.0, min_rows=1, random_state=0).fit(X, y, group)
    theirs = DecisionTreeClassifier(max_leaf_nodes=8, random_state=0).fit(X, y)
    cells, leaves = ours.codes(X), theirs.apply(X)
    assert ours.n_leaves_ == 8
    assert len(set(zip(cells, leaves, strict=True))) == 8


def test_a_weight_on_the_groups_brings_their_leaves_together(benchmarks):
    from fare_tree import FareTree

    rng = np.random.RandomState(0)
    X, group = rng.normal(size=(2000, 4)), rng.randint(2, size=2000)
    X[:, 0] += group
    y = (X[:, 0] + X[:, 1] + rng.normal(size=2000) > 0.5).astype(int)
    distances = []
    for gamma in (0.0, 0.9):
        codes = FareTree(max_leaves=6, gamma=gamma, min_rows=50, random_state=0).fit(X, y, group).codes(X)
        p, q = (np.bincount(codes[group == value], minlength=6) / (group == value).sum() for value in (0, 1))
        distances.append(0.5 * np.abs(p - q).sum())
    assert distances[1] < 0.6 * distances[0]


def test_another_number_of_codes_is_what_a_fit_gives(benchmarks):
    from certificate import _recoded

    data = make_biased_latents(500, 6, random_state=0)
    X, y, A = data.data, data.target, data.sensitive_features
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fair, other = (
            FairLatentTransformer(n_codes=n_codes, max_epochs=2, random_state=0).fit(X, y, sensitive_features=A)
            for n_codes in (8, 5)
        )
    found = _recoded(fair, 5, X, y, A["group"].to_numpy())
    np.testing.assert_array_equal(found.codebook_.representatives, other.codebook_.representatives)
    np.testing.assert_array_equal(found.to_codes(X), other.to_codes(X))
    assert fair.codebook_.n_codes == 8
