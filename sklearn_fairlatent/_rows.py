"""Reading X: validation, the sensitive columns inside it; and giving rows back in the kind of X."""

import copy
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import assert_all_finite, check_array
from sklearn.utils.validation import validate_data

from ._encoding import (
    MappedColumns,
    as_frame,
    column_names,
    column_values,
    forwards,
    frame_like,
    is_memory_mapped,
    take_columns,
)
from ._joining import join_columns, with_dtypes
from ._latent import row_chunks

FLOATS = [np.float64, np.float32]


class RowsMixin:
    """The part of the estimator that knows frames, arrays and ``sensitive_columns``."""

    # What it needs of the estimator.
    sensitive_columns: Any
    encoder: Any
    decoder: Any
    encoding_: Any
    n_features_in_: int
    feature_names_in_: np.ndarray

    def _read_rows(self, X, *, reset):
        """X without its sensitive columns, validated, and these columns as arrays by attribute name."""
        if reset and not self.sensitive_columns:
            self._sensitive_positions = []
        if not (self.sensitive_columns if reset else self._sensitive_positions):
            if self.encoder is None:
                return self._numbers(validate_data, self, X, reset=reset, ensure_min_samples=1 + reset), {}
            if getattr(X, "ndim", 1) == 2 or as_frame(X) is not None:
                validate_data(self, X, reset=reset, skip_check_array=True)
            return X, {}
        if as_frame(X) is None:
            X = check_array(X, dtype=None, ensure_all_finite=False)
        if reset:
            self._sensitive_positions = self._find_sensitive_columns(X)
            frame = as_frame(X)
            self._template = None if frame is None else frame.head(0).to_native()
        absent = not reset and self._lacks_sensitive_columns(X)
        known = self if not absent else self._without_sensitive_columns()
        validate_data(known, X, reset=reset, skip_check_array=True)
        own = {}
        if not absent:
            names = column_names(X)
            positions = self._sensitive_positions
            own = {name: column_values(X, names[k]) for name, k in zip(self._own_names(), positions, strict=True)}
            if as_frame(X) is None:
                # An array has no word for "missing": a NaN is an accident, as in every other column, unless after fit a
                # whole column is of them, as inverse_transform gives it.
                told = [k for k in positions if reset or not pd.isna(X[:, k]).all()]
                if told:
                    check_array(X[:, told], dtype=None)
            kept = [name for k, name in enumerate(names) if k not in positions]
            if not kept:
                raise ValueError(
                    f"n_features={len(names)}: sensitive_columns takes every column of X. Leave at least one."
                )
            if self.encoder is None and is_memory_mapped(X):
                # The sensitive columns are numbers here too; checked together, nothing is copied.
                return MappedColumns(self._numbers(check_array, X, ensure_min_samples=1 + reset), kept), own
            X = take_columns(X, kept)
        if self.encoder is None:
            X = self._numbers(check_array, X, ensure_min_samples=1 + reset)
        return X, own

    def _numbers(self, check, *args, **kwargs):
        """``check(*args)`` as floats, with the remedy for text in the error; a memory map keeps its dtype."""
        X = args[-1]
        if is_memory_mapped(X) and X.ndim == 2 and X.dtype.kind in "fiu" and X.dtype not in FLOATS:
            mapped = MappedColumns(check(*args, dtype=None, ensure_all_finite=False, **kwargs))
            # By parts: the sum of half floats overflows, and scikit-learn then makes a mask as long as X.
            for part in row_chunks(len(mapped)):
                assert_all_finite(mapped[part], input_name="X")
            return mapped
        try:
            return forwards(check(*args, dtype=FLOATS, **kwargs))
        except ValueError as error:
            if "could not convert" not in str(error):
                raise
            raise ValueError(
                f"X holds text ({error}) and encoder=None. Pass encoder=TabularCodec(), which turns mixed frames into "
                "numbers and back, or encode the columns before."
            ) from None

    def _find_sensitive_columns(self, X):
        """Positions of ``sensitive_columns`` in X."""
        names = column_names(X)
        positions = []
        for asked in self.sensitive_columns:
            if asked in names:
                positions.append(names.index(asked))
            elif isinstance(asked, (int, np.integer)) and 0 <= asked < len(names):
                positions.append(int(asked))
            else:
                raise ValueError(f"sensitive_columns: {asked!r} is not a column of X, which has {names}.")
        if len(set(positions)) < len(positions):
            raise ValueError(f"sensitive_columns={self.sensitive_columns} names a column twice.")
        return positions

    def _own_names(self):
        """Names of the attributes that are columns of X; like scikit-learn, x0, x1, ... without names."""
        labels = self._own_labels()
        return [
            name if isinstance(name, str) else f"x{k}"
            for name, k in zip(labels, self._sensitive_positions, strict=True)
        ]

    def _own_labels(self):
        """What these columns are called in X: names, or positions in an array."""
        if not self._sensitive_positions or self._template is None:
            return list(self._sensitive_positions)
        labels = column_names(self._template)
        return [labels[k] for k in self._sensitive_positions]

    def _lacks_sensitive_columns(self, X):
        # Without names a missing column would shift the others, and nothing could tell.
        named = as_frame(X) is not None and hasattr(self, "feature_names_in_")
        return named and not set(self._own_names()) & set(column_names(X))

    def _without_sensitive_columns(self):
        """A stand-in that expects X without the sensitive columns."""
        reduced = copy.copy(self)
        reduced.n_features_in_ = self.n_features_in_ - len(self._sensitive_positions)
        if hasattr(self, "feature_names_in_"):
            reduced.feature_names_in_ = np.delete(self.feature_names_in_, self._sensitive_positions)
        return reduced

    def _give_back(self, E, like=None, own=None):
        """Encoded rows ``E`` in the space, and the kind, of X; sensitive columns from ``own``, else missing."""
        rows = self.encoding_.decode(E)
        if not self._sensitive_positions:
            decoded = as_frame(rows)
            index = _index_of(like)
            if decoded is not None and index is not None and hasattr(rows, "index"):
                return rows.set_axis(index)
            # What a generator gives has other columns than its latents.
            generated = self.encoder is None and self.decoder is not None
            return rows if decoded is not None or len(np.shape(rows)) != 2 or generated else _framed(rows, like)
        template, positions = self._template, self._sensitive_positions
        labels = list(range(self.n_features_in_)) if template is None else column_names(template)
        names = self._own_labels()
        values = [(own or {}).get(name, np.full(len(E), np.nan)) for name in self._own_names()]
        if template is None:
            # What a decoder gives may be a frame whatever X is.
            return rows if as_frame(rows) is not None else _framed(join_columns(rows, names, values, labels), like)
        if as_frame(rows) is None:
            others = [label for k, label in enumerate(labels) if k not in positions]
            rows = frame_like(template, dict(zip(others, rows.T, strict=True)))
        given: Any = join_columns(rows, names, values, labels)
        given = with_dtypes(given, template, dict(zip(names, values, strict=True)))
        index = _index_of(like)
        return given.set_axis(index) if index is not None and hasattr(given, "index") else given


def _framed(rows, like):
    """The rows of an array as a frame of the kind of ``like``, if that is one."""
    if as_frame(like) is None:
        return rows
    return frame_like(like, dict(zip(column_names(like), rows.T, strict=True)), like)


def _index_of(rows):
    """The index of a pandas frame; None of anything else, such as a list, which has a method of this name."""
    index = getattr(rows, "index", None)
    return index if isinstance(index, pd.Index) else None
