"""Rows and synthesizers that several files of tests use."""

import numpy as np
import pandas as pd

from sklearn_fairlatent import FairLatentTransformer, TabularCodec
from sklearn_fairlatent.synthesis import FairSynthesizer

N = 400


def table(n=N, seed=0):
    """A frame with columns of every kind, a label that follows pay, and an attribute that moves pay."""
    rng = np.random.RandomState(seed)
    sex = rng.choice(["f", "m"], n)
    pay = np.exp(rng.normal(3 + 0.8 * (sex == "m"), 0.6))
    X = pd.DataFrame(
        {
            "age": rng.randint(18, 70, n),
            "pay": np.round(pay, 2),
            "gain": np.where(rng.random_sample(n) < 0.8, 0, rng.randint(1, 5000, n)),
            "job": pd.Categorical(np.where(rng.random_sample(n) < 0.2, "nurse", "clerk")),
            "size": pd.Categorical(rng.choice(["S", "M", "L"], n), categories=["S", "M", "L"], ordered=True),
            "member": rng.random_sample(n) < 0.5,
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.randint(0, 900, n), "D"),
            "children": pd.array(rng.randint(0, 4, n), dtype="Int64"),
            "sex": sex,
        }
    )
    X.loc[rng.random_sample(n) < 0.1, "pay"] = np.nan
    X.loc[rng.random_sample(n) < 0.1, "children"] = pd.NA
    hired = rng.random_sample(n) < 1 / (1 + np.exp(-2 * (np.log(pay) - 3.4)))
    return X, pd.Series(np.where(hired, "yes", "no"), name="hired")


def vectors(n=N, seed=0, n_columns=6):
    """Numbers, a label that follows the first two, and an attribute that moves the second."""
    rng = np.random.RandomState(seed)
    group = rng.randint(0, 2, n)
    X = rng.normal(size=(n, n_columns))
    X[:, 1] += 1.5 * group
    y = (X[:, 0] + X[:, 1] + rng.normal(scale=0.5, size=n) > 0.8).astype(int)
    return X, y, group


def quick(transformer=None, **params):
    """A synthesizer that learns little, in half a second."""
    params = {"max_epochs": 5, "random_state": 0} | params
    return FairSynthesizer(transformer, **params)


def quick_teacher(encoder=None, **params):
    """A transformer that learns little."""
    return FairLatentTransformer(encoder=encoder, **({"max_epochs": 2, "random_state": 0} | params))


def table_teacher(**params):
    """The same for tables."""
    return quick_teacher(TabularCodec(), **params)
