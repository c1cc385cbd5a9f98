"""The main job on the shipped Adult data: a fair latent, what it costs, and three counterfactual rows."""

import time

import pandas as pd
from measuring import classifier, probes, report, split, versions

from sklearn_fairlatent import FairLatentTransformer, TabularCodec
from sklearn_fairlatent.datasets import load_adult

SEED = 0


def main():
    adult = load_adult()
    X, y, sex = adult.data, adult.target.to_numpy(), adult.sensitive_features["sex"]
    train, test = split(y, sex.to_numpy(), SEED)
    majority = max((y[test] == value).mean() for value in set(y))
    print(f"Adult: {len(X):,} rows, {X.shape[1]} columns; label {adult.target.name}, sensitive attribute sex.")
    print(f"{len(train):,} rows to fit, {len(test):,} held out (seed {SEED}); majority class {majority:.3f}.")
    print("Everything below is measured on the held-out rows.\n")

    codec = TabularCodec().fit(X.iloc[train])
    fair = FairLatentTransformer(encoder=TabularCodec(), random_state=SEED)
    start = time.perf_counter()
    fair.fit(X.iloc[train], adult.target.iloc[train], sensitive_features=sex.iloc[train])
    seconds = {"raw": 0.0, "fair latent": time.perf_counter() - start}

    columns = {}
    for name, transformer in (("raw", codec), ("fair latent", fair)):
        Z = transformer.transform(X)
        start = time.perf_counter()
        model = classifier().fit(Z[train], y[train])
        seconds[name] += time.perf_counter() - start
        scores = report(y[test], model.predict(Z[test]), sex.to_numpy()[test], adult.positive_label)
        leakage = probes(Z[test], sex.to_numpy()[test])
        strongest = max(leakage, key=leakage.get)
        columns[name] = {key: f"{value:.3f}" for key, value in scores.items()}
        columns[name]["strongest probe AUC for sex"] = f"{leakage[strongest]:.3f} ({strongest})"
        columns[name]["fit time"] = f"{seconds[name]:.1f} s"
    table = pd.DataFrame(columns)
    table.columns = [f"LR on {name}" for name in table.columns]
    print(table.to_string(), end="\n\n")

    three = [test[(sex.to_numpy()[test] == "Female").argmax()], *test[-2:]]
    rows, groups = X.iloc[three], sex.iloc[three]
    moved = fair.counterfactual(rows, "sex", sensitive_features=groups)
    print("Three held-out rows, and each as a member of the other group (changed values are marked *):")
    for k in range(len(rows)):
        before, after = rows.iloc[k], moved.iloc[k]
        changed = [f"{b} -> {a} *" if a != b else str(b) for b, a in zip(before, after, strict=True)]
        print(f"\nrow {rows.index[k]}, {groups.iloc[k]}")
        for name, text in zip(rows.columns, changed, strict=True):
            print(f"  {name:16} {text}")
    print(f"\n{versions()}; {fair.n_threads} thread(s) in fit.")


if __name__ == "__main__":
    main()
