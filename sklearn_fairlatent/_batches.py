"""What a fit reads: the codes of every row, the whitened rows, whole batches of both, and the held-out rows."""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.model_selection import train_test_split

from ._encoding import is_memory_mapped
from ._latent import row_chunks

# Fewer held-out rows than this measure nothing; the training rows stand in.
MIN_HELD_OUT = 20
# More measure hardly better (the standard error of an AUC is 0.013 at 2,000 rows) and are missed in training.
MAX_HELD_OUT = 2000


@dataclass
class Codes:
    """What a fit knows about every row besides X."""

    label: np.ndarray  # (n,), zeros without a label
    strata: np.ndarray  # (n,) of int, -1 where the row is not compared
    members: np.ndarray  # (n, n_comparisons)
    designs: list  # one (n, n_columns) array per attribute


class WhitenedRows:
    """``X`` behind the fixed linear map, as float32: kept whole if X is in memory, else mapped when read."""

    def __init__(self, X, linear):
        self.X = X
        self.mean, self.matrix = linear.mean.numpy(), linear.matrix.numpy()
        self.cache = None
        if not is_memory_mapped(X):
            self.cache = np.empty(X.shape, dtype=np.float32)
            for part in row_chunks(len(X)):
                self.cache[part] = self._whiten(X[part])

    def _whiten(self, rows):
        return (rows - self.mean) @ self.matrix

    def __getitem__(self, rows):
        w = self._whiten(self.X[rows]).astype(np.float32) if self.cache is None else self.cache[rows]
        return torch.from_numpy(w)


class LatentRows(torch.utils.data.Dataset):
    """Whitened rows with their codes, read whole batches at a time."""

    def __init__(self, inputs, codes, rows):
        self.inputs, self.codes, self.rows = inputs, codes, rows

    def __len__(self):
        return len(self.rows)

    def take(self, positions):
        """Inputs and codes of the rows at ``positions`` as float32 tensors."""
        rows = np.sort(self.rows[positions])
        codes = self.codes
        batch = {
            "label": torch.as_tensor(codes.label[rows], dtype=torch.float32),
            "strata": torch.as_tensor(codes.strata[rows]),
            "members": torch.as_tensor(codes.members[rows], dtype=torch.float32),
            "designs": [torch.as_tensor(design[rows], dtype=torch.float32) for design in codes.designs],
        }
        return self.inputs[rows], batch


class BatchLoader:
    """Whole batches; torch's own loader fetches row by row, which costs more than the training step."""

    def __init__(self, dataset, batch_size, generator=None):
        self.dataset, self.batch_size, self.generator = dataset, batch_size, generator

    def __len__(self):
        n = len(self.dataset)
        return max(1, n // self.batch_size) if self.generator is not None else -(-n // self.batch_size)

    def __iter__(self):
        n = len(self.dataset)
        shuffled = self.generator is not None
        order = torch.randperm(n, generator=self.generator).numpy() if shuffled else np.arange(n)
        for batch in range(len(self)):
            yield self.dataset.take(order[batch * self.batch_size : (batch + 1) * self.batch_size])


def split_rows(n_samples, fraction, label, designs, rng):
    """Training rows and held-out rows, stratified on the label and the groups as far as their counts allow."""
    rows = np.arange(n_samples)
    if n_samples * fraction < MIN_HELD_OUT:
        return rows, rows
    strata = np.unique(
        np.column_stack([np.nan_to_num(c, nan=-1.0) for c in (label, *designs)]), axis=0, return_inverse=True
    )[1].ravel()
    counts = np.bincount(strata)
    strata = np.where(counts[strata] * fraction >= 2, strata, -1)
    rare = (strata == -1).sum()
    n_held_out = min(int(np.ceil(n_samples * fraction)), MAX_HELD_OUT, n_samples - 1)
    usable = len(np.unique(strata)) <= min(n_held_out, n_samples - n_held_out) and rare != 1
    parts = train_test_split(rows, test_size=n_held_out, stratify=strata if usable else None, random_state=rng)
    return tuple(np.sort(part) for part in parts)
