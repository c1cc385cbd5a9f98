"""What every benchmark measures: splits, held-out leakage probes, accuracy and disparity, versions."""

import platform
from importlib.metadata import version

import numpy as np
from fairlearn.metrics import (
    demographic_parity_difference,
    demographic_parity_ratio,
    equalized_odds_difference,
    selection_rate,
)
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import (
    GroupShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_val_predict,
    train_test_split,
)
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def split(y, attribute, seed, test_size=0.3):
    """Training and test rows, stratified on label and attribute."""
    strata = np.unique([y.astype(str), attribute.astype(str)], axis=1, return_inverse=True)[1]
    return train_test_split(np.arange(len(y)), test_size=test_size, stratify=strata, random_state=seed)


def three_way_split(y, problem, seed):
    """Rows to train (56 %), to validate (14 %) and to test (30 %), stratified on label and attributes where that goes.

    Parameters
    ----------
    y : ndarray of shape (n,) or None
        What to stratify on besides the attributes.
    problem : Problem
        Rows of one of its groups stay together.
    seed : int
    """
    rows = np.arange(len(problem.X))
    if problem.groups is not None:
        train, test = next(GroupShuffleSplit(1, test_size=0.3, random_state=seed).split(rows, groups=problem.groups))
        inner = GroupShuffleSplit(1, test_size=0.2, random_state=seed)
        part, valid = next(inner.split(train, groups=problem.groups[train]))
        return train[part], train[valid], test
    columns = [problem.sensitive[name].astype(str) for name in problem.sensitive]
    columns += [] if y is None else [y.astype(str)]
    strata = np.unique(np.column_stack(columns).astype(str), axis=0, return_inverse=True)[1].ravel()
    strata[np.bincount(strata)[strata] < 10] = -1  # too few to be in every part
    train, test = train_test_split(rows, test_size=0.3, stratify=strata, random_state=seed)
    train, valid = train_test_split(train, test_size=0.2, stratify=strata[train], random_state=seed)
    return train, valid, test


def cells(y, group):
    """The cell of label and group of every row, as one word."""
    return np.char.add(np.char.add(y.astype(str), "|"), group.astype(str))


def oversampled(y, group, seed):
    """Positions of the rows that imbalanced-learn's random oversampling of the cells gives."""
    from imblearn.over_sampling import RandomOverSampler

    sampler = RandomOverSampler(random_state=seed)
    sampler.fit_resample(np.zeros((len(y), 1)), cells(y, group))
    return sampler.sample_indices_


def classifier():
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def downstream(task, seed):
    """The two models a pipeline may put behind a representation."""
    if task == "regression":
        linear = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 7)))
        return {"LR": linear, "boosting": HistGradientBoostingRegressor(random_state=seed)}
    return {"LR": classifier(), "boosting": HistGradientBoostingClassifier(random_state=seed)}


def quality(model, Z, y, task):
    """ROC AUC of a fitted classifier (macro one-vs-rest for many classes); NaN for a regression."""
    if task == "regression":
        return float("nan")
    scores = model.predict_proba(Z)
    if task == "binary":
        return roc_auc_score(y, scores[:, 1])
    return float(np.mean([roc_auc_score(y == k, scores[:, j]) for j, k in enumerate(model.classes_)]))


def group_disparity(y, predicted, sensitive, constraint, task):
    """Disparity between the intersections of all attributes, in [0, 1].

    Binary labels: fairlearn's demographic parity or equalized odds difference. Many classes: the largest of these over
    the classes, one against the rest. A regression: the largest demographic parity difference of "predicted above t"
    over all thresholds t, which is the Kolmogorov-Smirnov distance of the groups' predictions (Agarwal et al. 2019,
    "Fair regression", definition 1); for equalized odds, its largest value within four quantile bins of the label.
    """
    if task == "regression":
        bins = np.zeros(len(y), dtype=int)
        if constraint == "equalized_odds":
            bins = np.searchsorted(np.quantile(y, (0.25, 0.5, 0.75)), y)
        groups = sensitive.astype(str).agg("/".join, axis=1).to_numpy()
        return max(_largest_gap(predicted[bins == k], groups[bins == k]) for k in np.unique(bins))
    difference = demographic_parity_difference if constraint == "demographic_parity" else equalized_odds_difference
    classes = [1] if task == "binary" else np.unique(y)
    return float(max(difference(y == k, predicted == k, sensitive_features=sensitive) for k in classes))


def _largest_gap(values, groups):
    """Largest difference, over thresholds, between the groups' shares of values above the threshold."""
    grid = np.sort(values)
    shares = [np.searchsorted(np.sort(values[groups == g]), grid, side="right") / (groups == g).sum()
              for g in np.unique(groups)]  # fmt: skip
    return float((np.max(shares, axis=0) - np.min(shares, axis=0)).max())


def leakage(Z, attribute, seed=0, within=None, together=None):
    """AUC of every probe for an attribute (macro one-vs-rest for many groups), at its highest over label strata.

    Parameters
    ----------
    Z : ndarray of shape (n, n_columns)
        Held-out latents; the probes are cross-validated on them.
    attribute : ndarray of shape (n,)
    within : ndarray of shape (n,) or None
        Labels, for equalized odds: the attribute is read among rows of one label.
    together : ndarray of shape (n,) or None
        Rows of one value are in one fold: a probe that has learned some versions of a text would know its others.
    """
    strata = np.zeros(len(Z)) if within is None else within
    groups = np.unique(attribute)
    found = {}
    for stratum in np.unique(strata):
        rows = strata == stratum
        targets = groups[1:] if len(groups) == 2 else groups
        kept = None if together is None else together[rows]
        panels = [probes(Z[rows], np.where(attribute[rows] == g, "in", "a rest"), seed, kept) for g in targets]
        for name in panels[0]:
            found[name] = max(found.get(name, 0.0), float(np.mean([panel[name] for panel in panels])))
    return found


def probes(Z, attribute, seed=0, together=None):
    """Cross-validated AUC for a two-group attribute of three probes trained on held-out rows; see :func:`leakage`."""
    panel = {
        "logistic regression": classifier(),
        "MLP": make_pipeline(
            StandardScaler(), MLPClassifier((64, 64), early_stopping=True, max_iter=100, random_state=seed)
        ),
        "boosting": HistGradientBoostingClassifier(random_state=seed),
    }
    group = attribute == np.unique(attribute)[1]
    folds = (StratifiedKFold if together is None else StratifiedGroupKFold)(3, shuffle=True, random_state=seed)
    scores = {}
    for name, probe in panel.items():
        predicted = cross_val_predict(probe, Z, group, cv=folds, groups=together, method="predict_proba")[:, 1]
        scores[name] = roc_auc_score(group, predicted)
    return scores


def report(y_true, y_pred, attribute, positive):
    """Accuracy and disparities of a classifier, with the ratio and the selection rates beside the difference."""
    true, predicted = y_true == positive, y_pred == positive
    groups = np.unique(attribute)
    return {
        "accuracy": accuracy_score(true, predicted),
        "balanced accuracy": balanced_accuracy_score(true, predicted),
        "DP difference": demographic_parity_difference(true, predicted, sensitive_features=attribute),
        "DP ratio": demographic_parity_ratio(true, predicted, sensitive_features=attribute),
        "EO difference": equalized_odds_difference(true, predicted, sensitive_features=attribute),
        **{
            f"selected {group}": selection_rate(true[attribute == group], predicted[attribute == group])
            for group in groups
        },
    }


def median_table(table, by, columns, digits=3):
    """Medians [lowest, highest] of columns as text, a row per value of ``by``; empty where there is nothing."""
    groups = table.groupby(by, sort=False)[columns]

    def text(values):
        middle = values.median()
        return "" if np.isnan(middle) else f"{middle:.{digits}f} [{values.min():.{digits}f}, {values.max():.{digits}f}]"

    return groups.agg(text)


def versions():
    names = ("scikit-learn", "torch", "skorch", "zuko", "fairlearn", "numpy", "pandas")
    return f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in names)
