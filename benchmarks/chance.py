"""What the probes read by chance: the leakage of our latent at full strength with the attribute shuffled.

For every set but Adult, whose rows are so many that chance reads .50 to .51: `N_SHUFFLES` shuffles of every seed's test
rows, 200 over five seeds. Resumable; writes `results/chance.csv`, which `report.py` sets beside the leakage.

Options: --quick (one set, one seed, two shuffles), --problems, --method (another of our entries), --seeds, --jobs.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from measuring import leakage, three_way_split
from ours import OUR_METHODS
from problems import load
from tqdm import tqdm
from tradeoff import CONSTRAINTS, QUICK_ROWS, label_codes, probed_within, rows_of, thinned

RESULTS = Path(__file__).parent / "results"
SETS = ("german-sex", "german-age", "compas-race", "law-race", "law-zfya", "reddit-gender")
N_SHUFFLES = 40
KEY = ["method", "problem", "constraint", "seed"]


def shuffled_leakage(method_name, name, constraint, seed, n_shuffles, quick):
    """The strongest probe of every shuffle of one split's test rows."""
    problem, method = load(name), OUR_METHODS[method_name]
    if quick:
        problem = thinned(problem, QUICK_ROWS)
    y = label_codes(problem)
    train, _, test = (
        rows_of(problem, y, part)
        for part in three_way_split(y if problem.task in ("binary", "multiclass") else None, problem, seed)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Z = method.fit(train, problem.task, constraint, method.grid[-1], seed).transform(test)
    within = probed_within(problem.task, constraint, test.y)
    values = test.sensitive.iloc[:, 0].to_numpy()
    rng = np.random.RandomState(seed)
    rows = []
    for shuffle in range(n_shuffles):
        panel = leakage(Z, rng.permutation(values), seed, within)
        rows.append(
            {"method": method_name, "problem": name, "constraint": constraint, "seed": seed, "shuffle": shuffle,
             "strongest": round(max(panel.values()), 5)}
        )  # fmt: skip
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--problems", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--method", default="fair latent", choices=list(OUR_METHODS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--results", type=Path)
    args = parser.parse_args()
    problems, n_seeds, n_shuffles = args.problems, args.seeds, N_SHUFFLES
    if args.quick:
        problems, n_seeds, n_shuffles = problems[:1], 1, 2
    results = args.results or (RESULTS / "quick" if args.quick else RESULTS)
    results.mkdir(exist_ok=True, parents=True)
    path = results / "chance.csv"
    table = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=KEY)
    done = set(table[KEY].itertuples(index=False, name=None))
    cells = [
        (args.method, name, constraint, seed)
        for seed in range(n_seeds)
        for name in problems
        for constraint in CONSTRAINTS
    ]
    cells = [cell for cell in cells if cell not in done]
    work = Parallel(n_jobs=args.jobs, return_as="generator")(
        delayed(shuffled_leakage)(*cell, n_shuffles, args.quick) for cell in cells
    )
    for rows in tqdm(work, total=len(cells), unit="cell"):
        table = pd.concat([table, pd.DataFrame(rows)], ignore_index=True)
        table.to_csv(path, index=False)
    print(table.groupby(["method", "problem", "constraint"]).strongest.quantile(0.95).round(3).to_string())


if __name__ == "__main__":
    main()
