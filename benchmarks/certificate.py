"""Certificates: are the bounds valid and tight, does any attack exceed them, and what accuracy do they leave?

validity: problems with known frequencies of 2 to 64 cells in two groups, 300 to 100,000 rows, the smaller group half of
them or one in twenty; the groups are equal, or apart by a random amount. Of every bound: in how many problems it is
below the truth (5 % allowed), and how far it is above (median). 200 problems a setting and seed.

attack-SET (Adult by sex, COMPAS by race, Law school by race): a transformer with eight codes is fitted on 40 % of the
rows. In each of 20 divisions of the rest into two halves one half is certified (95 %). Then logistic regression,
boosting, a network, all trained to tell the groups apart, and the set of codes that is worst on the rows they see (both
the training and the certified ones) decide about the other half, where their demographic parity difference is measured:
on rows that neither they nor the certificate saw. Beside it the set that is worst on those rows themselves: chosen on
the rows it is measured on, its difference is too high by the noise of a sample.

curve: Adult by sex, 70 % of the rows to train, 30 % to certify and to measure accuracy on. Accuracy of the commonest
label of each code, of logistic regression on the representatives, and the certificate, for 2 to 64 codes, beside the
leaves of a fair decision tree after FARE (`fare_tree.py`) with as many leaves, certified the same way. All settings of
either method are measured on the same rows, and the lowest certificate at an accuracy is chosen among them afterwards:
a comparison of methods, no certificate at 95 %. The tree has 198 settings (nine weights, eleven sizes, one-hot columns
or whole categories; at least 100 rows a leaf, as it comes), ours have 33. What was fixed before: eight codes at
strength 1.

Every finished set and seed is appended to `results/certificate.csv`; a killed run goes on where it stopped.

Options: --quick (one seed, few problems and rows), --seeds N, --sets NAME [NAME ...], --report (print what is there).
"""

import copy
from functools import partial

import numpy as np
import pandas as pd
from fairlearn.metrics import demographic_parity_difference
from fare_tree import FareTree
from measuring import downstream, median_table, split
from problems import load
from running import run_sets
from scipy.stats import binom
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_fairlatent import FairLatentTransformer, TabularCodec
from sklearn_fairlatent._codebook import Codebook, group_gaps
from sklearn_fairlatent.certification import certify, certify_codes
from sklearn_fairlatent.certification._bounds import (
    clopper_pearson_bound,
    dkw_bound,
    fixed_set_bound,
    l1_bound,
    largest_step,
    total_variation,
)
from sklearn_fairlatent.certification._comparing import SHARES
from sklearn_fairlatent.datasets import load_adult

QUICK_ROWS = 3000
ERROR = 0.05
CELLS = (2, 4, 8, 16, 32, 64)
ROWS = (300, 1000, 3000, 10_000, 30_000, 100_000)
MINORITIES = (0.5, 0.05)
TRUTHS = ("equal", "apart")
N_PROBLEMS = 200
N_RESPLITS = 20
N_CODES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
HEADLINE = 8
STRENGTHS = (1.0, 0.3, 0.1)
GAMMAS = (0.0, 0.3, 0.5, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98)
# Gaps at which the exact test's margin is computed; in between it is interpolated. That errs by up to 7 % of the margin
# where a group has 15 rows, and decides no verdict.
GAPS = np.r_[0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.16, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


# ---------------------------------------------------------------- validity


def measure_validity(seed, quick):
    rng = np.random.RandomState(seed)
    rows = []
    for n in ROWS[:3] if quick else ROWS:
        for minority in MINORITIES:
            sizes = round(minority * n), n - round(minority * n)
            for cells in CELLS[1:4] if quick else CELLS:
                for truth in TRUTHS:
                    setting = {"rows": n, "minority": minority, "cells": cells, "truth": truth}
                    rows += [
                        {**setting, **found}
                        for found in _verdicts(rng, sizes, cells, truth, 50 if quick else N_PROBLEMS)
                    ]
    return pd.DataFrame(rows)


def _verdicts(rng, sizes, cells, truth, n_problems):
    """Of every bound the number of problems in which it is below the truth, and how far it is above."""
    p = rng.dirichlet(np.ones(cells), n_problems)
    away = rng.uniform(0, 0.5, (n_problems, 1)) if truth == "apart" else 0.0
    q = (1 - away) * p + away * rng.dirichlet(np.ones(cells), n_problems)
    first, second = (
        np.array([rng.multinomial(n, row) for row in table]) for n, table in zip(sizes, (p, q), strict=True)
    )
    distance = total_variation(p, q)
    step = largest_step(p, q)
    gap = total_variation(first, second)
    fixed = partial(_fixed_set, sizes=sizes)
    bounds = {
        "fixed_set": (fixed(gap, distance, error=ERROR), distance),
        "clopper_pearson": (clopper_pearson_bound(first, second, ERROR), distance),
        "l1": (l1_bound(first, second, ERROR), distance),
        "best": (
            np.minimum(
                fixed(gap, distance, error=SHARES["fixed_set"] * ERROR),
                clopper_pearson_bound(first, second, SHARES["clopper_pearson"] * ERROR),
            ),
            distance,
        ),
        "monotone: fixed_set": (fixed(largest_step(first, second), step, error=ERROR), step),
        "monotone: dkw": (dkw_bound(first, second, ERROR), step),
    }
    for method, (bound, true) in bounds.items():
        # A distance of two equal tables is zero but for rounding.
        yield {"method": method, "problems": n_problems, "too low": int((bound < true - 1e-12).sum()),
               "above": float(np.median(bound - true)), "distance": float(np.median(true))}  # fmt: skip


def _fixed_set(gaps, truths, *, sizes, error):
    """The bound of every problem, computed exactly where interpolation could change whether it is below the truth."""
    margins = [fixed_set_bound(gap, *sizes, error) - gap for gap in GAPS]
    bounds = np.minimum(1.0, gaps + np.interp(gaps, GAPS, margins))
    close = np.flatnonzero(np.abs(bounds - truths) < 0.1 * max(margins))
    for k in close:
        bounds[k] = fixed_set_bound(gaps[k], *sizes, error)
    return bounds


# ---------------------------------------------------------------- attack


def measure_attack(name, seed, quick):
    problem = load(name)
    y, group = problem.y, problem.sensitive.iloc[:, 0].to_numpy()
    some = np.arange(len(y)) if not quick else np.random.RandomState(0).permutation(len(y))[:QUICK_ROWS]
    train, held_out = (some[part] for part in split(y[some], group[some], seed, test_size=0.6))
    fair = FairLatentTransformer(n_codes=HEADLINE, random_state=seed)
    fair.fit(problem.X[train], y[train], sensitive_features=problem.sensitive.iloc[train])
    codes = np.zeros(len(y), dtype=int)
    codes[some] = fair.to_codes(problem.X[some])
    places = fair.codebook_.representatives
    rows = []
    for k in range(2 if quick else N_RESPLITS):
        certified, attacked = train_test_split(held_out, test_size=0.5, stratify=group[held_out], random_state=k)
        certificate = certify(fair, problem.X[certified], problem.sensitive.iloc[certified])
        seen = np.r_[train, certified]
        attacks = {
            attack: decided[codes[attacked]] for attack, decided in _attacks(codes[seen], group[seen], places, k)
        }
        own = {"set chosen on the rows themselves": np.isin(codes[attacked], _worst(codes[attacked], group[attacked]))}
        for attack, decided in {**attacks, **own}.items():
            found = demographic_parity_difference(decided, decided, sensitive_features=group[attacked])
            shares = pd.Series(decided).groupby(group[attacked]).agg(["mean", "size"])
            noise = np.sqrt((shares["mean"] * (1 - shares["mean"]) / shares["size"]).sum())
            rows.append({"resplit": k, "attack": attack, "difference": found, "standard error": noise,
                         "certificate": certificate.bound,
                         "estimate": certificate.estimate, "cells": fair.codebook_.n_codes})  # fmt: skip
    return pd.DataFrame(rows)


def _attacks(codes, group, places, seed):
    """What each attacker decides about each code: models that tell the groups apart, and the worst set of codes."""
    names = np.unique(group)
    # Rows of one code and group are equal to a model: one of each, with their number as weight, groups counting alike.
    counts = np.array([np.bincount(codes[group == name], minlength=len(places)) for name in names])
    weights = (counts / counts.sum(axis=1, keepdims=True) * len(codes) / len(names)).ravel()
    Z, member = np.tile(places, (len(names), 1)), np.repeat(np.arange(len(names)), len(places))
    models = {
        "LR": LogisticRegression(C=1e4, max_iter=1000),
        "boosting": HistGradientBoostingClassifier(min_samples_leaf=1, random_state=seed),
        "MLP": MLPClassifier((32, 32), solver="lbfgs", max_iter=500, random_state=seed),
    }
    for name, model in models.items():
        model = make_pipeline(StandardScaler(), model)
        model.fit(Z, member, **{f"{model.steps[-1][0]}__sample_weight": weights})
        yield name, model.predict(places) == 1
    yield "worst set of codes", np.isin(np.arange(len(places)), _worst(codes, group))


def _worst(codes, group):
    return np.array(certify_codes(codes, group, n_codes=max(codes.max() + 1, 2), method="l1").worst_set, dtype=int)


# ---------------------------------------------------------------- curve


def measure_curve(seed, quick):
    problem = load("adult-sex")
    y, group = (problem.y == problem.positive).astype(int), problem.sensitive.iloc[:, 0].to_numpy()
    some = np.arange(len(y)) if not quick else np.random.RandomState(0).permutation(len(y))[:QUICK_ROWS]
    train, test = (some[part] for part in split(y[some], group[some], seed))
    sizes = N_CODES[3:5] if quick else N_CODES
    rows = [{"method": "majority", "accuracy": max(y[test].mean(), 1 - y[test].mean())}]

    def add(method, setting, asked, n_codes, codes, representatives=None):
        """A row: certificate and accuracies; ``codes`` of training and of test rows, of ``asked`` ones at most."""
        found = certify_codes(codes[1], group[test], n_codes=n_codes)
        rates = np.bincount(codes[0], y[train], n_codes) / np.maximum(np.bincount(codes[0], minlength=n_codes), 1)
        row = {"method": method, "setting": setting, "asked": asked, "cells": n_codes, "certificate": found.bound,
               "estimate": found.estimate, "accuracy": ((rates > 0.5)[codes[1]] == y[test]).mean(),
               "AUC": roc_auc_score(y[test], rates[codes[1]])}  # fmt: skip
        if representatives is not None:
            # Codes have an order, leaves have none.
            ordered = certify_codes(codes[1], group[test], n_codes=n_codes, classifiers="monotone")
            row["monotone"] = ordered.bound
            model = LogisticRegression().fit(representatives[codes[0]], y[train])
            row["LR accuracy"] = model.score(representatives[codes[1]], y[test])
        rows.append(row)

    for strength in STRENGTHS[:1] if quick else STRENGTHS:
        fair = FairLatentTransformer(n_codes=HEADLINE, fairness_strength=strength, random_state=seed)
        fair.fit(problem.X[train], y[train], sensitive_features=problem.sensitive.iloc[train])
        certify(fair, problem.X[test], problem.sensitive.iloc[test])  # refuses rows of the training part
        for n_codes in sizes:
            other = _recoded(fair, n_codes, problem.X[train], y[train], group[train])
            codes = other.to_codes(problem.X[train]), other.to_codes(problem.X[test])
            add(
                "FairLatentTransformer",
                strength,
                n_codes,
                other.codebook_.n_codes,
                codes,
                other.codebook_.representatives,
            )
        Z = [fair._hand_on(fair.encoding_.encode(problem.X[part])) for part in (train, test)]
        for name, model in downstream("binary", seed).items():
            scores = model.fit(Z[0], y[train]).predict_proba(Z[1])[:, 1]
            rows.append({"method": f"no codes, {name}", "setting": strength, "AUC": roc_auc_score(y[test], scores),
                         "accuracy": ((scores > 0.5) == y[test]).mean()})  # fmt: skip
    assert sum(part.stop - part.start for part in _feature_groups()) == problem.X.shape[1]
    categorical = [list(range(part.start, part.stop)) for part in _feature_groups() if part.stop - part.start > 1]
    for mode, groups in (("one-hot", None), ("categories", categorical)):
        for gamma in GAMMAS[2:3] if quick else GAMMAS:
            for n_codes in sizes:
                tree = FareTree(max_leaves=n_codes, gamma=gamma, random_state=seed, categorical=groups)
                tree.fit(problem.X[train], y[train], group[train])
                if tree.n_leaves_ > 1:
                    add(
                        f"fair tree, {mode}",
                        gamma,
                        n_codes,
                        tree.n_leaves_,
                        (tree.codes(problem.X[train]), tree.codes(problem.X[test])),
                    )
    return pd.DataFrame(rows)


def _recoded(fair, n_codes, X, y, group):
    """The transformer with another number of codes: as a fit with ``n_codes`` gives it (tested), without fitting."""
    other = copy.copy(fair).set_params(n_codes=n_codes)
    Z = fair._hand_on(fair.encoding_.encode(X), np.float64)
    member = (group == np.unique(group)[1]).astype(float)[:, None]
    targets = np.column_stack([y == 1, y == 0]).astype(float)
    gaps = group_gaps(member, np.zeros(len(y), dtype=int), np.ones(1))
    other.codebook_ = Codebook.fit(
        Z, targets, gaps, n_codes, strength=fair.fairness_strength, are_classes=True, seed=0
    )  # fmt: skip
    return other


def _feature_groups():
    """Columns of each feature of the Adult rows."""
    table = load_adult().frame.drop(columns=["income", "sex"])
    return TabularCodec().fit(table).feature_groups_.values()


# ---------------------------------------------------------------- report


def report(table):
    table = table.copy()
    _report_validity(table[table["set"] == "validity"])
    _report_attacks(table[table["set"].str.startswith("attack")])
    _report_curve(table[table["set"] == "curve"])


def _report_validity(table):
    if table.empty:
        return
    keys = ["method", "rows", "minority", "cells", "truth"]
    found = table.groupby(keys).agg({"problems": "sum", "too low": "sum", "above": "median", "distance": "median"})
    found["share too low"] = found["too low"] / found["problems"]
    print("\nBounds at 95 % on problems with known truth\n")
    # A distance of zero is below no bound.
    apart = found.xs("apart", level="truth")
    worst = apart.groupby("method")["share too low"].agg(["count", "max", "mean"])
    print(worst.rename(columns={"count": "settings", "max": "worst share too low", "mean": "mean share"}).to_string())
    n, settings = int(found["problems"].min()), len(apart) // apart.index.get_level_values("method").nunique()
    chance = binom.ppf(0.5 ** (1 / settings), n, ERROR) / n
    print(f"problems a setting: {n}; the largest of {settings} shares of 5 % would be {chance:.3f} in the median")
    for truth in TRUTHS:
        distance = table[table["truth"] == truth]["distance"].median()
        print(f"\nMedian of bound - truth, groups {truth} (median distance {distance:.3f}), method best")  # fmt: skip
        wide = found.loc["best"].reset_index().query("truth == @truth")
        print(wide.pivot(index="cells", columns=["minority", "rows"], values="above").round(3).to_string())
    print("\nMedian of bound - truth at 16 cells, 10,000 rows\n")
    some = found.reset_index().query("cells == 16 and rows == 10000")
    print(some.pivot(index="method", columns=["truth", "minority"], values="above").round(3).to_string())


def _report_attacks(table):
    for name, part in table.groupby("set", sort=False):
        others = part[~part["attack"].str.startswith("set chosen")]
        strongest = others.groupby(["seed", "resplit"])[["difference", "certificate"]].max()
        under = (strongest["difference"] <= strongest["certificate"]).sum()
        beyond = others[others["difference"] - 1.645 * others["standard error"] > others["certificate"]]
        own = part[part["attack"].str.startswith("set chosen")]
        own_under = (own["difference"] <= own["certificate"]).sum()
        print(f"\n{name}: {under} of {len(strongest)} resplits under the certificate; the set chosen on the rows that "
              f"it is measured on: {own_under} of {len(own)}; attacks above it by more than 1.645 standard errors "
              f"of their own: {len(beyond)} of {len(others)}\n")  # fmt: skip
        print(median_table(part, "attack", ["difference", "certificate", "estimate"]).to_string())


def _report_curve(table):
    if table.empty:
        return
    print("\nAdult by sex: medians [lowest, highest] of seeds; majority "
          f"{table[table['method'] == 'majority']['accuracy'].median():.4f}\n")  # fmt: skip
    ours = table[(table["method"] == "FairLatentTransformer") & (table["setting"] == 1.0)]
    print("Strength 1:\n" + median_table(
        ours, "asked", ["accuracy", "LR accuracy", "AUC", "certificate", "estimate", "monotone"]
    ).to_string())  # fmt: skip
    uncoded = table[table["method"].str.startswith("no codes")]
    print("\nWhat is handed on without codes\n")
    print(median_table(uncoded, ["method", "setting"], ["accuracy", "AUC"]).to_string())
    points = table[table["asked"].notna()].groupby(["method", "setting", "asked"])
    medians = points[["accuracy", "certificate", "estimate", "cells"]].median()
    medians = medians[points["seed"].nunique() == table["seed"].nunique()].reset_index()
    trees = medians[medians["method"].str.startswith("fair tree")]
    ours = medians[medians["method"] == "FairLatentTransformer"]
    print("\nLowest certificate of any setting with at least this accuracy (medians), and its estimate\n")
    rows = []
    for accuracy in np.arange(0.76, 0.86, 0.005):
        row = {"accuracy": round(accuracy, 3)}
        for who, part in (("ours", ours), ("fair tree", trees)):
            reached = part[part["accuracy"] >= accuracy]
            best = reached.loc[reached["certificate"].idxmin()] if len(reached) else None
            row |= {who: np.nan if best is None else best["certificate"],
                    f"{who}, estimate": np.nan if best is None else best["estimate"],
                    f"{who}, cells": np.nan if best is None else best["cells"]}  # fmt: skip
        rows.append(row)
    print(pd.DataFrame(rows).set_index("accuracy").round(4).to_string())
    both = pd.DataFrame(rows)
    lower, higher = (both["ours"] < both["fair tree"]).sum(), (both["ours"] > both["fair tree"]).sum()
    alone = [
        int((both[one].notna() & both[other].isna()).sum())
        for one, other in (("ours", "fair tree"), ("fair tree", "ours"))
    ]
    print(f"ours lower at {lower} accuracies, higher at {higher}, alone at {alone[0]}, the tree alone at {alone[1]}")
    print("\nOf as many codes, at strength 1, and of the tree with the highest accuracy within our certificate\n")
    rows = []
    for n_codes in N_CODES:
        own = ours[(ours["asked"] == n_codes) & (ours["setting"] == 1.0)]
        if own.empty:
            continue
        own = own.iloc[0]
        within = trees[(trees["asked"] <= n_codes) & (trees["certificate"] <= own["certificate"])]
        accurate = trees[(trees["asked"] <= n_codes) & (trees["accuracy"] >= own["accuracy"])]
        rows.append({"codes": n_codes, "accuracy": own["accuracy"], "certificate": own["certificate"],
                     "tree's accuracy within it": within["accuracy"].max(),
                     "tree's certificate at this accuracy": accurate["certificate"].min()})  # fmt: skip
    print(pd.DataFrame(rows).set_index("codes").round(4).to_string())


SETS = {
    "validity": measure_validity,
    **{f"attack-{name}": partial(measure_attack, name) for name in ("adult-sex", "compas-race", "law-race")},
    "curve": measure_curve,
}


def measure(name, seed, quick):
    return SETS[name](seed, quick).assign(set=name, seed=seed)


if __name__ == "__main__":
    run_sets(__doc__, "certificate", SETS, measure, report)
