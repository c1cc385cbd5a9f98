"""Certificate: a bound, what it is of, and in words."""

import math
from dataclasses import dataclass

import pandas as pd

MEASURES = {
    "demographic_parity": "demographic parity difference",
    "equalized_odds": "equalized odds difference",
    "true_positive_rate_parity": "equal opportunity difference",
}
CLASSIFIERS = {
    "any": "any classifier that sees only {n}, deterministic or randomised,",
    "monotone": "any classifier that accepts all of {n} beyond a threshold and no others",
}
# More groups are counted in a sentence, not named.
MOST_NAMED = 6
DIGITS = 4


@dataclass(frozen=True, eq=False, repr=False)
class Certificate:
    """What no classifier on a finite code exceeds, with the given confidence.

    Attributes
    ----------
    bound : float
        In [0, 1]: the largest of the bounds of ``comparisons``, which hold together.
    estimate : float
        In [0, 1]: the largest of their estimates, the total variation distance between two groups' frequencies of codes
        in these rows (of "monotone" classifiers the Kolmogorov-Smirnov distance). With many codes and few rows it is
        too high: even equal groups differ in samples.
    worst : Series
        The comparison with the highest bound, a row of ``comparisons``.
    worst_set : tuple of int
        Of that comparison, the codes that a classifier accepts, and no others, which has the largest difference between
        these two groups in these rows.
    by_attribute : Series
        The highest bound of every attribute; they hold together.
    headline : str
        The measure and the bound of every attribute, in a few words.
    sentence : str
        All of it in words, with the groups, the sizes of the samples and what is taken to be true; also ``str()``.
    comparisons : DataFrame of shape (n_comparisons, 10)
        A row for every two groups of an attribute, within every label that the constraint compares: "attribute",
        "label" (None for demographic parity), "first" (the smaller group), "second", "n_first", "n_second", "estimate",
        "bound", "method" and "worst_set".
    constraints : {"demographic_parity", "equalized_odds", "true_positive_rate_parity"}
    confidence : float
        In (0, 1): the least probability, over draws of the rows, that all bounds hold.
    classifiers : {"any", "monotone"}
        Which classifiers the bounds are of.
    n_codes : int
        Number of codes that there can be.
    max_shift : float
        In [0, 1): the share of each group that the bounds leave to rows from anywhere.

    Examples
    --------
    >>> from sklearn_fairlatent.certification import certify_codes
    >>> sex = ["f"] * 500 + ["m"] * 500
    >>> certificate = certify_codes([0, 1] * 500, sex, n_codes=2)
    >>> certificate.estimate, round(certificate.bound, 2)
    (0.0, 0.06)
    """

    comparisons: pd.DataFrame
    constraints: str
    confidence: float
    classifiers: str
    n_codes: int
    max_shift: float

    @property
    def worst(self):
        """The comparison with the highest bound."""
        return self.comparisons.loc[self.comparisons["bound"].idxmax()]

    @property
    def bound(self):
        """The highest bound."""
        return float(self.worst["bound"])

    @property
    def estimate(self):
        """The highest estimate."""
        return float(self.comparisons["estimate"].max())

    @property
    def worst_set(self):
        """The codes that the worst classifier accepts."""
        return self.worst["worst_set"]

    @property
    def by_attribute(self):
        """The highest bound of every attribute."""
        return self.comparisons.groupby("attribute", sort=False)["bound"].max()

    @property
    def headline(self):
        """What is at most how much, in a few words."""
        told = ", ".join(f"{rounded_up(bound)} by {name}" for name, bound in self.by_attribute.items())
        return f"{MEASURES[self.constraints]} at most {told}"

    @property
    def sentence(self):
        """What is certified, in words, with the sizes of the samples and what it takes to be true."""
        codes = "the single code" if self.n_codes == 1 else f"the {self.n_codes} codes"
        who = CLASSIFIERS[self.classifiers].format(n=codes)
        told = [_told(name, part) for name, part in self.comparisons.groupby("attribute", sort=False)]
        together, shift = " All of this holds together." * (len(told) > 1), ""
        if self.max_shift:
            cell = "group" if self.constraints == "demographic_parity" else "group and label"
            shift = f", but for a share of {self.max_shift:g} at most of each {cell}, which may be any rows"
        return (
            f"With {100 * self.confidence:.15g} % confidence the {MEASURES[self.constraints]} of {who} is "
            f"{', and '.join(told)}.{together} It is a statement about rows drawn independently from where these were "
            f"drawn{shift}."
        )

    def __str__(self):
        return self.sentence

    def __repr__(self):
        return (
            f"Certificate({self.headline}; estimate {self.estimate:.4f}, confidence {self.confidence:g}, "
            f"{self.n_codes} codes, {self.worst['method']})"
        )

    def to_dict(self):
        """All of it as plain values.

        Returns
        -------
        dict
        """
        return {
            "bound": self.bound,
            "estimate": self.estimate,
            "constraints": self.constraints,
            "confidence": self.confidence,
            "classifiers": self.classifiers,
            "n_codes": self.n_codes,
            "max_shift": self.max_shift,
            "headline": self.headline,
            "sentence": self.sentence,
            "comparisons": self.comparisons.to_dict("records"),
        }


def _told(name, part):
    """The highest bound of one attribute: between which groups, and from how many rows."""
    worst = part.loc[part["bound"].idxmax()]
    groups = sorted({*part["first"], *part["second"]}, key=str)
    pair = f"{worst['first']} and {worst['second']}"
    if len(part) > 1:
        named = f"{', '.join(map(str, groups[:-1]))} and {groups[-1]}" if len(groups) <= MOST_NAMED else "all"
        within = "" if worst["label"] is None else f" with label {worst['label']}"
        pair = f"between {named} of {len(groups)} groups; the highest is that of {pair}{within}"
    return (
        f"at most {rounded_up(worst['bound'])} by {name} ({pair}, from {worst['n_first']:,} and {worst['n_second']:,} "
        f"held-out rows whose codes differ by {worst['estimate']:.{DIGITS}f})"
    )


def rounded_up(value):
    """A probability as text, rounded upwards, but for what is rounding of floating point: .05 is not .0501."""
    unit = 10**DIGITS
    return f"{min(1.0, math.ceil(value * unit - 1e-6) / unit):.{DIGITS}f}"
