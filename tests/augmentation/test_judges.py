"""Who says whether a partner still has its label."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from .samples import NAMES, SENSITIVE, TELLERS, N, Reads, flip, generate

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
]


def test_a_frozen_judge_is_asked_as_it_is(rows):
    judge = Reads(2, ("low", "high"))
    made, X_more, _ = flip(rows, judge=FrozenEstimator(judge))
    before, after = judge.predict(rows[0]), judge.predict(X_more[N:])
    assert 0 < (before != after).mean() < 1
    assert made.label_changed_ == (before != after).mean()
    summary = made.pair_summary_
    own = rows[2].to_numpy()
    assert_allclose([summary.loc[(g, 1 - g), "label_changed"] for g in (0, 1)],
                    [(before != after)[own == g].mean() for g in (0, 1)])  # fmt: skip
    assert summary["n_pairs"].tolist() == summary["n_kept"].tolist() == [(own == 0).sum(), (own == 1).sum()]


@pytest.mark.parametrize("batch_size", [1024, 16])
@pytest.mark.parametrize("transformer", [None, "fair"])
def test_what_is_inconsistent_is_dropped_and_nothing_else(rows, fair, transformer, batch_size):
    judge = Reads(2)
    params = {"judge": FrozenEstimator(judge), "transformer": FrozenEstimator(fair) if transformer else None}
    full, X_full, y_full = flip(rows, **params)
    made, X_more, y_more = flip(rows, drop_inconsistent=True, batch_size=batch_size, **params)
    kept = np.r_[np.ones(N, dtype=bool), judge.predict(X_full[N:]) == judge.predict(rows[0])]
    assert N < kept.sum() < 2 * N
    assert_allclose(X_more, X_full[kept], atol=1e-9)
    assert_array_equal(y_more, y_full[kept])
    for name in ("sample_indices_", "flipped_"):
        assert_array_equal(getattr(made, name), getattr(full, name)[kept])
    pd.testing.assert_frame_equal(made.sensitive_features_, full.sensitive_features_[kept].reset_index(drop=True))
    assert made.label_changed_ == full.label_changed_
    assert_array_equal(made.pair_summary_["n_pairs"], full.pair_summary_["n_pairs"])
    assert made.pair_summary_["n_kept"].sum() == kept.sum() - N


def test_generated_partners_that_are_inconsistent_are_dropped(rows):
    judge = Reads(2)
    params = {"annotators": TELLERS, "judge": FrozenEstimator(judge)}
    full, X_full, y_full = generate(rows, **params)
    made, X_more, y_more = generate(rows, drop_inconsistent=True, **params)
    same = judge.predict(X_full[N + 400 :]) == judge.predict(X_full[N : N + 400])
    kept = np.r_[np.ones(N + 400, dtype=bool), same]
    assert 0 < same.sum() < 400
    assert_array_equal(X_more, X_full[kept])
    assert_array_equal(y_more, y_full[kept])
    assert made.label_changed_ == full.label_changed_ == 1 - same.mean()
    # By default the annotator of the label judges.
    auto, X_auto, _ = generate(rows, annotators=TELLERS, judge="auto")
    read = Reads(0).predict(X_auto)
    assert auto.label_changed_ == (read[N : N + 400] != read[N + 400 :]).mean()


def test_nobody_judges(rows):
    made, *_ = flip(rows, judge=None)
    assert np.isnan(made.label_changed_)
    assert made.pair_summary_["label_changed"].isna().all()
    with pytest.raises(ValueError, match="drop_inconsistent=True needs a judge"):
        flip(rows, judge=None, drop_inconsistent=True)
    with pytest.raises(ValueError, match="judge='trees': expected 'auto', an estimator with predict, or None"):
        flip(rows, judge="trees")


class Jealous(BaseEstimator):
    """Refuses rows that it learned from."""

    asked = []  # noqa: RUF012 - shared by clones, which is what it is for

    def fit(self, X, y):
        self.known_ = set(np.asarray(X)[:, 0].tolist())
        self.values_ = np.unique(y)
        return self

    def predict(self, X):
        rows = set(np.asarray(X)[:, 0].tolist())
        assert not rows & self.known_
        self.asked.append((len(rows), len(self.known_)))
        return np.full(len(X), self.values_[0])


def test_no_judge_learned_from_the_row_it_is_asked_about(rows):
    Jealous.asked.clear()
    made, *_ = flip(rows, judge=Jealous())
    assert made.label_changed_ == 0
    assert [known for _, known in Jealous.asked] == [N // 2] * 4
    assert sum(asked for asked, _ in Jealous.asked) == 2 * N


@pytest.mark.parametrize("kind", ["frame", "array"])
def test_a_judge_does_not_see_the_sensitive_columns(rows, kind):
    X, y, group = rows
    wide = np.insert(X, 0, group, axis=1)
    wide = pd.DataFrame(wide, columns=["sex", *NAMES]) if kind == "frame" else wide
    judge = LogisticRegression().fit(pd.DataFrame(X, columns=NAMES) if kind == "frame" else X, y)
    made, more, _ = flip((wide, y, None), sensitive_columns=["sex" if kind == "frame" else 0],
                         judge=FrozenEstimator(judge))  # fmt: skip
    kept = more.drop(columns="sex") if kind == "frame" else more[:, 1:]
    assert made.label_changed_ == (judge.predict(kept[N:]) != judge.predict(kept[:N])).mean()


class Contrary(BaseEstimator):
    """Never says the same twice."""

    def fit(self, X, y):
        self.fitted_ = True
        return self

    def predict(self, X):
        self.n_calls_ = getattr(self, "n_calls_", 0) + 1
        return np.full(len(X), self.n_calls_)


@pytest.mark.parametrize("library", ["array", "pandas", "pandas, categories", "polars", "polars, categories"])
def test_all_partners_may_be_dropped(rows, library):
    X, y, group = rows
    wide = np.column_stack([X, group])
    if library != "array":
        sex = group.map({0: "f", 1: "m"}).astype("category" if "categories" in library else "str")
        wide = pd.DataFrame(X, columns=NAMES).assign(sex=sex)
        wide = pl.from_pandas(wide) if "polars" in library else wide
    made, more, y_more = flip((wide, y, None), sensitive_columns=[6 if library == "array" else "sex"],
                              judge=FrozenEstimator(Contrary()), drop_inconsistent=True)  # fmt: skip
    assert made.label_changed_ == 1
    assert made.pair_summary_["n_kept"].tolist() == [0, 0]
    assert more.shape == wide.shape
    assert_array_equal(y_more, y)
    if library == "array":
        assert_array_equal(more, wide)
    else:
        assert more.equals(wide)


@pytest.mark.parametrize("kind", ["int64", "bool", "str"])
def test_all_partners_of_a_batch_may_be_dropped(rows, kind):
    X, y, group = rows
    frame = pd.DataFrame(X, columns=NAMES).assign(sex=pd.Series(SENSITIVE[kind][group]).infer_objects())
    frame["sex"] = frame["sex"].astype("str") if kind == "str" else frame["sex"]
    params = {"judge": FrozenEstimator(Reads(2)), "drop_inconsistent": True, "sensitive_columns": ["sex"]}
    made, more, _ = flip((frame[:60], y[:60], None), batch_size=1, **params)
    assert 0 < made.flipped_.sum() < 60
    assert more["sex"].dtype == frame["sex"].dtype


def test_a_judge_without_a_seed_gets_one(rows):
    shares = [flip(rows, judge=RandomForestClassifier(3))[0].label_changed_ for _ in range(2)]
    assert shares[0] == shares[1] > 0
