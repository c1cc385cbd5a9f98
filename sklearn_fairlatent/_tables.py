"""Files as the command line takes them: read, checked, and refused in one line that says what is wrong."""

import difflib
import functools
import gzip
import importlib.util
import tempfile
import warnings
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from ._groups import is_continuous

SEPARATORS = {".csv": ",", ".tsv": "\t"}
KNOWN = ".csv, .tsv (both also .gz), .parquet and, with --labels, .npy"
MOST_NAMES = 20
# Squares of greater numbers leave the range of floats.
LARGEST = 1e100


class InputError(Exception):
    """What is wrong with a file or an argument."""


def listed(names, most=MOST_NAMES):
    """Names for a message."""
    names = [str(name) for name in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def check_output(outputs, inputs):
    """Raise unless every output can be written and overwrites no input."""
    taken = {Path(path).resolve() for path in inputs if path is not None}
    for path in outputs:
        if path.resolve() in taken:
            raise InputError(f"{path} is read or written already; name another file.")
        taken.add(path.resolve())
        if path.is_dir():
            raise InputError(f"{path} is a folder; name a file in it.")
        if not path.parent.is_dir():
            raise InputError(f"folder {path.parent} does not exist; make it, or name another.")
        try:
            tempfile.TemporaryFile(dir=path.parent).close()
        except OSError as error:
            raise InputError(f"nothing can be written in folder {path.parent}: {error.strerror}.") from None


def _check_file(path):
    if not path.exists():
        raise InputError(f"{path} does not exist.")
    if not path.is_file():
        raise InputError(f"{path} is not a file.")


def _read_text(path, separator):
    names = pd.read_csv(
        path, sep=separator, header=None, nrows=1, skipinitialspace=True, dtype=str, encoding="utf-8-sig"
    )
    names = names.iloc[0].dropna()
    if names.duplicated().any():
        raise InputError(f"{path} has two columns {names[names.duplicated()].iloc[0]!r}. Rename one: which is meant?")
    with warnings.catch_warnings():
        # Left to itself pandas takes surplus first columns for an index: every name over the wrong values.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        options = {"index_col": False, "skipinitialspace": True, "low_memory": False, "encoding": "utf-8-sig"}
        read = functools.partial(pd.read_csv, path, sep=separator, **options)
        table = read()
    # Among words "None" is one of them, such as a degree of disability; pandas takes it for a missing value.
    gaps = [
        position
        for position, name in enumerate(table)
        if table[name].isna().any() and pd.api.types.infer_dtype(table[name], skipna=True) == "string"
    ]
    if gaps:
        texts = read(usecols=gaps, dtype=str, keep_default_na=False)
        for name in texts:
            table[name] = table[name].mask(texts[name].str.strip() == "None", "None")
    return table


def _guess(path, separator):
    """What may be wrong with the separator."""
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", errors="replace") as file:
        first = file.readline()
    other = max(";,\t|", key=first.count)
    if other == separator or first.count(other) == 0:
        return "Check the quotes and the number of values in each row."
    return f"Its first line looks separated by {other!r}; save it with {separator!r}."


def read_table(path):
    """A table with at least one row.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    DataFrame

    Raises
    ------
    InputError
        If the file is missing, of an unknown kind, broken or empty.
    """
    path = Path(path)
    name = path.name.lower()
    kind = Path(name.removesuffix(".gz")).suffix
    if kind not in SEPARATORS and not name.endswith(".parquet"):
        raise InputError(f"{path}: unknown kind of file. Known are {KNOWN}.")
    _check_file(path)
    if kind == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise InputError(f"{path}: .parquet takes pyarrow. Run `pip install pyarrow`, or save the table as .csv.")
    try:
        if kind == ".parquet":
            table = pd.read_parquet(path).reset_index(drop=True)
        else:
            table = _read_text(path, SEPARATORS[kind])
    except pd.errors.EmptyDataError:
        raise InputError(f"{path} is empty.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from None
    except pd.errors.ParserWarning:
        raise InputError(f"{path} cannot be read: its rows have more values than its first line has names.") from None
    except pd.errors.ParserError as error:
        raise InputError(f"{path} cannot be read: {error}. {_guess(path, SEPARATORS.get(kind))}") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if not len(table):
        raise InputError(f"{path} has no rows.")
    table.columns = table.columns.map(str)
    # What pandas calls the column of an index that was saved without a name: the number of the row.
    return table.drop(columns=[name for name in table.columns if name.startswith("Unnamed: ")])


def read_embeddings(path, n_rows, labels):
    """Embeddings as finite numbers, row for row with the labels.

    Parameters
    ----------
    path : str or Path
        A .npy file.
    n_rows : int
        Rows of the labels.
    labels : str or Path
        Their file, for messages.

    Returns
    -------
    ndarray of float of shape (n_rows, n_columns)
    """
    path = Path(path)
    _check_file(path)
    try:
        # A pickle inside could run anything.
        X = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path} cannot be read as an array of numbers: {error}") from None
    if not isinstance(X, np.ndarray) or X.ndim != 2 or not X.shape[1]:
        shape = getattr(X, "shape", None)
        raise InputError(f"{path} has the shape {shape}; expected two dimensions, a row of numbers for each row.")
    if X.dtype.kind not in "fiu":
        raise InputError(f"{path} holds values of type {X.dtype}; expected real numbers.")
    if len(X) != n_rows:
        raise InputError(f"{path} has {len(X):,} rows, {labels} has {n_rows:,}; they must correspond row for row.")
    X = X.astype(np.float32 if X.dtype.itemsize <= 2 else np.float64) if X.dtype not in (np.float32, np.float64) else X
    bad = ~np.isfinite(X).all(axis=1)
    if X.dtype == np.float64:
        bad |= (np.abs(X) > LARGEST).any(axis=1)
    if bad.any():
        raise InputError(
            f"{path}: {bad.sum():,} rows hold NaN or infinity, or numbers above {LARGEST:g}; the first is row "
            f"{int(bad.argmax())}. Drop them."
        )
    return X


def pick_columns(table, names, option):
    """Raise, with the closest names, if the table lacks one of the columns."""
    columns = list(table.columns)
    for name in names:
        if name in columns:
            continue
        lower = {column.lower(): column for column in columns}
        close = difflib.get_close_matches(name.lower(), list(lower), n=1)
        hint = f" Did you mean {lower[close[0]]!r}?" if close else ""
        raise InputError(f"{option}: there is no column {name!r}.{hint} The columns are {listed(columns)}.")


def whole_numbers(values):
    """Whole numbers that gaps turned into floats as whole numbers again; everything else as it is."""
    if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
        return values.astype("Int64").astype(object).where(values.notna(), None)
    return values


def labels_of(values, asked):
    """The label as classes, and the favourable one.

    Parameters
    ----------
    values : Series
        Without missing values.
    asked : str or None
        What the user calls favourable.

    Returns
    -------
    y : Series
        Two classes; of more, the favourable one and the rest.
    pos_label : object
    """
    name, values = values.name, values.infer_objects()  # bools beside gaps were objects
    if is_continuous(values):
        raise InputError(
            f"--target {name}: a quantity with {values.nunique()} different values, and the audit takes classes. Add a "
            f"column of classes to the table, such as whether {name} is above a threshold, and name that."
        )
    if pd.api.types.is_bool_dtype(values):
        y = values.astype(int)
    elif pd.api.types.is_numeric_dtype(values):
        y = whole_numbers(values).astype(int) if (values % 1 == 0).all() else values
    else:
        y = values.astype(object).map(str)
    classes = sorted(pd.unique(y).tolist(), key=str)
    if len(classes) < 2:
        raise InputError(f"--target {name}: a single class, {classes}. A model has nothing to learn from it.")
    shown = listed(map(repr, classes), 8)
    if asked is None:
        if not ({*classes} == {0, 1} or {*classes} == {-1, 1}):
            raise InputError(f"--target {name} has the labels {shown}. Say which is favourable: --pos-label LABEL.")
        return y, 1
    found = [label for label in classes if str(label) == asked or _number(label) == _number(asked)]
    if pd.api.types.is_bool_dtype(values) and asked.lower() in ("true", "false"):
        found = [int(asked.lower() == "true")]
    if not found:
        raise InputError(f"--pos-label {asked!r} is not among the labels of {name}: {shown}.")
    if len(classes) == 2:
        return y, found[0]
    rest = f"not {found[0]}"
    return y.map(lambda label: str(found[0]) if label == found[0] else rest), str(found[0])


def _number(value):
    """A value as a number; None, which equals no number, as NaN does not equal itself."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")
