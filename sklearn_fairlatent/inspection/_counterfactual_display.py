"""CounterfactualDisplay: what changes for one row, column by column or as an image."""

import numbers
from textwrap import wrap
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from .._attributes import as_values
from .._codec import TabularCodec
from .._counterfactual import requested_moves, wanted_codes
from .._encoding import as_frame, column_names, take_columns
from .._pipelines import fair_step, pipeline_counterfactual, through
from ._drawing import (
    BLACK,
    BLUE,
    SMALL,
    VERMILLION,
    check_matplotlib,
    few_ticks,
    listed,
    short,
    take_axes,
)

ARROW = " \u2192 "
# Numbers closer than this share of their size are one number that was rounded on the way there and back.
ROUNDING = 1e-9
# More changes than this are counted, not spelt out, where the picture is put into words.
MOST_WORDS = 5
# A pixel counts as changed if it moves by more than this share of the range of values.
PIXEL_SHARE = 0.05
# Narrower than this, in spreads, the axis is not drawn: it would make a small change look large.
LEAST_RANGE = 0.5


class CounterfactualDisplay:
    """What is different in the counterfactual of one row.

    A table: one line for each changed column, words as "Private -> Self-emp", numbers as bars in units of the column's
    spread; words come first, then the largest changes. An image: the original, the counterfactual and the difference.

    Parameters
    ----------
    x, x_counterfactual : array-like of shape (n_columns,) or (1, n_columns), or frame of one row
        The same columns.
    spreads : dict of object to float, default=None
        The standard deviation of each numeric column, by name (x0, x1, ... without names). None: changes are shown in
        the columns' own units.
    move : str, default=""
        What was moved, for the title: "sex: Female -> Male".
    max_changes : int, default=10
        Lines of the table; smaller changes are counted.
    image_shape : tuple of int, default=None
        ``(height, width)`` or ``(height, width, 3)`` if the row is an image.

    Attributes
    ----------
    changes_ : DataFrame of shape (n_changed, 5)
        ``column``, ``before``, ``after``, ``change`` (in spreads if these are known, else in the column's unit; NaN for
        words) and ``is_word``; in the order of the picture. For an image None.
    n_columns_ : int
    ax_ : matplotlib Axes
        Of a table.
    axes_ : ndarray of Axes of shape (3,)
        Of an image.
    figure_ : matplotlib Figure
    bars_ : dict of object to Rectangle
        By column.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_fairlatent.inspection import CounterfactualDisplay
    >>> x = pd.DataFrame({"age": [39], "work": ["Private"], "hours": [40]})
    >>> x_cf = x.assign(work="Self-emp", hours=44)
    >>> others = pd.DataFrame({"age": [20, 60], "hours": [36, 44]})
    >>> CounterfactualDisplay.from_pairs(x, x_cf, X_reference=others).describe()
    '2 of 3 columns change: work from Private to Self-emp and hours from 40 to 44 (+1.00 standard deviations).'
    """

    def __init__(self, x, x_counterfactual, *, spreads=None, move="", max_changes=10, image_shape=None):
        if isinstance(max_changes, bool) or not isinstance(max_changes, (int, np.integer)) or max_changes < 1:
            raise ValueError(f"max_changes={max_changes!r}: expected an integer >= 1.")
        self.x, self.x_counterfactual, self.spreads = x, x_counterfactual, spreads
        self.move, self.max_changes, self.image_shape = move, max_changes, image_shape
        self.changes_: Any = None
        if image_shape is not None:
            self._images = [_as_image(name, row, image_shape) for name, row in
                            (("x", x), ("x_counterfactual", x_counterfactual))]  # fmt: skip
            self.n_columns_ = self._images[0].size
            return
        before, after = _one_row("x", x), _one_row("x_counterfactual", x_counterfactual)
        if list(before) != list(after):
            raise ValueError(
                f"x has the columns {list(before)}, x_counterfactual has {list(after)}. Pass two rows of one table."
            )
        self.n_columns_ = len(before)
        self.changes_ = _changes(before, after, spreads)

    @classmethod
    def from_pairs(cls, x, x_counterfactual, *, X_reference=None, move="", max_changes=10, image_shape=None, ax=None):
        """Plot the difference of two rows.

        Parameters
        ----------
        x, x_counterfactual : array-like of shape (n_columns,) or (1, n_columns), or frame of one row
            The same columns.
        X_reference : array-like or frame of shape (n_samples, n_columns), default=None
            Rows whose standard deviations are the units of the changes. None: the columns' own units.
        move : str, default=""
            What was moved, for the title.
        max_changes : int, default=10
            Lines of the table; smaller changes are counted.
        image_shape : tuple of int, default=None
            ``(height, width)`` or ``(height, width, 3)`` if the rows are images.
        ax : Axes, for an image a sequence of three, Figure or None, default=None
            None: a new figure.

        Returns
        -------
        display : CounterfactualDisplay
        """
        check_matplotlib("CounterfactualDisplay.from_pairs")
        spreads = None if X_reference is None else _spreads(X_reference, x)
        display = cls(x, x_counterfactual, spreads=spreads, move=move, max_changes=max_changes, image_shape=image_shape)
        return display.plot(ax)

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X_row,
        attr,
        value=None,
        *,
        sensitive_features=None,
        X_reference=None,
        max_changes=10,
        image_shape=None,
        ax=None,
    ):
        """Ask for the counterfactual of a row and plot it.

        Parameters
        ----------
        estimator : FairLatentTransformer, Pipeline or search
            Fitted; asked by :func:`~sklearn_fairlatent.pipeline_counterfactual`.
        X_row : array-like of shape (1, n_columns) or (n_columns,), or frame of one row
        attr, value
            As in :meth:`~sklearn_fairlatent.FairLatentTransformer.counterfactual`.
        sensitive_features : object, Series, DataFrame or array-like with one row, default=None
            The row's own group. None: a column of X, or what the latent tells, which the title then says.
        X_reference : array-like or frame of shape (n_samples, n_columns), default=None
            Rows whose standard deviations are the units of the changes. None: the training rows, if a
            :class:`~sklearn_fairlatent.TabularCodec` that standardises knows them, else the columns' own units.
        max_changes : int, default=10
            Lines of the table; smaller changes are counted.
        image_shape : tuple of int, default=None
            ``(height, width)`` or ``(height, width, 3)`` if the row is an image.
        ax : Axes, for an image a sequence of three, Figure or None, default=None
            None: a new figure.

        Returns
        -------
        display : CounterfactualDisplay
            A moved attribute that is itself a column of X stands in the title only.
        """
        caller = "CounterfactualDisplay.from_estimator"
        check_matplotlib(caller)
        fair, steps = fair_step(estimator, caller)
        X_row = _as_rows(X_row)
        if isinstance(sensitive_features, (str, numbers.Number, np.generic)):
            sensitive_features = [sensitive_features]
        moved = pipeline_counterfactual(estimator, X_row, attr, value, sensitive_features=sensitive_features)
        names, move = _what_moved(fair, through(steps, X_row), attr, value, sensitive_features)
        if image_shape is not None:
            return cls(X_row, moved, move=move, image_shape=image_shape).plot(ax)
        # Columns of a frame may be called by numbers; their attributes are not.
        called = fair._own_names()
        own = dict(zip(called, called, strict=True)) | dict(zip(fair._own_labels(), called, strict=True))
        if X_reference is not None:
            spreads = _spreads(X_reference, X_row)
        else:
            codec = steps[0][1] if steps else fair.encoding_.encoder
            spreads = _codec_spreads(codec, X_row, moved, () if steps else own)
        before, after = (_one_row("X_row", rows) for rows in (X_row, moved))
        shown = [name for name in before if steps or own.get(name) not in names]
        before, after = (pd.DataFrame({name: pd.Series([row[name]], dtype=object) for name in shown})
                         for row in (before, after))  # fmt: skip
        return cls(before, after, spreads=spreads, move=move, max_changes=max_changes).plot(ax)

    def plot(self, ax=None):
        """Draw the changes.

        Parameters
        ----------
        ax : Axes, for an image a sequence of three, Figure or None, default=None
            None: a new figure.

        Returns
        -------
        display : CounterfactualDisplay
        """
        if self.changes_ is None:
            return self._plot_image(ax)
        shown = self.changes_.head(self.max_changes)
        (ax,) = take_axes(ax, "CounterfactualDisplay.plot", height=1.3 + 0.34 * max(1, len(shown)))
        self.ax_, self.figure_, self.bars_ = ax, ax.figure, {}
        widest = shown["change"].abs().max()
        half = 1.12 * (widest if widest > 0 else 1.0)
        half = max(half, LEAST_RANGE) if self.spreads is not None else half
        for y, row in enumerate(shown.itertuples()):
            words = ARROW.join(short(_shown(value), 22) for value in (row.before, row.after))
            place, align = 0.0, "center"
            if not row.is_word and not np.isnan(row.change):
                (self.bars_[row.column],) = ax.barh(
                    y, row.change, height=0.62, color=BLUE if row.change > 0 else VERMILLION, zorder=2
                )
                # On the other side of zero, where no bar is.
                place, align = (-0.02 * half, "right") if row.change > 0 else (0.02 * half, "left")
            ax.text(place, y, words, ha=align, va="center", fontsize=SMALL, zorder=3,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5})  # fmt: skip
        if self.bars_:
            ax.axvline(0, color=BLACK, linewidth=0.8, zorder=1)
        ax.set_xlim(-half, half)
        self._label_table(shown, bool(self.bars_))
        return self

    def _label_table(self, shown, has_bars):
        ax = self.ax_
        ax.set_yticks(range(len(shown)), [short(name, 20) for name in shown["column"]])
        ax.set_ylim(max(len(shown), 1) - 0.4, -0.6)
        few_ticks(ax, axes="x")
        ax.tick_params(axis="y", length=0)
        for side in ("top", "right", "left"):
            ax.spines[side].set_visible(False)
        if not len(shown):
            ax.text(0, 0, "no column changes", ha="center", va="center")
        if not has_bars:
            ax.set_xticks([])
            ax.spines["bottom"].set_visible(False)
        unit = f"change in {'the' if self.spreads is None else 'standard deviations of the'} column"
        unit += "'s own unit" if self.spreads is None else ""
        ax.set_xlabel("\n".join([unit] * has_bars + [self._counts()]), fontsize=SMALL)
        if self.move:
            # One line or more for each attribute moved.
            lines = [line for move in self.move.split("; ") for line in wrap(move, 42)]
            ax.set_title("\n".join(lines), fontsize="medium")

    def _counts(self):
        hidden = max(0, len(self.changes_) - self.max_changes)
        unchanged = self.n_columns_ - len(self.changes_)
        left = f"; {hidden} smaller changes not shown" if hidden else ""
        return f"{unchanged} of {self.n_columns_} columns unchanged{left}"

    def _plot_image(self, axes):
        axes = take_axes(axes, "CounterfactualDisplay.plot", n_panels=3, height=2.2, beside=True)
        self.axes_ = np.array(axes, dtype=object)
        self.figure_ = axes[0].figure
        before, after = _displayable(*self._images)
        # One scale of greys for both.
        limits = {"vmin": min(before.min(), after.min()), "vmax": max(before.max(), after.max())}
        for ax, image in zip(axes, (before, after), strict=False):
            ax.imshow(image, cmap="gray", interpolation="nearest", **(limits if image.ndim == 2 else {}))
        change = self._difference()
        largest = float(np.abs(change).max()) or 1.0
        shown = axes[2].imshow(change, cmap="PuOr_r", vmin=-largest, vmax=largest, interpolation="nearest")
        for ax, title in zip(axes, ("original", "counterfactual", "difference"), strict=True):
            ax.set(xticks=[], yticks=[])
            ax.set_title(title, fontsize=SMALL)
        axes[1].set_xlabel("\n".join(wrap(self.move, 18)), fontsize=SMALL)
        # Inside the axes' own box, so that it is as wide as the picture in a figure of any shape.
        bar = self.figure_.colorbar(
            shown, cax=axes[2].inset_axes((0, -0.13, 1, 0.06)), orientation="horizontal", ticks=[-largest, 0, largest]
        )
        bar.ax.set_xticklabels([f"{-largest:.2g}", "0", f"{largest:.2g}"])
        bar.ax.tick_params(labelsize=SMALL)
        return self

    def _difference(self):
        """What is added to every pixel, the mean over the colours."""
        change = self._images[1] - self._images[0]
        return change if change.ndim == 2 else change.mean(axis=2)

    def describe(self):
        """What the picture shows, in one or two sentences.

        Returns
        -------
        str
            For an alternative text or a caption.
        """
        heading = f"{self.move.replace(ARROW, ' to ')}. " if self.move else ""
        if self.changes_ is None:
            both = np.stack(self._images)
            change = np.abs(self._difference())
            n_changed = int((change > PIXEL_SHARE * np.ptp(both)).sum())
            return (
                f"{heading}{n_changed} of {change.size} pixels change by more than {100 * PIXEL_SHARE:g} % of the "
                f"range of values, {both.min():.3g} to {both.max():.3g}; the largest change is {change.max():.3g}."
            )
        n_changed, shown = len(self.changes_), self.changes_.head(min(self.max_changes, MOST_WORDS))
        if not n_changed:
            return f"{heading}None of {self.n_columns_} columns changes."
        unit = " standard deviations" if self.spreads is not None else ""
        parts = []
        for row in shown.itertuples():
            by = "" if row.is_word or np.isnan(row.change) else f" ({row.change:+.2f}{unit})"
            parts.append(f"{row.column} from {_shown(row.before)} to {_shown(row.after)}{by if unit else ''}")
        if n_changed > len(shown):
            parts.append(f"{n_changed - len(shown)} more")
        verb = "changes" if n_changed == 1 else "change"
        return f"{heading}{n_changed} of {self.n_columns_} columns {verb}: {listed(parts)}."


def _is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_)) and not pd.isna(value)


def _shown(value):
    """A value as text: whole numbers in full, others with three digits."""
    if pd.isna(value):
        return "missing"
    if _is_number(value):
        whole = float(value).is_integer() and abs(value) < 1e15
        return str(int(value)) if whole else f"{value:.3g}"
    return str(value)


def _as_rows(X):
    """A row of the kind that the transformer takes, two-dimensional."""
    if isinstance(X, pd.Series):
        raise TypeError("X_row is a Series, whose columns have lost their dtypes. Pass a frame: X.iloc[[0]].")
    if as_frame(X) is None:
        X = as_values(X)
        X = X[None] if X.ndim == 1 else X
    if len(X) != 1:
        raise ValueError(f"X_row has {len(X)} rows; expected one. Pass for example X[:1].")
    return X


def _one_row(argument, x):
    """The values of a row by column; categories as strings, whatever they are."""
    frame = as_frame(x)
    if frame is not None:
        if len(frame) != 1:
            raise ValueError(f"{argument} has {len(frame)} rows; expected one. Pass for example X.iloc[[0]].")
        words = [name for name, dtype in frame.schema.items() if isinstance(dtype, (nw.Categorical, nw.Enum))]
        values = {name: frame.get_column(name).to_list()[0] for name in frame.columns}
        return {name: str(v) if name in words and not pd.isna(v) else v for name, v in values.items()}
    if isinstance(x, pd.Series):
        return dict(x.items())
    values = as_values(x)
    values = values[0] if values.ndim == 2 and len(values) == 1 else values
    if values.ndim != 1:
        raise ValueError(f"{argument} has shape {values.shape}; expected one row, (n_columns,) or (1, n_columns).")
    return {f"x{j}": value for j, value in enumerate(values.tolist())}


def _changes(before, after, spreads):
    """The columns that differ: words first, then numbers by size."""
    rows = []
    for name, old in before.items():
        new = after[name]
        word = not (_is_number(old) and _is_number(new))
        change = np.nan
        if word:
            same = str(old) == str(new) or bool(pd.isna(old) and pd.isna(new))
        else:
            spread = 1.0 if spreads is None else spreads.get(name, np.nan)
            same = abs(new - old) <= ROUNDING * np.nanmax([abs(old), abs(new), spread])
            change = (new - old) / spread if spread > 0 else np.nan
        if not same:
            rows.append((name, old, new, float(change), word))
    table = pd.DataFrame(rows, columns=["column", "before", "after", "change", "is_word"])
    for column in ("column", "before", "after"):
        table[column] = pd.Series([row[table.columns.get_loc(column)] for row in rows], dtype=object)
    order = np.lexsort((-table["change"].abs().fillna(np.inf), ~table["is_word"].astype(bool)))
    return table.iloc[order].reset_index(drop=True)


def _spreads(X_reference, x):
    """The standard deviations of the numeric columns; ``x`` is the row that they are for."""
    frame = as_frame(X_reference)
    if frame is None:
        table = pd.DataFrame(as_values(X_reference)).infer_objects().rename(columns=lambda j: f"x{j}")
    else:
        table = pd.DataFrame({name: frame.get_column(name).to_numpy() for name in frame.columns})
    table = table.select_dtypes("number")
    missing = [name for name, value in _one_row("x", x).items() if _is_number(value) and name not in table]
    if missing:
        raise ValueError(
            f"X_reference has no numeric columns {missing}, which the row has. Pass rows of the same table, or None."
        )
    return {name: float(table[name].std(ddof=0)) for name in table}


def _codec_spreads(codec, x, x_counterfactual, own):
    """What a codec knows of the standard deviations of the training rows, as far as numbers changed; None without."""
    if not isinstance(codec, TabularCodec) or codec.numeric != "standardize":
        return None
    before, after = _one_row("X_row", x), _one_row("X_row", x_counterfactual)
    kept = {name: label for name, label in zip(before, column_names(x), strict=True) if name not in own}
    rows = [take_columns(row, list(kept.values())) for row in (x, x_counterfactual)]
    steps = np.asarray(codec.transform(rows[1]))[0] - np.asarray(codec.transform(rows[0]))[0]
    spreads = {}
    for name, (label, columns) in zip(kept, codec.feature_groups_.items(), strict=True):
        old, new, step = before[name], after[name], steps[columns.start]
        if label not in codec.categories_ and step and _is_number(old) and _is_number(new):
            spreads[name] = (float(new) - float(old)) / float(step)
    return spreads


def _what_moved(fair, rows, attr, value, sensitive_features):
    """Names of what was moved, and in words from where to where."""
    target = None if fair._target is None else fair._target.name
    moves = requested_moves(attr, value, list(fair._block_maps), target)
    _, own = fair._read_rows(rows, reset=False)
    codes = fair._own_codes(own, sensitive_features, len(rows), getattr(rows, "index", None))
    texts = []
    for name, wanted in moves.items():
        block_map = fair._block_maps[name]
        current, read = codes.get(name, np.array([np.nan])), ""
        if np.isnan(current[0]):
            block = np.asarray(fair.to_latent(rows), dtype=np.float64)[:, fair.latent_layout_[name]]
            current, read = block_map.read(block), " (as read)"
        goal = wanted_codes(block_map.variable, wanted, current)
        start, end = (_shown(block_map.variable.decode(code)[0]) for code in (current, goal))
        texts.append(f"{name}: {start}{read}{ARROW}{end}")
    return set(moves), "; ".join(texts)


def _as_image(argument, row, shape):
    """A row as an array of shape (height, width) or (height, width, n_colours)."""
    shape = tuple(shape)
    if not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))):
        raise ValueError(f"image_shape={shape}: expected (height, width) or (height, width, 3).")
    frame = as_frame(row)
    values = np.asarray(row if frame is None else frame.to_numpy(), dtype=np.float64)
    if values.size != np.prod(shape):
        raise ValueError(f"{argument} holds {values.size} numbers, image_shape={shape} needs {np.prod(shape)}.")
    image = values.reshape(shape)
    return image[..., 0] if len(shape) == 3 and shape[2] == 1 else image


def _displayable(before, after):
    """Two images as matplotlib shows them: colours between 0 and 1."""
    if before.ndim == 2:
        return before, after
    low, high = min(before.min(), after.min()), max(before.max(), after.max())
    if low < 0 or high > 255:
        return tuple((image - low) / ((high - low) or 1.0) for image in (before, after))
    return (before, after) if high <= 1 else (before / 255, after / 255)
