"""warm_start: a fit that goes on from the last one, for curves over the strength."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_fairlatent import FairLatentTransformer, LabelLostWarning, TabularCodec
from sklearn_fairlatent.datasets import load_adult, make_biased_latents


@pytest.fixture(scope="module")
def curve():
    """Cold and warm fits over rising strengths on Adult's first rows."""
    adult = load_adult()
    X = TabularCodec().fit_transform(adult.data)[:2000]
    y, sex = adult.target[:2000], adult.sensitive_features[["sex"]][:2000]
    fair = FairLatentTransformer(fairness_strength=0, warm_start=True, random_state=0)
    fits = []
    for strength in (0, 0.2, 1):
        fair = clone_fitted(fair).set_params(fairness_strength=strength).fit(X, y, sensitive_features=sex)
        fits.append(fair)
    return X, y, sex, fits


def clone_fitted(fair):
    return pickle.loads(pickle.dumps(fair))


def group_gap(Z, sex):
    """Difference of the groups' means, in standard deviations."""
    return abs(Z[sex == "Male"].mean() - Z[sex == "Female"].mean()) / Z.std()


def test_warm_fits_are_short_and_their_disparity_falls(curve):
    X, y, sex, (cold, *warm) = curve
    assert cold.n_iter_ > 10
    assert [fit.n_iter_ for fit in warm] == [6, 6]  # 24 steps
    gaps = [group_gap(fit.transform(X), sex.to_numpy()[:, 0]) for fit in (cold, *warm)]
    assert gaps[0] > gaps[1] > gaps[2]
    assert not any(fit.penalty_ineffective_ for fit in warm)
    # What the label was told of at its best is remembered, so that a slow loss is a loss.
    assert cold._peak_utility <= warm[0]._peak_utility <= warm[1]._peak_utility
    # The strengths of one curve are of one scale.
    assert len({fit._exchange_rate for fit in (cold, *warm)}) == 1


def test_a_warm_fit_goes_on_and_is_still_a_bijection(curve):
    X, y, sex, (cold, warm, _) = curve
    again = clone_fitted(cold).set_params(fairness_strength=0.2).fit(X, y, sensitive_features=sex)
    assert_array_equal(again.transform(X), warm.transform(X))
    # Negative control: from scratch, as many epochs lead elsewhere.
    scratch = FairLatentTransformer(fairness_strength=0.2, max_epochs=warm.n_iter_, random_state=0)
    assert not np.allclose(scratch.fit(X, y, sensitive_features=sex).transform(X), warm.transform(X), atol=0.1)
    assert_allclose(warm.from_latent(warm.to_latent(X)), X, atol=1e-8)
    assert torch.equal(cold.flow_.core.reflections, warm.flow_.core.reflections)


def test_the_best_of_another_label_is_forgotten(curve):
    X, y, sex, (cold, *_) = curve
    noise = pd.Series(np.random.RandomState(0).choice(["a", "b"], size=len(X)), index=y.index, name=y.name)
    fair = clone_fitted(cold)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelLostWarning)  # noise may or may not reach chance on 200 rows
        fair.fit(X, noise, sensitive_features=sex)
    assert fair._peak_utility < cold._peak_utility - 0.1


def test_a_warm_fit_on_other_columns_is_refused(curve):
    X, y, sex, (cold, *_) = curve
    fair = clone_fitted(cold)
    with pytest.raises(ValueError, match="warm_start=True: the last fit had LatentLayout"):
        fair.fit(X[:, :-1], y, sensitive_features=sex)
    assert_array_equal(fair.transform(X), cold.transform(X))
    assert fair.set_params(warm_start=False).fit(X[:, :-1], y, sensitive_features=sex).n_features_in_ == X.shape[1] - 1


def test_a_warm_fit_on_columns_in_another_order_is_refused():
    data = make_biased_latents(80, 6, random_state=0)
    frame = pd.DataFrame(data.data, columns=list("abcdef"))
    fair = FairLatentTransformer(warm_start=True, max_epochs=1, random_state=0)
    fair.fit(frame, data.target, sensitive_features=data.sensitive_features)
    with pytest.raises(ValueError, match=r"columns \['a', .*'f'\], this one has \['f', .*same order"):
        fair.fit(frame[list("fedcba")], data.target, sensitive_features=data.sensitive_features)
    fair.fit(frame, data.target, sensitive_features=data.sensitive_features)


@pytest.mark.parametrize("params", [{"hidden_size": 8}, {"n_layers": 1}])
def test_a_module_of_another_size_is_refused(curve, params):
    X, y, sex, (cold, *_) = curve
    fair = clone_fitted(cold).set_params(**params)
    (name,) = params
    with pytest.raises(ValueError, match=f"warm_start=True: the last fit had {name}=.*, this one has {params[name]}"):
        fair.fit(X, y, sensitive_features=sex)
    assert_array_equal(fair.transform(X), cold.transform(X))
