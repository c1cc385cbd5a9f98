"""Who gets a partner, and what a flip does to a row."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_fairlatent.augmentation._pairs import all_pairs, balancing_pairs, cell_needs, intersections

from .samples import N, cells, flip

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
]


# ---------------------------------------------------------------- pairs


@pytest.mark.parametrize("attributes", [["two"], ["three"], ["two", "three"], ["some"], ["two", "some"]])
@pytest.mark.parametrize("pairs", ["all", "balance"])
def test_the_groups_of_every_label_become_equally_large(rows, groups, attributes, pairs):
    A = groups[attributes]
    made, X_more, y_more = flip(rows, A, pairs=pairs)
    told = made.sensitive_features_
    assert told.columns.tolist() == attributes
    assert len(told) == len(X_more) == len(y_more) == len(made.flipped_) == len(made.sample_indices_)
    known = told.notna().all(axis=1).to_numpy()
    counts = cells(y_more[known], told[known])
    n_groups = np.prod([A[name].nunique() for name in attributes])
    assert counts.shape == (2, n_groups)
    assert (counts.nunique(axis=1) == 1).all()
    y, has_group = rows[1], A.notna().all(axis=1).to_numpy()
    before = cells(y[has_group], A[has_group])
    largest = before.max(axis=1) if pairs == "balance" else before.sum(axis=1)
    assert_array_equal(counts.iloc[:, 0], largest)
    # Rows without a group stay, and nobody is their partner.
    assert (~has_group).sum() == (~known).sum()
    assert_array_equal(np.flatnonzero(~known), np.flatnonzero(~has_group))
    partners = made.sample_indices_[made.flipped_]
    assert has_group[partners].all()
    assert_array_equal(y_more[made.flipped_], y[partners])
    # A partner is of another group than its row, and a row has one partner at most in a group.
    joined = told[made.flipped_].astype(str).agg(" & ".join, axis=1).to_numpy()
    left = A.iloc[partners].astype(str).agg(" & ".join, axis=1).to_numpy()
    assert (joined != left).all()
    assert not pd.DataFrame({"row": partners, "joined": joined}).duplicated().any()
    summary = made.pair_summary_
    assert summary["n_pairs"].sum() == summary["n_kept"].sum() == made.flipped_.sum()
    found = pd.Series(1, index=pd.MultiIndex.from_arrays([left, joined])).groupby(level=[0, 1]).sum()
    assert_array_equal(summary["n_pairs"].sort_index(), found.sort_index())


def test_nothing_is_added_to_what_is_balanced(rows):
    X, y, _ = rows
    y, group = np.tile([0, 1], N // 2), np.repeat(["f", "m"], N // 2)
    made, X_more, _ = flip((X, y, group), pairs="balance", judge="auto")
    assert_array_equal(X_more, X)
    assert not made.flipped_.any()
    assert np.isnan(made.label_changed_)
    assert len(made.pair_summary_) == 0


def test_a_cell_without_rows_is_filled(rows):
    X, y, group = rows
    group = np.where(y == 1, "f", np.where(group == 1, "m", "f"))
    made, _, y_more = flip((X, y, group), pairs="balance", max_stretch=100)
    counts = cells(y_more, made.sensitive_features_)
    assert_array_equal(counts["m"], counts["f"])
    assert (counts > 0).all(axis=None)


def test_balance_draws_other_rows_with_another_seed(rows):
    one, other = (flip(rows, pairs="balance", random_state=seed)[0].sample_indices_[N:] for seed in (0, 1))
    assert len(one) == len(other)
    assert set(one) != set(other)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 3)), min_size=1, max_size=60), st.integers(0, 10**6))
def test_pairs_of_any_labels_and_groups(rows, seed):
    label, group = (np.array(column) for column in zip(*rows, strict=True))
    n_groups = 4
    source, wanted = all_pairs(group, n_groups)
    assert sorted(zip(source, wanted, strict=True)) == [
        (k, g) for k in range(len(group)) for g in range(n_groups) if group[k] >= 0 and g != group[k]
    ]
    needs = cell_needs(label, group, 3, n_groups)
    counts = np.array([[((label == k) & (group == g)).sum() for g in range(n_groups)] for k in range(3)])
    assert_array_equal(counts + needs, np.broadcast_to(counts.max(1, keepdims=True), counts.shape))
    source, wanted, missing = balancing_pairs(label, group, needs, np.random.RandomState(seed))
    assert missing == 0
    assert (group[source] >= 0).all()
    assert (group[source] != wanted).all()
    assert len(set(zip(source, wanted, strict=True))) == len(source)
    made = np.zeros_like(needs)
    np.add.at(made, (label[source], wanted), 1)
    assert_array_equal(made, needs)
    # What there is no row for is counted.
    *_, missing = balancing_pairs(label, group, needs + 100, np.random.RandomState(seed))
    others = np.array([[((label == k) & (group >= 0) & (group != g)).sum() for g in range(n_groups)] for k in range(3)])
    assert missing == np.maximum(needs + 100 - others, 0).sum()


def test_intersections_are_those_that_occur():
    codes = {"one": np.array([0, 1, np.nan, 1, 0, 1]), "other": np.array([2, 0, 1, np.nan, 2, 2])}
    found, members = intersections(codes)
    assert found.tolist() == [0, 1, -1, -1, 0, 2]
    assert members.tolist() == [[0, 2], [1, 0], [1, 2]]


# ---------------------------------------------------------------- what a flip does


def readings(judge, X_more, made):
    """How often a judge reads another group than a row's own: of rows as their own, and of partners as the joined."""
    wrong = judge.predict(X_more) != made.sensitive_features_["group"].to_numpy()
    return wrong[~made.flipped_].mean(), wrong[made.flipped_].mean()


def test_a_judge_that_learned_from_other_rows_reads_the_partner_as_the_other_group(data, rows):
    judge = LogisticRegression().fit(data.data[N:], data.sensitive_features["group"].iloc[N:])
    made, X_more, _ = flip(rows)
    errors = readings(judge, X_more, made)
    assert errors[0] < 0.25
    assert errors[1] < 0.25
    # The control: who goes hardly anywhere is read as who it was.
    made, X_more, _ = flip(rows, step=1e-3)
    assert readings(judge, X_more, made)[1] > 0.75
    made, X_more, _ = flip(rows, step=0.5)
    assert 0.3 < readings(judge, X_more, made)[1] < 0.7


def test_a_judge_reads_the_partner_of_a_transformer_as_the_other_group(data, rows, fair):
    judge = LogisticRegression().fit(data.data[N:], data.sensitive_features["group"].iloc[N:])
    made, X_more, _ = flip(rows, transformer=FrozenEstimator(fair))
    assert readings(judge, X_more, made)[1] < 0.35
    made, X_more, _ = flip(rows, transformer=FrozenEstimator(fair), step=1e-3)
    assert readings(judge, X_more, made)[1] > 0.75


def scorer(X, y):
    """The linear score that the sampler holds."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(X, y).decision_function


def test_the_score_of_the_label_is_held_unless_it_is_not(rows):
    X, y, group = rows
    label, sensitive = scorer(X, y), scorer(X, group)
    _, held, _ = flip(rows)
    assert_allclose(label(held[N:]), label(X), atol=1e-8)
    assert_allclose(sensitive(held[N:]), -sensitive(X), atol=1e-8)
    _, free, _ = flip(rows, hold_target=False)
    assert np.abs(label(free[N:]) - label(X)).mean() > 0.1
    assert_allclose(sensitive(free[N:]), -sensitive(X), atol=1e-8)
    _, projected, _ = flip(rows, step=0.5)
    assert_allclose(sensitive(projected[N:]), 0, atol=1e-8)


def test_what_is_not_asked_for_is_held_with_several_attributes(rows):
    X, y, group = rows
    other = np.where(X[:, 1] + np.random.default_rng(0).normal(size=N) > 0, "u", "v")
    made, X_more, _ = flip(rows, pd.DataFrame({"group": group.to_numpy(), "other": other}))
    assert len(X_more) == 4 * N
    scores = {"group": scorer(X, group), "other": scorer(X, other), "label": scorer(X, y)}
    own = made.sample_indices_
    told = made.sensitive_features_
    for name, score in scores.items():
        stays = np.ones(len(own), dtype=bool) if name == "label" else (told[name] == told[name].to_numpy()[own])
        assert 0 < stays.mean() <= 1
        assert_allclose(score(X_more)[stays], score(X)[own][stays], atol=1e-8)
        assert_allclose(score(X_more)[~stays], -score(X)[own][~stays], atol=1e-8)


def test_between_three_groups_the_logits_change_places(rows, groups):
    X, y, _ = rows
    made, X_more, _ = flip(rows, groups["three"])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(X, groups["three"])
    before, after = model.decision_function(X)[made.sample_indices_], model.decision_function(X_more)
    names = list(model.classes_)
    own = np.array([names.index(name) for name in groups["three"]])[made.sample_indices_]
    joined = np.array([names.index(name) for name in made.sensitive_features_["three"]])
    row = np.arange(len(own))
    assert_allclose((after[row, joined] - after[row, own]), -(before[row, joined] - before[row, own]), atol=1e-8)


def test_a_label_that_is_the_attribute_cannot_be_held(rows):
    X, _, group = rows
    with pytest.raises(ValueError, match="lies in the span of target_direction"):
        flip((X, group.to_numpy(), group))
    _, X_more, _ = flip((X, group.to_numpy(), group), on_parallel="clip")
    assert_allclose(X_more[N:], X, atol=1e-6)
    _, X_more, _ = flip((X, group.to_numpy(), group), hold_target=False)
    assert np.abs(X_more[N:] - X).max() > 1


@pytest.mark.parametrize("params", [{}, {"transformer": "fair"}, {"judge": "auto"}])
def test_the_size_of_batches_changes_nothing(rows, fair, params):
    params = {name: FrozenEstimator(fair) if value == "fair" else value for name, value in params.items()}
    one, other = (flip(rows, pairs="balance", batch_size=size, **params) for size in (3, 1000))
    assert_allclose(one[1], other[1], atol=1e-8)
    assert_array_equal(one[0].sample_indices_, other[0].sample_indices_)
    assert_allclose(one[0].label_changed_, other[0].label_changed_)
