"""Explanations: what a model makes of rows whose blocks move."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_fairlatent import Explanation, FairLatentTransformer, TabularCodec
from sklearn_fairlatent import _counterfactual_bench as map_bench
from sklearn_fairlatent import _counterfactual_training as map_training
from sklearn_fairlatent import _readers as readers

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
]

COLUMNS = ["mean_change", "mean_absolute_change", "changed"]


class ColumnClassifier(ClassifierMixin, BaseEstimator):
    """Says yes where one column is above zero."""

    def __init__(self, column):
        self.column = column
        self.classes_ = np.array(["no", "yes"])

    def predict_proba(self, X):
        p = 1 / (1 + np.exp(-2 * np.asarray(X, dtype=float)[:, self.column]))
        return np.column_stack([1 - p, p])

    def predict(self, X):
        return self.classes_[(self.predict_proba(X)[:, 1] > 0.5).astype(int)]


class ColumnRegressor(RegressorMixin, BaseEstimator):
    """Predicts one column."""

    def __init__(self, column):
        self.column = column

    def predict(self, X):
        return 10 * np.asarray(X, dtype=float)[:, self.column]


class SexReader(ClassifierMixin, BaseEstimator):
    """Decides by a column of a frame alone."""

    classes_ = np.array([False, True])

    def predict(self, X):
        return np.asarray(X["sex"] == "m")

    def predict_proba(self, X):
        told = self.predict(X).astype(float)
        return np.column_stack([1 - told, told])


@pytest.fixture(scope="module")
def data():
    """Rows with a column for the group, one for the area (of three), one for the label, and three for nothing."""
    rng = np.random.default_rng(0)
    n = 600
    s, area, y = rng.integers(2, size=n), rng.integers(3, size=n), rng.integers(2, size=n)
    X = rng.normal(size=(n, 6))
    X[:, 0] += 3 * s - 1.5
    X[:, 1] += 3 * (area == 1)
    X[:, 2] += 3 * y - 1.5
    A = pd.DataFrame({"group": s, "area": np.array(["a", "b", "c"])[area]})
    return X, pd.Series(np.where(y == 1, "good", "bad"), name="risk"), A


@pytest.fixture(scope="module")
def fair(data):
    X, y, A = data
    return FairLatentTransformer(random_state=0).fit(X, y, sensitive_features=A)


def test_a_model_of_the_attribute_alone_is_found_out(fair, data):
    X, _, A = data
    explanation = fair.explain(X, ColumnClassifier(0), sensitive_features=A)
    assert explanation.changed("group") > 0.75
    assert explanation.blocks.loc["group", "mean_absolute_change"] > 0.5
    for other in ("risk", "area", "residual"):
        assert explanation.changed(other) < 0.08, other
    # Who is moved up says yes more often, who is moved down less.
    changes = explanation.groups.loc["group", "mean_change"]
    assert changes[0] > 0.5
    assert changes[1] < -0.5
    assert abs(explanation.blocks.loc["group", "mean_change"]) < 0.1


@pytest.mark.parametrize(("column", "block"), [(2, "risk"), (1, "area"), (4, "residual")])
def test_a_model_that_ignores_the_attribute_reports_next_to_nothing(fair, data, column, block):
    X, _, A = data
    explanation = fair.explain(X, ColumnClassifier(column), sensitive_features=A)
    assert explanation.changed("group") < 0.05
    assert explanation.blocks.loc["group", "mean_absolute_change"] < 0.05
    assert (explanation.groups.loc["group", "mean_change"].abs() < 0.05).all()
    assert explanation.changed(block) > 0.25
    assert explanation.blocks["mean_absolute_change"].idxmax() == block


def test_a_constant_model_reports_nothing(fair, data):
    X, _, A = data
    model = ColumnClassifier(0)
    model.predict_proba = lambda X: np.full((len(X), 2), 0.5)
    explanation = fair.explain(X, model, sensitive_features=A)
    assert (explanation.blocks == 0).all().all()
    assert (explanation.groups[COLUMNS] == 0).all().all()


def test_names_and_counts(fair, data):
    X, _, A = data
    explanation = fair.explain(X, ColumnClassifier(0), sensitive_features=A)
    assert isinstance(explanation, Explanation)
    assert explanation.blocks.index.tolist() == ["risk", "group", "area", "residual"]
    assert explanation.blocks.index.name == "block"
    assert explanation.blocks.columns.tolist() == COLUMNS
    assert explanation.groups.index.tolist() == [
        ("group", 0),
        ("group", 1),
        ("area", "a"),
        ("area", "b"),
        ("area", "c"),
    ]
    assert explanation.groups.index.names == ["attribute", "group"]
    assert explanation.groups.columns.tolist() == ["n_samples", *COLUMNS]
    sizes = [*A["group"].value_counts().sort_index(), *A["area"].value_counts().sort_index()]
    assert explanation.groups["n_samples"].tolist() == sizes
    assert explanation.favoured == "yes"
    assert explanation.n_samples == len(X)
    assert explanation.blocks["changed"].between(0, 1).all()
    assert (explanation.blocks["mean_absolute_change"] >= explanation.blocks["mean_change"].abs() - 1e-12).all()
    text = str(explanation)
    assert all(word in text for word in ("risk", "residual", "mean_change", "n_samples"))


def test_the_numbers_are_those_of_the_counterfactuals(fair, data):
    X, y, A = data
    model = LogisticRegression().fit(X, y)
    explanation = fair.explain(X, model, sensitive_features=A)
    p, told = model.predict_proba(X)[:, 1], model.predict(X)
    moved = fair.counterfactual(X, "group", sensitive_features=A)
    change, flips = model.predict_proba(moved)[:, 1] - p, model.predict(moved) != told
    expected = [change.mean(), np.abs(change).mean(), flips.mean()]
    assert_allclose(explanation.blocks.loc["group", COLUMNS].astype(float), expected, rtol=0, atol=1e-9)
    women = (A["group"] == 0).to_numpy()
    expected = [change[women].mean(), np.abs(change[women]).mean(), flips[women].mean()]
    found = explanation.groups.loc[("group", 0), COLUMNS].astype(float)
    assert_allclose(found, expected, rtol=0, atol=1e-9)
    # Of three groups every row moves to both of the others.
    changes, own = [], []
    for goal in "abc":
        rows = (A["area"] != goal).to_numpy()
        there = fair.counterfactual(X[rows], "area", goal, sensitive_features=A[rows])
        changes.append(model.predict_proba(there)[:, 1] - p[rows])
        own.append(A["area"][rows])
    changes, own = np.concatenate(changes), np.concatenate(own)
    assert_allclose(explanation.blocks.loc["area", "mean_absolute_change"], np.abs(changes).mean(), rtol=0, atol=1e-9)
    for area in "abc":
        found = explanation.groups.loc[("area", area), "mean_change"]
        assert_allclose(found, changes[own == area].mean(), rtol=0, atol=1e-9)


def test_the_residual_is_set_to_its_average(fair, data):
    X, _, A = data
    explanation = fair.explain(X, ColumnRegressor(4), sensitive_features=A)
    L = fair.to_latent(X)
    L[:, fair.latent_layout_["residual"]] = fair._neutral[fair.latent_layout_["residual"]]
    neutral = fair.from_latent(L)
    change = 10 * (neutral - X)[:, 4]
    found = explanation.blocks.loc["residual"]
    assert_allclose(found[["mean_change", "mean_absolute_change"]], [change.mean(), np.abs(change).mean()], atol=1e-8)
    assert np.abs(change).mean() > 4


# ---------------------------------------------------------------- models of other kinds


def test_a_regressor_has_changes_in_its_own_unit_and_no_decisions(fair, data):
    X, _, A = data
    explanation = fair.explain(X, ColumnRegressor(0), sensitive_features=A)
    assert explanation.favoured is None
    assert explanation.blocks["changed"].isna().all()
    assert explanation.groups["changed"].isna().all()
    assert np.isnan(explanation.changed("group"))
    # Three standard deviations lie between the groups, ten units each.
    assert 20 < explanation.blocks.loc["group", "mean_absolute_change"] < 40
    assert explanation.groups.loc[("group", 0), "mean_change"] > 20
    assert explanation.groups.loc[("group", 1), "mean_change"] < -20
    # The label hardly: a second fitted model says the same of its own column.
    assert explanation.blocks.loc["risk", "mean_absolute_change"] < 2
    label = LinearRegression().fit(X, 10 * X[:, 2])
    other = fair.explain(X, label, sensitive_features=A).blocks["mean_absolute_change"]
    assert other["group"] < 2
    assert other["risk"] > 15


def test_pipelines_and_searches(fair, data):
    X, y, A = data
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=1e4)).fit(X[:, :], A["group"])
    found = fair.explain(X, pipeline, sensitive_features=A)
    assert found.changed("group") > 0.75
    assert found.favoured == 1
    search = GridSearchCV(LogisticRegression(), {"C": [1e4]}, cv=2).fit(X, A["group"])
    assert_allclose(fair.explain(X, search, sensitive_features=A).blocks, found.blocks, atol=0.02)
    # What the transformer hands on does not move with the group.
    behind = make_pipeline(fair, LogisticRegression()).fit(X, y, fairlatenttransformer__sensitive_features=A)
    fitted = behind[0]
    handed_on = fitted.explain(X, behind, sensitive_features=A)
    assert handed_on.blocks.loc["group", "mean_absolute_change"] < 1e-6
    assert handed_on.changed("group") == 0
    assert handed_on.changed("risk") > 0.5


def test_a_decision_function_stands_in_for_probabilities(fair, data):
    X, y, A = data
    model = RidgeClassifier().fit(X, y)
    explanation = fair.explain(X, model, sensitive_features=A)
    change = model.decision_function(fair.counterfactual(X, "risk")) - model.decision_function(X)
    assert_allclose(explanation.blocks.loc["risk", "mean_change"], change.mean(), rtol=0, atol=1e-9)
    assert explanation.favoured == "good"
    three = RidgeClassifier().fit(X, A["area"])
    explanation = fair.explain(X, three, sensitive_features=A)
    moved = fair.counterfactual(X, "group", sensitive_features=A)
    change = (three.decision_function(moved) - three.decision_function(X))[:, -1]
    assert_allclose(explanation.blocks.loc["group", "mean_change"], change.mean(), rtol=0, atol=1e-9)
    assert explanation.favoured == "c"


def test_of_several_classes_the_last_is_followed(fair, data):
    X, _, A = data
    model = LogisticRegression().fit(X, A["area"].replace({"b": "z"}))
    explanation = fair.explain(X, model, sensitive_features=A)
    assert explanation.favoured == "z"
    assert explanation.changed("area") > 0.4 > 0.2 > explanation.changed("group")
    assert explanation.groups.loc[("area", "a"), "mean_change"] > 0.2
    assert explanation.groups.loc[("area", "b"), "mean_change"] < -0.5


# ---------------------------------------------------------------- other attributes, rows and maps


def test_a_quantity_moves_by_a_standard_deviation(data):
    X, y, A = data
    age = 40 + 10 * np.random.default_rng(1).normal(size=len(X))
    X = X.copy()
    X[:, 5] += (age - 40) / 5
    A = pd.DataFrame({"age": age})
    fair = FairLatentTransformer(max_epochs=2, random_state=0).fit(X, y, sensitive_features=A)
    explanation = fair.explain(X, ColumnRegressor(5), sensitive_features=A)
    changes = np.concatenate(
        [
            10 * (fair.counterfactual(X, "age", age + step, sensitive_features=A) - X)[:, 5]
            for step in (age.std(), -age.std())
        ]
    )
    found = explanation.blocks.loc["age"]
    assert_allclose(found["mean_absolute_change"], np.abs(changes).mean(), rtol=0, atol=1e-6)
    assert 10 < found["mean_absolute_change"] < 30
    assert abs(found["mean_change"]) < 0.1
    # A quantity has no groups.
    assert len(explanation.groups) == 0
    assert explanation.groups.columns.tolist() == ["n_samples", *COLUMNS]


def test_groups_that_are_not_told_are_read(fair, data):
    X, _, A = data
    told = fair.explain(X, ColumnClassifier(0), sensitive_features=A)
    read = fair.explain(X, ColumnClassifier(0))
    assert read.changed("group") > 0.8
    assert read.groups.loc["group", "n_samples"].sum() == len(X)
    assert read.groups.loc[("group", 0), "n_samples"] != told.groups.loc[("group", 0), "n_samples"]


def test_a_frame_with_the_attribute_inside(data):
    X, y, A = data
    frame = pd.DataFrame(X, columns=list("uvwxyz"))
    frame.insert(1, "sex", np.where(A["group"] == 1, "m", "f"))
    fair = FairLatentTransformer(sensitive_columns=["sex"], max_epochs=2, random_state=0).fit(frame, y)
    explanation = fair.explain(frame, SexReader())
    assert explanation.changed("sex") == 1
    assert explanation.groups.loc[("sex", "f"), "mean_change"] == 1
    assert explanation.groups.loc[("sex", "m"), "mean_change"] == -1
    # Other blocks leave who somebody is.
    assert explanation.changed("risk") == explanation.changed("residual") == 0


def test_a_mixed_table_and_a_trained_map(data):
    X, y, A = data
    rng = np.random.default_rng(0)
    s = A["group"].to_numpy()
    table = pd.DataFrame(
        {
            "height": np.round(X[:, 0], 3),
            "score": np.round(X[:, 2], 3),
            "pet": np.where(rng.random(600) < 0.1 + 0.8 * s, "dog", "cat"),
            "noise": np.round(X[:, 4], 3),
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_training, "N_STEPS", 40)
        patch.setattr(map_bench, "TABLE_GAINS", (1.2, 1.7))
        patch.setattr(readers, "READER_STEPS", 100)
        patch.setattr(readers, "READER_EPOCHS", 2)
        fair = FairLatentTransformer(
            encoder=TabularCodec(),
            counterfactual_map="trained",
            max_epochs=1,
            n_layers=2,
            hidden_size=16,
            random_state=0,
        ).fit(table, y, sensitive_features=A["group"])
    of_group = make_pipeline(TabularCodec(), LogisticRegression()).fit(table, s)
    of_noise = make_pipeline(TabularCodec(), LogisticRegression()).fit(table, table["noise"] > 0)
    found, control = (fair.explain(table, model, sensitive_features=A["group"]) for model in (of_group, of_noise))
    assert found.changed("group") > 0.6 > 0.15 > control.changed("group")
    assert found.changed("risk") < 0.15
    assert control.changed("residual") > 0.3
    moved = fair.counterfactual(table, "group", sensitive_features=A["group"])
    assert found.changed("group") == (of_group.predict(moved) != of_group.predict(table)).mean()


@pytest.mark.filterwarnings("ignore::sklearn_fairlatent.MissingSensitiveWarning")
@pytest.mark.parametrize(
    "mode",
    ["latent", "trained"],
)
def test_without_any_block_the_residual_is_left(data, mode):
    X, _, _ = data
    fair = FairLatentTransformer(max_epochs=1, random_state=0, counterfactual_map=mode).fit(X)
    explanation = fair.explain(X, ColumnClassifier(0))
    assert explanation.blocks.index.tolist() == ["residual"]
    assert explanation.changed("residual") > 0.3
    assert len(explanation.groups) == 0


def test_decisions_alone_are_enough(fair, data):
    X, y, A = data
    votes = VotingClassifier([("one", LogisticRegression())]).fit(X, y)
    found = fair.explain(X, votes, sensitive_features=A).blocks
    assert (found["mean_absolute_change"] == found["changed"]).all()
    assert found["changed"].max() > 0


def test_what_is_no_model_is_refused(fair, data):
    X, _, A = data
    with pytest.raises(NotFittedError, match="LogisticRegression"):
        fair.explain(X, LogisticRegression(), sensitive_features=A)
    with pytest.raises(TypeError, match="estimator is a StandardScaler; expected a fitted model with predict"):
        fair.explain(X, StandardScaler().fit(X), sensitive_features=A)
    with pytest.raises(NotFittedError):
        FairLatentTransformer().explain(X, ColumnClassifier(0))
    with pytest.raises(ValueError, match="were not in fit"):
        fair.explain(X, ColumnClassifier(0), sensitive_features=A.rename(columns={"area": "region"}))


def test_explaining_changes_neither_rows_nor_transformer(fair, data):
    X, _, A = data
    before, latent = X.copy(), fair.to_latent(X)
    first = fair.explain(X, ColumnClassifier(0), sensitive_features=A)
    second = fair.explain(X, ColumnClassifier(0), sensitive_features=A)
    assert_array_equal(X, before)
    assert_array_equal(fair.to_latent(X), latent)
    pd.testing.assert_frame_equal(first.blocks, second.blocks)
    pd.testing.assert_frame_equal(first.groups, second.groups)
