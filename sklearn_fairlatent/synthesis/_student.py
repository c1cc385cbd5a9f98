"""The student as plain arrays: a mixture whose components share their loadings, and a label head; drawing from it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import log_softmax, softmax

# Rows drawn at once: 20,000 of 384 columns are 61 MB as float64.
DRAWN_ROWS = 20_000
# A label that the student gives more rarely than this takes too many candidates to find.
RAREST = 1e-4


@dataclass(frozen=True, eq=False)
class Student:
    """A trained student; see :class:`StudentModule` for the equations.

    Parameters
    ----------
    sizes : tuple of int
        Levels of every column of a table; empty for vectors.
    attribute_sizes : tuple of int
        Groups of every sensitive attribute.
    arrays : dict of ndarray of float32
        The parameters, by the names that they have in :class:`StudentModule`.
    """

    sizes: tuple
    attribute_sizes: tuple
    arrays: dict

    def check(self):
        """Raise ValueError unless the arrays fit together, which those of a file may not."""
        n_levels, n_groups, own = sum(self.sizes), sum(self.attribute_sizes), self.arrays
        n_components, rank = own["components"].shape
        n_vectors, n_factors = own["factor"].shape
        n_hidden, n_logits = len(own["head_inner"]), len(own["head_bias"])
        expected = {
            "mixture": (n_components,),
            "components": (n_components, rank),
            "loadings": (n_levels + n_groups + n_vectors, rank),
            "bias": (n_levels + n_groups,),
            "factor": (n_vectors, n_factors),
            "log_scale": (n_vectors,),
            "head_linear": (n_levels + n_vectors, n_logits),
            "head_bias": (n_logits,),
            "head_inner": (n_hidden, rank),
            "head_inner_bias": (n_hidden,),
            "head_outer": (n_logits, n_hidden),
        }
        found = {name: values.shape for name, values in own.items()}
        if found != expected:
            raise ValueError(f"the weights have shapes {found}; expected {expected}")
        if not all(np.isfinite(values).all() for values in own.values()):
            raise ValueError("some weights are not finite")

    @property
    def n_parameters(self):
        """Number of parameters."""
        return sum(values.size for values in self.arrays.values())

    @property
    def n_bytes(self):
        """Bytes of the parameters."""
        return sum(values.nbytes for values in self.arrays.values())

    @cached_property
    def _float64(self):
        return {name: values.astype(np.float64) for name, values in self.arrays.items()}

    @cached_property
    def _log_tables(self):
        """Per column, then per attribute, the log-probabilities of its levels in every component."""
        own = self._float64
        sizes = (*self.sizes, *self.attribute_sizes)
        if not sizes:
            return []
        n_outputs = sum(sizes)
        logits = own["bias"] + own["components"] @ own["loadings"][:n_outputs].T
        return [log_softmax(part, axis=1) for part in np.split(logits, np.cumsum(sizes)[:-1], axis=1)]

    @cached_property
    def _cumulated(self):
        """Per column of the table, component by component, the distribution function shifted by the component."""
        flat = []
        for table in self._log_tables[: len(self.sizes)]:
            shares = np.cumsum(np.exp(table), axis=1)
            shares /= shares[:, -1:]
            flat.append((shares + np.arange(len(shares))[:, None]).ravel())
        return flat

    def draw(self, groups, n, rng):
        """Rows of one group each of all attributes.

        Parameters
        ----------
        groups : ndarray of int of shape (n_attributes,)
        n : int
        rng : numpy Generator

        Returns
        -------
        codes : ndarray of int of shape (n, n_columns)
        vectors : ndarray of shape (n, n_vectors)
        """
        own = self._float64
        # Bayes' rule: how often a component makes rows of these groups.
        log_shares = own["mixture"] + sum(
            table[:, group] for table, group in zip(self._log_tables[len(self.sizes) :], groups, strict=True)
        )
        component = rng.choice(len(log_shares), size=n, p=softmax(log_shares))
        codes = np.empty((n, len(self.sizes)), dtype=np.int64)
        for j, (flat, size) in enumerate(zip(self._cumulated, self.sizes, strict=True)):
            place = np.searchsorted(flat, component + rng.random(n), side="right")
            codes[:, j] = np.clip(place - component * size, 0, size - 1)
        factor = own["factor"]
        if not len(factor):
            return codes, np.zeros((n, 0))
        centres = own["components"] @ own["loadings"][-len(factor) :].T
        common = rng.standard_normal((n, factor.shape[1])) @ factor.T
        return codes, centres[component] + common + np.exp(own["log_scale"]) * rng.standard_normal(common.shape)

    def label_probabilities(self, codes, vectors):
        """Probabilities of the labels, of shape (n, n_classes)."""
        own = self._float64
        n_levels = sum(self.sizes)
        places = codes + np.r_[0, np.cumsum(self.sizes)[:-1]].astype(np.int64) if self.sizes else codes
        linear, loadings = own["head_linear"], own["loadings"]
        plain = np.broadcast_to(own["head_bias"], (len(codes), len(own["head_bias"]))).copy()
        shared = np.zeros((len(codes), loadings.shape[1]))
        for column in places.T:
            plain += linear[column]
            shared += loadings[column]
        if vectors.shape[1]:
            plain += vectors @ linear[n_levels:]
            shared += vectors @ loadings[-vectors.shape[1] :]
        hidden = np.maximum(shared @ own["head_inner"].T + own["head_inner_bias"], 0.0)
        logits = plain + hidden @ own["head_outer"].T
        return softmax(np.column_stack([np.zeros(len(logits)), logits]), axis=1)


def draw_labelled(draw, label_probabilities, cells, drawn, rng):
    """Rows of given labels and groups, in order: candidates of a group get a label each and fill what is asked for.

    Parameters
    ----------
    draw : callable
        ``draw(groups, n, rng)``: a tuple of arrays with n rows.
    label_probabilities : callable
        Of these arrays, of shape (n, n_classes).
    cells : ndarray of int of shape (n_cells, 1 + n_attributes)
        Labels and groups.
    drawn : ndarray of int of shape (n,)
        The cell of every row.
    rng : numpy Generator

    Returns
    -------
    tuple of ndarray
        As ``draw`` gives them.

    Raises
    ------
    ValueError
        If a label is so rare in a group that next to no candidate has it.
    """
    order = np.argsort(drawn, kind="stable")
    rows_of = np.split(order, np.cumsum(np.bincount(drawn, minlength=len(cells)))[:-1])
    filled: tuple = ()
    for groups in np.unique(cells[:, 1:], axis=0):
        # Positions that still wait, by label.
        own = np.flatnonzero((cells[:, 1:] == groups).all(axis=1))
        waiting = {int(cells[k, 0]): rows_of[k] for k in own if len(rows_of[k])}
        rates, n_drawn = {}, 0
        while waiting:
            n = _n_candidates({label: len(rows) for label, rows in waiting.items()}, rates)
            candidates = draw(groups, n, rng)
            probabilities = label_probabilities(*candidates)
            given = (rng.random(n)[:, None] > np.cumsum(probabilities, axis=1)[:, :-1]).sum(axis=1)
            n_drawn += n
            filled = filled or tuple(np.empty((len(drawn), *part.shape[1:]), dtype=part.dtype) for part in candidates)
            for label, rows in list(waiting.items()):
                rates[label] = float(probabilities[:, label].mean())
                found = np.flatnonzero(given == label)[: len(rows)]
                for whole, part in zip(filled, candidates, strict=True):
                    whole[rows[: len(found)]] = part[found]
                waiting[label] = rows[len(found) :]
                if not len(waiting[label]):
                    del waiting[label]
                elif rates[label] < RAREST and n_drawn >= 2 / RAREST:
                    raise ValueError(
                        f"label number {label} is given to {rates[label]:.1g} of the rows of the groups number "
                        f"{groups.tolist()} only: too rare to be drawn. Ask for other cells, or fit on more rows of it."
                    )
    return filled


def _n_candidates(waiting, rates):
    """As many as are wanted; once rates are known, as many as the label takes that takes the most."""
    asked = sum(waiting.values())
    if rates:
        asked = max(n / max(rates[label], RAREST) for label, n in waiting.items())
    return int(np.clip(1.1 * asked + 20, 100, DRAWN_ROWS))
