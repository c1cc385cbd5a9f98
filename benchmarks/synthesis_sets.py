"""Real rows for the benchmark of synthetic ones: tables with their categories, and faces of a pretrained generator."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from generated import halved, judged_samples
from measuring import cells
from problems import _csv, _white_or_other, cache_folder
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from sklearn_fairlatent.datasets import load_adult, load_german

QUICK_ROWS = 2000
# Rows that a method makes of a table, at least: from the 700 of German credit a learner learns mostly noise.
N_ROWS = 20_000
# Faces that a method makes: decoding them takes most of the time.
N_FACES = 3000
# What a learner sees of a picture of 3 x 32 x 32: its first principal components.
N_COMPONENTS = 64


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of one set and seed.

    Parameters
    ----------
    label, attribute : str
    train, test : tuple (X, y, A)
        Frames, or latents of a generator.
    n_made : int
        Rows that a method makes.
    seen : callable
        ``seen(X)``: what learners and distances see of rows, as a frame or an array.
    decoder : torch module or None
        From latents to pictures.
    """

    label: str
    attribute: str
    train: tuple
    test: tuple
    n_made: int
    seen: object
    decoder: object = None


def adult(cache):
    found = load_adult()
    sensitive = found.sensitive_features[["sex"]].astype(str).reset_index(drop=True)
    return found.frame.drop(columns=["income", "sex"]), found.target.astype(str), sensitive


def german(cache):
    found = load_german()
    return found.data, found.target.astype(str), found.sensitive_features[["sex"]].astype(str)


def compas(cache):
    """COMPAS with the charge as one column; the age's category, which follows from the age, and the scores left out."""
    table = _csv(cache, "compas-recidivism.csv")
    race = pd.DataFrame({"race": np.where(table["race"] == 1, "Caucasian", "other")})
    numbers = ["age-num", "juv-fel-count", "juv-misd-count", "juv-other-count", "priors-count"]
    X = table[numbers].assign(sex=np.where(table["sex"] == 1, "male", "female"))
    for name in ("c-charge-degree", "c-charge-desc"):
        X[name] = _folded(table, name)
    return X, table["two-year-recid"].map({0: "no", 1: "yes"}).rename("arrested"), race


def law(cache):
    table = _csv(cache, "law.csv.zip")
    race = pd.DataFrame({"race": _white_or_other(table["Race_White"] == 1)})
    X = table[["LSAT", "UGPA"]].assign(sex=_folded(table, "Sex"))
    return X, table["PF_1"].map({0: "failed", 1: "passed"}).rename("bar"), race


def _folded(table, name):
    """One column of categories from its one-hot columns; empty where none is set."""
    columns = [column for column in table if column.startswith(f"{name}_")]
    values = table[columns].to_numpy()
    found = np.array([column.removeprefix(f"{name}_") for column in columns])[values.argmax(axis=1)]
    return np.where(values.any(axis=1), found, "none")


def table_split(name, seed, quick):
    """Rows of a table; 30 % are for tests."""
    X, y, A = TABLES[name](cache_folder())
    y, A = y.reset_index(drop=True), A.reset_index(drop=True)
    X = X.reset_index(drop=True)
    strata = cells(y.to_numpy(), A.iloc[:, 0].to_numpy())
    train, test = train_test_split(np.arange(len(X)), test_size=0.3, stratify=strata, random_state=seed)
    if quick and len(train) > QUICK_ROWS:
        train, _ = train_test_split(train, train_size=QUICK_ROWS, stratify=strata[train], random_state=seed)
    n_made = len(train) if quick else max(N_ROWS, len(train))
    parts = [(X.iloc[rows].reset_index(drop=True), y.iloc[rows].reset_index(drop=True),
              A.iloc[rows].reset_index(drop=True)) for rows in (train, test)]  # fmt: skip
    return Split(y.name, A.columns[0], *parts, n_made, seen=lambda X: X)


def faces_split(name, seed, quick):
    """Latents of a pretrained DCGAN, judged by their pictures: "looks older than the median", by "looks male"."""
    from faces import generator, in_batches

    pool = judged_samples(quick)
    y = pd.Series(np.where(pool["age"] > np.median(pool["age"]), "older", "younger"), name="age")
    A = pd.DataFrame({"gender": np.where(pool["gender"] > 0, "male", "female")})
    strata = cells(y.to_numpy(), A["gender"].to_numpy())
    train, test = train_test_split(np.arange(len(y)), test_size=0.3, stratify=strata, random_state=seed)
    pca = PCA(N_COMPONENTS, random_state=seed).fit(_flat(pool["small"][train]))
    known = {row.tobytes(): k for k, row in enumerate(pool["Z"])}
    network = generator()

    def seen(Z):
        """Principal components of the pictures: of latents, or of what was decoded from them."""
        Z = np.asarray(Z)
        if Z.ndim == 4:
            return pca.transform(_flat(halved(Z)))
        rows = [known.get(row.tobytes()) for row in Z]
        if None in rows:
            return pca.transform(_flat(halved(in_batches(network, Z.astype(np.float32)))))
        return pca.transform(_flat(pool["small"][rows]))

    parts = [(pool["Z"][rows], y.iloc[rows].reset_index(drop=True), A.iloc[rows].reset_index(drop=True))
             for rows in (train, test)]  # fmt: skip
    return Split("age", "gender", *parts, min(N_FACES, len(train)), seen=seen, decoder=network)


def _flat(small):
    return small.reshape(len(small), -1) / 255.0


TABLES = {"adult-sex": adult, "compas-race": compas, "german-sex": german, "law-race": law}
SETS = {**dict.fromkeys(TABLES, table_split), "gan-faces": faces_split}
