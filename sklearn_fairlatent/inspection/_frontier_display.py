"""FrontierDisplay: score against disparity, the settings that no other one beats joined."""

import numpy as np
import pandas as pd
from sklearn.utils import column_or_1d

from .._attributes import CONSTRAINTS, as_values
from ..metrics._disparity import DISPARITIES, disparity_table
from ..model_selection._frontier import fairness_frontier, on_frontier
from ._drawing import (
    BLACK,
    COLOURS,
    GREY,
    LINES,
    MARKERS,
    SMALL,
    check_matplotlib,
    few_ticks,
    legend_above,
    listed,
    number,
    short,
    take_axes,
)

# What an axis can say of the range of a score.
RANGES = {
    **dict.fromkeys(["accuracy", "balanced_accuracy", "roc_auc", "f1"], "0 to 1, higher is better"),
    "r2": "at most 1, higher is better",
}
# Where the strength may stand beside its point, in points; the first place that is free is taken.
PLACES = [(5, 4, "left", "bottom"), (-5, 4, "right", "bottom"), (5, -4, "left", "top"), (-5, -4, "right", "top"),
          (0, 7, "center", "bottom"), (0, -7, "center", "top")]  # fmt: skip


class FrontierDisplay:
    """Score against disparity, one curve per name, for choosing how much fairness to ask for.

    A point is beaten by another one that is no worse in both and better in one of them. Points that no other point of
    the same curve beats are filled and joined, the others are hollow and faint.
    It is recommended to use :meth:`from_frontier`, :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    curves : dict of str to DataFrame
        By name of the curve one row per setting, with the columns ``score`` (higher is better) and ``disparity`` (at
        least 0, 0 is fair), and any of ``strength`` (written at the points), ``score_std`` (drawn as bars) and
        ``on_frontier`` (found here if absent). Rows with a missing score or disparity are left out.
    score_name : str, default="score"
        For the vertical axis.
    disparity_name : str, default="disparity"
        For the horizontal axis.
    max_disparity : float, default=None
        A limit, drawn as a vertical line.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : dict of str to Line2D
        The joined points of every curve.
    beaten_ : dict of str to Line2D
        The other points.
    strengths_ : list of Text
        Those of the strengths for which there was room.
    limit_ : Line2D or None

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_fairlatent.inspection import FrontierDisplay
    >>> results = pd.DataFrame({
    ...     "strength": [0, 0.5, 1, 2],
    ...     "score": [0.85, 0.84, 0.81, 0.82],
    ...     "disparity": [0.18, 0.09, 0.04, 0.02],
    ... })
    >>> display = FrontierDisplay({"fair": results}, score_name="accuracy", max_disparity=0.1).plot()
    >>> display.beaten_["fair"].get_xdata()
    array([0.04])
    """

    def __init__(self, curves, *, score_name="score", disparity_name="disparity", max_disparity=None):
        if not isinstance(curves, dict) or not curves:
            raise ValueError(f"curves={curves!r}: expected a dict of names and DataFrames, at least one.")
        if max_disparity is not None and not (
            isinstance(max_disparity, (int, float, np.number)) and max_disparity >= 0
        ):
            raise ValueError(f"max_disparity={max_disparity!r}: expected a number >= 0, or None.")
        self.curves = {str(name): _checked(name, table) for name, table in curves.items()}
        self.score_name, self.disparity_name = score_name, disparity_name
        self.max_disparity = max_disparity

    @classmethod
    def from_frontier(
        cls,
        frontier,
        *,
        name="fair latent",
        score_name="score",
        disparity_name="disparity",
        max_disparity=None,
        ax=None,
    ):
        """Plot a measured frontier.

        Parameters
        ----------
        frontier : FairnessFrontier
            From :func:`sklearn_fairlatent.model_selection.fairness_frontier`; its ``results_`` are drawn.
        name : str, default="fair latent"
            For the legend.
        score_name : str, default="score"
            For the vertical axis; "accuracy", unless ``scoring`` was given to ``fairness_frontier``.
        disparity_name : str, default="disparity"
            For the horizontal axis.
        max_disparity : float, default=None
            A limit, drawn as a vertical line.
        ax : matplotlib Axes, default=None
            None: a new figure.

        Returns
        -------
        display : FrontierDisplay
        """
        check_matplotlib("FrontierDisplay.from_frontier")
        if not hasattr(frontier, "results_"):
            raise TypeError(
                f"frontier is a {type(frontier).__name__} without results_; expected what fairness_frontier returns. "
                "For a table of your own use FrontierDisplay({name: table})."
            )
        display = cls(
            {name: frontier.results_},
            score_name=score_name,
            disparity_name=disparity_name,
            max_disparity=max_disparity,
        )
        return display.plot(ax)

    @classmethod
    def from_estimator(
        cls, estimator, X, y, *, sensitive_features, name="fair latent", max_disparity=None, ax=None, **kwargs
    ):
        """Measure a frontier and plot it.

        Parameters
        ----------
        estimator : estimator
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sensitive_features : Series, DataFrame or array-like of shape (n_samples,) or (n_samples, n_attributes)
        name : str, default="fair latent"
            For the legend.
        max_disparity : float, default=None
            A limit, drawn as a vertical line.
        ax : matplotlib Axes, default=None
            None: a new figure.
        **kwargs
            Further arguments of :func:`sklearn_fairlatent.model_selection.fairness_frontier`.

        Returns
        -------
        display : FrontierDisplay
        """
        check_matplotlib("FrontierDisplay.from_estimator")
        frontier = fairness_frontier(estimator, X, y, sensitive_features=sensitive_features, **kwargs)
        return cls.from_frontier(
            frontier,
            name=name,
            score_name=_name_of(kwargs.get("scoring", "accuracy") or "score"),
            disparity_name=_name_of(kwargs.get("disparity", "demographic_parity_difference")),
            max_disparity=max_disparity,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_preds,
        *,
        sensitive_features,
        pos_label=None,
        constraint="demographic_parity",
        max_disparity=None,
        ax=None,
    ):
        """Plot one point per model: its accuracy against the difference between the groups.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
        y_preds : dict of str to array-like of shape (n_samples,)
            Predictions by name of the model.
        sensitive_features : Series, DataFrame or array-like of shape (n_samples,) or (n_samples, n_attributes)
            Of several attributes and their intersection, the one with the largest difference counts.
        pos_label : object, default=None
            The favourable label. None: 1 of {0, 1}, {-1, 1} or booleans.
        constraint : {"demographic_parity", "equalized_odds", "true_positive_rate_parity"}, default="demographic_parity"
            Which difference. "equal_opportunity" is an alias of the last.
        max_disparity : float, default=None
            A limit, drawn as a vertical line.
        ax : matplotlib Axes, default=None
            None: a new figure.

        Returns
        -------
        display : FrontierDisplay
            Filled are the models that no other one beats.

        Examples
        --------
        >>> from sklearn_fairlatent.inspection import FrontierDisplay
        >>> y, group = [0, 1] * 10, ["a"] * 10 + ["b"] * 10
        >>> models = {"perfect": y, "blind": [0] * 20, "biased": [0] * 10 + [1] * 10}
        >>> FrontierDisplay.from_predictions(y, models, sensitive_features=group).describe()
        'Accuracy against demographic parity difference: perfect 1.000 at 0.000, blind 0.500 at 0.000, biased 0.500 at
        1.000. Not beaten by another: perfect.'
        """
        check_matplotlib("FrontierDisplay.from_predictions")
        if constraint not in CONSTRAINTS:
            raise ValueError(f"constraint={constraint!r} is not known. Pass one of {list(CONSTRAINTS)}.")
        measure = next(name for name in DISPARITIES if CONSTRAINTS[name] == CONSTRAINTS[constraint])
        if not isinstance(y_preds, dict) or not y_preds:
            raise ValueError(
                f"y_preds is a {type(y_preds).__name__}; expected a dict of names and predictions, for example "
                "{'logistic': y_pred}."
            )
        rows = {}
        for name, y_pred in y_preds.items():
            table = disparity_table(y_true, y_pred, sensitive_features=sensitive_features, pos_label=pos_label)
            labels, guesses = (column_or_1d(as_values(values)) for values in (y_true, y_pred))
            score = float(np.mean(labels == guesses))
            rows[name] = {"score": score, "disparity": float(table[f"{measure}_difference"].max())}
        table = pd.DataFrame.from_dict(rows, orient="index")
        table["on_frontier"] = on_frontier(table["score"].to_numpy(), table["disparity"].to_numpy())
        display = cls(
            {name: table.loc[[name]] for name in rows},
            score_name="accuracy",
            disparity_name=f"{measure.replace('_', ' ')} difference",
            max_disparity=max_disparity,
        )
        return display.plot(ax)

    def plot(self, ax=None, *, annotate=True):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None: a new figure.
        annotate : bool, default=True
            Write the strengths at the points, as far as there is room.

        Returns
        -------
        display : FrontierDisplay
        """
        (ax,) = take_axes(ax, "FrontierDisplay.plot")
        from matplotlib.lines import Line2D

        self.ax_, self.figure_ = ax, ax.figure
        self.lines_, self.beaten_, bars = {}, {}, False
        for k, (name, table) in enumerate(self.curves.items()):
            colour, marker, line = COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)], LINES[k % len(LINES)]
            front = table[table["on_frontier"]].sort_values("disparity")
            rest = table[~table["on_frontier"]]
            (self.lines_[name],) = ax.plot(
                front["disparity"],
                front["score"],
                color=colour,
                marker=marker,
                linestyle=line if len(front) > 1 else "none",
                label=short(name),
                zorder=3,
            )
            (self.beaten_[name],) = ax.plot(
                rest["disparity"], rest["score"], color=colour, marker=marker, linestyle="none", alpha=0.55,
                markerfacecolor="none", zorder=2,
            )  # fmt: skip
            if (table["score_std"] > 0).any():
                bars = True
                ax.errorbar(
                    table["disparity"], table["score"], yerr=table["score_std"], fmt="none", ecolor=colour,
                    alpha=0.3, elinewidth=1, zorder=1,
                )  # fmt: skip
        handles = list(self.lines_.values())
        if any(len(line.get_xdata()) for line in self.beaten_.values()):
            handles.append(Line2D([], [], color=GREY, marker="o", markerfacecolor="none", linestyle="none", alpha=0.7,
                                  label="beaten by another"))  # fmt: skip
        self.limit_ = None
        if self.max_disparity is not None:
            label = f"limit {self.max_disparity:g}"
            self.limit_ = ax.axvline(self.max_disparity, color=BLACK, linestyle=":", linewidth=1.2, label=label)
            handles.append(self.limit_)
        if bars:
            handles.append(Line2D([], [], color=GREY, alpha=0.5, linewidth=1, label="1 sd over folds"))
        annotate = annotate and any(table["strength"].notna().any() for table in self.curves.values())
        if annotate:
            handles.append(Line2D([], [], linestyle="none", label="numbers: strength"))
        self._label_axes()
        legend_above(ax, handles)
        self.strengths_ = _write_strengths(ax, self.curves, self.max_disparity) if annotate else []
        return self

    def _label_axes(self):
        ax = self.ax_
        said = RANGES.get(self.score_name, "higher is better")
        ax.set_xlabel(f"{_words(self.disparity_name)} (0 is fair)")
        ax.set_ylabel(f"{_words(self.score_name)} ({said})")
        few_ticks(ax)
        # Without the margin a point at 0 would be cut by the axis.
        right = max(ax.get_xlim()[1], 1.05 * (self.max_disparity or 0), 0.01)
        ax.set_xlim(-0.03 * right, right)
        ax.margins(y=0.1)
        ax.grid(alpha=0.25, linewidth=0.6)

    def describe(self):
        """What the picture shows, in one or two sentences.

        Returns
        -------
        str
            For an alternative text or a caption.
        """
        heading = f"{_words(self.score_name)} against {_words(self.disparity_name)}: "
        heading = heading[0].upper() + heading[1:]
        text = self._of_models() if all(len(table) == 1 for table in self.curves.values()) else self._of_curves()
        return heading + text + self._of_limit()

    def _of_models(self):
        points = ", ".join(f"{name} {_point(table.iloc[0])}" for name, table in self.curves.items())
        kept = [name for name, table in self.curves.items() if table["on_frontier"].iloc[0]]
        return f"{points}. Not beaten by another: {listed(kept)}."

    def _of_curves(self):
        parts = []
        for name, table in self.curves.items():
            front = table[table["on_frontier"]].sort_values("disparity")
            ends = f"{_point(front.iloc[0], strength=True)} to {_point(front.iloc[-1], strength=True)}"
            what = f"from {ends}" if len(front) > 1 else f"the best being {_point(front.iloc[0], strength=True)}"
            parts.append(f"of {len(table)} settings of {name} {len(front)} are not beaten by another, {what}")
        return "; ".join(parts) + "."

    def _of_limit(self):
        if self.max_disparity is None:
            return ""
        within = pd.concat(
            [table[table["disparity"] <= self.max_disparity].assign(name=name) for name, table in self.curves.items()]
        )
        if within.empty:
            return f" None stays within the limit of {self.max_disparity:g}."
        best = within.iloc[int(np.argmax(within["score"].to_numpy()))]
        where = _point(best, strength=True)
        return f" The best within the limit of {self.max_disparity:g} is {best['name']}, {where}."


def _checked(name, table):
    """A copy of ``table`` with all columns that are drawn, without rows that cannot be."""
    if not isinstance(table, pd.DataFrame):
        raise ValueError(f"curves[{name!r}]: it is a {type(table).__name__}; expected a pandas DataFrame.")
    missing = [column for column in ("score", "disparity") if column not in table]
    if missing:
        raise ValueError(f"curves[{name!r}] lacks {missing}: it has {list(table.columns)}. Rename its columns.")
    table = table.dropna(subset=["score", "disparity"]).reset_index(drop=True)
    if table.empty:
        raise ValueError(f"curves[{name!r}] has no row with a score and a disparity. Leave it out.")
    for column in ("strength", "score_std"):
        if column not in table:
            table[column] = np.nan
    if "on_frontier" not in table:
        table["on_frontier"] = on_frontier(table["score"].to_numpy(), table["disparity"].to_numpy())
    return table.assign(on_frontier=table["on_frontier"].astype(bool))


def _name_of(metric):
    """What to call a metric that is given by name or as a function."""
    return metric if isinstance(metric, str) else getattr(metric, "__name__", type(metric).__name__)


def _words(name):
    """A metric's name for readers."""
    return {"roc_auc": "ROC AUC", "r2": "R2", "f1": "F1"}.get(str(name), str(name).replace("_", " "))


def _point(row, *, strength=False):
    """'0.836 at 0.043 (strength 1)'."""
    known = strength and not np.isnan(row["strength"])
    where = f"{number(row['score'])} at {number(row['disparity'])}"
    return f"{where} (strength {row['strength']:g})" if known else where


def _write_strengths(ax, curves, limit):
    """Strengths beside their points, those of the frontier first, where they are read as of no other point."""
    ax.figure.canvas.figure.draw_without_rendering()  # the layout, which decides how far apart the points are
    points = pd.concat(list(curves.values()))
    order = points["strength"].notna().to_numpy().nonzero()[0]
    order = order[np.argsort(~points["on_frontier"].to_numpy()[order], kind="stable")]
    places = ax.transData.transform(points[["disparity", "score"]].to_numpy(dtype=np.float64))
    limit = np.nan if limit is None else float(ax.transData.transform((limit, 0))[0])
    written, taken = [], []
    for k in order:
        row = points.iloc[k]
        free = {}
        for dx, dy, ha, va in PLACES:
            text = ax.annotate(
                f"{row['strength']:g}", (row["disparity"], row["score"]), (dx, dy), textcoords="offset points", ha=ha,
                va=va, fontsize=SMALL, color=BLACK if row["on_frontier"] else GREY,
            )  # fmt: skip
            box = text.get_window_extent().padded(2)
            middle = np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
            room = np.hypot(*(places - middle).T)
            others = np.array([*np.delete(room, k), *(np.hypot(*(other - middle)) for _, other in taken), np.inf])
            hidden = box.count_contains(places) or any(box.overlaps(other) for other, _ in taken)
            inside = ax.bbox.x0 <= box.x0 and box.x1 <= ax.bbox.x1 and ax.bbox.y0 <= box.y0 and box.y1 <= ax.bbox.y1
            # Nearer to another point it would be taken for that one's.
            if (
                inside
                and not hidden
                and not box.x0 <= limit <= box.x1
                and room[k] < np.delete(room, k).min(initial=np.inf)
            ):
                free[others.min()] = (text, box, middle)
            text.remove()
        if free:
            text, box, middle = free[max(free)]
            written.append(ax.add_artist(text))
            taken.append((box, middle))
    return written
