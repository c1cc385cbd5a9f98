"""Scores of counterfactuals: known moves have known scores, and a bad counterfactual gets a bad one."""

import json

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline

from sklearn_fairlatent import TabularCodec
from sklearn_fairlatent.metrics import counterfactual_scores


@pytest.fixture(scope="module")
def rows():
    """Columns 0 and 1 tell the group and the label; judges of both, trained on other rows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 4)) + np.r_[0, 0, 5, 5]
    group, y = np.where(X[:, 0] > 0, "m", "f"), X[:, 1] > 0
    judge_group, judge_y = LogisticRegression().fit(X[300:], group[300:]), LogisticRegression().fit(X[300:], y[300:])
    return X[:300], group[:300], judge_group, judge_y


def test_a_mirror_flips_the_group_and_nothing_else(rows):
    X, group, judge_group, judge_y = rows
    mirrored = X * [-1, 1, 1, 1]
    scores = counterfactual_scores(
        X, mirrored, judges=judge_group, kept={"label": judge_y}, X_back=mirrored * [-1, 1, 1, 1]
    )
    assert scores.flip_rate["LogisticRegression"] > 0.95
    assert scores.consistency["label"] > 0.95
    assert_allclose(scores.distance, np.sqrt((4 * X[:, 0] ** 2).mean() / ((X - X.mean(0)) ** 2).sum(1).mean()))
    assert scores.round_trip == 0
    assert scores.changed == 0.25
    assert 0.3 < scores.realism < 0.7  # the distribution is the same
    asked = np.where(group == "m", "f", "m")
    assert_allclose(counterfactual_scores(X, mirrored, judges=judge_group, value=asked).flip_rate["LogisticRegression"],
                    np.mean(judge_group.predict(mirrored) == asked))  # fmt: skip


def test_doing_nothing_flips_nothing(rows):
    X, _, judge_group, judge_y = rows
    scores = counterfactual_scores(X, X, judges={"lr": judge_group}, kept=judge_y)
    assert scores.flip_rate == {"lr": 0.0}
    assert scores.consistency == {"LogisticRegression": 1.0}
    assert scores.distance == scores.changed == 0
    assert np.isnan(scores.round_trip)


def test_unreal_counterfactuals_and_lost_labels_are_told(rows):
    X, _, judge_group, judge_y = rows
    far = X * [-1, -1, 1, 1] + [0, 0, 6, 0]
    scores = counterfactual_scores(X, far, judges=judge_group, kept=judge_y, random_state=0)
    assert scores.realism > 0.95
    assert scores.consistency["LogisticRegression"] < 0.1
    value = counterfactual_scores(X, X, judges=judge_group, value="m").flip_rate["LogisticRegression"]
    assert_allclose(value, np.mean(judge_group.predict(X) == "m"))


def test_pairs_stay_together_in_realism(rows):
    """Rows moved by almost nothing: a judge that saw the twin of a test row would tell real from moved."""
    X, _, judge_group, _ = rows
    found = counterfactual_scores(X, X + 1e-9, judges=judge_group, random_state=0).realism
    assert found < 0.6


def test_regressors_judge_what_stays(rows):
    X, _, judge_group, _ = rows
    level = LinearRegression().fit(X, X[:, 1])
    scores = counterfactual_scores(X, X + [0, level.predict(X).std(), 0, 0], judges=judge_group, kept={"level": level})
    assert_allclose(scores.consistency["level"], 0, atol=1e-6)


def test_frames():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.uniform(20, 60, 200), "job": rng.choice(["a", "b", "c"], 200)})
    judge = make_pipeline(TabularCodec(), LogisticRegression()).fit(frame, frame["job"] == "a")
    moved = frame.assign(job="a")
    scores = counterfactual_scores(frame, moved, judges=judge, value=True)
    assert scores.flip_rate["Pipeline"] == 1
    assert_allclose(scores.changed, (frame["job"] != "a").mean() / 2)
    table = scores.to_frame()
    assert table.loc["flip_rate by Pipeline", "score"] == 1
    assert json.loads(json.dumps(scores.to_dict()))["n_samples"] == 200
    with pytest.raises(ValueError, match=r"X is a frame .*X_counterfactual must be one"):
        counterfactual_scores(frame, moved.to_numpy(), judges=judge)


def test_bad_input(rows):
    X, _, judge_group, _ = rows
    with pytest.raises(ValueError, match="the rows do not correspond"):
        counterfactual_scores(X, X[:5], judges=judge_group)
    with pytest.raises(TypeError, match=r"judges\['r'\] is a LinearRegression; expected a fitted classifier"):
        counterfactual_scores(X, X, judges={"r": LinearRegression().fit(X, X[:, 0])})
    with pytest.raises(TypeError, match="judges='lr': expected a fitted estimator, or a dict"):
        counterfactual_scores(X, X, judges="lr")
    with pytest.raises(ValueError, match="equal rows only"):
        counterfactual_scores(np.ones((30, 4)), np.ones((30, 4)), judges=judge_group)
    assert np.isnan(counterfactual_scores(X[:10], X[:10], judges=judge_group).realism)


@pytest.mark.parametrize("kind", ["string", "boolean", "Int64", "object"])
def test_missing_values_of_any_kind_are_unchanged_where_they_stay(kind):
    rng = np.random.default_rng(0)
    words = pd.Series(rng.choice(["a", "b"] if kind in ("string", "object") else [True, False], 60), dtype=object)
    words[:20] = None
    X = pd.DataFrame({"x": rng.normal(size=60), "c": words.astype(kind)})
    there = X.assign(c=X["c"].where(np.arange(60) != 0, X["c"].iloc[-1]))
    judge = make_pipeline(TabularCodec(), LogisticRegression()).fit(X, X["x"] > 0)
    assert counterfactual_scores(X, X, judges=judge).changed == 0
    assert counterfactual_scores(X, there, judges=judge).changed == pytest.approx(1 / 120)
