"""What the displays share: colours and markers, axes to draw on, legends, words for numbers."""

import numpy as np
import pandas as pd

# Told apart by people with any of the usual kinds of colour blindness: Okabe and Ito (2008), "Color universal design".
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK = "#E69F00", "#56B4E9", "#000000"
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
GREY = "#6B6B6B"
# Without colour the same things are told apart by these.
MARKERS = ("o", "^", "s", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (6, 2, 1, 2, 1, 2)), (0, (1, 3)), (0, (8, 3)))
# Inches. Shown 390 pixels wide, type of 8.3 points (matplotlib's "small") is then 11 pixels high.
WIDTH = 4.2
# From this width on panels stand side by side, in narrower figures one above the other.
WIDE = 6.5
SMALL = "small"
# A longer name is cut, as a longer legend or tick leaves no room for the picture.
LONGEST_NAME = 26


def check_matplotlib(caller):
    """Raise an ImportError that names the remedy if matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401 - whether it can be imported is all that is asked
    except ImportError as error:
        raise ImportError(
            f"{caller} needs matplotlib, which is not installed. Run `pip install 'sklearn-fairlatent[plot]'`, or "
            "`pip install matplotlib`."
        ) from error


def take_axes(ax, caller, *, n_panels=1, height=3.4, beside=False):
    """The axes to draw on.

    Parameters
    ----------
    ax : Axes, sequence of Axes, Figure, SubFigure or None
        None: a new figure of pyplot. A figure is divided into panels, side by side where it is wide enough.
    caller : str
    n_panels : int
    height : float
        Of a new figure, in inches.
    beside : bool
        Panels of a figure always stand side by side.

    Returns
    -------
    list of Axes
    """
    check_matplotlib(caller)
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    if ax is None:
        import matplotlib.pyplot as plt

        shape = (1, n_panels) if beside else (n_panels, 1)
        _, axes = plt.subplots(*shape, figsize=(WIDTH, height), layout="constrained", squeeze=False)
        return list(axes.ravel())
    if isinstance(ax, (Figure, SubFigure)):
        if isinstance(ax, Figure) and not ax.axes and ax.get_layout_engine() is None:
            ax.set_layout_engine("constrained")
        beside = beside or ax.bbox.width / ax.canvas.figure.dpi >= WIDE
        shape = (1, n_panels) if beside else (n_panels, 1)
        return list(ax.subplots(*shape, squeeze=False).ravel())
    given = list(np.ravel(np.asarray(ax, dtype=object)))
    if len(given) != n_panels or not all(isinstance(one, Axes) for one in given):
        wanted = "matplotlib Axes" if n_panels == 1 else f"a sequence of {n_panels} matplotlib Axes"
        kinds = sorted({type(one).__name__ for one in given})
        raise TypeError(
            f"{caller}: expected {wanted}, a Figure or None, got {len(given)} of {kinds}. Pass for example "
            f"plt.subplots({n_panels})[1]."
        )
    return given


def legend_above(ax, handles):
    """A legend over the axes, where it hides nothing; no more columns than the names leave room for."""
    handles = list(handles)
    if not handles:
        return None
    longest = max(len(str(handle.get_label())) for handle in handles)
    return ax.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1.01), ncols=1 if longest > 20 else 2, frameon=False,
        fontsize=SMALL, borderaxespad=0, handlelength=2.2, columnspacing=1.2, labelspacing=0.3,
    )  # fmt: skip


def few_ticks(ax, *, axes="xy", whole=False):
    """Few ticks, so that their numbers do not touch where the picture is small; small type."""
    from matplotlib.ticker import MaxNLocator

    for axis in axes:
        ax_axis = ax.xaxis if axis == "x" else ax.yaxis
        ax_axis.set_major_locator(MaxNLocator(5, integer=whole and axis == "x"))
    ax.tick_params(labelsize=SMALL)


def short(name, longest=LONGEST_NAME):
    """A name that fits; its end is cut."""
    name = str(name)
    return name if len(name) <= longest else name[: longest - 1] + "\u2026"


def listed(items):
    """'a, b and c'."""
    items = [str(item) for item in items]
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def number(value):
    """A score or a disparity with three digits, as the metrics are reported."""
    return f"{value:.3f}".replace("-0.000", "0.000")


def by_size(values, *, most):
    """Values as names for a legend: the most frequent ones, the rest together, missing ones None.

    Parameters
    ----------
    values : array-like or Categorical of shape (n,)
    most : int
        With more different values the least frequent are called "other (n)".

    Returns
    -------
    names : ndarray of object of shape (n,)
    order : list of str
        The different names, in the order of a Categorical, else sorted by value.
    """
    column = pd.Series(np.asarray(values, dtype=object))
    counts = column.value_counts()
    kept = list(counts.index if len(counts) <= most else counts.index[: most - 1])
    if isinstance(values, pd.Categorical):
        kept = [value for value in values.categories if value in kept]
    else:
        try:
            kept = sorted(kept)
        except TypeError:
            kept = sorted(kept, key=str)
    names = column.map({value: str(value) for value in kept})
    order = [str(value) for value in kept]
    if len(kept) < len(counts):
        rest = f"other ({len(counts) - len(kept)})"
        names[column.notna() & names.isna()] = rest
        order.append(rest)
    return np.array([None if pd.isna(name) else name for name in names], dtype=object), order


def in_thirds(values):
    """A quantity cut at its terciles: a Categorical whose names are the ranges, in their order."""
    numbers = pd.to_numeric(pd.Series(np.asarray(values, dtype=object))).to_numpy(dtype=np.float64)
    low, high = np.nanquantile(numbers, [1 / 3, 2 / 3])
    names = [f"< {low:.3g}", f"{low:.3g} to {high:.3g}", f"> {high:.3g}"]
    third = np.where(np.isnan(numbers), -1, (numbers >= low).astype(int) + (numbers > high))
    return pd.Categorical.from_codes(third, names, ordered=True)
