"""synthesis_report: how useful, fair, faithful and private synthetic rows are."""

from dataclasses import dataclass, field

import narwhals as nw
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .._codec import TabularCodec
from .._encoding import as_frame
from .._fit_state import seeded
from .._groups import crossed, read_groups
from ._copying import authenticity, membership_auc
from ._disparity import DISPARITIES, lacking_labels
from ._fidelity import manifold_scores, marginal_fidelity, pairwise_fidelity

# Rows compared by their neighbours: 5,000 rows tell a share to 0.007.
COMPARED_ROWS = 5000
N_NEIGHBORS = 5
UTILITY = ["accuracy", "roc_auc", "demographic_parity_difference", "equalized_odds_difference"]


@dataclass(frozen=True, eq=False)
class SynthesisReport:
    """What :func:`synthesis_report` found.

    Parameters
    ----------
    utility : DataFrame
        Index (trained_on, learner) with trained_on "synthetic" and, given training rows, "real". Columns "accuracy",
        "roc_auc", "demographic_parity_difference" and "equalized_odds_difference" on real held-out rows, all in [0, 1];
        differences are the largest between groups, of many classes that of the worst class against the rest. A class
        does not count where a group has no row of a label that is needed; NaN if none counts, or there is one group.
    majority_accuracy : float
        Accuracy of the most frequent label.
    marginals : Series
        Likeness of every column, in [0, 1].
    scores : dict of str to float
        "marginal_fidelity", "pairwise_fidelity", "pairwise_fidelity_without_label", "precision", "recall", "density",
        "coverage"; given training rows
        "authenticity", that of real held-out rows as "authenticity_of_real", and "membership_auc".
    """

    utility: pd.DataFrame
    majority_accuracy: float
    marginals: pd.Series
    scores: dict = field(repr=False)

    def to_frame(self):
        """All figures in one column.

        Returns
        -------
        DataFrame
            Index: what is measured; column "value".
        """
        rows = {
            f"{name} ({learner} trained on {source} rows)": value
            for (source, learner), figures in self.utility.iterrows()
            for name, value in figures.items()
        }
        rows["accuracy of the most frequent label"] = self.majority_accuracy
        return pd.DataFrame({"value": pd.Series({**rows, **self.scores}, dtype=float)})

    def __str__(self):
        """A table for people."""
        return "\n".join(
            [
                self.utility.round(3).to_string(),
                f"accuracy of the most frequent label: {self.majority_accuracy:.3f}",
                *(f"{name}: {value:.3f}" for name, value in self.scores.items()),
            ]
        )


def synthesis_report(
    real, synthetic, *, train=None, learners=None, learn_from_real=True, n_neighbors=N_NEIGHBORS, random_state=0
):
    """Measure synthetic rows against real ones that took no part.

    Parameters
    ----------
    real : tuple (X, y, sensitive_features)
        Real rows that trained neither the generator nor anything else: a data frame or an array, labels, and
        attributes as groups.
    synthetic : tuple (X, y, sensitive_features)
        As :meth:`~sklearn_fairlatent.synthesis.FairSynthesizer.sample` returns them.
    train : tuple (X, y, sensitive_features), default=None
        The real rows that trained the generator. With them the report tells what learners make of real rows, how
        authentic the synthetic ones are, and what they tell of who was among the training rows.
    learners : dict of str to estimator, default=None
        Classifiers, cloned, which get X as a pandas frame (of arrays with numbered columns, images
        flattened). None: logistic regression behind a
        :class:`~sklearn_fairlatent.TabularCodec`, boosted trees and a random forest with a code for every category.
    learn_from_real : bool, default=True
        Whether learners are also trained on ``train``, to compare with.
    n_neighbors : int, default=5
        Neighbours whose distance is the radius around a row, in precision, recall, density and coverage.
    random_state : int, default=0
        Seed of learners that have none, and of the at most 5,000 rows of each kind that are compared by their
        neighbours.

    Returns
    -------
    report : SynthesisReport

    Raises
    ------
    ValueError
        If columns, lengths or labels do not fit together.

    Notes
    -----
    Learners see X alone; whatever attribute is a column of X they see too. Marginal and pairwise fidelity include the
    label and the attributes. Distances are those of standardised numbers and of categories as one-hot columns over
    the square root of two, so that two categories are one apart.

    A fair generator changes the label on purpose, and with it what pairs with the label show: see the score without
    them.

    Examples
    --------
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn_fairlatent.datasets import load_german
    >>> from sklearn_fairlatent.metrics import synthesis_report
    >>> german = load_german()
    >>> X, y, A = german.data, german.target, german.sensitive_features[["sex"]]
    >>> X_train, X_test, y_train, y_test, A_train, A_test = train_test_split(X, y, A, random_state=0)
    >>> bootstrap = X_train.sample(300, replace=True, random_state=0).index
    >>> copies = X_train.loc[bootstrap], y_train.loc[bootstrap], A_train.loc[bootstrap]
    >>> report = synthesis_report((X_test, y_test, A_test), copies, train=(X_train, y_train, A_train))
    >>> report.scores["authenticity"], report.scores["membership_auc"] > 0.6
    (0.0, True)
    """
    parts = {"real": real, "synthetic": synthetic} | ({} if train is None else {"train": train})
    parts = {name: _read(name, part) for name, part in parts.items()}
    for name, part in parts.items():
        _check_alike(name, part, parts["real"])
        if len(part.X) < n_neighbors + 2:
            raise ValueError(
                f"{name} has {len(part.X)} rows: expected at least {n_neighbors + 2}, two more than n_neighbors."
            )
    held_out = parts["real"]
    learners = _default_learners() if learners is None else learners
    if not isinstance(learners, dict) or not all(hasattr(learner, "predict_proba") for learner in learners.values()):
        raise ValueError(f"learners={learners!r}: expected a dict of classifiers with predict_proba by name, or None.")
    sources = {"synthetic": parts["synthetic"]} | (
        {"real": parts["train"]} if train is not None and learn_from_real else {}
    )
    utility = {
        (source, name): _utility(seeded(learner, random_state), rows, held_out)
        for source, rows in sources.items()
        for name, learner in learners.items()
    }
    index = pd.MultiIndex.from_tuples(utility, names=["trained_on", "learner"])
    tables = [part.table() for part in (held_out, parts["synthetic"])]
    marginals = marginal_fidelity(*tables)
    scores = {
        "marginal_fidelity": float(marginals.mean()),
        "pairwise_fidelity": pairwise_fidelity(*tables, random_state=random_state),
        "pairwise_fidelity_without_label": pairwise_fidelity(
            *(table.drop(columns="y", level=0) for table in tables), random_state=random_state
        ),
    }
    reference = parts.get("train", held_out)
    space = _Space(reference)
    rng = np.random.RandomState(random_state)
    real_rows, synthetic_rows = (_some(space(part), rng) for part in (held_out, parts["synthetic"]))
    scores |= manifold_scores(real_rows, synthetic_rows, n_neighbors)
    if train is not None:
        train_rows = space(parts["train"])
        scores["authenticity"] = authenticity(train_rows, synthetic_rows)
        scores["authenticity_of_real"] = authenticity(train_rows, real_rows)
        scores["membership_auc"] = membership_auc(_some(train_rows, rng), real_rows, space(parts["synthetic"]))
    frame = pd.DataFrame(list(utility.values()), index=index, columns=UTILITY)
    majority = float(pd.Series(held_out.y).value_counts(normalize=True).max())
    return SynthesisReport(frame, majority, marginals, scores)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows as a report reads them."""

    X: pd.DataFrame
    y: np.ndarray
    groups: pd.DataFrame

    def table(self):
        """Everything in one frame, under names that do not clash."""
        return pd.concat(
            {"X": self.X, "y": pd.DataFrame({"y": pd.Series(self.y, dtype=object)}), "A": self.groups}, axis=1
        )


def _read(name, part):
    if not isinstance(part, (tuple, list)) or len(part) != 3:
        raise ValueError(f"{name}: expected a tuple (X, y, sensitive_features), got {type(part).__name__}.")
    X, y, sensitive_features = part
    frame = as_frame(X)
    if frame is not None:
        table = frame.to_pandas().reset_index(drop=True)
    else:
        X = np.asarray(X)
        if X.ndim < 2:
            raise ValueError(f"{name}: X has {X.ndim} dimension(s); expected two or more.")
        table = pd.DataFrame(X.reshape(len(X), -1))
    y = np.asarray(nw.to_native(y, pass_through=True))
    if pd.isna(y).any():
        raise ValueError(f"{name}: y contains missing values. Drop these rows before.")
    if len(y) != len(table):
        raise ValueError(f"{name}: y has {len(y)} rows, X has {len(table)}; they must have the same length.")
    groups = read_groups(sensitive_features, len(table), index=getattr(X, "index", None))
    return _Rows(table, y, groups)


def _check_alike(name, part, real):
    """Raise unless columns, labels and groups are of one kind."""
    own, other = list(part.X.columns), list(real.X.columns)
    if own != other:
        more, less = [c for c in own if c not in other], [c for c in other if c not in own]
        raise ValueError(
            f"X of {name} has other columns than that of real: {more} too many, {less} too few, or another order."
        )
    if list(part.groups.columns) != list(real.groups.columns):
        raise ValueError(
            f"sensitive_features of {name} are {list(part.groups.columns)}, those of real "
            f"{list(real.groups.columns)}. Give both the same names, in the same order."
        )
    pairs = [("y", part.y, real.y)]
    pairs += [(f"sensitive_features[{c!r}]", part.groups[c].dropna(), real.groups[c].dropna()) for c in part.groups]
    for what, values, known in pairs:
        if not set(pd.unique(values).tolist()) & set(pd.unique(known).tolist()):
            raise ValueError(
                f"{what} of {name} has the values {pd.unique(values)[:5].tolist()}, that of real "
                f"{pd.unique(known)[:5].tolist()}: none in common. Encode both alike."
            )


class _Ordinals(TransformerMixin, BaseEstimator):
    """One number per column, as trees split them: codes of categories, numbers as they are, NaN where missing."""

    def fit(self, X, y=None):
        self.codec_ = TabularCodec(handle_unknown="ignore").fit(X)
        return self

    def transform(self, X):
        columns = []
        for coded in self.codec_._column_codes(X):
            if isinstance(coded, tuple):
                numbers, missing = coded
                columns.append(np.where(missing, np.nan, numbers))
            else:
                columns.append(coded.astype(np.float64))
        return np.column_stack(columns)


def _default_learners():
    linear = make_pipeline(TabularCodec(handle_unknown="ignore"), StandardScaler(), LogisticRegression(max_iter=1000))
    return {
        "logistic regression": linear,
        "boosting": make_pipeline(_Ordinals(), HistGradientBoostingClassifier()),
        "random forest": make_pipeline(_Ordinals(), RandomForestClassifier(min_samples_leaf=5)),
    }


def _utility(learner, rows, held_out):
    """Figures of a learner trained on rows, on the held-out ones."""
    if len(np.unique(rows.y.astype(str))) < 2:
        raise ValueError("y of the rows to learn from has one class; a learner needs two. Sample more rows.")
    learner.fit(rows.X, rows.y)
    predicted = learner.predict(held_out.X)
    known = ~held_out.groups.isna().any(axis=1).to_numpy()
    true = held_out.y
    classes = list(learner.classes_)
    probabilities = learner.predict_proba(held_out.X)
    sides = classes[1:] if len(classes) == 2 else classes
    areas = [roc_auc_score(true == c, probabilities[:, classes.index(c)]) for c in sides if 0 < (true == c).mean() < 1]
    cells = crossed(held_out.groups[known])
    gaps = [
        np.fmax.reduce([_difference(constraint, true[known] == c, predicted[known] == c, cells) for c in sides])
        for constraint in ("demographic_parity", "equalized_odds")
    ]
    return [accuracy_score(true, predicted), float(np.mean(areas)), *gaps]


def _difference(constraint, true, predicted, cells):
    """The largest difference between groups; NaN where a group has no row of a label that is needed, or is alone."""
    difference, _, needed = DISPARITIES[constraint]
    if len(pd.unique(cells)) < 2 or lacking_labels(true, cells, needed):
        return np.nan
    return float(difference(true, predicted, sensitive_features=cells))


class _Space:
    """Rows as points: numbers standardised, categories one apart."""

    def __init__(self, reference):
        self.codec = TabularCodec(handle_unknown="ignore").fit(reference.X)
        self.weights = np.ones(self.codec._n_encoded)
        for columns, one_hot in self.codec._encoded_columns():
            if one_hot:
                self.weights[columns] = np.sqrt(0.5)

    def __call__(self, part):
        return np.asarray(self.codec.transform(part.X)) * self.weights


def _some(rows, rng):
    if len(rows) <= COMPARED_ROWS:
        return rows
    return rows[rng.choice(len(rows), COMPARED_ROWS, replace=False)]
