"""Batches with every cell in them, weights, and rows left out until all cells are alike."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sklearn_fairlatent.stitching._cells import Rows, cells_of, coded_rows, smallest_cells
from sklearn_fairlatent.stitching._training import RowsDataset, StratifiedBatches, stratified_order


def rows_of(cells):
    n = len(cells)
    features = torch.arange(n, dtype=torch.float32)[:, None]
    codes = torch.zeros(n, dtype=torch.int64)
    return Rows(features, codes, codes[:, None], torch.as_tensor(cells), torch.ones(n), torch.ones(n))


@given(st.integers(0, 1000), st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(2, 30))
def test_every_batch_has_its_share_of_every_cell(seed, counts, batch_size):
    cells = np.random.RandomState(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    batches = StratifiedBatches(RowsDataset(rows_of(cells)), batch_size, torch.Generator().manual_seed(seed))
    found = [features[:, 0].long().numpy() for features, _ in batches]
    assert len(found) == len(batches) == max(1, len(cells) // batch_size)
    assert sorted(np.concatenate(found)) == list(range(len(cells)))
    for rows in found:
        share = len(rows) / len(cells)
        for cell, count in enumerate(counts):
            # The parts of a cut have sizes that differ by one row, and so may the cells of each.
            assert abs((cells[rows] == cell).sum() - share * count) <= 2


def test_the_order_is_new_every_time_and_known_for_a_seed():
    cells = torch.arange(60) % 3
    first, again = (torch.Generator().manual_seed(1) for _ in range(2))
    one, two = stratified_order(cells, first), stratified_order(cells, first)
    assert not torch.equal(one, two)
    assert torch.equal(stratified_order(cells, again), one)


def test_all_rows_at_once_in_their_order():
    ((features, rows),) = StratifiedBatches(RowsDataset(rows_of(np.zeros(7, dtype=int))), 3)
    assert features[:, 0].tolist() == list(range(7))
    assert rows.label.tolist() == [0] * 7


LABEL = np.array([0, 0, 0, 0, 1, 1, 1, 0])
GROUP = np.array([0, 0, 0, 1, 1, 0, 0, np.nan])


def test_balanced_weights_give_every_cell_the_same():
    rows = coded_rows(LABEL, [GROUP], np.ones(8), True, torch.float64, "cpu")
    totals = np.bincount(rows.cells, rows.label_weights)
    np.testing.assert_allclose(totals, totals[0])
    np.testing.assert_allclose(rows.label_weights.mean(), 1)
    np.testing.assert_allclose(rows.rate_weights, 1)
    assert rows.groups[:, 0].tolist() == [0, 0, 0, 1, 1, 0, 0, -1]


def test_a_smaller_set_keeps_the_rates_of_the_whole():
    cells = cells_of(LABEL, [GROUP])
    kept = smallest_cells(np.arange(8), cells, np.random.RandomState(0))
    assert np.bincount(cells[kept]).tolist() == [1] * 5
    rows = coded_rows(LABEL, [GROUP], np.ones(8), "subsample", torch.float64, "cpu").take(kept)
    shares = rows.rate_weights / rows.rate_weights.sum()
    np.testing.assert_allclose(shares, np.bincount(cells)[cells[kept]] / 8)
    np.testing.assert_allclose(rows.label_weights, 1)


def test_no_attribute_is_one_group_and_none_to_compare():
    rows = coded_rows(LABEL, [], np.ones(8), True, torch.float32, "cpu")
    assert rows.groups.shape == (8, 0)
    assert rows.label_weights.tolist() == pytest.approx([0.8] * 4 + [4 / 3] * 3 + [0.8])


def test_a_cell_without_weight_is_no_error():
    rows = coded_rows(LABEL, [], np.where(LABEL == 1, 0.0, 1.0), True, torch.float64, "cpu")
    assert torch.isfinite(rows.label_weights).all()
    assert rows.label_weights[LABEL == 1].tolist() == [0, 0, 0]
