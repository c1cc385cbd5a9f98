"""Choices under a bound on the disparity."""

import pickle

import numpy as np
import pytest
import sklearn
from fairlearn.metrics import demographic_parity_difference
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_fairlatent import DisparityBoundWarning
from sklearn_fairlatent.model_selection import AttributeStratifiedKFold, ConstrainedRefit

from .samples import Damped, scored


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
