"""The main job on the shipped Adult data: a fair latent, what it costs, three counterfactual rows, and the report."""

import time
from pathlib import Path

from measuring import classifier, split, versions
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from sklearn_fairlatent import FairLatentTransformer, TabularCodec
from sklearn_fairlatent.datasets import load_adult
from sklearn_fairlatent.inspection import fairness_report

SEED = 0
PAGE = Path("fairness_report.html")
ROWS_SHOWN = {
    "demographic_parity_difference": "DP difference",
    "demographic_parity_ratio": "DP ratio",
    "equalized_odds_difference": "EO difference",
    "lowest_selection_rate": "selected, lowest group",
    "highest_selection_rate": "selected, highest group",
}


def fit(pipeline, *args, **kwargs):
    start = time.perf_counter()
    pipeline.fit(*args, **kwargs)
    return time.perf_counter() - start


def show(report, seconds):
    """The figures of the report that matter most, side by side."""
    rows = {"accuracy": report.scores["accuracy"], "balanced accuracy": report.scores["balanced_accuracy"]}
    rows |= {text: report.disparities.xs("sex", level="attribute")[name] for name, text in ROWS_SHOWN.items()}
    print(f"{'':28} {'LR on raw':>10} {'LR on fair':>11}")
    for name, row in rows.items():
        print(f"{name:28} {row['baseline']:10.3f} {row['model']:11.3f}")
    before, after = (report.leakage.loc[(stage, "sex")] for stage in ("before", "after"))
    print(f"{'strongest probe AUC for sex':28} {before['score']:10.3f} {after['score']:11.3f}   95 % interval "
          f"{after['low']:.3f} to {after['high']:.3f}; sex shuffled {after['shuffled']:.3f}")  # fmt: skip
    print(f"{'fit time, s':28} {seconds['raw']:10.1f} {seconds['fair']:11.1f}\n")


def show_counterfactuals(fair, rows, groups):
    moved = fair.counterfactual(rows, "sex", sensitive_features=groups)
    print("Three held-out rows, and each as a member of the other group (changed values are marked *):")
    for k in range(len(rows)):
        before, after = rows.iloc[k], moved.iloc[k]
        changed = [f"{b} -> {a} *" if a != b else str(b) for b, a in zip(before, after, strict=True)]
        print(f"\nrow {rows.index[k]}, {groups.iloc[k]}")
        for name, text in zip(rows.columns, changed, strict=True):
            print(f"  {name:16} {text}")


def main():
    adult = load_adult()
    X, y, sex = adult.data, adult.target, adult.sensitive_features["sex"]
    train, test = split(y.to_numpy(), sex.to_numpy(), SEED)
    print(f"Adult: {len(X):,} rows, {X.shape[1]} columns; label {y.name}, sensitive attribute sex.")
    print(f"{len(train):,} rows to fit, {len(test):,} held out (seed {SEED}); majority class "
          f"{y.iloc[test].value_counts(normalize=True).max():.3f}.")  # fmt: skip
    print("Everything below is measured on the held-out rows.\n")

    raw = Pipeline([("encode", TabularCodec()), ("classify", classifier())])
    latent = FairLatentTransformer(encoder=TabularCodec(), random_state=SEED)
    fair = Pipeline([("fair", latent), ("classify", LogisticRegression())])
    seconds = {
        "raw": fit(raw, X.iloc[train], y.iloc[train]),
        "fair": fit(fair, X.iloc[train], y.iloc[train], fair__sensitive_features=sex.iloc[train]),
    }
    report = fairness_report(
        fair, X.iloc[test], y.iloc[test], sensitive_features=sex.iloc[test], baseline=raw,
        pos_label=adult.positive_label, random_state=SEED,
    )  # fmt: skip
    show(report, seconds)
    three = [test[(sex.to_numpy()[test] == "Female").argmax()], *test[-2:]]
    show_counterfactuals(fair["fair"], X.iloc[three], sex.iloc[three])
    report.to_html(PAGE)
    print(f"\nThe whole report: {PAGE} (open it in a browser).")
    print(f"{versions()}; {latent.n_threads} thread(s) in fit.")


if __name__ == "__main__":
    main()
