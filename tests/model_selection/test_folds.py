"""Folds with their share of every group."""

import pickle
import warnings
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.sparse import coo_array
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - the import switches it on
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, StratifiedKFold, cross_validate

from sklearn_fairlatent import SmallGroupWarning
from sklearn_fairlatent.model_selection import AttributeStratifiedKFold

from .samples import Damped, scored


def held_out(folds):
    return [test for _, test in folds]


def spread(mask, tests):
    """Most rows of a kind in a fold less the fewest."""
    counts = [mask[test].sum() for test in tests]
    return max(counts) - min(counts)


@settings(max_examples=40)
@given(
    n_splits=st.integers(2, 6),
    shuffle=st.booleans(),
    n_samples=st.integers(6, 80),
    n_kinds=st.integers(1, 12),
    seed=st.integers(0, 1000),
)
def test_every_fold_has_its_share_of_every_cell(n_splits, shuffle, n_samples, n_kinds, seed):
    rng = np.random.default_rng(seed)
    # Of 18 cells as many as are drawn, some of them rare.
    cell = rng.permutation(18)[:n_kinds][(n_kinds * rng.random(n_samples) ** 3).astype(int)]
    y = cell // 6
    A = pd.DataFrame({
        "sex": np.array(["f", "m", None], dtype=object)[cell % 3],
        "old": np.array([1.0, np.nan])[cell // 3 % 2],
    })  # fmt: skip
    splitter = AttributeStratifiedKFold(n_splits, shuffle=shuffle, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        folds = list(splitter.split(A, y, sensitive_features=A))
    tests = held_out(folds)
    assert_array_equal(np.sort(np.concatenate(tests)), np.arange(n_samples))
    for train, test in folds:
        assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(n_samples))
    rare, rare_label = (np.bincount(codes)[codes] < n_splits for codes in (cell, y))
    together = [np.full(n_samples, True), rare_label]
    together += [cell == code for code in range(18)]
    together += [y == label for label in range(3)]
    # What is too rare for a share of its own has it with its like.
    together += [rare & (y == label) for label in range(3)]
    assert max(spread(rows, tests) for rows in together) <= 1
    assert [w.category for w in caught] == [SmallGroupWarning] * int(rare.any())


def test_a_fold_without_a_group_is_what_stratified_k_fold_may_leave():
    group = np.repeat(["b", "a"], [5, 95])
    y = np.repeat([1, 0], [50, 50])
    X = np.zeros((100, 1))
    plain = held_out(StratifiedKFold(5).split(X, y))
    ours = held_out(AttributeStratifiedKFold(5, shuffle=False).split(X, y, sensitive_features=group))
    assert [len(set(group[test])) for test in plain] == [2, 1, 1, 1, 1]
    assert [len(set(group[test])) for test in ours] == [2, 2, 2, 2, 2]
    assert [y[test].mean() for test in ours] == [0.5] * 5


def test_same_seed_same_folds_and_the_global_generator_is_left_alone(rows):
    X, y, A = rows
    before = pickle.dumps(np.random.get_state())  # noqa: NPY002 - the global generator is what is tested
    folds = [
        np.concatenate(held_out(AttributeStratifiedKFold(4, random_state=seed).split(X, y, sensitive_features=A)))
        for seed in (0, 0, 1, None, None, np.random.RandomState(0))
    ]
    assert pickle.dumps(np.random.get_state()) == before  # noqa: NPY002 - the global generator is what is tested
    assert_array_equal(folds[0], folds[1])
    assert_array_equal(folds[0], folds[5])
    assert not np.array_equal(folds[0], folds[2])
    assert not np.array_equal(folds[3], folds[4])
    generator = AttributeStratifiedKFold(4, random_state=np.random.RandomState(0))
    first, second = (np.concatenate(held_out(generator.split(X, y, sensitive_features=A))) for _ in range(2))
    assert not np.array_equal(first, second)


def test_without_shuffling_the_rows_of_a_cell_go_to_the_folds_in_blocks(rows):
    X, y, A = rows
    fold = np.empty(len(X), dtype=int)
    for k, test in enumerate(held_out(AttributeStratifiedKFold(4, shuffle=False).split(X, y, sensitive_features=A))):
        fold[test] = k
    for _, of_cell in pd.Series(fold).groupby([y.to_numpy(), A["sex"].to_numpy()]):
        assert of_cell.is_monotonic_increasing


def test_labels_that_are_quantities_are_cut_at_quantiles(rows):
    X, _, A = rows
    rng = np.random.default_rng(0)
    for y in (rng.normal(size=len(X)), rng.integers(0, 10_000, len(X)), list(rng.normal(size=len(X)))):
        tests = held_out(AttributeStratifiedKFold(5, random_state=0).split(X, y, sensitive_features=A))
        quarter = pd.qcut(y, 4, labels=False)
        for code in range(4):
            for sex in ("f", "m"):
                assert spread((quarter == code) & (A["sex"] == sex).to_numpy(), tests) <= 2
    # Whole numbers with enough rows are classes, however many.
    y = np.repeat(np.arange(40), 10)
    tests = held_out(AttributeStratifiedKFold(5, random_state=0).split(X, y, sensitive_features=np.tile([0, 1], 200)))
    assert all(np.bincount(y[test]).tolist() == [2] * 40 for test in tests)
    # Negative control: the quarters alone would not do that.
    plain = held_out(StratifiedKFold(5, shuffle=True, random_state=0).split(X, y // 10))
    assert not all(np.bincount(y[test], minlength=40).tolist() == [2] * 40 for test in plain)


def test_without_a_label_and_with_bins(rows):
    X, _, _ = rows
    age = np.random.default_rng(0).uniform(18, 80, len(X))
    splitter = AttributeStratifiedKFold(4, bins={"age": [40, 60]}, random_state=0)
    tests = held_out(splitter.split(X, sensitive_features={"age": age}))
    for low, high in ((0, 40), (40, 60), (60, 100)):
        assert spread((age >= low) & (age < high), tests) <= 1
    with pytest.raises(ValueError, match=r"'age' is a quantity .* Pass bins="):
        AttributeStratifiedKFold(4).split(X, sensitive_features={"age": age})


def test_rare_cells_are_named_once():
    y = np.repeat(["no", "yes", "maybe"], [20, 20, 2])
    sex = np.array(["f"] * 20 + ["f"] * 17 + ["m", "x", None] + ["f", "m"], dtype=object)
    with pytest.warns(SmallGroupWarning) as caught:
        folds = AttributeStratifiedKFold(3, random_state=0).split(np.zeros(42), y, sensitive_features={"sex": sex})
    assert len(caught) == 1
    text = str(caught[0].message)
    assert text.startswith("5 cell(s) of label and attributes have fewer rows than n_splits=3")
    for cell in ("y='yes' & sex='m' (1)", "y='yes' & sex=None (1)", "y='maybe' & sex='f' (1)"):
        assert cell in text
    assert "y='no'" not in text
    assert caught[0].filename == __file__
    assert [sum(value != "f" for value in sex[test][y[test] == "yes"]) for test in held_out(folds)] == [1, 1, 1]
    many = {"id": [f"p{k}" for k in range(40)]}
    with pytest.warns(SmallGroupWarning, match=r"id='p0' \(1\), .* and 34 more. They were merged"):
        AttributeStratifiedKFold(2, random_state=0).split(np.zeros(40), sensitive_features=many)


def test_where_the_attributes_come_from(rows):
    X, y, A = rows
    inside = X.assign(sex=A["sex"])
    expected = np.concatenate(
        held_out(AttributeStratifiedKFold(3, random_state=0).split(X, y, sensitive_features=A))
    )  # fmt: skip
    shuffled = A.sample(frac=1, random_state=0)
    found = [
        AttributeStratifiedKFold(3, sensitive_features=shuffled, random_state=0).split(X, y),
        AttributeStratifiedKFold(3, sensitive_features=shuffled["sex"], random_state=0).split(X.to_numpy(), y),
        AttributeStratifiedKFold(3, sensitive_features="sex", random_state=0).split(inside, y.tolist()),
        AttributeStratifiedKFold(3, sensitive_features=["sex"], random_state=0).split(pl.from_pandas(inside), y),
        # Those of the call come first.
        AttributeStratifiedKFold(3, sensitive_features="merit", random_state=0).split(X, y, sensitive_features=A),
        AttributeStratifiedKFold(3, random_state=0).split(X.to_numpy().tolist(), y, None, A["sex"].tolist()),
        AttributeStratifiedKFold(3, random_state=0).split(coo_array(X.to_numpy()), y, sensitive_features=A),
    ]
    for folds in found:
        assert_array_equal(np.concatenate(held_out(folds)), expected)


def test_splitters_say_what_is_wrong(rows):
    X, y, A = rows
    wrong: list[Any] = [1, 2.0, True, "5"]
    for n_splits in wrong:
        with pytest.raises(ValueError, match="n_splits=.*expected the number of folds"):
            AttributeStratifiedKFold(n_splits)
    with pytest.raises(ValueError, match="shuffle=1: expected True or False"):
        AttributeStratifiedKFold(shuffle=wrong[0])
    splitter = AttributeStratifiedKFold(3)
    with pytest.raises(ValueError, match="AttributeStratifiedKFold was not given the sensitive attributes"):
        splitter.split(X, y)
    with pytest.raises(ValueError, match="n_splits=3 folds need as many rows; X has 2"):
        splitter.split(X[:2], y[:2], sensitive_features=A[:2])
    with pytest.raises(ValueError, match="y has 10 rows, X has 400"):
        splitter.split(X, y[:10], sensitive_features=A)
    with pytest.raises(ValueError, match="'sex' has 10 rows, X has 400"):
        splitter.split(X, y, sensitive_features=A[:10])
    with pytest.raises(ValueError, match="y contains missing values"):
        splitter.split(X, y.where(y == 1), sensitive_features=A)
    with pytest.raises(ValueError, match="y contains infinity"):
        splitter.split(X, np.r_[np.inf, np.linspace(0, 1, 399)], sensitive_features=A)
    with pytest.raises(ValueError, match="another order"):
        splitter.split(X, y, sensitive_features=A[::-1])
    with pytest.warns(UserWarning, match="groups is ignored by AttributeStratifiedKFold"):
        splitter.split(X, y, groups=A["sex"], sensitive_features=A)


def test_splitters_are_shown_copied_and_counted(rows):
    X, y, A = rows
    splitter = AttributeStratifiedKFold(3, sensitive_features=A, random_state=0)
    assert repr(splitter) == (
        "AttributeStratifiedKFold(n_splits=3, sensitive_features=<DataFrame>, bins=None, shuffle=True, random_state=0)"
    )
    assert "sensitive_features='sex'" in repr(AttributeStratifiedKFold(sensitive_features="sex"))
    assert splitter.get_n_splits() == splitter.get_n_splits(X, y, None, A) == 3
    copy = pickle.loads(pickle.dumps(splitter))
    assert_array_equal(np.concatenate(held_out(copy.split(X, y))), np.concatenate(held_out(splitter.split(X, y))))
    search = clone(GridSearchCV(Damped(), {}, cv=splitter))
    assert_array_equal(search.cv.split(X, y).__next__()[1], splitter.split(X, y).__next__()[1])


@pytest.mark.parametrize("routing", [False, True])
def test_cross_validate_with_routing_off_and_on(rows, routing):
    X, y, A = rows
    kept = None if routing else A
    splitter = AttributeStratifiedKFold(4, sensitive_features=kept, random_state=0)
    with sklearn.config_context(enable_metadata_routing=routing):
        result = cross_validate(
            Damped(),
            X,
            y,
            cv=splitter,
            scoring=scored(kept),
            params={"sensitive_features": A},
            n_jobs=2,
            error_score="raise",
            return_indices=True,
        )
    for test, expected in zip(result["indices"]["test"], splitter.split(X, y, sensitive_features=A), strict=True):
        assert_array_equal(test, expected[1])
    assert (result["test_disparity"] < 0).all()


@pytest.mark.parametrize("routing", [False, True])
def test_halving_takes_the_folds(rows, routing):
    X, y, A = rows
    splitter = AttributeStratifiedKFold(2, sensitive_features=None if routing else A, random_state=0)
    with sklearn.config_context(enable_metadata_routing=routing):
        search = HalvingGridSearchCV(
            Damped(), {"fairness_strength": [0.0, 1.0, 4.0]}, cv=splitter, random_state=0, error_score="raise"
        )
        search.fit(X, y, sensitive_features=A)
    assert search.n_iterations_ == 2
    with pytest.raises(ValueError, match="cv parameter must yield consistent folds"):
        clone(search).set_params(cv=AttributeStratifiedKFold(2, sensitive_features=A)).fit(
            X, y, sensitive_features=A
        )  # fmt: skip
