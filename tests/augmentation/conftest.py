# Rows and fitted models that several files of tests use.
from functools import partial

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from sklearn_fairlatent.augmentation import _judging as judging
from sklearn_fairlatent.datasets import make_biased_latents

from .samples import N, small


@pytest.fixture(autouse=True)
def _few_trees(request, monkeypatch):
    """A tenth of the trees of the default judge judges a few hundred rows as well; processes beside have all."""
    if "slow" not in request.keywords:
        monkeypatch.setattr(
            judging, "HistGradientBoostingClassifier", partial(HistGradientBoostingClassifier, max_iter=10)
        )


@pytest.fixture(scope="module")
def data():
    return make_biased_latents(2 * N, 6, random_state=0)


@pytest.fixture(scope="module")
def rows(data):
    """Rows, labels and one attribute with two groups."""
    return data.data[:N], data.target[:N], data.sensitive_features["group"].iloc[:N]


@pytest.fixture(scope="module")
def groups(rows):
    """Attributes: two groups, three groups, and three groups of which some are missing."""
    X, _, group = rows
    rng = np.random.default_rng(0)
    three = np.select([X[:, 1] + rng.normal(size=N) > 0.7, X[:, 2] + rng.normal(size=N) > 0], ["u", "v"], "w")
    some = three.astype(object)
    some[::9] = None
    return pd.DataFrame({"two": group.map({0: "f", 1: "m"}), "three": three, "some": some})


@pytest.fixture(scope="module")
def fair(rows):
    X, y, group = rows
    return small(random_state=0).fit(X, y, sensitive_features=group)


@pytest.fixture(scope="module")
def mixed(rows):
    """A frame with columns of every kind."""
    X, _, group = rows
    return pd.DataFrame(
        {
            "pay": X[:, 0],
            "sex": group.map({0: "f", 1: "m"}).to_numpy(),
            "job": np.select([X[:, 1] > 0.5, X[:, 2] > 0], ["x", "y"], "z"),
            "years": np.round(5 * X[:, 3]).astype(int),
            "member": X[:, 4] > 0,
            "ward": pd.Categorical(np.where(X[:, 5] > 0, "north", "south")),
        },
        index=np.arange(N) + 1000,
    )
