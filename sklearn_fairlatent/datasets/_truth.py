"""The known truth behind generated rows: their factors, the map to features, the counterfactuals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtri

# Half the distance of two neighbouring groups, and how much their spread and skewness differ. Large enough
# that a boosting reads the group from 1,000 rows with an AUC above 0.9, small enough that the groups overlap:
# between far-apart groups every row moves by nearly the same amount, and a mean shift would be almost right.
_SEPARATION, _SPREAD, _SKEW = 1.0, 0.7, 0.5
# Six layers of this steepness make a shift by group means miss by 0.56 to 0.81 of the true step, while a
# small network that is shown 2,000 true pairs misses by 0.27 to 0.38: curved, but not too rough to learn.
N_LAYERS, _N_HIDDEN, _SLOPE, _LOG_SCALE = 6, 16, 0.7, 0.5


@dataclass(frozen=True)
class Factor:
    """The latent coordinate of the label or of one attribute; `values` is None for numbers."""

    name: str
    values: tuple[Any, ...] | None

    def draw(self, score: np.ndarray) -> np.ndarray:
        """Turn normal scores into values: equally frequent groups, or the scores themselves."""
        if self.values is None:
            return score
        n_values = len(self.values)
        cuts = ndtri(np.arange(1, n_values) / n_values)
        dtype = object if isinstance(self.values[0], str) else np.int64
        return np.array(self.values, dtype=dtype)[np.searchsorted(cuts, score)]

    def locate(self, score: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Place rows by group and rank in the group: for each group a curve that increases in the rank."""
        if self.values is None:
            position = values
            shape = np.tanh(values)
        else:
            last = len(self.values) - 1
            position = 2.0 * pd.Index(self.values).get_indexer(values) - last
            shape = position / last
        # The sinh-arcsinh transformation is increasing for every skewness, so ranks survive it.
        return _SEPARATION * position + np.exp(-_SPREAD * shape) * np.sinh(np.arcsinh(score) + _SKEW * shape)

    def resolve(self, value: Any, own: np.ndarray) -> np.ndarray:
        """Check the wanted value and give it to every row; None is the other one of two groups."""
        if self.values is None:
            return self._resolve_number(value, own)
        if value is None:
            if len(self.values) != 2:
                raise ValueError(
                    f"value=None is ambiguous for {self.name!r}, which has {len(self.values)} groups. "
                    f"Pass value= one of {list(self.values)}, or an array with one per row."
                )
            first, second = self.values
            return np.where(own == first, second, first)
        wanted = _one_per_row(np.asarray(value, dtype=object), len(own), self.name)
        for one in wanted.tolist():
            if one not in self.values:
                raise ValueError(f"value={one!r} is not a group of {self.name!r}. Pass one of {list(self.values)}.")
        return wanted

    def _resolve_number(self, value: Any, own: np.ndarray) -> np.ndarray:
        """Check a wanted number, or one number per row."""
        try:
            wanted = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError):
            wanted = np.array(np.nan)
        if not np.isfinite(wanted).all():
            raise ValueError(
                f"value={value!r} does not fit {self.name!r}, which is continuous. "
                "Pass value= a finite number, in standard deviations, or an array with one per row."
            )
        return _one_per_row(wanted, len(own), self.name)


@dataclass(frozen=True, eq=False)
class Coupling:
    """One invertible layer: a rotation, then an affine coupling with one hidden layer of tanh units."""

    rotation: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    to_log_scale: np.ndarray
    to_shift: np.ndarray

    @classmethod
    def draw(cls, n_features: int, bend: float, rng: np.random.RandomState) -> Coupling:
        """Draw a layer; with `bend` 0 only the rotation is left."""
        n_read = n_features // 2
        size = (_N_HIDDEN, n_features - n_read)
        return cls(
            rotation=np.linalg.qr(rng.normal(size=(n_features, n_features)))[0],
            weights=rng.normal(size=(n_read, _N_HIDDEN)) / np.sqrt(n_read),
            bias=rng.normal(size=_N_HIDDEN),
            to_log_scale=_SLOPE * bend * rng.normal(size=size) / np.sqrt(_N_HIDDEN),
            to_shift=_SLOPE * bend * rng.normal(size=size) / np.sqrt(_N_HIDDEN),
        )

    def _scale_and_shift(self, read: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Say what the coordinates that are read do to the others: factors above 0, and summands."""
        hidden = np.tanh(read @ self.weights + self.bias)
        return np.exp(_LOG_SCALE * np.tanh(hidden @ self.to_log_scale)), hidden @ self.to_shift

    def forward(self, z: np.ndarray) -> np.ndarray:
        """Map factors towards features."""
        read, moved = np.split(z @ self.rotation, [len(self.weights)], axis=1)
        scale, shift = self._scale_and_shift(read)
        return np.hstack([read, moved * scale + shift])

    def inverse(self, x: np.ndarray) -> np.ndarray:
        """Undo `forward`."""
        read, moved = np.split(x, [len(self.weights)], axis=1)
        scale, shift = self._scale_and_shift(read)
        return np.hstack([read, (moved - shift) / scale]) @ self.rotation.T


class LatentTruth:
    """The known factors of generated rows, and the invertible map from factors to features.

    Made by :func:`make_biased_latents`, as the entry ``truth`` of what it returns. It can be pickled.

    Attributes
    ----------
    latent_names : list of str, of length n_features
        The factors in their order: the target, each sensitive attribute, then the residual ones.
    latents : ndarray of shape (n_samples, n_features)
        The factors of the generated rows.

    See Also
    --------
    make_biased_latents : Makes the rows that this class knows the truth about.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_fairlatent.datasets import make_biased_latents
    >>> bunch = make_biased_latents(200, 8, sensitive=("binary", "categorical"), random_state=0)
    >>> bunch.truth.latent_names[:4]
    ['target', 'group', 'category', 'residual_0']
    >>> X_cf = bunch.truth.counterfactual("category", "b")
    >>> own_b = (bunch.sensitive_features["category"] == "b").to_numpy()
    >>> bool(np.allclose(X_cf[own_b], bunch.data[own_b]))
    True
    """

    def __init__(
        self,
        factors: Sequence[Factor],
        values: Mapping[str, np.ndarray],
        scores: np.ndarray,
        layers: Sequence[Coupling],
    ) -> None:
        self._factors = {factor.name: factor for factor in factors}
        self._values = dict(values)
        self._scores = scores
        self._layers = tuple(layers)
        n_residual = scores.shape[1] - len(factors)
        self.latent_names = [*self._factors, *(f"residual_{i}" for i in range(n_residual))]
        # The residual factors are their own scores; there are no groups to place.
        self.latents = scores.copy()
        for j, factor in enumerate(factors):
            self.latents[:, j] = factor.locate(scores[:, j], self._values[factor.name])

    def counterfactual(self, attr: str | Iterable[str], value: Any = None) -> np.ndarray:
        """Return the generated rows as they would have been with another group or label.

        The rank that a row has within its own group becomes its rank within the other group; all other
        factors are held, the label among them when an attribute changes.

        Parameters
        ----------
        attr : str or iterable of str
            A column of ``sensitive_features``, or "target"; or several of them, changed together.
        value : scalar, array-like of shape (n_samples,), dict or None, default=None
            The wanted group, or number (in standard deviations) for what is continuous; one for all rows or
            one per row. For several attributes a dict from name to value. None, or a name that the dict
            lacks, means the other one of two groups, and is an error for everything else.

        Returns
        -------
        X_cf : ndarray of shape (n_samples, n_features)
            Row for row the counterfactuals of the generated ``data``, in its order and units.

        Raises
        ------
        ValueError
            If `attr` is unknown, or `value` is not a value of it, is missing, or has the wrong length.
        """
        latents = self.latents.copy()
        for name, wanted in self._requests(attr, value).items():
            j, factor = self.latent_names.index(name), self._factors[name]
            latents[:, j] = factor.locate(self._scores[:, j], factor.resolve(wanted, self._values[name]))
        return self.from_latent(latents)

    def from_latent(self, latents: ArrayLike) -> np.ndarray:
        """Map factors to features.

        Parameters
        ----------
        latents : array-like of shape (n_rows, n_features)
            Any factors, in the order of `latent_names`.

        Returns
        -------
        X : ndarray of shape (n_rows, n_features)
            The features.

        Raises
        ------
        ValueError
            If the number of columns is not n_features.
        """
        z = self._check_width(latents, "latents")
        for layer in self._layers:
            z = layer.forward(z)
        return z

    def to_latent(self, X: ArrayLike) -> np.ndarray:
        """Map features to factors: the inverse of `from_latent`, exact but for rounding.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Any rows, not only the generated ones: an estimated counterfactual shows here what it moved.

        Returns
        -------
        latents : ndarray of shape (n_rows, n_features)
            The factors, in the order of `latent_names`.

        Raises
        ------
        ValueError
            If the number of columns is not n_features.
        """
        z = self._check_width(X, "X")
        for layer in reversed(self._layers):
            z = layer.inverse(z)
        return z

    def _requests(self, attr: str | Iterable[str], value: Any) -> dict[str, Any]:
        """Bring both forms of the question into one: a value for each name."""
        names = list(attr) if isinstance(attr, Iterable) and not isinstance(attr, str) else [attr]
        for name in names:
            if name not in self._factors:
                raise ValueError(f"attr={name!r} is not known. Pass one or more of {list(self._factors)}.")
        if value is None:
            value = {}
        elif not isinstance(value, Mapping):
            if len(names) != 1:
                raise ValueError(
                    f"value={value!r} does not say which of attr={names} it is for. Pass a dict from name to value."
                )
            value = {names[0]: value}
        for name in value:
            if name not in names:
                raise ValueError(f"value has an entry {name!r}, which attr={names} lacks. Add it to attr.")
        return {name: value.get(name) for name in names}

    def _check_width(self, rows: ArrayLike, argument: str) -> np.ndarray:
        """Return the rows as float64 if they are a table of the right width."""
        table = np.asarray(rows, dtype=np.float64)
        if table.ndim != 2 or table.shape[1] != len(self.latent_names):
            raise ValueError(
                f"{argument} has shape {table.shape}. Pass an array of shape (n_rows, {len(self.latent_names)})."
            )
        return table


def _one_per_row(wanted: np.ndarray, n_samples: int, name: str) -> np.ndarray:
    """Repeat a scalar for every row, and refuse any other shape but one value per row."""
    if wanted.ndim == 0:
        return np.full(n_samples, wanted.item(), dtype=wanted.dtype)
    if wanted.shape != (n_samples,):
        raise ValueError(
            f"value has shape {wanted.shape} for {name!r}. Pass a scalar, or {n_samples} values, one per row."
        )
    return wanted
