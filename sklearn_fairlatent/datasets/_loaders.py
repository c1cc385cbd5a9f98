"""Loaders of the real tables that ship inside the package, each with its source and licence."""

from __future__ import annotations

from importlib import resources
from typing import Literal, overload

import pandas as pd
from sklearn.utils import Bunch

_ADULT_NUMBERS = ("age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week")
_GERMAN_NUMBERS = (
    "duration",
    "credit_amount",
    "installment_commitment",
    "residence_since",
    "existing_credits",
    "num_dependents",
)

_ADULT_DESCR = """\
Adult (also known as Census Income)
-----------------------------------

People in an extract of the 1994 census of the USA; the task is to tell who earned more than 50,000 dollars
a year.

:Rows: 45,222, those of the 48,842 in the source without a missing value, in shuffled order
:Label: "income", ">50K" (24.8 %, the favourable one) or "<=50K"
:Sensitive attributes: "sex" ("Female" 14,695, "Male" 30,527) and "race" (5 groups, "White" 86 %)
:Numbers: "age" in years, "fnlwgt" (census weight), "education-num" (rank of "education"), "capital-gain" and
    "capital-loss" in dollars a year, "hours-per-week"
:Words: "workclass" (7), "education" (16), "marital-status" (7), "occupation" (14), "relationship" (6),
    "race" (5), "native-country" (41), spelled as in the source ("Holand-Netherlands")

Of the women 11.4 % and of the men 31.2 % have the favourable label. "relationship" ("Husband", "Wife") all
but gives sex away. Draw no conclusions about people of today from this table (Ding et al., 2021).

Source: Becker, B. and Kohavi, R. (1996). Adult. UCI Machine Learning Repository.
https://doi.org/10.24432/C5XW20. Licence: CC BY 4.0.
Changes: training and test part joined, rows with missing values left out, rows shuffled, the label named.
"""

_GERMAN_DESCR = """\
German Credit (Statlog)
-----------------------

Applicants for a loan at a German bank in the 1970s; the task is to tell good from bad credit risks.

:Rows: 1,000, in the order of the source
:Label: "credit_risk", "good" (70 %, the favourable one) or "bad"
:Sensitive attributes: "sex" ("female" 310, "male" 690) and "age" in two groups ("<25" 149, ">=25" 851)
:Numbers: "duration" in months, "credit_amount" in Deutsche Mark, "installment_commitment" in classes of the
    percentage of disposable income, "residence_since" in classes of years, "existing_credits",
    "num_dependents"
:Words: "checking_status" (4), "credit_history" (5), "purpose" (10), "savings_status" (5), "employment" (5),
    "other_parties" (3), "property_magnitude" (4), "other_payment_plans" (3), "housing" (3), "job" (4),
    "own_telephone" (2), "foreign_worker" (2)

Of the women 64.8 % and of the men 72.3 % have the favourable label; below 25 years 59.1 %, from 25 on 71.9 %.
The words are those of the code book that comes with the data. Groemping (2019) compared it with the original
German one and found several codes described wrongly; above all, sex cannot be told with certainty from the
code for personal status. Take the table as a benchmark, not as evidence about people.

Source: Hofmann, H. (1994). Statlog (German Credit Data). UCI Machine Learning Repository.
https://doi.org/10.24432/C5NC77. Licence: CC BY 4.0.
Changes: codes replaced by words, columns and label named, sex split from personal status and the rest of it
left out, age in years reduced to two groups.
"""


def _read(name: str, numbers: tuple[str, ...]) -> pd.DataFrame:
    """Read a shipped table: the named columns as int64, all others as strings of dtype object."""
    file = resources.files("sklearn_fairlatent.datasets") / "data" / f"{name}.csv.gz"
    with file.open("rb") as stream:
        # Without keep_default_na=False a category such as "none" could be read as a missing value. The dtype
        # object is the only one for strings that is the same in pandas 2 and 3.
        frame = pd.read_csv(stream, compression="gzip", dtype=object, keep_default_na=False)
    return frame.astype(dict.fromkeys(numbers, "int64"))


def _bunch(
    frame: pd.DataFrame,
    *,
    label: str,
    positive_label: str,
    sensitive: list[str],
    left_out: list[str],
    descr: str,
) -> Bunch:
    """Split a table into features, label and sensitive attributes."""
    target, sensitive_features = frame[label].copy(), frame[sensitive].copy()
    data = frame.drop(columns=[label, *left_out])
    # A categorical column knows its categories whatever rows are drawn, so that no fold meets an unknown one.
    words = data.select_dtypes(object).columns
    frame = frame.astype(dict.fromkeys(words, "category"))
    data = data.astype(dict.fromkeys(words, "category"))
    return Bunch(
        data=data,
        target=target,
        sensitive_features=sensitive_features,
        frame=frame,
        feature_names=list(data.columns),
        positive_label=positive_label,
        DESCR=descr,
    )


@overload
def load_adult(*, return_X_y: Literal[False] = False) -> Bunch: ...
@overload
def load_adult(*, return_X_y: Literal[True]) -> tuple[pd.DataFrame, pd.Series]: ...
def load_adult(*, return_X_y: bool = False) -> Bunch | tuple[pd.DataFrame, pd.Series]:
    """Load the Adult table (1994 census of the USA): income, with sex and race.

    Shipped inside the package, licence CC BY 4.0; nothing is downloaded. Columns are raw: categories are
    words (dtype category in ``data``, object in the label and the attributes), numbers are integers (dtype
    int64), nothing is missing.

    Parameters
    ----------
    return_X_y : bool, default=False
        Return only ``(data, target)``. The sensitive attributes are then left behind.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        With the entries

        - ``data`` : DataFrame of shape (45222, 13). All columns but the label and ``sex``; **it contains
          race** (one-hot encoded it has 102 columns). Drop race as in the example where it is the attribute
          to be protected.
        - ``target`` : Series of shape (45222,), "income": ">50K" or "<=50K".
        - ``sensitive_features`` : DataFrame of shape (45222, 2), "sex" ("Female", "Male") and "race"
          ("Amer-Indian-Eskimo", "Asian-Pac-Islander", "Black", "Other", "White").
        - ``frame`` : DataFrame of shape (45222, 15), all columns in the order of the source.
        - ``feature_names`` : list of the 13 column names of ``data``.
        - ``positive_label`` : ">50K", the favourable value of the target.
        - ``DESCR`` : str, the table described, with its source, licence and what was changed.
    (data, target) : tuple
        If ``return_X_y=True``.

    See Also
    --------
    load_german : A smaller table, of credit risks.
    make_biased_latents : Rows whose true counterfactuals are known.

    References
    ----------
    .. [1] B. Becker and R. Kohavi, "Adult", UCI Machine Learning Repository, 1996.
       https://doi.org/10.24432/C5XW20
    .. [2] F. Ding, M. Hardt, J. Miller and L. Schmidt, "Retiring Adult: New Datasets for Fair Machine
       Learning", Advances in Neural Information Processing Systems 34, 2021.

    Examples
    --------
    >>> from sklearn_fairlatent.datasets import load_adult
    >>> adult = load_adult()
    >>> adult.data.shape
    (45222, 13)
    >>> is_rich = adult.target == adult.positive_label
    >>> share = is_rich.groupby(adult.sensitive_features["sex"]).mean()
    >>> print(f"{share['Female']:.3f} of the women, {share['Male']:.3f} of the men")
    0.114 of the women, 0.312 of the men

    With sex and race both protected, race leaves the features too:

    >>> adult.data.drop(columns="race").shape
    (45222, 12)
    """
    bunch = _bunch(
        _read("adult", _ADULT_NUMBERS),
        label="income",
        positive_label=">50K",
        sensitive=["sex", "race"],
        left_out=["sex"],
        descr=_ADULT_DESCR,
    )
    return (bunch.data, bunch.target) if return_X_y else bunch


@overload
def load_german(*, return_X_y: Literal[False] = False) -> Bunch: ...
@overload
def load_german(*, return_X_y: Literal[True]) -> tuple[pd.DataFrame, pd.Series]: ...
def load_german(*, return_X_y: bool = False) -> Bunch | tuple[pd.DataFrame, pd.Series]:
    """Load the German Credit table (Statlog): credit risk, with sex and age.

    Shipped inside the package, licence CC BY 4.0; nothing is downloaded. Columns are raw: categories are
    words (dtype category in ``data``, object in the label and the attributes), numbers are integers (dtype
    int64), nothing is missing.

    Parameters
    ----------
    return_X_y : bool, default=False
        Return only ``(data, target)``. The sensitive attributes are then left behind.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        With the entries

        - ``data`` : DataFrame of shape (1000, 18). All columns but the label, ``sex`` and ``age``.
        - ``target`` : Series of shape (1000,), "credit_risk": "good" or "bad".
        - ``sensitive_features`` : DataFrame of shape (1000, 2), "sex" ("female", "male") and "age" in years
          ("<25", ">=25").
        - ``frame`` : DataFrame of shape (1000, 21), all columns in the order of the source.
        - ``feature_names`` : list of the 18 column names of ``data``.
        - ``positive_label`` : "good", the favourable value of the target.
        - ``DESCR`` : str, the table described, with its source, licence and what was changed.
    (data, target) : tuple
        If ``return_X_y=True``.

    See Also
    --------
    load_adult : A larger table, of incomes.
    make_biased_latents : Rows whose true counterfactuals are known.

    Notes
    -----
    The words follow the code book that comes with the data, of which [2]_ found parts to be wrong; sex is
    only as certain as that code book.

    References
    ----------
    .. [1] H. Hofmann, "Statlog (German Credit Data)", UCI Machine Learning Repository, 1994.
       https://doi.org/10.24432/C5NC77
    .. [2] U. Groemping, "South German Credit Data: Correcting a Widely Used Data Set", Report 4/2019,
       Reports in Mathematics, Physics and Chemistry, Beuth University of Applied Sciences Berlin, 2019.

    Examples
    --------
    >>> from sklearn_fairlatent.datasets import load_german
    >>> german = load_german()
    >>> german.data.shape
    (1000, 18)
    >>> is_good = german.target == german.positive_label
    >>> share = is_good.groupby(german.sensitive_features["age"]).mean()
    >>> print(f"{share['<25']:.3f} below 25 years, {share['>=25']:.3f} from 25 on")
    0.591 below 25 years, 0.719 from 25 on
    """
    bunch = _bunch(
        _read("german", _GERMAN_NUMBERS),
        label="credit_risk",
        positive_label="good",
        sensitive=["sex", "age"],
        left_out=["sex", "age"],
        descr=_GERMAN_DESCR,
    )
    return (bunch.data, bunch.target) if return_X_y else bunch
