"""What is compared: codes, labels and groups to counts, and counts of two groups to bounds and a set of codes."""

from typing import Any

import numpy as np
import pandas as pd

from .._attributes import label_variable, resolve_pos_label
from .._parameters import check_value, is_integer
from ._bounds import clopper_pearson_bound, dkw_bound, fixed_set_bound, l1_bound, largest_step, total_variation

METHODS = {
    "any": ("best", "fixed_set", "clopper_pearson", "l1"),
    "monotone": ("best", "fixed_set", "dkw"),
}
# "best" gives nine tenths of the error probability to the bound that is the lower one nearly always, so that it loses
# little, and one tenth to the one that can be lower: where all cells but one are rare.
SHARES = {"fixed_set": 0.9, "clopper_pearson": 0.1}
# A single row bounds nothing, so that it is a mistake.
LEAST_ROWS = 2


def read_codes(codes, n_codes):
    """The codes as an array of integers, each of them in its range."""
    check_value("n_codes", n_codes, is_integer(n_codes) and n_codes >= 1, "an integer >= 1")
    codes = np.asarray(codes)
    if codes.ndim != 1:
        raise ValueError(f"codes has shape {codes.shape}: expected one code per row, of shape (n_samples,).")
    if codes.dtype.kind not in "iu":
        raise ValueError(
            f"codes are of type {codes.dtype}: expected integers in [0, {n_codes}). Number the cells, or convert them "
            "with astype(int)."
        )
    outside = (codes < 0) | (codes >= n_codes)
    if outside.any():
        raise ValueError(f"codes: {codes[outside][0]} lies outside [0, n_codes={n_codes}). Pass the right n_codes.")
    if n_codes > len(codes):
        raise ValueError(
            f"n_codes={n_codes} with {len(codes)} rows: of more codes than rows the bound would be near 1. Pass more "
            "rows, or codes of fewer values."
        )
    return codes.astype(np.int64)


def strata_of(y, n_samples, constraint, pos_label):
    """Pairs of a label and which rows have it; None and all rows where labels do not matter."""
    if constraint == "demographic_parity":
        return [(None, np.ones(n_samples, dtype=bool))]
    if y is None:
        raise ValueError(f"constraints={constraint!r} compares groups within labels, but y=None. Pass y.")
    label, codes = label_variable(y, "auto", "y")
    if len(codes) != n_samples:
        raise ValueError(f"y has {len(codes)} rows, codes and X have {n_samples}; they must have the same length.")
    if label.kind != "groups":
        raise ValueError(f"y is continuous; constraints={constraint!r} takes classes here. Cut y into classes before.")
    if constraint == "true_positive_rate_parity":
        favourable: Any = resolve_pos_label(label, pos_label)
        return [(favourable, codes == label.encode([favourable])[0])]
    return [(value, codes == code) for code, value in enumerate(label.categories.tolist())]


def counts_of(name, groups, codes, n_codes, label, inside):
    """How often every group has every code among the rows ``inside``, by group."""
    within = "" if label is None else f" with label {label!r}"
    own, names = pd.factorize(groups)  # a group may be a tuple, which compares by its parts
    counts = {
        group: np.bincount(codes[inside & (own == position)], minlength=n_codes)
        for position, group in sorted(enumerate(names.tolist()), key=lambda item: str(item[1]))
    }
    small = [group for group, found in counts.items() if found.sum() < LEAST_ROWS]
    if small:
        raise ValueError(
            f"sensitive_features: group(s) {small} of {name!r} have fewer than {LEAST_ROWS} rows{within}, which bound "
            "nothing. Pass more rows, merge these groups with others, or leave them out."
        )
    if len(counts) < 2:
        raise ValueError(
            f"sensitive_features: {name!r} has {len(counts)} group(s){within}; a difference needs two. Pass rows of "
            "another group, or leave the attribute out."
        )
    return counts


def ordered(counts, first, second):
    """Both groups, the smaller first, and their counts: cutting the larger one's into steps costs the test less."""
    if counts[second].sum() < counts[first].sum():
        first, second = second, first
    return first, second, counts[first], counts[second]


def bounds_of(p, q, error, method, classifiers):
    """The estimate, and the bound by method."""
    estimate = float(total_variation(p, q) if classifiers == "any" else largest_step(p, q))
    if len(p) == 1:  # Nobody can tell one code from itself.
        return 0.0, {"fixed_set" if method == "best" else method: 0.0}
    sizes = int(p.sum()), int(q.sum())
    if method == "clopper_pearson":
        return estimate, {method: float(clopper_pearson_bound(p, q, error))}
    if method == "l1":
        return estimate, {method: float(l1_bound(p, q, error))}
    if method == "dkw":
        return estimate, {method: float(dkw_bound(p, q, error))}
    if method == "fixed_set" or classifiers == "monotone":
        return estimate, {"fixed_set": fixed_set_bound(estimate, *sizes, error)}
    return estimate, {
        "fixed_set": fixed_set_bound(estimate, *sizes, SHARES["fixed_set"] * error),
        "clopper_pearson": float(clopper_pearson_bound(p, q, SHARES["clopper_pearson"] * error)),
    }


def worst_set_of(p, q, classifiers):
    """The codes that a classifier accepts whose difference, first group less second, is the largest in these rows."""
    more = p / p.sum() - q / q.sum()
    if classifiers == "any":
        return tuple(np.flatnonzero(more > 0).tolist())
    steps = more.cumsum()
    upto = int(np.abs(steps).argmax())
    return tuple(range(upto + 1)) if steps[upto] > 0 else tuple(range(upto + 1, len(p)))
