"""In imbalanced-learn's pipelines, and without imbalanced-learn."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.preprocessing import StandardScaler

from .samples import NAMES, N, cells, sampler, small

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
]


@pytest.fixture(scope="module")
def imblearn_pipeline():
    return pytest.importorskip("imblearn.pipeline").Pipeline


def steps(*between, **params):
    return [("scale", StandardScaler()), ("sampler", sampler(**params)), *between, ("classify", LogisticRegression())]


class Counts(BaseEstimator):
    """A classifier that notes how many rows it learned from."""

    def fit(self, X, y):
        self.classes_, self.n_rows_ = np.unique(y), len(X)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


def n_rows(pipe, X, y):
    return pipe["count"].n_rows_


def test_with_routing_the_attribute_reaches_the_sampler(rows, imblearn_pipeline):
    X, y, group = rows
    with sklearn.config_context(enable_metadata_routing=True):
        pipe = imblearn_pipeline(steps()).fit(X, y, sensitive_features=group)
        scores = cross_val_score(imblearn_pipeline(steps()), X, y, params={"sensitive_features": group}, cv=3)
        counting = imblearn_pipeline([("sampler", sampler()), ("count", Counts())])
        counts = cross_val_score(counting, X, y, params={"sensitive_features": group}, cv=3, scoring=n_rows)
        with pytest.raises(ValueError, match="sensitive_features=None: there is nothing to flip"):
            imblearn_pipeline(steps()).fit(X, y)
    assert_array_equal(pipe["sampler"].sensitive_features_["group"], np.r_[group, 1 - group])
    scaled = StandardScaler().fit_transform(X)
    expected = LogisticRegression().fit(*sampler().fit_resample(scaled, y, sensitive_features=group))
    assert_array_equal(pipe["classify"].coef_, expected.coef_)
    # Only at fit.
    assert pipe.predict(X).shape == (N,)
    assert np.mean(scores) > 0.7
    assert counts.tolist() == [400] * 3


def test_a_search_over_the_step(rows, imblearn_pipeline):
    X, y, group = rows
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(imblearn_pipeline(steps()), {"sampler__step": [0.01, 0.5, 1.0]}, cv=3)
        search.fit(X, y, sensitive_features=group)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(set(search.cv_results_["mean_test_score"])) > 1
    assert_array_equal(search.best_estimator_["sampler"].sensitive_features_["group"], np.r_[group, 1 - group])


def test_the_request_of_routing_is_the_attribute():
    pytest.importorskip("imblearn")
    with sklearn.config_context(enable_metadata_routing=True):
        assert sampler().get_metadata_routing().fit_resample.requests == {"sensitive_features": True}
        renamed = sampler().set_fit_resample_request(sensitive_features="sex")
        assert clone(renamed).get_metadata_routing().fit_resample.requests == {"sensitive_features": "sex"}


def test_without_routing_a_keyword_is_never_dropped_in_silence(rows, imblearn_pipeline):
    X, y, group = rows
    with pytest.raises(ValueError, match="imbalanced-learn's Pipeline drops this keyword.*enable_metadata_routing"):
        imblearn_pipeline(steps()).fit(X, y, sampler__sensitive_features=group)


def test_without_routing_the_attribute_is_a_column(rows, imblearn_pipeline):
    X, y, group = rows
    frame = pd.DataFrame(X, columns=NAMES).assign(sex=group.map({0: "f", 1: "m"}))
    fair = small(random_state=0, sensitive_columns=["sex"])
    pipe = imblearn_pipeline(
        [("sampler", sampler(sensitive_columns=["sex"])), ("fair", fair), ("classify", LogisticRegression())]
    )
    pipe.fit(frame, y)
    more, y_more = sampler(sensitive_columns=["sex"]).fit_resample(frame, y)
    expected = clone(fair).fit(more, y_more)
    assert_array_equal(pipe["fair"].transform(frame), expected.transform(frame))
    # What it learned is the flipped column, not the one that the rows had.
    control = clone(fair).fit(more.assign(sex=np.tile(frame["sex"], 2)), y_more)
    assert np.abs(control.transform(frame) - expected.transform(frame)).max() > 1e-3
    assert_array_equal(pipe.predict(frame.drop(columns="sex")), pipe.predict(frame))
    assert cross_val_score(pipe, frame, y, cv=3).shape == (3,)
    arrays = imblearn_pipeline([("sampler", sampler(sensitive_columns=[6])),
                                ("fair", small(random_state=0, sensitive_columns=[6])),
                                ("classify", LogisticRegression())])  # fmt: skip
    wide = np.column_stack([X, group])
    assert_array_equal(arrays.fit(wide, y).predict(wide), pipe.predict(frame))


def test_after_another_sampler(rows, imblearn_pipeline):
    over = pytest.importorskip("imblearn.over_sampling").RandomOverSampler(random_state=0)
    X, y, group = rows
    rare = (np.arange(N) % 4 > 0) | (y == 0)
    frame = pd.DataFrame(X, columns=NAMES).assign(sex=group)[rare]
    pipe = imblearn_pipeline(
        [("over", over), ("sampler", sampler(sensitive_columns=["sex"])), ("classify", LogisticRegression())]
    ).fit(frame, y[rare])
    more, y_more = sampler(sensitive_columns=["sex"]).fit_resample(*over.fit_resample(frame, y[rare]))
    assert (cells(y_more, more[["sex"]]).nunique(axis=1) == 1).all()
    assert cells(y_more, more[["sex"]]).sum(axis=1).nunique() == 1
    assert_array_equal(pipe["sampler"].sensitive_features_["sex"], more["sex"])


def test_at_the_end_of_a_pipeline(rows, imblearn_pipeline):
    X, y, group = rows
    pipe = imblearn_pipeline([("scale", StandardScaler()), ("sampler", sampler(sensitive_columns=[6]))])
    assert pipe.fit_resample(np.column_stack([X, group]), y)[0].shape == (2 * N, 7)


def test_routing_gives_a_step_behind_the_attribute_of_the_rows_as_they_were_passed(rows, imblearn_pipeline):
    X, y, group = rows
    pipe = imblearn_pipeline(steps(("fair", small(random_state=0))))
    with (
        sklearn.config_context(enable_metadata_routing=True),
        pytest.raises(ValueError, match="has 300 rows, X has 600"),
    ):
        pipe.fit(X, y, sensitive_features=group)


WITHOUT = """
import sys
import numpy as np, sklearn
from sklearn.base import clone

rng = np.random.default_rng(0)
X = rng.normal(size=(100, 3))
y, group = X[:, 0] > 0, X[:, 1] > 0
for state in ("absent", "broken"):
    for name in [name for name in sys.modules if name.startswith("sklearn_fairlatent.augmentation")]:
        del sys.modules[name]
    if state == "absent":
        sys.modules["imblearn"] = None
    else:  # as a release that does not know this scikit-learn
        del sys.modules["imblearn"]
        sys.path.insert(0, sys.argv[1])
    from sklearn_fairlatent.augmentation import LatentFlipSampler

    sampler = LatentFlipSampler(random_state=0)
    X_more, _ = sampler.fit_resample(X, y, sensitive_features=group)
    with sklearn.config_context(enable_metadata_routing=True):
        sampler.get_metadata_routing()
        X_again, _ = clone(sampler).fit_resample(X, y, sensitive_features=group)
    print(state, X_more.shape, (X_more == X_again).all(), sys.modules.get("imblearn"))
"""


def test_without_imbalanced_learn_it_works(tmp_path):
    (tmp_path / "imblearn").mkdir()
    (tmp_path / "imblearn" / "__init__.py").write_text("raise ImportError('cannot import name')")
    found = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", WITHOUT, str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert found.stdout.splitlines() == [f"{state} (200, 3) True None" for state in ("absent", "broken")], found.stderr
