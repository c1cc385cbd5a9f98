"""Variables, and codes and rows of them, for the parts of a trained map."""

import numpy as np

from sklearn_fairlatent._attributes import Variable

TWO = Variable("two", "groups", categories=np.array(["f", "m"]))
THREE = Variable("three", "groups", categories=np.array(["a", "b", "c"]))
NUMBER = Variable("num.ber", "continuous")
VARIABLES = {"two": [TWO], "two, three": [TWO, THREE], "all": [TWO, THREE, NUMBER], "number, two": [NUMBER, TWO]}


def _codes(variables, n, rng):
    return np.column_stack(
        [rng.integers(v.n_groups, size=n) if v.kind == "groups" else rng.normal(size=n) for v in variables]
    ).astype(np.float64)


def _rows(variables, codes, d, rng, strength=1.5):
    """Correlated rows that every variable shifts along a direction of its own."""
    X = rng.normal(size=(len(codes), d)) @ (np.eye(d) + 0.3 * rng.normal(size=(d, d)))
    for variable, code in zip(variables, codes.T, strict=True):
        design = variable.design(code)
        X += strength * np.nan_to_num(design) @ rng.normal(size=(design.shape[1], d))
    return X


def _assert_there_and_back(maps, X, n_groups, rng):
    """Own group, the way back and any detour are exact; the rows in other groups, and whether they moved."""
    own, between, wanted = rng.integers(n_groups, size=(3, len(X))).astype(float)
    there = maps.move(X, own, wanted)
    size = np.abs(X).max()
    assert np.abs(maps.move(there, wanted, own) - X).max() < 1e-7 * size
    detour = maps.move(maps.move(X, own, between), between, wanted)
    assert np.abs(detour - there).max() < 1e-7 * size
    assert (there[own == wanted] == X[own == wanted]).all()
    return there, own != wanted
