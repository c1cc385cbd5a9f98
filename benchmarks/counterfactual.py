"""Counterfactuals: ours and simpler moves, judged on rows that none of them saw by classifiers of other rows.

Embeddings (MiniLM: decision prompts by gender and race, Reddit posts by who is mentioned, Adult rows as sentences by
sex), Adult as a table, faces of a pretrained GAN and of a pretrained VAE, and simulated rows of known truth.
Every finished part (set, attribute, seed) is appended to `results/counterfactual.csv`; a killed run goes on where it
stopped.
The first run of gan-faces judges 120,000 faces and teaches a network with them, which takes half an hour once.

Options: --quick (one seed, few rows), --seeds N, --parts NAME [NAME ...], --report (print the table of what is there).
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from measuring import median_table, versions
from moves import PEERS, random_move
from problems import _write, load
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_fairlatent import FairLatentTransformer, TabularCodec
from sklearn_fairlatent.datasets import load_adult, make_biased_latents
from sklearn_fairlatent.metrics import counterfactual_scores

RESULTS = Path(__file__).parent / "results"
OURS, TRANSPORT = "ours, trained", "ours, transport"
# Of generators: the judge's score is told instead of the group that it says, and a score of the other group asked for.
SCORES = "ours, trained on scores"
# Columns of an encoder's dead units hold rounding only, which a judge that standardises its columns would read.
DEAD = 1e-6
N_TEST = 3000
QUICK_ROWS = 3000


def judges_of(seed, n_rows):
    """Three judges of different kinds."""
    network = {"early_stopping": True} if n_rows > 5000 else {"max_iter": 60, "alpha": 1.0}
    return {
        "LR": make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)),
        "MLP": make_pipeline(StandardScaler(), MLPClassifier((64,), random_state=seed, **network)),
        "boosting": HistGradientBoostingClassifier(random_state=seed),
    }


def ours(seed, kind="trained", **params):
    """Our transformer; its own latent takes no part in the counterfactuals and is trained for one epoch only."""
    return FairLatentTransformer(counterfactual_map=kind, max_epochs=1, random_state=seed, **params)


def judged(X, moved, judges, attribute, wanted):
    """Flip rate by judge, consistency of the other variables by judge, and distance relative to the rows' spread."""
    row = {}
    for kind, judge in judges[attribute].items():
        row[f"flip {kind}"] = float(np.mean(judge.predict(moved) == wanted))
    others = {
        (name, kind): float(np.mean(judge.predict(moved) == judge.predict(X)))
        for name, panel in judges.items()
        if name != attribute
        for kind, judge in panel.items()
    }
    for name in {name for name, _ in others}:
        row[f"kept {name}"] = float(np.mean([value for (other, _), value in others.items() if other == name]))
    row["flip"] = float(np.mean([row[f"flip {kind}"] for kind in judges[attribute]]))
    row["kept"] = float(np.mean(list(others.values()))) if others else 1.0
    row["distance"] = _length(moved - X) / _length(X - X.mean(0))
    return row


def _length(step):
    return float(np.sqrt((np.reshape(step, (len(step), -1)) ** 2).sum(1).mean()))


# ---------------------------------------------------------------- embeddings


def embeddings(name, attributes, seed, quick):
    """Rows of one of the text sets: every method, one row each and attribute."""
    problem = load(name)
    X = problem.X[:, problem.X.std(0) > DEAD * problem.X.std(0).max()]
    values = {column: problem.sensitive[column].to_numpy() for column in problem.sensitive}
    if problem.y is not None:
        values = {"label": problem.y.astype(str), **values}
    fit, other, test = _three_parts(problem, X, values, seed, quick)
    judges = {
        v: {kind: judge.fit(X[other], codes[other]) for kind, judge in judges_of(seed, len(other)).items()}
        for v, codes in values.items()
    }
    sensitive = pd.DataFrame({v: codes[fit] for v, codes in values.items() if v != "label"})
    label = values["label"][fit] if "label" in values else None
    fairs, seconds = {}, {}
    for method, kind in ((OURS, "trained"), (TRANSPORT, "transport")):
        start = time.perf_counter()
        fairs[method] = ours(seed, kind).fit(X[fit], label, sensitive_features=sensitive)
        seconds[method] = time.perf_counter() - start
    A = pd.DataFrame({v: codes[test] for v, codes in values.items() if v != "label"})
    told = {v: codes[fit] for v, codes in values.items()}
    for attribute in attributes:
        groups = np.unique(values[attribute])
        own = values[attribute][test]
        wanted = groups[(np.searchsorted(groups, own) + 1) % len(groups)]
        twin = _twins(problem, X, values, attribute, test, wanted) if problem.groups is not None else None
        moved = {
            method: fair.counterfactual(X[test], attribute, wanted, sensitive_features=A)
            for method, fair in fairs.items()
        }
        for peer, kind in PEERS.items():
            moved[peer] = kind().fit(X[fit], told, attribute).move(X[test], own, wanted)
        moved["random move"] = random_move(X[test], moved[OURS], np.random.RandomState(seed))
        if twin is not None:
            moved["true twin"] = twin
        shift = _length(moved["mean shift"] - X[test])
        for method, rows in moved.items():
            row = {"part": name, "attribute": attribute, "seed": seed, "method": method}
            row |= judged(X[test], rows, judges, attribute, wanted)
            row["distance by shift"] = _length(rows - X[test]) / shift
            if twin is not None:
                row["to twin"] = _length(rows - twin) / _length(X[test] - X[test].mean(0))
            row["seconds"] = seconds.get(method, np.nan)
            yield row


def _three_parts(problem, X, values, seed, quick):
    """Rows to fit, to train judges, to test; whole groups of rows where there are groups."""
    rng = np.random.RandomState(seed)
    if problem.groups is not None:
        groups = rng.permutation(np.unique(problem.groups))
        cuts = np.split(groups, [int(0.4 * len(groups)), int(0.8 * len(groups))])
        parts = [np.flatnonzero(np.isin(problem.groups, cut)) for cut in cuts]
    else:
        strata = pd.Series(["|".join(row) for row in zip(*values.values(), strict=True)])
        rows = np.arange(len(X))
        if quick and len(rows) > QUICK_ROWS:
            rows, _ = train_test_split(rows, train_size=QUICK_ROWS, stratify=strata, random_state=seed)
        fit, rest = train_test_split(rows, test_size=0.5, stratify=strata[rows], random_state=seed)
        other, test = train_test_split(rest, test_size=0.5, stratify=strata[rest], random_state=seed)
        parts = [fit, other, test]
    return parts[0], parts[1], parts[2][:N_TEST]


def _twins(problem, X, values, attribute, test, wanted):
    """The embeddings of the same sentences with the wanted value filled in."""
    frame = pd.DataFrame({"template": problem.groups, **values})
    where = pd.Series(np.arange(len(X)), index=pd.MultiIndex.from_frame(frame))
    asked = frame.iloc[test].assign(**{attribute: wanted})
    return X[where[pd.MultiIndex.from_frame(asked)].to_numpy()]


# ---------------------------------------------------------------- the Adult table


IMMUTABLE = ["race", "native-country", "age"]


def adult_table(seed, quick):
    """Adult by sex as a frame, with three columns that may not change."""
    adult = load_adult()
    frame, y = adult.frame.drop(columns=["income", "sex"]), adult.target.astype(str).to_numpy()
    sex = adult.sensitive_features["sex"].astype(str).to_numpy()
    rows = np.random.RandomState(seed).permutation(len(frame))[: QUICK_ROWS if quick else None]
    fit, other, test = np.split(rows, [len(rows) // 2, len(rows) * 4 // 5])
    test = test[:N_TEST]
    codec = TabularCodec().fit(frame.iloc[fit])
    kinds = {
        "LR": LogisticRegression(max_iter=1000),
        "MLP": make_pipeline(StandardScaler(), MLPClassifier((64,), early_stopping=True, random_state=seed)),
        "boosting": HistGradientBoostingClassifier(random_state=seed),
    }
    judges = {
        name: {kind: make_pipeline(codec, clone(judge)).fit(frame.iloc[other], values[other])
               for kind, judge in kinds.items()}
        for name, values in {"label": y, "sex": sex}.items()
    }  # fmt: skip
    X, own = frame.iloc[test], sex[test]
    wanted = np.where(own == "Male", "Female", "Male")
    E, told = codec.transform(frame.iloc[fit]), {"label": y[fit], "sex": sex[fit]}
    moved, seconds = {}, {}
    for method, kind in ((OURS, "trained"), (TRANSPORT, "transport")):
        start = time.perf_counter()
        fair = ours(seed, kind, encoder=TabularCodec(), immutable_features=IMMUTABLE)
        fair.fit(frame.iloc[fit], y[fit], sensitive_features=pd.Series(sex[fit], name="sex"))
        seconds[method] = time.perf_counter() - start
        moved[method] = fair.counterfactual(X, "sex", sensitive_features=pd.Series(own, name="sex", index=X.index))
    for peer in ("mean shift", "closed form"):
        there = PEERS[peer]().fit(E, told, "sex").move(codec.transform(X), own, wanted)
        moved[peer] = codec.inverse_transform(there).set_axis(X.index)
    for method, there in moved.items():
        scores = counterfactual_scores(
            X, there, judges=judges["sex"], kept=judges["label"], value=wanted, random_state=seed
        )
        row = {"part": "adult-table", "attribute": "sex", "seed": seed, "method": method}
        row |= {f"flip {kind}": value for kind, value in scores.flip_rate.items()}
        row |= {f"kept label by {kind}": value for kind, value in scores.consistency.items()}
        row["flip"], row["kept"] = np.mean(list(scores.flip_rate.values())), np.mean(list(scores.consistency.values()))
        row |= {"distance": scores.distance, "changed columns": scores.changed * X.shape[1], "realism": scores.realism}
        row["valid"] = _valid_share(there, frame.iloc[fit])
        row["immutable kept"] = float(np.mean([(there[c] == X[c]).mean() for c in IMMUTABLE]))
        row["seconds"] = seconds.get(method, np.nan)
        yield row


def _valid_share(rows, known):
    """Share of rows that hold only categories, and numbers within the range, that the training rows hold."""
    good = np.ones(len(rows), dtype=bool)
    for column in known:
        if pd.api.types.is_numeric_dtype(known[column]):
            whole = rows[column] == rows[column].round()
            good &= (rows[column].between(known[column].min(), known[column].max()) & whole).to_numpy()
        else:
            good &= rows[column].isin(known[column].unique()).to_numpy()
    return float(good.mean()) if (rows.dtypes == known.dtypes).all() else 0.0


# ---------------------------------------------------------------- faces

# Latents that the VAE's map learns from; where their scores are cut, and the one asked for, in nats beyond the border.
N_AROUND, FACE_CUT, FACE_SCORE = 20_000, 2.0, 1.1
# Of the GAN the score of gender is asked for that this share of the samples of the fit lie beyond, on the other side.
GAN_SHARE = 0.02


def gan_faces(seed, quick):
    """Faces of the pretrained DCGAN: gender moved, age to stay; gender by the judge, age split at its median.

    Who learns from scores is told both judges' numbers.
    """
    from faces import age_judge, gender_judge, generator, horizontal_flip, in_batches, perceptual_distance
    from generated import as_floats, fit_pictures, halved, judged_samples, well_read_judge

    pool = judged_samples(quick)
    gender = np.where(pool["gender"] > 0, "male", "female")
    age = np.where(pool["age"] > np.median(pool["age"]), "older", "younger")
    rows = np.random.RandomState(seed).permutation(len(gender))
    test, other, fit = np.split(rows, [len(rows) // 20, len(rows) * 2 // 5])
    test = test[:1000]
    own_judges = {
        "second judge": fit_pictures(seed, pool["small"][other], gender[other] == "male"),
        "well-read judge": well_read_judge(quick),
    }
    network, judge, years = generator(), gender_judge(), age_judge()
    start = time.perf_counter()
    A = pd.DataFrame({"gender": gender, "age": age})
    fair = ours(seed, decoder=network).fit(pool["Z"][fit], sensitive_features=A.iloc[fit])
    seconds = {OURS: time.perf_counter() - start}
    scores, start = pd.DataFrame({name: pool[name] for name in A}), time.perf_counter()
    scored = ours(seed, decoder=network).fit(pool["Z"][fit], sensitive_features=scores.iloc[fit])
    seconds[SCORES] = time.perf_counter() - start
    low, high = np.quantile(pool["gender"][fit], [GAN_SHARE, 1 - GAN_SHARE])

    def pictures_of(Z):
        return in_batches(network, Z.astype(np.float32))

    Z, own = pool["Z"][test], gender[test]
    wanted = np.where(own == "male", "female", "male")
    pictures = pictures_of(Z)
    others = np.roll(np.arange(len(Z)), 1)
    apart = np.median(perceptual_distance(pictures, pictures[others]))
    told = {"gender": gender[fit], "age": age[fit]}
    asked = np.where(own == "male", low, high)
    moved = {
        OURS: fair.counterfactual(Z, "gender", sensitive_features=A.iloc[test], output="embedding"),
        SCORES: scored.counterfactual(Z, "gender", asked, sensitive_features=scores.iloc[test], output="embedding"),
    }
    for peer, kind in PEERS.items():
        moved[peer] = kind().fit(pool["Z"][fit], told, "gender").move(Z, own, wanted)
    moved["random move"] = random_move(Z, moved[OURS], np.random.RandomState(seed))
    found = {method: pictures_of(rows) for method, rows in moved.items()} | {"mirrored": horizontal_flip(pictures)}
    for method, there in found.items():
        change = np.abs(years.predict(there) - pool["age"][test])
        small = as_floats(halved(there))
        row = {"part": "gan-faces", "attribute": "gender", "seed": seed, "method": method}
        row["flip"] = float(np.mean(judge.predict(there) == wanted))
        for name, other_judge in own_judges.items():
            row[f"flip {name}"] = float(np.mean(other_judge.predict(small) == (wanted == "male")))
            agrees = other_judge.predict(as_floats(pool["small"][test])) == (own == "male")
            row[f"{name} agrees on samples"] = float(np.mean(agrees))
        row["years moved"] = float(np.median(change))
        row["perceptual"] = float(np.median(perceptual_distance(pictures, there)) / apart)
        row["distance"] = _length(moved[method] - Z) / _length(Z) if method in moved else np.nan
        row["seconds"] = seconds.get(method, np.nan)
        yield row


def vae_faces(seed, quick):
    """Olivetti faces by the pretrained VAE; the attribute is the judge's score, split at its median.

    Who learns from scores has latents around those of the fit's faces, and the judge's numbers of what the decoder
    makes of them; photographs of test persons take no part. It is asked for `FACE_SCORE` beyond the border.
    """
    from faces import OLIVETTI_CROP, decoder, encoder, gender_judge, in_batches, olivetti

    images, person = olivetti()
    judge = gender_judge(OLIVETTI_CROP)
    score = judge.decision_function(images)
    border = np.median(score)
    group = np.where(score > border, "above", "below")
    held_out = np.random.RandomState(seed).permutation(40)[:10]
    test, fit = np.flatnonzero(np.isin(person, held_out)), np.flatnonzero(~np.isin(person, held_out))
    network, back = encoder(), decoder()
    start = time.perf_counter()
    fair = ours(seed, encoder=network, decoder=back)
    fair.fit(images[fit], sensitive_features=pd.Series(group[fit], name="group"))
    seconds = {OURS: time.perf_counter() - start}
    E = in_batches(network, images)

    def scores_of(Z):
        """The judge's scores of what the decoder makes of latents, less the border; of clear cases only that."""
        told = judge.decision_function(in_batches(back, Z.astype(np.float32))) - border
        return pd.DataFrame({"score": np.clip(told, -FACE_CUT, FACE_CUT)})

    start, rng = time.perf_counter(), np.random.RandomState(seed)
    n = QUICK_ROWS if quick else N_AROUND
    around = E[rng.choice(fit, n)] + E[fit].std(0) * rng.normal(size=(n, E.shape[1]))
    around = np.r_[E[fit], around]
    scored = ours(seed, decoder=back).fit(around, sensitive_features=scores_of(around))
    seconds[SCORES] = time.perf_counter() - start
    own = group[test]
    wanted = np.where(own == "above", "below", "above")
    asked = np.where(own == "above", -FACE_SCORE, FACE_SCORE)
    moved = {
        OURS: fair.counterfactual(
            images[test], "group", sensitive_features=pd.Series(own, name="group"), output="embedding"
        ),
        SCORES: scored.counterfactual(
            E[test], "score", asked, sensitive_features=scores_of(E[test]), output="embedding"
        ),
    }
    for peer, kind in PEERS.items():
        moved[peer] = kind().fit(E[fit].astype(float), {"group": group[fit]}, "group").move(E[test], own, wanted)
    moved["random move"] = random_move(E[test], moved[OURS], np.random.RandomState(seed))
    moved["reconstruction"] = E[test]
    for method, there in moved.items():
        pictures = in_batches(back, there.astype(np.float32))
        told = np.where(judge.decision_function(pictures) > border, "above", "below")
        row = {"part": "vae-faces", "attribute": "group", "seed": seed, "method": method}
        row["flip"] = float(np.mean(told == wanted))
        row["identity kept"] = _identity_kept(pictures, images, person, test)
        row["distance"] = _length(there - E[test]) / _length(E[test] - E[test].mean(0))
        row["seconds"] = seconds.get(method, np.nan)
        yield row


def _identity_kept(pictures, images, person, test):
    """Share of pictures whose nearest photograph, the row's own left out, shows the same person."""
    flat, queries = images.reshape(len(images), -1), pictures.reshape(len(pictures), -1)
    squared = (queries**2).sum(1)[:, None] - 2 * queries @ flat.T + (flat**2).sum(1)
    squared[np.arange(len(test)), test] = np.inf
    return float(np.mean(person[squared.argmin(1)] == person[test]))


# ---------------------------------------------------------------- known truth


def truth(seed, quick):
    """Simulated rows: the distance to the true counterfactuals, relative to the true step."""
    for n in (2000,) if quick else (2000, 20_000):
        data = make_biased_latents(n + 1000, random_state=seed)
        X, A = data.data, data.sensitive_features
        fit, test = np.arange(n), np.arange(n, n + 1000)
        there, s = data.truth.counterfactual("group")[test], A["group"].to_numpy()
        values = {"label": data.target[fit], "group": s[fit]}
        moved = {
            method: fair.fit(X[fit], data.target[fit], sensitive_features=A.iloc[fit]).counterfactual(
                X[test], "group", sensitive_features=A.iloc[test]
            )
            for method, fair in {
                OURS: ours(seed),
                TRANSPORT: ours(seed, "transport"),
                "ours, latent": FairLatentTransformer(random_state=seed),
            }.items()
        }
        for peer, kind in PEERS.items():
            moved[peer] = kind().fit(X[fit], values, "group").move(X[test], s[test], 1 - s[test])
        step = np.linalg.norm(there - X[test], axis=1).mean()
        for method, rows in moved.items():
            error = np.linalg.norm(rows - there, axis=1).mean() / step
            yield {"part": f"truth-{n}", "attribute": "group", "seed": seed, "method": method, "error": error}


# ---------------------------------------------------------------- the run


PARTS = {
    "reddit-gender": lambda seed, quick: embeddings("reddit-gender", ["gender"], seed, quick),
    "prompts": lambda seed, quick: embeddings("prompts", ["gender", "race"], seed, quick),
    "adult-text-sex": lambda seed, quick: embeddings("adult-text-sex", ["sex"], seed, quick),
    "adult-table": adult_table,
    "vae-faces": vae_faces,
    "gan-faces": gan_faces,
    "truth": truth,
}


def report(table):
    """Medians over the seeds, a block per part and attribute."""
    for (part, attribute), rows in table.groupby(["part", "attribute"], sort=False):
        print(f"\n{part}, {attribute} moved: medians [lowest, highest] of {rows['seed'].nunique()} seed(s)")
        columns = [c for c in rows.columns[4:] if rows[c].notna().any() and c != "versions"]
        print(median_table(rows, "method", columns).T.to_string())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    args = parser.parse_args()
    results = RESULTS / "quick" if args.quick else RESULTS
    results.mkdir(exist_ok=True)
    file = results / "counterfactual.csv"
    done = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=["part", "attribute", "seed", "method"])
    for part in [] if args.report else args.parts:
        for seed in range(1 if args.quick else args.seeds):
            if (done["part"].str.startswith(part) & (done["seed"] == seed)).any():
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rows = pd.DataFrame(PARTS[part](seed, args.quick)).assign(versions=versions())
            print(part, seed, rows[rows["method"] == OURS].iloc[0, 4:].dropna().to_dict(), flush=True)
            # Another process may have added its parts meanwhile.
            done = pd.concat([pd.read_csv(file) if file.exists() else done, rows], ignore_index=True)
            _write(file, done.round(5).to_csv(index=False).encode())
    report(done)
    print(f"\n{versions()}")


if __name__ == "__main__":
    main()
