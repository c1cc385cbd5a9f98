"""Fair synthetic data: rows of our student against real rows, its teacher, and other generators.

Sets: Adult by sex, COMPAS by race, German credit by sex, Law school by race as tables, and faces of a pretrained GAN
(gender protected, "looks older than the median" as label, both as judges say), whose latents are made and whose
pictures are judged. Every generator learns from the training rows and makes as many, 20,000 at least (3,000 faces);
three learners train on what it made and are judged on real test rows. "real rows" are the training rows themselves,
and ExponentiatedGradient (boosting, on faces a logistic regression; a difference of at most .01 on the training rows)
on them is the optimum under the constraint. "real rows, fair labels" are real rows with labels drawn as the teacher's
handed-on block says: what distillation can reach at best.

Differences of demographic parity and of equalized odds are between the groups on real test rows. Fidelity includes
label and attribute, which fair generators change on purpose. Nothing is chosen by test rows; there is no setting to
choose.

Every finished set and seed is appended to `results/synthesis.csv`; a killed run goes on where it stopped.

Options: --quick (one seed, few rows), --seeds N, --sets NAME [NAME ...], --report (print what is there).
"""

import time
import warnings

import numpy as np
import pandas as pd
from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference
from fairlearn.reductions import DemographicParity, ExponentiatedGradient
from measuring import classifier, median_table
from running import run_sets
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import accuracy_score
from synthesis_peers import PEERS
from synthesis_sets import SETS

from sklearn_fairlatent.metrics import synthesis_report
from sklearn_fairlatent.metrics._synthesis import _Ordinals
from sklearn_fairlatent.synthesis import FairSynthesizer

REAL, EG, FAIR_LABELS = "real rows", "ExponentiatedGradient on real rows", "real rows, fair labels"
OURS, TEACHER, OBSERVED = "student", "teacher", "student, as observed"
# Not fitted to the latents of faces: independent normal columns, of which an order has nothing to tell.
TABLES_ONLY = ("ARGN",)
BOUND = 0.01
LEARNERS = {"logistic regression": "LR", "boosting": "boosting", "random forest": "forest"}
FIGURES = {
    "accuracy": "accuracy",
    "roc_auc": "AUC",
    "demographic_parity_difference": "DP",
    "equalized_odds_difference": "EO",
}


# ---------------------------------------------------------------- methods


def ours(split, seed):
    """The student, its teacher, the student with cells as observed, and real rows with the teacher's labels."""
    X, y, A = split.train
    synthesizer = FairSynthesizer(random_state=seed)
    start = time.perf_counter()
    synthesizer.fit(X, y, sensitive_features=A)
    seconds = time.perf_counter() - start
    speed = synthesizer.cost()
    ratios = speed.loc["student"] / speed.loc["teacher"]
    cost = {
        "parameters": speed.loc["student", "n_parameters"],
        "parameters over teacher's": ratios["n_parameters"],
        "speed over teacher's": ratios["rows_per_second"],
        "valid quality": min(epoch["valid_quality"] for epoch in synthesizer.history_),
        "valid utility": synthesizer.history_[-1]["valid_utility"],
    }
    for name, params in ((OURS, {}), (OBSERVED, {"balance": "as_observed"}), (TEACHER, {"source": "teacher"})):
        yield name, seconds, synthesizer.sample(split.n_made, **params), cost if name == OURS else {}
    rng = np.random.RandomState(seed)
    rows = np.resize(rng.permutation(len(y)), split.n_made)  # again and again where there are too few
    some = tuple(part.iloc[rows].reset_index(drop=True) if hasattr(part, "iloc") else part[rows] for part in (X, y, A))
    probabilities = synthesizer.teacher_.probabilities(some[0])
    chosen = (rng.random_sample(len(rows))[:, None] > probabilities.cumsum(axis=1)[:, :-1]).sum(axis=1)
    yield FAIR_LABELS, seconds, (some[0], pd.Series(synthesizer.classes_[chosen], name=y.name), some[2]), {}


def peers(split, seed):
    """Every other generator: name, seconds, rows, nothing more."""
    X, y, A = split.train
    frame = X if isinstance(X, pd.DataFrame) else pd.DataFrame(X, columns=[f"z{k}" for k in range(X.shape[1])])
    table = pd.concat([frame, y, A], axis=1)
    for name, make in PEERS.items():
        if name in TABLES_ONLY and not isinstance(X, pd.DataFrame):
            continue
        start = time.perf_counter()
        made = make(table, split.label, [split.attribute], split.n_made, seed)
        seconds = time.perf_counter() - start
        for one, drawn in (made if isinstance(made, dict) else {name: made}).items():
            rows = drawn[list(frame.columns)]
            rows = rows if isinstance(X, pd.DataFrame) else rows.to_numpy()
            yield one, seconds, (rows, drawn[split.label], drawn[[split.attribute]]), {}


def constrained(split, seed):
    """Figures of ExponentiatedGradient over boosting on real training rows."""
    (X, y, A), (X_test, y_test, A_test) = split.train, split.test
    encode = _Ordinals().fit(split.seen(X))
    E, E_test = (encode.transform(split.seen(rows)) for rows in (X, X_test))
    positive = sorted(y.unique())[1]
    start = time.perf_counter()
    # Over boosting, 1,400 rows of pictures' components had not ended after six minutes, and on real rows of them a
    # linear model is the more accurate one (--report).
    learner = HistGradientBoostingClassifier(random_state=seed) if split.decoder is None else classifier()
    step = "" if split.decoder is None else "logisticregression__"
    model = ExponentiatedGradient(
        learner, DemographicParity(difference_bound=BOUND), sample_weight_name=f"{step}sample_weight"
    )
    model.fit(E, (y == positive).astype(int), sensitive_features=A)
    seconds = time.perf_counter() - start
    predicted, true = model.predict(E_test, random_state=seed), (y_test == positive).astype(int)
    return {
        "method": EG,
        "seconds": seconds,
        "boosting accuracy": accuracy_score(true, predicted),
        "boosting DP": demographic_parity_difference(true, predicted, sensitive_features=A_test),
        "boosting EO": equalized_odds_difference(true, predicted, sensitive_features=A_test),
    }


# ---------------------------------------------------------------- the run


def measured(split, made, train, seed, learn_from_real):
    """A method's figures in one row."""
    X, y, A = made
    test = (split.seen(split.test[0]), *split.test[1:])
    made = split.seen(X), y, A
    report = synthesis_report(test, made, train=train, learn_from_real=learn_from_real, random_state=seed)
    row = {}
    for (source, learner), figures in report.utility.iterrows():
        prefix = "" if source == "synthetic" else "real "
        row |= {f"{prefix}{LEARNERS[learner]} {FIGURES[name]}": value for name, value in figures.items()}
    return row | report.scores


def one(name, seed, quick):
    """Rows of the results for a set and a seed: one per method."""
    split = SETS[name](name, seed, quick)
    y, y_test = split.train[1], split.test[1]
    train = (split.seen(split.train[0]), *split.train[1:])
    rows = [constrained(split, seed)]
    real = None
    for method, seconds, made, cost in (*ours(split, seed), *peers(split, seed)):
        row = measured(split, made, train, seed, learn_from_real=real is None)
        if real is None:
            real = {key.removeprefix("real "): value for key, value in row.items() if key.startswith("real ")}
            rows.append({"method": REAL, "seconds": 0.0, **real, "authenticity": row["authenticity_of_real"]})
        rows.append(
            {"method": method, "seconds": seconds, **{k: v for k, v in row.items() if "real " not in k}, **cost}
        )
        shown = [row[key] for key in ("boosting accuracy", "boosting DP", "pairwise_fidelity")]
        print(f"  {name} {seed} {method}: accuracy, DP, pairs {np.round(shown, 3)}, {seconds:.0f} s", flush=True)
    majority = y_test.value_counts(normalize=True).max()
    return pd.DataFrame(rows).assign(set=name, seed=seed, majority=majority, n_train=len(y), n_test=len(y_test))


USEFUL = ["boosting accuracy", "boosting AUC", "boosting DP", "boosting EO", "LR accuracy", "LR DP", "forest accuracy",
          "forest DP"]  # fmt: skip
FAITHFUL = [
    "marginal_fidelity",
    "pairwise_fidelity",
    "pairwise_fidelity_without_label",
    "precision",
    "recall",
    "density",
    "coverage",
]
PRIVATE = ["authenticity", "membership_auc", "seconds"]
COST = ["parameters", "parameters over teacher's", "speed over teacher's", "valid quality", "valid utility"]


def report(table):
    """Medians over the seeds, and the goals."""
    medians = {}
    for name, rows in table.groupby("set", sort=False):
        print(f"\n{name}: medians [lowest, highest] of {rows['seed'].nunique()} seed(s); majority "
              f"{rows['majority'].median():.3f}, {rows['n_test'].iloc[0]} test rows")  # fmt: skip
        for columns in (USEFUL, FAITHFUL, PRIVATE):
            print(median_table(rows, "method", columns).to_string())
        print(median_table(rows[rows["method"] == OURS], "method", COST).to_string())
        middle = medians[name] = rows.groupby("method").median(numeric_only=True)
        student, real = middle.loc[OURS], middle.loc[REAL]
        print(f"DP of boosting: student {student['boosting DP']:.4f}, real {real['boosting DP']:.4f}, ratio "
              f"{student['boosting DP'] / real['boosting DP']:.3f}")  # fmt: skip
        gains = {other: student["boosting accuracy"] - middle.loc[other, "boosting accuracy"]
                 for other in (EG, TEACHER, FAIR_LABELS)}  # fmt: skip
        print(f"accuracy of boosting: student minus {', '.join(f'{k} {v:+.4f}' for k, v in gains.items())}")
        pairs = student - middle.loc["Gaussian copula"]
        print(f"pairs: student minus copula {pairs['pairwise_fidelity']:+.4f}, without the label "
              f"{pairs['pairwise_fidelity_without_label']:+.4f}; authenticity minus that of real rows "
              f"{student['authenticity'] - real['authenticity']:+.3f}; membership AUC "
              f"{student['membership_auc']:.3f}")  # fmt: skip
    pooled = table.groupby("method")["boosting DP"].mean()
    print(f"\nDP of boosting, mean over all sets and seeds: student {pooled[OURS]:.4f}, real {pooled[REAL]:.4f}, ratio "
          f"{pooled[OURS] / pooled[REAL]:.3f}")  # fmt: skip


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    run_sets(__doc__, "synthesis", SETS, one, report)
