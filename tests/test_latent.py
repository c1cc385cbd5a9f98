"""The layout of the latent, the moments, and the closed-form linear map."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LinearRegression

from sklearn_fairlatent import _latent
from sklearn_fairlatent._latent import (
    LatentLayout,
    Moments,
    _append_axes,
    linear_information,
    linear_scores,
    linear_start,
    moments,
    row_chunks,
    sample_rows,
)

# Rows


@given(n=st.integers(0, 50), size=st.integers(1, 20))
def test_row_chunks_cover_every_row_once_and_in_order(n, size):
    parts = list(row_chunks(n, size))
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(n))
    assert all(0 < part.stop - part.start <= size for part in parts)


def test_sample_rows_keeps_few_rows_and_draws_from_many():
    rows = np.array([3, 5, 8, 13, 21])
    assert sample_rows(rows, 5, np.random.RandomState(0)) is rows
    drawn = sample_rows(rows, 3, np.random.RandomState(0))
    assert len(set(drawn)) == 3
    assert set(drawn) <= set(rows)
    assert (np.diff(drawn) > 0).all()


# The layout


@st.composite
def layouts(draw):
    n_target = draw(st.integers(0, 3))
    widths = draw(st.lists(st.integers(0, 3), max_size=3))
    n_residual = draw(st.integers(0, 4))
    names = tuple(f"a{k}" for k in range(len(widths)))
    target = draw(st.sampled_from([None, "income"])) if n_target == 0 else "income"
    n_handed_on = draw(st.integers(0, n_target + n_residual))
    return LatentLayout(target, names, (n_target, *widths, n_residual), n_handed_on)


@given(layout=layouts())
def test_blocks_tile_the_latent(layout):
    names = [*([layout.target] if layout.target else []), *layout.sensitive, "residual"]
    columns = np.concatenate([np.r_[layout[name]] for name in names])
    assert_array_equal(columns, np.arange(layout.n_features))
    assert [layout.width(name) for name in layout.sensitive] == list(layout.widths[1:-1])
    assert layout.n_target + layout.n_sensitive + layout.width("residual") == layout.n_features


@given(layout=layouts())
def test_handed_on_is_the_start_of_target_and_residual(layout):
    target = list(range(layout.n_target))
    residual = list(np.r_[layout["residual"]])
    assert layout.handed_on.tolist() == (target + residual)[: layout.n_handed_on]
    sensitive = {column for name in layout.sensitive for column in np.r_[layout[name]]}
    assert not set(layout.handed_on) & sensitive


@pytest.mark.parametrize("name", ["stranger", None, ""])
@pytest.mark.parametrize("target", [None, "income"])
def test_unknown_block(name, target):
    with pytest.raises(KeyError):
        LatentLayout(target, ("sex",), (int(target is not None), 1, 2), 1)[name]


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        (
            LatentLayout("income", ("sex", "race"), (1, 1, 2, 3), 2),
            "LatentLayout(income[0:1] | sex[1:2] | race[2:4] | residual[4:7]; handed on: [0, 4])",
        ),
        (
            LatentLayout(None, (), (0, 2), 2),
            "LatentLayout(target[0:0] | residual[0:2]; handed on: [0, 1])",
        ),
        (
            LatentLayout(None, ("a",), (0, 1, 10), 10),
            "LatentLayout(target[0:0] | a[0:1] | residual[1:11]; handed on: [1, 2, 3, ..., 10])",
        ),
    ],
)
def test_repr(layout, text):
    assert repr(layout) == text


# The moments


def make_rows(n=60, seed=0):
    """Columns with a huge mean, constants small and huge, and two ordinary ones; codes with missing values."""
    rng = np.random.default_rng(seed)
    X = np.column_stack(
        [1e9 + rng.normal(size=n), np.full(n, 1e9), np.full(n, 0.1), 3 * rng.normal(size=n), rng.exponential(size=n)]
    )
    codes = np.column_stack([X[:, 3] + rng.normal(size=n), 5.0 + (X[:, 4] > 1)])
    codes[::7, 0] = np.nan
    codes[::5, 1] = np.nan
    return X, codes


def test_moments_agree_with_numpy():
    X, codes = make_rows()
    rows = np.arange(5, 55)
    stats = moments(X, codes, rows)
    X, codes = X[rows], codes[rows]
    assert_allclose(stats.mean, X.mean(axis=0), rtol=1e-12)
    assert_allclose(stats.scale[[0, 3, 4]], X.std(axis=0)[[0, 3, 4]], rtol=1e-6)
    assert_array_equal(stats.scale[[1, 2]], 1.0)
    varying = np.ix_([0, 3, 4], [0, 3, 4])
    # 1e9 leaves seven digits of a column with unit variance.
    assert_allclose(stats.correlation[varying], np.corrcoef(X[:, [0, 3, 4]].T), atol=1e-6)
    assert_allclose(stats.correlation[[1, 2]], 0.0, atol=1e-12)
    for code in range(2):
        present = ~np.isnan(codes[:, code])
        Z = (X - X.mean(axis=0)) / stats.scale
        values = codes[present, code]
        expected = Z[present].T @ (values - values.mean()) / present.sum()
        assert_allclose(stats.cross[:, code], expected, atol=1e-6)


def _label_of(X, kind, rng):
    signal = X @ np.array([1.0, -0.5, 0.0])
    if kind == "number":
        return (signal + rng.standard_normal(len(X)))[:, None]
    return np.eye(3)[np.digitize(signal + rng.standard_normal(len(X)), (-1, 1))]


def test_linear_information_of_a_gaussian_label_is_that_of_its_correlation():
    rng = np.random.RandomState(0)
    X = rng.standard_normal((20_000, 20))
    y = _label_of(X[:, :3], "number", rng)
    few = np.split(np.arange(20_000), 100)
    found = [linear_information(moments(X, y, rows), slice(0, 1), y[rows]) for rows in few]
    # That of the population, where r^2 = 1.25 / 2.25: 17 columns of noise add nothing, however few the rows.
    truth = -0.5 * np.log(1 - 1.25 / 2.25)
    assert np.mean(found) == pytest.approx(truth, abs=4 * np.std(found) / 10)
    assert truth > 20 * np.std(found) / 10


@pytest.mark.parametrize("kind", ["number", "groups"])
def test_linear_information_is_unmoved_by_an_invertible_linear_map_of_X(kind):
    rng = np.random.RandomState(0)
    X = rng.standard_normal((500, 3))
    y = _label_of(X, kind, rng)
    columns = slice(2, 2 + y.shape[1])
    codes = np.column_stack([rng.standard_normal((500, 2)), y])
    mixed = X @ rng.standard_normal((3, 3)) + 5
    # A column twice and one that is constant tell nothing new.
    mixed = np.column_stack([mixed, mixed[:, 0], np.ones(500)])
    found = [linear_information(moments(Z, codes, np.arange(500)), columns, y) for Z in (X, mixed)]
    assert found[1] == pytest.approx(found[0], rel=1e-9)
    assert found[0] > 0.1


def test_linear_information_of_noise_and_of_a_copy():
    rng = np.random.RandomState(0)
    X = rng.standard_normal((300, 20))
    noise = rng.standard_normal((300, 1))
    rows = np.arange(300)
    assert 0 <= linear_information(moments(X, noise, rows), slice(0, 1), noise) < 0.05
    assert linear_information(moments(X, X[:, :1], rows), slice(0, 1), X[:, :1]) == pytest.approx(0.5 * np.log(1000))


def test_linear_scores_are_those_of_least_squares():
    rng = np.random.RandomState(0)
    X = rng.standard_normal((200, 4)) @ rng.standard_normal((4, 4)) + 3
    # A column twice and one that is constant leave the prediction alone.
    X = np.column_stack([X, X[:, 0], np.ones(200)])
    y = np.eye(3)[rng.randint(0, 3, 200)]
    codes = np.column_stack([rng.standard_normal(200), y])
    expected = LinearRegression().fit(X, y).predict(X) - y.mean(axis=0)
    assert_allclose(linear_scores(moments(X, codes, np.arange(200)), slice(1, 4), X), expected, atol=1e-9)


def test_moments_of_codes_that_are_all_missing_are_zero():
    X, codes = make_rows()
    codes[:, 0] = np.nan
    assert_array_equal(moments(X, codes, np.arange(60)).cross[:, 0], 0.0)


def test_moments_read_in_chunks_are_the_same(monkeypatch):
    X, codes = make_rows()
    rows = np.arange(1, 60, 2)
    whole = moments(X, codes, rows)
    lengths = []

    def small_chunks(n):
        for part in row_chunks(n, size=7):
            lengths.append(part.stop - part.start)
            yield part

    monkeypatch.setattr(_latent, "row_chunks", small_chunks)
    parts = moments(X, codes, rows)
    assert max(lengths) == 7
    for name in ("mean", "scale", "correlation", "cross"):
        assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-9, atol=1e-9)


def test_moments_of_float32_do_not_lose_digits():
    X = np.random.default_rng(0).normal(1000, 1, size=(500, 2)).astype(np.float32)
    stats = moments(X, np.zeros((500, 0)), np.arange(500))
    assert_allclose(stats.mean, X.astype(np.float64).mean(axis=0), rtol=1e-12)
    assert stats.correlation.dtype == np.float64


# The linear map


def make_table(kind, n=80, seed=0):
    """A table of one awkward kind, with its label and two attributes of different means and kinds."""
    rng = np.random.default_rng(seed)
    A = np.column_stack([rng.random(n) < 0.3, rng.normal(2.0, 1.0, n)]).astype(float)
    y = (rng.normal(size=n) + A[:, 0] + 0.5 * (A[:, 1] - 2.0) > 0.3).astype(float)
    X = rng.normal(size=(n, 5)) + y[:, None] * [1, 0, 0, 0.5, 0] + A @ [[0, 1.5, 0, 0, 0], [0, 0, 1.0, 0.3, 0]]
    if kind == "constant":
        X = np.column_stack([X, np.full(n, 7.0), np.zeros(n)])
    elif kind == "collinear":
        X = np.column_stack([X, X[:, 0] - 2 * X[:, 1], X.sum(axis=1)])
    elif kind == "duplicated":
        X = np.column_stack([X, X])
    elif kind == "one-hot":
        X = np.column_stack([np.eye(6)[rng.integers(0, 6, n)], np.eye(2)[A[:, 0].astype(int)], X[:, :2]])
    elif kind == "all constant":
        X = np.tile([1.0, 2.0, 0.0, -3.0, 1e6], (n, 1))
    elif kind == "attribute":
        X = np.column_stack([X, A])
    return X, y, A


def start_of(X, y, A, *, label_first=False):
    """The linear map with one column for the label and each attribute."""
    n_columns = X.shape[1]
    layout = LatentLayout("y", ("a", "b"), (1, 1, 1, n_columns - 3), n_columns - 2)
    stats = moments(X, np.column_stack([y, A]), np.arange(len(X)))
    return linear_start(stats, [slice(0, 1), slice(1, 2), slice(2, 3)], layout, label_first=label_first)


KINDS = ["plain", "constant", "collinear", "duplicated", "one-hot", "all constant", "attribute"]


@pytest.mark.parametrize("label_first", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_linear_map_is_exactly_invertible(kind, label_first):
    X, y, A = make_table(kind)
    start = start_of(X, y, A, label_first=label_first)
    identity = np.eye(X.shape[1])
    assert_allclose(start.matrix @ start.inverse, identity, atol=1e-10)
    assert_allclose(start.inverse @ start.matrix, identity, atol=1e-10)
    W = (X - start.mean) @ start.matrix
    assert_allclose(W @ start.inverse + start.mean, X, rtol=1e-10, atol=1e-10)


def correlations(start, X, A):
    W = (X - start.mean) @ start.matrix
    return np.abs([np.corrcoef(W[:, 0], a)[0, 1] for a in A.T])


@pytest.mark.parametrize("kind", ["plain", "constant", "collinear", "duplicated", "one-hot", "attribute"])
def test_label_axis_is_uncorrelated_with_every_attribute(kind):
    X, y, A = make_table(kind)
    assert correlations(start_of(X, y, A), X, A).max() < 1e-9
    # Negative control: the label's own best direction is not.
    assert correlations(start_of(X, y, A, label_first=True), X, A).min() > 0.05


def test_label_axis_is_uncorrelated_with_groups_of_three_and_missing_values():
    X, y, A = make_table("plain")
    groups = np.random.default_rng(1).integers(0, 3, len(X))
    X = X + np.array([0.0, 1.0, -2.0])[groups][:, None] * [0.5, 0, 0, 1, 1]
    design = np.eye(3)[groups]
    missing = np.arange(0, len(X), 6)
    design[missing] = np.nan
    layout = LatentLayout("y", ("g",), (1, 2, 2), 3)
    stats = moments(X, np.column_stack([y, design]), np.arange(len(X)))
    present = np.setdiff1d(np.arange(len(X)), missing)
    found = {}
    for label_first in (False, True):
        start = linear_start(stats, [slice(0, 1), slice(1, 4)], layout, label_first=label_first)
        W = (X - start.mean) @ start.matrix
        centred = design[present] - design[present].mean(axis=0)
        found[label_first] = np.abs(centred.T @ W[present, 0]).max() / len(present)
    assert found[False] < 1e-9
    assert found[True] > 0.02


def test_label_axis_is_the_labels_direction():
    X, y, A = make_table("plain")
    W = {first: (X - X.mean(axis=0)) @ start_of(X, y, A, label_first=first).matrix[:, 0] for first in (False, True)}
    fit = {first: abs(np.corrcoef(w, y)[0, 1]) for first, w in W.items()}
    assert 0.2 < fit[False] < fit[True]


@pytest.mark.parametrize("label_first", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_residual_is_ordered_by_relevance_for_the_label(kind, label_first):
    X, y, A = make_table(kind)
    start = start_of(X, y, A, label_first=label_first)
    W = (X - start.mean) @ start.matrix
    relevance = np.abs((y - y.mean()) @ W[:, 3:]) / len(y)
    assert (np.diff(relevance) <= 1e-11).all()


def test_residual_without_a_label_is_ordered_by_variance():
    X, _, A = make_table("plain")
    layout = LatentLayout(None, ("a", "b"), (0, 1, 1, 3), 3)
    stats = moments(X, A, np.arange(len(X)))
    start = linear_start(stats, [slice(0, 0), slice(0, 1), slice(1, 2)], layout, label_first=False)
    assert_allclose(start.matrix @ start.inverse, np.eye(5), atol=1e-10)
    spread = ((X - start.mean) @ start.matrix)[:, 2:].var(axis=0)
    assert (np.diff(spread) < 0).all()


def test_without_named_blocks_and_without_a_residual():
    X, y, A = make_table("plain")
    rows = np.arange(len(X))
    plain = linear_start(
        moments(X, np.zeros((len(X), 0)), rows), [slice(0, 0)], LatentLayout(None, (), (0, 5), 5), label_first=False
    )
    assert_allclose(plain.matrix @ plain.inverse, np.eye(5), atol=1e-10)
    full = LatentLayout("y", ("a", "b"), (1, 1, 1, 0), 1)
    stats = moments(X[:, :3], np.column_stack([y, A]), rows)
    start = linear_start(stats, [slice(0, 1), slice(1, 2), slice(2, 3)], full, label_first=False)
    assert_allclose(start.matrix @ start.inverse, np.eye(3), atol=1e-10)


def test_label_that_is_a_copy_of_an_attribute():
    X, _, A = make_table("plain")
    y = A[:, 0].copy()
    start = start_of(X, y, A)
    assert_allclose(start.matrix @ start.inverse, np.eye(5), atol=1e-10)
    assert correlations(start, X, A).max() < 1e-9
    # Negative control: with its own direction first it is the attribute.
    assert correlations(start_of(X, y, A, label_first=True), X, A)[0] > 0.5


def test_soft_whitening_keeps_the_scale_of_a_column_out():
    X, y, A = make_table("plain")
    factors = np.array([1.0, 100.0, 0.01, 5.0, 1.0])
    W = (X - X.mean(axis=0)) @ start_of(X, y, A).matrix
    scaled = start_of(X * factors, y, A)
    assert_allclose(np.abs((X * factors - scaled.mean) @ scaled.matrix), np.abs(W), rtol=1e-7, atol=1e-9)
    assert (W.var(axis=0) < 1.0).all()


@settings(max_examples=30)
@given(n=st.integers(1, 6), data=st.data(), seed=st.integers(0, 1000))
def test_append_axes_always_gives_an_orthonormal_basis(n, data, seed):
    rng = np.random.default_rng(seed)
    rank = data.draw(st.integers(0, n))
    candidates = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, 3))
    first = data.draw(st.integers(0, n))
    axes = _append_axes(np.zeros((n, 0)), candidates, first)
    axes = _append_axes(axes, np.zeros((n, 0)), n - first)
    assert_allclose(axes.T @ axes, np.eye(n), atol=1e-10)
    covered = axes[:, :first] @ (axes[:, :first].T @ candidates)
    if first >= rank:
        assert_allclose(covered, candidates, atol=1e-7)


def test_append_axes_leads_with_the_strongest_direction():
    axes = _append_axes(np.zeros((3, 0)), np.diag([1.0, 3.0, 2.0]), 3)
    assert_allclose(np.abs(axes), np.eye(3)[:, [1, 2, 0]], atol=1e-12)


def test_linear_start_of_no_variance_at_all():
    stats = Moments(np.zeros(3), np.ones(3), np.zeros((3, 3)), np.zeros((3, 2)))
    layout = LatentLayout("y", ("a",), (1, 1, 1), 1)
    start = linear_start(stats, [slice(0, 1), slice(1, 2)], layout, label_first=False)
    assert_allclose(start.matrix @ start.inverse, np.eye(3), atol=1e-12)
