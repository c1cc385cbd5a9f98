"""One column of a mixed table: encoded as one number or as one column per category, decoded to valid values."""

from __future__ import annotations

from collections import Counter
from math import gcd

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

from ._columns import Table, list_values

# The square of a larger number, summed over the rows, overflows the variance of a float64 column.
LARGEST_NUMBER = 1e100
# Standardising and back moves x by at most 7 * 2**-53 * max|x|: below 1/2, so that rounding restores x.
LARGEST_INTEGER = 2**49
# How many of numpy's units of time make a day.
_PER_DAY = {"D": 1, "h": 24, "m": 1440} | {unit: 86_400 * 1000**i for i, unit in enumerate(["s", "ms", "us", "ns"])}
# By numpy's letter, what pandas calls such values in an array of objects.
_INFERRED = {"M": {"datetime", "datetime64"}, "m": {"timedelta", "timedelta64"}}


class NumericColumn:
    """Numbers, with an indicator next to them where fit saw missing values."""

    def __init__(self, table: Table, position: int, values):
        self.position, self.label = position, table.labels[position]
        self.missing_value = table.missing_value(position, values)
        numbers, missing = self._read(table, values, "error")
        observed = numbers[~missing]
        self.has_missing = bool(missing.any())
        self.only_missing = observed.size == 0
        self.low, self.high, self.median = 0.0, 0.0, 0.0
        if not self.only_missing:
            self.low, self.high = float(observed.min()), float(observed.max())
            self.median = float(np.median(observed))
        self.is_object = values.dtype == object
        self.is_integer_object = self.is_object and infer_dtype(values, skipna=True) == "integer"
        largest = max(abs(self.low), abs(self.high))
        self.decimals = _count_decimals(observed, largest)
        if largest > LARGEST_INTEGER and (self.is_integer_object or table.is_integer(position)):
            raise ValueError(
                f"Column {self.label!r} of X holds an integer of size {largest:.0f}; beyond 2**49 integers "
                "do not survive the way through float64 and back. Drop an identifier or turn it into "
                "strings; pass a quantity as float."
            )

    def _read(self, table: Table, values, handle_unknown: str):
        """Return a column as float64 with NaN where missing or unknown, and the missing mask."""
        missing = pd.isna(values)
        try:
            if values.dtype.kind in "mM":
                raise TypeError(f"holds {values.dtype} values")
            numbers = np.where(missing, np.nan, values).astype(np.float64, copy=False)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"Column {self.label!r} of X is numeric, but: {error}. Pass real numbers, as at fit."
            ) from error
        large = np.abs(numbers) > LARGEST_NUMBER
        if large.any():
            raise ValueError(
                f"Column {self.label!r} of X holds {numbers[large][0]} in row {int(large.argmax())}; numbers "
                f"must be finite and within +-{LARGEST_NUMBER:g}. Replace it with a missing value (NaN), or "
                "clip or rescale the column."
            )
        return numbers, missing

    def names(self, name: str) -> list:
        """Return the names of the encoded columns."""
        return [name, f"{name}_missing"] if self.has_missing else [name]

    def encode(self, table: Table, handle_unknown: str):
        """Return a column as numbers without gaps, and where the missing values were."""
        numbers, missing = self._read(table, table.values(self.position), handle_unknown)
        if missing.any() and not self.has_missing and handle_unknown == "error":
            _raise_missing(self.label, missing)
        numbers[np.isnan(numbers)] = self.median
        return numbers, missing

    def _settle(self, numbers, indicator):
        """Return numbers as fit saw them, and which of them are missing."""
        numbers = np.clip(numbers, self.low, self.high)
        if self.decimals is not None:
            numbers = np.round(numbers, self.decimals)
        if indicator is None or self.only_missing:
            return numbers, np.full(len(numbers), indicator is not None)
        return numbers, indicator >= 0.5

    def decode(self, numbers, indicator):
        """Return valid values from any numbers and from the indicator, None where fit saw none missing."""
        numbers, missing = self._settle(numbers, indicator)
        if self.is_object:
            numbers = (numbers.astype(np.int64) if self.is_integer_object else numbers).astype(object)
        if indicator is not None:
            if self.missing_value is None:
                numbers = numbers.astype(object)
            numbers[missing] = self.missing_value
        return numbers


class OrderedColumn(NumericColumn):
    """Categories in an order, encoded as the number of their rank."""

    def __init__(self, table: Table, position: int, values, categories: list):
        self._states = CategoricalColumn(table, position, values, categories)
        self.categories = self._states.categories
        super().__init__(table, position, values)
        self.low, self.high, self.decimals = 0.0, float(max(len(categories) - 1, 0)), 0

    def _read(self, table, values, handle_unknown):
        ranks = self._states.look_up(values, handle_unknown)
        missing = pd.isna(values)
        return np.where(missing | (ranks < 0), np.nan, ranks), missing

    def decode(self, numbers, indicator):
        """Return the category of the nearest rank."""
        ranks, missing = self._settle(numbers, indicator)
        ranks = ranks.astype(np.intp)
        ranks[missing] = len(self.categories)
        return self._states.take(ranks)


class TemporalColumn(NumericColumn):
    """Dates or durations, encoded as a number of steps, from days to nanoseconds, since a day that fit chose.

    Steps are as long as all that fit saw allow. Whole days are those of the column's own time zone; finer steps are
    counted in UTC, where no hour occurs twice.
    """

    def __init__(self, table: Table, position: int, values):
        self.letter, self.zone = values.dtype.kind, table.timezone(position, values)
        self.what = "dates" if self.letter == "M" else "durations"
        self.is_local, self.origin, self.steps_per_day = False, 0, 1
        times, self.per_day = self._to_base_unit(values)
        self.dtype = times.dtype
        observed = times[~pd.isna(times)]
        steps = ["D", "s", "ms", "us", "ns"]
        if self.zone is not None:
            local = self._to_local(observed)
            # A midnight that occurs twice would not come back.
            if (local == local.astype("M8[D]")).all() and np.array_equal(self._from_local(local), observed):
                self.is_local, observed = True, local
            else:
                steps.remove("D")
        ticks = observed.astype(np.int64)
        self.first, self.last = (ticks.min(), ticks.max()) if len(ticks) else (0, 0)
        days, rest = np.divmod(ticks, self.per_day)
        longer = [n for n in (_PER_DAY[unit] for unit in steps) if n < self.per_day]
        whole = [n for n in longer if not (rest % (self.per_day // n)).any()]
        self.steps_per_day = min(whole, default=self.per_day)
        if len(days):
            # The middle of the range leaves the fewest steps in either direction for float64 to hold.
            self.origin = (int(days.min()) + int(days.max())) // 2
        super().__init__(table, position, values)

    def _to_base_unit(self, values):
        """Return times in a unit of which a day has a whole number, and that number."""
        unit = np.datetime_data(values.dtype)[0]
        if unit not in _PER_DAY:
            unit = "D" if unit in {"Y", "M", "W"} else "ns"
        return values.astype(f"{self.letter}8[{unit}]"), _PER_DAY[unit]

    def _to_local(self, values):
        """Return UTC as the time that a clock in the column's own zone shows."""
        return pd.DatetimeIndex(values).tz_localize("UTC").tz_convert(self.zone).tz_localize(None).to_numpy()

    def _from_local(self, values):
        """Return local time as UTC: the first of an hour that occurs twice, the next for one that is skipped."""
        first = np.ones(len(values), dtype=bool)
        index = pd.DatetimeIndex(values).tz_localize(self.zone, ambiguous=first, nonexistent="shift_forward")
        return index.tz_convert("UTC").tz_localize(None).to_numpy()

    def _read(self, table, values, handle_unknown):
        missing = pd.isna(values)
        if missing.all():
            return np.full(len(values), np.nan), missing
        zone = table.timezone(self.position, values)
        if values.dtype == object and infer_dtype(values, skipna=True) in _INFERRED[self.letter]:
            dates = self.letter == "M"
            index = pd.to_datetime(values, utc=True).tz_localize(None) if dates else pd.to_timedelta(values)
            values = index.to_numpy()
        if values.dtype.kind != self.letter:
            raise ValueError(
                f"Column {self.label!r} of X held {self.what} at fit, but holds {values.dtype} values. Pass "
                f"{self.what}, as at fit."
            )
        if (zone is None) != (self.zone is None):
            has, had = ("no time zone" if z is None else f"the time zone {z}" for z in (zone, self.zone))
            raise ValueError(
                f"Column {self.label!r} of X has {has}, but had {had} at fit. Convert it, for example with "
                "`.dt.tz_localize`."
            )
        values, per_day = self._to_base_unit(values)
        if self.is_local:
            values = self._to_local(values)
        days, rest = np.divmod(values.astype(np.int64), per_day)
        # Each of the two terms is exact, for any two units.
        common = gcd(self.steps_per_day, per_day)
        fraction = rest * (self.steps_per_day // common) / (per_day // common)
        return np.where(missing, np.nan, (days - float(self.origin)) * self.steps_per_day + fraction), missing

    def decode(self, numbers, indicator):
        """Return times within the range that fit saw, in UTC where they have a time zone."""
        steps, missing = self._settle(numbers, indicator)
        days, rest = np.divmod(steps.astype(np.int64), self.steps_per_day)
        ticks = (days + self.origin) * self.per_day + rest * (self.per_day // self.steps_per_day)
        # Once more: float64 does not hold every number of nanoseconds.
        times = np.clip(ticks, self.first, self.last).astype(self.dtype)
        times[missing] = "NaT"
        return self._from_local(times) if self.is_local else times


class CategoricalColumn:
    """Categories, one encoded column each, and one more for "missing" where fit saw it."""

    def __init__(self, table: Table, position: int, values, declared: list | None):
        self.position, self.label = position, table.labels[position]
        self.missing_value = table.missing_value(position, values)
        missing = pd.isna(values)
        observed = values[~missing]
        if table.is_integer(position):
            observed = observed.astype(np.int64, copy=False)
        counts = Counter(observed.tolist())
        self.categories = sorted(counts) if declared is None else declared
        self.codes = {category: code for code, category in enumerate(self.categories)}
        self.has_missing = bool(missing.any())
        self.most_frequent = self.codes[counts.most_common(1)[0][0]] if counts else len(self.categories)

    def names(self, name: str) -> list:
        """Return the names of the encoded columns."""
        names = [f"{name}_{category}" for category in self.categories]
        return [*names, f"{name}_missing"] if self.has_missing else names

    def encode(self, table: Table, handle_unknown: str):
        """Return the code of each row's category, -1 where unknown."""
        return self.look_up(table.values(self.position), handle_unknown)

    def look_up(self, values, handle_unknown: str):
        """Return the code of each value, -1 where unknown."""
        missing = pd.isna(values)
        get = self.codes.get
        try:
            codes = np.array([get(value, -1) for value in values.tolist()], dtype=np.intp)
        except TypeError as error:
            raise TypeError(
                f"Column {self.label!r} of X holds a value that cannot be a category: {error}. Pass strings, "
                "bools or numbers, as at fit."
            ) from error
        codes[missing] = len(self.categories) if self.has_missing else -1
        if handle_unknown == "error" and (codes < 0).any():
            if missing.any() and not self.has_missing:
                _raise_missing(self.label, missing)
            row = int((codes < 0).argmax())
            value = values.tolist()[row]
            raise ValueError(
                f"Column {self.label!r} of X holds the unknown category {value!r} in row {row}; "
                f"the known ones are {list_values(self.categories)}. Correct it, fit on rows that include "
                "it, or pass handle_unknown='ignore'."
            )
        return codes

    def decode(self, block):
        """Return the category of the largest value in each row, the most frequent one where all are equal."""
        codes = block.argmax(axis=1)
        codes[(block == block[:, :1]).all(axis=1)] = self.most_frequent
        return self.take(codes)

    def take(self, codes):
        """Return the categories that codes stand for; the code after the last one is a missing value."""
        states = [*self.categories, self.missing_value]
        return np.fromiter(states, dtype=object, count=len(states))[codes]


def _count_decimals(observed, largest: float) -> int | None:
    """Return decimals that restore the numbers: 0 for whole ones, else 14 digits of the largest, or None."""
    candidates = [0]
    if largest > 1e-280:  # below, ten to the power of the decimals is no float
        candidates.append(14 - int(np.ceil(np.log10(largest))))
    return next((d for d in candidates if (np.round(observed, d) == observed).all()), None)


def _raise_missing(label, missing):
    """Raise the error for missing values in a column where fit saw none."""
    raise ValueError(
        f"Column {label!r} of X has {int(missing.sum())} missing value(s), the first in row "
        f"{int(missing.argmax())}, but had none at fit. Fit on rows that include a missing one, impute it "
        "before, or pass handle_unknown='ignore'."
    )
