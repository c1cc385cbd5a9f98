"""A student in two files: weights as safetensors, and what the columns and cells are as JSON. Nothing is pickled."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from .. import _column_kinds as kinds
from .._attributes import Variable
from .._columns import TableFormat
from .._encoding import Encoding
from ._levels import CategoryLevels, NumberLevels, TableRows, VectorRows
from ._outputs import LabelFormat
from ._requests import Cells
from ._student import Student

WEIGHTS, FACTS = "student.safetensors", "student.json"
# Raised when files of an earlier version can no longer be read.
VERSION = 1
# What may be rebuilt from a file: nothing else, whatever a file says.
CLASSES: dict[str, Any] = {
    known.__name__: known
    for known in (
        kinds.NumericColumn,
        kinds.OrderedColumn,
        kinds.TemporalColumn,
        kinds.CategoricalColumn,
        NumberLevels,
        CategoryLevels,
        TableFormat,
        TableRows,
        VectorRows,
        LabelFormat,
        Variable,
        Cells,
        Student,
    )
}
# What damaged files raise, of whichever library.
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, SafetensorError)
# Bytes of a number or a string in an array: a dtype asks for memory.
LARGEST_ITEM = 4096
# The tag of what JSON has no word for.
TAG = "$"
NUMBERS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def write_student(synthesizer, path):
    """Write both files; see :meth:`FairSynthesizer.save`."""
    rows = synthesizer._rows
    if getattr(rows, "repair", None) is not None:
        raise ValueError(
            "the codec has a repair function, which no file without code can hold. Fit with a codec without repair, "
            "and call the function on the samples."
        )
    if isinstance(rows, VectorRows):
        rows = VectorRows(rows.mean, rows.scale, rows.dtype, None)
    student = synthesizer.student_
    facts = {
        "version": VERSION,
        "rows": rows,
        "sizes": student.sizes,
        "attribute_sizes": student.attribute_sizes,
        "cells": synthesizer._cells,
        "label_format": synthesizer._label_format,
        "attribute_format": synthesizer._attribute_format,
        "own": synthesizer._own,
        "order": synthesizer._order,
        "seed": synthesizer._seed,
        "columns": {
            name: getattr(synthesizer, name)
            for name in ("n_features_in_", "feature_names_in_")
            if hasattr(synthesizer, name)
        },
        "trained_without_sensitive": synthesizer.trained_without_sensitive_,
        "history": synthesizer.history_,
    }
    text = json.dumps(_to_plain(facts), allow_nan=False, ensure_ascii=False)
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(values) for name, values in student.arrays.items()}, folder / WEIGHTS)
    (folder / FACTS).write_text(text, encoding="utf-8")


def read_student(kind, path, decoder):
    """A synthesizer of the class ``kind`` from both files; see :meth:`FairSynthesizer.load`."""
    folder = Path(path)
    missing = [name for name in (WEIGHTS, FACTS) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} holds no {missing}: expected the folder that FairSynthesizer.save wrote.")
    try:
        facts = _from_plain(json.loads((folder / FACTS).read_text(encoding="utf-8")))
        version, rows = facts["version"], facts["rows"]
        student = Student(facts["sizes"], facts["attribute_sizes"], load_file(folder / WEIGHTS))
        student.check()
    except UNREADABLE as error:
        raise ValueError(f"{folder} holds no student that this package can read: {error}.") from error
    if version != VERSION:
        raise ValueError(f"{folder / FACTS} is of version {version!r}; this package reads {VERSION}.")
    if decoder is not None:
        if not isinstance(rows, VectorRows):
            raise ValueError("decoder is given, but the student makes tables, which need none. Leave it out.")
        rows.encoding = Encoding(None, decoder)
    synthesizer = kind()
    synthesizer.student_ = student
    synthesizer._rows, synthesizer._cells = rows, facts["cells"]
    synthesizer._label_format, synthesizer._attribute_format = facts["label_format"], facts["attribute_format"]
    synthesizer._own, synthesizer._order, synthesizer._seed = facts["own"], facts["order"], facts["seed"]
    synthesizer.history_, synthesizer.n_iter_ = facts["history"], len(facts["history"])
    synthesizer.classes_ = facts["cells"].label.categories
    synthesizer.trained_without_sensitive_ = facts["trained_without_sensitive"]
    for name, value in facts["columns"].items():
        setattr(synthesizer, name, value)
    return synthesizer


# ---------------------------------------------------------------- values


def _to_plain(value: Any) -> Any:
    """What JSON can hold; a value of another type becomes {TAG: type, ...}."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, np.integer)) and not isinstance(value, np.timedelta64):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else {TAG: str(float(value))}
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, tuple):
        return {TAG: "tuple", "values": [_to_plain(v) for v in value]}
    if isinstance(value, list):
        return [_to_plain(v) for v in value]
    if isinstance(value, dict):
        return {TAG: "dict", "pairs": [[_to_plain(k), _to_plain(v)] for k, v in value.items()]}
    if isinstance(value, np.ndarray):
        return {TAG: "array", "dtype": value.dtype.str, "values": _to_plain(value.tolist())}
    if isinstance(value, pd.Index):
        return {TAG: "index", "dtype": _dtype(value.dtype), "values": _to_plain(value.tolist())}
    name = type(value).__name__
    if CLASSES.get(name) is type(value):
        state = dict(vars(value))
        if "zone" in state:  # of a column of dates: pandas takes its name as well
            state["zone"] = None if state["zone"] is None else str(state["zone"])
        return {TAG: "object", "class": name, "state": [[k, _to_plain(v)] for k, v in state.items()]}
    if value is pd.NA or value is pd.NaT:
        return {TAG: "NA" if value is pd.NA else "NaT"}
    return _dtype(value)


def _dtype(dtype):
    """A dtype of numpy, pandas or polars by its name."""
    if isinstance(dtype, np.dtype):
        return {TAG: "numpy dtype", "name": dtype.str}
    if isinstance(dtype, pd.CategoricalDtype):
        return {
            TAG: "categorical dtype",
            "of": _dtype(dtype.categories.dtype),
            "categories": _to_plain(dtype.categories.tolist()),
            "ordered": bool(dtype.ordered),
        }
    if isinstance(dtype, pd.StringDtype):
        return {TAG: "string dtype", "storage": dtype.storage, "na_value": _to_plain(dtype.na_value)}
    name = str(dtype)
    found = {TAG: "pandas dtype", "name": name}
    if isinstance(dtype, pd.api.extensions.ExtensionDtype):
        if _from_plain(found) == dtype:
            return found
    elif type(dtype).__module__.startswith("polars") or getattr(dtype, "__module__", "").startswith("polars"):
        found = {TAG: "polars dtype", "name": name.partition("(")[0]}
        if hasattr(dtype, "categories") and name.startswith("Enum"):
            found["categories"] = dtype.categories.to_list()
        found |= {key: getattr(dtype, key) for key in ("time_unit", "time_zone") if hasattr(dtype, key)}
        if _from_plain(found) == dtype:
            return found
    raise ValueError(
        f"save cannot write {name} ({type(dtype).__name__}). Convert the column to a common dtype, and fit anew."
    )


def _from_plain(plain) -> Any:
    """What :func:`_to_plain` was given."""
    if isinstance(plain, list):
        return [_from_plain(v) for v in plain]
    if not isinstance(plain, dict):
        return plain
    tag = plain[TAG]
    if tag in NUMBERS:
        return NUMBERS[tag]
    if tag in _READERS:
        return _READERS[tag](plain)
    raise ValueError(f"it holds {tag!r}, which this package does not know.")


def _read_array(plain):
    values, dtype = _from_plain(plain["values"]), np.dtype(plain["dtype"])
    if dtype.itemsize > LARGEST_ITEM:
        raise ValueError(f"dtype {plain['dtype']!r} is too large")
    if dtype.kind != "O":
        return np.array(values, dtype=dtype)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _read_object(plain):
    if plain["class"] not in CLASSES:
        raise ValueError(f"it holds a {plain['class']!r}, which this package does not know.")
    kind = CLASSES[plain["class"]]
    new = kind.__new__(kind)
    new.__dict__.update({name: _from_plain(value) for name, value in plain["state"]})
    return new


def _read_polars(plain):
    import polars as pl  # only a user of polars needs it

    if "categories" in plain:
        return pl.Enum(plain["categories"])
    found = getattr(pl, plain["name"], None)
    if not (isinstance(found, type) and issubclass(found, pl.DataType)):
        raise ValueError(f"it holds the polars dtype {plain['name']!r}, which polars does not know.")
    return found(**{key: plain[key] for key in ("time_unit", "time_zone") if key in plain})


_READERS = {
    "tuple": lambda plain: tuple(_from_plain(plain["values"])),
    "dict": lambda plain: {_from_plain(k): _from_plain(v) for k, v in plain["pairs"]},
    "array": _read_array,
    "index": lambda plain: pd.Index(_from_plain(plain["values"]), dtype=_from_plain(plain["dtype"])),
    "object": _read_object,
    "NA": lambda plain: pd.NA,
    "NaT": lambda plain: pd.NaT,
    "numpy dtype": lambda plain: np.dtype(plain["name"]),
    "pandas dtype": lambda plain: pd.api.types.pandas_dtype(plain["name"]),
    "string dtype": lambda plain: pd.StringDtype(plain["storage"], na_value=_from_plain(plain["na_value"])),
    "categorical dtype": lambda plain: pd.CategoricalDtype(
        pd.Index(_from_plain(plain["categories"]), dtype=_from_plain(plain["of"])), plain["ordered"]
    ),
    "polars dtype": _read_polars,
}
