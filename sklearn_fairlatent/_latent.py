"""The named blocks of the latent, and the closed-form linear map that every fit starts from."""

from dataclasses import dataclass

import numpy as np

# Rows read at a time when X is streamed: 4,096 rows of 512 columns are 16 MB as float64.
CHUNK_ROWS = 4096


def row_chunks(n_samples, size=CHUNK_ROWS):
    """Slices that cover ``range(n_samples)`` in order."""
    return (slice(start, min(start + size, n_samples)) for start in range(0, n_samples, size))


def sample_rows(rows, size, rng):
    """At most ``size`` of ``rows``, in order."""
    return rows if len(rows) <= size else np.sort(rng.choice(rows, size, replace=False))


@dataclass(frozen=True)
class LatentLayout:
    """Which columns of the latent belong to which block.

    The latent is ``[target | one block per sensitive attribute | residual]``. What ``transform``
    hands on is the first ``n_handed_on`` columns of ``[target | residual]``.

    Parameters
    ----------
    target : str or None
        Name of the label; None when there is none.
    sensitive : tuple of str
        Names of the sensitive attributes, in block order.
    widths : tuple of int
        Width of the target block, of each sensitive block, and of the residual.
    n_handed_on : int
        Number of columns that ``transform`` returns.

    Examples
    --------
    >>> from sklearn_fairlatent._latent import LatentLayout
    >>> layout = LatentLayout("income", ("sex",), (1, 1, 3), n_handed_on=2)
    >>> layout
    LatentLayout(income[0:1] | sex[1:2] | residual[2:5]; handed on: [0, 2])
    >>> layout["sex"]
    slice(1, 2, None)
    """

    target: str | None
    sensitive: tuple
    widths: tuple
    n_handed_on: int

    def _slices(self):
        stops = np.cumsum(self.widths).tolist()
        return [slice(stop - width, stop) for stop, width in zip(stops, self.widths, strict=True)]

    def __getitem__(self, name):
        """Columns of the block called ``name`` (``"residual"`` is the last one)."""
        slices = self._slices()
        if name == self.target and self.target is not None:
            return slices[0]
        if name in self.sensitive:
            return slices[1 + self.sensitive.index(name)]
        if name == "residual":
            return slices[-1]
        raise KeyError(name)

    def width(self, name):
        """Number of columns of the block called ``name``."""
        block = self[name]
        return block.stop - block.start

    def __repr__(self):
        """One line that shows the columns of every block."""
        names = (self.target or "target", *self.sensitive, "residual")
        blocks = " | ".join(f"{name}[{s.start}:{s.stop}]" for name, s in zip(names, self._slices(), strict=True))
        handed_on = self.handed_on.tolist()
        shown = handed_on if len(handed_on) <= 8 else [*handed_on[:3], "...", handed_on[-1]]
        return f"LatentLayout({blocks}; handed on: [{', '.join(map(str, shown))}])"

    @property
    def n_features(self):
        """Width of the whole latent, equal to the number of encoded columns."""
        return sum(self.widths)

    @property
    def n_target(self):
        """Width of the target block."""
        return self.widths[0]

    @property
    def n_sensitive(self):
        """Width of all sensitive blocks together."""
        return sum(self.widths[1:-1])

    @property
    def handed_on(self):
        """Columns that ``transform`` returns, in its order; shape (n_handed_on,)."""
        kept = np.r_[0 : self.n_target, self.n_target + self.n_sensitive : self.n_features]
        return kept[: self.n_handed_on]


# An axis with less variance than this, where 1 is the most, has none but rounding.
NULL_VARIANCE = 1e-9


@dataclass(frozen=True)
class LinearStart:
    """An exact affine map ``w = (x - mean) @ matrix`` in float64 and its inverse.

    The last ``n_null`` axes have no variance.
    """

    mean: np.ndarray
    matrix: np.ndarray
    inverse: np.ndarray
    n_null: int = 0


@dataclass(frozen=True)
class Moments:
    """First and second moments of X, and its covariance with a matrix of codes."""

    mean: np.ndarray
    scale: np.ndarray
    correlation: np.ndarray
    cross: np.ndarray


def moments(X, codes, rows):
    """Moments of the standardised ``X[rows]`` and its covariance with ``codes[rows]``, read in chunks.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        May be a memory map: at most ``CHUNK_ROWS`` rows are held at a time.
    codes : ndarray of shape (n_samples, n_codes)
        NaN marks a missing entry, which is left out of that column's covariance.
    rows : ndarray of int
        The rows to use.
    """
    n_features, n = X.shape[1], len(rows)
    mean = np.zeros(n_features)
    square = np.zeros(n_features)
    # Two passes: one pass over raw squares would cancel for columns with a large mean.
    for part in row_chunks(n):
        mean += X[rows[part]].sum(axis=0, dtype=np.float64)
    mean /= n
    for part in row_chunks(n):
        square += ((X[rows[part]] - mean) ** 2).sum(axis=0)
    std = np.sqrt(square / n)
    # A column counts as constant below the rounding error of its own mean.
    scale = np.where(std > 1e-12 * np.maximum(1.0, np.abs(mean)), std, 1.0)

    present = np.isfinite(codes[rows])
    centred = np.where(present, codes[rows], 0.0)
    counts = np.maximum(present.sum(axis=0), 1)
    centred = np.where(present, centred - centred.sum(axis=0) / counts, 0.0)
    correlation = np.zeros((n_features, n_features))
    cross = np.zeros((n_features, codes.shape[1]))
    for part in row_chunks(n):
        Z = (X[rows[part]] - mean) / scale
        correlation += Z.T @ Z
        cross += Z.T @ centred[part]
    return Moments(mean, scale, correlation / n, cross / counts)


def linear_information(stats, columns, design):
    """How much X tells linearly of a label, in nats: ``-1/2 sum(log(1 - r^2))`` over the canonical correlations.

    That is the mutual information if both are jointly Gaussian (Cover and Thomas 2006, "Elements of Information
    Theory", example 8.5.1, for every canonical pair). The squared correlations are adjusted for the number of columns.

    Parameters
    ----------
    stats : Moments
    columns : slice
        Columns of ``stats.cross`` for the label.
    design : ndarray of shape (n_rows, n_columns)
        The label's codes in the rows that ``stats`` is of.

    Returns
    -------
    float
        At least 0.
    """
    inverse = np.linalg.pinv(stats.correlation, rcond=NULL_VARIANCE, hermitian=True)
    rank = np.trace(inverse @ stats.correlation)
    spread = np.atleast_2d(np.cov(design, rowvar=False, bias=True))
    spread = np.linalg.pinv(spread, rcond=NULL_VARIANCE, hermitian=True)
    cross = stats.cross[:, columns]
    squared = np.linalg.eigvals(spread @ cross.T @ inverse @ cross).real
    left = (1 - squared) * (len(design) - 1) / max(1, len(design) - rank - 1)
    # What is known without any error would count for infinitely much.
    return float(-0.5 * np.log(np.clip(left, 1e-3, 1.0)).sum())


def linear_scores(stats, columns, X):
    """The least-squares prediction of a label from the rows ``X``, without its mean: shape (len(X), n_columns).

    Parameters
    ----------
    stats : Moments
    columns : slice
        Columns of ``stats.cross`` for the label.
    X : array of shape (n, n_features)
    """
    inverse = np.linalg.pinv(stats.correlation, rcond=NULL_VARIANCE, hermitian=True)
    return (X - stats.mean) / stats.scale @ (inverse @ stats.cross[:, columns])


def _append_axes(axes, candidates, width):
    """Add ``width`` orthonormal columns to ``axes``: the leading directions of ``candidates`` outside its span.

    Where the candidates have too few directions left (a label that is a copy of the attribute, say), the
    coordinate axis farthest from the span takes the place, so that the basis is always complete.
    """
    for _ in range(width):
        left = candidates - axes @ (axes.T @ candidates)
        direction, strength, _ = np.linalg.svd(left, full_matrices=False)
        if strength.size and strength[0] > 1e-9 * max(1.0, np.linalg.norm(candidates)):
            axis = direction[:, 0]
        else:
            farthest = np.argmin((axes**2).sum(axis=1))
            axis = np.zeros(len(axes))
            axis[farthest] = 1.0
        # Twice is enough (Kahan): one pass leaves an error where the axis was nearly in the span.
        for _ in range(2):
            axis = axis - axes @ (axes.T @ axis)
        axes = np.column_stack([axes, axis / np.linalg.norm(axis)])
    return axes


def linear_start(stats, code_blocks, layout, *, label_first):
    """Soft whitening and a rotation whose first axes are the linear directions of the label and the attributes.

    Columns are standardised and softly whitened: every principal axis is divided by ``sqrt(v + mean(v))``, ``v``
    its variance, so that axes without variance keep a finite scale and the map stays invertible on
    all columns. In that space the axes of a code are the leading directions of its covariance with X.

    Parameters
    ----------
    stats : Moments
        Moments of X; ``stats.cross`` holds the codes of the label and the attributes side by side.
    code_blocks : list of slice
        Columns of ``stats.cross`` for the label and for every attribute, in the layout's order.
    layout : LatentLayout
        Widths of the blocks.
    label_first : bool
        If False the attributes' axes are taken first and the label's are orthogonal to them, which makes
        them uncorrelated with every attribute: the linear answer to demographic parity. If True the
        label keeps its best direction.

    Returns
    -------
    LinearStart
        The residual axes are ordered by their covariance with the label, strongest first, those without any
        variance last; ``n_null`` counts these.
    """
    variance, vectors = np.linalg.eigh(stats.correlation)
    variance = np.clip(variance, 0.0, None)
    ridge = variance.mean() or 1.0
    root = np.sqrt(variance + ridge)
    cross = (vectors / root).T @ stats.cross

    n_blocks = len(code_blocks)
    order = range(n_blocks) if label_first else [*range(1, n_blocks), 0]
    axes = np.zeros((len(variance), 0))
    columns = {}
    for block in order:
        start = axes.shape[1]
        axes = _append_axes(axes, cross[:, code_blocks[block]], layout.widths[block])
        columns[block] = axes[:, start:]
    named = np.column_stack([columns[block] for block in range(n_blocks)])

    basis = np.linalg.qr(named, mode="complete")[0][:, named.shape[1] :]
    softened = variance / (variance + ridge)
    if basis.shape[1]:
        _, rotation = np.linalg.eigh(basis.T @ (softened[:, None] * basis))
        basis = basis @ rotation
        label = cross[:, code_blocks[0]]
        # Ties (no label at all) fall back on the variance, which eigh sorts upwards.
        relevance = np.linalg.norm(basis.T @ label, axis=1).round(12)
        basis = basis[:, np.lexsort((-np.arange(basis.shape[1]), -relevance))]
    rotation = np.column_stack([named, basis])
    whiten = vectors / root / stats.scale[:, None]
    unwhiten = (vectors * root).T * stats.scale
    spread = softened @ basis**2
    n_null = int(np.argmax(np.r_[spread[::-1] > NULL_VARIANCE, True]))
    return LinearStart(stats.mean, whiten @ rotation, rotation.T @ unwhiten, n_null)
