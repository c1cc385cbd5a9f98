"""Which labels and groups are asked for: the cells of label and groups, their probabilities, and rows of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .._attributes import Variable, read_sensitive_features
from .._parameters import is_real

BALANCES = ("independent", "as_observed")
# Probabilities from a division may miss 1 by this much.
TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of label and groups that the training rows filled.

    Parameters
    ----------
    label : Variable
    variables : list of Variable
    cells : ndarray of int of shape (n_cells, 1 + n_attributes)
        Codes of label and groups.
    shares : ndarray of shape (n_cells,)
        Of the training rows.
    """

    label: Variable
    variables: list
    cells: np.ndarray
    shares: np.ndarray

    @classmethod
    def learn(cls, label, variables, codes, attributes):
        """From the codes of the training rows.

        Labels are as frequent as in all rows, groups of a label as in its rows without a missing one.
        """
        whole = np.column_stack([codes, attributes])
        whole = whole[~np.isnan(whole).any(axis=1)].astype(np.int64)
        lost = sorted(set(range(label.n_groups)) - set(whole[:, 0].tolist()))
        if lost:
            raise ValueError(
                f"sensitive_features: every row with {label.name}={_plain(label.categories[lost[0]])!r} misses an "
                "attribute. Fill some in, or leave the column or the label out."
            )
        cells, counts = np.unique(whole, axis=0, return_counts=True)
        complete = np.bincount(whole[:, 0]) / len(whole)
        of_all = np.bincount(codes.astype(np.int64)) / len(codes)
        shares = counts / counts.sum() * (of_all / complete)[cells[:, 0]]
        return cls(label, list(variables), cells, shares / shares.sum())

    def describe(self, cell):
        """A cell in words."""
        names = [self.label.name, *(variable.name for variable in self.variables)]
        values = [self.label.categories[cell[0]], *self.groups(cell[1:])]
        return ", ".join(f"{name}={value!r}" for name, value in zip(names, map(_plain, values), strict=True))

    def groups(self, codes):
        """Values of the attributes."""
        return [variable.categories[code] for variable, code in zip(self.variables, codes, strict=True)]

    def probabilities(self, balance):
        """Probabilities of cells.

        Parameters
        ----------
        balance : {"independent", "as_observed"} or dict

        Returns
        -------
        cells : ndarray of int of shape (n, 1 + n_attributes)
        probabilities : ndarray of shape (n,)
            In [0, 1], with sum 1.
        """
        if isinstance(balance, dict):
            return self._mapped(balance)
        if not isinstance(balance, str) or balance not in BALANCES:
            raise ValueError(
                f"balance={balance!r}: expected one of {list(BALANCES)}, or a dict with a probability for every wanted "
                "(label, group, ...)."
            )
        if balance == "as_observed":
            return self.cells, self.shares
        labels, label = np.unique(self.cells[:, 0], return_inverse=True)
        groups, group = np.unique(self.cells[:, 1:], axis=0, return_inverse=True)
        label_shares = np.bincount(label, weights=self.shares)
        group_shares = np.bincount(group.ravel(), weights=self.shares)
        product = [(c, g) for c in range(len(labels)) for g in range(len(groups))]
        cells = np.array([[labels[c], *groups[g]] for c, g in product], dtype=np.int64)
        return cells, np.array([label_shares[c] * group_shares[g] for c, g in product])

    def _mapped(self, balance):
        if not balance:
            raise ValueError("balance={}: expected a probability for at least one (label, group, ...).")
        cells = []
        for key in balance:
            values = key if isinstance(key, tuple) else (key,)
            if len(values) != 1 + len(self.variables):
                names = [self.label.name, *(variable.name for variable in self.variables)]
                raise ValueError(f"balance has the key {key!r}: expected a tuple of {names}.")
            pairs = zip([self.label, *self.variables], values, strict=True)
            cells.append([int(_codes(variable, [value], "balance")[0]) for variable, value in pairs])
        shares = list(balance.values())
        if not all(is_real(share) and 0 <= share <= 1 for share in shares):
            raise ValueError(f"balance holds the probabilities {shares}: expected numbers in [0, 1].")
        if abs(sum(shares) - 1) > TOLERANCE:
            raise ValueError(
                f"balance: the probabilities sum to {sum(shares):.6g}; expected 1. Divide them by their sum."
            )
        cells, shares = np.array(cells, dtype=np.int64), np.array(shares, dtype=np.float64)
        if len(np.unique(cells, axis=0)) < len(cells):
            raise ValueError(f"balance has two keys for one cell: {list(balance)}. Add up their probabilities.")
        return cells, shares / shares.sum()

    def _refuse_empty(self, cells, asked, remedy):
        known = set(map(tuple, self.cells.tolist()))
        empty = [cell for cell in np.unique(cells, axis=0).tolist() if tuple(cell) not in known]
        if empty:
            more = f" (and {len(empty) - 1} more cells)" if len(empty) > 1 else ""
            raise ValueError(
                f"{asked} rows with {self.describe(empty[0])}{more}, of which fit saw none: nothing is known of them. "
                f"{remedy}"
            )

    def draw(self, n, balance, labels, attributes: Any, rng):
        """Cells for n rows.

        Parameters
        ----------
        n : int
        balance : {"independent", "as_observed"} or dict
        labels : ndarray of int of shape (n,) or None
        attributes : ndarray of int of shape (n, n_attributes) or None
            What is given; the rest is drawn, given that.
        rng : numpy Generator

        Returns
        -------
        cells : ndarray of int of shape (n_cells, 1 + n_attributes)
        probabilities : ndarray of shape (n_cells,)
            Of given labels or groups, the shares drawn.
        drawn : ndarray of int of shape (n,)
            The cell of every row.
        """
        if labels is not None and attributes is not None:
            asked = np.column_stack([labels, attributes])
            cells, drawn = np.unique(asked, axis=0, return_inverse=True)
            self._refuse_empty(cells, "y and sensitive_features ask for", "Ask for other cells.")
            return cells, np.bincount(drawn.ravel()) / n, drawn.ravel()
        cells, shares = self.probabilities(balance)
        words = ("balance asks for", "Leave it out.")
        if isinstance(balance, str):
            words = ("balance='independent' asks for", "Pass balance='as_observed' or a dict of cells.")
        if labels is None and attributes is None:
            self._refuse_empty(cells[shares > 0], *words)
            return cells, shares, rng.choice(len(cells), size=n, p=shares)
        given, columns = attributes, slice(1, None)
        if labels is not None:
            given, columns = labels[:, None], slice(0, 1)
        drawn = np.empty(n, dtype=np.int64)
        for values in np.unique(np.asarray(given), axis=0):
            rows = np.flatnonzero((given == values).all(axis=1))
            own = np.where((cells[:, columns] == values).all(axis=1), shares, 0.0)
            if not own.sum() > 0:
                asked = [self.label.categories[values[0]]] if labels is not None else self.groups(values)
                argument = "y" if labels is not None else "sensitive_features"
                raise ValueError(f"{argument}: fit saw no row with {list(map(_plain, asked))}. Ask for another.")
            self._refuse_empty(cells[own > 0], *words)
            drawn[rows] = rng.choice(len(cells), size=len(rows), p=own / own.sum())
        return cells, np.bincount(drawn, minlength=len(cells)) / n, drawn

    def read_labels(self, y, n):
        """Codes of wanted labels: one for all rows, or one for each."""
        if y is None:
            return None
        values = np.full(n, y, dtype=object) if np.ndim(y) == 0 else np.asarray(y, dtype=object)
        if values.ndim != 1 or len(values) != n:
            raise ValueError(f"y has shape {np.shape(y)}: expected one label, or {n} of them, as n_samples says.")
        return _codes(self.label, values, "y")

    def read_attributes(self, sensitive_features, n):
        """Codes of wanted groups, of shape (n, n_attributes)."""
        if sensitive_features is None:
            return None
        if not self.variables:
            raise ValueError("sensitive_features is given, but fit saw no sensitive attribute. Leave it out.")
        given = sensitive_features
        if np.ndim(given) == 0 and not isinstance(given, dict):
            given = {self.variables[0].name: given}
        if isinstance(given, dict):
            given = {name: np.full(n, v, dtype=object) if np.ndim(v) == 0 else v for name, v in given.items()}
        n_given = {len(v) for v in given.values()} if isinstance(given, dict) else {len(given)}
        if n_given != {n}:
            raise ValueError(f"sensitive_features has {sorted(n_given)} rows: expected {n}, as n_samples says.")
        columns = read_sensitive_features(given, n)
        names = [variable.name for variable in self.variables]
        # An array or a list has no names: its columns are meant in order.
        if not isinstance(given, dict) and set(columns) == {f"sensitive_feature_{j}" for j in range(len(names))}:
            columns = dict(zip(names, columns.values(), strict=True))
        if set(columns) != set(names):
            raise ValueError(f"sensitive_features holds {sorted(columns)}: expected {names}, as fit did.")
        codes = [_codes(v, columns[v.name], "sensitive_features") for v in self.variables]
        return np.column_stack(codes)

    def table(self, cells, probabilities, drawn):
        """A row per cell: label, groups, probability, number of rows drawn."""
        columns = {self.label.name: self.label.categories[cells[:, 0]]}
        for j, variable in enumerate(self.variables):
            columns[variable.name] = variable.categories[cells[:, 1 + j]]
        return pd.DataFrame(columns).assign(probability=probabilities, n_rows=np.bincount(drawn, minlength=len(cells)))


def _codes(variable, values, argument):
    """The codes of wanted values."""
    codes = variable.encode(np.asarray(values, dtype=object), argument=argument)
    if np.isnan(codes).any():
        raise ValueError(f"{argument}: a value of {variable.name!r} is missing. Say which group, or leave it out.")
    return codes.astype(np.int64)


def _plain(value):
    return value.item() if isinstance(value, np.generic) else value
