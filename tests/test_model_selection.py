"""Folds with their share of every group, choices under a bound on the disparity, and the frontier of strengths."""

import pickle
import warnings
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from fairlearn.metrics import demographic_parity_difference, demographic_parity_ratio
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import coo_array
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - the import switches it on
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_validate,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state

from sklearn_fairlatent import DisparityBoundWarning, FairLatentTransformer, SmallGroupWarning
from sklearn_fairlatent.datasets import make_biased_latents
from sklearn_fairlatent.metrics._scorers import fairness_scorer
from sklearn_fairlatent.model_selection import (
    AttributeStratifiedKFold,
    ConstrainedRefit,
    FairnessFrontier,
    fairness_frontier,
)
from sklearn_fairlatent.model_selection._fitting import fit_with_attributes, take_rows
from sklearn_fairlatent.model_selection._frontier import on_frontier

DIFFERENCE = "demographic_parity_difference"


class Damped(ClassifierMixin, BaseEstimator):
    """Logistic regression that damps the direction in which the groups differ: a fair classifier in a millisecond."""

    __metadata_request__fit = {"sensitive_features": True}

    def __init__(self, fairness_strength=1.0, noise=0.0, random_state=None):
        self.fairness_strength = fairness_strength
        self.noise = noise
        self.random_state = random_state

    def fit(self, X, y, sensitive_features=None):
        if self.fairness_strength < 0:
            raise ValueError("fairness_strength < 0")
        X = np.asarray(X, dtype=float)
        group = pd.DataFrame(sensitive_features).iloc[:, 0].to_numpy()
        one = group == sorted(set(group))[0]
        direction = X[one].mean(0) - X[~one].mean(0)
        direction /= np.linalg.norm(direction)
        self.model_ = LogisticRegression().fit(X, y)
        self.classes_ = self.model_.classes_
        damping = self.fairness_strength / (1 + self.fairness_strength)
        self.model_.coef_ -= damping * (self.model_.coef_ @ direction)[:, None] * direction
        self.model_.coef_ += self.noise * check_random_state(self.random_state).normal(size=X.shape[1])
        return self

    def predict(self, X):
        return self.model_.predict(np.asarray(X, dtype=float))


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


def held_out(folds):
    return [test for _, test in folds]


# ---------------------------------------------------------------- AttributeStratifiedKFold


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
    before = pickle.dumps(np.random.get_state())  # noqa: NPY002
    folds = [
        np.concatenate(held_out(AttributeStratifiedKFold(4, random_state=seed).split(X, y, sensitive_features=A)))
        for seed in (0, 0, 1, None, None, np.random.RandomState(0))
    ]
    assert pickle.dumps(np.random.get_state()) == before  # noqa: NPY002
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


def scored(A):
    return {"score": "accuracy", "disparity": fairness_scorer(DIFFERENCE, sensitive_features=A)}


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


# ---------------------------------------------------------------- ConstrainedRefit


def results(scores, disparities):
    return {
        "params": [{}] * len(scores),
        "mean_test_score": np.array(scores, dtype=float),
        "mean_test_disparity": -np.array(disparities, dtype=float),
    }


@pytest.mark.parametrize(
    ("scores", "disparities", "expected"),
    [
        ([0.9, 0.8, 0.7], [0.3, 0.1, 0.0], 1),
        ([0.9, 0.8, 0.8], [0.3, 0.1, 0.05], 2),  # of equal scores the least disparity
        ([0.9, 0.8, 0.8], [0.3, 0.1, 0.1], 1),  # then the first
        ([0.9, np.nan, 0.7], [0.3, 0.0, 0.1], 2),
        ([0.9, 0.8, 0.7], [0.3, np.nan, 0.1], 2),
        ([0.9, 0.8], [0.1, 0.0], 0),  # the bound itself is within
        ([-3.0, -1.0], [0.0, 0.0], 1),  # scores may be negative, as those of losses are
    ],
)
def test_the_best_score_within_the_bound(scores, disparities, expected):
    best = ConstrainedRefit(0.1)(results(scores, disparities))
    assert best == expected
    assert type(best) is int


def test_without_a_setting_within_the_bound_the_least_disparity_and_a_warning():
    with pytest.warns(DisparityBoundWarning, match=r"max_disparity=0.01; the least is 0.1, with a score of 0.8") as got:
        best = ConstrainedRefit(0.01)(results([0.9, 0.7, 0.8, 0.8, np.nan], [0.3, 0.1, 0.1, 0.1, 0.02]))
    assert best == 2
    assert got[0].filename == __file__


def test_refits_say_what_is_wrong():
    for bound in (-0.1, np.nan, "0.1", None, True):
        with pytest.raises(ValueError, match="max_disparity=.*expected a number >= 0"):
            ConstrainedRefit(bound)
        with pytest.raises(ValueError, match="max_disparity=.*expected a number >= 0"):
            ConstrainedRefit(0.1).set_params(max_disparity=bound)(results([1], [0]))
    with pytest.raises(ValueError, match=r"score='auc': the search was not scored by it but by \['score', 'disparity'"):
        ConstrainedRefit(0.1, score="auc")(results([1], [0]))
    with pytest.raises(ValueError, match=r"disparity='dp': the search was not scored .* Pass disparity= one of these"):
        ConstrainedRefit(0.1, disparity="dp")(results([1], [0]))
    with pytest.raises(ValueError, match=r"positive values, up to 0.8: a ratio, .*minus the difference"):
        ConstrainedRefit(0.1)(results([1, 1, 1], [-0.8, -0.7, np.nan]))
    with pytest.raises(ValueError, match=r'Every setting has a NaN .*error_score="raise"'):
        ConstrainedRefit(0.1)(results([1, np.nan], [np.nan, 0]))


def test_refits_are_shown_and_copied():
    refit = ConstrainedRefit(0.05, score="auc")
    assert repr(refit) == "ConstrainedRefit(max_disparity=0.05, score='auc')"
    for copy in (clone(refit), pickle.loads(pickle.dumps(refit))):
        assert copy.get_params() == refit.get_params()
    search = clone(GridSearchCV(Damped(), {}, refit=refit)).set_params(refit__max_disparity=0.1)
    assert search.refit.max_disparity == 0.1
    assert refit.max_disparity == 0.05


@pytest.mark.parametrize("routing", [False, True])
def test_a_search_by_accuracy_takes_the_unfair_setting_and_ours_the_fair_one(rows, routing):
    X, y, A = rows
    kept = None if routing else A
    pipe = Pipeline([("scale", StandardScaler()), ("classify", Damped())])
    name = "sensitive_features" if routing else "classify__sensitive_features"
    with sklearn.config_context(enable_metadata_routing=routing):
        search = GridSearchCV(
            pipe,
            {"classify__fairness_strength": [0.0, 1.0, 4.0]},
            scoring=scored(kept),
            refit=ConstrainedRefit(0.2),
            cv=AttributeStratifiedKFold(3, sensitive_features=kept, random_state=0),
            n_jobs=2,
            error_score="raise",
        )
        fair = clone(search).fit(X, y, **{name: A})
        unfair = clone(search).set_params(refit="score").fit(X, y, **{name: A})
    assert unfair.best_params_ == {"classify__fairness_strength": 0.0}
    assert fair.best_params_ == {"classify__fairness_strength": 4.0}
    gaps = [
        demographic_parity_difference(y, found.predict(X), sensitive_features=A["sex"]) for found in (unfair, fair)
    ]  # fmt: skip
    assert gaps[0] > gaps[1] + 0.15


def test_a_random_search_passes_over_settings_that_fail(rows):
    X, y, A = rows
    search = RandomizedSearchCV(
        Damped(),
        {"fairness_strength": [-1.0, 0.0, 4.0]},
        n_iter=3,
        scoring=scored(A),
        refit=ConstrainedRefit(1.0),
        cv=AttributeStratifiedKFold(2, sensitive_features=A, random_state=0),
        random_state=0,
    )
    with pytest.warns((UserWarning, RuntimeWarning), match=r"fits failed|non-finite|invalid value"):
        search.fit(X, y, sensitive_features=A)
    assert search.best_params_ == {"fairness_strength": 0.0}


# ---------------------------------------------------------------- fairness_frontier


STRENGTHS = (0.0, 0.25, 0.5, 4.0)


@pytest.fixture(scope="module")
def frontier(rows):
    X, y, A = rows
    return fairness_frontier(
        Damped(), X, y, sensitive_features=A, strengths=STRENGTHS, scoring="balanced_accuracy", cv=3, random_state=0
    )


def test_points_are_those_of_scikit_learn_and_fairlearn(rows, frontier):
    X, y, A = rows
    folds = list(AttributeStratifiedKFold(3, random_state=0).split(X, y, sensitive_features=A))
    table = frontier.results_
    assert table["strength"].tolist() == list(STRENGTHS)
    for strength, point in zip(STRENGTHS, table.itertuples(), strict=True):
        model = Damped(strength)
        params = {"cv": folds, "params": {"sensitive_features": A}}
        scores = cross_validate(model, X, y, scoring="balanced_accuracy", **params)["test_score"]
        y_pred = cross_val_predict(model, X, y, **params)
        assert_allclose([point.score, point.score_std], [scores.mean(), scores.std()])
        assert_allclose(point.disparity, demographic_parity_difference(y, y_pred, sensitive_features=A["sex"]))
        assert_allclose(point.ratio, demographic_parity_ratio(y, y_pred, sensitive_features=A["sex"]))
        assert_allclose(point.selected, y_pred.mean())
    # It does trade one for the other, and one point is beaten.
    assert table["disparity"].iloc[0] > table["disparity"].iloc[-1] + 0.2
    assert table["score"].iloc[0] > table["score"].iloc[-1] + 0.05
    assert table["on_frontier"].tolist() == [True, False, True, True]


def test_estimators_of_the_frontier_saw_all_rows(rows, frontier):
    X, y, A = rows
    assert list(frontier.estimators_) == [0.0, 0.5, 4.0]
    for strength, model in frontier.estimators_.items():
        expected = Damped(strength).fit(X, y, sensitive_features=A)
        assert_allclose(model.model_.coef_, expected.model_.coef_)


def test_the_best_within_a_bound(frontier):
    table = frontier.results_.set_index("strength")["disparity"]
    assert frontier.best_strength(1.0) == 0.0
    assert frontier.best_strength(table[0.0]) == 0.0
    assert frontier.best_strength(table[0.25]) == 0.5  # 0.25 is beaten
    assert frontier.best_strength(table[0.5] - 1e-9) == 4.0
    assert frontier.best(0.2) is frontier.estimators_[4.0]
    with pytest.raises(ValueError, match=rf"max_disparity=0.02: the least is {table[4.0]:.4g}, at strength 4. Raise"):
        frontier.best()
    with pytest.raises(ValueError, match="max_disparity=-1: expected a number >= 0"):
        frontier.best_strength(-1)
    tied = pd.DataFrame({"strength": [0.0, 1.0, 2.0], "score": [0.5, 0.8, 0.8], "disparity": [0.0, 0.02, 0.01]})
    assert FairnessFrontier(tied.assign(on_frontier=True), {0.0: "a", 1.0: "b", 2.0: "c"}).best() == "c"


def test_frontiers_are_shown_and_copied(frontier):
    shown = repr(frontier)
    assert shown.startswith("FairnessFrontier: 3 of 4 strengths on the frontier\n strength  score")
    assert len(shown.splitlines()) == 6
    copy = pickle.loads(pickle.dumps(frontier))
    pd.testing.assert_frame_equal(copy.results_, frontier.results_)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_a_point_is_on_the_frontier_if_none_is_better(points):
    expected = [
        not any(s >= score and d <= gap and (s > score or d < gap) for s, d in points) for score, gap in points
    ]  # fmt: skip
    found = on_frontier(*np.array(points, dtype=float).T)
    assert found.tolist() == expected
    assert found.any()


def test_the_number_of_processes_and_the_kind_of_X_change_nothing(rows):
    X, y, A = rows
    pipe = Pipeline([("scale", StandardScaler()), ("classify", Damped(noise=0.3))])
    same: dict[str, Any] = {"strengths": [0.0, 4.0], "cv": 3, "random_state": 0}

    def run(X, y, A, n_jobs=None):
        return fairness_frontier(pipe, X, y, sensitive_features=A, n_jobs=n_jobs, **same)

    alone = run(X, y, A)
    for given_ in (
        (X, y, A),
        (X.to_numpy(), y.to_numpy(), A["sex"]),
        (X.to_numpy().tolist(), y.tolist(), A.to_numpy()),
        (pl.from_pandas(X), y, pl.from_pandas(A)),
    ):
        found, parallel = run(*given_), run(*given_, n_jobs=2)
        pd.testing.assert_frame_equal(found.results_, alone.results_)
        pd.testing.assert_frame_equal(parallel.results_, found.results_, check_exact=True)
        assert list(found.estimators_) == list(parallel.estimators_) == list(alone.estimators_)
        for strength in alone.estimators_:
            coefs = [each.estimators_[strength]["classify"].model_.coef_ for each in (alone, found, parallel)]
            assert_array_equal(coefs[2], coefs[1])
            assert_allclose(coefs[1], coefs[0])  # a sum over rows depends on their layout in memory
    # The noise is one that the seed changes.
    seeded = fairness_frontier(pipe, X, y, sensitive_features=A, **(same | {"random_state": 1}))
    assert not np.array_equal(
        seeded.estimators_[0.0]["classify"].model_.coef_, alone.estimators_[0.0]["classify"].model_.coef_
    )
    assert pipe["classify"].random_state is None
    assert not hasattr(pipe["classify"], "model_")


def test_small_folds_overstate_a_difference_that_pooled_folds_do_not():
    rng = np.random.default_rng(0)
    y, coin = np.tile([0, 0, 1, 1], 75), np.tile([0, 1], 150)
    noise = {"X": y[:, None] + rng.normal(size=(300, 2)), "y": y}
    A = pd.DataFrame({"coin": coin})
    pooled = fairness_frontier(
        Damped(), **noise, sensitive_features=A, strengths=[0.0], cv=10, random_state=0
    ).results_["disparity"][0]  # fmt: skip
    folds = list(AttributeStratifiedKFold(10, random_state=0).split(**noise, sensitive_features=A))
    with sklearn.config_context(enable_metadata_routing=True):
        by_fold = cross_validate(
            Damped(0.0), **noise, cv=folds, scoring=fairness_scorer(DIFFERENCE), params={"sensitive_features": A}
        )
    assert pooled < 0.1
    assert -by_fold["test_score"].mean() > pooled + 0.05


class Passed(TransformerMixin, BaseEstimator):
    """Takes the attributes and hands X on."""

    __metadata_request__fit = {"sensitive_features": True}

    def __init__(self, sensitive_columns=None):
        self.sensitive_columns = sensitive_columns

    def fit(self, X, y=None, sensitive_features=None):
        self.given_ = sensitive_features
        return self

    def transform(self, X):
        return X


@pytest.mark.parametrize("routing", [False, True])
def test_attributes_reach_every_step_that_takes_them(rows, routing):
    X, y, A = rows
    inner = Pipeline([("look", Passed()), ("nothing", None)])
    pipe = Pipeline([("inner", inner), ("skip", "passthrough"), ("scale", StandardScaler()), ("classify", Damped())])
    with sklearn.config_context(enable_metadata_routing=routing):
        fit_with_attributes(pipe, X, y, A)
        assert pipe["inner"]["look"].given_ is A
        alone = fit_with_attributes(Damped(), X, y, A)
        inside = Pipeline([("look", Passed(sensitive_columns=["sex"])), ("classify", LogisticRegression())])
        fit_with_attributes(inside, X, y, A)
        assert inside["look"].given_ is None
        for stranger in (LogisticRegression(), Pipeline([("scale", StandardScaler()), ("c", LogisticRegression())])):
            with pytest.raises(ValueError, match=f"fit of {type(stranger).__name__} takes no sensitive_features"):
                fit_with_attributes(stranger, X, y, A)
        search = GridSearchCV(Damped(), {"noise": [0.0]}, cv=2)
        if routing:
            fit_with_attributes(search, X, y, A)
            assert_array_equal(search.predict(X), alone.predict(X))
        else:
            with pytest.raises(ValueError, match="switch metadata routing on if an estimator inside another"):
                fit_with_attributes(search, X, y, A)


def test_with_routing_on_the_frontier_is_the_same(rows, frontier):
    X, y, A = rows
    with sklearn.config_context(enable_metadata_routing=True):
        routed = fairness_frontier(
            Pipeline([("classify", Damped())]),
            X,
            y,
            sensitive_features=A,
            strengths=STRENGTHS,
            scoring="balanced_accuracy",
            cv=AttributeStratifiedKFold(3, random_state=0),
            n_jobs=2,
        )
    pd.testing.assert_frame_equal(routed.results_, frontier.results_)


def test_labels_scores_measures_and_folds_of_other_kinds(rows):
    X, y, A = rows
    words = y.map({0: "no", 1: "yes"})
    two = {"sensitive_features": A.assign(age=np.linspace(20, 70, 400)), "bins": {"age": [40]}, "strengths": [0.0, 4.0]}
    plain = fairness_frontier(Damped(), X, y, **two, cv=KFold(4))
    found = fairness_frontier(
        Damped(), X, words, **two, pos_label="yes", cv=list(KFold(4).split(X)), scoring=make_scorer(accuracy_score)
    )
    pd.testing.assert_frame_equal(found.results_, plain.results_)
    cells = A["sex"] + (np.linspace(20, 70, 400) >= 40).astype(str)
    y_pred = cross_val_predict(Damped(0.0), X, y, cv=KFold(4), params={"sensitive_features": A})
    assert_allclose(plain.results_["disparity"][0], demographic_parity_difference(y, y_pred, sensitive_features=cells))
    # What is never held out does not count.
    half = [(np.arange(200, 400), np.arange(200))]
    assert fairness_frontier(Damped(), X, y, **two, cv=half, scoring=None).results_["score_std"].tolist() == [0, 0]
    odds = fairness_frontier(Damped(), X, y, **two, cv=KFold(4), disparity="equalized_odds_difference").results_
    assert (odds["ratio"] < 1).all()
    called = fairness_frontier(Damped(), X, y, **two, cv=KFold(4), disparity=demographic_parity_difference).results_
    assert_array_equal(called["disparity"], plain.results_["disparity"])
    assert called["ratio"].isna().all()


class Constant(Damped):
    """Selects nobody from some strength on."""

    def predict(self, X):
        return super().predict(X) * (self.fairness_strength < 2)


def test_a_ratio_of_nobody_to_nobody_is_nan(rows):
    X, y, A = rows
    table = fairness_frontier(Constant(), X, y, sensitive_features=A, strengths=[0.0, 4.0], cv=2).results_
    assert table["selected"].tolist()[1] == 0
    assert table["disparity"].tolist()[1] == 0
    assert table["ratio"].isna().tolist() == [False, True]


def test_the_parameter_to_vary(rows):
    X, y, A = rows
    two = Pipeline([("a", FairLatentTransformer()), ("b", Damped())])
    with pytest.raises(ValueError, match=r"2 parameters named fairness_strength: \['a__fairness_strength', 'b__fair"):
        fairness_frontier(two, X, y, sensitive_features=A)
    with pytest.raises(ValueError, match=r"has 0 parameters named fairness_strength; .* Pass param_name="):
        fairness_frontier(SelectKBest(), X, y, sensitive_features=A)
    with pytest.raises(ValueError, match=r"param_name='strength' is no parameter of the estimator, which has \['fair"):
        fairness_frontier(Damped(), X, y, sensitive_features=A, param_name="strength")
    noisy = fairness_frontier(
        Damped(0.0), X, y, sensitive_features=A, param_name="noise", strengths=iter([0, 9, 0.0]), cv=2, random_state=0
    )
    assert noisy.results_["strength"].tolist() == [0, 9]
    assert noisy.best_strength(1) == 0


def test_mistakes_are_told_before_the_first_fit(rows, monkeypatch):
    X, y, A = rows
    monkeypatch.setattr(Damped, "fit", lambda *args, sensitive_features=None: pytest.fail("fitted"))
    for message, changed in {
        r"strengths=\[\]: expected finite numbers": {"strengths": []},
        r"strengths=\[0.1, nan\]": {"strengths": [0.1, np.nan]},
        r"strengths=\['1'\]": {"strengths": ["1"]},
        r"scoring=\['accuracy'\]: expected one score": {"scoring": ["accuracy"]},
        "'acuracy'": {"scoring": "acuracy"},
        "disparity='demographic_parity_ratio': expected one of .*_difference": {
            "disparity": DIFFERENCE[:-10] + "ratio"
        },
        "metric='parity_difference' is not known": {"disparity": "parity_difference"},
        "pos_label=None is ambiguous": {"y": y.map({0: "no", 1: "yes"})},
        "pos_label=2 is not among the labels": {"pos_label": 2},
        "has 1 group": {"sensitive_features": A.assign(sex="f")},
        "has 2 row.s., fewer than min_group_size=5": {"sensitive_features": np.arange(400) < 2, "cv": 2},
        "is a quantity with 400 different values": {"sensitive_features": np.linspace(0, 1, 400)},
        "sensitive_features: .* has 10 rows, X has 400": {"sensitive_features": A[:10]},
        "another order": {"sensitive_features": A[::-1]},
        "inconsistent numbers of samples": {"y": y[:10]},
        "n_splits=1: expected the number of folds": {"cv": 1},
        "Expected .?cv.? as an integer": {"cv": "five"},
    }.items():
        given_ = {"X": X, "y": y, "sensitive_features": A} | changed
        with pytest.raises(ValueError, match=message):
            fairness_frontier(Damped(), **given_)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="scoring=.* is NaN in a fold at strength 0.5"):
        fairness_frontier(
            Damped(), X, y, sensitive_features=A, strengths=[0.5], cv=2, scoring=lambda *args: np.nan
        )  # fmt: skip
    small = fairness_frontier(
        Damped(), X, y, sensitive_features=A, strengths=[1.0], cv=2, min_group_size=1, scoring=None
    )
    assert len(small.results_) == 1


def test_rows_are_taken_as_the_kind_they_are(rows):
    X, y, _ = rows
    some = np.array([3, 1])
    assert take_rows(X, some).equals(X.iloc[some])
    assert take_rows(pl.from_pandas(X), some).equals(pl.from_pandas(X.iloc[some]))
    assert_array_equal(take_rows(coo_array(X.to_numpy()).tocsr(), some).toarray(), X.to_numpy()[some])
    assert_array_equal(take_rows(y.to_numpy(), some), y.to_numpy()[some])


@pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning")
def test_a_fair_latent_has_a_frontier():
    data = make_biased_latents(600, 8, correlation=0.8, random_state=0)
    X = pd.DataFrame(data.data).add_prefix("x").assign(group=data.sensitive_features["group"])
    fair = FairLatentTransformer(sensitive_columns=["group"]).set_params(max_epochs=8)
    one_split = list(AttributeStratifiedKFold(3, random_state=0).split(X, data.target, sensitive_features=X["group"]))[
        :1
    ]
    frontier = fairness_frontier(
        Pipeline([("fair", fair), ("classify", LogisticRegression())]),
        X,
        data.target,
        sensitive_features=X["group"],
        strengths=[0.0, 2.0],
        cv=one_split,
        n_jobs=2,
        random_state=0,
    )
    assert frontier.results_["disparity"].tolist()[0] > 0.3
    model = frontier.best(0.2)
    assert frontier.best_strength(0.2) == 2.0
    assert model["fair"].fairness_strength == 2.0
    assert model["fair"].latent_layout_.sensitive == ("group",)
    # Not by predicting one label for all.
    guess = DummyClassifier().fit(X, data.target).score(X, data.target)
    assert frontier.results_["score"].tolist()[1] > guess + 0.1
