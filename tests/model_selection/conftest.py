# Rows that several files of tests use.
import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="module")
def rows():
    """A column of merit, one that tells the group, and an index that is no range."""
    rng = np.random.default_rng(0)
    n = 400
    group = rng.integers(0, 2, n)
    y = (rng.random(n) < np.where(group == 1, 0.7, 0.3)).astype(int)
    X = pd.DataFrame({"merit": y + 0.6 * rng.normal(size=n), "hint": group + 0.4 * rng.normal(size=n)})
    X.index = index = pd.Index(rng.permutation(n) + 1000)
    return X, pd.Series(y, index=index), pd.DataFrame({"sex": np.where(group == 1, "m", "f")}, index=index)
