"""The page of a fairness report: its sections, and the shorter form for notebooks."""

from html import escape
from importlib import resources
from string import Template

import pandas as pd

from ._markup import bar, cell, explained, facts, paragraphs, table, text
from ._summary import digits, share, warnings_of

# A counterfactual of an embedding changes hundreds of columns; the largest changes are shown.
MOST_COLUMNS = 20
# Name and gloss of what the tables show, in their order.
SCORES = {
    "accuracy": ("Accuracy", ""),
    "majority_class": ("Share of the commonest label", "the accuracy of a constant answer"),
    "balanced_accuracy": ("Balanced accuracy", "mean over the labels; 0.5 is chance"),
    "roc_auc": ("ROC AUC", "of the scores; 0.5 is chance"),
}
MEASURES = {
    "demographic_parity_difference": ("Demographic parity difference", "of selection rates; 0 is parity"),
    "demographic_parity_difference_shuffled": (
        "What chance gives at most",
        "95 of 100 shuffles of the groups stay below",
    ),
    "demographic_parity_ratio": ("Demographic parity ratio", "lowest over highest selection rate; 1 is parity"),
    "four_fifths": ("Four-fifths rule of thumb", "is that ratio at least 0.8?"),
    "equalized_odds_difference": (
        "Equalized odds difference",
        "of true or false positive rates, the larger; 0 is parity",
    ),
    "equalized_odds_ratio": ("Equalized odds ratio", "of true or false positive rates, the smaller; 1 is parity"),
    "equal_opportunity_difference": ("Equal opportunity difference", "of true positive rates; 0 is parity"),
    "equal_opportunity_ratio": ("Equal opportunity ratio", "of true positive rates; 1 is parity"),
    "worst_accuracy": ("Accuracy in the worst group", ""),
    "worst_group_and_label_accuracy": ("Accuracy in the worst cell of group and label", ""),
    "bias_amplification": ("Amplified bias", "selection rates beyond those of the labels; 0 is none"),
    "score_distribution_gap": ("Gap of the scores' distributions", "in nats, widest pair of groups; 0 is none"),
    "score_distribution_gap_shuffled": ("The same gap by chance", "one shuffle of the groups"),
}
FLAGS = {
    "trained_without_sensitive_": "fitted without any sensitive attribute",
    "label_lost_": "the label was lost",
    "penalty_ineffective_": "the penalty changed nothing",
    "improved_on_start_": "training improved on the closed-form linear map",
}
READING = (
    "Held-out rows took no part in any fit. Whether these were held out is up to whoever made the report, which cannot "
    "check it: on training rows leakage is hidden and accuracy flattered.",
    "A selection rate is the share of a group's rows that the model gives the favourable label. The four-fifths rule "
    "of thumb comes from guidelines on hiring in the USA of 1978; it is no legal judgement and no test of "
    "significance.",
    "A probe is a model that tries to read the attribute, judged on rows that it was not trained on. An interval that "
    "holds chance does not show that nothing can be read, only that these probes did not show on these rows that it "
    "can.",
    "Attributes that are not named here, and rows of another population, are not covered.",
)


def measures(key, caption, names, table_of_models):
    """A table with a row for each measure and a column for each model."""
    models = list(table_of_models.index)
    rows = [[explained(*words), *(cell(table_of_models.loc[model, name]) for model in models)]
            for name, words in names.items()]  # fmt: skip
    return table(key, caption, ["Measure", *(model.capitalize() for model in models)], rows)


def picture(report, name, kind="narrow"):
    """A figure with its caption, or nothing."""
    if name not in report.pictures:
        return ""
    svg, caption = report.pictures[name]
    return f'<figure class="{kind}">\n{svg}\n<figcaption>{escape(caption)}</figcaption>\n</figure>'


# ---------------------------------------------------------------- sections


def _figures(report):
    """The three numbers to see first."""
    about, scores, gaps = report.about, report.scores, report.disparities
    with_baseline = "baseline" in scores.index

    def beside(text):
        return f"baseline {text}" if with_baseline else ""

    cards = [("Accuracy", share(scores.loc["model", "accuracy"]),
              beside(share(scores.loc["baseline", "accuracy"])) if with_baseline else "")]  # fmt: skip
    shown = list(about["attributes"])[:3]
    for name in shown:
        column = "demographic_parity_difference"
        other = digits(gaps.loc[("baseline", name), column]) if with_baseline else ""
        cards.append(
            (f"Difference of selection rates by {name}", digits(gaps.loc[("model", name), column]), beside(other))
        )
    if report.leakage is not None:
        for name in shown:
            if ("after", name) in report.leakage.index:
                leak, before = report.leakage.loc[("after", name)], report.leakage.loc[("before", name)]
                cards.append((
                    f"{leak['measure']} of {name}, read from what is handed on", digits(leak["score"]),
                    f"from encoded rows {digits(before['score'])}; chance {leak['chance']:g}",
                ))  # fmt: skip
    return '<dl class="figures">\n' + "\n".join(
        f'<div><dt>{escape(name)}</dt><dd class="large">{escape(large)}</dd>'
        + (f'<dd class="small">{escape(small)}</dd></div>' if small else "</div>")
        for name, large, small in cards
    ) + "\n</dl>"  # fmt: skip


def _summary(report):
    wrong = warnings_of(report)
    notices = [f'<p class="notice"><strong>Note:</strong> {escape(text)}</p>' for text in wrong]
    parts = [_figures(report), *notices, paragraphs(text for text in report.summary if text not in wrong)]
    if report.notes:
        items = "\n".join(f"<li>{escape(note)}</li>" for note in report.notes)
        parts.append(f'<h3>Left out, and why</h3>\n<ul class="note">\n{items}\n</ul>')
    return "\n".join(parts)


def _measured(report):
    about = report.about
    pairs = [("Source", escape(about["source"]))] if "source" in about else []
    pairs += [
        ("Rows", f"{about['rows']:,} held-out rows of {about['columns']:,} columns"),
        ("Label", f"{escape(about['label'])}: {_counts(about['labels'])}; favourable: "
                  f"{escape(str(about['favourable_label']))}"),
    ]  # fmt: skip
    for name, sizes in about["attributes"].items():
        missing = about["rows_without_a_value"][name]
        pairs.append((name, _counts(sizes) + (f"; {missing:,} rows without a value" if missing else "")))
    pairs.append(("Model", f"<code>{escape(about['model'])}</code>"))
    if about["baseline"]:
        pairs.append(("Baseline", f"<code>{escape(about['baseline'])}</code>"))
    for model in [model for model, stands_in in about["stand_in"].items() if stands_in]:
        pairs.append((f"The {model} predicts by", "a logistic regression on what the transformer hands on, in three "
                      "folds of these rows: it stands in for the model that you will train"))  # fmt: skip
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    pairs += [("Seed", str(about["random_state"])), ("Measured", escape(report.date)), ("Versions", escape(versions))]
    return facts(pairs)


def _counts(sizes, most=12):
    shown = [f"{escape(name)} {size:,}" for name, size in list(sizes.items())[:most]]
    return ", ".join(shown) + (f" and {len(sizes) - most} more" if len(sizes) > most else "")


def _scores(report):
    return measures("table-scores", "Scores on the held-out rows", SCORES, report.scores)


def _groups(report):
    parts = [paragraphs([
        f"Groups of fewer than {report.about['min_group_size']} rows are left out of the differences. The bars show "
        "selection rates, the longest the highest; the dashed line stands at four fifths of it."
    ])]  # fmt: skip
    models = list(report.scores.index)
    names = report.disparities.loc["model"].index
    for k, name in enumerate(names):
        of_models = pd.DataFrame({model: report.disparities.loc[(model, name)] for model in models}).T
        parts.append(f"<h3>{escape(str(name))}</h3>")
        parts.append(measures(f"table-differences-{k}", f"Differences by {name}", MEASURES, of_models))
        parts.append(_group_table(report, name, f"table-groups-{k}", models))
    return "\n".join(parts)


def _group_table(report, name, key, models):
    rates = {model: report.groups.loc[(model, name)] for model in models}
    own, least = rates["model"], report.about["min_group_size"]
    large = own["n_samples"] >= least
    highest = own.loc[large, "selection_rate"].max()
    head = ["Group", "Rows", "Selection rate"]
    head += ["Baseline: selection rate"] * (len(models) > 1) + ["True positive rate", "False positive rate", "Accuracy"]
    rows = []
    for group, row in own.iterrows():
        rows.append([
            explained(str(group), "" if large[group] else "too few rows to compare"),
            cell(int(row["n_samples"])),
            cell(row["selection_rate"]) + bar(row["selection_rate"] / highest if large[group] and highest else None),
            *(cell(rates[model].loc[group, "selection_rate"]) for model in models[1:]),
            *(cell(row[rate]) for rate in ("true_positive_rate", "false_positive_rate", "accuracy")),
        ])  # fmt: skip
    return table(key, f"Groups of {name}", head, rows)


def _leakage(report):
    if report.leakage is None:
        return None
    after = report.leakage.loc["after"]
    rows = []
    for name, leak in after.iterrows():
        before = report.leakage.loc[("before", name)]
        rows.append([
            escape(str(name)),
            *(text for found in (before, leak) for text in (
                digits(found["score"]), f"{digits(found['low'])} to {digits(found['high'])}", digits(found["shuffled"]),
            )),
            "yes" if leak["low"] > leak["chance"] else "not shown",
            escape(str(leak["probe"])),
        ])  # fmt: skip
    head = ["Attribute", "Before: AUC", "95 % interval", "Shuffled", "After: AUC", "95 % interval", "Shuffled",
            "After: above chance", "After: strongest probe"]  # fmt: skip
    intro = paragraphs([
        "The strongest of a linear model, a network and boosted trees tries to read each attribute: before, from the "
        "encoded rows that enter the transformer, and after, from what it hands on. 0.5 is chance, 1 a perfect "
        "reading; the control reads the attribute shuffled. Of more than two groups, the one that is read best counts."
    ])  # fmt: skip
    return "\n".join([intro, table("table-leakage", "Leakage", head, rows), picture(report, "leakage", "wide")])


def _latent(report):
    if report.latent is None:
        return None
    latent = report.latent
    blocks = ", ".join(f"{escape(name)} {width}" for name, width in latent["blocks"].items())
    handed = latent["handed_on"]
    pairs = [
        ("Blocks and their columns", blocks),
        ("Handed on", f"{len(handed)} column{'s' * (len(handed) != 1)}"),
        ("Constraint", f"{escape(latent['constraints'])}, strength {latent['fairness_strength']:g}"),
        ("Epochs", f"{latent['n_iter']:,}"),
        *((meaning.capitalize(), cell(latent["flags"][name])) for name, meaning in FLAGS.items()),
        ("There and back", _round_trip(latent["round_trip"])),
    ]
    if latent["certificate"] is not None:
        found = latent["certificate"]
        told = f"{found['headline']} for any classifier on the {found['n_codes']} codes"
        told += f", with {100 * found['confidence']:.15g} % confidence"
        pairs.append(("Certificate", escape(told)))
    pictures = picture(report, "latent") + picture(report, "training")
    return facts(pairs) + (f'\n<div class="pictures">\n{pictures}\n</div>' if pictures else "")


def _round_trip(found):
    if found is None:
        return "not measured, as no table comes back"
    parts = [
        f"{found[f'{kind}_that_differ']:,} of {found[kind]:,} {kind}" for kind in ("numbers", "words") if found[kind]
    ]
    error = found["largest_error_of_numbers"]
    return (
        f"{' and '.join(parts)} come back different" + (f" (numbers by {error:.1e} at most)" if error else "")
        + ". An encoder may give back the nearest value that it saw in fit."
    )  # fmt: skip


def _counterfactuals(report):
    if report.counterfactuals is None:
        return None
    parts = [paragraphs([
        "Real held-out rows, and what the model of the latent makes of them in another group: one block is moved, the "
        "rest held. This is not what would have happened. Changed cells say so and show the old value before the arrow."
    ])]  # fmt: skip
    for k, (name, part) in enumerate(report.counterfactuals.groupby("attribute", sort=False)):
        heads = part.drop_duplicates("row")
        columns = list(dict.fromkeys(part["column"]))
        changes = part.groupby("column")["changed"].sum()
        shown = columns
        if len(columns) > MOST_COLUMNS:
            kept = set(sorted(columns, key=lambda column: -changes[column])[:MOST_COLUMNS])
            shown = [column for column in columns if column in kept]
        cells = {(row.row, row.column): row for row in part.itertuples()}
        rows = [[escape(column), *(_moved(cells[row, column]) for row in heads["row"])] for column in shown]
        head = ["Column", *(f"Row {row.row}: {text(row.own)} to {text(row.wanted)}" for row in heads.itertuples())]
        parts.append(table(f"table-counterfactuals-{k}", f"Moved: {name}", head, rows, numbers=False))
        if len(shown) < len(columns):
            parts.append(paragraphs([f"{len(columns) - len(shown)} further columns are not shown."], ' class="note"'))
    return "\n".join(parts)


def _moved(row):
    if not row.changed:
        return escape(text(row.before))
    return f'<span class="changed">changed: {escape(text(row.before))} →\u00a0{escape(text(row.after))}</span>'


def _reading(report):
    return paragraphs(READING)


# Id and heading, and what makes it; None leaves it out.
SECTIONS = (
    ("summary", "Summary", _summary),
    ("measured", "What was measured", _measured),
    ("scores", "Accuracy", _scores),
    ("groups", "Differences between groups", _groups),
    ("leakage", "What can be read from the representation", _leakage),
    ("latent", "The latent", _latent),
    ("counterfactuals", "Counterfactual rows", _counterfactuals),
    ("reading", "How to read this page", _reading),
)


def page(report):
    """The whole page."""
    made = [(key, heading, make(report)) for key, heading, make in SECTIONS]
    made = [part for part in made if part[2] is not None]
    template = (resources.files("sklearn_fairlatent.inspection") / "page.html").read_text(encoding="utf-8")
    version = report.about["versions"]["sklearn_fairlatent"]
    return Template(template).substitute(
        title=escape(report.title),
        subtitle=escape(f"Measured on {report.about['rows']:,} held-out rows, {report.date}."),
        contents="\n".join(f'<li><a href="#{key}">{escape(heading)}</a></li>' for key, heading, _ in made),
        sections="\n".join(
            f'<section aria-labelledby="{key}">\n<h2 id="{key}">{escape(heading)}</h2>\n{content}\n</section>'
            for key, heading, content in made
        ),
        footer=escape(f"Made by sklearn_fairlatent {version}. {report.summary[-1]}"),
    )


def fragment(report):
    """Summary and differences for a notebook: no styles but its own, no headings, no ids."""
    table_ = report.disparities[list(MEASURES)[:5]].reset_index()
    head = "".join(f'<th scope="col">{escape(str(name).replace("_", " "))}</th>' for name in table_.columns)
    rows = "\n".join(f"<tr>{''.join(f'<td>{cell(value)}</td>' for value in row)}</tr>"
                     for row in table_.itertuples(index=False))  # fmt: skip
    lines = "\n".join(f"<li>{escape(line)}</li>" for line in report.summary)
    return (
        f"<div><strong>{escape(report.title)}</strong> ({escape(report.date)})\n<ul>\n{lines}\n</ul>\n"
        f"<table>\n<caption>Differences between groups</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n"
        "</tbody>\n</table>\n</div>"
    )
