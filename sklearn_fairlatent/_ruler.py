"""How long a move of encoded rows is: by what the decoder makes of it."""

from dataclasses import dataclass

import numpy as np

from ._readers import live_columns

# Rows whose columns are nudged, every one by this part of its standard deviation.
NUDGED_ROWS, NUDGE = 32, 0.02
# Values of a decoded row that are looked at, spread over all of it, and rows that are decoded at once.
DECODED_VALUES, DECODED_ROWS = 20_000, 256
# More columns are not measured: every one of them costs a decoded row per nudged one.
MOST_COLUMNS = 512
# No direction counts for less than this, in units of the mean: some change next to nothing in the output.
LEAST_EFFECT = 0.1


@dataclass(frozen=True, eq=False)
class Ruler:
    """Measures steps of encoded rows: in the columns' own scale, or by a metric."""

    scale: np.ndarray  # (d,)
    root: np.ndarray | None = None  # (d, d), of a metric of steps in that scale

    @classmethod
    def of(cls, scale, metric):
        """The ruler of a metric of shape (d, d), or without one."""
        if metric is None:
            return cls(scale)
        eigenvalues, axes = np.linalg.eigh(scale[:, None] * metric * scale)
        return cls(scale, axes * np.sqrt(np.maximum(eigenvalues, 0.0)) @ axes.T)

    def measured(self, steps):
        """Steps of shape (n, d) in coordinates in which their Euclidean length is their length."""
        steps = steps / self.scale
        return steps if self.root is None else steps @ self.root


def output_metric(encoding, E):
    """The mean pullback metric E[J'J] of a decoder with the Jacobian J [1]_, from differences of decoded rows.

    By it a step of encoded rows is as long as the step of what the decoder makes of them. Pictures, signals and the
    like are measured: floating arrays of three or more dimensions, whose values have all the same unit. Columns of
    tables have not. Nor is a decoder that gives another answer every time, or one of very many columns.

    Parameters
    ----------
    encoding : Encoding
    E : ndarray of shape (n_samples, n_encoded)

    Returns
    -------
    ndarray of shape (n_encoded, n_encoded) or None
        None where nothing is to be measured. Columns without variance have no length.

    References
    ----------
    .. [1] Arvanitidis, Hansen, Hauberg (2018), "Latent space oddity: on the curvature of deep generative models", ICLR,
       eq. 3.
    """
    # What an estimator inverts is a table.
    if encoding.decoder is None or E.shape[1] > MOST_COLUMNS:
        return None
    live, deviations = np.flatnonzero(live_columns(E)), E.std(0)
    rows = E[np.linspace(0, len(E) - 1, min(NUDGED_ROWS, len(E))).astype(int)]
    decoded = encoding.decode(rows)
    if not len(live) or not isinstance(decoded, np.ndarray) or decoded.dtype.kind != "f" or decoded.ndim < 3:
        return None
    looked_at = np.linspace(0, decoded[0].size - 1, min(DECODED_VALUES, decoded[0].size)).astype(int)
    metric = np.zeros((len(live), len(live)))
    for row in rows:
        nudged = np.repeat(row[None], len(live) + 2, axis=0)
        nudged[np.arange(len(live)), live] += NUDGE * deviations[live]
        parts = [nudged[start : start + DECODED_ROWS] for start in range(0, len(nudged), DECODED_ROWS)]
        values = np.concatenate([encoding.decode(part).reshape(len(part), -1)[:, looked_at] for part in parts])
        *_, once, again = values
        if not np.isfinite(values).all() or not np.allclose(once, again):
            return None
        steps = values[:-2].astype(np.float64) - once
        metric += steps @ steps.T
    eigenvalues, axes = np.linalg.eigh(metric)
    if eigenvalues[-1] <= 0:
        return None
    metric = axes * np.maximum(eigenvalues / eigenvalues.mean(), LEAST_EFFECT) @ axes.T
    out = np.zeros((E.shape[1], E.shape[1]))
    out[np.ix_(live, live)] = metric / np.outer(deviations[live], deviations[live])
    return out
