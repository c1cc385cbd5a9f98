"""Tests inside scikit-learn's machinery: pipelines, searches, routing, copies, and pipeline_counterfactual."""

import io
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from fairlearn.metrics import demographic_parity_difference
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from sklearn_fairlatent import FairLatentTransformer, TabularCodec, pipeline_counterfactual
from sklearn_fairlatent.augmentation import LatentFlipSampler
from sklearn_fairlatent.certification import certify
from sklearn_fairlatent.datasets import load_german, make_biased_latents
from sklearn_fairlatent.inspection import LeakageDisplay, _measuring, fairness_report

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
]


@pytest.fixture(scope="module")
def rows():
    data = make_biased_latents(400, 8, correlation=0.8, random_state=0)
    X = pd.DataFrame(20 + 5 * data.data, columns=[f"c{k}" for k in range(8)])
    X.index = A_index = pd.Index(np.random.RandomState(0).permutation(400) + 1000)
    return X, pd.Series(data.target, index=A_index, name="hired"), data.sensitive_features.set_index(A_index)


def _pipe(**params):
    fair = FairLatentTransformer(**{"max_epochs": 4, "random_state": 0, **params})
    return Pipeline([("scale", StandardScaler()), ("fair", fair), ("predict", LogisticRegression())])


@pytest.fixture(scope="module")
def fitted(rows):
    X, y, A = rows
    return _pipe().fit(X, y, fair__sensitive_features=A)


# ---------------------------------------------------------------- routing


def test_fit_with_routing_off_takes_the_prefixed_name(rows, fitted):
    X, y, A = rows
    assert fitted["fair"].latent_layout_.sensitive == ("group",)
    assert not fitted["fair"].trained_without_sensitive_
    assert fitted.score(X, y) > 0.6
    with pytest.raises(ValueError, match="sensitive_features"):
        _pipe().fit(X, y, sensitive_features=A)


def test_fit_with_routing_on_takes_the_plain_name(rows, fitted):
    X, y, A = rows
    with sklearn.config_context(enable_metadata_routing=True):
        pipe = _pipe().fit(X, y, sensitive_features=A)
        np.testing.assert_array_equal(pipe.predict_proba(X), fitted.predict_proba(X))
        np.testing.assert_array_equal(_pipe()[:-1].fit_transform(X, y, sensitive_features=A), fitted[:-1].transform(X))
        with pytest.raises(TypeError, match="fair__sensitive_features"):
            _pipe().fit(X, y, fair__sensitive_features=A)


@pytest.mark.parametrize("routing", [False, True])
def test_cross_validate(rows, routing):
    X, y, A = rows
    name = "sensitive_features" if routing else "fair__sensitive_features"
    with sklearn.config_context(enable_metadata_routing=routing):
        result = cross_validate(_pipe(), X, y, params={name: A}, cv=3, return_estimator=True, error_score="raise")
    assert len(result["test_score"]) == 3
    assert result["test_score"].mean() > 0.6
    for pipe in result["estimator"]:
        assert pipe["fair"].latent_layout_.sensitive == ("group",)
        assert not pipe["fair"].trained_without_sensitive_
    # Each fold saw its own rows of A.
    first = np.arange(len(X))[: -len(X) // 3]
    alone = _pipe().fit(X.iloc[first], y.iloc[first], fair__sensitive_features=A.iloc[first])
    assert any(
        not np.array_equal(alone["fair"].transform(X.to_numpy()), pipe["fair"].transform(X.to_numpy()))
        for pipe in result["estimator"]
    )


def accuracy_less_disparity(y, y_pred, sensitive_features):
    return accuracy_score(y, y_pred) - demographic_parity_difference(y, y_pred, sensitive_features=sensitive_features)


class AccuracyLessDisparity:
    """The same for a search without routing: the groups are looked up by the index of X."""

    def __init__(self, A):
        self.A = A

    def __call__(self, estimator, X, y):
        return accuracy_less_disparity(y, estimator.predict(X), self.A.loc[X.index])


@pytest.fixture(scope="module")
def unfair(rows):
    """Without the penalty, what the searches below choose against."""
    X, y, A = rows
    return _pipe(max_epochs=12, fairness_strength=0.0).fit(X, y, fair__sensitive_features=A["group"])


@pytest.mark.parametrize("routing", [False, True])
def test_grid_search_weighs_accuracy_and_disparity(rows, unfair, routing):
    X, y, A = rows
    grid = {"fair__fairness_strength": [0.0, 2.0]}
    with sklearn.config_context(enable_metadata_routing=routing):
        if routing:
            scorer = make_scorer(accuracy_less_disparity).set_score_request(sensitive_features=True)
            given = {"sensitive_features": A["group"]}
        else:
            scorer = AccuracyLessDisparity(A["group"])
            given = {"fair__sensitive_features": A["group"]}
        search = GridSearchCV(_pipe(max_epochs=12), grid, scoring=scorer, cv=2, n_jobs=2, error_score="raise")
        search.fit(X, y, **given)
    scores = search.cv_results_["mean_test_score"]
    # The attribute is so tied to the label that the penalty pays: without it the disparity costs more.
    assert scores[1] > scores[0] + 0.05
    assert search.best_params_ == {"fair__fairness_strength": 2.0}
    gaps = [
        demographic_parity_difference(y, pipe.predict(X), sensitive_features=A["group"])
        for pipe in (unfair, search.best_estimator_)
    ]
    assert gaps[0] > 0.3
    assert gaps[1] < gaps[0] - 0.15


def test_a_search_says_that_a_dict_of_arrays_is_not_sliced(rows):
    X, y, A = rows
    loose = {"group": A["group"].to_numpy()}
    with pytest.raises(ValueError, match="pass a DataFrame"):
        cross_validate(_pipe(), X, y, params={"fair__sensitive_features": loose}, cv=2, error_score="raise")


def test_an_attribute_that_stays_inside_X_needs_no_routing(rows):
    X, y, A = rows
    pipe = make_pipeline(
        FairLatentTransformer(sensitive_columns=["group"], max_epochs=4, random_state=0), LogisticRegression()
    )
    inside = X.assign(group=A["group"])
    result = cross_validate(pipe, inside, y, cv=2, error_score="raise", return_estimator=True)
    assert all(fit[0].latent_layout_.sensitive == ("group",) for fit in result["estimator"])
    pipe.fit(inside, y)
    np.testing.assert_array_equal(pipe.predict_proba(X), pipe.predict_proba(inside))


# ---------------------------------------------------------------- copies


def test_clone_takes_the_parameters_and_nothing_fitted(rows, fitted):
    X, y, A = rows
    fair = FairLatentTransformer(
        2, fairness_strength=0.5, max_epochs=3, random_state=1, net_params={"optimizer": torch.optim.Adam}
    )
    fair.fit(X.to_numpy(), y, sensitive_features=A)
    copy = clone(fair)
    assert {k: v for k, v in copy.get_params().items() if k != "net_params"} == {
        k: v for k, v in fair.get_params().items() if k != "net_params"
    }
    assert not [name for name in vars(copy) if name.endswith("_")]
    copy.fit(X.to_numpy(), y, sensitive_features=A)
    np.testing.assert_array_equal(copy.transform(X.to_numpy()), fair.transform(X.to_numpy()))


@pytest.mark.parametrize("how", ["pickle", "joblib"])
def test_copies_through_bytes_answer_with_the_same_bits(rows, fitted, how):
    X, y, A = rows
    if how == "pickle":
        copy = pickle.loads(pickle.dumps(fitted))
    else:
        buffer = io.BytesIO()
        joblib.dump(fitted, buffer)
        buffer.seek(0)
        copy = joblib.load(buffer)
    np.testing.assert_array_equal(copy.predict_proba(X), fitted.predict_proba(X))
    np.testing.assert_array_equal(
        pipeline_counterfactual(copy, X, "group", sensitive_features=A),
        pipeline_counterfactual(fitted, X, "group", sensitive_features=A),
    )
    assert copy["fair"].history_ == fitted["fair"].history_
    assert repr(copy["fair"].latent_layout_) == repr(fitted["fair"].latent_layout_)
    copy.fit(X, y, fair__sensitive_features=A)
    np.testing.assert_array_equal(copy.predict_proba(X), fitted.predict_proba(X))


def test_a_copy_with_an_encoder(rows):
    german = load_german()
    X, sex = german.data[:300], german.sensitive_features["sex"][:300]
    fair = FairLatentTransformer(encoder=TabularCodec(), max_epochs=2, random_state=0)
    fair.fit(X, german.target[:300], sensitive_features=sex)
    copy = pickle.loads(pickle.dumps(fair))
    pd.testing.assert_frame_equal(
        copy.counterfactual(X, "sex", sensitive_features=sex), fair.counterfactual(X, "sex", sensitive_features=sex)
    )


def test_feature_names_go_through_a_pipeline(fitted, rows):
    X, _, _ = rows
    assert fitted[:-1].get_feature_names_out().tolist() == ["fairlatenttransformer0"]
    frame = clone(fitted).set_output(transform="pandas")
    frame.fit(X, rows[1], fair__sensitive_features=rows[2])
    Z = frame[:-1].transform(X)
    assert Z.columns.tolist() == ["fairlatenttransformer0"]
    pd.testing.assert_index_equal(Z.index, X.index)
    assert frame[-1].feature_names_in_.tolist() == ["fairlatenttransformer0"]


@pytest.mark.parametrize("union", [FeatureUnion, ColumnTransformer])
def test_next_to_other_steps(rows, union):
    X, y, A = rows
    fair = FairLatentTransformer(max_epochs=2, random_state=0)
    with sklearn.config_context(enable_metadata_routing=True):
        if union is FeatureUnion:
            both = FeatureUnion([("fair", fair), ("scale", StandardScaler())])
        else:
            both = ColumnTransformer([("fair", fair, X.columns[:6].tolist()), ("rest", "passthrough", ["c7"])])
        both.fit(X, y, sensitive_features=A)
        assert both.get_feature_names_out()[0] == "fair__fairlatenttransformer0"
        assert both.transform(X).shape == (400, len(both.get_feature_names_out()))


# ---------------------------------------------------------------- samplers, which rows skip at prediction


@pytest.fixture(scope="module")
def sampled(rows):
    """Rows with the attribute among their columns, and a pipeline that is fitted on partners, too."""
    X, y, A = rows
    inside = X.assign(group=A["group"])
    fair = FairLatentTransformer(sensitive_columns=["group"], n_codes=3, max_epochs=2, random_state=0)
    pipeline = pytest.importorskip("imblearn.pipeline").Pipeline([
        ("sampler", LatentFlipSampler(sensitive_columns=["group"], judge=None, random_state=0)),
        ("fair", fair),
        ("predict", LogisticRegression()),
    ])  # fmt: skip
    return inside, pipeline.fit(inside[:200], y[:200])


def test_behind_a_sampler_the_transformer_is_found(rows, sampled, monkeypatch):
    _, y, A = rows
    inside, pipeline = sampled
    X, y, A, fair = inside[200:], y[200:], A[200:], pipeline["fair"]
    probes = {"linear": LogisticRegression()}
    assert certify(pipeline, X, A).to_dict() == certify(fair, X, A).to_dict()
    shown = [LeakageDisplay.from_estimator(m, X, None, A, probes=probes, random_state=0) for m in (pipeline, fair)]
    pd.testing.assert_frame_equal(shown[0].after.to_frame(), shown[1].after.to_frame())
    pd.testing.assert_frame_equal(pipeline_counterfactual(pipeline, X, "group"), fair.counterfactual(X, "group"))
    monkeypatch.setattr(_measuring, "PROBES", probes)
    report = fairness_report(pipeline, X, y, sensitive_features=A, random_state=0)
    assert report.scores.loc["model", "accuracy"] == pipeline.score(X, y)
    assert set(report.leakage.index) == {("before", "group"), ("after", "group")}
    assert report.latent["certificate"]["n_codes"] == 3
    assert set(report.counterfactuals["column"]) == {*inside, "prediction"}


# ---------------------------------------------------------------- pipeline_counterfactual


def test_answers_in_the_units_of_the_input(rows, fitted):
    X, _, A = rows
    moved = pipeline_counterfactual(fitted, X, "group", sensitive_features=A)
    by_hand = fitted["scale"].inverse_transform(
        fitted["fair"].counterfactual(fitted["scale"].transform(X), "group", sensitive_features=A)
    )
    np.testing.assert_array_equal(moved, by_hand)
    assert moved.shape == X.shape
    assert np.abs(moved.mean(axis=0) - 20).max() < 10  # the units of X, not standard deviations
    own = pipeline_counterfactual(fitted, X, "group", A["group"], sensitive_features=A)
    np.testing.assert_allclose(own, X, rtol=1e-12)
    back = pipeline_counterfactual(
        fitted, pd.DataFrame(moved, columns=X.columns), "group", sensitive_features=1 - A["group"]
    )
    np.testing.assert_allclose(back, X, rtol=0, atol=1e-6)
    assert np.abs(moved - X.to_numpy()).max() > 0.5


def test_the_label_and_several_attributes_by_dict(rows, fitted):
    X, _, A = rows
    moved = pipeline_counterfactual(fitted, X, "target", 1)
    np.testing.assert_array_equal(moved, pipeline_counterfactual(fitted, X, "hired", 1))
    assert fitted.predict(pd.DataFrame(moved, columns=X.columns)).mean() > fitted.predict(X).mean() + 0.1
    both = pipeline_counterfactual(fitted, X, ["hired", "group"], {"hired": 1, "group": 0}, sensitive_features=A)
    assert both.shape == X.shape


def test_passthrough_steps_and_a_pipeline_that_ends_with_the_transformer(rows):
    X, y, A = rows
    fair = FairLatentTransformer(max_epochs=2, random_state=0)
    steps = [("none", None), ("pass", "passthrough"), ("scale", MinMaxScaler()), ("fair", fair)]
    pipe = Pipeline(steps).fit(X, y, fair__sensitive_features=A)
    own = pipeline_counterfactual(pipe, X, "group", A["group"], sensitive_features=A)
    np.testing.assert_allclose(own, X, rtol=1e-12)
    moved = pipeline_counterfactual(pipe, X, "group", sensitive_features=A)
    assert not np.allclose(moved, X)
    alone = make_pipeline(clone(fair)).fit(X, y, fairlatenttransformer__sensitive_features=A)
    frame = pipeline_counterfactual(alone, X, "group", sensitive_features=A)
    pd.testing.assert_frame_equal(frame, alone[0].counterfactual(X, "group", sensitive_features=A))


def test_a_pipeline_in_front_of_the_transformer(rows):
    X, y, A = rows
    inner = make_pipeline(StandardScaler(), MinMaxScaler())
    pipe = Pipeline([("prepare", inner), ("fair", FairLatentTransformer(max_epochs=2, random_state=0))])
    pipe.fit(X, y, fair__sensitive_features=A)
    own = pipeline_counterfactual(pipe, X, "group", A["group"], sensitive_features=A)
    np.testing.assert_allclose(own, X, rtol=1e-12)


def test_a_codec_in_front_gives_readable_rows():
    german = load_german()
    X, sex = german.data[:300], german.sensitive_features["sex"][:300]
    pipe = Pipeline(
        [
            ("codec", TabularCodec()),
            ("fair", FairLatentTransformer(max_epochs=2, random_state=0)),
            ("predict", LogisticRegression()),
        ]
    ).fit(X, german.target[:300], fair__sensitive_features=sex)
    moved = pipeline_counterfactual(pipe, X, "sex", sensitive_features=sex)
    assert isinstance(moved, pd.DataFrame)
    assert moved.dtypes.tolist() == X.dtypes.tolist()
    assert (moved != X).any(axis=1).mean() > 0.5
    assert set(moved["purpose"]) <= set(X["purpose"])


def test_pipelines_without_an_answer(rows):
    X, y, A = rows
    fair = FairLatentTransformer(max_epochs=1, random_state=0)

    def fit(*steps, **params):
        return Pipeline(list(steps)).fit(X, y, **params)

    one_way = fit(("abs", OneWay()), ("fair", fair), fair__sensitive_features=A)
    with pytest.raises(ValueError, match=r"step 'abs' \(OneWay\) has no inverse_transform.*FairLatentTransformer"):
        pipeline_counterfactual(one_way, X, "group")
    none = fit(("scale", StandardScaler()), ("predict", LogisticRegression()))
    with pytest.raises(TypeError, match="pipeline_counterfactual: expected .* got a Pipeline with 0 of them"):
        pipeline_counterfactual(none, X, "group")
    two = fit(
        ("first", clone(fair).set_params(n_components=None)),
        ("second", fair),
        first__sensitive_features=A,
        second__sensitive_features=A,
    )
    with pytest.raises(TypeError, match="pipeline_counterfactual: expected .* got a Pipeline with 2 of them"):
        pipeline_counterfactual(two, X, "group")
    with pytest.raises(TypeError, match="got a GridSearchCV"):
        pipeline_counterfactual(GridSearchCV(_pipe(), {}), X, "group")
    with pytest.raises(ValueError, match="attr='sex' is not known"):
        pipeline_counterfactual(fit(("fair", fair), fair__sensitive_features=A), X, "sex")
    with pytest.raises(sklearn.exceptions.NotFittedError):
        pipeline_counterfactual(_pipe(), X, "group")


def test_a_search_a_frozen_step_and_a_transformer_alone_answer_too(rows):
    X, y, A = rows
    search = GridSearchCV(_pipe(), {"fair__max_epochs": [1, 2]}, cv=2).fit(X, y, fair__sensitive_features=A)
    best = search.best_estimator_
    moved = pipeline_counterfactual(best, X, "group", sensitive_features=A)
    np.testing.assert_array_equal(pipeline_counterfactual(search, X, "group", sensitive_features=A), moved)
    frozen = Pipeline([("scale", best["scale"]), ("fair", FrozenEstimator(best["fair"]))])
    np.testing.assert_array_equal(pipeline_counterfactual(frozen, X, "group", sensitive_features=A), moved)
    scaled = best["scale"].transform(X)
    np.testing.assert_array_equal(
        pipeline_counterfactual(best["fair"], scaled, "group", sensitive_features=A),
        best["fair"].counterfactual(scaled, "group", sensitive_features=A),
    )


def test_attributes_in_another_order_than_the_rows_are_refused_behind_a_scaler(rows, fitted):
    X, _, A = rows
    moved = A.sample(frac=1, random_state=0)
    for told in (moved, {"group": moved["group"]}):
        with pytest.raises(ValueError, match="same index labels as X in another order"):
            pipeline_counterfactual(fitted, X, "group", sensitive_features=told)
    np.testing.assert_array_equal(
        pipeline_counterfactual(fitted, X, "group", sensitive_features=moved.loc[X.index]),
        pipeline_counterfactual(fitted, X, "group", sensitive_features=A.to_numpy()),
    )


def test_output_and_step_are_those_of_the_transformer(rows, fitted):
    X, y, A = rows
    scaled, fair = fitted["scale"].transform(X), fitted["fair"]
    for arguments in ({"output": "embedding"}, {"output": "latent", "step": 0.5}):
        np.testing.assert_array_equal(
            pipeline_counterfactual(fitted, X, "group", sensitive_features=A, **arguments),
            fair.counterfactual(scaled, "group", sensitive_features=A, **arguments),
        )
    whole, half = (pipeline_counterfactual(fitted, X, "group", sensitive_features=A, step=step) for step in (1, 0.5))
    np.testing.assert_allclose(
        half, fitted["scale"].inverse_transform(fair.counterfactual(scaled, "group", sensitive_features=A, step=0.5))
    )
    assert np.abs(whole - half).max() > 0.1
    # Nothing but rows of the input needs a way back through the steps.
    one_way = Pipeline([("abs", OneWay()), ("fair", FairLatentTransformer(max_epochs=1, random_state=0))])
    one_way.fit(X, y, fair__sensitive_features=A)
    assert pipeline_counterfactual(one_way, X, "group", output="latent").shape == X.shape
    with pytest.raises(ValueError, match="output='pixels'"):
        pipeline_counterfactual(fitted, X, "group", output="pixels")


class OneWay(TransformerMixin, BaseEstimator):
    """Absolute values, and no way back."""

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return np.abs(X)


def test_a_selection_that_drops_columns_goes_back_as_far_as_scikit_learn_does(rows):
    X, y, A = rows
    pipe = Pipeline([("pick", SelectKBest(k=5)), ("fair", FairLatentTransformer(max_epochs=1, random_state=0))])
    pipe.fit(X, y, fair__sensitive_features=A)
    own = pipeline_counterfactual(pipe, X, "group", A["group"], sensitive_features=A)
    kept = pipe["pick"].get_support()
    np.testing.assert_array_equal(own[:, kept], X.to_numpy()[:, kept])
    assert (own[:, ~kept] == 0).all()
