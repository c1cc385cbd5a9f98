"""Samples as Arrow tables, and their Parquet file."""

from collections import Counter
from itertools import chain
from pathlib import Path

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from .._encoding import as_frame


def as_arrow(X, y, A, label, own):
    """Columns of X, the label, and the attributes that are no columns of X.

    Parameters
    ----------
    X : frame or ndarray of shape (n, n_columns)
    y : Series or ndarray of shape (n,)
    A : frame
    label : str
    own : list of str
        Names of the attributes that are columns of X.

    Raises
    ------
    ValueError
        If X has more than two dimensions, or two columns would have one name.
    """
    frame = as_frame(X)
    if frame is None:
        if X.ndim != 2:
            raise ValueError(
                f"write_parquet: rows of shape {X.shape[1:]} are no columns. Write arrays from sample_batches."
            )
        columns = {f"x{k}": pa.array(column) for k, column in enumerate(X.T)}
    else:
        columns = {str(name): _column(frame.get_column(name)) for name in frame.columns}
    attributes = as_frame(A)
    more = [(label, pa.array(y) if isinstance(y, np.ndarray) else _column(nw.from_native(y, series_only=True)))]
    more += [(name, _column(attributes.get_column(name))) for name in attributes.columns if name not in own]
    counts = Counter([*columns, *(name for name, _ in more)])
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ValueError(
            f"write_parquet: {twice} would be two columns each. Rename the label or the attribute, and fit anew."
        )
    return pa.table({**columns, **dict(more)})


def write_tables(path, tables):
    """Write tables into one file, which takes the place of an earlier one when all of them are written.

    Parameters
    ----------
    path : path-like
    tables : iterable of pyarrow.Table
        One or more with the same columns; types are those of the first.

    Returns
    -------
    columns : list of str
    """
    file, tables = Path(path), iter(tables)
    draft = file.with_name(f"{file.name}.part")
    try:
        first = next(tables)
        with parquet.ParquetWriter(draft, first.schema) as writer:
            for table in chain([first], tables):
                writer.write_table(table.cast(first.schema))
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    draft.replace(file)
    return first.schema.names


def _column(series):
    column = series.to_arrow()
    # Without a value a column of objects has no type; in another part it holds words.
    return column.cast(pa.string()) if pa.types.is_null(column.type) else column
