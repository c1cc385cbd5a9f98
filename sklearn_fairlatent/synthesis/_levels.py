"""Columns of a table as levels: categories, single numbers, intervals of numbers, and "missing"; and back."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .._codec import TabularCodec
from .._column_kinds import CategoricalColumn

# Levels of a numeric column: as many as its rows can tell apart, within these bounds.
MIN_LEVELS, MAX_LEVELS = 8, 32
ROWS_PER_LEVEL = 50
# What is not a spike is cut into this many intervals at least, however few rows it has (a capital gain: 8 % of Adult,
# most of what it tells of the income), as long as every interval has ROWS_PER_INTERVAL of them.
MIN_INTERVALS, ROWS_PER_INTERVAL = 8, 20
# More categories are names or texts, of which a generator would give single training rows away.
MAX_CATEGORIES = 1000


@dataclass(frozen=True, eq=False)
class NumberLevels:
    """Levels of a number: single values, intervals between edges, and "missing" as the last one.

    Parameters
    ----------
    points : ndarray of shape (n_points,)
        Sorted.
    edges : ndarray of shape (n_intervals + 1,)
        Empty where there are no intervals.
    has_missing : bool
    """

    points: np.ndarray
    edges: np.ndarray
    has_missing: bool

    @classmethod
    def learn(cls, numbers, missing, has_missing):
        """From a column of numbers: a value with many rows has a level of its own."""
        present = numbers[~missing]
        if not len(present):
            return cls(np.zeros(0), np.zeros(0), has_missing)
        most = int(np.clip(len(present) // ROWS_PER_LEVEL, MIN_LEVELS, MAX_LEVELS))
        values, counts = np.unique(present, return_counts=True)
        if len(values) <= most:
            return cls(values, np.zeros(0), has_missing)
        points = values[counts * most >= len(present)]
        rest = present[~np.isin(present, points)]
        n_intervals = max(round(most * len(rest) / len(present)), min(MIN_INTERVALS, len(rest) // ROWS_PER_INTERVAL))
        edges = np.unique(np.quantile(rest, np.linspace(0, 1, max(1, n_intervals) + 1)))
        if len(edges) == 1:
            return cls(np.union1d(points, edges), np.zeros(0), has_missing)
        return cls(points, edges, has_missing)

    @property
    def n_intervals(self):
        """Number of intervals."""
        return max(0, len(self.edges) - 1)

    @property
    def n_levels(self):
        """Number of levels, at least one."""
        return max(1, len(self.points) + self.n_intervals + self.has_missing)

    def encode(self, numbers, missing):
        """The level of every number."""
        codes = np.zeros(len(numbers), dtype=np.int64)
        if len(self.points):
            after = np.clip(np.searchsorted(self.points, numbers), 0, len(self.points) - 1)
            before = np.maximum(after - 1, 0)
            nearer = np.abs(numbers - self.points[before]) < np.abs(numbers - self.points[after])
            codes = np.where(nearer, before, after)
        if self.n_intervals:
            inside = np.clip(np.searchsorted(self.edges, numbers, side="right") - 1, 0, self.n_intervals - 1)
            exact = np.isin(numbers, self.points)
            codes = np.where(exact, codes, len(self.points) + inside)
        if self.has_missing:
            codes[missing] = self.n_levels - 1
        return codes

    def decode(self, codes, rng):
        """A number for every level, drawn evenly within an interval, and where it is missing."""
        missing = (codes == self.n_levels - 1) & self.has_missing
        numbers = np.zeros(len(codes))
        # A level for a column that was missing throughout stands for no number.
        single = codes < len(self.points)
        numbers[single] = self.points[codes[single]]
        within = rng.random(len(codes))
        between = ~single & ~missing & (self.n_intervals > 0)
        interval = codes[between] - len(self.points)
        low, high = self.edges[interval], self.edges[interval + 1]
        numbers[between] = low + within[between] * (high - low)
        return numbers, missing


@dataclass(frozen=True, eq=False)
class CategoryLevels:
    """Levels of a categorical column: its categories, and "missing" as the last one."""

    n_levels: int


class TableRows:
    """Tables as levels and back, always as valid rows.

    Parameters
    ----------
    columns : list of columns of a fitted TabularCodec
    table_format : TableFormat
    repair : callable or None
    levels : list of NumberLevels or CategoryLevels
    """

    def __init__(self, columns, table_format, repair, levels):
        self.columns, self.format, self.repair, self.levels = columns, table_format, repair, levels

    @classmethod
    def learn(cls, codec, X):
        """From a fitted codec and the training rows."""
        levels = []
        for column, coded in zip(codec._columns, codec._column_codes(X), strict=True):
            if isinstance(column, CategoricalColumn):
                n_levels = max(1, len(column.categories) + column.has_missing)
                if n_levels > MAX_CATEGORIES:
                    raise ValueError(
                        f"Column {column.label!r} of X has {n_levels} categories; at most {MAX_CATEGORIES} can be "
                        "learnt. Drop a name or an identifier; embed a text, and pass the embeddings."
                    )
                levels.append(CategoryLevels(n_levels))
            else:
                numbers, missing = coded
                levels.append(NumberLevels.learn(numbers, missing, column.has_missing))
        return cls(codec._columns, codec._format, codec.repair, levels)

    @property
    def sizes(self):
        """Number of levels of every column."""
        return tuple(levels.n_levels for levels in self.levels)

    @property
    def n_vectors(self):
        """Columns that are not levels."""
        return 0

    def encode(self, X, codec):
        """Levels of shape (n, n_columns), and no vectors."""
        coded = [
            values if isinstance(column, CategoricalColumn) else levels.encode(*values)
            for column, levels, values in zip(self.columns, self.levels, codec._column_codes(X), strict=True)
        ]
        # A codec of the user's may not know a category of these rows: -1.
        return np.maximum(np.column_stack(coded), 0), np.zeros((len(X), 0))

    def decode(self, codes, vectors, rng):
        """The table of levels."""
        written = []
        for column, levels, level in zip(self.columns, self.levels, codes.T, strict=True):
            if isinstance(column, CategoricalColumn):
                written.append(self._categories(column, level))
            else:
                numbers, missing = levels.decode(level, rng)
                written.append(column.decode(numbers, missing.astype(float) if column.has_missing else None))
        X = self.format.write(written)
        if self.repair is None:
            return X
        form = type(X), X.shape, getattr(X, "index", None)
        return self.format.restore(self.repair(X), *form)

    def _categories(self, column, level):
        """Values of a categorical column; where the dtype lists them, without looking each up."""
        dtype = self.format.dtypes[column.position]
        if not isinstance(dtype, pd.CategoricalDtype):
            return column.take(level)
        return pd.Categorical.from_codes(np.where(level < len(column.categories), level, -1), dtype=dtype)


class VectorRows:
    """Embeddings, or any numbers that vary together: standardised and back, through the decoder if there is one.

    Parameters
    ----------
    mean, scale : ndarray of shape (n_vectors,)
    dtype : numpy dtype
    encoding : Encoding or None
    """

    sizes = ()

    def __init__(self, mean, scale, dtype, encoding):
        self.mean, self.scale, self.dtype, self.encoding = mean, scale, dtype, encoding

    @classmethod
    def learn(cls, encoding, E):
        """From the encoded training rows."""
        scale = E.std(axis=0)
        return cls(E.mean(axis=0), np.where(scale > 0, scale, 1.0), E.dtype, encoding)

    @property
    def n_vectors(self):
        """Columns that are not levels."""
        return len(self.mean)

    def encode(self, E):
        """No levels, and standardised vectors."""
        return np.zeros((len(E), 0), dtype=np.int64), (E - self.mean) / self.scale

    def decode(self, codes, vectors, rng):
        """Rows in the space of X where there is a way back, else embeddings."""
        E = (vectors * self.scale + self.mean).astype(self.dtype)
        if self.encoding is None or not self.encoding.can_decode:
            return E
        return self.encoding.decode(E)


def table_codec(encoder, X):
    """The fitted codec that reads the table: the transformer's own, or a new one."""
    return encoder if isinstance(encoder, TabularCodec) else TabularCodec().fit(X)
