"""The frontier of strengths."""

import pickle
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from fairlearn.metrics import demographic_parity_difference, demographic_parity_ratio
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import coo_array
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.dummy import DummyClassifier
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_validate
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_fairlatent import FairLatentTransformer
from sklearn_fairlatent.datasets import make_biased_latents
from sklearn_fairlatent.metrics._scorers import fairness_scorer
from sklearn_fairlatent.model_selection import AttributeStratifiedKFold, FairnessFrontier, fairness_frontier
from sklearn_fairlatent.model_selection._fitting import fit_with_attributes, take_rows
from sklearn_fairlatent.model_selection._frontier import on_frontier

from .samples import DIFFERENCE, Damped

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
    # Shuffled as scikit-learn does it: only the label, or label and attributes, remember where they stood.
    order = np.random.RandomState(0).permutation(len(y))
    shuffled = run(X.iloc[order], y.iloc[order], A.iloc[order])
    for attributes in (A["sex"].iloc[order], A.iloc[order].to_numpy()):
        found = run(X.to_numpy()[order], y.iloc[order], attributes)
        pd.testing.assert_frame_equal(found.results_, shuffled.results_)
    with pytest.raises(ValueError, match="in another order"):
        run(X.to_numpy()[order], y.iloc[order], A["sex"])
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
