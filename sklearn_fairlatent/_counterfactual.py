"""Moving a block of the latent: which way, how far, for one or several attributes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression, LogisticRegression

from ._attributes import Variable, as_values

# Quantiles at which two groups' distributions are matched.
RANKS = np.linspace(0, 1, 33)
# A group of this many rows is described half by its own quantiles and half by the pooled ones.
SHRINKAGE_ROWS = 50
# Neighbouring quantiles are kept this share of the block's standard deviation apart, which bounds the
# slope of the map between two groups and with it the rounding error of there-and-back.
MIN_GAP = 0.02


@dataclass(frozen=True, eq=False)
class BlockMap:
    """How the block of one variable moves between its values.

    For groups: every group's quantiles of the block, column by column. A row keeps its rank inside its
    group. For a continuous variable: the slope of the block on the value. A row keeps its residual.
    """

    variable: Variable
    quantiles: Any  # ndarray (n_groups, n_ranks, width)
    slope: np.ndarray | None  # (width,)
    readout: Any

    @classmethod
    def fit(cls, variable, block, codes):
        """Learn the map from latents ``block`` of shape (n, width) with known ``codes``."""
        known = ~np.isnan(codes)
        block, codes = block[known], codes[known]
        if variable.kind == "continuous":
            slope = LinearRegression().fit(codes[:, None], block).coef_[:, 0]
            return cls(variable, None, slope, LinearRegression().fit(block, codes))
        seen = np.unique(codes)
        readout = LogisticRegression(max_iter=1000).fit(block, codes) if len(seen) > 1 else None
        pooled = np.quantile(block - block.mean(0), RANKS, axis=0)
        gap = MIN_GAP * (block.std(0) + 1e-12)
        quantiles = np.empty((variable.n_groups, len(RANKS), block.shape[1]))
        for group in range(variable.n_groups):
            rows = block[codes == group]
            centre = rows.mean(0) if len(rows) else block.mean(0)
            own = np.quantile(rows - centre, RANKS, axis=0) if len(rows) else pooled
            share = len(rows) / (len(rows) + SHRINKAGE_ROWS)
            shape = share * own + (1 - share) * pooled
            steps = np.maximum(np.diff(shape, axis=0), gap)
            middle = len(RANKS) // 2
            ladder = np.concatenate([np.zeros((1, block.shape[1])), np.cumsum(steps, axis=0)])
            quantiles[group] = centre + shape[middle] + ladder - ladder[middle]
        return cls(variable, quantiles, None, readout)

    def read(self, block):
        """Codes that the latents themselves tell: the likeliest group, or the predicted number."""
        if self.readout is None:
            return np.zeros(len(block))
        return self.readout.predict(block)

    def move(self, block, own, wanted):
        """Latents ``block`` with every row moved from the code ``own`` to the code ``wanted``."""
        if self.slope is not None:
            return block + (wanted - own)[:, None] * self.slope
        moved = block.copy()
        for source in np.unique(own).astype(int):
            for goal in np.unique(wanted[own == source]).astype(int):
                rows = (own == source) & (wanted == goal)
                if source != goal:
                    for column in range(block.shape[1]):
                        moved[rows, column] = _match(
                            block[rows, column],
                            self.quantiles[source, :, column],
                            self.quantiles[goal, :, column],
                        )
        return moved


def _match(values, source, goal):
    """Piecewise-linear map that sends the knots ``source`` to ``goal``; slope 1 outside of them."""
    inside = np.interp(values, source, goal)
    return inside + np.minimum(values - source[0], 0) + np.maximum(values - source[-1], 0)


def wanted_codes(variable, value, own):
    """Code that every row is to have.

    Raises
    ------
    ValueError
        If ``value`` is needed and missing, has the wrong length, or is no known group.
    """
    if value is None:
        if variable.n_groups == 2:
            return 1.0 - own
        what = (
            f"has {variable.n_groups} groups {variable.categories.tolist()}"
            if variable.kind == "groups"
            else "is continuous"
        )
        raise ValueError(
            f"value=None: {variable.name!r} {what}, so there is no single other one. Pass value= the wanted "
            "value, or an array with one value per row."
        )
    values = np.asarray(value, dtype=object) if isinstance(value, str) else as_values(value)
    if values.ndim == 0:
        values = np.full(len(own), value, dtype=values.dtype)
    if values.shape != own.shape:
        raise ValueError(
            f"value has shape {values.shape}, X has {len(own)} rows. Pass one value, or an array with one per row."
        )
    if variable.kind == "continuous":
        numbers = np.asarray(pd.to_numeric(pd.Series(values).astype(object), errors="coerce"), dtype=np.float64)
        strange = values[~np.isfinite(numbers) & ~pd.isna(values)].tolist()
        if strange:
            raise ValueError(
                f"value={strange[0]!r}: {variable.name!r} is a quantity; expected finite numbers. Pass one, or an "
                "array with one per row."
            )
    codes = variable.encode(values, argument="value")
    if np.isnan(codes).any():
        raise ValueError(f"value holds missing values for {variable.name!r}. Pass a known value for every row.")
    return codes


def requested_moves(attr, value, names, target, without=()):
    """The variables to move and the value wanted for each, from the arguments of ``counterfactual``.

    ``without``: attributes that fit saw and that have no block.

    Returns
    -------
    dict of str to object
    """
    if isinstance(attr, str):
        attrs = [attr]
    elif isinstance(attr, (list, tuple)) and attr and all(isinstance(name, str) for name in attr):
        attrs = list(attr)
    else:
        raise TypeError(f"attr={attr!r}: expected a name or a list of names. Known names: {names}.")
    resolved = [target if name == "target" and target is not None else name for name in attrs]
    for name in resolved:
        if name in without:
            raise ValueError(
                f"attr={name!r} has no block: the columns that were fitted leave room only for those of {names}. Fit "
                "on more columns, or on fewer attributes."
            )
        if name not in names:
            raise ValueError(f"attr={name!r} is not known. Known names: {names}.")
    if len(set(resolved)) < len(resolved):
        raise ValueError(f"attr={attrs} names a variable twice. Name each once.")
    if len(attrs) == 1 and not isinstance(value, dict):
        return {resolved[0]: value}
    if value is not None and not isinstance(value, dict):
        raise TypeError(
            f"value={value!r}: with several attributes pass a dict, for example {dict.fromkeys(attrs, '...')}."
        )
    value = value or {}
    strangers = sorted(set(value) - set(attrs))
    if strangers:
        raise ValueError(f"value has keys {strangers} that are not in attr={attrs}. Drop them.")
    return {name: value.get(asked) for name, asked in zip(resolved, attrs, strict=True)}
