"""fairness_report: what held-out rows tell of a model, in one object, one page and one table."""

import re
import sys
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._attributes import read_sensitive_features
from .._groups import group_sizes, read_groups
from .._pipelines import best_of, fair_step, through
from ._drawing import listed
from ._findings import FairnessReport
from ._measuring import compare_groups, noted, predict, probe, read_classes, score_model
from ._measuring_latent import TABLES_ONLY, certificate_of, counterfactual_table, known_attributes, round_trip
from ._pictures import draw
from ._summary import summarise

MODEL, BASELINE = "model", "baseline"
PACKAGES = ("scikit-learn", "fairlearn", "torch", "numpy", "pandas")
FLAGS = ("trained_without_sensitive_", "label_lost_", "penalty_ineffective_", "improved_on_start_")
LONGEST_REPR = 400


def fairness_report(
    estimator,
    X,
    y,
    *,
    sensitive_features,
    baseline=None,
    pos_label=None,
    bins=None,
    counterfactual_rows=3,
    min_group_size=5,
    random_state=None,
    title=None,
    date=None,
    n_jobs=None,
):
    """Measure a fitted model on held-out rows: accuracy, differences between groups, leakage, counterfactuals.

    Parameters
    ----------
    estimator : FairLatentTransformer, Pipeline or classifier
        Fitted. A transformer on its own is judged by a logistic regression on what it hands on, cross-validated within
        these rows. Without a FairLatentTransformer the parts about the latent are left out. Of a search its
        ``best_estimator_`` is taken.
    X : array-like or frame of shape (n_samples, n_features)
        HELD-OUT rows, which took no part in any fit. The report cannot check that; on training rows leakage is hidden.
    y : array-like of shape (n_samples,)
        Their labels, classes.
    sensitive_features : Series, DataFrame or array-like of shape (n_samples,) or (n_samples, n_attributes)
        Their attributes. Those that ``fit`` saw should bear the names that they had there.
    baseline : estimator, default=None
        Another fitted one that takes the same rows, whose accuracy and disparities stand beside.
    pos_label : object, default=None
        The favourable label; all others count as one. None: 1 of {0, 1}, {-1, 1} or booleans.
    bins : dict of str to list of float, default=None
        Edges at which continuous attributes are cut into groups.
    counterfactual_rows : int, default=3
        How many rows are shown with their counterfactuals for each attribute. They are REAL rows: pass 0 for a page to
        be shared.
    min_group_size : int, default=5
        Smaller groups are left out of differences.
    random_state : int, RandomState instance or None, default=None
        Seed of folds, probes and the choice of rows.
    title : str, default=None
    date : datetime or str, default=None
        None: now, in UTC. With the same date and seed the page has the same bytes.
    n_jobs : int, default=None
        Jobs of joblib, for the probes, which take most of the time.

    Returns
    -------
    report : FairnessReport
        With ``to_html``, ``to_dict``, ``to_json`` and ``to_frame``.

    Raises
    ------
    ValueError, TypeError
        If y is no label of two classes or more, the favourable one is not told, an attribute has fewer than two groups
        of ``min_group_size`` rows or is continuous without ``bins``, or the estimator does not fit.

    See Also
    --------
    LeakageDisplay, LatentDisplay, TrainingDisplay : The pictures of the page.

    Notes
    -----
    A measurement on some rows is no guarantee, statistical or legal. Groups too small to compare, and what could not be
    measured, stand in ``notes`` instead of warnings.

    Of pictures and of generators neither the way back nor counterfactual rows are told.

    With a transformer of finitely many codes (``n_codes``) the summary holds a certificate, see
    :func:`~sklearn_fairlatent.certification.certify`, or the notes say why there is none.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_fairlatent.datasets import make_biased_latents
    >>> from sklearn_fairlatent.inspection import fairness_report
    >>> data = make_biased_latents(400, random_state=0)
    >>> X, y, A = data.data, data.target, data.sensitive_features
    >>> model = LogisticRegression().fit(X[:200], y[:200])
    >>> report = fairness_report(model, X[200:], y[200:], sensitive_features=A[200:], random_state=0)
    >>> bool(report.disparities.loc[("model", "group"), "demographic_parity_difference"] > 0.1)
    True
    >>> report.to_html().startswith("<!doctype html>")
    True
    """
    estimator = best_of(estimator)
    fair, steps = fair_step(estimator, "fairness_report", required=False)
    for model in (estimator, fair, baseline):
        if isinstance(model, BaseEstimator):
            check_is_fitted(model)
    _check_count("counterfactual_rows", counterfactual_rows, 0)
    _check_count("min_group_size", min_group_size, 1)
    name, y = getattr(y, "name", None), read_classes(y)
    seed = random_state
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        seed = int(check_random_state(seed).randint(np.iinfo(np.int32).max))
    index, notes = getattr(X, "index", None), []
    attributes = read_sensitive_features(sensitive_features, len(y), index)
    groups = read_groups(sensitive_features, len(y), index=index, bins=bins)

    models = {MODEL: estimator} if baseline is None else {MODEL: estimator, BASELINE: baseline}
    scores, disparities, tables, stand_in = {}, {}, {}, {}
    with noted(notes):
        for key, model in models.items():
            predictions = predict(model, X, y, pos_label, seed)
            scores[key], stand_in[key] = score_model(predictions), predictions.stand_in
            disparities[key], tables[key] = compare_groups(predictions, groups, min_group_size, seed)
    about = {
        "rows": len(y),
        "columns": int(np.prod(np.shape(X)[1:])),
        "label": name if isinstance(name, str) and name else "label",
        "favourable_label": 1 if pos_label is None else pos_label,
        "labels": {str(label): int(count) for label, count in pd.Series(y).value_counts().items()},
        "attributes": {key: {str(group): int(size) for group, size in group_sizes(groups[key].dropna())[::-1].items()}
                       for key in groups},
        "rows_without_a_value": {key: int(groups[key].isna().sum()) for key in groups},
        "model": _describe(estimator),
        "baseline": None if baseline is None else _describe(baseline),
        "stand_in": stand_in,
        "min_group_size": int(min_group_size),
        "random_state": int(seed),
        "versions": _versions(),
    }  # fmt: skip
    report = FairnessReport(
        title=title or f"Fairness report: {about['label']} by {listed(groups)}",
        date=_date(date),
        about=about,
        scores=pd.DataFrame.from_dict(scores, orient="index").rename_axis("model"),
        disparities=pd.concat(disparities, names=["model"]),
        groups=pd.concat(tables, names=["model"]),
        notes=notes,
    )
    if fair is not None:
        rows = through(steps, X)
        known = known_attributes(fair, attributes, notes)
        # An attribute without a column of its own, where X has few, cannot be moved.
        known = {key: own for key, own in known.items() if fair.latent_layout_.width(key)}
        with noted(notes):
            leakage = _leakage(fair, rows, groups, seed, n_jobs, notes)
        report.latent = _latent(fair, rows, list(groups), notes)
        report.latent["certificate"] = certificate_of(fair, rows, y, groups, min_group_size, notes)
        report.training = pd.DataFrame(fair.history_).drop(columns="dur", errors="ignore")
        if leakage is not None:
            tables = {stage: found.to_frame() for stage, found in leakage.items()}
            report.leakage = pd.concat(tables, names=["stage"])
        report.counterfactuals = _counterfactuals(report, estimator, fair, steps, X, known, counterfactual_rows, seed)
        report.pictures = draw(fair, rows, y, known, leakage, seed, notes)
    report.summary = summarise(report)
    return report


def _leakage(fair, rows, groups, seed, n_jobs, notes):
    """Reports by stage, or None if nothing could be probed."""
    encoded = np.asarray(fair.encoding_.encode(fair._read_rows(rows, reset=False)[0]))
    before, after = probe([encoded, np.asarray(fair.transform(rows))], groups, seed, n_jobs, notes)
    return {"before": before, "after": after} if before else None


def _latent(fair, rows, audited, notes):
    layout = fair.latent_layout_
    names = ["target" if layout.target is None else layout.target, *layout.sensitive, "residual"]
    return {
        "layout": repr(layout),
        "blocks": dict(zip(names, map(int, layout.widths), strict=True)),
        "handed_on": layout.handed_on.tolist(),
        "protected": list(layout.sensitive),
        "not_protected": [name for name in audited if name not in layout.sensitive],
        "constraints": fair.constraints,
        "fairness_strength": float(fair.fairness_strength),
        "n_iter": int(fair.n_iter_),
        "flags": {name: bool(getattr(fair, name)) for name in FLAGS},
        "round_trip": round_trip(fair, rows, notes),
    }


def _counterfactuals(report, estimator, fair, steps, X, known, n_rows, seed):
    if not n_rows or not known:
        return None
    no_inverse = [type(step).__name__ for _, step in steps if not hasattr(step, "inverse_transform")]
    if no_inverse or not fair.encoding_.can_decode:
        missing = no_inverse or [type(fair.encoding_.encoder).__name__]
        report.notes.append(f"No counterfactuals: {', '.join(missing)} has no way back to the columns of X.")
        return None
    if len(np.shape(X)) != 2 or report.latent["round_trip"] is None:
        report.notes.append(f"No counterfactuals: {TABLES_ONLY}")
        return None
    return pd.concat([
        counterfactual_table(estimator, fair, X, name, own, n_rows, seed) for name, own in known.items()
    ], ignore_index=True)  # fmt: skip


def _check_count(name, value, least):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name}={value!r}: expected an integer >= {least}.")


def _describe(estimator):
    # An address in memory would make every page different.
    text = re.sub(r" at 0x[0-9a-f]+", "", " ".join(repr(estimator).split()))
    return text if len(text) <= LONGEST_REPR else f"{text[: LONGEST_REPR - 1]}\u2026"


def _versions():
    from .. import __version__

    return {"sklearn_fairlatent": __version__, **{name: version(name) for name in PACKAGES},
            "Python": ".".join(map(str, sys.version_info[:3]))}  # fmt: skip


def _date(date):
    if isinstance(date, str):
        return date
    date = datetime.now(UTC) if date is None else date
    if date.tzinfo is not None:
        date = date.astimezone(UTC)
    return date.strftime("%Y-%m-%d %H:%M UTC")
