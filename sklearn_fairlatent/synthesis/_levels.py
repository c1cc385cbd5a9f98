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
# Steps of an interval that numbers are drawn from, each as often: a long tail has most of its rows at its beginning.
# Every step stands for several rows, and gives none of them away.
MAX_STEPS, ROWS_PER_STEP = 8, 10
MAX_DECIMALS = 6
# Where the mean of a step lies between its ends, at most.
SHARES = 0.05, 0.95
# More categories, or more than every other row has one of its own, are names or texts, of which a generator would give
# single training rows away.
MAX_CATEGORIES, FEW_CATEGORIES = 1000, 20


@dataclass(frozen=True, eq=False)
class NumberLevels:
    """Levels of a number: single values, intervals, and "missing" as the last one.

    Parameters
    ----------
    points : ndarray of shape (n_points,)
        Sorted.
    starts : ndarray of shape (n_intervals,)
        Where intervals begin; sorted.
    quantiles : list of ndarray
        Of every interval its smallest value, quantiles in between and its largest value, from which numbers are drawn.
    powers : list of ndarray
        Of every step between two quantiles the power of a uniform number whose mean is that of the step's values.
    decimals : int or None
        Of all numbers; None: more than six.
    has_missing : bool
    """

    points: np.ndarray
    starts: np.ndarray
    quantiles: list
    powers: list
    decimals: int | None
    has_missing: bool

    @classmethod
    def learn(cls, numbers, missing, has_missing):
        """From a column of numbers: a value with many rows has a level of its own."""
        present = numbers[~missing]
        decimals = next((d for d in range(MAX_DECIMALS + 1) if (np.round(present, d) == present).all()), None)
        most = int(np.clip(len(present) // ROWS_PER_LEVEL, MIN_LEVELS, MAX_LEVELS))
        values, counts = np.unique(present, return_counts=True)
        if len(values) <= most:
            return cls(values, np.zeros(0), [], [], decimals, has_missing)
        points = values[counts * most >= len(present)]
        rest = np.sort(present[~np.isin(present, points)])
        n_intervals = max(round(most * len(rest) / len(present)), min(MIN_INTERVALS, len(rest) // ROWS_PER_INTERVAL), 1)
        # Values of the column, so that none lies between an interval's last value and the next one's first.
        starts = np.unique(np.quantile(rest, np.linspace(0, 1, n_intervals + 1)[:-1], method="inverted_cdf"))
        quantiles, powers = [], []
        for part in np.split(rest, np.searchsorted(rest, starts[1:])):
            n_steps = int(np.clip(len(part) // ROWS_PER_STEP, 1, MAX_STEPS))
            ends = np.ceil(np.linspace(0, len(part), n_steps + 1)).astype(int)
            own = np.append(part[ends[:-1]], part[-1])
            means = np.add.reduceat(part, ends[:-1]) / np.diff(ends)
            width = np.diff(own)
            share = np.divide(means - own[:-1], width, out=np.full(n_steps, 0.5), where=width > 0)
            quantiles.append(own)
            powers.append(1 / np.clip(share, *SHARES) - 1)
        return cls(points, starts, quantiles, powers, decimals, has_missing)

    @property
    def n_levels(self):
        """Number of levels, at least one."""
        return max(1, len(self.points) + len(self.starts) + self.has_missing)

    def encode(self, numbers, missing):
        """The level of every number."""
        codes = np.zeros(len(numbers), dtype=np.int64)
        if len(self.points):
            after = np.clip(np.searchsorted(self.points, numbers), 0, len(self.points) - 1)
            before = np.maximum(after - 1, 0)
            nearer = np.abs(numbers - self.points[before]) < np.abs(numbers - self.points[after])
            codes = np.where(nearer, before, after)
        if len(self.starts):
            inside = np.maximum(np.searchsorted(self.starts, numbers, side="right") - 1, 0)
            codes = np.where(np.isin(numbers, self.points), codes, len(self.points) + inside)
        if self.has_missing:
            codes[missing] = self.n_levels - 1
        return codes

    def decode(self, codes, rng):
        """A number for every level, of an interval one that it could hold, and where it is missing."""
        missing = (codes == self.n_levels - 1) & self.has_missing
        numbers = np.zeros(len(codes))
        # A level for a column that was missing throughout stands for no number.
        single = codes < len(self.points)
        numbers[single] = self.points[codes[single]]
        between = np.flatnonzero(~single & ~missing & (len(self.starts) > 0))
        if len(between):
            numbers[between] = self._draw(codes[between] - len(self.points), rng)
        return numbers, missing

    def _draw(self, interval, rng):
        """Numbers of intervals: between two neighbouring quantiles, with as many decimals as all have."""
        sizes = np.array([len(own) for own in self.quantiles])
        flat, first = np.concatenate(self.quantiles), np.cumsum(sizes) - sizes
        step = np.floor(rng.random(len(interval)) * (sizes[interval] - 1)).astype(np.int64)
        place = first[interval] + step
        low, high = flat[place], flat[place + 1]
        # There is one step less than there are quantiles, in every interval.
        share = rng.random(len(interval)) ** np.concatenate(self.powers)[place - interval]
        if self.decimals is None:
            return low + share * (high - low)
        unit = 10.0**-self.decimals
        # The upper end belongs to the next step, but for the last one of an interval.
        is_last = step == sizes[interval] - 2
        n_values = np.maximum(np.round((high - low) / unit) + is_last, 1)
        drawn = np.round(low + unit * np.floor(share * n_values), self.decimals)
        return np.where(np.isin(drawn, self.points), low, drawn)


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
    def learn(cls, codec, columns):
        """From a fitted codec and what it makes of every column of the training rows."""
        levels = []
        for column, coded in zip(codec._columns, columns, strict=True):
            if isinstance(column, CategoricalColumn):
                n_levels = max(1, len(column.categories) + column.has_missing)
                most = min(MAX_CATEGORIES, max(FEW_CATEGORIES, len(coded) // 2))
                if n_levels > most:
                    raise ValueError(
                        f"Column {column.label!r} of X has {n_levels} categories; at most {most} can be learnt from "
                        f"{len(coded)} rows. Drop a name or an identifier; embed a text, and pass the embeddings."
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

    def encode(self, columns):
        """Levels of shape (n, n_columns), and no vectors, of what the codec makes of every column."""
        coded = []
        for column, levels, values in zip(self.columns, self.levels, columns, strict=True):
            if isinstance(column, CategoricalColumn):
                # A codec of the user's may not know a category of these rows.
                coded.append(np.where(values < 0, column.most_frequent, values))
            else:
                coded.append(levels.encode(*values))
        codes = np.column_stack(coded)
        return codes, np.zeros((len(codes), 0))

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
        scale = E.std(axis=0, dtype=np.float64)
        return cls(E.mean(axis=0, dtype=np.float64), np.where(scale > 0, scale, 1.0), E.dtype, encoding)

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
