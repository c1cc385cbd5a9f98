"""Which rows are given a partner in which group: all of them, or as many as balance labels and groups."""

import numpy as np


def intersections(codes):
    """The groups of several attributes as one.

    Parameters
    ----------
    codes : dict of str to ndarray of shape (n,)
        NaN where missing.

    Returns
    -------
    groups : ndarray of int of shape (n,)
        Position of a row's group, -1 where an attribute is missing.
    members : ndarray of int of shape (n_groups, n_attributes)
        The codes that make a group; only those that occur, in order.
    """
    table = np.column_stack(list(codes.values()))
    known = ~np.isnan(table).any(1)
    groups = np.full(len(table), -1)
    members, positions = np.unique(table[known].astype(int), axis=0, return_inverse=True)
    groups[known] = positions.ravel()
    return groups, members


def all_pairs(groups, n_groups):
    """Every row of known group joins every other group.

    Returns
    -------
    source : ndarray of int of shape (n_pairs,)
        Row that each partner is made of.
    wanted : ndarray of int of shape (n_pairs,)
        The group it joins.
    """
    known = np.flatnonzero(groups >= 0)
    source = np.repeat(known, n_groups)
    wanted = np.tile(np.arange(n_groups), len(known))
    other = wanted != groups[source]
    return source[other], wanted[other]


def balancing_pairs(label, groups, needs, rng):
    """As many partners as every cell of label and group lacks, of rows of this label drawn without replacement.

    Parameters
    ----------
    label : ndarray of int of shape (n,)
        Of the rows that partners can be made of.
    groups : ndarray of int of shape (n,)
        -1 where missing.
    needs : ndarray of int of shape (n_labels, n_groups)
        Partners wanted.
    rng : numpy RandomState

    Returns
    -------
    source, wanted : as in :func:`all_pairs`
    missing : int
        Partners that there were no rows for.
    """
    source, wanted, missing = [], [], 0
    for k, g in np.argwhere(needs > 0):
        pool = np.flatnonzero((label == k) & (groups >= 0) & (groups != g))
        drawn = rng.permutation(pool)[: needs[k, g]]
        source.append(np.sort(drawn))
        wanted.append(np.full(len(drawn), g))
        missing += int(needs[k, g]) - len(drawn)
    if not source:
        return np.zeros(0, dtype=int), np.zeros(0, dtype=int), 0
    return np.concatenate(source), np.concatenate(wanted), missing


def cell_needs(label, groups, n_labels, n_groups):
    """How many rows every cell has less than the largest cell of its label: (n_labels, n_groups)."""
    counts = np.zeros((n_labels, n_groups), dtype=int)
    known = groups >= 0
    np.add.at(counts, (label[known], groups[known]), 1)
    return counts.max(1, keepdims=True) - counts
