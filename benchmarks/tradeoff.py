"""The accuracy-fairness trade-off: every method on every data set, on the same splits, seeds and number of settings.

Each finished cell (data set, constraint, method, setting, seed) is appended to ``results/tradeoff.csv``, its leakage to
``results/leakage.csv``; a killed run goes on where it stopped. `report.py` makes the tables and the plots.
AIF360's LFR takes part where `aif360` is installed, best in an environment of its own beside the extra "bench".

Options: --quick (few rows, one seed, two settings), --problems, --methods, --constraints, --seeds, --jobs; --recheck N
(run N finished cells again, drawn by a fixed seed, and print how far they differ: on another kind of processor a fit
rounds differently).
"""

import argparse
import csv
import hashlib
import json
import os
import time
import warnings
from importlib import resources
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from measuring import downstream, group_disparity, leakage, quality, three_way_split
from ours import OUR_METHODS
from peers import METHODS, Rows, check_leace
from problems import PROBLEMS, cache_folder, load
from tqdm import tqdm

RESULTS = Path(__file__).parent / "results"
CONSTRAINTS = ("demographic_parity", "equalized_odds")
ALL_METHODS = METHODS | OUR_METHODS
QUICK_ROWS = 2000
KEY = ("problem", "constraint", "method", "index", "seed")
RECHECKED = ("test_utility", "test_dp", "test_eo", "auc", "strongest")
# The modules that decide what a fit learns; a change of theirs makes earlier figures of ours stale.
LEARNING = ("_attributes", "_batches", "_flow", "_latent", "_losses", "_objective", "_scores", "_training")
CODING = ("_codebook", "_coding")  # and where a finite code is handed on


def code_version(method):
    """Versions of what a figure depends on: of the libraries for a peer, of the learning code for ours."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("scikit-learn", "fairlearn", "torch"))
    if method not in OUR_METHODS:
        return libraries
    package = resources.files("sklearn_fairlatent")
    coded = CODING if "n_codes" in OUR_METHODS[method].grid[-1] else ()
    files = [package / f"{name}.py" for name in LEARNING + coded]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files if file.is_file()))
    return f"{libraries}, learning code {digest.hexdigest()[:8]}"


def rows_of(problem, codes, some):
    return Rows(problem.X[some], None if codes is None else codes[some], problem.sensitive.iloc[some])


def label_codes(problem):
    """Labels as peers want them: 1 the favourable one, class positions, or numbers."""
    if problem.task == "binary":
        return (problem.y == problem.positive).astype(int)
    if problem.task == "multiclass":
        return np.unique(problem.y, return_inverse=True)[1]
    return problem.y


def thinned(problem, n_rows):
    """A random part of the rows, whole groups of them where rows are grouped."""
    rng = np.random.RandomState(0)
    if problem.groups is not None:
        names = np.unique(problem.groups)
        share = min(1.0, n_rows / len(problem.X))
        kept = rng.choice(names, max(6, int(share * len(names))), replace=False)
        some = np.flatnonzero(np.isin(problem.groups, kept))
    else:
        some = np.sort(rng.permutation(len(problem.X))[:n_rows])
    return type(problem)(
        problem.name,
        problem.X[some],
        None if problem.y is None else problem.y[some],
        problem.positive,
        problem.sensitive.iloc[some].reset_index(drop=True),
        problem.task,
        None if problem.groups is None else problem.groups[some],
    )


def probed_within(task, constraint, y):
    """The labels within which the attribute is read, for :func:`measuring.leakage`."""
    return y if constraint == "equalized_odds" and task == "binary" else None


def run_cell(name, constraint, method_name, index, seed, quick):
    """Fit one setting on one split; rows for both result files."""
    problem = load(name)
    if quick:
        problem = thinned(problem, QUICK_ROWS)
    method, y = ALL_METHODS[method_name], label_codes(problem)
    parts = three_way_split(y if problem.task in ("binary", "multiclass") else None, problem, seed)
    train, valid, test = (rows_of(problem, y, part) for part in parts)
    params = method.grid[index]
    key = {"problem": name, "constraint": constraint, "method": method_name, "index": index, "seed": seed}
    about = {"kind": method.kind, "setting": json.dumps(params), "n_train": len(train.X)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = time.perf_counter()
        fitted = method.fit(train, problem.task, constraint, params, seed)
        about["fit_s"] = round(time.perf_counter() - start, 3)
    about["warnings"] = " ".join(sorted({w.category.__name__ for w in caught if "fairlatent" in w.category.__module__}))
    about["code"] = code_version(method_name)

    outcomes, leaks = [], []
    if method.kind == "representation":
        Z = {part: fitted.transform(rows) for part, rows in (("train", train), ("valid", valid), ("test", test))}
        if problem.task != "none":
            for model_name, model in downstream(problem.task, seed).items():
                model.fit(Z["train"], train.y)
                scores = {
                    part: evaluate(model.predict(Z[part]), rows, constraint, problem.task, train.y)
                    for part, rows in (("valid", valid), ("test", test))
                }
                ranked = quality(model, Z["test"], test.y, problem.task)
                outcomes.append({**key, "downstream": model_name, **about, **flat(scores), "auc": ranked})
        if index == len(method.grid) - 1:
            within = probed_within(problem.task, constraint, test.y)
            together = None if problem.groups is None else problem.groups[parts[2]]
            for attribute in test.sensitive:
                values = test.sensitive[attribute].to_numpy()
                panel = leakage(Z["test"], values, seed, within, together)
                shuffled = np.random.RandomState(seed).permutation(len(values))
                chance = leakage(Z["test"], values[shuffled], seed, within, together)
                leaks.append({
                    **key, "attribute": attribute, "setting": about["setting"], "width": Z["test"].shape[1],
                    **{probe: round(auc, 5) for probe, auc in panel.items()},
                    "strongest": round(max(panel.values()), 5), "shuffled": round(max(chance.values()), 5),
                    "code": about["code"],
                })  # fmt: skip
    else:
        scores = {
            part: evaluate(fitted.predict(rows, seed), rows, constraint, problem.task, train.y)
            for part, rows in (("valid", valid), ("test", test))
        }
        outcomes.append({**key, "downstream": method.downstream or "own", **about, **flat(scores), "auc": ""})
    return outcomes, leaks


def evaluate(predicted, rows, constraint, task, y_train):
    """Utility, that of the best constant, and both disparities."""
    return {
        "utility": utility(rows.y, predicted, task),
        "constant": utility(rows.y, np.full(len(rows.y), best_constant(y_train, task)), task),
        "dp": group_disparity(rows.y, predicted, rows.sensitive, "demographic_parity", task),
        "eo": group_disparity(rows.y, predicted, rows.sensitive, "equalized_odds", task),
        "selected": float(np.mean(predicted)) if task == "binary" else float("nan"),
    }


def utility(y, predicted, task):
    """Accuracy, or R2 of a regression."""
    if task == "regression":
        return float(1 - ((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum())
    return float((y == predicted).mean())


def best_constant(y, task):
    if task == "regression":
        return y.mean()
    values, counts = np.unique(y, return_counts=True)
    return values[counts.argmax()]


def flat(scores):
    return {f"{part}_{name}": round(value, 5) for part, measured in scores.items() for name, value in measured.items()}


def cells(problems, methods, constraints, seeds, quick):
    """All cells, small data sets first, seed by seed, so that a killed run leaves whole seeds behind."""
    for seed in seeds:
        for name in problems:
            about = load(name)
            for constraint in constraints:
                if about.task == "none" and constraint != "demographic_parity":
                    continue
                for method_name in methods:
                    method = ALL_METHODS[method_name]
                    if not method.supports(about.task, constraint, about.sensitive.shape[1]):
                        continue
                    last = len(method.grid) - 1
                    if (method.grid[last].get("n_components") or 0) > about.X.shape[1] - about.sensitive.shape[1]:
                        continue  # more columns than there are
                    # Without a label only leakage is measured, which is that of the last setting.
                    for index in [last] if about.task == "none" else sorted({0, last}) if quick else range(last + 1):
                        yield name, constraint, method_name, index, seed


def append(path, rows):
    """Append rows to a CSV whose header is written with the first."""
    if not rows:
        return
    path.parent.mkdir(exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        if new:
            writer.writeheader()
        writer.writerows(rows)


def read_rows(path):
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def finished(path):
    return {tuple(row[name] for name in KEY) for row in read_rows(path)}


def attempt(cell, quick):
    """A cell's rows, or its error: one method that fails must not end the run."""
    try:
        return cell, run_cell(*cell, quick), None
    except Exception as error:  # reported at the end, and the cell is tried again by the next run
        return cell, ([], []), f"{type(error).__name__}: {error}"


def recheck(cells, n_cells, results, jobs):
    """Run some finished cells again and print how far their figures lie from those of the files."""
    drawn = np.random.RandomState(0).permutation(len(cells))[:n_cells]
    recorded = {
        part: {(*(row[name] for name in KEY), row[part]): row for row in read_rows(results / file)}
        for part, file in (("downstream", "tradeoff.csv"), ("attribute", "leakage.csv"))
    }
    compared, work = [], Parallel(n_jobs=jobs, return_as="generator_unordered")
    for cell, found, error in tqdm(work(delayed(attempt)(cells[k], False) for k in drawn), total=len(drawn)):
        if error:
            print("failed:", *cell, error)
        for part, rows in zip(recorded, found, strict=True):
            for row in rows:
                before = recorded[part][*map(str, cell), row[part]]
                compared += [
                    (row["downstream"] if part == "downstream" else "probes", name, float(value) - float(before[name]))
                    for name, value in row.items()
                    if name in RECHECKED and value != ""
                ]
    table = pd.DataFrame(compared, columns=["behind", "figure", "difference"])
    about = table.groupby(["behind", "figure"])["difference"].agg(
        cells="size", differ=lambda d: (d != 0).sum(), mean="mean", largest=lambda d: d.abs().max()
    )
    print(f"{len(drawn)} of {len(cells)} finished cells run again, new less recorded:\n{about.round(5).to_string()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--methods", nargs="+", default=list(ALL_METHODS), choices=list(ALL_METHODS))
    parser.add_argument("--constraints", nargs="+", default=CONSTRAINTS, choices=CONSTRAINTS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--results", type=Path)
    parser.add_argument("--recheck", type=int, metavar="N")
    args = parser.parse_args()
    results = args.results or (RESULTS / "quick" if args.quick else RESULTS)
    problems = args.problems
    if args.quick and problems == list(PROBLEMS):
        problems = ["german-sex", "adult-sex"]
    seeds = range(args.first_seed, args.first_seed + (1 if args.quick else args.seeds))
    done = finished(results / "tradeoff.csv") | finished(results / "leakage.csv")
    wanted = list(cells(problems, args.methods, args.constraints, seeds, args.quick))
    if args.recheck:
        recheck([cell for cell in wanted if tuple(map(str, cell)) in done], args.recheck, results, args.jobs)
        return
    todo = [cell for cell in wanted if tuple(map(str, cell)) not in done]
    print(f"{len(todo)} cells to run, data cached in {cache_folder()}")
    for name in dict.fromkeys(cell[0] for cell in todo):
        load(name)  # downloads once, before the workers ask for it side by side
    if "LEACE" in args.methods and todo:
        problem = load("german-sex")
        difference = check_leace(rows_of(problem, None, np.arange(len(problem.X))))
        print(f"LEACE against concept-erasure, German credit: largest difference {difference:.1g}")
    failures = []
    work = Parallel(n_jobs=args.jobs, return_as="generator_unordered")
    for cell, (outcomes, leaks), error in tqdm(
        work(delayed(attempt)(cell, args.quick) for cell in todo), total=len(todo), unit="cell"
    ):
        append(results / "tradeoff.csv", outcomes)
        append(results / "leakage.csv", leaks)
        if error:
            failures.append((cell, error))
    for cell, error in failures:
        print("failed:", *cell, error)


if __name__ == "__main__":
    main()
