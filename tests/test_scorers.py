"""Fairness scorers: fairlearn's silent answers beside ours, both routing modes, and where attributes come from."""

import pickle
import warnings
from functools import partial

import fairlearn.metrics
import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import Pipeline

from sklearn_fairlatent import FairLatentTransformer
from sklearn_fairlatent.datasets import make_biased_latents
from sklearn_fairlatent.metrics import fairness_scorer, score_distribution_gap, worst_group_score

DIFFERENCE = "demographic_parity_difference"


class Told(ClassifierMixin, BaseEstimator):
    """A classifier that predicts what the first column says."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.asarray(X)[:, 0]


def table(y_true, y_pred, group):
    X = pd.DataFrame({"told": y_pred, "group": group})
    return Told().fit(X, y_true), X, np.asarray(y_true)


# What goes wrong, the metric, labels, predictions, attribute, fairlearn's answer, ours.
LABELS, GUESSES = [1, 0, 1, 0, 1, 0, 1, 1], [1, 0, 0, 0, 1, 1, 1, 0]
WORDS = {1: "yes", 0: "no"}
TRAPS = {
    "one group": (DIFFERENCE, LABELS, GUESSES, ["a"] * 8, 0.0, r"1 group\(s\) here, \['a'\]"),
    "one group, equalized odds": ("equalized_odds_difference", LABELS, GUESSES, ["a"] * 8, 0.0, r"1 group\(s\) here"),
    "a group without positives": (
        "equal_opportunity_difference", [1, 0, 1, 0, 0, 0, 0, 0], GUESSES, list("aaaabbbb"), 0.5,
        "group 'b' of 'group' has no row with the favourable label",
    ),
    "a group without negatives": (
        "equalized_odds_difference", [1, 0, 1, 0, 1, 1, 1, 1], GUESSES, list("aaaabbbb"), 0.25,
        "group 'b' of 'group' has no row with the unfavourable label",
    ),
    "strings": (
        DIFFERENCE, [WORDS[k] for k in LABELS], [WORDS[k] for k in GUESSES], list("aaaabbbb"), 0.0,
        "pos_label=None is ambiguous: the labels are .*'no', 'yes'",
    ),
    "labels 1 and 2": (DIFFERENCE, [k + 1 for k in LABELS], [k + 1 for k in GUESSES], list("aaaabbbb"), 0.5,
                       r"pos_label=None is ambiguous: the labels are \[1, 2\]"),
    "three classes": (DIFFERENCE, [0, 1, 2, 0, 1, 2, 0, 1], [0, 1, 2, 0, 1, 2, 0, 1], list("aaaabbbb"), 0.25,
                      r"pos_label=None is ambiguous"),
    "continuous": (DIFFERENCE, LABELS, GUESSES, [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5], 1.0,
                   r"'group' is a quantity with 8 different values.*bins="),
    "a group of one row": (DIFFERENCE, LABELS, GUESSES, list("aaaaaaab"), 4 / 7, "group 'b' of 'group' has 1 row"),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAPS)
def test_says_so_where_fairlearn_gives_a_comforting_number(name):
    metric, y_true, y_pred, group, silent, message = TRAPS[name]
    # With numpy 1 fairlearn fails on words.
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0" or name != "strings":
        old = getattr(fairlearn.metrics, metric)(np.array(y_true), np.array(y_pred), sensitive_features=group)
        assert_allclose(old, silent)
    scorer = fairness_scorer(metric, sensitive_features="group", min_group_size=2)
    with pytest.raises(ValueError, match=message):
        scorer(*table(y_true, y_pred, group))


def test_ratio_of_no_selection_is_refused_not_nan():
    scorer = fairness_scorer("demographic_parity_ratio", sensitive_features="group", min_group_size=2)
    with pytest.raises(ValueError, match=r"is nan on these 8 rows: the predictions have the values \[0\]"):
        scorer(*table(LABELS, [0] * 8, list("aaaabbbb")))


def test_inside_cross_validation_the_failure_is_told():
    """A fold with one group: a warning with the reason and NaN, or an error; fairlearn's scorer has 0.0 there."""
    y, group = np.array([0, 1] * 20), np.repeat(["a", "b"], 20)
    X = pd.DataFrame({"told": y, "group": group})

    def plain(estimator, X, y):
        return -fairlearn.metrics.demographic_parity_difference(y, estimator.predict(X), sensitive_features=X["group"])

    halves = [(np.arange(20), np.arange(20, 40)), (np.arange(20, 40), np.arange(20))]
    assert_allclose(cross_validate(Told(), X, y, scoring=plain, cv=halves)["test_score"], 0)
    scorer = fairness_scorer(DIFFERENCE, sensitive_features="group")
    with pytest.warns(UserWarning, match=r"Scoring failed(.|\n)*has 1 group\(s\) here"):
        scores = cross_validate(Told(), X, y, scoring=scorer, cv=halves)["test_score"]
    assert np.isnan(scores).all()
    with pytest.raises(ValueError, match="AttributeStratifiedKFold"):
        cross_validate(Told(), X, y, scoring=scorer, cv=halves, error_score="raise")


@pytest.mark.parametrize("metric", ["demographic_parity", "equalized_odds", "equal_opportunity", "selection_rate"])
def test_equals_fairlearn_where_there_is_an_answer(metric):
    rng = np.random.default_rng(0)
    y, guess, group = rng.integers(0, 2, 200), rng.integers(0, 2, 200), rng.choice(["a", "b", "c"], 200)
    for kind, sign in (("difference", -1), ("ratio", 1)):
        function = getattr(fairlearn.metrics, f"{metric}_{kind}")
        wanted = sign * function(y, guess, sensitive_features=group)
        assert_allclose(
            fairness_scorer(f"{metric}_{kind}", sensitive_features="group")(*table(y, guess, group)), wanted
        )
        assert_allclose(fairness_scorer(function, sensitive_features="group")(*table(y, guess, group)), wanted)


def test_string_labels_with_pos_label():
    y, guess = [WORDS[k] for k in LABELS], [WORDS[k] for k in GUESSES]
    for pos_label, number in (("yes", 1), ("no", 0)):
        scorer = fairness_scorer(DIFFERENCE, sensitive_features="group", pos_label=pos_label, min_group_size=2)
        wanted = fairlearn.metrics.demographic_parity_difference(
            np.array(LABELS) == number, np.array(GUESSES) == number, sensitive_features=list("aaaabbbb")
        )
        assert_allclose(scorer(*table(y, guess, list("aaaabbbb"))), -wanted)
    with pytest.raises(ValueError, match="pos_label='maybe' is not among the labels"):
        fairness_scorer(DIFFERENCE, sensitive_features="group", pos_label="maybe")(*table(y, guess, list("aaaabbbb")))


def test_bins_cut_a_quantity():
    age = [20, 25, 29.5, 30, 31, 40, 50, 60]
    scorer = fairness_scorer(DIFFERENCE, sensitive_features="group", bins={"group": [30]}, min_group_size=2)
    groups = ["young"] * 3 + ["old"] * 5
    wanted = fairlearn.metrics.demographic_parity_difference(LABELS, GUESSES, sensitive_features=groups)
    assert_allclose(scorer(*table(LABELS, GUESSES, age)), -wanted)
    with pytest.raises(ValueError, match=r"bins names \['weight'\]"):
        fairness_scorer(DIFFERENCE, sensitive_features="group", bins={"weight": [30]})(*table(LABELS, GUESSES, age))


def test_several_attributes_are_crossed_and_missing_rows_left_out():
    model, X, y = table(LABELS * 4, GUESSES * 4, list("aaaabbbb") * 4)
    X["sex"] = ["f", "m"] * 16
    scorer = fairness_scorer(DIFFERENCE, sensitive_features=["group", "sex"], min_group_size=2)
    wanted = fairlearn.metrics.demographic_parity_difference(y, X["told"], sensitive_features=X[["group", "sex"]])
    assert wanted > 0
    assert_allclose(scorer(model, X, y), -wanted)
    X.loc[:4, "sex"] = None
    known = X["sex"].notna()
    wanted = fairlearn.metrics.demographic_parity_difference(
        y[known], X["told"][known], sensitive_features=X.loc[known, ["group", "sex"]]
    )
    assert_allclose(scorer(model, X, y), -wanted)


# ------------------------------------------------------------------------------------- where the attributes come from


@pytest.fixture(scope="module")
def data():
    made = make_biased_latents(400, random_state=0)
    index = pd.RangeIndex(400) * 7 + 3
    X = pd.DataFrame(made.data, index=index).add_prefix("x")
    return X, pd.Series(made.target, index=index), made.sensitive_features.set_axis(index)


def by_hand(X, y, A, n_folds):
    """Differences of a logistic regression per fold."""
    from sklearn.model_selection import StratifiedKFold

    found = []
    for train, test in StratifiedKFold(n_folds).split(X, y):
        guess = LogisticRegression().fit(X.iloc[train], y.iloc[train]).predict(X.iloc[test])
        found.append(
            fairlearn.metrics.demographic_parity_difference(y.iloc[test], guess, sensitive_features=A.iloc[test])
        )
    return -np.array(found)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_routing_off_finds_the_attribute_by_index(data, n_jobs):
    X, y, A = data
    wanted = by_hand(X, y, A, 3)
    scorer = fairness_scorer(DIFFERENCE, sensitive_features=A.sample(frac=1, random_state=0))  # in another order
    assert_allclose(
        cross_validate(LogisticRegression(), X, y, scoring=scorer, cv=3, n_jobs=n_jobs)["test_score"], wanted
    )
    # X without an index: that of y.
    scores = cross_validate(LogisticRegression(), X.to_numpy(), y, scoring=scorer, cv=3, n_jobs=n_jobs)["test_score"]
    assert_allclose(scores, wanted)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_routing_on_asks_for_the_attribute(data, n_jobs):
    X, y, A = data
    scorer = fairness_scorer(DIFFERENCE)
    with sklearn.config_context(enable_metadata_routing=True):
        found = cross_validate(
            LogisticRegression(), X.to_numpy(), y.to_numpy(), scoring={"acc": "accuracy", "dp": scorer}, cv=3,
            params={"sensitive_features": A}, n_jobs=n_jobs,
        )  # fmt: skip
    assert_allclose(found["test_dp"], by_hand(X, y, A, 3))
    assert (found["test_acc"] > 0.6).all()


@pytest.mark.parametrize("routing", [False, True])
def test_grid_search_over_the_strength_prefers_the_fairer(data, routing):
    X, y, A = data
    pipeline = Pipeline([
        ("fair", FairLatentTransformer(max_epochs=15, random_state=0)), ("classify", LogisticRegression()),
    ])  # fmt: skip
    grid = {"fair__fairness_strength": [0.0, 2.0]}
    scorer = fairness_scorer(DIFFERENCE, sensitive_features=None if routing else A)
    with sklearn.config_context(enable_metadata_routing=routing):
        search = GridSearchCV(pipeline, grid, scoring=scorer, cv=2, n_jobs=2, error_score="raise")
        search.fit(X, y, **{"sensitive_features" if routing else "fair__sensitive_features": A})
    assert search.best_params_ == {"fair__fairness_strength": 2.0}
    unfair, fair = search.cv_results_["mean_test_score"]
    assert unfair < -0.2  # the negative control: without the penalty the difference is large
    assert fair > unfair / 2


def test_attribute_in_a_column_of_X(data):
    X, y, A = data
    scorer = fairness_scorer(DIFFERENCE, sensitive_features="group")
    pipeline = Pipeline([
        ("fair", FairLatentTransformer(sensitive_columns=["group"], max_epochs=5, random_state=0)),
        ("classify", LogisticRegression()),
    ])  # fmt: skip
    scores = cross_validate(pipeline, X.assign(group=A), y, scoring=scorer, cv=2)["test_score"]
    assert np.isfinite(scores).all()
    with pytest.raises(ValueError, match=r"\['group'\] are no columns of X, which has \['x0'"):
        scorer(LogisticRegression().fit(X, y), X, y)
    with pytest.raises(ValueError, match="X is a ndarray without names"):
        scorer(LogisticRegression().fit(X.to_numpy(), y), X.to_numpy(), y)


def test_refuses_to_guess_rows(data):
    X, y, A = data
    model = LogisticRegression().fit(X.to_numpy(), y)
    with pytest.raises(ValueError, match="neither X nor y has an index"):
        fairness_scorer(DIFFERENCE, sensitive_features=A)(model, X.to_numpy(), y.to_numpy())
    with pytest.raises(ValueError, match="was not given the sensitive attributes"):
        fairness_scorer(DIFFERENCE)(model, X.to_numpy(), y)
    with pytest.raises(TypeError, match="sensitive_features is a ndarray, whose rows cannot be told in a fold"):
        fairness_scorer(DIFFERENCE, sensitive_features=A.to_numpy())(model, X.to_numpy(), y)
    with pytest.raises(TypeError, match="list of values, whose rows cannot be told"):
        fairness_scorer(DIFFERENCE, sensitive_features=[0, 1, 1])
    with pytest.raises(ValueError, match="400 rows of X are not in the index"):
        fairness_scorer(DIFFERENCE, sensitive_features=A.set_axis(range(-400, 0)))(model, X, y)
    with pytest.raises(ValueError, match="holds a label twice"):
        fairness_scorer(DIFFERENCE, sensitive_features=A.set_axis([0] * 400))(model, X, y)


# -------------------------------------------------------------------------------------------------------- the scorer


def test_scores_of_the_response_method():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(300, 3)))
    group = np.where(X[0] > 0, "a", "b")
    y = np.where(X[0] + rng.normal(size=300) > 0, "hired", "not")
    model = LogisticRegression().fit(X, y)
    metric = partial(score_distribution_gap, n_bins=10)
    for method in ("predict_proba", "decision_function"):
        scorer = fairness_scorer(metric, pos_label="hired", response_method=method, greater_is_better=False)
        found = scorer(model, X, y, sensitive_features=group)
        scores = model.predict_proba(X)[:, 0] if method == "predict_proba" else -model.decision_function(X)
        assert_allclose(found, -score_distribution_gap(y == "hired", scores, sensitive_features=group, n_bins=10))
    with pytest.raises(ValueError, match="response_method='guess'"):
        fairness_scorer(metric, response_method="guess", pos_label="hired", greater_is_better=False)(
            model, X, y, sensitive_features=group
        )


def test_names_tell_the_sign():
    assert fairness_scorer(worst_group_score)._metric()[1] == 1
    assert fairness_scorer("equalized_odds_ratio")._metric()[1] == 1
    assert fairness_scorer("equalized_odds_difference")._metric()[1] == -1
    with pytest.raises(ValueError, match=r"greater_is_better=None: 'score_distribution_gap' does not tell"):
        fairness_scorer(score_distribution_gap)
    with pytest.raises(ValueError, match=r"metric='parity' is not known.*'demographic_parity_difference'"):
        fairness_scorer("parity")


def test_clones_pickles_and_prints(data):
    X, y, A = data
    scorer = fairness_scorer(DIFFERENCE, sensitive_features=A, min_group_size=3)
    model = LogisticRegression().fit(X, y)
    for other in (clone(scorer), pickle.loads(pickle.dumps(scorer))):
        assert other(model, X, y) == scorer(model, X, y) == scorer.score(model, X, y)
        assert other.min_group_size == 3
    assert (
        repr(scorer)
        == "fairness_scorer('demographic_parity_difference', sensitive_features='DataFrame', pos_label=None)"
    )


def test_sits_beside_sample_weights(data):
    X, y, A = data
    scoring = {"accuracy": "accuracy", "dp": fairness_scorer(DIFFERENCE, sensitive_features=A)}
    search = GridSearchCV(LogisticRegression(), {"C": [1.0]}, scoring=scoring, refit="accuracy", cv=2)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*sample_weight")  # scikit-learn 1.7 and later: the scorer takes none
        search.fit(X, y, sample_weight=np.ones(len(y)))
    assert search.cv_results_["mean_test_dp"] < 0


def test_no_warning_of_its_own(data):
    X, y, A = data
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fairness_scorer(DIFFERENCE, sensitive_features=A)(LogisticRegression().fit(X, y), X, y)


def test_scores_are_not_counted_as_labels(data):
    X, y, A = data
    model = LogisticRegression().fit(X, y)
    assert fairlearn.metrics.demographic_parity_difference(y, model.predict_proba(X)[:, 1], sensitive_features=A) == 0
    for metric in (DIFFERENCE, fairlearn.metrics.equalized_odds_ratio):
        with pytest.raises(ValueError, match="counts predicted labels, of which scores have none"):
            fairness_scorer(metric, response_method="predict_proba")


def test_its_own_attribute_counts_beside_a_routed_one(data):
    X, y, A = data
    other = pd.Series(np.arange(400) % 2, index=X.index, name="other")
    scoring = {
        "group": fairness_scorer(DIFFERENCE, sensitive_features=A),
        "other": fairness_scorer(DIFFERENCE, sensitive_features=other),
        "routed": fairness_scorer(DIFFERENCE),
    }
    with sklearn.config_context(enable_metadata_routing=True):
        found = cross_validate(LogisticRegression(), X, y, scoring=scoring, cv=2, params={"sensitive_features": A})
    assert_allclose(found["test_group"], found["test_routed"])
    assert (found["test_other"] > found["test_group"] + 0.1).all()


def test_groups_that_print_alike_are_apart():
    group = np.array([1] * 8 + ["1"] * 8, dtype=object)
    model, X, y = table([0, 1] * 8, [0] * 8 + [1] * 8, group)
    assert fairness_scorer(DIFFERENCE)(model, X, y, sensitive_features=group) == -1


def test_rows_in_another_order_are_refused(data):
    X, y, A = data
    shuffled = A.sample(frac=1, random_state=0)
    for rows, attributes in ((X, shuffled), (X.to_numpy(), shuffled), (X, {"group": shuffled["group"]})):
        model = LogisticRegression().fit(rows, y)
        with pytest.raises(ValueError, match="same index labels as X in another order"):
            fairness_scorer(DIFFERENCE)(model, rows, y, sensitive_features=attributes)
