"""LatentDisplay: the groups in the attribute's own block, where they are apart, and in what is handed on."""

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.utils import check_random_state

from .._attributes import CONSTRAINTS
from .._pipelines import attributes_beside, fair_step, through
from ._drawing import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LINES,
    MARKERS,
    ORANGE,
    PURPLE,
    SKY,
    SMALL,
    VERMILLION,
    by_size,
    check_matplotlib,
    few_ticks,
    in_thirds,
    legend_above,
    short,
    take_axes,
)

# Colours of labels and of groups differ, so that none means two things.
LABEL_COLOURS = (BLUE, ORANGE, GREEN, SKY)
GROUP_COLOURS = (BLACK, VERMILLION, PURPLE, GREEN)
# Without colour, labels are told apart by hollow and filled points, the colour of their edge, and the width of lines.
FILLED = (False, True, True, False)
EDGES = (None, "white", BLACK, BLACK)
LINE_WIDTHS = (1.0, 2.0, 3.2, 4.4)
# More groups or labels than this cannot be told apart in one picture: the smallest become one.
MOST_NAMES = 4
# A distribution of fewer rows is noise.
FEWEST_ROWS = 20
# Share of the rows beyond either end of an axis: single far rows would press the others together.
BEYOND = 0.005
# Medians closer than this share of the axis would write their names over each other.
CLOSE = 0.08


class LatentDisplay:
    """Where the groups lie in the latent: apart in the block of their attribute, mixed in what is handed on.

    The first panel shows rows by the target block and the attribute's block, coloured by label and marked by group,
    with a line at the median of each group. The second shows how the first column handed on is distributed.

    Parameters
    ----------
    handed_on : array-like of shape (n_samples,)
        First column that ``transform`` returns, in latent units: about one standard deviation.
    own_block : array-like of shape (n_samples,)
        A column of the attribute's block.
    groups : array-like or Categorical of shape (n_samples,)
        Rows without a group are left out.
    labels : array-like or Categorical of shape (n_samples,), default=None
    target_block : array-like of shape (n_samples,), default=None
        First column of the target block. None: there is none, and ``handed_on`` is shown instead.
    attribute, target : str
        Names, for axes and legends.
    own_column, target_column : str, default=""
        Which column of a block of several is shown, for the axes: "column 2 of 4".
    within_labels : bool, default=False
        In the second panel, a distribution for each group within each label, as equalized odds compares them.
    max_points : int, default=2000
        More rows are drawn by lot for the first panel. The second, and :meth:`describe`, use all.
    random_state : int, RandomState instance or None, default=0
        Seed of the lot.

    Attributes
    ----------
    axes_ : ndarray of Axes of shape (2,)
    figure_ : matplotlib Figure
    points_ : dict of (str, str) to PathCollection
        Points of the first panel by label and group.
    medians_ : dict of str to Line2D
        By group.
    distributions_ : dict of (str or None, str) to StepPatch
        Of the second panel, by label (None unless ``within_labels``) and group, of at least 20 rows.

    Examples
    --------
    >>> from sklearn_fairlatent import FairLatentTransformer
    >>> from sklearn_fairlatent.datasets import make_biased_latents
    >>> from sklearn_fairlatent.inspection import LatentDisplay
    >>> data = make_biased_latents(600, random_state=0)
    >>> X, y, A = data.data, data.target, data.sensitive_features
    >>> fair = FairLatentTransformer(max_epochs=5, random_state=0).fit(X, y, sensitive_features=A)
    >>> display = LatentDisplay.from_estimator(fair, X, y, A)
    >>> [ax.get_ylabel() for ax in display.axes_]
    ['group block (latent units)', 'density (rows per unit)']
    """

    def __init__(
        self,
        handed_on,
        own_block,
        groups,
        *,
        labels=None,
        target_block=None,
        attribute="attribute",
        target="target",
        own_column="",
        target_column="",
        within_labels=False,
        max_points=2000,
        random_state=0,
    ):
        self.handed_on, self.own_block = _numbers("handed_on", handed_on), _numbers("own_block", own_block)
        self.target_block = None if target_block is None else _numbers("target_block", target_block)
        self.groups, self.labels = _names(groups), None if labels is None else _names(labels)
        for name in ("own_block", "target_block", "groups", "labels"):
            values = getattr(self, name)
            if values is not None and values.shape != self.handed_on.shape:
                raise ValueError(
                    f"{name} has shape {values.shape}, handed_on has {self.handed_on.shape}. Pass one value per row."
                )
        if len(pd.unique(self.groups[pd.notna(self.groups)])) < 2:
            raise ValueError(f"groups holds fewer than two groups of {attribute!r}. Pass rows of another group.")
        if within_labels and labels is None:
            raise ValueError("within_labels=True needs labels. Pass y.")
        if isinstance(max_points, bool) or not isinstance(max_points, (int, np.integer)) or max_points < 1:
            raise ValueError(f"max_points={max_points!r}: expected an integer >= 1.")
        self.attribute, self.target = attribute, target
        self.own_column, self.target_column = own_column, target_column
        self.within_labels, self.max_points, self.random_state = bool(within_labels), max_points, random_state

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y=None,
        sensitive_features=None,
        attribute=None,
        *,
        within_labels="auto",
        max_points=2000,
        random_state=0,
        axes=None,
    ):
        """Map rows to the latent and plot them.

        Parameters
        ----------
        estimator : FairLatentTransformer, Pipeline or search
            Fitted; of a pipeline the one such step, of a search its ``best_estimator_``.
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            Labels, for the colours. Numbers of a regression are cut into thirds.
        sensitive_features : Series, DataFrame or array-like of shape (n_samples,) or (n_samples, n), default=None
            None: the columns of X that are named in ``sensitive_columns``.
        attribute : str, default=None
            Which one to show, by the name that ``fit`` saw; a quantity is cut into thirds. None: the first. Of a block
            of several columns the one is shown in which the groups are furthest apart.
        within_labels : bool or "auto", default="auto"
            "auto": if the transformer's constraint compares the groups within labels, and there are labels.
        max_points : int, default=2000
            Points of the first panel.
        random_state : int, RandomState instance or None, default=0
            Seed of the lot.
        axes : sequence of two Axes, Figure or None, default=None
            Panels stand side by side in a figure of at least 6.5 inches. None: a new, narrow figure.

        Returns
        -------
        display : LatentDisplay
        """
        caller = "LatentDisplay.from_estimator"
        check_matplotlib(caller)
        fair, steps = fair_step(estimator, caller)
        rows = through(steps, X)
        variable, values = _attribute_of(fair, rows, attributes_beside(X, sensitive_features), attribute)
        groups = in_thirds(values) if variable.kind == "continuous" else values
        layout, target = fair.latent_layout_, fair._target
        if not layout.width(variable.name):
            raise ValueError(f"{variable.name!r} has no block of its own: {layout}. Pass attribute= another one.")
        L = fair.to_latent(rows)
        block = L[:, layout[variable.name]]
        column = int(np.argmax(_separation(block, groups)))
        if y is not None:
            y = in_thirds(y) if target is not None and target.kind == "continuous" else np.asarray(y, dtype=object)
        if isinstance(within_labels, str):
            within_labels = y is not None and CONSTRAINTS[fair.constraints] != "demographic_parity"
        display = cls(
            np.asarray(fair.transform(rows))[:, 0],
            block[:, column],
            groups,
            labels=y,
            target_block=L[:, 0] if layout.n_target else None,
            attribute=variable.name,
            target="label" if target is None else target.name,
            own_column=f"column {column + 1} of {block.shape[1]}" if block.shape[1] > 1 else "",
            target_column=f"column 1 of {layout.n_target}" if layout.n_target > 1 else "",
            within_labels=within_labels,
            max_points=max_points,
            random_state=random_state,
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
        display : LatentDisplay
        """
        self.axes_ = np.array(take_axes(axes, "LatentDisplay.plot", n_panels=2, height=6.8), dtype=object)
        self.figure_ = self.axes_[0].figure
        groups, group_names = by_size(self.groups, most=MOST_NAMES)
        labels, label_names = ([None] * len(groups), [])
        if self.labels is not None:
            labels, label_names = by_size(self.labels, most=MOST_NAMES)
        table = pd.DataFrame({"group": groups, "label": labels}, dtype=object)
        self._plot_blocks(table, group_names, label_names)
        self._plot_distributions(table, group_names, label_names)
        return self

    def _plot_blocks(self, table, group_names, label_names):
        from matplotlib.lines import Line2D

        ax = self.axes_[0]
        horizontal = self.handed_on if self.target_block is None else self.target_block
        drawn = np.flatnonzero(table["group"].notna())
        if len(drawn) > self.max_points:
            drawn = check_random_state(self.random_state).choice(drawn, self.max_points, replace=False)
        some = np.zeros(len(table), dtype=bool)
        some[drawn] = True
        self.points_ = {}
        for label in label_names or [None]:
            for k, group in enumerate(group_names):
                rows = some & _members(table, group, label)
                face, edge = (GREY, "white") if label is None else _point_style(label_names.index(label))
                self.points_[label, group] = ax.scatter(
                    horizontal[rows], self.own_block[rows], s=14, marker=MARKERS[k], facecolors=face, edgecolors=edge,
                    linewidths=0.7 if face == "none" else 0.4, alpha=0.75,
                )  # fmt: skip
        ax.set_xlim(_range(horizontal[some]))
        ax.set_ylim(_range(self.own_block[some]))
        self._mark_medians(table, group_names)
        own, name = f"{short(self.attribute)} block", f"{short(self.target)} block"
        own += f", {self.own_column}" * bool(self.own_column)
        name += f", {self.target_column}" * bool(self.target_column)
        name = "handed-on column 1" if self.target_block is None else name
        ax.set(xlabel=f"{name} (latent units)", ylabel=f"{own} (latent units)")
        few_ticks(ax)
        handles = []
        for j, label in enumerate(label_names):
            face, edge = _point_style(j)
            handles.append(Line2D([], [], linestyle="none", marker="s", markerfacecolor=face, markeredgecolor=edge,
                                  label=short(f"{self.target} {label}")))  # fmt: skip
        handles += [
            Line2D([], [], color=BLACK, linestyle=LINES[k], marker=MARKERS[k], label=short(f"{self.attribute} {group}"))
            for k, group in enumerate(group_names)
        ]
        legend_above(ax, handles)

    def _mark_medians(self, table, group_names):
        """A line at the median of every group in the attribute's block, with its name where there is room."""
        ax = self.axes_[0]
        low, high = ax.get_ylim()
        medians = {group: float(np.median(self.own_block[_members(table, group)])) for group in group_names}
        self.medians_ = {}
        for k, (group, median) in enumerate(medians.items()):
            self.medians_[group] = ax.axhline(median, color=BLACK, linestyle=LINES[k], linewidth=1.4, zorder=3)
            if all(abs(median - other) > CLOSE * (high - low) for name, other in medians.items() if name != group):
                ax.annotate(
                    f"median {short(group, 18)}", (1, median), (-3, 2), xycoords=("axes fraction", "data"),
                    textcoords="offset points", ha="right", va="bottom", fontsize=SMALL, zorder=4,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.8},
                )  # fmt: skip

    def _plot_distributions(self, table, group_names, label_names):
        from matplotlib.lines import Line2D

        ax = self.axes_[1]
        low, high = _range(self.handed_on[table["group"].notna()])
        self.distributions_ = {}
        for j, label in enumerate(label_names if self.within_labels else [None]):
            for k, group in enumerate(group_names):
                values = self.handed_on[_members(table, group, label)]
                if len(values) >= FEWEST_ROWS:
                    # Rice's rule: as many bins as the rows of this distribution bear.
                    edges = np.linspace(low, high, int(2 * len(values) ** (1 / 3)) + 1)
                    density = np.histogram(values, edges)[0] / (len(values) * np.diff(edges))
                    self.distributions_[label, group] = ax.stairs(
                        density, edges, linestyle=LINES[k], label=short(f"{self.attribute} {group}"),
                        color=GROUP_COLOURS[k] if label is None else LABEL_COLOURS[j],
                        linewidth=1.8 if label is None else LINE_WIDTHS[j],
                    )  # fmt: skip
        handles = list(self.distributions_.values())
        if self.within_labels:
            handles = [
                Line2D([], [], color=LABEL_COLOURS[j], linewidth=LINE_WIDTHS[j], label=short(f"{self.target} {label}"))
                for j, label in enumerate(label_names)
            ]
            handles += [
                Line2D([], [], color=BLACK, linestyle=LINES[k], label=short(f"{self.attribute} {group}"))
                for k, group in enumerate(group_names)
            ]
        ax.set(xlabel="handed-on column 1 (latent units)", ylabel="density (rows per unit)", xlim=(low, high))
        few_ticks(ax)
        legend_above(ax, handles)

    def describe(self):
        """What the picture shows, in two sentences.

        Returns
        -------
        str
            For an alternative text or a caption. In how many of all pairs a row of one group lies above a row of
            another: 50 % if neither tends to. Of more than two groups (of at least 20 rows, if there are such), the
            pair that lies furthest apart.
        """
        where = f" within {self.target}" if self.within_labels else ""
        return (
            f"In the block of {self.attribute} {self._apart(self.own_block)}. In what is handed on{where} "
            f"{self._apart(self.handed_on, within=self.within_labels)}; 50 % would be no difference."
        )

    def _apart(self, values, *, within=False):
        """The pair of groups, of a label if ``within``, of which one lies above the other most often."""
        groups, names = by_size(self.groups, most=MOST_NAMES)
        labels, label_names = by_size(self.labels, most=MOST_NAMES) if within else (np.full(len(groups), None), [None])
        table = pd.DataFrame({"group": groups, "label": labels}, dtype=object)
        found = []
        for label in label_names:
            cells = {name: values[_members(table, name, label)] for name in names}
            for one, a in cells.items():
                for other, b in cells.items():
                    if one != other and len(a) and len(b):
                        enough = min(len(a), len(b)) >= FEWEST_ROWS
                        found.append((enough, _share_above(a, b), one, other, label))
        _, share, one, other, label = max(found, key=lambda pair: pair[:2])
        among = "" if label is None else f" among {self.target} {label}"
        return f"a row of {one} lies above one of {other} in {100 * share:.0f} % of pairs{among}"


def _point_style(j):
    """Colours of the face and the edge of the points of label number ``j``."""
    colour = LABEL_COLOURS[j]
    return colour if FILLED[j] else "none", EDGES[j] or colour


def _members(table, group, label=None):
    """Which rows belong to a group, and have a label."""
    of_group = (table["group"] == group).to_numpy()
    return of_group if label is None else of_group & (table["label"] == label).to_numpy()


def _share_above(a, b):
    """Share of pairs of a value of ``a`` and one of ``b`` of which the first is higher, ties half: the AUC."""
    ranks = rankdata(np.concatenate([a, b]))[: len(a)]
    return float((ranks.sum() - len(a) * (len(a) + 1) / 2) / (len(a) * len(b)))


def _separation(block, groups):
    """How far the groups are apart in every column: the share of its variance that lies between their means."""
    codes, names = pd.factorize(np.asarray(groups, dtype=object))
    known = codes >= 0
    block, codes = block[known], codes[known]
    sizes = np.bincount(codes, minlength=len(names))
    means = np.stack([np.bincount(codes, column) for column in block.T], axis=1) / sizes[:, None]
    between = (sizes[:, None] * (means - block.mean(axis=0)) ** 2).sum(axis=0) / len(block)
    return between / np.maximum(block.var(axis=0), np.finfo(np.float64).tiny)


def _range(values):
    """Limits of an axis that leave out few of ``values``, the same share at both ends."""
    low, high = np.quantile(values, [BEYOND, 1 - BEYOND])
    margin = 0.04 * (high - low) or 0.5
    return low - margin, high + margin


def _names(values):
    """Groups or labels as they are named; a Categorical keeps the order of its categories."""
    return values if isinstance(values, pd.Categorical) else np.asarray(values, dtype=object)


def _numbers(name, values):
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"{name} has shape {values.shape}; expected finite numbers, one per row.")
    return values


def _attribute_of(fair, rows, sensitive_features, attribute):
    """The :class:`Variable` of the attribute to show and every row's value, None where missing."""
    names = [variable.name for variable in fair._variables]
    if not names:
        raise ValueError("The transformer was fitted without a sensitive attribute: there is no block to show.")
    _, own = fair._read_rows(rows, reset=False)
    codes = fair._own_codes(own, sensitive_features, len(rows), getattr(rows, "index", None))
    attribute = next((name for name in names if name in codes), names[0]) if attribute is None else attribute
    if attribute not in names:
        raise ValueError(f"attribute={attribute!r} is not known. Pass one of {names}.")
    if attribute not in codes:
        raise ValueError(f"The rows' values of {attribute!r} are not known. Pass sensitive_features= with that column.")
    variable, code = fair._variables[names.index(attribute)], codes[attribute]
    values = np.full(len(code), None, dtype=object)
    values[~np.isnan(code)] = variable.decode(code[~np.isnan(code)])
    return variable, values
