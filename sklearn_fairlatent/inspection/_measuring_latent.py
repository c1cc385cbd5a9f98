"""What a fairness report measures of a FairLatentTransformer: the way back, and rows as members of another group."""

import numpy as np
import pandas as pd

from .._encoding import as_frame, column_names, column_values, frame_like
from .._groups import group_sizes, none_where_missing
from .._pipelines import pipeline_counterfactual
from ..certification._certify import certify_step

# How the note begins that says why there is none.
NO_CERTIFICATE = "No certificate:"
# What the notes say of pictures and generators, whose rows have no columns to compare.
TABLES_ONLY = "only rows of a table that come back as one are compared, no pictures and nothing that a generator makes."
# Numbers closer than this share of their size are one number that was rounded on the way there and back.
ROUNDING = 1e-9
# Rows in float32 come back within this share of a column's largest number.
EXACT = 1e-5


def known_attributes(fair, attributes, notes):
    """The attributes that ``fit`` saw, with None for a value that it did not see."""
    known = {}
    for variable in fair._variables:
        if variable.name not in attributes:
            continue
        values = np.array(attributes[variable.name], dtype=object)
        values[pd.isna(values)] = None
        if variable.kind == "groups":
            strange = [value not in (None, *variable.categories.tolist()) for value in values.tolist()]
            if any(strange):
                notes.append(f"{sum(strange)} rows belong to groups of {variable.name!r} that fit did not see.")
                values[strange] = None
        known[variable.name] = values
    return known


def certificate_of(fair, rows, y, groups, min_group_size, notes):
    """What a certificate of the transformer's own constraint says, or None if it hands on no codes or is refused.

    Groups of fewer than ``min_group_size`` rows are left out, as everywhere in a report.
    """
    if not hasattr(fair, "codebook_"):
        return None
    sizes = {name: groups[name].map(groups[name].value_counts()) for name in groups}
    large = pd.DataFrame(
        {name: groups[name].where(sizes[name] >= min_group_size, None) for name in groups}, dtype=object
    )
    try:
        certificate = certify_step(fair, fair._read_rows(rows, reset=False)[0], large, y)
    except ValueError as error:
        notes.append(f"{NO_CERTIFICATE} {error}")
        return None
    return certificate.to_dict()


def round_trip(fair, rows, notes):
    """How exactly rows come back from the latent, or None if none come back or they are no table."""
    if not fair.encoding_.can_decode:
        return None
    back = _table_back(fair, rows)
    if back is None:
        notes.append(f"No round trip: {TABLES_ONLY}")
        return None
    hidden = set(fair._own_labels())
    found = {
        "numbers": 0,
        "numbers_that_differ": 0,
        "largest_error_of_numbers": 0.0,
        "words": 0,
        "words_that_differ": 0,
    }
    for name in column_names(rows):
        if name in hidden:
            continue
        # Of an array of objects the columns of numbers are numbers, too.
        before, after = (
            pd.Series(np.asarray(column_values(table, name))).infer_objects().to_numpy() for table in (rows, back)
        )
        if before.dtype.kind in "fiu":
            before, after = before.astype(np.float64), after.astype(np.float64)
            gaps = np.nan_to_num(np.abs(before - after))
            found["numbers"] += len(gaps)
            far = gaps > EXACT * np.nanmax(np.abs(before), initial=1.0)
            found["numbers_that_differ"] += int((far | (np.isnan(before) != np.isnan(after))).sum())
            found["largest_error_of_numbers"] = max(found["largest_error_of_numbers"], float(gaps.max(initial=0.0)))
        else:
            found["words"] += len(before)
            found["words_that_differ"] += int((none_where_missing(before) != none_where_missing(after)).sum())
    return found


def _table_back(fair, rows):
    """A table of the columns of ``rows``, there and back; None if one of them is no such table."""
    # The latents of a generator are no answers of it, even if it gives as many columns.
    if len(np.shape(rows)) != 2 or (fair.encoder is None and fair.decoder is not None):
        return None
    back = fair.from_latent(fair.to_latent(rows))
    if as_frame(back) is not None:
        return back if set(column_names(rows)) <= set(column_names(back)) else None
    if np.shape(back) != np.shape(rows):
        return None
    if as_frame(rows) is None:
        return back
    return frame_like(rows, dict(zip(column_names(rows), np.asarray(back).T, strict=True)))


def counterfactual_table(estimator, fair, X, name, own, n_rows, seed):
    """A few rows, and each as a member of another group, column by column.

    Parameters
    ----------
    estimator : FairLatentTransformer or Pipeline
    fair : FairLatentTransformer
        That in ``estimator``.
    X : array-like or frame of shape (n_samples, n_features)
    name : str
        The attribute that is moved.
    own : ndarray of object of shape (n_samples,)
        The rows' own values of it; None where missing.
    n_rows : int
    seed : int

    Returns
    -------
    DataFrame
        One row for each row and column: ``attribute``, ``row`` (its position in X), ``own``, ``wanted``, ``column``,
        ``before``, ``after``, ``changed``.
    """
    variable = next(variable for variable in fair._variables if variable.name == name)
    chosen, wanted = _choose(variable, own, n_rows, np.random.RandomState(seed))
    rows = _take(X, chosen)
    moved = pipeline_counterfactual(estimator, rows, name, wanted, sensitive_features={name: own[chosen]})
    if as_frame(rows) is not None and as_frame(moved) is None:
        moved = frame_like(rows, dict(zip(column_names(rows), np.asarray(moved).T, strict=True)), rows)
    columns = {column: (column_values(rows, column), column_values(moved, column)) for column in column_names(rows)}
    if hasattr(estimator, "predict"):
        name_of_it = "prediction" if "prediction" not in columns else "prediction of the model"
        columns[name_of_it] = (np.asarray(estimator.predict(rows)), np.asarray(estimator.predict(moved)))
    return pd.DataFrame([
        {"attribute": name, "row": int(position), "own": own[position], "wanted": wanted[k], "column": str(column),
         "before": before[k], "after": after[k], "changed": _differ(before[k], after[k])}
        for k, position in enumerate(chosen)
        for column, (before, after) in columns.items()
    ])  # fmt: skip


def _choose(variable, own, n_rows, rng):
    """Rows from all groups in turn, and the value that each is to have."""
    order = rng.permutation(len(own))
    order = order[[own[k] is not None for k in order]]
    if variable.kind == "continuous":
        low, high = np.quantile(np.array([own[k] for k in order], dtype=np.float64), [0.25, 0.75])
        chosen = order[:n_rows]
        return chosen, np.array([high if own[k] < (low + high) / 2 else low for k in chosen])
    sizes = group_sizes(own)[::-1]
    turn = pd.Series([own[k] for k in order], index=order, dtype=object)
    turn = turn.groupby(turn.map(str), sort=True).cumcount()
    chosen = turn.sort_values(kind="stable").index.to_numpy()[:n_rows]
    frequent = [group for group in sizes.index if group in variable.categories.tolist()]
    others = frequent if len(frequent) > 1 else variable.categories.tolist()
    wanted = np.empty(len(chosen), dtype=object)
    wanted[:] = [next(group for group in others if group != own[k]) for k in chosen]
    return chosen, wanted


def _take(X, positions):
    frame = as_frame(X)
    return frame[list(map(int, positions))].to_native() if frame is not None else np.asarray(X)[positions]


def _differ(before, after):
    if pd.isna(before) or pd.isna(after):
        return bool(pd.isna(before) != pd.isna(after))
    if isinstance(before, (int, float, np.number)) and not isinstance(before, (bool, np.bool_)):
        return bool(abs(after - before) > ROUNDING * max(1.0, abs(before)))
    return bool(before != after)
