"""A fairness report in words: a few careful sentences with numbers, the most important first."""

import math

from ._drawing import listed

# What the flags of a transformer mean to a reader who did not fit it.
FLAG_SENTENCES = {
    "label_lost_": "fit flagged label_lost_: what is handed on has lost most of what it told of the label.",
    "penalty_ineffective_": (
        "fit flagged penalty_ineffective_: in training its penalty removed less than half of the dependence on the "
        "attributes. More epochs, a higher fairness_strength or fewer columns handed on may help."
    ),
}
CAUTION = (
    "This is a measurement on these rows, not a guarantee, statistical or legal: other rows, other attributes or other "
    "probes may show more."
)


# The 95 % quantile over shuffles of the groups.
CONTROL = "demographic_parity_difference_shuffled"
# What may have become worse than with the baseline: in words, and whether more of it is worse.
WORSE = {
    "equalized_odds_difference": ("equalized odds difference", 1),
    "equal_opportunity_difference": ("equal opportunity difference", 1),
    "demographic_parity_difference": ("demographic parity difference", 1),
    "worst_accuracy": ("accuracy in the worst group", -1),
    "worst_group_and_label_accuracy": ("accuracy in the worst cell of group and label", -1),
}
# Changes below this are not worth a sentence.
LEAST_CHANGE = 0.02
MOST_TOLD = 3


def share(value):
    """A share in per cent."""
    return "n/a" if value is None or math.isnan(value) else f"{100 * value:.1f} %"


def digits(value):
    """A score with three digits."""
    return "n/a" if value is None or math.isnan(value) else f"{value:.3f}".replace("-0.000", "0.000")


def summarise(report):
    """The sentences of a :class:`FairnessReport`.

    A transformer that was fitted without attributes is never called fair, nor is any other: the words only say what
    was measured.
    """
    sentences = [_accuracy(report), _gaps(report)]
    if report.leakage is not None:
        sentences.append(_leakage(report))
    certificate = report.latent and report.latent["certificate"]
    if certificate:
        sentences.append(certificate["sentence"])
    sentences += [*_four_fifths(report), *_worse(report)]
    if report.latent is not None:
        sentences += _flags(report.latent)
    return [*sentences, f"Apart from that bound, {CAUTION[0].lower()}{CAUTION[1:]}" if certificate else CAUTION]


def warnings_of(report):
    """The sentences about what is wrong with the fit."""
    return [] if report.latent is None else _flags(report.latent)


def _accuracy(report):
    scores, rows = report.scores, report.about["rows"]
    own = scores.loc["model"]
    who = "the model"
    if report.about["stand_in"]["model"]:
        who = "a logistic regression on what the transformer hands on, cross-validated within them,"
    text = f"On these {rows:,} held-out rows {who} is right in {share(own['accuracy'])}"
    if "baseline" in scores.index:
        text += f", the baseline in {share(scores.loc['baseline', 'accuracy'])}"
    text += f"; always giving the commonest label would be right in {share(own['majority_class'])}."
    return text if own["accuracy"] > own["majority_class"] else f"{text} The model is no better than that."


def _gaps(report):
    """The difference between the groups of the first attribute, and those of the others in brief."""
    table = report.disparities.loc["model"]
    told = f"the label {str(report.about['favourable_label'])!r}"
    if not table["highest_selection_rate"].max() > 0:
        return f"The model gives {told} to no row, so that there is nothing to compare between groups."
    first, *others = table.index
    rates = report.groups.loc[("model", first)]
    rates = rates[rates["n_samples"] >= report.about["min_group_size"]]["selection_rate"]
    gaps, by_chance = table["demographic_parity_difference"], table[CONTROL]
    text = (
        f"By {first}, {told} goes to {share(rates.max())} of {rates.idxmax()} and {share(rates.min())} of "
        f"{rates.idxmin()}: a difference of {digits(gaps[first])}"
    )
    if "baseline" in report.scores.index:
        text += f" (baseline {digits(report.disparities.loc[('baseline', first), 'demographic_parity_difference'])})"
    text += f", where chance alone gives up to {digits(by_chance[first])}."
    if others:
        text += (
            f" It is {listed(f'{digits(gaps[name])} by {name} (chance {digits(by_chance[name])})' for name in others)}."
        )
    return text


def _worse(report):
    """What became worse than with the baseline, whatever became better."""
    if "baseline" not in report.scores.index:
        return []
    found = []
    for name in report.disparities.loc["model"].index:
        for measure, (words, sign) in WORSE.items():
            if measure in report.disparities:
                own, other = (float(report.disparities.loc[(key, name), measure]) for key in ("model", "baseline"))
                if sign * (own - other) > LEAST_CHANGE:
                    told = f"{words} by {name} ({digits(own)}, baseline {digits(other)})"
                    found.append((sign * (own - other), told))
    if not found:
        return []
    largest = [told for _, told in sorted(found, reverse=True)[:MOST_TOLD]]
    more = f", and {len(found) - MOST_TOLD} more in the tables" if len(found) > MOST_TOLD else ""
    return [f"Worse than with the baseline: {listed(largest)}{more}."]


def _four_fifths(report):
    known = report.disparities.loc["model", "four_fifths"].dropna().astype(bool)
    verdicts = [f"{verb} for {listed(names)}" for verb, names in
                (("met", known.index[known]), ("not met", known.index[~known])) if len(names)]  # fmt: skip
    return [f"The four-fifths rule of thumb is {' and '.join(verdicts)}."] if verdicts else []


def _leakage(report):
    after = report.leakage.loc["after"]
    found = after[after["low"] > after["chance"]]
    name = (found if len(found) else after)["score"].idxmax()
    leak, before = after.loc[name], report.leakage.loc[("before", name)]
    if len(found):
        verdict = f"lies above chance ({leak['chance']:g})"
        if len(found) > 1:
            verdict += f", as do those of {listed(found.index.drop(name))}"
    else:
        verdict = f"does not lie above chance ({leak['chance']:g})" + ", nor do those of the others" * (len(after) > 1)
    rows = f" (of {int(leak['n_samples']):,} of the rows)" if leak["n_samples"] < report.about["rows"] else ""
    return (
        f"From what is handed on{rows}, the strongest probe reads {name} with {leak['measure']} "
        f"{digits(leak['score'])} (from the encoded rows {digits(before['score'])}); the 95 % interval, "
        f"{digits(leak['low'])} to {digits(leak['high'])}, {verdict}. "
        f"With {name} shuffled it reads {digits(leak['shuffled'])}."
    )


def _flags(latent):
    if latent["flags"]["trained_without_sensitive_"]:
        return [
            "The transformer was fitted without any sensitive attribute: its latent is plain, and nothing protects it."
        ]
    sentences = [text for name, text in FLAG_SENTENCES.items() if latent["flags"][name]]
    if latent["fairness_strength"] == 0:
        sentences.append("The transformer was fitted with fairness_strength=0: its penalty was off.")
    if latent["not_protected"]:
        sentences.append(
            f"fit saw {listed(latent['protected'])} and not {listed(latent['not_protected'])}, which nothing protects."
        )
    return sentences
