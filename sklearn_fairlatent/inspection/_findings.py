"""FairnessReport: findings as words, table, JSON and page."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ._html import fragment, page
from ._markup import write_text


def plain(value) -> Any:
    """``value`` as JSON holds it: NaN and infinity are None, tables lists of records."""
    if isinstance(value, pd.DataFrame):
        named = [name for name in value.index.names if name]
        return [plain(record) for record in (value.reset_index() if named else value).to_dict("records")]
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(part) for part in value]
    if value is None or isinstance(value, (bool, np.bool_)):
        return None if value is None else bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return None if value is pd.NA or value is pd.NaT else str(value)


@dataclass(eq=False, repr=False)
class FairnessReport:
    """What :func:`fairness_report` returns.

    Attributes
    ----------
    title : str
    date : str
        When it was measured, in UTC.
    summary : list of str
        In words, the most important first.
    notes : list of str
        What could not be measured, and groups that were left out.
    about : dict
        The rows, the label, the groups' sizes, the estimators, the seed and the versions.
    scores : DataFrame of shape (n_models, 4)
        Accuracy, balanced accuracy, ROC AUC and the share of the commonest label, by model.
    disparities : DataFrame
        One row per model and attribute: the columns of :func:`~sklearn_fairlatent.metrics.disparity_table`
        (``four_fifths`` is None where nobody is selected), accuracy in the worst cell of group and label, amplified
        bias and the gap of the scores. Two controls: the 95 % quantile of the demographic parity difference over
        shuffles of the groups, and the gap of the scores with the groups shuffled.
    groups : DataFrame
        One row per model, attribute and group: the columns of :func:`~sklearn_fairlatent.metrics.group_table`.
    leakage : DataFrame or None
        One row per stage ("before", "after") and attribute, as :class:`~sklearn_fairlatent.metrics.LeakageReport`
        gives them. None without a FairLatentTransformer.
    latent : dict or None
        Layout, parameters, flags and the error of the round trip of the FairLatentTransformer, and its certificate.
    training : DataFrame or None
        Its ``history_`` without the seconds.
    counterfactuals : DataFrame or None
        One row for each row and column shown. They are real rows.
    pictures : dict of str to tuple of str
        SVG and caption, by section.
    """

    title: str
    date: str
    about: dict[str, Any]
    scores: pd.DataFrame
    disparities: pd.DataFrame
    groups: pd.DataFrame
    summary: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    leakage: pd.DataFrame | None = None
    latent: dict[str, Any] | None = None
    training: pd.DataFrame | None = None
    counterfactuals: pd.DataFrame | None = None
    pictures: dict[str, tuple[str, str]] = field(default_factory=dict)

    def to_dict(self):
        """Everything but the pictures, as JSON holds it.

        Returns
        -------
        dict
            Of dicts, lists, strings, numbers, bools and None (also for NaN), so that
            ``json.dumps(report.to_dict(), allow_nan=False)`` works.
        """
        names = ("title", "date", "about", "summary", "notes", "scores", "disparities", "groups", "leakage", "latent",
                 "training", "counterfactuals")  # fmt: skip
        return {name: plain(getattr(self, name)) for name in names}

    def to_frame(self):
        """All numbers in one tidy table.

        Returns
        -------
        DataFrame of shape (n_measures, 6)
            ``section``, ``model`` ("model" or "baseline"; in the section "leakage" "before" or "after" the
            transformer), ``attribute``, ``group``, ``measure`` and ``value``, a float: 1.0 and 0.0 for yes and no. What
            does not apply is None.
        """
        sections = {"scores": self.scores, "disparities": self.disparities, "groups": self.groups}
        if self.leakage is not None:
            sections["leakage"] = self.leakage
        rows = []
        for section, table in sections.items():
            keys = list(table.index.names)
            for record in table.reset_index().to_dict("records"):
                place = {"section": section, "model": record.get("model", record.get("stage")),
                         "attribute": record.get("attribute"), "group": record.get("group")}  # fmt: skip
                rows += [
                    {**place, "measure": name, "value": float(value)}
                    for name, value in record.items()
                    if name not in (*keys, "group", "within")
                    and isinstance(value, (bool, int, float, np.number, np.bool_))
                ]
        flags = {} if self.latent is None else {**self.latent["flags"], **(self.latent["round_trip"] or {})}
        if self.latent is not None and self.latent["certificate"] is not None:
            flags["certified_bound"] = self.latent["certificate"]["bound"]
        rows += [{"section": "latent", "model": "model", "attribute": None, "group": None, "measure": name,
                  "value": float(value)} for name, value in flags.items()]  # fmt: skip
        return pd.DataFrame(rows, columns=["section", "model", "attribute", "group", "measure", "value"])

    def to_html(self, path=None):
        """One page that needs nothing else: no script, no request.

        Parameters
        ----------
        path : str or path-like, default=None
            Where to write it too, as a whole or not at all.

        Returns
        -------
        html : str
        """
        html = page(self)
        if path is not None:
            write_text(path, html)
        return html

    def to_json(self, path=None):
        """:meth:`to_dict` as text.

        Parameters
        ----------
        path : str or path-like, default=None
            Where to write it too, as a whole or not at all.

        Returns
        -------
        json : str
        """
        text = json.dumps(self.to_dict(), allow_nan=False, indent=1, ensure_ascii=False) + "\n"
        if path is not None:
            write_text(path, text)
        return text

    def _repr_html_(self):
        """Summary and main table, for notebooks."""
        return fragment(self)

    def __repr__(self):
        lines = [f"FairnessReport: {self.title} ({self.date})", *(f"- {line}" for line in self.summary)]
        return "\n".join([*lines, *(f"- note: {note}" for note in self.notes)])
