"""TrainingDisplay: the losses of a fit, what the label head and the adversary read, and when the penalty came."""

import numpy as np

from .._pipelines import fair_step
from .._training import WARM_UP
from ._drawing import (
    BLACK,
    BLUE,
    COLOURS,
    GREY,
    MARKERS,
    VERMILLION,
    check_matplotlib,
    few_ticks,
    legend_above,
    listed,
    number,
    take_axes,
)

# What a term of the loss is called, and its unit.
TERMS = {
    "loss": ("weighted sum", ""),
    "label_loss": ("label loss", "nats"),
    "dependence": ("dependence", "share of spread"),
    "rate_gap": ("gap of rates", "within labels"),
    "adversary_loss": ("adversary's loss", "nats"),
    "likelihood": ("likelihood of the rest", "nats a column"),
    "sensitive_loss": ("attributes' loss", "nats"),
    "isolation": ("isolation", "share of spread"),
}
# The two that fairness_strength weighs against each other; without a label, or an attribute, what there is.
DEFAULT_TERMS = ("label_loss", "dependence")


class TrainingDisplay:
    """How a fit went: terms of the loss, and what is read from the handed-on block, epoch by epoch.

    Parameters
    ----------
    history : list of dict
        ``history_`` of a fitted transformer.
    utility_name : str, default="ROC AUC"
        What ``validation_utility`` is.
    penalty : tuple of float, default=None
        Epochs after which the fairness penalty begins, and has its full weight. None: not known, and not marked.
    terms : sequence of str, default=None
        Terms of the loss to show, "loss" for their weighted sum. None: "label_loss" and "dependence", as far as the
        fit has them, else "likelihood".

    Attributes
    ----------
    axes_ : ndarray of Axes of shape (2,)
    figure_ : matplotlib Figure
    losses_ : dict of (str, {"train", "valid"}) to Line2D
    scores_ : dict of {"validation_utility", "adversary_auc"} to Line2D
    penalty_ : list of PolyCollection
        The shaded epochs in which the penalty grows; empty if not known.

    Examples
    --------
    >>> from sklearn_fairlatent import FairLatentTransformer
    >>> from sklearn_fairlatent.datasets import make_biased_latents
    >>> from sklearn_fairlatent.inspection import TrainingDisplay
    >>> data = make_biased_latents(600, random_state=0)
    >>> fair = FairLatentTransformer(max_epochs=8, random_state=0)
    >>> fair = fair.fit(data.data, data.target, sensitive_features=data.sensitive_features)
    >>> display = TrainingDisplay.from_estimator(fair)
    >>> display.penalty
    (2.0, 4.0)
    >>> list(display.scores_)
    ['validation_utility', 'adversary_auc']
    """

    def __init__(self, history, *, utility_name="ROC AUC", penalty=None, terms=None):
        if not isinstance(history, (list, tuple)) or not history or not all(isinstance(part, dict) for part in history):
            raise ValueError("history: expected a list of dicts, one per epoch, such as history_ after fit.")
        known = [name for name in TERMS if f"valid_{name}" in history[-1]]
        if terms is None:
            terms = [name for name in DEFAULT_TERMS if name in known] or ["likelihood"]
        strangers = [name for name in terms if name not in known]
        if strangers or not len(terms):
            raise ValueError(f"terms={list(terms)}: this fit has {known}. Pass one or more of these.")
        self.history, self.utility_name, self.penalty, self.terms = list(history), utility_name, penalty, list(terms)

    @classmethod
    def from_estimator(cls, estimator, *, terms=None, axes=None):
        """Plot the history of a fitted transformer.

        Parameters
        ----------
        estimator : FairLatentTransformer, Pipeline or search
            Fitted; of a pipeline the one such step, of a search its ``best_estimator_``.
        terms : sequence of str, default=None
            As in the class.
        axes : sequence of two Axes, Figure or None, default=None
            Panels stand side by side in a figure of at least 6.5 inches. None: a new, narrow figure.

        Returns
        -------
        display : TrainingDisplay
        """
        check_matplotlib("TrainingDisplay.from_estimator")
        fair, _ = fair_step(estimator, "TrainingDisplay.from_estimator")
        continuous = fair._target is not None and fair._target.kind == "continuous"
        display = cls(
            fair.history_,
            utility_name="R2" if continuous else "ROC AUC",
            penalty=_penalty_epochs(fair),
            terms=terms,
        )
        return display.plot(axes)

    def plot(self, axes=None):
        """Draw both panels.

        Parameters
        ----------
        axes : sequence of two Axes, Figure or None, default=None
            Panels stand side by side in a figure of at least 6.5 inches. None: a new, narrow figure.

        Returns
        -------
        display : TrainingDisplay
        """
        self.axes_ = np.array(take_axes(axes, "TrainingDisplay.plot", n_panels=2, height=6.0), dtype=object)
        self.figure_ = self.axes_[0].figure
        self.penalty_ = []
        if self.penalty is not None:
            self.penalty_ = [
                ax.axvspan(*self.penalty, color=GREY, alpha=0.18, linewidth=0, label="penalty grows")
                for ax in self.axes_
            ]
        self._plot_losses()
        self._plot_scores()
        for ax in self.axes_:
            ax.set_xlabel(f"epoch (of {len(self.history)})")
            few_ticks(ax, whole=True)
            ax.grid(alpha=0.25, linewidth=0.6)
        return self

    def _values(self, name):
        """A value of every epoch; NaN where there is none."""
        return np.array([epoch.get(name, np.nan) for epoch in self.history], dtype=np.float64)

    @property
    def _epochs(self):
        return np.arange(1, len(self.history) + 1)

    @property
    def _every(self):
        """Epochs between two markers, so that they do not touch in a long history."""
        return max(1, len(self.history) // 8)

    def _plot_losses(self):
        from matplotlib.lines import Line2D

        ax, self.losses_ = self.axes_[0], {}
        parts = {
            "valid": {"linewidth": 1.8, "label": "on held-out rows", "zorder": 3},
            "train": {"linewidth": 1.2, "label": "in training", "linestyle": "--", "markerfacecolor": "white"},
        }
        for k, term in enumerate(self.terms):
            colour, marker = COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]
            for part, style in parts.items():
                (self.losses_[term, part],) = ax.plot(
                    self._epochs, self._values(f"{part}_{term}"), color=colour, marker=marker, markersize=4.5,
                    markevery=self._every, **(style | {"label": TERMS[term][0]}),
                )  # fmt: skip
        handles = [self.losses_[term, "valid"] for term in self.terms]
        handles += [Line2D([], [], color=GREY, marker="o", markersize=4.5, **style) for style in parts.values()]
        units = list(dict.fromkeys(TERMS[term][1] for term in self.terms if TERMS[term][1]))
        ax.set_ylabel(
            f"loss ({'; '.join(units)})" if 0 < len(units) < 3 else "loss (units differ)" if units else "loss"
        )
        legend_above(ax, [*handles, *self.penalty_[:1]])

    def _plot_scores(self):
        ax, self.scores_ = self.axes_[1], {}
        shown = {
            "validation_utility": (f"label, {self.utility_name}", BLUE, "-", "o"),
            "adversary_auc": ("adversary, ROC AUC", VERMILLION, "--", "^"),
        }
        for name, (label, colour, line, marker) in shown.items():
            values = self._values(name)
            if not np.isnan(values).all():
                (self.scores_[name],) = ax.plot(
                    self._epochs, values, color=colour, linestyle=line, marker=marker, markersize=4.5, linewidth=1.8,
                    markevery=self._every, label=label,
                )  # fmt: skip
        chance = ax.axhline(0.5, color=BLACK, linewidth=1, linestyle=":", label="AUC of chance")
        with_r2 = self.utility_name == "R2" and "validation_utility" in self.scores_
        ax.set_ylabel("held-out R2, AUC (at most 1)" if with_r2 else "held-out ROC AUC (0 to 1)")
        legend_above(ax, [*self.scores_.values(), chance])

    def describe(self):
        """What the picture shows, in one or two sentences.

        Returns
        -------
        str
            For an alternative text or a caption.
        """
        terms = []
        for term in self.terms:
            values = self._values(f"valid_{term}")
            name, unit = TERMS[term]
            said = f"{unit}, " * bool(unit) + f"highest {number(np.nanmax(values))}"
            terms.append(f"{name} from {number(values[0])} to {number(values[-1])} ({said})")
        plural = "s" * (len(self.history) > 1)
        text = f"On held-out rows, from the first to the last of {len(self.history)} epoch{plural}: {listed(terms)}."
        ends = []
        if "validation_utility" in self.history[-1]:
            ends.append(f"the label is read with {self.utility_name} {number(self.history[-1]['validation_utility'])}")
        if "adversary_auc" in self.history[-1]:
            ends.append(f"the adversary reads the attributes with ROC AUC {number(self.history[-1]['adversary_auc'])}")
        if ends:
            text += f" At the end {listed(ends)} (0.5: chance)."
        if self.penalty is not None:
            text += f" The penalty grew from epoch {self.penalty[0]:.0f} to {self.penalty[1]:.0f}."
        return text


def _penalty_epochs(fair):
    """Epochs after which the penalty begins and is complete, or None if the fit had none or does not tell."""
    if fair.trained_without_sensitive_ or not fair.fairness_strength or fair.warm_start:
        return None
    if "callbacks" in (fair.net_params or {}):
        return None
    planned = fair.n_iter_
    if fair.early_stopping:
        # How many "auto" planned is not kept.
        planned = 0 if isinstance(fair.max_epochs, str) else fair.max_epochs
    return (WARM_UP * planned, 2 * WARM_UP * planned) if planned >= fair.n_iter_ else None
