"""Out-of-fold scores: no row is scored by a model that saw it, and what comes behind takes them."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_fairlatent import FairLatentTransformer, OutOfFoldScores
from sklearn_fairlatent.datasets import make_biased_latents

# Both compare fit_transform with fit followed by transform, which differ by design.
CROSS_FITTED = dict.fromkeys(
    ["check_transformer_general", "check_transformer_data_not_an_array"], "training rows are scored out of fold"
)


@parametrize_with_checks([OutOfFoldScores(LogisticRegression(), cv=2)], expected_failed_checks=lambda _: CROSS_FITTED)
def test_estimator_checks(estimator, check):
    check(estimator)


@pytest.fixture
def noise():
    rng = np.random.default_rng(0)
    return rng.normal(size=(300, 4)), rng.integers(0, 2, 300)


def test_training_rows_are_scored_by_models_that_did_not_see_them(noise):
    X, y = noise
    memoriser = KNeighborsClassifier(n_neighbors=1)
    scorer = OutOfFoldScores(memoriser, random_state=0)
    out_of_fold = scorer.fit_transform(X, y)[:, -1]
    # Negative control: the same models know two thirds of the labels by heart.
    assert roc_auc_score(y, scorer.transform(X)[:, -1]) > 0.95
    assert abs(roc_auc_score(y, out_of_fold) - 0.5) < 0.1


def test_new_rows_get_the_mean_of_the_folds(noise):
    X, y = noise
    scorer = OutOfFoldScores(LogisticRegression(), cv=4).fit(X, y)
    expected = np.mean([model.decision_function(X) for model in scorer.estimators_], axis=0)
    assert_allclose(scorer.transform(X)[:, -1], expected)
    assert len(scorer.estimators_) == 4


def test_way_back_drops_the_scores(noise):
    X, y = noise
    scorer = OutOfFoldScores(LogisticRegression())
    assert_array_equal(scorer.inverse_transform(scorer.fit_transform(X, y)), X)
    with pytest.raises(ValueError, match=r"X_scored has shape \(300, 4\), expected \(n_samples, 5\)"):
        scorer.inverse_transform(X)


def test_many_classes_have_a_score_each(noise):
    X, _ = noise
    y = np.repeat(["a", "b", "c"], 100)
    scorer = OutOfFoldScores(LogisticRegression()).fit(X, y)
    scores = scorer.transform(X)[:, 4:]
    assert scores.shape == (300, 3)
    assert_allclose(scores.sum(axis=1), 0, atol=1e-12)
    names = scorer.get_feature_names_out()
    assert list(names) == ["x0", "x1", "x2", "x3", "oof_score_a", "oof_score_b", "oof_score_c"]


def test_regression(noise):
    X, _ = noise
    y = X @ [1.0, 2.0, 3.0, 4.0] + 0.5
    scorer = OutOfFoldScores(LinearRegression())
    assert_allclose(scorer.fit_transform(X, y)[:, -1], y)
    assert not hasattr(scorer, "classes_")
    assert OutOfFoldScores().fit(X, y).estimators_[0].__class__.__name__ == "HistGradientBoostingRegressor"


def test_a_refit_forgets_the_classes(noise):
    X, y = noise
    scorer = OutOfFoldScores().fit(X, y)
    assert isinstance(scorer.estimators_[0], HistGradientBoostingClassifier)
    assert hasattr(scorer, "classes_")
    assert not hasattr(scorer.fit(X, X[:, 0] / 3), "classes_")


def test_same_seed_same_bits_also_inside_a_pipeline(noise):
    X, y = noise
    scorer = OutOfFoldScores(make_pipeline(StandardScaler(), DecisionTreeClassifier(max_features=2)), random_state=3)
    before = np.random.get_state()[1].copy()  # noqa: NPY002 (the global generator is what is looked at)
    first, again = (clone(scorer).fit_transform(X, y) for _ in range(2))
    assert_array_equal(first, again)
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002 (the global generator is what is looked at)
    scorer.fit(X, y)
    assert_array_equal(pickle.loads(pickle.dumps(scorer)).transform(X), scorer.transform(X))


def test_frames_keep_names(noise):
    X, y = noise
    frame = pd.DataFrame(X, columns=list("abcd"))
    scorer = OutOfFoldScores(LogisticRegression()).set_output(transform="pandas").fit(frame, y)
    assert list(scorer.transform(frame).columns) == ["a", "b", "c", "d", "oof_score"]


@pytest.mark.parametrize(
    ("scorer", "y", "message"),
    [
        (OutOfFoldScores(cv=1), None, "cv=1: expected the number of folds"),
        (OutOfFoldScores(cv="3"), None, "cv='3': expected the number of folds"),
        (OutOfFoldScores(), np.r_[np.zeros(298), 1, 1].astype(int), r"has 2 row\(s\), fewer than cv=3 folds"),
        (OutOfFoldScores(), np.zeros(300, dtype=int), "single class"),
        (OutOfFoldScores(LogisticRegression()), np.linspace(0, 1, 300), "Pass a regressor, or bin y"),
    ],
)
def test_bad_input(noise, scorer, y, message):
    X, labels = noise
    with pytest.raises(ValueError, match=message):
        scorer.fit(X, labels if y is None else y)
    assert not hasattr(scorer, "estimators_")


def test_a_failed_fit_leaves_an_earlier_one(noise):
    X, y = noise
    scorer = OutOfFoldScores(LogisticRegression(), random_state=0).fit(X, y)
    before = scorer.transform(X)
    with pytest.raises(ValueError, match="single class"):
        scorer.fit(X[:, :2], np.zeros(len(y)))
    assert_array_equal(scorer.transform(X), before)


def test_estimator_without_probabilities(noise):
    with pytest.raises(TypeError, match="has no predict_proba"):
        OutOfFoldScores(RidgeClassifier()).fit(*noise)


def test_further_arguments_are_refused(noise):
    with pytest.raises(TypeError, match="takes X and y only"):
        OutOfFoldScores().fit_transform(*noise, groups=noise[1])


def test_in_front_of_the_latent_as_encoder_and_as_step():
    data = make_biased_latents(600, random_state=0)
    settings = {"max_epochs": 3, "random_state": 0}
    scores = OutOfFoldScores(LogisticRegression(), random_state=0)
    inside = FairLatentTransformer(encoder=scores, **settings)
    inside.fit(data.data, data.target, sensitive_features=data.sensitive_features)
    ahead = make_pipeline(clone(scores), FairLatentTransformer(**settings))
    ahead.fit(data.data, data.target, fairlatenttransformer__sensitive_features=data.sensitive_features)
    # Trained on the out-of-fold scores both ways, so the two are the same to the bit.
    assert_array_equal(inside.transform(data.data), ahead.transform(data.data))
    L = inside.to_latent(data.data)
    assert_allclose(inside.from_latent(L), data.data, atol=1e-8)


def test_what_stands_behind_a_latent_with_scores_learns_from_out_of_fold_ones():
    data = make_biased_latents(600, random_state=0)
    rng = np.random.default_rng(0)
    y, A = rng.integers(0, 2, 600), data.sensitive_features
    settings = {"max_epochs": 1, "random_state": 0}
    scores = OutOfFoldScores(KNeighborsClassifier(n_neighbors=1), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Z = FairLatentTransformer(encoder=scores, **settings).fit_transform(data.data, y, sensitive_features=A)
        fair = FairLatentTransformer(encoder=scores, **settings).fit(data.data, y, sensitive_features=A)
    # The labels are noise: negative control, the in-sample scores know them.
    assert roc_auc_score(y, fair.transform(data.data)[:, 0]) > 0.65
    assert abs(roc_auc_score(y, Z[:, 0]) - 0.5) < 0.1
    ahead = FairLatentTransformer(**settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same = make_pipeline(clone(scores), ahead).fit_transform(
            data.data, y, fairlatenttransformer__sensitive_features=A
        )
    assert_array_equal(Z, same)


@pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning")
def test_an_encoder_without_a_seed_gets_one_of_the_transformer():
    data = make_biased_latents(300, random_state=0)
    fits = [
        FairLatentTransformer(encoder=OutOfFoldScores(LogisticRegression()), max_epochs=1, random_state=seed).fit(
            data.data, data.target, sensitive_features=data.sensitive_features
        )
        for seed in (0, 0, 1)
    ]
    first, again, other = (fair.encoding_.encoder.transform(data.data) for fair in fits)
    assert_array_equal(first, again)
    assert (first != other).any()
    assert fits[0].encoder.random_state is None
