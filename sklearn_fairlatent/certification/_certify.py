"""certify and certify_codes: held-out rows, groups and labels to counts of codes, counts to a Certificate."""

import warnings
from itertools import combinations

import numpy as np
import pandas as pd

from .._attributes import CONSTRAINTS
from .._exceptions import SmallGroupWarning
from .._fingerprint import hash_rows
from .._groups import read_groups, with_intersection
from .._parameters import check_value, is_real
from .._pipelines import fair_step, through
from ._bounds import fixed_set_bound
from ._certificate import Certificate
from ._comparing import METHODS, bounds_of, counts_of, ordered, read_codes, strata_of, worst_set_of

# A group of fewer rows has a margin above .1 at 95 %, whatever the code.
FEW_ROWS = 50


def certify(
    transformer,
    X,
    sensitive_features,
    *,
    y=None,
    constraints=None,
    confidence=0.95,
    method="best",
    classifiers="any",
    max_shift=0.0,
    intersections=False,
    bins=None,
    pos_label=None,
):
    """Bound the disparity of any classifier that sees only the codes of a FairLatentTransformer.

    A classifier that sees one of k codes is a choice of codes, so that the difference of its selection rates between
    two groups is at most the total variation distance between the groups' frequencies of codes [1]_. That distance is
    bounded from rows that had no part in the fit.

    Parameters
    ----------
    transformer : FairLatentTransformer or Pipeline
        Fitted, with ``n_codes``; of a pipeline the one such step, whose codes are all that later steps see. A fitted
        search is taken as its ``best_estimator_``.
    X : array-like of shape (n_samples, n_features)
        HELD-OUT rows, drawn independently from the population that decisions will be about. Rows that were in ``fit``
        are refused, as far as hashes of what reached the transformer tell them: not behind a step of a pipeline that
        gives training rows other values than it gives the same rows later (``TargetEncoder``), and some dozens may
        pass: it finds a wrong split, not every single row. Rows that helped to choose between settings, and rows
        repeated, must not be here either, which is not checked.
    sensitive_features : Series, DataFrame or array-like of shape (n_samples,) or (n_samples, n_attributes)
        Their attributes, also others than ``fit`` saw. One that bears a name that it had in ``fit`` must have all the
        groups that it had there. Rows with a missing value do not count for that attribute.
    y : array-like of shape (n_samples,), default=None
        Their labels, classes; for equalized odds and equal opportunity.
    constraints : {"demographic_parity", "equalized_odds", "true_positive_rate_parity"}, default=None
        What is bounded, in fairlearn's words: the largest difference between two groups in selection rates, in those
        within each label, or in those within ``pos_label``. "equal_opportunity" is an alias of the last. None: the
        transformer's own.
    confidence : float, default=0.95
        In (0, 1). Over draws of held-out rows, all bounds hold together with at least this probability.
    method : {"best", "fixed_set", "clopper_pearson", "l1", "dkw"}, default="best"
        See :func:`certify_codes`.
    classifiers : {"any", "monotone"}, default="any"
        See :func:`certify_codes`.
    max_shift : float, default=0.0
        In [0, 1): the largest share of each group's rows, in deployment, that may come from anywhere else than the rows
        here, see :func:`certify_codes`.
    intersections : bool, default=False
        With several attributes, whether the groups of their combinations are compared, too.
    bins : dict of str to list of float, default=None
        Edges at which continuous attributes are cut into groups.
    pos_label : object, default=None
        The favourable label, for equal opportunity. None: the transformer's own, else 1 of {0, 1} or {-1, 1}.

    Returns
    -------
    certificate : Certificate
        With the ``bound``, the ``estimate``, the worst groups and codes, and a ``sentence`` for people.

    Raises
    ------
    TypeError
        If ``transformer`` is no FairLatentTransformer, nor a Pipeline with one. Of anything else pass the fitted
        transformer itself, and the rows that reach it.
    NotFittedError
        If it is not fitted.
    ValueError
        If a setting is not known, ``y`` is needed and missing or has no classes, the favourable label is not told, the
        transformer has no ``n_codes``, there are fewer rows than codes, no row of a group that fit saw, a group with
        fewer than two rows (within a label), or a continuous attribute without ``bins``; or if more of the rows were
        in ``fit`` than chance explains, which repeated rows in ``fit`` tell: do not drop duplicates from one part only.

    Warns
    -----
    SmallGroupWarning
        If a group (within a label) has fewer than 50 rows, so that no code could have a low bound.

    See Also
    --------
    certify_codes : The same for codes from anywhere.
    sklearn_fairlatent.metrics.leakage_score : What probes find, which is no bound.

    References
    ----------
    .. [1] Jovanovic, Balunovic, Dimitrov, Vechev (2023), "FARE: Provably fair representation learning with practical
       certificates", ICML; arXiv:2210.07213.

    Examples
    --------
    >>> from sklearn_fairlatent import FairLatentTransformer
    >>> from sklearn_fairlatent.certification import certify
    >>> from sklearn_fairlatent.datasets import make_biased_latents
    >>> data = make_biased_latents(3000, random_state=0)
    >>> X, y, A = data.data, data.target, data.sensitive_features
    >>> fair = FairLatentTransformer(n_codes=6, max_epochs=15, random_state=0)
    >>> _ = fair.fit(X[:1500], y[:1500], sensitive_features=A[:1500])
    >>> certificate = certify(fair, X[1500:], A[1500:])
    >>> certificate.estimate < certificate.bound < 0.2
    True
    """
    fair, before = fair_step(transformer, "certify")
    rows, _ = fair._read_rows(through(before, X), reset=False)
    groups = read_groups(sensitive_features, len(rows), index=getattr(X, "index", None), bins=bins)
    _check_groups(fair, groups, set(bins or {}))
    certificate = certify_step(
        fair,
        rows,
        groups,
        y,
        constraints=constraints,
        confidence=confidence,
        method=method,
        classifiers=classifiers,
        max_shift=max_shift,
        intersections=intersections,
        pos_label=pos_label,
    )
    _warn_of_few_rows(certificate)
    return certificate


def _check_groups(fair, groups, cut):
    """All groups that fit saw must be there, and what is called as the label is no attribute."""
    if fair._target is not None and fair._target.name in groups:
        raise ValueError(
            f"sensitive_features: {fair._target.name!r} is the label. Pass the attributes there, and the label as y=."
        )
    for variable in fair._variables:
        if variable.name not in groups or variable.name in cut or variable.kind != "groups":
            continue
        known, found = set(variable.categories.tolist()), set(groups[variable.name].dropna())
        if known - found:
            names = sorted(known - found, key=str)
            others = f" but of {sorted(found - known, key=str)}, which it did not" if found - known else ""
            raise ValueError(
                f"sensitive_features: no row of group(s) {names} of {variable.name!r}, which fit saw{others}. What "
                "bounds the others says nothing of them: pass rows of every group, or, to certify other groups, give "
                "the attribute another name."
            )


def certify_step(fair, rows, groups, y, *, constraints=None, pos_label=None, **settings):
    """:func:`certify` for rows that the transformer has read and groups of which some may be missing."""
    if not hasattr(fair, "codebook_"):
        raise ValueError(
            "certify bounds what can be done with finitely many codes, and this transformer hands on numbers. Fit it "
            "with n_codes, such as FairLatentTransformer(n_codes=8)."
        )
    n_seen, most = fair._fingerprint.seen(hash_rows(rows))
    if n_seen > most:
        raise ValueError(
            f"X: {n_seen:,} of its {len(rows):,} rows were in fit; chance explains {most:,.0f} at most. A certificate "
            "takes rows that training did not see. Split X before fit, and pass the other part."
        )
    return certified(
        fair._codes_of(rows),
        groups,
        y,
        n_codes=fair.codebook_.n_codes,
        constraints=fair.constraints if constraints is None else constraints,
        pos_label=fair.pos_label if pos_label is None else pos_label,
        **settings,
    )


def certify_codes(
    codes,
    sensitive_features,
    *,
    y=None,
    n_codes,
    constraints="demographic_parity",
    confidence=0.95,
    method="best",
    classifiers="any",
    max_shift=0.0,
    intersections=False,
    bins=None,
    pos_label=None,
):
    r"""Bound the disparity of any classifier that sees only a finite code, whatever made it.

    Parameters
    ----------
    codes : array-like of int of shape (n_samples,)
        In [0, n_codes), of held-out rows: the rule that gives them must not depend on these rows. The bins of a
        discretizer, the clusters of k-means, the leaves of a tree (``apply`` gives numbers of nodes, of which there
        are ``tree_.node_count``).
    sensitive_features, y
        As in :func:`certify`.
    n_codes : int
        How many there can be, those that no row here has included; known before.
    constraints : str, default="demographic_parity"
        As in :func:`certify`.
    confidence : float, default=0.95
        As in :func:`certify`.
    method : {"best", "fixed_set", "clopper_pearson", "l1", "dkw"}, default="best"
        "fixed_set": an exact test of one set of codes, see Notes. "clopper_pearson": simultaneous intervals for all
        frequencies. "l1": the deviation of a multinomial. "dkw": for monotone classifiers, that of a distribution
        function. "best": the smaller of "fixed_set" and "clopper_pearson" with nine tenths and one tenth of the error
        probability; of "monotone" classifiers, "fixed_set".
    classifiers : {"any", "monotone"}, default="any"
        "monotone": only those that accept the codes from some code on, or up to it; a lower bound for whoever can
        promise that. The order of the codes must have been fixed before.
    max_shift : float, default=0.0
        In [0, 1). In deployment, of each group (within each label, where these are compared) at least a share of
        ``1 - max_shift`` is drawn as the rows here are, and the rest may be anything:
        the bound b becomes ``(1 - max_shift) b + max_shift``. How large each group is in deployment needs no such
        allowance, nor, where labels are compared, how many of a group have which label.
    intersections, bins, pos_label
        As in :func:`certify`.

    Returns
    -------
    certificate : Certificate

    Raises
    ------
    ValueError
        As :func:`certify`, or if a code lies outside [0, n_codes).

    Notes
    -----
    With p and q the frequencies of the codes in two groups, a classifier that accepts each code c with probability f(c)
    has selection rates whose difference is ``sum(f (p - q)) <= max over sets S of p(S) - q(S)``, the total variation
    distance. Hence the bound holds for randomised classifiers, for the mean of a score in [0, 1], and for every class
    of a classifier of many, one against the rest. It says nothing of classifiers that see more than the code, nor of
    how well scores are calibrated.

    *fixed_set*. Let S be the set that is worst in truth. It does not depend on the sample, so that the counts of S in
    both groups are two independent binomials; and the largest difference over sets in the sample is at least that
    of S. Whatever difference a one-sided exact test [1]_ of two binomials rules out for S at the sample's largest
    difference, is ruled out. No union over sets or codes is needed, and no number of codes enters. The test maximises
    over the unknown level of both probabilities; it is exact up to rounding upwards by some hundredths of its margin.

    *clopper_pearson*. Exact intervals [2]_ for 2 k frequencies, each with the error probability over 2 k; the least of
    three forms of the distance, ``sum((p - q)+)``, ``sum((q - p)+)`` and ``1 - sum(min(p, q))``, at their ends.

    *l1*. With probability ``1 - e`` the frequencies of n rows are off by at most ``sqrt(2 log((2^k - 2) / e) / n)`` in
    the sum of absolute differences [3]_; half of this for each group is added to the estimate.

    *dkw*. With probability ``1 - e`` the distribution function of n rows is off by at most ``sqrt(log(2 / e) / (2 n))``
    everywhere [4]_. For both, e is half of the error probability, and the two groups' deviations are added.

    All assume that the rows of a group are drawn independently from one distribution, the one of deployment. Of
    several comparisons (groups, labels, attributes) each gets an equal share of the error probability, so that all
    bounds hold together.

    References
    ----------
    .. [1] Chan and Zhang (1999), "Test-based exact confidence intervals for the difference of two binomial
       proportions", Biometrics 55, section 2.
    .. [2] Clopper and Pearson (1934), "The use of confidence or fiducial limits illustrated in the case of the
       binomial", Biometrika 26.
    .. [3] Weissman, Ordentlich, Seroussi, Verdu, Weinberger (2003), "Inequalities for the L1 deviation of the empirical
       distribution", HP Laboratories HPL-2003-97R1, theorem 2.1 and eq. 4.
    .. [4] Massart (1990), "The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality", Ann. Probab. 18,
       corollary 1.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_fairlatent.certification import certify_codes
    >>> rng = np.random.RandomState(0)
    >>> group = rng.choice(["a", "b"], 4000)
    >>> codes = rng.randint(4, size=4000)
    >>> certify_codes(codes, group, n_codes=4).bound < 0.06
    True
    """
    certificate = certified(
        codes,
        sensitive_features,
        y,
        n_codes=n_codes,
        constraints=constraints,
        confidence=confidence,
        method=method,
        classifiers=classifiers,
        max_shift=max_shift,
        intersections=intersections,
        bins=bins,
        pos_label=pos_label,
    )
    _warn_of_few_rows(certificate)
    return certificate


def certified(
    codes,
    sensitive_features,
    y,
    *,
    n_codes,
    constraints,
    confidence=0.95,
    method="best",
    classifiers="any",
    max_shift=0.0,
    intersections=False,
    bins=None,
    pos_label=None,
):
    """:func:`certify_codes` without its warning."""
    settings = {"constraints": constraints, "confidence": confidence, "method": method, "classifiers": classifiers,
                "max_shift": max_shift}  # fmt: skip
    _check_settings(**settings, intersections=intersections)
    index, codes = getattr(codes, "index", None), read_codes(codes, n_codes)
    groups = read_groups(sensitive_features, len(codes), index=index, bins=bins)
    groups = with_intersection(groups) if intersections else groups
    constraint = CONSTRAINTS[constraints]
    strata = strata_of(y, len(codes), constraint, pos_label)

    compared = []
    for name in groups:
        for label, inside in strata:
            counts = counts_of(name, groups[name].to_numpy(), codes, n_codes, label, inside)
            compared += [(name, label, *ordered(counts, *pair)) for pair in combinations(counts, 2)]
    error = (1 - confidence) / len(compared)
    rows = []
    for name, label, first, second, p, q in compared:
        estimate, bounds = bounds_of(p, q, error, method, classifiers)
        used = min(bounds, key=lambda key: bounds[key])
        rows.append({
            "attribute": name, "label": label, "first": first, "second": second,
            "n_first": int(p.sum()), "n_second": int(q.sum()), "estimate": estimate,
            "bound": float(min(1.0, (1 - max_shift) * bounds[used] + max_shift)), "method": used,
            "worst_set": worst_set_of(p, q, classifiers),
        })  # fmt: skip
    return Certificate(
        comparisons=pd.DataFrame(rows).astype({"label": object, "first": object, "second": object}),
        constraints=constraint,
        confidence=float(confidence),
        classifiers=classifiers,
        n_codes=int(n_codes),
        max_shift=float(max_shift),
    )


def _warn_of_few_rows(certificate):
    """A warning, at the caller of the public function, if few rows alone make a bound wide."""
    table = certificate.comparisons
    few = table[table["n_first"] < FEW_ROWS]
    if few.empty:
        return
    worst = few.loc[few["n_first"].idxmin()]
    error = (1 - certificate.confidence) / len(table)
    lowest = fixed_set_bound(0.0, worst["n_first"], worst["n_second"], error)
    label = "" if worst["label"] is None else f" with label {worst['label']!r}"
    warnings.warn(
        f"{worst['attribute']!r}: {worst['first']!r} has {worst['n_first']} rows{label}. With so few, and "
        f"{len(table)} comparison(s), bounds below about {lowest:.2f} are out of reach, however fair the code is. Pass "
        "more rows, merge groups, or leave them out.",
        SmallGroupWarning,
        stacklevel=3,
    )


def _check_settings(constraints, confidence, method, classifiers, max_shift, intersections):
    known = isinstance(constraints, str) and constraints in CONSTRAINTS
    check_value("constraints", constraints, known, f"one of {sorted(CONSTRAINTS)}")
    check_value(
        "confidence", confidence, is_real(confidence) and 0 < confidence < 1, "a number in (0, 1), such as 0.95"
    )
    check_value("max_shift", max_shift, is_real(max_shift) and 0 <= max_shift < 1, "a share in [0, 1)")
    check_value("intersections", intersections, isinstance(intersections, (bool, np.bool_)), "True or False")
    known = isinstance(classifiers, str) and classifiers in METHODS
    check_value("classifiers", classifiers, known, f"one of {sorted(METHODS)}")
    expected = f"one of {list(METHODS[classifiers])} with classifiers={classifiers!r}"
    if method == "dkw":
        expected += "; the bound on distribution functions holds for thresholds only: pass classifiers='monotone'"
    check_value("method", method, isinstance(method, str) and method in METHODS[classifiers], expected)
