"""Which rows took part in a fit: a hash of each, to tell whether rows are new."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ._encoding import MappedColumns, as_frame, column_names, column_values
from ._latent import row_chunks

# Rows seen beyond what chance explains, by more than so many standard deviations, were in the fit.
DEVIATIONS = 5.0
# Equal rows that a fit may have had by chance though it had none ("rule of three": Hanley and Lippman-Hand 1983).
UNSEEN = 3
# What every missing value is hashed as.
MISSING = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Fingerprint:
    """Hashes of the rows of a fit.

    Attributes
    ----------
    hashes : ndarray of uint64, sorted, one of each
    n_rows : int
        Of the last fit.
    n_repeated : int
        Those of them that have an equal one among the others: as often will a row that is new.
    n_total : int
        Rows of all fits that went on from each other.
    """

    hashes: np.ndarray
    n_rows: int
    n_repeated: int
    n_total: int

    @classmethod
    def of(cls, hashed, before=None):
        """The fingerprint of rows with these hashes and, if there is one, of those ``before``."""
        hashes, counts = np.unique(hashed, return_counts=True)
        n_rows, n_repeated = len(hashed), int(counts[counts > 1].sum())
        if before is None:
            return cls(hashes, n_rows, n_repeated, n_rows)
        # A curve of fits on the same rows has no more of them; other rows, of which any may equal one, add theirs.
        same = np.array_equal(hashes, before.hashes)
        n_total = before.n_total if same else before.n_total + n_rows
        return cls(np.union1d(hashes, before.hashes), n_rows, n_repeated, n_total)

    def seen(self, hashed):
        """How many of the rows were there, and how many chance explains at most.

        Returns
        -------
        n_seen : int
        most : float
            More than that were in the fit.
        """
        n = len(hashed)
        distinct, counts = np.unique(hashed, return_counts=True)
        known = np.isin(distinct, self.hashes)
        n_seen = int(counts[known].sum())
        share = min(1.0, (self.n_repeated + UNSEEN) / self.n_rows * self.n_total / self.n_rows)
        expected = n * share
        # Equal rows are seen together or not at all.
        together = (counts[known].astype(float) ** 2).sum() / max(1, n_seen)
        variance = expected * (1 - share) * max(1.0, together) * (1 + n / self.n_rows)
        return n_seen, float(expected + DEVIATIONS * np.sqrt(variance))


def hash_rows(X):
    """A number for every row of a frame, an array of any dimension, or a list of anything; equal for equal rows.

    Numbers are equal as float32, whatever their type; other values as text.

    Returns
    -------
    ndarray of uint64 of shape (n_samples,)
    """
    frame = as_frame(X)
    if frame is not None:
        return _combine([_hash_values(column_values(X, name)) for name in column_names(X)])
    if not isinstance(X, (np.ndarray, MappedColumns)):
        X = X.detach().cpu().numpy() if hasattr(X, "detach") else _objects(X)
    if X.dtype.kind in "biuf":
        # By parts: X may be a memory map.
        return np.concatenate([_combine_numbers(np.asarray(X[part])) for part in row_chunks(len(X))])
    return _combine([_hash_values(column) for column in np.asarray(X).reshape(len(X), -1).T])


def _objects(X):
    """A list, a Series or the like as an array: of numbers if it holds some, else of one object a row."""
    values = X.to_numpy() if hasattr(X, "to_numpy") else X
    try:
        values = np.asarray(values)
        if values.dtype.kind in "biuf":
            return values
    except ValueError:  # rows of different lengths
        pass
    rows = np.empty(len(values), dtype=object)
    rows[:] = [row if isinstance(row, str) else _text(row) for row in values]
    return rows


def _text(value):
    # The text of a long array leaves out its middle.
    return value.tobytes().hex() if isinstance(value, np.ndarray) else str(value)


def _combine_numbers(X):
    return _combine(_hash_numbers(X.reshape(len(X), -1)).T)


def _hash_numbers(values):
    with np.errstate(over="ignore"):
        values = np.asarray(values, dtype=np.float32)
    # 0 and -0 are equal.
    bits = (values + np.float32(0)).view(np.uint32).astype(np.uint64)
    return np.where(np.isnan(values), np.uint64(MISSING), bits)


def _hash_values(values):
    values = np.asarray(values)
    if values.dtype.kind in "biuf":
        return _hash_numbers(values)
    missing = np.asarray(pd.isna(values))
    numbers = pd.to_numeric(pd.Series(values, dtype=object), errors="coerce").to_numpy(dtype=np.float64)
    if not np.isnan(numbers[~missing]).any():
        return _hash_numbers(numbers)
    texts = np.array(["" if gone else _text(value) for value, gone in zip(values, missing, strict=True)], dtype=object)
    return np.where(missing, np.uint64(MISSING), pd.util.hash_array(texts))


def _combine(columns):
    """One number from those of all columns; their order counts."""
    out = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        mixed = (out ^ column) * np.uint64(0xFF51AFD7ED558CCD)
        out = mixed ^ (mixed >> np.uint64(33))
    return out
