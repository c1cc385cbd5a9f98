"""What a curve costs, and how the time of a fit grows with rows and columns.

A curve: ten strengths, each fit warm-started from the last, against ten bounds of `ExponentiatedGradient` with logistic
regression; then one fit against `ExponentiatedGradient` with boosting. Both sides alternate in one run, on one thread.
Growth: Adult rows resampled, and random mixtures of their columns, 1k to 1M rows and 16 to 1,024 columns.
Device: the same rows and columns, fitted on an accelerator and on one and several threads of its machine's CPU.

Writes `results/cost.csv` and `results/growth.png`. Options: --quick (few rows, one repeat, small sizes), --repeats N,
--parts curve single growth, --device cuda (that part, where there is one).
"""

import argparse
import time
import warnings
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from fairlearn.reductions import DemographicParity, ExponentiatedGradient
from measuring import classifier, group_disparity, split, versions
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from sklearn_fairlatent import FairLatentTransformer, TabularCodec
from sklearn_fairlatent.datasets import load_adult

mpl.use("Agg")
RESULTS = Path(__file__).parent / "results"
STRENGTHS = (0.0, 0.02, 0.04, 0.06, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
BOUNDS = (0.1, 0.07, 0.05, 0.03, 0.02, 0.015, 0.01, 0.005, 0.003, 0.002)
N_ROWS = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
N_COLUMNS = (16, 32, 64, 128, 256, 512, 1_024)
ROWS_OF_COLUMNS = 20_000
DEVICE_ROWS, DEVICE_COLUMNS = (30_000, 300_000), (384, 1_024)
DEVICE_THREADS = 8


def reduction(estimator, bound, weights):
    return ExponentiatedGradient(estimator, DemographicParity(difference_bound=bound), sample_weight_name=weights)


class Adult:
    """The encoded rows, split."""

    def __init__(self, quick):
        adult = load_adult()
        X = TabularCodec().fit_transform(adult.data)
        y = (adult.target == adult.positive_label).astype(int).to_numpy()
        sex = adult.sensitive_features["sex"].to_numpy()
        if quick:
            some = split(y, sex, 0, test_size=0.1)[1]
            X, y, sex = X[some], y[some], sex[some]
        self.X, self.y, self.sex = X, y, sex
        self.train, self.test = split(y, sex, 0)

    def of(self, rows):
        return self.X[rows], self.y[rows], self.sex[rows]

    def judge(self, predicted):
        y, sex = self.y[self.test], pd.DataFrame({"sex": self.sex[self.test]})
        return (predicted == y).mean(), group_disparity(y, predicted, sex, "demographic_parity", "binary")


def our_curve(data, strengths):
    X, y, sex = data.of(data.train)
    fair = FairLatentTransformer(random_state=0, warm_start=True)
    seconds, points = 0.0, []
    for strength in strengths:
        start = time.perf_counter()
        fair.set_params(fairness_strength=strength).fit(X, y, sensitive_features=sex)
        model = classifier().fit(fair.transform(X), y)
        seconds += time.perf_counter() - start
        points.append(data.judge(model.predict(fair.transform(data.X[data.test]))))
    return seconds, points


def peer_curve(data, bounds):
    X, y, sex = data.of(data.train)
    seconds, points = 0.0, []
    for bound in bounds:
        model = reduction(classifier(), bound, "logisticregression__sample_weight")
        start = time.perf_counter()
        model.fit(X, y, sensitive_features=sex)
        seconds += time.perf_counter() - start
        points.append(data.judge(np.asarray(model.predict(data.X[data.test], random_state=0))))
    return seconds, points


def measure_curve(data, repeats, n_points):
    rows = []
    for repeat in range(repeats):
        for side, curve, knobs in (("ours", our_curve, STRENGTHS), ("EG (LR)", peer_curve, BOUNDS)):
            knobs = knobs[:: len(knobs) // n_points]
            seconds, points = curve(data, knobs)
            rows.append({"part": "curve", "side": side, "repeat": repeat, "n": len(knobs), "seconds": seconds})
            listed = ", ".join(f"{knob}: {accuracy:.4f} at {gap:.4f}" for knob, (accuracy, gap) in zip(
                knobs, points, strict=True))  # fmt: skip
            print(f"curve, {side}, {seconds:.1f} s; accuracy at DP difference: {listed}", flush=True)
    return rows


def measure_single(data, repeats):
    X, y, sex = data.of(data.train)
    boosted = reduction(HistGradientBoostingClassifier(random_state=0), 0.01, "sample_weight")
    sides = {"ours": FairLatentTransformer(random_state=0), "EG (boosting)": boosted}
    rows = []
    for repeat in range(repeats):
        for side, estimator in sides.items():
            start = time.perf_counter()
            estimator.fit(X, y, sensitive_features=sex)
            rows.append({"part": "single", "side": side, "repeat": repeat, "n": 1,
                         "seconds": time.perf_counter() - start})  # fmt: skip
            print(f"one fit, {side}: {rows[-1]['seconds']:.1f} s", flush=True)
    return rows


def grown(data, n_rows, n_columns):
    """Adult rows drawn anew, and random mixtures of their columns: part, size, X and the rows' positions."""
    rng = np.random.RandomState(0)
    # Standardised: the mixtures of columns must be of all of them, not of the one with the largest numbers.
    X = (data.X - data.X.mean(axis=0)) / np.where(data.X.std(axis=0) > 0, data.X.std(axis=0), 1)
    for part, sizes in (("rows", n_rows), ("columns", n_columns)):
        for n in sizes:
            some = rng.randint(len(X), size=n if part == "rows" else min(ROWS_OF_COLUMNS, len(X)))
            Z = data.X[some] if part == "rows" else X[some] @ rng.standard_normal((X.shape[1], n)) / X.shape[1] ** 0.5
            if part == "columns":
                Z = Z + 0.1 * rng.standard_normal(Z.shape)  # else more columns than Adult has would be copies
            yield part, n, Z, some


def measure_sizes(data, sizes, new_sides, name="{}"):
    """One fit of every side at every size."""
    rows = []
    for part, n, Z, some in grown(data, *sizes):
        for side, estimator in new_sides().items():
            start = time.perf_counter()
            estimator.fit(Z, data.y[some], sensitive_features=data.sex[some])
            seconds = time.perf_counter() - start
            rows.append({"part": name.format(part), "side": side, "repeat": 0, "n": n, "seconds": seconds})
            print(f"{n:,} {part}, {side}: {seconds:.1f} s", flush=True)
    return rows


def measure_growth(data, sizes):
    return measure_sizes(data, sizes, lambda: {
        "ours": FairLatentTransformer(random_state=0),
        "EG (LR)": reduction(classifier(), 0.01, "logisticregression__sample_weight"),
    })  # fmt: skip


def measure_device(data, sizes, device):
    """Fits on ``device`` and on one and several threads of the CPU beside it."""
    X, y, sex = data.of(data.train[:2_000])
    FairLatentTransformer(max_epochs=1, device=device).fit(X, y, sensitive_features=sex)  # loads the device's libraries
    return measure_sizes(data, sizes, lambda: {
        device: FairLatentTransformer(random_state=0, device=device),
        "1 thread": FairLatentTransformer(random_state=0),
        f"{DEVICE_THREADS} threads": FairLatentTransformer(random_state=0, n_threads=DEVICE_THREADS),
    }, f"{{}} on {device}")  # fmt: skip


def plot_growth(table, path):
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
    for axis, part in zip(axes, ("rows", "columns"), strict=True):
        for side, times in table[table.part == part].groupby("side", sort=False):
            ours = side == "ours"
            axis.plot(times.n, times.seconds, marker="o", label="fair latent" if ours else side,
                      color="C3" if ours else "C0", linewidth=2.5 if ours else 1)  # fmt: skip
        axis.set(xscale="log", yscale="log", xlabel=part)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("one fit, s, one thread")
    axes[0].legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def summary(table):
    """Ratios of the sides that alternate."""
    lines = []
    for part, words in (("curve", "whole curve against ten ExponentiatedGradient (LR) bounds"),
                        ("single", "one fit against ExponentiatedGradient (boosting)")):  # fmt: skip
        times = table[table.part == part].pivot_table(index="repeat", columns="side", values="seconds")
        if len(times):
            ratios = times["ours"] / times.drop(columns="ours").iloc[:, 0]
            lines.append(f"{words}: {times.median().round(1).to_dict()} s, "
                         f"ratio {ratios.median():.3f} ({ratios.min():.3f} to {ratios.max():.3f})")  # fmt: skip
    for part, times in table[table.part.str.contains(" on ")].groupby("part", sort=False):
        size, device = part.split(" on ")
        for n, one in times.pivot_table(index="n", columns="side", values="seconds").iterrows():
            ratios = ", ".join(f"{one[device] / one[side]:.2f} of {side}" for side in one.index if side != device)
            lines.append(f"{n:,} {size}, one fit on {device}: {ratios}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--parts", nargs="*", default=["curve", "single", "growth"])
    parser.add_argument("--device")
    args = parser.parse_args()
    repeats = 1 if args.quick else args.repeats
    data = Adult(args.quick)
    rows = []
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        if "curve" in args.parts:
            rows += measure_curve(data, repeats, 2 if args.quick else len(STRENGTHS))
        if "single" in args.parts:
            rows += measure_single(data, repeats)
        if "growth" in args.parts:
            rows += measure_growth(data, [sizes[:3] if args.quick else sizes for sizes in (N_ROWS, N_COLUMNS)])
        if args.device:
            sizes = [(1_000,), (32,)] if args.quick else (DEVICE_ROWS, DEVICE_COLUMNS)
            rows += measure_device(data, sizes, args.device)
    table = pd.DataFrame(rows).round(3)
    results = RESULTS / "quick" if args.quick else RESULTS
    results.mkdir(exist_ok=True)
    path = results / "cost.csv"
    if path.exists():
        before = pd.read_csv(path)
        table = pd.concat([before[~before.part.isin(table.part)], table], ignore_index=True)
    table.to_csv(path, index=False)
    if table.part.isin(["rows", "columns"]).any():
        plot_growth(table, results / "growth.png")
    print(summary(table))
    print(versions())


if __name__ == "__main__":
    main()
