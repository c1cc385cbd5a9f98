"""Partners through a fair latent."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from .samples import NAMES, N, cells, flip, sampler, small

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
]


def test_a_transformer_is_cloned_and_fitted(rows):
    X, y, group = rows
    given_ = small()
    made, X_more, _ = flip(rows, transformer=given_)
    assert not hasattr(given_, "flow_")
    assert given_.random_state is None
    assert made.transformer_ is not given_
    there = made.transformer_.counterfactual(X, "group", sensitive_features=group)
    assert_array_equal(X_more[N:], there)
    # With the seed it has of its own, and the label.
    seeded = flip(rows, transformer=small(random_state=3))[0].transformer_
    expected = small(random_state=3).fit(X, y, sensitive_features=group)
    assert_array_equal(seeded.transform(X), expected.transform(X))


def test_a_frozen_transformer_is_used_as_it_is(rows, fair):
    X, _, group = rows
    before = pickle.dumps(fair)
    made, X_more, _ = flip(rows, transformer=FrozenEstimator(fair))
    assert made.transformer_ is fair
    assert_array_equal(X_more[N:], fair.counterfactual(X, "group", sensitive_features=group))
    half = flip(rows, transformer=FrozenEstimator(fair), step=0.5)[1]
    assert_array_equal(half[N:], fair.counterfactual(X, "group", sensitive_features=group, step=0.5))
    assert pickle.dumps(fair) == before


def test_a_transformer_with_missing_and_with_several_attributes(rows, groups):
    A = groups[["two", "some"]]
    with pytest.warns(UserWarning, match="34 of 300 rows have no value of 'some'"):
        made, X_more, y_more = flip(rows, A, transformer=small(), pairs="balance")
    known = made.sensitive_features_.notna().all(axis=1)
    assert (cells(y_more[known], made.sensitive_features_[known]).nunique(axis=1) == 1).all()
    goal = made.sensitive_features_[made.flipped_].to_dict("list")
    own = A.iloc[made.sample_indices_[made.flipped_]].reset_index(drop=True)
    there = made.transformer_.counterfactual(
        rows[0][made.sample_indices_[made.flipped_]],
        ["two", "some"],
        {name: np.array(values, dtype=object) for name, values in goal.items()},
        sensitive_features=own,
    )
    assert_allclose(X_more[made.flipped_], there, atol=1e-9)


def test_a_part_of_a_frame_may_have_any_index(rows):
    X, y, group = rows
    order = np.random.default_rng(0).permutation(N)[:200]
    frame = pd.DataFrame(X, columns=NAMES).iloc[order]
    _, more, _ = flip((frame, y[order], group.iloc[order]), transformer=small())
    assert_array_equal(more, flip((X[order], y[order], group.iloc[order]), transformer=small())[1])
    twice = frame.set_axis(np.arange(200) // 2)
    assert_array_equal(flip((twice, y[order], group.to_numpy()[order]), transformer=small())[1], more)


def test_a_shuffled_frame_may_have_its_index(rows):
    X, y, group = rows
    order = np.random.default_rng(0).permutation(N)
    frame = pd.DataFrame(X, columns=NAMES).iloc[order]
    _, more, _ = flip((frame, y[order], group.iloc[order]), transformer=small())
    assert len(more) == 2 * N


def test_nothing_of_an_earlier_call_is_left(rows, fair):
    X, y, group = rows
    made = sampler(transformer=FrozenEstimator(fair))
    made.fit_resample(X, y, sensitive_features=group)
    made.set_params(transformer=None).fit_resample(X, y, sensitive_features=group)
    assert not hasattr(made, "transformer_")


def test_transformers_that_cannot_be(rows, fair):
    X, y, group = rows
    for transformer in (small(sensitive_columns=[0]), FrozenEstimator(small(sensitive_columns=[0]))):
        with pytest.raises(ValueError, match="transformer has sensitive_columns, which it would not see"):
            flip(rows, transformer=transformer)
    with pytest.raises(TypeError, match="transformer is a LogisticRegression; expected a FairLatentTransformer"):
        flip(rows, transformer=LogisticRegression())
    with pytest.raises(sklearn.exceptions.NotFittedError):
        flip(rows, transformer=FrozenEstimator(small()))
    with pytest.raises(ValueError, match=r"the frozen transformer knows \['group'\], not \['sensitive_feature_0'\]"):
        flip((X, y, group.to_numpy()), transformer=FrozenEstimator(fair))
