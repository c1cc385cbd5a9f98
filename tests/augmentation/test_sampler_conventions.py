"""Determinism, conventions of scikit-learn, bad input."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from joblib import Parallel, delayed
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from sklearn_fairlatent import SmallGroupWarning, TabularCodec
from sklearn_fairlatent.augmentation import LatentFlipSampler
from sklearn_fairlatent.datasets import make_biased_latents

from .samples import (
    NAMES,
    TELLERS,
    Generator,
    N,
    flip,
    module,
    sampler,
    small,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
]


# ---------------------------------------------------------------- determinism and conventions


WAYS = {
    "linear": {"pairs": "balance", "judge": "auto"},
    "transformer": {"transformer": small(max_epochs=1), "judge": "auto"},
    "generator": {"generator": module(torch.nn.Linear(4, 40)), "n_latent": 4, "n_generated": 300, "judge": "auto"},
}


def _bits(way, found, random_state=0):
    """All that one call gives."""
    made = sampler(**{**WAYS[way], "random_state": random_state})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        X, y = made.fit_resample(found.data, found.target, sensitive_features=found.sensitive_features)
    told = made.sensitive_features_["group"].to_numpy()
    return b"".join(part.tobytes() for part in (X, y, told, made.sample_indices_, np.float64(made.label_changed_)))


@pytest.fixture(scope="module")
def wide():
    return make_biased_latents(400, 40, random_state=0)


@pytest.mark.parametrize("way", WAYS)
def test_the_same_seed_gives_the_same_bits_everywhere(way, wide):
    bits = _bits(way, wide)
    assert _bits(way, wide, np.random.RandomState(0)) == bits
    with threadpool_limits(3):
        assert _bits(way, wide) == bits
    assert Parallel(n_jobs=2, backend="threading")(delayed(_bits)(way, wide) for _ in range(2)) == [bits] * 2
    assert _bits(way, wide, 1) != bits


def test_threads_do_not_change_sums_over_many_columns():
    # So many that products of matrices are split over three threads, and then end in other bits.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 200))
    y, group = (X[:, k] + rng.normal(size=3000) > 0 for k in range(2))
    expected = flip((X, y, group))[1]
    with threadpool_limits(3):
        assert_array_equal(flip((X, y, group))[1], expected)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_in_other_processes(wide):
    found = Parallel(n_jobs=2, backend="loky")(delayed(_bits)(way, wide) for way in WAYS)
    assert found == [_bits(way, wide) for way in WAYS]


@pytest.mark.parametrize("way", WAYS)
def test_global_generators_are_not_touched(way, wide):
    state, torch_state = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - the global one is what is tested
    _bits(way, wide)
    after = np.random.get_state()  # noqa: NPY002 - the global one is what is tested
    assert_array_equal(after[1], state[1])
    assert after[2:] == state[2:]
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_it_is_cloned_pickled_and_its_parameters_are_those_of_the_constructor(rows):
    params = {
        "transformer": small(),
        "pairs": "balance",
        "step": 0.7,
        "hold_target": False,
        "max_stretch": 3.0,
        "on_parallel": "clip",
        "judge": LogisticRegression(),
        "drop_inconsistent": True,
        "sensitive_columns": ["sex"],
        "output_file": "more.npy",
        "batch_size": 5,
        "random_state": 3,
        "generator": Generator(),
        "annotators": TELLERS,
        "n_latent": 4,
        "n_generated": 50,
    }
    made = LatentFlipSampler(**params)
    assert made.get_params(deep=False) == params
    assert made.get_params()["transformer__max_epochs"] == 2
    assert made.get_params()["judge__C"] == 1.0
    copy = clone(made)
    assert copy.get_params(deep=False).keys() == params.keys()
    assert copy.transformer is not made.transformer
    assert copy.step == 0.7
    made = flip(rows, judge="auto")[0]
    again = pickle.loads(pickle.dumps(made))
    pd.testing.assert_frame_equal(again.pair_summary_, made.pair_summary_)
    assert not hasattr(clone(made), "flipped_")
    assert repr(sampler(step=0.5)) == "LatentFlipSampler(judge=None, random_state=0, step=0.5)"
    assert "LatentFlipSampler" in made._repr_html_()


def test_the_next_call_forgets_the_names_of_columns(rows):
    X, y, group = rows
    made = sampler()
    made.fit_resample(pd.DataFrame(X, columns=NAMES), y, sensitive_features=group)
    assert made.feature_names_in_.tolist() == NAMES
    made.fit_resample(X[:, :4], y, sensitive_features=group)
    assert made.n_features_in_ == 4
    assert not hasattr(made, "feature_names_in_")


def test_names_of_features_out(rows):
    X, y, group = rows
    made, *_ = flip((pd.DataFrame(X, columns=NAMES), y, group))
    assert made.get_feature_names_out().tolist() == NAMES


def test_fit_checks_what_fit_resample_would(rows):
    X, y, group = rows
    made = sampler()
    assert made.fit(pd.DataFrame(X, columns=NAMES), y, sensitive_features=group) is made
    assert made.get_feature_names_out().tolist() == NAMES
    assert not hasattr(made, "flipped_")
    with pytest.raises(ValueError, match="sensitive_features=None: there is nothing to flip"):
        made.fit(X, y)
    with pytest.raises(ValueError, match="pairs='some'"):
        sampler(pairs="some").fit(X, y, sensitive_features=group)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_the_kind_of_output_that_scikit_learn_is_set_to_does_not_matter(rows, kind):
    X, y, group = rows
    frame = pd.DataFrame(X, columns=NAMES)
    with sklearn.config_context(transform_output=kind):
        made, more, _ = flip((frame, y, group), judge="auto")
    assert_array_equal(more, flip(rows)[1])
    assert 0 < made.label_changed_ < 1


# ---------------------------------------------------------------- bad input


def test_a_missing_attribute_is_an_error_that_says_what_to_do(rows):
    X, y, _ = rows
    with pytest.raises(ValueError, match="sensitive_features=None.*sensitive_columns.*imbalanced-learn.*metadata rout"):
        sampler().fit_resample(X, y)
    with pytest.raises(ValueError, match=r"sensitive_columns=\[\]: expected a non-empty list"):
        sampler(sensitive_columns=[]).fit_resample(X, y)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"A": np.arange(N) / 7}, r"\['sensitive_feature_0'\] are numbers, not groups. Cut them into groups before"),
        ({"A": np.arange(N) // 10}, r"\['sensitive_feature_0'\] are numbers, not groups. Cut them into groups before"),
        ({"A": ["f"] * N}, r"has a single group \['f'\]"),
        ({"A": ["f"] * (N - 1)}, "has 299 rows, X has 300"),
        ({"A": pd.DataFrame({"target": [0, 1] * (N // 2)})}, "'target' bears the name of the label"),
        ({"A": pd.DataFrame({0: [0, 1] * (N // 2)})}, "column names must be strings"),
        ({"y": np.arange(N) / 7}, "Unknown label type: continuous"),
        ({"y": np.zeros(N)}, r"y has a single class \[0.0\]"),
        ({"y": np.zeros(N - 1, dtype=int)}, "y has 299 rows, X has 300"),
        ({"y": np.where(np.arange(N) > 5, "a", None)}, "NaN|missing|Unknown label type"),
        ({"y": np.ones((N, 2), dtype=int)}, "1d array"),
        ({"X": np.full((N, 2), np.nan)}, "Input X contains NaN"),
        ({"X": np.zeros(N)}, "Expected 2D array"),
        ({"X": np.full((N, 2), "a")}, "could not convert|string|dtype"),
    ],
)
def test_bad_rows_are_named(rows, wrong, message):
    X, y, group = rows
    given_ = {"X": X, "y": y, "A": group.to_numpy()} | wrong
    with pytest.raises((ValueError, TypeError), match=message):
        flip((given_["X"], given_["y"], given_["A"]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pairs": "some"}, "pairs='some': expected 'all' or 'balance'"),
        ({"pairs": None}, "pairs=None: expected"),
        ({"batch_size": 0}, "batch_size=0: expected an integer >= 1"),
        ({"batch_size": None}, "batch_size=None: expected an integer >= 1"),
        ({"batch_size": True}, "batch_size=True: expected an integer >= 1"),
        ({"max_stretch": 0.5}, "max_stretch=0.5: expected a finite number >= 1"),
        ({"on_parallel": "skip"}, "on_parallel='skip': expected 'raise' or 'clip'"),
        ({"on_parallel": "skip", "transformer": small()}, "on_parallel='skip': expected 'raise' or 'clip'"),
        ({"max_stretch": -3, "transformer": small()}, "max_stretch=-3: expected a finite number >= 1"),
        ({"hold_target": "no"}, "hold_target='no': expected True or False"),
        ({"drop_inconsistent": "yes", "judge": "auto"}, "drop_inconsistent='yes': expected True or False"),
        ({"sensitive_columns": "sex"}, "sensitive_columns='sex': expected a non-empty list of names or positions"),
        ({"random_state": "x"}, "'x' cannot be used to seed"),
        # The rows of `flip` are no table: the question is refused before the fit.
        (
            {"step": 0.5, "transformer": small(counterfactual_map="transport", encoder=TabularCodec())},
            "step=0.5: with counterfactual_map='transport' a row of a table becomes",
        ),
    ],
)
def test_bad_parameters_are_named(rows, wrong, message):
    with pytest.raises(ValueError, match=message):
        flip(rows, **wrong)
    with pytest.raises(TypeError, match="unexpected keyword"):
        LatentFlipSampler(strength=1)
    with pytest.raises(ValueError, match="Invalid parameter 'strength'"):
        sampler().set_params(strength=1)


def test_rows_in_another_order_are_refused(rows):
    X, y, group = rows
    with pytest.raises(ValueError, match="in another order"):
        flip((pd.DataFrame(X, columns=NAMES), y, group.iloc[::-1]))


def test_a_group_of_one_row_is_told(rows):
    X, y, _ = rows
    with pytest.warns(SmallGroupWarning, match=r"\['x'\]"):
        flip((X, y, np.array(["x", *["f", "m"] * 149, "f"])))


def test_few_rows_are_enough():
    X = np.random.default_rng(0).normal(size=(4, 3))
    made, X_more, _ = flip((X, [0, 1, 0, 1], list("aabb")), judge="auto", max_stretch=1e6)
    assert X_more.shape == (8, 3)
