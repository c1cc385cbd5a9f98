"""Rows of any kind one after the other, in memory or in a file."""

import uuid
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from .._encoding import as_frame


def is_number(kind):
    """Whether a narwhals dtype holds numbers, or booleans, which count as such."""
    return kind.is_numeric() or kind == nw.Boolean


class RowWriter:
    """Rows of the kind of ``like`` that arrive part by part: arrays in memory or in a .npy file, or frames.

    A context: after it ``rows`` holds them all, of a file as a read-only memory map; after an error no file is left.

    Parameters
    ----------
    like : array or frame
    n_rows : int
        As many rows as arrive at most.
    file : path-like or None
        Where the rows go; written beside it first, so that a file of this name is whole.
    """

    def __init__(self, like, n_rows, file=None):
        self.like, self.n_written, self.parts = like, 0, []
        self.file = None if file is None else Path(file)
        if as_frame(like) is not None:
            if file is not None:
                raise ValueError(
                    f"output_file={str(file)!r}: only arrays go into a .npy file; X is a frame. Pass None."
                )
            self.out = None
            return
        shape = (n_rows, *like.shape[1:])
        if self.file is None:
            self.out: Any = np.empty(shape, dtype=like.dtype)
            return
        # Another run may write the same file.
        self.draft = self.file.with_name(f"{self.file.stem}-{uuid.uuid4().hex}.npy")
        try:
            self.out = np.lib.format.open_memmap(self.draft, mode="w+", dtype=like.dtype, shape=shape)
        except BaseException:
            self.draft.unlink(missing_ok=True)
            raise

    def append(self, rows):
        """Add some rows."""
        if self.out is None:
            if as_frame(rows) is None:
                raise ValueError(
                    "X is a frame, and the generator or decoder gives arrays. Pass X as an array, or one that "
                    "gives frames."
                )
            self.parts.append(_like(rows, self.like))
            return
        if np.shape(rows)[1:] != self.out.shape[1:]:
            raise ValueError(
                f"rows of shape {np.shape(rows)[1:]} do not go with those of X, of shape {self.out.shape[1:]}. Pass X "
                "in the space that the generator or decoder gives."
            )
        self.out[self.n_written : self.n_written + len(rows)] = rows
        self.n_written += len(rows)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.rows = self._finished()
        elif self.file is not None:
            self.out = None
            self.draft.unlink(missing_ok=True)

    def _finished(self):
        if self.out is None:
            if isinstance(self.like, pd.DataFrame):
                return pd.concat(_without_booleans(self.parts), ignore_index=True)
            return nw.concat(_one_type([nw.from_native(part, eager_only=True) for part in self.parts])).to_native()
        if self.file is None:
            return self.out[: self.n_written]
        self.out.flush()
        self.out = self.out[:0].copy()
        _shorten(self.draft, self.n_written)
        self.draft.replace(self.file)
        return np.load(self.file, mmap_mode="r")


def _like(rows, like):
    """A frame whose columns have the types of ``like`` wherever that changes no value but to round a float."""
    if isinstance(like, pd.DataFrame):
        kept = {}
        for name, kind in like.dtypes.items():
            if kind != rows[name].dtype:
                cast = rows[name].astype(kind) if isinstance(kind, pd.CategoricalDtype) else _cast(rows[name], kind)
                kept[name] = rows[name] if cast is None else cast
        return rows.assign(**kept)
    frame, goal = nw.from_native(rows, eager_only=True), nw.from_native(like, eager_only=True)
    columns = [frame[name] for name in goal.columns]
    cast = [column.cast(goal.schema[column.name]) for column in columns]
    pairs = zip(cast, columns, strict=True)
    return frame.with_columns(*(new if _is_as_good(new, old) else old for new, old in pairs)).to_native()


def _is_as_good(new, old):
    """Whether a column that was cast holds the values of the old one, up to the precision of floats."""
    if all(column.dtype in (nw.Float32, nw.Float64) for column in (new, old)) or old.dtype == nw.Unknown:
        return True  # polars' Null: a column without values
    return new.dtype in (nw.Categorical, nw.Enum) or bool((new.cast(old.dtype) == old).all())


def _cast(column, kind):
    """A pandas column as another type; None where that would change a value."""
    try:
        cast = column.astype(kind)
    except (TypeError, ValueError):
        return None
    floats = pd.api.types.is_float_dtype(column) and pd.api.types.is_float_dtype(cast)
    return cast if floats or bool((cast == column).all()) else None


def _without_booleans(parts):
    """Frames of pandas with booleans as floats where another part has numbers: together they would become objects."""
    for name in parts[0].columns:
        kinds = {part[name].dtype for part in parts}
        numbers = all(pd.api.types.is_numeric_dtype(kind) for kind in kinds)
        if len(kinds) > 1 and numbers and any(pd.api.types.is_bool_dtype(kind) for kind in kinds):
            parts = [part.assign(**{name: part[name].astype(float)}) for part in parts]
    return parts


def _one_type(frames):
    """Frames whose columns have one type each: where they differ floats, or words."""
    for name in frames[0].columns:
        kinds = {frame.schema[name] for frame in frames}
        if len(kinds) > 1:
            kind = nw.Float64 if all(map(is_number, kinds)) else nw.String
            frames = [frame.with_columns(nw.col(name).cast(kind)) for frame in frames]
    return frames


def _shorten(file, n_rows):
    """Let a .npy file end after ``n_rows`` rows; its header keeps room for any number of them."""
    with file.open("r+b") as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        start = stream.tell()
        if shape[0] == n_rows:
            return
        stream.seek(0)
        header = {"shape": (n_rows, *shape[1:]), "fortran_order": fortran, "descr": np.lib.format.dtype_to_descr(dtype)}
        np.lib.format.write_array_header_1_0(stream, header)
        if stream.tell() != start:
            raise OSError(f"{file}: the header changed its length; numpy leaves no room for the number of rows.")
        stream.truncate(start + n_rows * dtype.itemsize * int(np.prod(shape[1:], dtype=int)))
