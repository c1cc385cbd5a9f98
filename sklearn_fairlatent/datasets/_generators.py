"""Generators of rows whose true counterfactuals are known."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch, check_random_state
from threadpoolctl import threadpool_limits

from ._truth import N_LAYERS, Coupling, Factor, LatentTruth

_COLUMN_OF_KIND = {"binary": "group", "categorical": "category", "continuous": "level"}
_TASKS = ("binary", "multiclass", "regression")
_MOST_GROUPS = len(string.ascii_lowercase)


def _check_number(argument: str, number: Any, kind: type, low: float, below: float = np.inf) -> None:
    """Refuse what is not a number of this kind in [low, below)."""
    if not isinstance(number, kind) or isinstance(number, bool) or not low <= number < below:
        noun = "an integer" if kind is Integral else "a number"
        raise ValueError(f"{argument}={number!r} does not fit. Pass {noun} in [{low}, {below}).")


# One thread: the last bits of a product of matrices depend on their number.
@threadpool_limits.wrap(limits=1)
def make_biased_latents(
    n_samples: int = 1000,
    n_features: int = 16,
    *,
    sensitive: str | Sequence[str] = ("binary",),
    task: str = "binary",
    n_groups: int = 3,
    n_classes: int = 3,
    correlation: float = 0.5,
    nonlinearity: float = 1.0,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Generate rows with a label tied to sensitive attributes, and know each row's true counterfactual.

    Every row has one factor for the label, one for each attribute, and residual factors that are standard
    normal noise. A group has its own place, spread and skewness on its factor (a sinh-arcsinh curve [1]_,
    increasing in the rank that the row has within the group); for a continuous attribute or label the curve
    changes smoothly with its value. Rotations and affine couplings [2]_ with fixed random weights mix the
    factors into features, invertibly. The counterfactual of a row holds its rank and all of its other factors
    and changes the group, as in [3]_.

    Label and attributes are tied through correlated normal scores (a Gaussian copula): the label's score c,
    the scores ``correlation * c + sqrt(1 - correlation**2) * noise`` of the attributes, cut at quantiles into
    equally frequent groups. Given the label's score, the attributes are independent of each other.

    Shifting rows by the difference of the groups' means misses the truth, for three reasons: the means differ
    by the label too, single rows move unequally far, and they move in different directions. With the defaults
    it misses by 0.56 to 0.81 of the true step (ten seeds).

    Parameters
    ----------
    n_samples : int, default=1000
        Number of rows, at least 1.
    n_features : int, default=16
        Number of features and of factors, at least one more than there are attributes.
    sensitive : str or sequence of str, default=("binary",)
        The kind of each attribute: "binary" (column "group" with the values 0 and 1), "categorical" (column
        "category" with `n_groups` values "a", "b", ...) or "continuous" (column "level", standard normal).
        Columns of a repeated kind get a number: "group", "group_2".
    task : {"binary", "multiclass", "regression"}, default="binary"
        The kind of label: 0 and 1; 0 to ``n_classes - 1``; or a standard normal number.
    n_groups : int, default=3
        Number of groups of a categorical attribute, from 2 to 26.
    n_classes : int, default=3
        Number of classes for ``task="multiclass"``, at least 2.
    correlation : float, default=0.5
        Correlation of the normal scores of label and attribute, in [0, 1). For two groups and two classes the
        Pearson correlation of the codes is ``2 / pi * arcsin(correlation)``: 0.33 at the default.
    nonlinearity : float, default=1.0
        How strongly the couplings bend, at least 0. With 0 the features are a rotation of the factors, and
        only the groups' curves are not linear.
    random_state : int, RandomState instance or None, default=None
        Seed of the map and of the rows. One seed gives one map, whatever `n_samples` is.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        With the entries

        - ``data`` : ndarray of shape (n_samples, n_features), the features, float64.
        - ``target`` : ndarray of shape (n_samples,), the label, int64 or (regression) float64.
        - ``sensitive_features`` : DataFrame of shape (n_samples, n_attributes).
        - ``latents`` : DataFrame of shape (n_samples, n_features), the factors: "target", the attributes by
          name, "residual_0", ...
        - ``truth`` : :class:`LatentTruth`, with ``truth.counterfactual(attr, value=None)``.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    See Also
    --------
    LatentTruth : The known map, and what it answers.
    load_adult : A real table.

    References
    ----------
    .. [1] M. C. Jones and A. Pewsey, "Sinh-arcsinh distributions", Biometrika 96(4), 2009.
    .. [2] L. Dinh, J. Sohl-Dickstein and S. Bengio, "Density estimation using Real NVP", International
       Conference on Learning Representations, 2017, equations 4 and 5.
    .. [3] D. Plecko and N. Meinshausen, "Fair data adaptation with quantile preservation", Journal of Machine
       Learning Research 21(242), 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_fairlatent.datasets import make_biased_latents
    >>> bunch = make_biased_latents(500, random_state=0)
    >>> X, s = bunch.data, bunch.sensitive_features["group"].to_numpy()
    >>> X_cf = bunch.truth.counterfactual("group")

    A shift by the group means is far from the truth:

    >>> X_shift = X + np.where(s == 0, 1, -1)[:, None] * (X[s == 1].mean(axis=0) - X[s == 0].mean(axis=0))
    >>> missed, step = (np.linalg.norm(rows, axis=1).mean() for rows in (X_shift - X_cf, X_cf - X))
    >>> bool(missed / step > 0.4)
    True
    """
    kinds = (sensitive,) if isinstance(sensitive, str) else tuple(sensitive)
    unknown = [kind for kind in kinds if kind not in _COLUMN_OF_KIND]
    if unknown or not kinds:
        raise ValueError(
            f"sensitive={sensitive!r} does not fit. "
            f"Pass one or more of {list(_COLUMN_OF_KIND)}, such as ('binary', 'continuous')."
        )
    if task not in _TASKS:
        raise ValueError(f"task={task!r} is not known. Pass one of {list(_TASKS)}.")
    _check_number("n_samples", n_samples, Integral, 1)
    _check_number("n_features", n_features, Integral, 1 + len(kinds))
    _check_number("n_groups", n_groups, Integral, 2, _MOST_GROUPS + 1)
    _check_number("n_classes", n_classes, Integral, 2)
    _check_number("correlation", correlation, Real, 0, 1)
    _check_number("nonlinearity", nonlinearity, Real, 0)
    rng = check_random_state(random_state)

    target_values = {"binary": (0, 1), "multiclass": tuple(range(n_classes)), "regression": None}[task]
    letters = tuple(string.ascii_lowercase[:n_groups])
    group_values = {"binary": (0, 1), "categorical": letters, "continuous": None}
    factors = [Factor("target", target_values)]
    seen: Counter[str] = Counter()
    for kind in kinds:
        column = _COLUMN_OF_KIND[kind]
        seen[column] += 1
        name = column if seen[column] == 1 else f"{column}_{seen[column]}"
        factors.append(Factor(name, group_values[kind]))

    # The map is drawn before the rows, so that one seed is one map at every n_samples.
    layers = [Coupling.draw(n_features, nonlinearity, rng) for _ in range(N_LAYERS)]
    ties = rng.normal(size=(n_samples, len(factors)))
    ties[:, 1:] = correlation * ties[:, :1] + np.sqrt(1 - correlation**2) * ties[:, 1:]
    values = {factor.name: factor.draw(ties[:, j]) for j, factor in enumerate(factors)}
    truth = LatentTruth(factors, values, rng.normal(size=(n_samples, n_features)), layers)

    # Copies throughout: what a user does to the bunch must not change the truth.
    attributes = {name: pd.Series(own.copy(), dtype=own.dtype) for name, own in values.items() if name != "target"}
    return Bunch(
        data=truth.from_latent(truth.latents),
        target=values["target"].copy(),
        sensitive_features=pd.DataFrame(attributes),
        latents=pd.DataFrame(truth.latents.copy(), columns=truth.latent_names),
        truth=truth,
    )
