"""Small samplers, generators and readers that several files of tests use."""

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression

from sklearn_fairlatent import FairLatentTransformer
from sklearn_fairlatent.augmentation import LatentFlipSampler

N = 300
NAMES = list("abcdef")


class Reads(BaseEstimator):
    """Reads one of some values from the sign, or the tenths, of a column; learns nothing."""

    def __init__(self, column=0, values=(0, 1), tenths=False):
        self.column, self.values, self.tenths = column, values, tenths

    def fit(self, X, y):
        self.fitted_ = True
        return self

    def predict(self, X):
        column = np.asarray(X).reshape(len(X), -1)[:, self.column]
        code = np.floor(10 * column).astype(int) if self.tenths else (column > 0).astype(int)
        return np.asarray(self.values)[code % len(self.values)]


class Flattened(BaseEstimator):
    """A logistic regression on pictures."""

    def fit(self, X, y):
        self.model_ = LogisticRegression(max_iter=1000).fit(np.asarray(X).reshape(len(X), -1), y)
        return self

    def predict(self, X):
        return self.model_.predict(np.asarray(X).reshape(len(X), -1))


class Generator:
    """A fixed mixture of latents that notes how many rows it makes at once."""

    def __init__(self, n_latent=4, n_columns=6, seed=0):
        self.mixture = np.random.default_rng(seed).normal(size=(n_latent, n_columns))
        self.sizes = []

    def __call__(self, Z):
        self.sizes.append(len(Z))
        return Z @ self.mixture


def module(*layers, seed=0):
    """A torch generator with weights that do not depend on the test that runs before."""
    made = torch.nn.Sequential(*layers)
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=source))
    return made


def sampler(**params):
    return LatentFlipSampler(**{"random_state": 0, "judge": None} | params)


def small(**params):
    return FairLatentTransformer(**{"max_epochs": 2, "n_layers": 2, "hidden_size": 16} | params)


def cells(y, A):
    """How many rows every label has of every group (of every combination)."""
    keys = [A[name].to_numpy() for name in A]
    return pd.crosstab(np.asarray(y), keys, dropna=False)


def flip(rows, A=None, **params):
    """The fitted sampler and what came back."""
    X, y, group = rows
    made = sampler(**params)
    given_ = {} if params.get("sensitive_columns") else {"sensitive_features": group if A is None else A}
    X_more, y_more = made.fit_resample(X, y, **given_)
    return made, X_more, y_more


SENSITIVE = {
    "int64": np.array([0, 1]),
    "int8": np.array([0, 1], dtype=np.int8),
    "float32": np.array([0, 1], dtype=np.float32),
    "bool": np.array([False, True]),
    "str": np.array(["f", "m"], dtype=object),
}


TELLERS = {"target": Reads(0), "group": Reads(1)}


def generate(rows, A=None, **params):
    return flip(rows, A, **{"generator": Generator(), "n_latent": 4, "n_generated": 400} | params)


def pictures(rows):
    X, y, group = rows
    source = module(torch.nn.Linear(6, 12), torch.nn.Unflatten(1, (3, 2, 2)))
    with torch.no_grad():
        return source(torch.tensor(X, dtype=torch.float32)).numpy(), y, group
