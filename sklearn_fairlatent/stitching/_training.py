"""Training a stitch on cached features: stratified batches and the skorch net around the frozen head."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from .._term_net import term_history, term_net
from ._constraints import disparity
from ._networks import as_logits
from ._stitches import FreshLayer

# Rows in a step: the disparity of a batch carries the noise of its smallest cell.
BATCH_ROWS = 2048
# A default fit takes about this many steps, but sees its rows at least and at most this often. Twice as many lowered
# the held-out objective by .015 at most (docs/design_notes.md).
STEPS = 200
EPOCHS = (10, 200)
# Peaks of the rate: a stitch starts from what the network does, a fresh layer from nothing, and was not there after as
# many steps at the rate of a stitch.
STITCH_RATE, FRESH_RATE = 1e-2, 1e-1
TERMS = ("nll", "disparity")


@dataclass(frozen=True)
class Goal:
    """What training is for."""

    n_classes: int
    order: tuple | None  # of the network's outputs, where its classes are not sorted
    output: str
    n_groups: tuple
    constraint: str
    pos_label: int | None
    strength: float


@dataclass(frozen=True)
class Schedule:
    """The training knobs of the estimator."""

    max_epochs: int | str
    batch_size: int | str
    lr: float | str
    verbose: int
    net_params: dict

    def rate(self, fresh):
        """Peak of the learning rate; ``fresh`` if training does not start from the identity."""
        if self.lr == "auto":
            return FRESH_RATE if fresh else STITCH_RATE
        return self.lr

    def resolve(self, n_rows):
        """Rows of a batch, and epochs."""
        batch_size = min(n_rows, BATCH_ROWS if self.batch_size == "auto" else self.batch_size)
        epochs = self.max_epochs
        if epochs == "auto":
            epochs = int(np.clip(STEPS // max(1, n_rows // batch_size), *EPOCHS))
        return batch_size, epochs


class StitchedHead(nn.Module):
    """The stitch and the frozen head behind it: features in, logits out."""

    def __init__(self, stitch, head, goal):
        super().__init__()
        self.stitch, self.head, self.goal = stitch, head, goal

    def forward(self, features):
        """Logits of shape (n, n_classes)."""
        return as_logits(self.head(self.stitch(features)), self.goal.output, self.goal.n_classes, self.goal.order)

    def train(self, mode=True):
        """Only the stitch changes its mode: normalisation and dropout of the head are as at prediction."""
        self.training = mode
        self.stitch.train(mode)
        self.head.eval()
        return self


def disparities(rates, losses, rows, goal):
    """The disparity of every attribute, as a list of scalars."""
    return [
        disparity(rates, losses, rows.label, codes, n, rows.rate_weights, goal.constraint, goal.pos_label)
        for codes, n in zip(rows.groups.T, goal.n_groups, strict=True)
    ]


class StitchLoss(nn.Module):
    """The label's loss plus ``strength`` times the disparity of every attribute."""

    def __init__(self, goal):
        super().__init__()
        self.goal = goal

    def terms(self, logits, rows):
        """Both terms as scalars."""
        nll = nn.functional.cross_entropy(logits, rows.label, reduction="none")
        gaps = disparities(torch.softmax(logits, dim=1), nll, rows, self.goal)
        total = rows.label_weights.sum()
        return {
            # A small batch may be without any row that counts.
            "nll": (nll * rows.label_weights).sum() / total.clamp(min=torch.finfo(total.dtype).tiny),
            "disparity": sum(gaps) if gaps else logits.new_zeros(()),
        }

    def forward(self, terms):
        """The objective."""
        return terms["nll"] + self.goal.strength * terms["disparity"]


class StratifiedBatches:
    """Batches with the same share of every cell; without a generator all rows at once, in order."""

    def __init__(self, dataset, batch_size, generator=None):
        self.rows, self.batch_size, self.generator = dataset.rows, batch_size, generator

    def __len__(self):
        return 1 if self.generator is None else max(1, len(self.rows.label) // self.batch_size)

    def __iter__(self):
        if self.generator is None:
            yield self.rows.features, self.rows
            return
        for positions in torch.tensor_split(stratified_order(self.rows.cells, self.generator), len(self)):
            batch = self.rows.take(positions)
            yield batch.features, batch


class RowsDataset(torch.utils.data.Dataset):
    """The rows as skorch passes them on."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows.label)


def stratified_order(cells, generator):
    """A random order in which the rows of every cell are evenly spread, so that equal parts are alike."""
    n = len(cells)
    order = torch.randperm(n, generator=generator).to(cells.device)
    # Rows of one cell one after another, each cell in random order.
    order = order[torch.argsort(cells[order], stable=True)]
    counts = torch.bincount(cells)
    starts = torch.cumsum(counts, 0) - counts
    own = cells[order]
    rank = torch.arange(n, device=cells.device) - starts[own]
    # One offset per cell: which part gets one row more is left to chance.
    offsets = torch.rand(len(counts), generator=generator).to(cells.device)
    return order[torch.argsort((rank + offsets[own]) / counts[own])]


@dataclass(frozen=True, eq=False)
class TrainedStitch:
    """A trained stitch: ``objective`` and ``start_objective`` are those on the held-out rows."""

    stitch: nn.Module
    history: list
    objective: float
    start_objective: float
    terms: dict[str, Any]


def train_stitch(stitch, head, train, held_out, goal, schedule, seed):
    """Train ``stitch`` in place and keep the epoch with the least objective on the held-out rows.

    Parameters
    ----------
    stitch, head : torch.nn.Module
        The head is frozen.
    train, held_out : Rows
    goal : Goal
    schedule : Schedule
    seed : int

    Returns
    -------
    TrainedStitch
        What it started from, if no epoch was better.
    """
    module = StitchedHead(stitch, head, goal)
    start = {name: value.clone() for name, value in stitch.state_dict().items()}
    start_objective, start_terms = evaluate(module, held_out, goal)
    rate = schedule.rate(fresh=isinstance(stitch, FreshLayer))
    net = _net(
        module, goal, len(train.label), RowsDataset(held_out), schedule, rate, torch.Generator().manual_seed(seed)
    )
    net.fit(RowsDataset(train))
    objective, terms = evaluate(module, held_out, goal)
    # An objective that is no number is not less than any.
    if not objective < start_objective:
        stitch.load_state_dict(start)
        objective, terms = start_objective, start_terms
    history = term_history(net, TERMS)
    stitch.eval().requires_grad_(False)
    return TrainedStitch(stitch, history, objective, start_objective, terms)


def evaluate(module, rows, goal):
    """Objective and terms on ``rows``."""
    loss = StitchLoss(goal)
    module.eval()
    with torch.no_grad():
        terms = loss.terms(module(rows.features), rows)
    return float(loss(terms)), {name: float(term) for name, term in terms.items()}


def _net(module, goal, n_rows, held_out, schedule, rate, generator):
    batch_size, epochs = schedule.resolve(n_rows)
    return term_net(
        module,
        StitchLoss(goal),
        TERMS,
        held_out,
        StratifiedBatches,
        generator,
        rate=rate,
        epochs=epochs,
        batch_size=batch_size,
        n_rows=n_rows,
        verbose=schedule.verbose,
        net_params=schedule.net_params,
        optimizer__weight_decay=1e-2,
    )
