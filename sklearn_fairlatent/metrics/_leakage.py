"""How well a sensitive attribute can be read from a representation: the strongest probe and its interval."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.utils import check_array, check_random_state
from sklearn.utils.parallel import Parallel, delayed

from .._exceptions import SmallGroupWarning
from .._groups import is_continuous, none_where_missing, read_columns, with_intersection
from ._probing import TooFewRowsError, panel, problems_of, read

# Draws for the quantile of the largest of several correlated normal values: its standard error is below 0.02.
N_DRAWS = 20_000
# Of an AUC under independence, in standard errors: a fold's probes come from other folds, whose accidents they share.
SKEWNESS = 0.35


@dataclass(frozen=True)
class Leakage:
    """What the probes read of one attribute.

    Attributes
    ----------
    attribute : str
        Its name; for an intersection the names joined by " & ".
    measure : {"AUC", "R2"}
        ROC AUC in [0, 1] of one group against the rest, or, for a continuous attribute, R2, at most 1.
    score : float
        That of the strongest probe, cross-validated; the highest over groups and over the labels of ``within``.
    interval : tuple of float
        Confidence interval of the strongest probe's true score, corrected for taking the strongest.
    chance : float
        The score of an attribute that cannot be read: 0.5 for "AUC", 0 for "R2".
    shuffled : float
        The score of the same panel with the attribute shuffled, the highest of all shuffles: what chance alone gives.
        NaN without a shuffle.
    probe : str
        The strongest.
    group : object
        The group that it reads best; None for a continuous attribute.
    within : object
        The label within which it reads best; None unless ``within`` was given.
    by_probe : dict of str to float
        The highest score of every probe.
    by_group : dict of object to float
        The highest score for every group, one against the rest; both groups of two have the same.
    left_out : tuple
        Groups with too few rows to be read.
    n_samples : int
        Rows that were read: their attribute is known, and their group is not left out.

    Examples
    --------
    >>> from sklearn_fairlatent.metrics import Leakage
    >>> leak = Leakage("sex", "AUC", 0.56, (0.52, 0.6), 0.5, 0.51, "boosting", "f", None, {}, {}, (), 900)
    >>> leak.found
    True
    """

    attribute: str
    measure: str
    score: float
    interval: tuple[float, float]
    chance: float
    shuffled: float
    probe: str
    group: Any
    within: Any
    by_probe: dict[str, float]
    by_group: dict[Any, float]
    left_out: tuple
    n_samples: int

    @property
    def found(self):
        """Whether the interval lies above chance."""
        return self.interval[0] > self.chance


class LeakageReport(dict):
    """Name of the attribute to :class:`Leakage`; what :func:`leakage_score` returns.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_fairlatent.datasets import make_biased_latents
    >>> from sklearn_fairlatent.metrics import leakage_score
    >>> data = make_biased_latents(300, random_state=0)
    >>> report = leakage_score(
    ...     data.data, data.sensitive_features, probes={"linear": LogisticRegression()}, random_state=0
    ... )
    >>> report.strongest.attribute, report.to_frame().loc["group", "probe"]
    ('group', 'linear')
    """

    def __repr__(self):
        lines = [
            f"{name}: {leak.measure} {leak.score:.3f} [{leak.interval[0]:.3f}, {leak.interval[1]:.3f}] by {leak.probe}"
            f", shuffled {leak.shuffled:.3f}"
            for name, leak in self.items()
        ]
        return "\n".join(["LeakageReport", *lines])

    @property
    def strongest(self):
        """The :class:`Leakage` furthest above chance, as a share of the way from chance to a perfect reading."""
        return max(self.values(), key=lambda leak: (leak.score - leak.chance) / (1 - leak.chance))

    def to_frame(self):
        """One row per attribute.

        Returns
        -------
        DataFrame of shape (n_attributes, 10)
        """
        rows = {
            name: {
                "measure": leak.measure,
                "score": leak.score,
                "low": leak.interval[0],
                "high": leak.interval[1],
                "chance": leak.chance,
                "shuffled": leak.shuffled,
                "probe": leak.probe,
                "group": leak.group,
                "within": leak.within,
                "n_samples": leak.n_samples,
            }
            for name, leak in self.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("attribute")


def leakage_score(
    Z,
    sensitive_features,
    *,
    probes: Any = "default",
    cv: Any = 7,
    within=None,
    groups=None,
    continuous_features=None,
    n_shuffles=1,
    confidence_level=0.95,
    random_state=None,
    n_jobs=None,
):
    """How well the sensitive attributes can be read from a representation, by the strongest of several probes.

    Every probe is cross-validated on ``Z``. Pass rows that the representation was not fitted on: on its training rows
    overfitting hides what leaks.

    Parameters
    ----------
    Z : array-like of shape (n_samples, n_columns)
        Held-out rows of the representation.
    sensitive_features : Series, DataFrame or array-like of shape (n_samples,) or (n_samples, n_attributes)
        Rows with a missing value do not count for that attribute.
    probes : "default" or dict of str to estimator, default="default"
        Classifiers with ``predict_proba`` (regressors for continuous attributes). "default": a linear model, a network
        with two hidden layers, and boosted trees.
    cv : int or splitter, default=7
        Number of folds, at least 3, stratified on the attribute and shuffled; or a splitter, whose test folds are used.
        The probes for a fold are trained on the half of the other folds that follow it in a circle (three of seven).
    within : array-like of shape (n_samples,), default=None
        Labels. The attribute is then read among rows of one label, as equalized odds asks, and the highest counts.
    groups : array-like of shape (n_samples,), default=None
        Rows of one group (a person measured several times) stay in one fold and count as one in the interval.
    continuous_features : list of str, default=None
        Attributes that are quantities. Numbers that are not whole, or more than 20 different whole ones, are anyway.
    n_shuffles : int, default=1
        Negative controls: how often the attribute is shuffled and read again. 0 halves the time and tells less.
    confidence_level : float, default=0.95
        In (0, 1).
    random_state : int, RandomState instance or None, default=None
        Seed of folds, probes and shuffles. An integer gives the same bits for any ``n_jobs``.
    n_jobs : int, default=None
        Jobs of joblib; probes, attributes and shuffles run side by side.

    Returns
    -------
    report : LeakageReport
        A dict of :class:`Leakage` by attribute and, with several attributes that have groups, their intersection if
        two of its groups are large enough.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit, or an attribute has one group only.

    Warns
    -----
    SmallGroupWarning
        If a group has fewer than four rows a fold and is left out, or the intersection has no two other groups.

    Notes
    -----
    AUCs are means over the folds, each of rows scored by one model, so that independence gives 0.5 on average whatever
    the probe. Their covariance is DeLong's [1]_, over groups of rows if there are any [2]_. The interval is
    ``[max(AUC - c se), max(AUC + u se)]`` over all comparisons (probes, groups, labels). ``u`` is the quantile of one
    normal value, 1.96 for 95 %; ``c`` is at least ``u``, and such that the interval misses with the wanted probability
    where all comparisons are equally good, under independence above all. Where one is better than all others it misses
    no more often. With more comparisons than probes (many groups, labels) ``c`` is corrected for skewness. Measured by
    `benchmarks/calibration.py` for two groups; with ``groups`` of fewer than some hundred persons it misses more often.
    The interval tells the noise of these rows, not how much better a probe with more rows, or another probe, would
    read.

    References
    ----------
    .. [1] DeLong, DeLong, Clarke-Pearson (1988), "Comparing the areas under two or more correlated receiver operating
       characteristic curves", Biometrics 44, eq. 4-6.
    .. [2] Obuchowski (1997), "Nonparametric analysis of clustered ROC curve data", Biometrics 53, section 2.

    Examples
    --------
    >>> from sklearn_fairlatent.datasets import make_biased_latents
    >>> from sklearn_fairlatent.metrics import leakage_score
    >>> data = make_biased_latents(600, random_state=0)
    >>> report = leakage_score(data.data, data.sensitive_features, random_state=0)
    >>> report["group"].found
    True
    """
    index = getattr(Z, "index", None)
    try:
        Z = check_array(Z, input_name="Z", dtype=[np.float64, np.float32])
    except ValueError as error:
        if "could not convert" not in str(error):
            raise
        raise ValueError(
            f"Z holds words ({error}); probes read numbers. Encode it first: TabularCodec().fit_transform(Z)."
        ) from None
    _check_arguments(n_shuffles, confidence_level)
    columns, derived = _read_attributes(sensitive_features, len(Z), continuous_features, index)
    within, groups = (_read_per_row(name, values, len(Z)) for name, values in (("within", within), ("groups", groups)))
    rng = check_random_state(random_state)
    seed = int(rng.randint(np.iinfo(np.int32).max))

    problems = {}
    for name, (values, continuous) in columns.items():
        try:
            problems[name] = problems_of(name, values, continuous, within, groups, cv, seed)
        except TooFewRowsError as error:
            if name not in derived:
                raise
            message = f"The intersection of the attributes is not probed: {error}"
            warnings.warn(message, SmallGroupWarning, stacklevel=2)
    shuffled = {
        name: [part.shuffled(np.random.RandomState([seed, k])) for k in range(n_shuffles) for part in parts]
        for name, parts in problems.items()
    }
    tasks = [
        (part, name, probe)
        for parts in (*problems.values(), *shuffled.values())
        for part in parts
        for name, probe in panel(probes, part).items()
    ]
    done = Parallel(n_jobs=n_jobs)(delayed(read)(Z, part, probe, seed) for part, _, probe in tasks)
    for (part, name, _), found in zip(tasks, done, strict=True):
        part.scores[name] = found
    return LeakageReport({
        name: _summary(name, parts, shuffled[name], confidence_level) for name, parts in problems.items()
    })  # fmt: skip


def _check_arguments(n_shuffles, confidence_level):
    if isinstance(n_shuffles, bool) or not isinstance(n_shuffles, (int, np.integer)) or n_shuffles < 0:
        raise ValueError(f"n_shuffles={n_shuffles!r}: expected an integer >= 0.")
    if not 0 < confidence_level < 1:
        raise ValueError(f"confidence_level={confidence_level!r}: expected a number in (0, 1), such as 0.95.")


def _read_attributes(sensitive_features, n_samples, continuous_features, index):
    """Values and kind by attribute, the intersection of those with groups included; and the name of that one."""
    columns = read_columns(sensitive_features, n_samples, index)
    declared = [] if continuous_features is None else list(continuous_features)
    strangers = sorted(set(declared) - set(columns))
    if strangers:
        raise ValueError(f"continuous_features names {strangers}, which sensitive_features has not: {list(columns)}.")
    found, grouped = {}, {}
    for name, values in columns.items():
        if name in declared or is_continuous(values):
            numbers = pd.to_numeric(pd.Series(values), errors="coerce").to_numpy(dtype=np.float64)
            if (np.isnan(numbers) & ~pd.isna(values)).any():
                raise ValueError(f"{name!r} is declared continuous but holds values that are not numbers.")
            found[name] = (numbers, True)
        else:
            grouped[name] = none_where_missing(values)
            found[name] = (grouped[name], False)
    crossed = with_intersection(pd.DataFrame(grouped, dtype=object))
    derived = list(crossed.columns[len(grouped) :])
    for name in derived:
        found[name] = (crossed[name].to_numpy(), False)
    return found, derived


def _read_per_row(name, values, n_samples):
    if values is None:
        return None
    values = none_where_missing(values)
    if values.shape != (n_samples,):
        raise ValueError(f"{name} has shape {values.shape}, Z has {n_samples} rows. Pass one value per row.")
    if pd.isna(values).any():
        raise ValueError(f"{name} has missing values. Leave these rows out.")
    return values if name == "within" else pd.factorize(values)[0]


def _summary(name, parts, shuffled, confidence_level):
    """The strongest of all probes, groups and labels, with its interval."""
    keys, scores, errors, correlation = [], [], [], []
    for part in parts:
        shown = range(1, len(part.names)) if len(part.names) == 2 else range(max(1, len(part.names)))
        influence = []
        for probe, (found, moved) in part.scores.items():
            for column in shown:
                if not np.isnan(found[column]):
                    # Both groups of two have the same AUC.
                    alike = part.names if len(part.names) == 2 else part.names[column : column + 1]
                    keys.append((probe, alike, part.names[column] if part.names else None, part.label))
                    scores.append(found[column])
                    influence.append(moved[:, column])
        if not influence:
            raise ValueError(
                f"{name!r}: no fold had enough rows of two groups to judge a probe. Pass more rows, or fewer folds."
            )
        influence = np.column_stack(influence)
        if part.clusters is not None:
            member = np.unique(part.clusters, return_inverse=True)[1]
            influence = np.array([np.bincount(member, column) for column in influence.T]).T
            # Two means a fold are taken of the persons, who are few where rows are many.
            n_persons = len(influence)
            influence *= np.sqrt(n_persons / max(1, n_persons - 2 * len(part.folds)))
        errors.append(np.sqrt((influence**2).sum(axis=0)))
        correlation.append(influence / np.where(errors[-1] > 0, errors[-1], 1))
    scores, errors = np.array(scores), np.concatenate(errors)
    # Both groups of two have one AUC, whose skewness matters little so near the middle of its distribution.
    n_probes = sum(len(part.scores) for part in parts)
    c, u = _critical_values(correlation, confidence_level, SKEWNESS if len(scores) > n_probes else 0.0)
    low, high = (scores - c * errors).max(), (scores + u * errors).max()
    best = int(scores.argmax())
    continuous = parts[0].continuous
    bounds = (-np.inf, 1.0) if continuous else (0.0, 1.0)
    by_probe, by_group = {}, {}
    for (probe, alike, _, _), score in zip(keys, scores, strict=True):
        by_probe[probe] = max(by_probe.get(probe, -np.inf), float(score))
        for group in alike:
            by_group[group] = max(by_group.get(group, -np.inf), float(score))
    return Leakage(
        attribute=name,
        measure="R2" if continuous else "AUC",
        score=float(scores[best]),
        interval=(float(np.clip(low, *bounds)), float(np.clip(high, *bounds))),
        chance=0.0 if continuous else 0.5,
        shuffled=max((float(np.nanmax(found)) for part in shuffled for found, _ in part.scores.values()),
                     default=float("nan")),
        probe=keys[best][0],
        group=keys[best][2],
        within=keys[best][3],
        by_probe=by_probe,
        by_group=by_group,
        left_out=parts[0].left_out,
        n_samples=sum(len(part.rows) for part in parts),
    )  # fmt: skip


def _critical_values(standardised, confidence_level, skewness=0.0):
    """Standard errors below and above; ``z`` has the correlations of the columns, blocks are independent.

    ``z`` is normal but for its ``skewness``: the first term of Cornish and Fisher's expansion corrects for it.
    """
    rng = np.random.RandomState(0)
    highest = np.full(N_DRAWS, -np.inf)
    for columns in standardised:
        values, vectors = np.linalg.eigh(columns.T @ columns)
        root = vectors * np.sqrt(values.clip(min=0))
        highest = np.maximum(highest, (rng.standard_normal((N_DRAWS, len(values))) @ root.T).max(axis=1))
    upper = float(norm.ppf((1 + confidence_level) / 2))
    # The lower end misses as often as the upper one leaves room for.
    lower = float(np.quantile(highest, min(1.0, confidence_level + (highest < -upper).mean())))
    lower = max(upper, lower)
    return lower + skewness * (lower**2 - 1) / 6, upper
