"""How far a counterfactual goes."""

import contextlib

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_fairlatent import TabularCodec
from sklearn_fairlatent import _counterfactual_bench as map_bench
from sklearn_fairlatent import _counterfactual_training as map_training
from sklearn_fairlatent import _readers as readers
from sklearn_fairlatent.datasets import make_biased_latents

from .samples import (
    N,
    flip,
    small,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
]


@contextlib.contextmanager
def few_steps():
    """What is claimed of trained maps holds after a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_training, "N_STEPS", 10)
        patch.setattr(map_bench, "GAINS", (1.0,))
        patch.setattr(map_bench, "TABLE_GAINS", (1.2,))
        patch.setattr(readers, "READER_STEPS", 30)
        patch.setattr(readers, "READER_EPOCHS", 2)
        yield


@pytest.fixture(scope="module")
def movers(data):
    """Transformers with a latent and with a trained map, for two groups, three and a quantity."""
    found = make_biased_latents(N, 8, sensitive=("binary", "categorical", "continuous"), random_state=0)
    latent = small(random_state=0).fit(found.data, found.target, sensitive_features=found.sensitive_features)
    with few_steps():
        trained = small(random_state=0, counterfactual_map="trained")
        trained.fit(found.data, found.target, sensitive_features=found.sensitive_features)
    return found, {"latent": latent, "trained": trained}


MOVES = [("group", None), ("category", "b"), (["group", "category"], {"group": 1, "category": "a"}), ("target", 1)]


@pytest.mark.parametrize("kind", ["latent", "trained"])
@pytest.mark.parametrize(("attr", "value"), MOVES)
def test_one_step_is_the_whole_way_and_half_a_step_half_of_it(movers, kind, attr, value):
    found, fitted = movers
    X, A = found.data, found.sensitive_features

    def ask(**options):
        return fitted[kind].counterfactual(X, attr, value, sensitive_features=A, **options)

    whole = ask()
    for one in (1, 1.0, np.float32(1)):
        assert_array_equal(ask(step=one), whole)
    path = fitted[kind].counterfactual_path(X, attr, value, n_steps=2, sensitive_features=A)
    assert_allclose(ask(step=0.5), path[1], atol=1e-9)
    assert_allclose(ask(step=1e-9), X, atol=1e-6)
    moved = (whole != X).any(axis=1)
    assert moved.mean() > 0.3
    assert_array_equal(ask(step=3.0)[~moved], X[~moved])
    far = [np.linalg.norm(ask(step=step) - X, axis=1)[moved].mean() for step in (0.25, 0.5, 1.0, 1.5)]
    assert far == sorted(far)
    assert far[0] > 0


def test_steps_move_the_block_of_the_latent_in_proportion(movers):
    found, fitted = movers
    X, A = found.data, found.sensitive_features
    fair = fitted["latent"]
    L, whole, *others = (
        fair.counterfactual(X, "category", "b", sensitive_features=A, output="latent", step=step)
        for step in (1e-12, 1.0, 0.5, 0.1, 2.0)
    )
    block = fair.latent_layout_["category"]
    held = np.setdiff1d(np.arange(L.shape[1]), np.arange(block.start, block.stop))
    assert_allclose(L, fair.to_latent(X), atol=1e-8)
    for step, found_ in zip((0.5, 0.1, 2.0), others, strict=True):
        assert_allclose(found_[:, block] - L[:, block], step * (whole - L)[:, block], atol=1e-7)
        assert_allclose(found_[:, held], L[:, held], atol=1e-7)
    # Of a quantity half a step is half as much more of it.
    level = A["level"].to_numpy()
    half = fair.counterfactual(X, "level", level + 1, sensitive_features=A, step=0.5)
    assert_allclose(half, fair.counterfactual(X, "level", level + 0.5, sensitive_features=A), atol=1e-7)


def test_the_step_of_a_table_moves_what_is_revised_to(mixed, rows):
    X, A = mixed.drop(columns="sex"), mixed["sex"]
    with few_steps():
        fair = small(random_state=0, counterfactual_map="trained", encoder=TabularCodec())
        fair.fit(X, rows[1], sensitive_features=A)
    whole, default, half, hardly = (
        fair.counterfactual(X, "sex", sensitive_features=A, **options)
        for options in ({"step": 1.0}, {}, {"step": 0.5}, {"step": 1e-9})
    )
    pd.testing.assert_frame_equal(whole, default, check_exact=True)
    changed = [(frame != X).any(axis=1).mean() for frame in (whole, half)]
    assert min(changed) > 0.5
    assert not half.equals(whole)
    # What goes hardly anywhere is the row again, but for rounding.
    kinds = ["job", "years", "member", "ward"]
    assert_array_equal(hardly[kinds], X[kinds])
    assert_allclose(hardly["pay"], X["pay"], atol=1e-6)


@pytest.mark.parametrize("step", [0, -1.0, np.inf, np.nan, "1", None, True, [1.0]])
@pytest.mark.parametrize("kind", ["latent", "sampler"])
def test_steps_that_cannot_be(rows, fair, step, kind):
    X, _, group = rows
    asks = {
        "latent": lambda: fair.counterfactual(X, "group", sensitive_features=group, step=step),
        "sampler": lambda: flip(rows, step=step),
    }
    with pytest.raises(ValueError, match=r"step=.*: expected a number > 0"):
        asks[kind]()
