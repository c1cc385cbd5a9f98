"""The split, the schedule, the rows in batches."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_fairlatent._batches import MIN_HELD_OUT, BatchLoader, Codes, LatentRows, WhitenedRows, split_rows
from sklearn_fairlatent._flow import LinearMap
from sklearn_fairlatent._latent import LinearStart
from sklearn_fairlatent._training import DEFAULT_EPOCHS, FEWEST_EPOCHS, TABLE_EPOCHS, Schedule

from .samples import map_to_disk

# The held-out rows


@settings(max_examples=50)
@given(
    n=st.integers(1, 300),
    fraction=st.floats(0.05, 0.6),
    n_classes=st.integers(1, 40),
    continuous=st.booleans(),
    seed=st.integers(0, 100),
)
def test_split_is_a_partition(n, fraction, n_classes, continuous, seed):
    rng = np.random.default_rng(seed)
    label = rng.normal(size=n) if continuous else rng.integers(0, n_classes, n).astype(float)
    group = np.where(rng.random(n) < 0.1, np.nan, rng.integers(0, 2, n))
    train_rows, held_out = split_rows(n, fraction, label, [group], np.random.RandomState(seed))
    if n * fraction < MIN_HELD_OUT:
        assert_array_equal(train_rows, np.arange(n))
        assert_array_equal(held_out, np.arange(n))
        return
    assert_array_equal(np.sort(np.r_[train_rows, held_out]), np.arange(n))
    assert (np.diff(train_rows) > 0).all()
    assert (np.diff(held_out) > 0).all()
    assert len(held_out) == np.ceil(n * fraction)


def test_split_is_stratified_on_label_and_group():
    label = np.repeat([0.0, 0.0, 0.0, 1.0], 50)
    group = np.tile([0.0, 0.0, 0.0, 0.0, 1.0], 40)
    for seed in range(5):
        _, held_out = split_rows(200, 0.2, label, [group], np.random.RandomState(seed))
        counts = [((label[held_out] == y) & (group[held_out] == a)).sum() for y in (0, 1) for a in (0, 1)]
        assert counts == [24, 6, 8, 2]


def test_split_depends_on_the_seed_only():
    label = np.arange(200) % 2.0
    splits = [split_rows(200, 0.2, label, [], np.random.RandomState(seed))[1] for seed in (0, 0, 1)]
    assert_array_equal(splits[0], splits[1])
    assert (splits[0] != splits[2]).any()


@pytest.mark.parametrize("n_rare", [1, 2, 7])
def test_rare_strata_do_not_stop_the_split(n_rare):
    label = np.zeros(150)
    label[:n_rare] = np.arange(1, n_rare + 1)
    train_rows, held_out = split_rows(150, 0.2, label, [], np.random.RandomState(0))
    assert len(train_rows) + len(held_out) == 150


@pytest.mark.parametrize("fraction", [0.9, 0.95])
def test_many_strata_and_few_training_rows(fraction):
    label = np.repeat(np.arange(30.0), 4)
    train_rows, held_out = split_rows(120, fraction, label, [], np.random.RandomState(0))
    assert len(train_rows) + len(held_out) == 120


def test_a_fraction_that_leaves_no_training_row():
    train_rows, held_out = split_rows(30, 0.999, np.zeros(30), [], np.random.RandomState(0))
    assert len(train_rows) > 0
    assert len(held_out) > 0


# The schedule


@pytest.mark.parametrize(
    ("max_epochs", "batch_size", "n_rows", "expected"),
    [
        ("auto", "auto", 20, (20, TABLE_EPOCHS[0], 1)),
        ("auto", "auto", 400, (100, TABLE_EPOCHS[0], 4)),
        ("auto", "auto", 9_000, (2048, 30, 4)),
        ("auto", "auto", 40_000, (2048, 32, 19)),
        ("auto", "auto", 1_000_000, (2048, FEWEST_EPOCHS, 488)),
        (7, "auto", 400, (100, 7, 4)),
        ("auto", 10, 400, (10, TABLE_EPOCHS[0], 40)),
        (3, 1000, 400, (400, 3, 1)),
        (3, 300, 400, (300, 3, 1)),
    ],
)
def test_schedule_of_a_table(max_epochs, batch_size, n_rows, expected):
    assert Schedule(max_epochs, batch_size, 1e-3, False, "cpu", 0).resolve(n_rows, of_table=True) == expected


@pytest.mark.parametrize(
    ("n_rows", "epochs"), [(400, DEFAULT_EPOCHS), (9_000, DEFAULT_EPOCHS), (90_000, 14), (1_000_000, FEWEST_EPOCHS)]
)
def test_schedule_of_embeddings(n_rows, epochs):
    assert Schedule("auto", "auto", 1e-3, False, "cpu", 0).resolve(n_rows, of_table=False)[1] == epochs


@pytest.mark.parametrize(
    ("max_epochs", "n_rows", "epochs"),
    [("auto", 25_000, 4), ("auto", 40_000, 2), ("auto", 1_800, 6), ("auto", 12, 10), (5, 25_000, 5)],
)
def test_schedule_of_a_fit_that_goes_on(max_epochs, n_rows, epochs):
    schedule = Schedule(max_epochs, "auto", 1e-3, False, "cpu", 0, warm=True)
    assert schedule.resolve(n_rows, of_table=True)[1] == epochs


# Rows in batches


def make_linear(n_features, seed=0):
    matrix = np.random.default_rng(seed).normal(size=(n_features, n_features))
    return LinearMap(LinearStart(np.arange(n_features, dtype=float), matrix, np.linalg.inv(matrix)))


def make_rows(n, rows=None, X=None):
    X = np.random.default_rng(0).normal(size=(n, 3)) if X is None else X
    codes = Codes(
        np.arange(n, dtype=float), np.zeros(n, dtype=np.int64), np.arange(2.0 * n).reshape(n, 2), [np.ones((n, 1))]
    )
    return LatentRows(WhitenedRows(X, make_linear(3)), codes, np.arange(n) if rows is None else rows)


def test_loader_without_a_generator_covers_every_row_in_order():
    batches = list(BatchLoader(make_rows(25), 10))
    assert [len(w) for w, _ in batches] == [10, 10, 5]
    assert torch.cat([batch["label"] for _, batch in batches]).tolist() == list(range(25))


def test_shuffled_loader_drops_the_remainder():
    rows = np.arange(3, 28)
    loader = BatchLoader(make_rows(30, rows), 10, torch.Generator().manual_seed(0))
    seen = []
    for _ in range(2):
        batches = list(loader)
        assert [len(w) for w, _ in batches] == [10, 10] == [10] * len(loader)
        labels = torch.cat([batch["label"] for _, batch in batches]).tolist()
        assert len(set(labels)) == 20
        assert set(labels) <= set(rows)
        seen.append(labels)
    assert seen[0] != seen[1]


def test_shuffled_loader_keeps_a_single_short_batch():
    loader = BatchLoader(make_rows(4), 10, torch.Generator().manual_seed(0))
    assert [len(w) for w, _ in loader] == [4]


@pytest.mark.parametrize("generator", [None, torch.Generator().manual_seed(0)])
def test_batches_keep_a_rows_parts_together(generator):
    dataset = make_rows(25)
    whole, _ = dataset.take(slice(None))
    for w, batch in BatchLoader(dataset, 7, generator):
        rows = batch["label"].long()
        assert torch.equal(w, whole[rows])
        assert torch.equal(batch["members"][:, 0], 2.0 * rows)
        assert batch["designs"][0].shape == (len(rows), 1)
        assert batch["strata"].dtype == torch.int64
        assert w.dtype == batch["label"].dtype == batch["members"].dtype == torch.float32


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_mapped_rows_are_read_and_not_kept(tmp_path, mode, dtype):
    X = np.random.default_rng(0).normal(size=(50, 3)).astype(dtype)
    mapped = map_to_disk(X, tmp_path / "X", mode)
    held, streamed = WhitenedRows(X, make_linear(3)), WhitenedRows(mapped, make_linear(3))
    views = [mapped[:], np.asarray(mapped), mapped.view(np.ndarray)[1:]]
    assert held.cache.shape == (50, 3)
    assert streamed.cache is None
    assert all(WhitenedRows(view, make_linear(3)).cache is None for view in views)
    for rows in (np.array([7, 1, 4]), np.arange(50), slice(2, 9)):
        assert torch.equal(held[rows], streamed[rows])
        assert streamed[rows].dtype == torch.float32
    streamed[np.array([0, 1])].zero_()
    assert_array_equal(mapped, X)


def test_whitened_rows_are_the_linear_image():
    X = np.random.default_rng(0).normal(size=(20, 3))
    linear = make_linear(3)
    w, _ = linear(torch.as_tensor(X))
    assert_allclose(WhitenedRows(X, linear)[np.arange(20)], w, rtol=1e-5, atol=1e-5)


def test_whitening_keeps_the_digits_of_a_column_with_a_large_mean():
    # 1e9 swallows the digits in float32: the mean has to go before the rounding.
    X = np.random.default_rng(0).normal(size=(20, 1)) + 1e9
    linear = LinearMap(LinearStart(np.array([1e9]), np.eye(1), np.eye(1)))
    assert_allclose(WhitenedRows(X, linear)[np.arange(20)], X - 1e9, rtol=1e-6)
