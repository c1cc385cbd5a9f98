"""Latent de-biasing as augmentation: partners of the other group against other ways to balance training rows.

Sets: Law school by race, Adult by sex, Reddit posts by who is mentioned and Adult rows as sentences (MiniLM), and faces
of a pretrained GAN (gender protected, "looks older than the median" as label, both as judges say). The classifier
behind never sees the attribute. Thresholds are calibrated on validation rows.

Both flips have the same grid (all pairs or balancing ones, four lengths of the step); of each the entry is chosen that
has the least difference of opportunity on validation rows among those whose average precision there is at most .004
below that of the real rows alone. The paper's flip as published, its two ablations and the other methods have no grid.

Every finished set and seed is appended to `results/augmentation.csv`; a killed run goes on where it stopped.

Options: --quick (one seed, few rows and bootstraps), --seeds N, --sets NAME [NAME ...], --report (print what is there).
"""

import time

import numpy as np
import pandas as pd
from measuring import cells, classifier, median_table, oversampled, three_way_split
from problems import load
from running import run_sets
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split

from sklearn_fairlatent import FairLatentTransformer
from sklearn_fairlatent.augmentation import LatentFlipSampler
from sklearn_fairlatent.metrics import bias_scores, calibrated_threshold

# Columns of an encoder's dead units hold rounding only.
DEAD = 1e-6
MOST_TRAINING_ROWS = 6000  # of the sentences: boosting on 384 columns takes its time, nineteen times
QUICK_ROWS = 2000
N_BOOTSTRAPS = 500
MOST_LOST = 0.004  # average precision on validation rows: a little less than the .005 that may be lost on test rows
GRID = tuple({"pairs": pairs, "step": step} for pairs in ("all", "balance") for step in (0.75, 1.0, 1.5, 2.0))
OURS, LINEAR, PAPER = "non-linear flip, chosen", "linear flip, chosen", "linear flip, as published"
N_REAL, N_MADE, N_FACES_TEST = 3000, 3000, 5000


# ---------------------------------------------------------------- what every method hands to a classifier


def kamiran_calders(y, group):
    """Weights that make label and group independent (Kamiran and Calders 2012, section 4.2)."""
    table = pd.DataFrame({"y": y, "s": group})
    n = len(table)
    of_label, of_group = table.groupby("y")["s"].transform("size"), table.groupby("s")["y"].transform("size")
    return (of_label * of_group / n / table.groupby(["y", "s"])["y"].transform("size")).to_numpy()


def smote(X, y, group, seed):
    from imblearn.over_sampling import SMOTE

    X, cell = SMOTE(random_state=seed).fit_resample(X, cells(y, group))
    return X, np.array([c.split("|")[0] for c in cell]).astype(y.dtype)


def transformer(seed, **params):
    """What tells the label beside the attribute is held, which is what the difference of opportunity looks at."""
    return FairLatentTransformer(constraints="equalized_odds", random_state=seed, **params)


def flips(X, y, A, seed, fair):
    """Every flip that is compared: (method, its settings, rows to add, labels to add, share of changed labels)."""
    linear = {"judge": None}
    named = [
        (PAPER, {}, linear),
        ("linear projection", {"step": 0.5}, linear),
        ("linear flip, target not held", {"hold_target": False}, linear),
        *[(LINEAR, entry, linear) for entry in GRID],
        *[(OURS, entry, {"judge": None, "transformer": FrozenEstimator(fair)}) for entry in GRID],
    ]
    for method, entry, params in named:
        sampler = LatentFlipSampler(random_state=seed, **params, **entry)
        rows, labels = sampler.fit_resample(X, y, sensitive_features=A)
        added = sampler.flipped_
        yield method, entry, rows[added], labels[added]


# ---------------------------------------------------------------- tables and embeddings


def table_set(name, seed, quick):
    """Rows of the results for one of the sets of numbers."""
    problem = load(name)
    X = problem.X[:, problem.X.std(0) > DEAD * problem.X.std(0).max()]
    y = (problem.y == problem.positive).astype(int)
    A = problem.sensitive
    group = A.iloc[:, 0].to_numpy()
    train, valid, test = three_way_split(y, problem, seed)
    most = QUICK_ROWS if quick else MOST_TRAINING_ROWS if name == "adult-text-sex" else len(train)
    if len(train) > most:
        train, _ = train_test_split(train, train_size=most, stratify=cells(y, group)[train], random_state=seed)
    start = time.perf_counter()
    fair = transformer(seed).fit(X[train], y[train], sensitive_features=A.iloc[train])
    seconds = time.perf_counter() - start
    own = X[train], y[train]
    some = oversampled(y[train], group[train], seed)
    entries = [
        ("real rows", {}, *own, None),
        ("reweighting", {}, *own, kamiran_calders(y[train], group[train])),
        ("oversampling", {}, own[0][some], own[1][some], None),
        ("SMOTE", {}, *smote(*own, group[train], seed), None),
    ]
    for method, entry, rows, labels in flips(*own, A.iloc[train], seed, fair):
        entries.append((method, entry, np.vstack([own[0], rows]), np.r_[own[1], labels], None))
    models = {"LR": classifier, "boosting": lambda: HistGradientBoostingClassifier(random_state=seed)}
    for kind, make in models.items():
        tried = []
        for method, entry, rows, labels, weight in entries:
            model = make()
            step = "logisticregression__" if kind == "LR" else ""
            model.fit(rows, labels, **({} if weight is None else {f"{step}sample_weight": weight}))
            scores = {part: model.predict_proba(X[which])[:, 1] for part, which in (("valid", valid), ("test", test))}
            tried.append((method, entry, len(labels), scores))
        yield from judged(tried, y, group, valid, test, seed, quick, {"set": name, "classifier": kind}, seconds)


def judged(tried, y, group, valid, test, seed, quick, common, seconds):
    """A row of results for every method; of a grid only the entry that validation rows choose."""
    found = []
    for method, entry, n_rows, scores in tried:
        threshold = calibrated_threshold(y[valid], scores["valid"])
        on_valid = bias_scores(
            y[valid], scores["valid"], sensitive_features=group[valid], threshold=threshold, n_bootstraps=1
        )["value"]
        found.append((method, entry, n_rows, scores, threshold, on_valid))
    enough = next(f[-1] for f in found if f[0] == "real rows")["average_precision"] - MOST_LOST
    for method in dict.fromkeys(f[0] for f in found):
        own = [f for f in found if f[0] == method]
        allowed = [f for f in own if f[-1]["average_precision"] >= enough]
        if allowed:
            best = min(allowed, key=lambda f: f[-1]["equal_opportunity_difference"])
        else:
            best = max(own, key=lambda f: f[-1]["average_precision"])
        _, entry, n_rows, scores, threshold, _ = best
        measures = bias_scores(
            y[test],
            scores["test"],
            sensitive_features=group[test],
            threshold=threshold,
            n_bootstraps=20 if quick else N_BOOTSTRAPS,
            random_state=seed,
        )
        row = common | {"seed": seed, "method": method} | entry | {"n_training_rows": n_rows}
        for measure, short in SHORT.items():
            row |= {f"{short} {column}": measures.loc[measure, column] for column in measures}
        row["share favourable"] = float(y[test].mean())  # the average precision of a constant score
        row["seconds of the transformer"] = seconds if method == OURS else np.nan
        yield row


SHORT = {
    "average_precision": "AP",
    "equal_opportunity_difference": "DEO",
    "bias_amplification": "BA",
    "score_distribution_gap": "KL",
}


# ---------------------------------------------------------------- faces


def faces_set(seed, quick):
    """Pictures of the GAN: some stand for the real ones, and pairs are made of other latents."""
    from faces import generator, in_batches
    from generated import as_floats, fit_pictures, halved, judged_samples

    pool = judged_samples(quick)
    y = (pool["age"] > np.median(pool["age"])).astype(int)
    group = np.where(pool["gender"] > 0, "male", "female")
    rows = np.random.RandomState(seed).permutation(len(y))
    parts = np.cumsum([N_REAL, N_REAL // 2, N_FACES_TEST, N_MADE]) // (10 if quick else 1)
    real, valid, test, made, learnt = np.split(rows, parts)
    network = generator()
    Z, small = pool["Z"], pool["small"]
    A = pd.DataFrame({"gender": group})
    start = time.perf_counter()
    fair = transformer(seed).fit(Z[learnt[:8000]], y[learnt[:8000]], sensitive_features=A.iloc[learnt[:8000]])
    seconds = time.perf_counter() - start
    both = np.r_[real, made]
    some = real[oversampled(y[real], group[real], seed)]
    entries = [
        ("real rows", {}, small[real], y[real]),
        ("real rows and made ones, not flipped", {}, small[both], y[both]),
        ("oversampling", {}, small[some], y[some]),
    ]
    for method, entry, latents, labels in flips(Z[made], y[made], A.iloc[made], seed, fair):
        pictures = halved(in_batches(network, latents.astype(np.float32)))
        entries.append((method, entry, np.concatenate([small[both], pictures]), np.r_[y[both], labels]))
    tried = []
    for method, entry, pictures, labels in entries:
        net = fit_pictures(seed, pictures, labels, widths=(8, 16, 32))
        scores = {
            part: net.predict_proba(as_floats(small[which]))[:, 1] for part, which in (("valid", valid), ("test", test))
        }
        tried.append((method, entry, len(labels), scores))
    common = {"set": "gan-faces", "classifier": "convolutional"}
    yield from judged(tried, y, group, valid, test, seed, quick, common, seconds)


# ---------------------------------------------------------------- the run


SETS = {
    **{
        name: lambda seed, quick, name=name: table_set(name, seed, quick)
        for name in ("law-race", "adult-sex", "reddit-gender", "adult-text-sex")
    },
    "gan-faces": faces_set,
}


def report(table):
    """Medians over the seeds of the bootstrapped medians, and where the non-linear flip is ahead."""
    measures = [f"{short} median" for short in SHORT.values()]
    for (name, kind), rows in table.groupby(["set", "classifier"], sort=False):
        print(f"\n{name}, {kind}: medians [lowest, highest] of {rows['seed'].nunique()} seed(s)")
        print(median_table(rows, "method", measures, digits=4).to_string())
        print(f"AP of a constant score: {rows['share favourable'].median():.4f}")
        middle = rows.groupby("method")[measures].median()
        for peer in (LINEAR, PAPER):
            ours, other = middle.loc[OURS], middle.loc[peer]
            ahead = {m[:3].strip(): bool(ours[m] < other[m]) for m in measures[1:3]}
            lost = other["AP median"] - ours["AP median"]
            print(f"non-linear below {peer!r}: {ahead}, AP lost against it {lost:+.4f}")


if __name__ == "__main__":
    run_sets(__doc__, "augmentation", SETS, lambda name, seed, quick: pd.DataFrame(SETS[name](seed, quick)), report)
