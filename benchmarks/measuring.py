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
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def split(y, attribute, seed, test_size=0.3):
    """Training and test rows, stratified on label and attribute."""
    strata = np.unique([y.astype(str), attribute.astype(str)], axis=1, return_inverse=True)[1]
    return train_test_split(np.arange(len(y)), test_size=test_size, stratify=strata, random_state=seed)


def classifier():
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def probes(Z, attribute, seed=0):
    """Cross-validated AUC for a two-group attribute of three probes trained on held-out rows."""
    panel = {
        "logistic regression": classifier(),
        "MLP": make_pipeline(
            StandardScaler(), MLPClassifier((64, 64), early_stopping=True, max_iter=100, random_state=seed)
        ),
        "boosting": HistGradientBoostingClassifier(random_state=seed),
    }
    group = attribute == np.unique(attribute)[1]
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    scores = {}
    for name, probe in panel.items():
        predicted = cross_val_predict(probe, Z, group, cv=folds, method="predict_proba")[:, 1]
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


def versions():
    names = ("scikit-learn", "torch", "skorch", "zuko", "fairlearn", "numpy", "pandas")
    return f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in names)
