"""The command ``audit``: a table in, a raw and a fair pipeline fitted, a report of the held-out rows out."""

import argparse
import math
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from ._attributes import CONSTRAINTS
from ._codec import TabularCodec
from ._exceptions import LabelLostWarning, PenaltyIneffectiveWarning
from ._groups import crossed, group_sizes, is_continuous, read_groups, with_intersection
from ._parameters import MOST_CODES
from ._tables import InputError, check_output, labels_of, pick_columns, read_embeddings, read_table, whole_numbers
from ._transformer import FairLatentTransformer
from .inspection import fairness_report
from .inspection._drawing import listed
from .inspection._measuring_latent import NO_CERTIFICATE
from .inspection._summary import warnings_of

# Fewer rows than these tell nothing of two groups and two labels once a part is held out.
LEAST_ROWS = 100
# What a cell of a parquet file may hold that no column of features can.
LISTS = (list, tuple, dict, set, np.ndarray)
# A group with fewer held-out rows is left out of differences.
LEAST_IN_GROUP = 5
# A column of words with more than so many different ones, and in more than half of the rows another, names the row.
LEAST_NAMES = 50
# Strata with fewer rows are joined: both parts of the split need some of each.
LEAST_IN_STRATUM = 5
DESCRIPTION = """\
Fit a logistic regression on the raw columns and one behind a FairLatentTransformer, and write a page about the latter,
with the former beside it, measured on rows that were held out of both. Sensitive columns are not features. Nothing is
sent anywhere. The page shows a few real rows; --rows 0 leaves them out.
"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message):
        """Raise instead of printing the usage and leaving."""
        if message.startswith("unrecognized arguments"):
            message += "; several columns are written with commas and without spaces, such as sex,race"
        if message.endswith("required: COMMAND"):
            message += ", which is audit"
        raise InputError(f"{message}. See --help.")


def make_parser():
    """The parser of all commands."""
    from . import __version__

    parser = Parser(prog="python -m sklearn_fairlatent", description="Fair latent spaces for scikit-learn.")
    parser.add_argument("--version", action="version", version=f"sklearn_fairlatent {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    audit = commands.add_parser("audit", help="report on a table: accuracy, differences between groups, leakage",
                                description=DESCRIPTION, allow_abbrev=False)  # fmt: skip
    add = audit.add_argument
    add("table", metavar="TABLE", help=".csv or .tsv (also .gz), .parquet, or embeddings as .npy with --labels")
    add("--target", required=True, metavar="COLUMN", help="the label, with classes")
    add("--sensitive", required=True, metavar="COLUMN[,COLUMN]", type=_names, help="sensitive attributes")
    add("--out", required=True, metavar="PAGE.html", type=Path, help="the page to write")
    add("--json", metavar="FILE.json", type=Path, help="all numbers as JSON, too")
    add("--labels", metavar="LABELS.csv", help="target and sensitive columns of embeddings, row for row")
    add("--pos-label", metavar="VALUE", help="the favourable label; needed unless the labels are 0 and 1")
    add("--bins", metavar="COLUMN=EDGE[,EDGE]", type=_edges, action="append", default=[],
        help="edges at which a sensitive quantity is cut into groups; may be repeated")  # fmt: skip
    add("--drop", metavar="COLUMN[,COLUMN]", type=_names, default=[], help="columns to leave out")
    add("--strength", metavar="NUMBER", type=_number("from 0 to 1000", lambda value: 0 <= value <= 1000), default=1.0,
        help="weight of the penalty (default 1)")  # fmt: skip
    add("--constraints", choices=list(CONSTRAINTS), default="demographic_parity", help="what is to be equal")
    add("--codes", metavar="N", type=_codes, help=f"hand on N codes (2 to {MOST_CODES}), and certify them on the page")
    add("--test-size", metavar="SHARE", type=_number("between 0 and 1", lambda value: 0 < value < 1), default=0.3,
        help="share of the rows that is held out (default 0.3)")  # fmt: skip
    add("--rows", metavar="N", type=_count, default=3, help="real rows shown with their counterfactuals (default 3)")
    add("--seed", metavar="N", type=_count, default=0, help="(default 0)")
    add("--jobs", metavar="N", type=_jobs, default=1, help="probes that run side by side; -1: one per core (default 1)")
    add("--quiet", action="store_true", help="no progress on standard error")
    return parser


def _names(text):
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of different column names, such as sex,race")
    return names


def _edges(text):
    name, _, edges = text.rpartition("=")
    try:
        numbers = [float(edge) for edge in edges.split(",")]
    except ValueError:
        numbers = []
    if not name or not numbers or not all(map(math.isfinite, numbers)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a column with edges, such as age=30,50")
    return name.strip(), numbers


def _number(range_, fits):
    def read(text):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and fits(value)):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number {range_}")
        return value

    return read


def _jobs(text):
    try:
        jobs = int(text)
    except ValueError:
        jobs = 0
    if not jobs:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of jobs such as 2, or -1 for one per core")
    return jobs


def _count(text):
    if not text.isascii() or not text.isdigit() or int(text) > np.iinfo(np.int32).max:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def _codes(text):
    if not text.isascii() or not text.isdigit() or not 2 <= int(text) <= MOST_CODES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 2 to {MOST_CODES}")
    return int(text)


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : list of str, default=None
        Arguments. None: those of the process.

    Returns
    -------
    code : int
        0, or 2 if a file or an argument is wrong, which one line on standard error then says.
    """
    try:
        audit(make_parser().parse_args(argv))
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def audit(args):
    """Read, fit, measure and write."""
    say = Progress(args.quiet)
    outputs = [path for path in (args.out, args.json) if path is not None]
    check_output(outputs, [args.table, args.labels])
    say(f"reading {args.table}")
    X, y, pos_label, A, bins = read_input(args, say)
    train, test = split(y, read_groups(A, len(y), bins=bins), args)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        say(f"fitting the raw pipeline on {len(train):,} rows")
        raw, fair = pipelines(X, A, pos_label, args)
        raw.fit(take_rows(X, train), y.iloc[train])
        say("fitting the fair pipeline")
        fair.fit(take_rows(X, train), y.iloc[train], fair__sensitive_features=A.iloc[train])
        say(f"measuring and probing {len(test):,} held-out rows, which takes longest")
        report = fairness_report(
            fair,
            take_rows(X, test),
            y.iloc[test],
            sensitive_features=A.iloc[test],
            baseline=raw,
            pos_label=pos_label,
            bins=bins,
            counterfactual_rows=args.rows,
            min_group_size=LEAST_IN_GROUP,
            random_state=args.seed,
            title=f"Fairness audit of {Path(args.table).name}: {args.target} by {listed(args.sensitive)}",
            n_jobs=args.jobs,
        )
    for warning in caught:
        say.note(
            " ".join(str(warning.message).split()),
            issubclass(warning.category, (LabelLostWarning, PenaltyIneffectiveWarning)),
        )
    report.notes[:0] = say.notes
    parts = f"{len(train):,} rows to fit and {len(test):,} held out, by lot within labels and groups"
    report.about["source"] = f"{Path(args.table).name}: {parts}"
    say("writing")
    report.to_html(args.out)
    if args.json is not None:
        report.to_json(args.json)
    say("done")
    print(args.out)
    certificate = (report.latent or {}).get("certificate")
    told = [] if certificate is None else [certificate["sentence"]]
    told += [note for note in report.notes if note.startswith(NO_CERTIFICATE)]
    print("\n".join([*report.summary[:3], *told, *warnings_of(report)]))


class Progress:
    """Lines with the elapsed seconds on standard error, and notes for the report."""

    def __init__(self, quiet):
        self.quiet, self.start, self.notes = quiet, time.perf_counter(), []

    def __call__(self, text):
        """Say what happens now."""
        if not self.quiet:
            print(f"[{time.perf_counter() - self.start:6.1f} s] {text}", file=sys.stderr, flush=True)

    def note(self, text, flagged=False):
        """Say something that the reader of the report should know as well, unless a flag says it there."""
        self(f"note: {text}")
        if not flagged and text not in self.notes:
            self.notes.append(text)


def read_input(args, say):
    """Features, label, favourable label, attributes and their edges, checked before any long work."""
    if args.target == "residual":
        raise InputError("--target residual: a block of the latent bears that name. Rename the column.")
    clash = sorted({args.target} & set(args.sensitive))
    clash += sorted(set(args.drop) & {args.target, *args.sensitive})
    if clash:
        raise InputError(
            f"column {clash[0]!r} is named for two things at once, among --target, --sensitive and --drop."
        )
    embeddings = str(args.table).lower().endswith(".npy")
    if embeddings != (args.labels is not None):
        raise InputError(
            "a .npy file holds no labels: pass --labels LABELS.csv with the target and sensitive columns, row for row."
            if embeddings else "--labels goes with embeddings in a .npy file; a table holds its own labels."
        )  # fmt: skip
    if embeddings and args.drop:
        raise InputError("--drop names columns of a table; embeddings have none.")
    table = read_table(args.labels if embeddings else args.table)
    pick_columns(table, [args.target], "--target")
    pick_columns(table, args.sensitive, "--sensitive")
    pick_columns(table, args.drop, "--drop")
    for name in table.columns.difference(args.drop):
        if table[name].dtype == object and table[name].map(lambda value: isinstance(value, LISTS)).any():
            remedy = "Leave it out of the file" if name in (args.target, *args.sensitive) else f"Pass --drop {name}"
            raise InputError(f"column {name!r} holds lists or records, not single values. {remedy}.")
    X = read_embeddings(args.table, len(table), args.labels) if embeddings else None
    kept = table[args.target].notna().to_numpy()
    if not kept.all():
        say.note(f"{(~kept).sum():,} of {len(kept):,} rows have no {args.target} and are left out.")
        table = table[kept].reset_index(drop=True)
        X = None if X is None else X[kept]
    y, pos_label = labels_of(table[args.target], args.pos_label)
    A = pd.DataFrame({name: whole_numbers(table[name]) for name in args.sensitive})
    bins = check_attributes(A, dict(args.bins), args.sensitive)
    if X is None:
        X = features(table.drop(columns=[args.target, *args.sensitive, *args.drop]), say)
    if len(y) < LEAST_ROWS:
        raise InputError(f"{len(y)} rows with a label are too few: an audit takes {LEAST_ROWS}, better some thousands.")
    return X, y, pos_label, A, bins


def check_attributes(A, bins, names):
    """Edges of the quantities among the attributes; every one has two groups."""
    strangers = [name for name in bins if name not in names]
    if strangers:
        raise InputError(f"--bins names {strangers[0]!r}, which is not among --sensitive {','.join(names)}.")
    for name in names:
        if name in ("target", "residual"):
            raise InputError(f"--sensitive {name}: blocks of the latent bear that name. Rename the column.")
        if name not in bins and is_continuous(A[name]):
            numbers = A[name].dropna().astype(float)
            edges = ",".join(f"{edge:g}" for edge in np.unique(np.quantile(numbers, [1 / 3, 2 / 3])))
            raise InputError(
                f"--sensitive {name}: a quantity with {numbers.nunique()} different values, each of which would be a "
                f"group. Say where to cut it, for example --bins {name}={edges}."
            )
        try:
            groups = read_groups(A[[name]], len(A), bins={name: bins[name]} if name in bins else None)[name].dropna()
        except ValueError:
            raise InputError(f"--bins {name}: the values of that column are not numbers. Leave the bins out.") from None
        if groups.nunique() < 2:
            raise InputError(
                f"--sensitive {name}: a single group, {groups.unique().tolist()}. A comparison takes two: leave the "
                "attribute out, add rows of another group or change --bins."
            )
    return bins or None


def features(X, say):
    """The columns that a model may learn from, without names of rows."""
    for name in X.columns:
        present = X[name].dropna()
        counted = present.dtype.kind in "biufcmM"  # numbers, truth values, dates and durations
        if not counted and present.nunique() > max(LEAST_NAMES, len(present) / 2):
            say.note(f"column {name!r} is left out: {present.nunique():,} different words in {len(present):,} rows.")
            X = X.drop(columns=name)
        elif pd.api.types.is_integer_dtype(present) and len(present) > LEAST_NAMES and present.is_unique:
            say.note(f"column {name!r} has a different whole number in every row: if it names the row, --drop {name}.")
    if not X.shape[1]:
        raise InputError("no column is left to learn from beside --target, --sensitive, --drop and names of rows.")
    try:
        TabularCodec(handle_unknown="ignore").fit(X)
    except (TypeError, ValueError) as error:
        raise InputError(f"{error} Or leave the column out: --drop COLUMN.") from None
    return X


def split(y, groups, args):
    """Rows to fit and rows held out, stratified by label and groups as far as they have rows."""
    cells = crossed(groups.astype(object).where(groups.notna(), "missing"))
    strata = pd.Series([f"{label} {cell}" for label, cell in zip(y, cells, strict=True)])
    rare = strata.map(strata.value_counts()) < LEAST_IN_STRATUM
    strata[rare] = y.astype(str).to_numpy()[rare]
    n_least = min(args.test_size, 1 - args.test_size) * len(y)
    if strata.value_counts().min() < 2 or strata.nunique() > n_least:
        strata = y.astype(str)
    if strata.value_counts().min() < 2:
        raise InputError(f"label {strata.value_counts().idxmin()!r} has a single row: too few to hold some out.")
    train, test = train_test_split(
        np.arange(len(y)), test_size=args.test_size, stratify=strata.to_numpy(), random_state=args.seed
    )
    for rows, what in ((train, "to fit"), (test, "held out")):
        if y.iloc[rows].nunique() < 2:
            raise InputError(f"too few rows: the {len(rows)} {what} have one label. Pass more, or change --test-size.")
        for name, values in with_intersection(groups.iloc[rows].reset_index(drop=True)).items():
            if (group_sizes(values.dropna()) >= LEAST_IN_GROUP).sum() < 2:
                raise InputError(
                    f"too few rows: of the {len(rows)} {what}, fewer than two groups of {name!r} have "
                    f"{LEAST_IN_GROUP}. Pass more rows, change --test-size, or name fewer attributes."
                )
    return np.sort(train), np.sort(test)


def take_rows(X, rows):
    """Rows of a frame or an array by position."""
    return X.iloc[rows] if isinstance(X, pd.DataFrame) else X[rows]


def pipelines(X, A, pos_label, args):
    """The raw pipeline and the fair one."""
    table = isinstance(X, pd.DataFrame)
    encoder = TabularCodec(handle_unknown="ignore")
    fair = FairLatentTransformer(
        constraints=args.constraints,
        fairness_strength=args.strength,
        encoder=encoder if table else None,
        n_codes=args.codes,
        pos_label=pos_label if CONSTRAINTS[args.constraints] == "true_positive_rate_parity" else None,
        continuous_features=[name for name, _ in args.bins] or None,
        random_state=args.seed,
    )
    raw = Pipeline(
        [("encode", encoder if table else StandardScaler()), ("classify", LogisticRegression(max_iter=1000))]
    )
    return raw, Pipeline([("fair", fair), ("classify", LogisticRegression())])
