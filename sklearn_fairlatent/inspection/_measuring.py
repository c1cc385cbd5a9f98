"""What a fairness report measures of any model: predictions, differences between groups, and what can be read."""

import contextlib
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import type_of_target

from .._attributes import as_values
from .._exceptions import SmallGroupWarning
from .._groups import binary_labels, crossed, group_sizes, with_intersection
from ..metrics import (
    LeakageReport,
    bias_amplification,
    disparity_table,
    group_table,
    leakage_score,
    score_distribution_gap,
    worst_group_score,
)
from ..metrics._probing import ROWS_A_FOLD

# Shuffles of the groups whose largest differences tell what chance alone gives.
N_SHUFFLES = 10_000
# Folds of the model that stands in where nothing predicts.
STAND_IN_FOLDS = 3
# `leakage_score` leaves out smaller groups.
PROBE_FOLDS = 7
LEAST_PROBED = ROWS_A_FOLD * PROBE_FOLDS
# On 5,000 rows an interval is about 0.03 wide. More rows narrow it slowly and take minutes to probe.
PROBE_ROWS = 5_000
PROBES: Any = "default"


@contextlib.contextmanager
def noted(notes):
    """Collect what is said of small groups in ``notes``; every other warning goes on."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SmallGroupWarning)
        yield
    for warning in caught:
        if not issubclass(warning.category, SmallGroupWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
            continue
        text = str(warning.message)
        if text not in notes:
            notes.append(text)


# ---------------------------------------------------------------- predictions


@dataclass(frozen=True)
class Predictions:
    """Labels and predictions as 0 and 1, and a score of the favourable label or None."""

    y_true: np.ndarray
    y_pred: np.ndarray
    score: np.ndarray | None
    stand_in: bool


def read_classes(y):
    """The labels as an array of at least two classes."""
    y = column_or_1d(as_values(y))
    if y.dtype == object:
        y = np.asarray(pd.Series(y).infer_objects())
    if pd.isna(y).any():
        raise ValueError("y contains missing values. Drop these rows before.")
    if type_of_target(y, input_name="y").startswith("continuous"):
        raise ValueError("y holds numbers that are not whole; a fairness report takes classes. Cut y at a threshold.")
    classes = pd.unique(y).tolist()
    if len(classes) < 2:
        raise ValueError(f"y has a single class {classes} in these rows. Pass rows of both labels.")
    return y


def predict(estimator, X, y, pos_label, seed):
    """Predictions of an estimator, or of a logistic regression on what a transformer hands on.

    Parameters
    ----------
    estimator : fitted estimator with ``predict`` or ``transform``
    X, y, pos_label
        As in :func:`fairness_report`.
    seed : int

    Returns
    -------
    Predictions
    """
    favourable = 1 if pos_label is None else pos_label
    if hasattr(estimator, "predict"):
        y_pred = estimator.predict(X)
        return Predictions(*binary_labels(y, y_pred, pos_label), _scores(estimator, X, favourable), False)
    if not hasattr(estimator, "transform"):
        raise TypeError(
            f"estimator is a {type(estimator).__name__}, which neither predicts nor transforms. Pass a fitted "
            "classifier, FairLatentTransformer or Pipeline."
        )
    y_true = binary_labels(y, y, pos_label)[0]
    if min(np.bincount(y_true, minlength=2)) < STAND_IN_FOLDS:
        raise ValueError(f"y has a class with fewer than {STAND_IN_FOLDS} rows. Pass more rows.")
    Z = check_array(estimator.transform(X), input_name="what transform returns")
    folds = StratifiedKFold(STAND_IN_FOLDS, shuffle=True, random_state=seed)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    score = cross_val_predict(model, Z, y_true, cv=folds, method="predict_proba")[:, 1]
    return Predictions(y_true, (score > 0.5).astype(int), score, True)


def _scores(estimator, X, favourable):
    """Scores of the favourable label; None where the estimator has none."""
    classes = np.asarray(getattr(estimator, "classes_", [])).tolist()
    if favourable not in classes:
        return None
    for method in ("predict_proba", "decision_function"):
        if hasattr(estimator, method):
            scores = np.asarray(getattr(estimator, method)(X), dtype=np.float64)
            if scores.ndim == 2:
                return scores[:, classes.index(favourable)]
            return scores if classes[-1] == favourable else -scores
    return None


def score_model(predictions):
    """Accuracy in three ways, and that of the commonest label."""
    y_true, y_pred, score = predictions.y_true, predictions.y_pred, predictions.score
    return {
        "accuracy": float(accuracy_score(y_true, y_pred)),
        "balanced_accuracy": float(balanced_accuracy_score(y_true, y_pred)),
        "roc_auc": float("nan") if score is None else float(roc_auc_score(y_true, score)),
        "majority_class": float(max(y_true.mean(), 1 - y_true.mean())),
    }


def compare_groups(predictions, groups, min_group_size, seed):
    """The table of disparities, further measures beside them, and the table of groups.

    Groups that are too small for the differences are too small for the further measures as well.
    """
    y_true, y_pred, score = predictions.y_true, predictions.y_pred, predictions.score
    disparities = disparity_table(y_true, y_pred, sensitive_features=groups, min_group_size=min_group_size)
    further = {}
    for name, values in with_intersection(groups).items():
        rows = _in_large_cells(values, min_group_size)
        cells = _in_large_cells(crossed(pd.DataFrame({"group": values, "label": y_true})), min_group_size) & rows
        group = {name: values[rows].to_numpy()}
        gaps = [float("nan")] * 2
        if score is not None:
            control = {name: np.random.RandomState(seed).permutation(group[name])}
            gaps = [score_distribution_gap(None, score[rows], sensitive_features=a) for a in (group, control)]
        further[name] = {
            "demographic_parity_difference_shuffled": _chance_difference(y_pred[rows], group[name], seed),
            "worst_group_and_label_accuracy": float("nan")
            if not cells.any()
            else worst_group_score(y_true[cells], y_pred[cells], sensitive_features={name: values[cells].to_numpy()}),
            "bias_amplification": bias_amplification(y_true[rows], y_pred[rows], sensitive_features=group),
            "score_distribution_gap": gaps[0],
            "score_distribution_gap_shuffled": gaps[1],
        }
    table = group_table(y_true, y_pred, sensitive_features=groups)
    return disparities.join(pd.DataFrame.from_dict(further, orient="index")), table


def _chance_difference(y_pred, group, seed):
    """What the difference of selection rates stays below in 95 of 100 shuffles of the groups."""
    sizes = group_sizes(group).to_numpy()
    # How many of those selected fall into each group of a shuffle.
    selected = np.random.default_rng(seed).multivariate_hypergeometric(sizes, int(y_pred.sum()), size=N_SHUFFLES)
    return float(np.quantile(np.ptp(selected / sizes, axis=1), 0.95))


def _in_large_cells(values, least):
    values = pd.Series(values, dtype=object).reset_index(drop=True)
    return (values.map(values.value_counts()).fillna(0) >= least).to_numpy()


# ---------------------------------------------------------------- leakage


def probe(representations, groups, seed, n_jobs, notes):
    """What the probes read of every attribute from each of several representations of the same rows.

    Parameters
    ----------
    representations : list of ndarray of shape (n_samples, n_columns)
    groups : DataFrame of shape (n_samples, n_attributes)
    seed : int
    n_jobs : int or None
    notes : list of str
        Takes the attributes that could not be probed.

    Returns
    -------
    list of LeakageReport
        Without an attribute that has too few rows.
    """
    rows = np.arange(len(groups))
    if len(rows) > PROBE_ROWS:
        rows = np.sort(np.random.RandomState(seed).choice(rows, PROBE_ROWS, replace=False))
        notes.append(f"The probes read {PROBE_ROWS:,} of the {len(groups):,} rows, drawn by lot.")
    columns = with_intersection(groups)
    reports = [LeakageReport() for _ in representations]
    for name in columns:
        values = columns[name].to_numpy()[rows]
        sizes = group_sizes(values)
        if (sizes >= LEAST_PROBED).sum() < 2:
            notes.append(
                f"{name!r} was not probed: fewer than two of its groups have the {LEAST_PROBED} rows that it takes."
            )
            continue
        for report, Z in zip(reports, representations, strict=True):
            found = leakage_score(
                Z[rows], {name: values}, probes=PROBES, cv=PROBE_FOLDS, random_state=seed, n_jobs=n_jobs
            )
            report.update(found)
    return reports
