"""Is the interval of `leakage_score` right? Simulated latents that are independent of the attribute, and raw Adult.

Each of 500 sets has 2,000 rows, 1 to 8 columns of several shapes and an attribute of two groups, drawn independently.
The 95 % interval should hold 0.5 in about 95 % of them. Then sex is read from the columns of Adult.

Each finished set is appended to ``results/calibration.csv``; a killed run goes on where it stopped.
Options: --quick (20 sets), --sets N, --jobs N; --plain measures, as a control, what the interval would be worth with
plain cross-validation, in which every fold trains the probes for every other (``results/calibration-plain.csv``).
"""

import argparse
import csv
import os
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from measuring import split, versions
from scipy.stats import binomtest
from tqdm import tqdm

from sklearn_fairlatent import TabularCodec
from sklearn_fairlatent.datasets import load_adult
from sklearn_fairlatent.metrics import _probing, leakage_score

RESULTS = Path(__file__).parent / "results"
N_ROWS = 2000
COLUMNS = ("set", "width", "share", "score", "low", "high", "probe", "strongest_naive")


def independent_latents(rng):
    """Latents of 1 to 8 columns (normal, heavy-tailed, skewed, with few values, correlated) and a group."""
    width = rng.randint(1, 9)
    share = rng.choice([0.5, 0.3])
    Z = rng.standard_normal((N_ROWS, width)) @ (np.eye(width) + 0.3 * rng.standard_normal((width, width)))
    kind = rng.randint(4)
    if kind == 1:
        Z = rng.standard_t(3, (N_ROWS, width))
    elif kind == 2:
        Z = np.exp(Z / 2)
    elif kind == 3:
        Z = np.round(Z)
    group = rng.permutation(np.arange(N_ROWS) < share * N_ROWS)
    return Z, np.where(group, "a", "b"), share


def all_others(blocks, k):
    """Training blocks of plain cross-validation."""
    return [block for position, block in enumerate(blocks) if position != k]


def measure(number, plain):
    if plain:
        _probing._followers = all_others
    rng = np.random.RandomState(number)
    Z, group, share = independent_latents(rng)
    leak = leakage_score(Z, {"s": group}, n_shuffles=0, random_state=number)["s"]
    return {
        "set": number, "width": Z.shape[1], "share": share, "score": round(leak.score, 5),
        "low": round(leak.interval[0], 5), "high": round(leak.interval[1], 5), "probe": leak.probe,
        # What an interval for one probe, chosen beforehand, would be if laid around the strongest.
        "strongest_naive": round(1.96 * np.sqrt((1 / (share * N_ROWS) + 1 / ((1 - share) * N_ROWS)) / 12), 5),
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--sets", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args()
    path = (RESULTS / "quick" if args.quick else RESULTS) / f"calibration{'-plain' if args.plain else ''}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    n_sets = 20 if args.quick else args.sets
    done = set(pd.read_csv(path)["set"]) if path.exists() else set()
    todo = [number for number in range(n_sets) if number not in done]
    work = Parallel(n_jobs=args.jobs, return_as="generator_unordered")
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not file.tell():
            writer.writeheader()
        for row in tqdm(work(delayed(measure)(number, args.plain) for number in todo), total=len(todo), unit="set"):
            writer.writerow(row)
            file.flush()
    table = pd.read_csv(path)
    table = table[table["set"] < n_sets]
    held = (table["low"] <= 0.5) & (table["high"] >= 0.5)
    low, high = binomtest(int(held.sum()), len(table)).proportion_ci()
    half = (table["high"] - table["low"]) / 2
    naive = (table["score"] - 0.5).abs() <= table["strongest_naive"]
    print(f"{len(table)} independent sets of {N_ROWS:,} rows: the 95 % interval holds 0.5 in {held.mean():.1%} of them "
          f"(exact 95 % interval of that share {low:.1%} to {high:.1%})")  # fmt: skip
    print(f"half-width: median {half.median():.4f}, largest {half.max():.4f}; mean score {table['score'].mean():.4f}")
    print(f"without the correction, 1.96 standard errors around the strongest: {naive.mean():.1%}")
    if args.plain:
        return
    adult = load_adult()
    X = TabularCodec().fit_transform(adult.data)
    sex = adult.sensitive_features[["sex"]]
    rows = split(adult.target.to_numpy(), sex["sex"].to_numpy(), 0)[1][: 3000 if args.quick else None]
    leak = leakage_score(X[rows], sex.iloc[rows].reset_index(drop=True), random_state=0, n_jobs=args.jobs)["sex"]
    print(f"raw columns of Adult, {len(rows):,} rows: AUC {leak.score:.4f} [{leak.interval[0]:.4f}, "
          f"{leak.interval[1]:.4f}] by {leak.probe}; sex shuffled {leak.shuffled:.4f}; by probe "
          + ", ".join(f"{name} {auc:.4f}" for name, auc in leak.by_probe.items()))  # fmt: skip
    print(versions())


if __name__ == "__main__":
    main()
