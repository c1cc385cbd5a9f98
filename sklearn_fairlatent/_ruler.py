"""How long a move of encoded rows is: by what the decoder makes of it."""

from dataclasses import dataclass

import numpy as np

from ._readers import live_columns

# Rows whose columns are nudged, every one by this part of its standard deviation.
NUDGED_ROWS, NUDGE = 32, 0.02
# Values of a decoded row that are looked at, spread over all of it; rows that are decoded at once, and their values.
LOOKED_AT, DECODED_ROWS, DECODED_VALUES = 20_000, 256, 2**25
# More columns are not measured: every one of them costs a decoded row per nudged one.
MOST_COLUMNS = 512
# A decoder whose answers to one row differ by more than this part of what a nudge changes has noise of its own.
MOST_NOISE = 0.1
# No direction's squared length counts for less than this part of the mean: some change next to nothing in the output.
LEAST_EFFECT = 0.1


@dataclass(frozen=True, eq=False)
class Ruler:
    """Measures steps of encoded rows: in the columns' own scale, or by a metric of steps in that scale."""

    scale: np.ndarray  # (d,)
    root: np.ndarray | None = None  # (d, d), of the metric

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


def output_metric(encoding, E, rows, fixed):
    """The mean pullback metric E[J'J] of a decoder with the Jacobian J [1]_, from differences of decoded rows.

    By it a step of encoded rows is, up to a factor, as long as the step of what the decoder makes of them. Pictures,
    signals and the like are measured: floating arrays of three or more dimensions, whose values have all the same
    unit. Columns of tables have not. Nor is a decoder that gives another answer every time, or one of very many
    columns.

    Parameters
    ----------
    encoding : Encoding
    E : array of shape (n_samples, n_encoded)
    rows : ndarray of int
        Rows to learn from.
    fixed : ndarray of int
        Columns that do not move, and have no length.

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
    dtype, E = E.dtype, np.asarray(E[rows], dtype=np.float64)
    moving = np.setdiff1d(np.flatnonzero(live_columns(E)), fixed)
    decoded = encoding.decode(E[:1].astype(dtype))
    if not len(moving) or not isinstance(decoded, np.ndarray) or decoded.dtype.kind != "f" or decoded.ndim < 3:
        return None
    n_values = decoded[0].size
    looked_at = np.linspace(0, n_values - 1, min(LOOKED_AT, n_values)).astype(int)
    at_once = max(1, min(DECODED_ROWS, DECODED_VALUES // n_values))

    def seen(some):
        return encoding.decode(some.astype(dtype)).reshape(len(some), -1)[:, looked_at].astype(np.float64)

    deviations = E.std(0)[moving]
    metric = np.zeros((len(moving), len(moving)))
    for row in E[np.linspace(0, len(E) - 1, min(NUDGED_ROWS, len(E))).astype(int)]:
        nudged = np.repeat(row[None], len(moving), axis=0)
        nudged[np.arange(len(moving)), moving] += NUDGE * deviations
        parts = [seen(np.vstack([nudged[k : k + at_once], row])) for k in range(0, len(nudged), at_once)]
        steps = np.concatenate([part[:-1] - part[-1] for part in parts])
        noise = np.linalg.norm(parts[-1][-1] - seen(row[None])[0])
        if not np.isfinite(steps).all() or noise > MOST_NOISE * np.linalg.norm(steps, axis=1).max():
            return None
        metric += steps @ steps.T
    eigenvalues, axes = np.linalg.eigh(metric)
    if eigenvalues[-1] <= 0:
        return None
    metric = axes * np.maximum(eigenvalues / eigenvalues.mean(), LEAST_EFFECT) @ axes.T
    out = np.zeros((E.shape[1], E.shape[1]))
    out[np.ix_(moving, moving)] = metric / np.outer(deviations, deviations)
    return out
