"""The Fairness Stitch: a layer in a trained network against other ways to make its decisions fair.

Sets: Adult by sex, Law school by race, COMPAS by race, Adult rows as sentences (MiniLM), and faces of a pretrained GAN
(gender protected, "looks older than the median" as label, both as judges say). A network is trained on the training
rows without a thought of fairness: scikit-learn's MLP on numbers, a small convolutional one on pictures. Every method
then learns from the same training rows, with equalized odds as its goal. The methods behind the network's features see
those in front of its last layer, which is where the last-layer baseline (FDR) and the linear stitch work too.

Every method with a knob has eight settings. Of each method the one is chosen that has the least difference of equalized
odds on validation rows among those whose balanced accuracy there is at most .01 below the best of FDR's settings. The
report also goes along the whole curve: for every balanced accuracy that a setting of FDR's reaches on validation rows,
the setting of either with the least difference there among those at most .005 below that.

The layer of "residual stitch" is chosen once, by the rows that `fit` holds out, at strength 1.

Every finished set and seed is appended to `results/stitching.csv`; a killed run goes on where it stopped.

Options: --quick (one seed, few rows), --seeds N, --sets NAME [NAME ...], --report (print what is there).
"""

import time

import numpy as np
import pandas as pd
from fairlearn.metrics import equalized_odds_difference
from fairlearn.postprocessing import ThresholdOptimizer
from fairlearn.reductions import EqualizedOdds, ExponentiatedGradient
from measuring import cells, median_table, oversampled, three_way_split
from problems import load
from running import run_sets
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_fairlatent import FairLatentTransformer
from sklearn_fairlatent.stitching import FairStitchClassifier

QUICK_ROWS = 3000
STRENGTHS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
BOUNDS = (0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002)
MOST_LOST = 0.01  # balanced accuracy on validation rows, against the best of FDR's
EQUAL = 0.005  # the same, along the curve
DEAD = 1e-6  # columns of an encoder's dead units hold rounding only
NETWORK, FDR, LINEAR, PENULTIMATE, OURS = (
    "network as it is",
    "FDR (last layer)",
    "linear stitch",
    "residual stitch, same features",
    "residual stitch",
)
THRESHOLDS, EG, LATENT = "ThresholdOptimizer", "ExponentiatedGradient", "FairLatentTransformer"


# ---------------------------------------------------------------- sets


def numbers(name, seed, quick):
    """Rows, labels, groups, the parts, and a network trained on the first part."""
    problem = load(name)
    y = (problem.y == problem.positive).astype(int)
    group = problem.sensitive.iloc[:, 0].to_numpy()
    train, valid, test = three_way_split(y, problem, seed)
    spread = problem.X[train].std(0)
    X = problem.X[:, spread > DEAD * spread.max()]
    if quick and len(train) > QUICK_ROWS:
        train, _ = train_test_split(train, train_size=QUICK_ROWS, stratify=y[train], random_state=seed)
    network = make_pipeline(StandardScaler(), MLPClassifier((64, 32), early_stopping=True, random_state=seed))
    start = time.perf_counter()
    network.fit(X[train], y[train])
    return X, y, group, (train, valid, test), network, time.perf_counter() - start, "activation_1"


def faces(name, seed, quick):
    """Small pictures of the GAN with what judges say of them, and a convolutional network."""
    from generated import as_floats, fit_pictures, judged_samples

    pool = judged_samples(quick)
    y = (pool["age"] > np.median(pool["age"])).astype(int)  # what the label means, for all rows
    group = np.where(pool["gender"] > 0, "male", "female")
    X = as_floats(pool["small"])
    strata = cells(y, group)
    train, test = train_test_split(np.arange(len(y)), test_size=0.3, stratify=strata, random_state=seed)
    train, valid = train_test_split(train, test_size=0.2, stratify=strata[train], random_state=seed)
    start = time.perf_counter()
    network = fit_pictures(seed, pool["small"][train], y[train], pooled=True, max_epochs=2 if quick else 20)
    # Behind the means of the maps, flattened, comes the last layer.
    return X, y, group, (train, valid, test), network, time.perf_counter() - start, "13"


SETS = {
    "adult-sex": numbers,
    "law-race": numbers,
    "compas-race": numbers,
    "adult-text-sex": numbers,
    "gan-faces": faces,
}


# ---------------------------------------------------------------- methods


def stitches(network, last, layer, seed):
    """Every classifier of ours with its setting: (method, strength, classifier)."""
    kinds = {
        FDR: {"stitch": "last_layer"},
        LINEAR: {"stitch": "linear", "split": last},
        PENULTIMATE: {"split": last},
        OURS: {"split": layer},
    }
    for method, params in kinds.items():
        for strength in STRENGTHS:
            yield (
                method,
                strength,
                FairStitchClassifier(FrozenEstimator(network), fairness_strength=strength, random_state=seed, **params),
            )


def feature_methods(F, y, group, train, seed, scores):
    """Methods behind the network's features: (method, setting, seconds, predictions and scores of all rows)."""
    start = time.perf_counter()
    optimizer = ThresholdOptimizer(
        estimator=Score(),
        constraints="equalized_odds",
        objective="balanced_accuracy_score",
        predict_method="predict",
    )
    optimizer.fit(scores[train, None], y[train], sensitive_features=group[train])
    predicted = optimizer.predict(scores[:, None], sensitive_features=group, random_state=seed)
    probabilities = optimizer._pmf_predict(scores[:, None], sensitive_features=group)[:, 1]
    yield THRESHOLDS, np.nan, time.perf_counter() - start, predicted, probabilities
    some = train[oversampled(y[train], group[train], seed)]
    F = StandardScaler().fit(F[train]).transform(F)
    for bound in BOUNDS:
        start = time.perf_counter()
        mixture = ExponentiatedGradient(LogisticRegression(max_iter=1000), EqualizedOdds(difference_bound=bound))
        mixture.fit(F[some], y[some], sensitive_features=group[some])
        seconds = time.perf_counter() - start
        yield EG, bound, seconds, mixture.predict(F, random_state=seed), mixture._pmf_predict(F)[:, 1]
    # As the guide has it for curves: one whole fit, and short ones that go on from it.
    fair = FairLatentTransformer(constraints="equalized_odds", warm_start=True, random_state=seed)
    for strength in STRENGTHS:
        start = time.perf_counter()
        fair.set_params(fairness_strength=strength).fit(F[train], y[train], sensitive_features=group[train])
        Z = fair.transform(F)
        model = LogisticRegression(class_weight="balanced").fit(Z[train], y[train])
        seconds = time.perf_counter() - start
        yield LATENT, strength, seconds, model.predict(Z), model.predict_proba(Z)[:, 1]


class Score(ClassifierMixin, BaseEstimator):
    """The score that its only column is."""

    def fit(self, X, y):
        """There is nothing to learn."""
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        """The column."""
        return np.asarray(X)[:, 0]


# ---------------------------------------------------------------- the run


def one(name, seed, quick):
    """Rows of the results for a set and a seed: every method at every setting, on validation and on test rows."""
    X, y, group, (train, valid, test), network, network_seconds, last = SETS[name](name, seed, quick)
    scores = network.predict_proba(X)[:, 1].astype(np.float64)
    tried = [(NETWORK, np.nan, 0.0, (scores > 0.5).astype(int), scores, "")]
    features, judged = None, np.r_[valid, test]
    start = time.perf_counter()
    search = FairStitchClassifier(FrozenEstimator(network), random_state=seed)
    layer = search.fit(X[train], y[train], sensitive_features=group[train]).split_
    search_seconds = time.perf_counter() - start
    for method, strength, stitch in stitches(network, last, layer, seed):
        start = time.perf_counter()
        stitch.fit(X[train], y[train], sensitive_features=group[train])
        seconds = time.perf_counter() - start
        probabilities = np.full(len(X), np.nan)
        probabilities[judged] = stitch.predict_proba(X[judged])[:, 1]
        tried.append((method, strength, seconds, (probabilities > 0.5).astype(int), probabilities, stitch.split_))
        if method == PENULTIMATE and features is None:
            features = extracted(stitch, X)
    tried += [(*found, last) for found in feature_methods(features, y, group, train, seed, scores)]
    measured = []
    for method, setting, seconds, predicted, probabilities, split in tried:
        row = {"method": method, "setting": setting, "split": split, "seconds": seconds}
        for part, rows in (("valid", valid), ("test", test)):
            own = y[rows], predicted[rows]
            row |= {
                f"{part} balanced accuracy": balanced_accuracy_score(*own),
                f"{part} AUC": roc_auc_score(y[rows], probabilities[rows]),
                f"{part} EO": equalized_odds_difference(*own, sensitive_features=group[rows]),
            }
        measured.append(row)
    table = pd.DataFrame(measured)
    majority = max(y[test].mean(), 1 - y[test].mean())
    common = {"set": name, "seed": seed, "majority": majority, "network seconds": network_seconds}
    common["search seconds"] = search_seconds
    return table.assign(**common)


def least_disparity(table, enough):
    """Index of the setting with the least difference on validation rows among the accurate enough, else the best."""
    allowed = table[table["valid balanced accuracy"] >= enough]
    return table["valid balanced accuracy"].idxmax() if allowed.empty else allowed["valid EO"].idxmin()


def choices(table):
    """Of one set and seed, the setting of every method that validation rows choose."""
    enough = table.loc[table["method"] == FDR, "valid balanced accuracy"].max() - MOST_LOST
    return table.loc[[least_disparity(own, enough) for _, own in table.groupby("method", sort=False)]]


def along(table, method):
    """What ``method`` gains on test rows at every balanced accuracy that FDR reaches on validation rows.

    Returns
    -------
    DataFrame
        A row per setting of FDR: ``EO`` and ``balanced accuracy``, method minus FDR, both at the setting with the least
        difference at that balanced accuracy.
    """
    fdr, own = table[table["method"] == FDR], table[table["method"] == method]
    gains = []
    for level in fdr["valid balanced accuracy"]:
        ours, theirs = (some.loc[least_disparity(some, level - EQUAL)] for some in (own, fdr))
        gains.append({name: ours[f"test {name}"] - theirs[f"test {name}"] for name in ("EO", "balanced accuracy")})
    return pd.DataFrame(gains)


def extracted(stitch, X):
    """What the network gives in front of its last layer, float64."""
    import torch

    parameter = next(stitch.network_.parameters())
    with torch.no_grad():
        parts = [
            stitch.extractor_(torch.as_tensor(rows, dtype=parameter.dtype))
            for rows in np.array_split(X, max(1, len(X) // 500))
        ]
    return torch.cat(parts).double().numpy()


MEASURES = ["test balanced accuracy", "test AUC", "test EO", "seconds"]


def report(table):
    """Medians over the seeds, and where the residual stitch is ahead of the last-layer baseline."""
    for name, everything in table.groupby("set", sort=False):
        rows = pd.concat([choices(own) for _, own in everything.groupby("seed")])
        print(f"\n{name}: medians [lowest, highest] of {rows['seed'].nunique()} seed(s)")
        print(median_table(rows, "method", MEASURES).to_string())
        print(f"majority: accuracy {rows['majority'].median():.3f}, balanced accuracy .500, AUC .500, EO .000")
        middle = rows.groupby("method")[MEASURES].median()
        for ours in (OURS, PENULTIMATE):
            gain = middle.loc[ours] - middle.loc[FDR]
            print(
                f"{ours} against {FDR}: EO {gain['test EO']:+.4f}, balanced accuracy "
                f"{gain['test balanced accuracy']:+.4f}"
            )
            curves = pd.DataFrame([along(own, ours).mean() for _, own in everything.groupby("seed")])
            print(
                f"along the curve of {FDR}: EO {curves['EO'].median():+.4f} [{curves['EO'].min():+.4f}, "
                f"{curves['EO'].max():+.4f}], balanced accuracy {curves['balanced accuracy'].median():+.4f}"
            )
        seconds = rows["network seconds"].median()
        print(
            f"the network took {seconds:.1f} s; {PENULTIMATE}: {middle.loc[PENULTIMATE, 'seconds'] / seconds:.3f} of it"
        )
        print(f"the search for the layer: {rows['search seconds'].median() / seconds:.3f} of it")
        print("layers chosen:", rows.loc[rows["method"] == OURS, "split"].astype(str).value_counts().to_dict())


if __name__ == "__main__":
    run_sets(__doc__, "stitching", SETS, one, report)
