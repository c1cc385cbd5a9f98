"""Adult, sex: the accuracy under a bound on the disparity, with the strength chosen on validation rows.

Chosen is the most accurate of `STRENGTHS` on the validation rows among those within the bound there, else the fairest;
the test rows of every split then tell accuracy, disparity and the AUC of the strongest probe. Logistic regression
behind. Beside the chosen ones stand the medians of every strength, for which nothing was chosen. Writes
`results/goals.csv`; a killed run goes on where it stopped.

Options: --quick (one seed, a tenth of the rows, two strengths), --seeds N, --report (print what is there).
"""

import argparse
import warnings
from pathlib import Path

import pandas as pd
from measuring import classifier, group_disparity, leakage, three_way_split, versions
from ours import OUR_METHODS
from problems import load
from sklearn.metrics import roc_auc_score
from tqdm import tqdm
from tradeoff import QUICK_ROWS, label_codes, probed_within, rows_of, thinned

RESULTS = Path(__file__).parent / "results"
METHODS = ("fair latent", "fair latent, boosted scores in front")
GOALS = {"demographic_parity": 0.01, "equalized_odds": 0.02}
STRENGTHS = (1.0, 1.5, 2.0, 3.0)
KEY = ["method", "constraint", "seed"]


def fit_and_judge(method, constraint, strength, parts, seed):
    """Accuracy and disparity on validation and test rows, label AUC, and the latent of the test rows."""
    train, valid, test = parts
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = OUR_METHODS[method].fit(train, "binary", constraint, {"fairness_strength": strength}, seed)
    model = classifier().fit(fitted.transform(train), train.y)
    row = {"method": method, "constraint": constraint, "seed": seed, "strength": strength}
    for name, rows in (("valid", valid), ("test", test)):
        predicted = model.predict(fitted.transform(rows))
        row[f"{name} accuracy"] = (predicted == rows.y).mean()
        row[f"{name} disparity"] = group_disparity(rows.y, predicted, rows.sensitive, constraint, "binary")
    Z = fitted.transform(test)
    row["label AUC"] = roc_auc_score(test.y, model.decision_function(Z))
    return row, Z


def chosen(rows, bound):
    """Position of the setting that the validation rows choose."""
    within = [i for i, row in enumerate(rows) if row["valid disparity"] <= bound]
    if within:
        return max(within, key=lambda i: rows[i]["valid accuracy"])
    return min(range(len(rows)), key=lambda i: rows[i]["valid disparity"])


def of_split(problem, y, seed, method, constraint, strengths):
    """A row for every strength, the chosen one with its leakage."""
    parts = [rows_of(problem, y, part) for part in three_way_split(y, problem, seed)]
    fits = [fit_and_judge(method, constraint, strength, parts, seed) for strength in strengths]
    position = chosen([row for row, _ in fits], GOALS[constraint])
    test = parts[2]
    within = probed_within("binary", constraint, test.y)
    panel = leakage(fits[position][1], test.sensitive["sex"].to_numpy(), seed, within)
    shared = {"bound": GOALS[constraint], "majority": 1 - test.y.mean()}
    rows = [row | shared | {"chosen": k == position} for k, (row, _) in enumerate(fits)]
    rows[position]["probe"] = max(panel.values())
    return rows


def report(table):
    """The chosen strength, then every one of them: medians, with the lowest and highest where it was chosen."""
    for (method, constraint), part in table.groupby(["method", "constraint"], sort=False):
        won = part[part["chosen"]]
        listed = (
            f"{name} {won[name].median():.4f} [{won[name].min():.4f}, {won[name].max():.4f}]"
            for name in ("test accuracy", "test disparity", "label AUC", "probe", "majority", "strength")
        )
        print(f"{method}, {constraint} <= {GOALS[constraint]}, {len(won)} seed(s): " + ", ".join(listed))
        for strength, rows in part.groupby("strength"):
            accuracy, disparity = rows["test accuracy"].median(), rows["test disparity"].median()
            print(f"    strength {strength}: {accuracy:.4f} at {disparity:.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    problem, n_seeds, strengths = load("adult-sex"), args.seeds, STRENGTHS
    if args.quick:
        problem, n_seeds, strengths = thinned(problem, QUICK_ROWS), 1, STRENGTHS[:2]
    results = RESULTS / "quick" if args.quick else RESULTS
    results.mkdir(exist_ok=True)
    file = results / "goals.csv"
    table = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=KEY)
    done = set(table[KEY].itertuples(index=False, name=None))
    cases = [(method, constraint, seed) for seed in range(n_seeds) for method in METHODS for constraint in GOALS]
    y = label_codes(problem)
    for method, constraint, seed in tqdm([] if args.report else [case for case in cases if case not in done]):
        found = pd.DataFrame(of_split(problem, y, seed, method, constraint, strengths))
        table = pd.concat([table, found], ignore_index=True)
        table.round(5).to_csv(file, index=False)
    report(table)
    print(f"Medians [lowest, highest] of the seeds. {versions()}")


if __name__ == "__main__":
    main()
