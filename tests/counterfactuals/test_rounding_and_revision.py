"""Moved rows of tables: rounded as the codec does, and revised column by column."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import StandardScaler

from sklearn_fairlatent import TabularCodec
from sklearn_fairlatent._readers import LinearReader, Panel, Readers
from sklearn_fairlatent._revision import Revision
from sklearn_fairlatent._rounding import Rounding, codec_of, rounding_of

# ---------------------------------------------------------------- rounding


@pytest.fixture(scope="module")
def table():
    """A table with numbers, one of them with gaps, and categories, one of them with gaps."""
    rng = np.random.default_rng(0)
    n = 200
    X = pd.DataFrame(
        {
            "age": rng.integers(18, 80, size=n),
            "income": np.round(rng.lognormal(3, 1, size=n), 2),
            "debt": pd.Series(np.round(rng.normal(size=n), 3)).mask(rng.random(n) < 0.2),
            "job": rng.choice(["clerk", "nurse", "smith"], size=n),
            "pet": pd.Series(rng.choice(["cat", "dog"], size=n)).mask(rng.random(n) < 0.2),
            "owner": rng.random(n) < 0.5,
        }
    )
    codec = TabularCodec().fit(X)
    return X, codec, codec.transform(X)


def _choices(codec, E):
    """Encoded columns that are 0 or 1."""
    return [k for k, name in enumerate(codec.get_feature_names_out()) if name not in ("age", "income", "debt")]


def test_rounding_chooses_as_the_codec_does(table):
    _, codec, E = table
    rounding = rounding_of(codec, E)
    noisy = E + np.random.default_rng(1).normal(size=E.shape)
    rounded = rounding(torch.as_tensor(noisy, dtype=torch.float32)).numpy()
    valid = codec.transform(codec.inverse_transform(noisy))
    choices = _choices(codec, E)
    assert len(choices) == E.shape[1] - 3
    assert_allclose(rounded[:, choices], valid[:, choices], atol=1e-6)
    assert (np.abs(noisy - valid)[:, choices].max(axis=1) > 0.1).all()
    # Numbers stay between the smallest and the largest.
    assert (rounded <= E.max(0) + 1e-6).all()
    assert (rounded >= E.min(0) - 1e-6).all()
    assert ((noisy > E.max(0)).any(axis=1) | (noisy < E.min(0)).any(axis=1)).mean() > 0.5
    assert_allclose(rounding(torch.as_tensor(E, dtype=torch.float32)).numpy(), E, atol=1e-6)


def test_rounded_numbers_are_the_codecs_but_for_their_grain(table):
    _, codec, E = table
    noisy = E + 0.3 * np.random.default_rng(2).normal(size=E.shape)
    rounded = rounding_of(codec, E)(torch.as_tensor(noisy, dtype=torch.float32)).numpy()
    valid = codec.transform(codec.inverse_transform(noisy))
    names = codec.get_feature_names_out().tolist()
    age, debt, missing = (names.index(name) for name in ("age", "debt", "debt_missing"))
    # Whole years: half of one at most.
    assert np.abs(rounded - valid)[:, age].max() <= 0.5 / 10
    assert (np.abs(rounded - valid)[:, age] > 1e-4).any()
    known = valid[:, missing] == 0
    assert_allclose(rounded[known, debt], valid[known, debt], atol=1e-3)


def test_rounding_has_a_gradient(table):
    _, codec, E = table
    rounding = rounding_of(codec, E)
    x = torch.as_tensor(E[:20] + 0.05, dtype=torch.float32).requires_grad_()
    weights = torch.randn(E.shape[1], generator=torch.Generator().manual_seed(0))
    (rounding(x) @ weights).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad.abs()[:, _choices(codec, E)] > 1e-6).any(dim=0).all()


def test_rounding_knows_the_columns_of_the_table(table):
    X, codec, E = table
    rounding = rounding_of(codec_of(FrozenEstimator(codec)), E)
    assert rounding.columns == [codec.feature_groups_[name] for name in X.columns]
    assert codec_of(StandardScaler()) is None
    assert codec_of(None) is None
    assert codec_of(FrozenEstimator(codec)) is codec
    assert codec_of(FrozenEstimator(StandardScaler())) is None


def test_rounding_is_a_module_without_parameters(table):
    _, codec, E = table
    rounding = rounding_of(codec, E)
    assert isinstance(rounding, Rounding)
    assert list(rounding.parameters()) == []


# ---------------------------------------------------------------- revision


def _linear_panel(weights):
    """A panel of one linear reader per variable with two groups: the scores are -w and w times the row."""
    names = list(weights)
    weight = np.column_stack([column for w in weights.values() for column in (-np.array(w) / 2, np.array(w) / 2)])
    columns = {name: slice(2 * k, 2 * k + 2) for k, name in enumerate(names)}
    member = LinearReader(weight, np.zeros(2 * len(names)))
    return Panel(Readers(np.zeros(len(weight)), np.ones(len(weight)), [member], columns).eval())


COLUMNS = [slice(0, 1), slice(1, 2), slice(2, 4), slice(4, 5)]


def _changed(rows, X):
    return np.stack([(rows[:, part] != X[:, part]).any(axis=1) for part in COLUMNS], axis=1)


def test_only_the_columns_that_the_question_needs_are_changed():
    panel = _linear_panel({"sex": [2.0, 0, 0, 0, 0], "label": [0, 0, 0, 0, 3.0]})
    X = np.tile([-1.0, 0, 0, 1, -1], (6, 1))
    moved = np.tile([1.0, 5, 1, 0, 1], (6, 1))
    wanted = {"sex": np.ones(6)}
    revised = Revision(panel, COLUMNS).revise(X, [moved], wanted)
    assert_array_equal(_changed(revised, X), np.tile([True, False, False, False], (6, 1)))
    assert_array_equal(panel.read(revised, "sex"), np.ones(6))
    assert_array_equal(panel.read(revised, "label"), panel.read(X, "label"))
    # The move itself would have changed what the label's reader reads.
    assert (panel.read(moved, "label") != panel.read(X, "label")).all()


def test_columns_are_changed_together_where_one_does_not_do():
    panel = _linear_panel({"sex": [1.0, 1.0, 0.5, 0, 0]})
    X, moved = np.full((4, 5), -1.0), np.full((4, 5), 1.0)
    revised = Revision(panel, COLUMNS).revise(X, [moved], {"sex": np.ones(4)})
    # Two of the largest steps: -1 -1 -.5 becomes 1 1 -.5, enough for a margin of half a nat.
    assert_array_equal(_changed(revised, X), np.tile([True, True, False, False], (4, 1)))
    assert (panel.margin(revised, "sex", np.ones(4)) >= 0.5).all()


def test_of_several_moves_the_first_that_does_is_taken_for_every_row():
    panel = _linear_panel({"sex": [1.0, 0, 0, 0, 0], "label": [0.3, 0, 0, 0, 1.0]})
    X = np.zeros((2, 5))
    X[:, 0] = [-0.2, -3.0]
    short, long = X.copy(), X.copy()
    short[:, 0] += 1.0
    long[:, 0] += 4.0
    revised = Revision(panel, COLUMNS).revise(X, [short, long], {"sex": np.ones(2)})
    # The longer move disturbs the label more; only the second row needs it.
    assert_allclose(revised[:, 0], [0.8, 1.0])


def test_of_two_moves_that_do_the_one_that_disturbs_less_is_taken():
    panel = _linear_panel({"sex": [1.0, 0, 0, 0, 0], "label": [0.3, 0, 0, 0, 1.0]})
    X = np.full((3, 5), -1.0)
    near, far = X.copy(), X.copy()
    near[:, 0], far[:, 0] = 1.0, 3.0
    for candidates in ([near, far], [far, near]):
        assert_array_equal(Revision(panel, COLUMNS).revise(X, candidates, {"sex": np.ones(3)}), near)


def test_a_column_that_hardly_helps_is_not_changed():
    panel = _linear_panel({"sex": [1.0, 0.2, 0, 0, 0]})
    X, moved = np.zeros((2, 5)), np.zeros((2, 5))
    # The first column falls short of a margin of half a nat by next to nothing, or by a tenth.
    X[:, 0], moved[:, 0] = -1.0, [0.495, 0.4]
    moved[:, 1] = 1.0
    revised = Revision(panel, COLUMNS).revise(X, [moved], {"sex": np.ones(2)})
    assert_array_equal(_changed(revised, X)[:, :2], [[True, False], [True, True]])


def test_rows_are_revised_one_by_one(monkeypatch):
    rng = np.random.default_rng(0)
    panel = _linear_panel({"sex": rng.normal(size=5), "label": rng.normal(size=5)})
    X, moved, more = rng.normal(size=(3, 30, 5))
    wanted = {"sex": rng.integers(2, size=30).astype(float)}
    revision = Revision(panel, COLUMNS)
    together = revision.revise(X, [moved, more], wanted)
    for k in range(30):
        one = {"sex": wanted["sex"][k : k + 1]}
        alone = revision.revise(X[k : k + 1], [moved[k : k + 1], more[k : k + 1]], one)
        assert_array_equal(alone[0], together[k])
    from sklearn_fairlatent import _revision

    monkeypatch.setattr(_revision, "REVISION_ROWS", 7)
    assert_array_equal(revision.revise(X, [moved, more], wanted), together)
    # Every value is the row's or that of a move.
    assert ((together == X) | (together == moved) | (together == more)).all()


def test_a_move_that_does_not_move_leaves_the_row():
    panel = _linear_panel({"sex": [1.0, 0, 0, 0, 0]})
    X = np.full((3, 5), -1.0)
    assert_array_equal(Revision(panel, COLUMNS).revise(X, [X.copy()], {"sex": np.ones(3)}), X)
