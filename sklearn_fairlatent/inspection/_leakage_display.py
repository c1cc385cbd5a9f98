"""LeakageDisplay: what the probes read of the sensitive attributes before and after the transformer."""

import numpy as np
from sklearn.utils import check_random_state

from .._pipelines import attributes_beside, fair_step, through
from ..metrics._leakage import leakage_score
from ._drawing import (
    BLACK,
    BLUE,
    GREY,
    SMALL,
    VERMILLION,
    check_matplotlib,
    few_ticks,
    legend_above,
    number,
    short,
    take_axes,
)

SCALES = {
    "AUC": "ROC AUC (0.5 chance, 1 perfect)",
    "R2": "R2 (0 chance, 1 perfect)",
    "share": "2 AUC - 1, or R2 (0 chance, 1 perfect)",
}


class LeakageDisplay:
    """What the probes read of each sensitive attribute, before and after: one row per probe, a mark for each.

    The bar behind a mark is the confidence interval, given for the strongest probe. AUCs and R2s in one picture are
    both shown as the share of the way from chance to a perfect reading.

    Parameters
    ----------
    before, after : LeakageReport
        Or dicts of :class:`~sklearn_fairlatent.metrics.Leakage` by name, of the same attributes: what the probes read
        of the rows as they come, and of what is handed on.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    before_, after_ : Line2D
        The marks, from the top row down.
    intervals_ : dict of (str, {"before", "after"}) to Line2D
        The bars by attribute.
    chance_ : Line2D
    shuffled_ : dict of str to Line2D
        By attribute what the panel reads after, with the attribute shuffled (else before); absent where none was.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_fairlatent import FairLatentTransformer
    >>> from sklearn_fairlatent.datasets import make_biased_latents
    >>> from sklearn_fairlatent.inspection import LeakageDisplay
    >>> data = make_biased_latents(900, random_state=0)
    >>> X, y, A = data.data, data.target, data.sensitive_features
    >>> fair = FairLatentTransformer(max_epochs=5, random_state=0)
    >>> fair = fair.fit(X[:600], y[:600], sensitive_features=A[:600])
    >>> display = LeakageDisplay.from_estimator(
    ...     fair, X[600:], sensitive_features=A[600:], probes={"linear": LogisticRegression()}, random_state=0
    ... )
    >>> bool(display.before["group"].score > display.after["group"].score)
    True
    """

    def __init__(self, before, after):
        for name, report in (("before", before), ("after", after)):
            parts = list(report.values()) if isinstance(report, dict) else []
            if not parts or not all(hasattr(leak, "by_probe") for leak in parts):
                raise TypeError(
                    f"{name} is a {type(report).__name__}; expected what leakage_score returns, a dict of Leakage by "
                    "attribute, at least one."
                )
        if list(before) != list(after):
            raise ValueError(
                f"before has the attributes {list(before)}, after has {list(after)}. Measure both with the same "
                "sensitive_features."
            )
        self.before, self.after = before, after

    @classmethod
    def from_estimator(cls, estimator, X, y=None, sensitive_features=None, *, ax=None, **kwargs):
        """Probe the rows as they enter the transformer, and what it hands on.

        Parameters
        ----------
        estimator : FairLatentTransformer, Pipeline or search
            Fitted. Of a pipeline with exactly one transformer, the rows are probed before and after that step; of a
            search its ``best_estimator_`` is taken.
        X : array-like of shape (n_samples, n_features)
            Rows that it was not fitted on: on its training rows overfitting hides what leaks.
        y : object
            Ignored; there for scikit-learn's signature.
        sensitive_features : Series, DataFrame or array-like of shape (n_samples,) or (n_samples, n), default=None
            None: the columns of X that are named in ``sensitive_columns``.
        ax : matplotlib Axes, default=None
            None: a new figure.
        **kwargs
            Further arguments of :func:`~sklearn_fairlatent.metrics.leakage_score`, the same for both. Unless given,
            ``continuous_features`` is that of the transformer.

        Returns
        -------
        display : LeakageDisplay
        """
        check_matplotlib("LeakageDisplay.from_estimator")
        fair, steps = fair_step(estimator, "LeakageDisplay.from_estimator")
        sensitive_features = attributes_beside(X, sensitive_features)
        rows = through(steps, X)
        plain, own = fair._read_rows(rows, reset=False)
        if sensitive_features is None:
            if not own:
                raise ValueError(
                    "sensitive_features=None, and X holds no column named in sensitive_columns. Pass the attributes."
                )
            sensitive_features = own
        if fair.continuous_features is not None:
            kwargs.setdefault("continuous_features", fair.continuous_features)
        # One seed for both: the same folds, and the same rows change places in the shuffles.
        kwargs["random_state"] = check_random_state(kwargs.get("random_state")).randint(np.iinfo(np.int32).max)
        before = leakage_score(np.asarray(fair.encoding_.encode(plain)), sensitive_features, **kwargs)
        after = leakage_score(np.asarray(fair.transform(rows)), sensitive_features, **kwargs)
        return cls.from_scores(before, after, ax=ax)

    @classmethod
    def from_scores(cls, before, after, *, ax=None):
        """Plot two reports.

        Parameters
        ----------
        before, after : LeakageReport
        ax : matplotlib Axes, default=None
            None: a new figure.

        Returns
        -------
        display : LeakageDisplay
        """
        return cls(before, after).plot(ax)

    @property
    def _scale(self):
        """What the horizontal axis shows."""
        measures = {leak.measure for leak in self.after.values()}
        return measures.pop() if len(measures) == 1 else "share"

    def _shown(self, leak, score):
        """A score on the horizontal axis."""
        return (score - leak.chance) / (1 - leak.chance) if self._scale == "share" else score

    def _rows(self):
        """Attribute and probe of every row from the top; None instead of a probe in an attribute's heading."""
        return [
            (name, probe)
            for name in self.after
            for probe in (None, *dict.fromkeys([*self.before[name].by_probe, *self.after[name].by_probe]))
        ]  # fmt: skip

    def plot(self, ax=None):
        """Draw the marks.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None: a new figure, the higher the more rows.

        Returns
        -------
        display : LeakageDisplay
        """
        rows = self._rows()
        (ax,) = take_axes(ax, "LeakageDisplay.plot", height=1.5 + 0.27 * len(rows))
        from matplotlib.lines import Line2D

        self.ax_, self.figure_ = ax, ax.figure
        styles = {
            "before": {"color": VERMILLION, "marker": "o", "markerfacecolor": "white", "markeredgewidth": 1.6},
            "after": {"color": BLUE, "marker": "D"},
        }
        places = {name: {p: y for y, (other, p) in enumerate(rows) if other == name} for name in self.after}
        for name, by_probe in places.items():
            for probe, y in by_probe.items():
                ends = [self._score(report, name, probe) for report in (self.before, self.after)]
                ax.plot(ends, [y, y], color=GREY, linewidth=1, zorder=1)
        self.intervals_, marks = {}, {}
        for when, report in (("before", self.before), ("after", self.after)):
            xs = [self._score(report, name, probe) for name, probe in rows]
            (marks[when],) = ax.plot(xs, range(len(rows)), linestyle="none", zorder=4, label=when, **styles[when])
            for name, leak in report.items():
                self._mark_strongest(name, leak, when, places[name][leak.probe], styles[when]["color"])
        self.before_, self.after_ = marks["before"], marks["after"]
        self._mark_chance(places)
        handles = [self.before_, self.after_, self.chance_, *list(self.shuffled_.values())[:1]]
        handles.append(Line2D([], [], color=GREY, linewidth=6, alpha=0.35, label="interval, strongest"))
        self._label_axes(rows)
        legend_above(ax, handles)
        return self

    def _score(self, report, name, probe):
        """Where a probe's mark is; NaN in an attribute's heading, and of a probe that one report lacks."""
        leak = report[name]
        return self._shown(leak, leak.by_probe.get(probe, np.nan))

    def _mark_strongest(self, name, leak, when, y, colour):
        ends = [self._shown(leak, end) for end in leak.interval]
        (self.intervals_[name, when],) = self.ax_.plot(
            ends, [y, y], color=colour, linewidth=6, alpha=0.35, solid_capstyle="butt", zorder=2
        )
        self.ax_.annotate(
            f"{self._shown(leak, leak.score):.2f}", (self._shown(leak, leak.score), y), (0, 5),
            textcoords="offset points", ha="center", va="bottom", fontsize=SMALL, zorder=5,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8},
        )  # fmt: skip

    def _mark_chance(self, places):
        chance = {"AUC": 0.5}.get(self._scale, 0.0)
        self.chance_ = self.ax_.axvline(chance, color=BLACK, linewidth=1, zorder=0, label="chance")
        self.shuffled_ = {}
        for name, by_probe in places.items():
            leak = self.after[name] if not np.isnan(self.after[name].shuffled) else self.before[name]
            if not np.isnan(leak.shuffled):
                ends = [min(by_probe.values()) + 0.5, max(by_probe.values()) + 0.5]
                (self.shuffled_[name],) = self.ax_.plot(
                    [self._shown(leak, leak.shuffled)] * 2,
                    ends,
                    color=BLACK,
                    linestyle=":",
                    linewidth=1.6,
                    zorder=3,
                    label="attribute shuffled",
                )

    def _label_axes(self, rows):
        ax = self.ax_
        ax.set_yticks(range(len(rows)), [short(name if probe is None else probe) for name, probe in rows])
        few_ticks(ax, axes="x")
        for tick, (_, probe) in zip(ax.get_yticklabels(), rows, strict=True):
            tick.set_fontweight("bold" if probe is None else "normal")
        ax.tick_params(axis="y", length=0)
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.set_xlabel(SCALES[self._scale], fontsize=SMALL)
        lowest = min(ax.get_xlim()[0], {"AUC": 0.45}.get(self._scale, -0.1))
        ax.set_xlim(lowest, max(ax.get_xlim()[1], 1.02))
        if lowest > 0:
            ax.set_xticks(np.arange(np.ceil(10 * lowest), 11) / 10)
        ax.grid(axis="x", alpha=0.25, linewidth=0.6)

    def describe(self):
        """What the picture shows, one sentence per attribute.

        Returns
        -------
        str
            For an alternative text or a caption.
        """
        return " ".join(self._sentence(name) for name in self.after)

    def _sentence(self, name):
        before, after = self.before[name], self.after[name]
        ends = [f"{number(leak.interval[0])} to {number(leak.interval[1])}" for leak in (before, after)]
        verdict = "not told apart from chance"
        if after.interval[0] > after.chance:
            verdict = "no more than shuffled" if after.score <= after.shuffled else "still above chance"
        shuffled = "" if np.isnan(after.shuffled) else f"; {number(after.shuffled)} with {name} shuffled"
        return (
            f"Of {name} the strongest probe reads {before.measure} {number(before.score)} before "
            f"({before.probe}; {ends[0]}) and {number(after.score)} after ({after.probe}; {ends[1]}), "
            f"{verdict} (chance {after.chance:g}{shuffled})."
        )
