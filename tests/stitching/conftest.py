# Rows and networks that several files of tests use.
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from .networks import biased, stitched


@pytest.fixture(scope="module")
def rows():
    """Rows, labels and one attribute with two groups, to fit."""
    return biased()


@pytest.fixture(scope="module")
def new_rows():
    """The same kind of rows, which took no part."""
    return biased(2000, seed=1)


@pytest.fixture(scope="module")
def unfair(rows):
    """A frozen logistic regression that reads the group."""
    X, y, _ = rows
    return FrozenEstimator(LogisticRegression().fit(X, y))


@pytest.fixture(scope="module")
def fair(unfair, rows):
    X, y, group = rows
    return stitched(unfair, max_epochs="auto").fit(X, y, sensitive_features=group)
