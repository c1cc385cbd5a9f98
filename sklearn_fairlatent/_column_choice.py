"""Which kind of column each column of a table becomes: by what it holds and by the codec's parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ._column_kinds import CategoricalColumn, NumericColumn, OrderedColumn, TemporalColumn
from ._columns import Table, TableFormat, as_list, list_values


def choose_columns(table: Table, categorical_features, ordered_features) -> list:
    """Return the columns of a table, each learnt from its values."""
    as_categories = _find_categorical(categorical_features, table)
    in_order = _find_ordered(ordered_features, table)
    both = [table.labels[position] for position in sorted(as_categories & in_order.keys())]
    if both:
        raise ValueError(
            f"ordered_features and categorical_features both name the column {both[0]!r}. Leave it out of one of them."
        )
    columns = []
    for position in range(table.shape[1]):
        values = table.values(position)
        kind = table.kind(position, values)
        parameter = "ordered_features" if position in in_order else "categorical_features"
        if kind == "temporal" and position in as_categories | in_order.keys():
            raise ValueError(
                f"{parameter} names the column {table.labels[position]!r}, which holds dates or durations: they have "
                "an encoding of their own. Leave it out, or turn it into strings."
            )
        declared = [False, True] if kind == "boolean" else table.declared_categories(position)
        if position in in_order:
            categories = _check_order(*in_order[position], table, position, values)
            columns.append(OrderedColumn(table, position, values, categories))
        elif declared is not None and table.is_ordered(position) and position not in as_categories:
            columns.append(OrderedColumn(table, position, values, declared))
        elif kind == "temporal":
            columns.append(TemporalColumn(table, position, values))
        elif kind == "numeric" and position not in as_categories:
            columns.append(NumericColumn(table, position, values))
        else:
            columns.append(CategoricalColumn(table, position, values, declared))
    return columns


def _find_categorical(categorical_features, table: Table) -> set:
    """Return the positions of the columns to treat as categories."""
    if isinstance(categorical_features, str):
        if categorical_features != "auto":
            raise ValueError(
                f"categorical_features={categorical_features!r} is not known. Pass 'auto' or a list of "
                f"columns, for example [{categorical_features!r}]."
            )
        return set()
    try:
        wanted = list(categorical_features)
    except TypeError as error:
        raise ValueError(
            f"categorical_features={categorical_features!r} is not known. Pass 'auto' or a list of columns."
        ) from error
    return {_find_position(item, table, "categorical_features") for item in wanted}


def _find_ordered(ordered_features, table: Table) -> dict[int, tuple[str, list]]:
    """Return the columns whose categories are given in order: by position, how they are given and the list."""
    if ordered_features is None:
        return {}
    if not isinstance(ordered_features, Mapping):
        raise ValueError(
            f"ordered_features={ordered_features!r} is not known. Pass None or a dict from columns to their "
            "categories in order, for example {'size': ['small', 'large']}."
        )
    found: dict[int, tuple[str, list]] = {}
    for item, categories in ordered_features.items():
        position = _find_position(item, table, "ordered_features")
        if position in found:
            raise ValueError(
                f"ordered_features names the column {table.labels[position]!r} twice, by name and by position. Leave "
                "out one of them."
            )
        name = f"ordered_features[{item!r}]"
        if isinstance(categories, str | Mapping | set) or not np.iterable(categories):
            raise ValueError(f"{name}={categories!r} is not a list. Pass the categories in order, the lowest first.")
        # numpy's scalars would be written into a table of objects as they are.
        found[position] = name, categories.tolist() if isinstance(categories, np.ndarray) else list(categories)
    return found


def _find_position(item: Any, table: Table, parameter: str) -> int:
    """Return the position of a column that a parameter names."""
    if isinstance(item, bool | np.bool_):
        raise ValueError(f"{parameter} holds {item!r}, but a mask is not taken. Pass names or positions of columns.")
    if isinstance(item, int | np.integer):
        if 0 <= item < table.shape[1]:
            return int(item)
    elif item in table.labels:
        return table.labels.index(item)
    raise ValueError(
        f"{parameter} names the column {item!r}, which X does not have: its columns are "
        f"{list_values(table.labels)}. Pass names, or positions from 0."
    )


def _check_order(name: str, categories: list, table: Table, position: int, values) -> list:
    """Return the given categories as the column writes them; all that it holds must be among them, once."""
    label = table.labels[position]
    for category in categories:
        if not pd.api.types.is_scalar(category) or pd.isna(category):
            raise ValueError(
                f"{name} lists {category!r}, which is missing or not a single value. Leave it out: missing values have "
                "an indicator of their own."
            )
    remedy = "Leave them out, or change the dtype."
    categories = as_list(TableFormat(table).cast(position, categories, f"{name} lists", remedy))
    counts = Counter(categories)
    twice = [category for category, count in counts.items() if count > 1]
    if twice:
        raise ValueError(f"{name} lists {list_values(twice)} more than once. List each category once.")
    lacking = [value for value in dict.fromkeys(values[~pd.isna(values)].tolist()) if value not in counts]
    if lacking:
        raise ValueError(
            f"{name} lacks {list_values(lacking)}, which column {label!r} of X holds; it lists "
            f"{list_values(categories)}. Add what is missing in its place."
        )
    return categories
