"""The part of the estimator that answers "what if": counterfactual rows, the way to them, and explanations."""

from typing import Any

import narwhals as nw
import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import _num_samples, check_is_fitted

from ._counterfactual import requested_moves, wanted_codes
from ._encoding import as_frame, frame_like
from ._explanation import explain
from ._groups import read_columns
from ._parameters import check_value, is_integer, is_real
from ._revision import Revision
from ._rounding import codec_of

OUTPUTS = ("input", "embedding", "latent")
# Parts of a move, and more than the whole, that offer a table's revision values to choose from.
SHARES = (0.8, 1.0, 1.2)


class MovingMixin:
    """Counterfactuals of a fitted transformer; see :class:`~sklearn_fairlatent.FairLatentTransformer`."""

    # What it needs of the estimator.
    encoding_: Any
    latent_layout_: Any
    _target: Any
    _variables: list
    _block_maps: dict
    _neutral: np.ndarray
    counterfactual_map_: Any
    _fixed: np.ndarray
    _immutable: list
    _sensitive_positions: list
    _read_rows: Any
    _own_names: Any
    _own_labels: Any
    _give_back: Any
    _map: Any

    def counterfactual(self, X, attr, value=None, *, sensitive_features=None, output="input", step=1.0):
        """X as a member of another group, or with another label: one block moved, the rest held.

        With ``counterfactual_map="latent"`` the block of the latent moves and everything else in it is held, what is
        handed on included. A row keeps its rank inside its group: the block's quantiles in the row's own group
        are sent to those in the wanted one, column by column. For a continuous attribute the block moves along
        its slope on the value. With "trained" or "transport" the row moves by the map described there; with "trained",
        of a frame behind a :class:`TabularCodec` only as many columns change as it takes.

        A counterfactual says what a row would look like to these models as a member of another group. It is no
        statement about causes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        attr : str or list of str
            A sensitive attribute, or the label by its name or as "target", or several of them. With
            ``counterfactual_map="trained"`` or "transport" several move one after the other in this order, and the way
            back takes the reverse order.
        value : object, array-like of shape (n_samples,), or dict, default=None
            The wanted value, one for all rows or one per row; a dict by name for several attributes. None: the other
            one of two groups; with more groups or a continuous variable it must be given.
        sensitive_features : as in :meth:`fit`, default=None
            The rows' own groups. Without them, they come from ``sensitive_columns`` if X has these, else each row's
            group is read from the row itself, which errs where the group is hard to read.
        output : {"input", "embedding", "latent"}, default="input"
            The space of the answer: that of X, by the decoder; what the encoder makes of it; or the latent, as
            :meth:`to_latent` gives it.
        step : float, default=1.0
            How much of the way the block goes, > 0: less stops before the other group's place, more goes beyond it.
            Rows of a table that are matched, with ``counterfactual_map="transport"``, go the whole way only.

        Returns
        -------
        X_cf : array or frame of shape (n_samples, n_features)
            A frame if X is one. A row that already has the wanted value comes back unchanged, whatever the decoder
            loses, where X is a frame or array of two dimensions.

        Raises
        ------
        ValueError
            If ``attr``, ``value``, ``output`` or ``step`` is not known, a needed value is missing, or there is no way
            back to X.

        Examples
        --------
        >>> from sklearn_fairlatent import FairLatentTransformer
        >>> from sklearn_fairlatent.datasets import make_biased_latents
        >>> data = make_biased_latents(600, random_state=0)
        >>> A = data.sensitive_features
        >>> fair = FairLatentTransformer(max_epochs=5, random_state=0).fit(
        ...     data.data, data.target, sensitive_features=A
        ... )
        >>> fair.counterfactual(data.data, A.columns[0], sensitive_features=A).shape
        (600, 16)
        """
        _check_output(output)
        valid = is_real(step) and 0 < step < np.inf
        check_value("step", step, valid, "a number > 0, where 1 goes to the other group's place")
        move = self._move(self._read_given(X, sensitive_features), attr, value)
        return self._answer(move, move.end(self, float(step)), output)

    def counterfactual_path(self, X, attr, value=None, *, n_steps=5, sensitive_features=None, output="input"):
        """The way from X to its counterfactual in equal steps of the block that moves.

        Parameters
        ----------
        X, attr, value, sensitive_features, output
            As in :meth:`counterfactual`.
        n_steps : int, default=5
            Number of steps, at least 1.

        Returns
        -------
        path : list of array or frame
            ``n_steps + 1`` of them: the rows themselves, the steps between, and the counterfactuals.

        Raises
        ------
        ValueError
            As :meth:`counterfactual`, or if ``n_steps`` is no integer of at least 1.

        Examples
        --------
        >>> from sklearn_fairlatent import FairLatentTransformer
        >>> from sklearn_fairlatent.datasets import make_biased_latents
        >>> data = make_biased_latents(600, random_state=0)
        >>> fair = FairLatentTransformer(max_epochs=5, random_state=0).fit(
        ...     data.data, data.target, sensitive_features=data.sensitive_features
        ... )
        >>> path = fair.counterfactual_path(data.data[:3], "group", 1, n_steps=4)
        >>> len(path)
        5
        """
        _check_output(output)
        check_value("n_steps", n_steps, is_integer(n_steps) and n_steps >= 1, "an integer >= 1")
        move = self._move(self._read_given(X, sensitive_features), attr, value)
        given = move.given
        last = move.end(self)
        shares = np.arange(1, n_steps) / n_steps
        if move.codec is None:
            between = [move.part(self, share) for share in shares]
        else:
            # Which part of which move a row of a table has become differs from row to row: straight to what it is.
            between = [given.E + share * (last - given.E) for share in shares]
        own = dict(move.own)
        path = []
        for k, rows in enumerate([np.array(given.E), *between, last]):
            # Who a row is changes at the end of the way.
            move.own = own if k == n_steps else given.own
            path.append(self._answer(move, rows, output))
        return path

    def explain(self, X, estimator, *, sensitive_features=None):
        """How far a model's decisions move when each block of the rows moves.

        Every sensitive attribute and the label move to each other value in turn (a quantity by one standard deviation
        up and down), and the rest of what the rows tell is set to its average. For each of these moves: how far the
        prediction moves, and the share of rows whose decision would change, overall and for every own group. This
        is what the model makes of these counterfactual rows, no statement about causes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        estimator : fitted classifier or regressor
            Predicts from rows as X has them; a pipeline that begins with this transformer does.
        sensitive_features : as in :meth:`fit`, default=None
            As in :meth:`counterfactual`.

        Returns
        -------
        Explanation
            See :class:`Explanation`: ``blocks`` and ``groups`` are the two tables.

        Raises
        ------
        TypeError
            If ``estimator`` has no ``predict``.

        Examples
        --------
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn_fairlatent import FairLatentTransformer
        >>> from sklearn_fairlatent.datasets import make_biased_latents
        >>> data = make_biased_latents(600, random_state=0)
        >>> fair = FairLatentTransformer(max_epochs=5, random_state=0).fit(
        ...     data.data, data.target, sensitive_features=data.sensitive_features
        ... )
        >>> model = LogisticRegression().fit(data.data, data.target)
        >>> explanation = fair.explain(data.data, model, sensitive_features=data.sensitive_features)
        >>> explanation.blocks.index.tolist()
        ['target', 'group', 'residual']
        """
        check_is_fitted(self)
        if not hasattr(estimator, "predict"):
            raise TypeError(f"estimator is a {type(estimator).__name__}; expected a fitted model with predict.")
        return explain(self, X, estimator, sensitive_features)

    # ---------------------------------------------------------------- steps of it

    def _read_given(self, X, sensitive_features):
        """What every move of these rows needs, read once."""
        check_is_fitted(self)
        rows, own = self._read_rows(X, reset=False)
        told = self._own_codes(own, sensitive_features, _num_samples(rows), getattr(X, "index", None))
        return _Given(self, X, own, told, np.asarray(self.encoding_.encode(rows)))

    def _move(self, given, attr, value):
        """A question about the rows ``given``."""
        target_name = None if self._target is None else self._target.name
        without = [variable.name for variable in self._variables if variable.name not in self._block_maps]
        return _Move(self, given, requested_moves(attr, value, list(self._block_maps), target_name, without))

    def _answer(self, move, E, output):
        """Embeddings ``E`` as what was asked for."""
        if output == "embedding":
            return E
        if output == "latent":
            return self._map(E, lambda flow, x: flow(x)[0], E.shape[1], np.float64)
        rows = self._give_back(E, like=move.given.X, own=move.own)
        return _restored(rows, move.given.X, move.kept(E), self)

    def _neutral_rows(self, given):
        """The rows with what is in none of the blocks at its average."""
        if given.mapped:
            E = self.counterfactual_map_.neutral_rest(given.E)
        else:
            rest = self.latent_layout_["residual"]
            L = given.L.copy()
            L[:, rest] = self._neutral[rest]
            E = self._map(L, lambda flow, z: flow.inverse(z), L.shape[1])
        return self._give_back(E, like=given.X, own=given.own)

    def _own_codes(self, own, sensitive_features, n_samples, index):
        """Codes of the rows' own groups, as far as they were given."""
        columns = dict(own)
        names = [variable.name for variable in self._variables]
        if sensitive_features is not None:
            given = read_columns(sensitive_features, n_samples, index)
            if len(given) == len(names) and all(name.startswith("sensitive_feature_") for name in given):
                given = dict(zip(names, given.values(), strict=True))
            strangers = sorted(set(given) - set(names))
            if strangers:
                raise ValueError(f"sensitive_features: {strangers} were not in fit, which saw {names}.")
            columns.update(given)
        return {
            variable.name: variable.encode(columns[variable.name])
            for variable in self._variables
            if variable.name in columns
        }


class _Given:
    """Rows as they were read: their own groups as far as they were told, encoded rows ``E`` and latents ``L``."""

    def __init__(self, fair, X, own, told, E):
        self.X, self.own, self.told, self.E = X, own, told, E
        self.mapped = hasattr(fair, "counterfactual_map_")
        # Off the hot path: in float64 whatever X is, so that there and back is exact.
        self.L: Any = None if self.mapped else fair._map(E, lambda flow, x: flow(x)[0], E.shape[1], np.float64)

    def current(self, fair, name):
        """Codes of the rows now: as told, else as read from the rows themselves."""
        told = self.told.get(name, np.full(len(self.E), np.nan))
        if not np.isnan(told).any():
            return told
        if self.mapped:
            read = fair.counterfactual_map_.panel.read(self.E, name)
        else:
            read = fair._block_maps[name].read(self.L[:, fair.latent_layout_[name]])
        return np.where(np.isnan(told), read, told)


class _Move:
    """One question: the codes that the rows ``given`` have and those that they are to have, by variable."""

    def __init__(self, fair, given, requested):
        self.given = given
        self.codec: Any = codec_of(fair.encoding_.encoder) if given.mapped else None
        self.current, self.goal, self.own = {}, {}, dict(given.own)
        self.moved = np.zeros(len(given.E), dtype=bool)
        for name, value in requested.items():
            variable = fair._block_maps[name].variable
            current = given.current(fair, name)
            goal = wanted_codes(variable, value, current)
            self.current[name], self.goal[name] = current, goal
            self.moved |= goal != current
            if name in fair._own_names():
                decoded = variable.decode(goal)
                stays = given.told[name] == goal if name in given.told else False
                self.own[name] = np.where(stays, given.own.get(name, decoded), decoded)

    def kept(self, E):
        """Which values of the rows X are still those of ``E``: (n, n_columns) of a table, else (n, 1)."""
        same = self.given.E == E
        if self.codec is None:
            return same.all(1, keepdims=True)
        return np.column_stack([same[:, part].all(1) for part in _slices(self.codec)])

    def part(self, fair, share=1.0):
        """Embeddings that went ``share`` of the way."""
        given, some = self.given, self.moved
        out = np.array(given.E, copy=True)
        if given.mapped:
            moves = [(name, self.current[name][some], goal[some]) for name, goal in self.goal.items()]
            out[some] = fair.counterfactual_map_.move(given.E[some], moves, share)
        else:
            L = given.L[some].copy()
            for name, goal in self.goal.items():
                block = fair.latent_layout_[name]
                there = fair._block_maps[name].move(L[:, block], self.current[name][some], goal[some])
                L[:, block] = there if share == 1 else L[:, block] + share * (there - L[:, block])
            out[some] = fair._map(L, lambda flow, z: flow.inverse(z), given.E.shape[1])
        out[:, fair._fixed] = given.E[:, fair._fixed]
        return out

    def end(self, fair, step=1.0):
        """Embeddings of the counterfactuals; those of a table revised to the columns that the question needs."""
        if self.codec is None:
            return self.part(fair, step)
        seen = [fair.counterfactual_map_.maps[name].gives_seen_rows for name in self.goal]
        if any(seen):
            check_whole_step(step)
        if all(seen) or not self.moved.any():
            return self.part(fair)
        some, E = self.moved, self.given.E
        candidates = [self._valid(self.part(fair, step * share)[some], fair) for share in SHARES]
        revision = Revision(fair.counterfactual_map_.panel, _slices(self.codec))
        # Of several variables all hold in the end, also the one that a row does not move.
        goals = {name: goal[some] for name, goal in self.goal.items()}
        out = np.array(E, copy=True)
        out[some] = revision.revise(E[some], candidates, goals)
        return out

    def _valid(self, E, fair):
        """Rows as decoding and encoding give them; columns that may not move keep their exact value."""
        codec = self.codec
        valid = np.array(codec.transform(codec._decode(E)), dtype=E.dtype)
        valid[:, fair._fixed] = self.given.E[self.moved][:, fair._fixed]
        return valid


def _slices(codec):
    return list(codec.feature_groups_.values())


def check_whole_step(step):
    """Refuse part of a move between rows that were seen."""
    if step != 1:
        raise ValueError(
            f"step={step!r}: with counterfactual_map='transport' a row of a table becomes like another row as a "
            "whole. Pass step=1, or fit with counterfactual_map='trained'."
        )


def _check_output(output):
    if output not in OUTPUTS:
        raise ValueError(f"output={output!r}: expected one of {list(OUTPUTS)}.")


def _restored(rows, X, kept, fair):
    """``rows`` with what did not move as it is in ``X``, whatever the decoder loses or repairs.

    ``kept`` has a column for every column of a table, else one.
    """
    # The latents of a generator are no answers of it, even if it gives as many columns.
    if fair.encoder is None and fair.decoder is not None:
        return rows
    frame, given = as_frame(rows), as_frame(X)
    if frame is not None and given is None and np.shape(X) == frame.shape:
        # An array after a fit on frames: its columns are those of the fit, by position.
        columns = dict(zip(frame.columns, (list(column) for column in np.asarray(X).T), strict=True))
        given = as_frame(frame_like(rows, columns, rows))
    if frame is not None and given is not None:
        own = fair._sensitive_positions if len(frame.columns) == fair.n_features_in_ else []
        names = [name for k, name in enumerate(frame.columns) if k not in own]
        if not set(names) <= set(given.columns):
            return rows
        columns = []
        for position, name in enumerate(names):
            stays = kept[:, position if kept.shape[1] > 1 else 0] | (position in fair._immutable)
            if stays.any():
                columns.append(_mixed(given.get_column(name), frame.get_column(name), stays))
        return frame.with_columns(*columns).to_native() if columns else rows
    if frame is None and given is None and not issparse(X) and np.shape(X) == np.shape(rows):
        X, out = np.asarray(X), np.array(rows, copy=True)
        if out.ndim == 2:
            others = np.delete(np.arange(out.shape[1]), fair._sensitive_positions)
            stays = np.broadcast_to(kept, (len(out), len(others))).copy()
            stays[:, fair._immutable] = True
            if out.dtype.kind in "iu" and X.dtype.kind in "iuf":
                out = out.astype(np.result_type(out, X))  # what stays may be what a column of fit could not be
            out[:, others] = np.where(stays, X[:, others], out[:, others])
        elif not fair._sensitive_positions:
            unmoved = kept.all(1)
            out[unmoved] = X[unmoved]
        return out
    return rows


def _mixed(before, after, kept):
    """The column ``after`` with the values of ``before`` where ``kept``."""
    if kept.all() and before.dtype == after.dtype:
        return before
    if before.dtype in (nw.Categorical, nw.Enum) and hasattr(before.to_native(), "astype"):
        # pandas joins categories only if they are the same.
        before = nw.from_native(before.to_native().astype(after.to_native().dtype), series_only=True)
    elif (
        before.dtype != after.dtype
        and after.dtype.is_numeric()
        and (before.dtype.is_numeric() or before.dtype == nw.Boolean)
    ):
        # Of truth values and nullable numbers pandas would make objects. What stays may be what a column of fit could
        # not be: a fraction or a missing value among whole numbers, or a greater one.
        after = after if _holds(after.dtype, before) else after.cast(nw.Float64)
        before = before.cast(after.dtype)
    mask = nw.new_series(after.name, kept, backend=nw.get_native_namespace(after))
    return before.zip_with(mask, after)


def _holds(dtype, column):
    """Whether numbers, or truth values, stay what they are as another type of numbers."""
    if not dtype.is_integer():
        return True
    numbers = np.asarray(column.cast(nw.Float64).to_numpy(), dtype=np.float64)
    limits = np.iinfo(str(dtype).lower())
    return bool(((numbers == np.floor(numbers)) & (numbers >= limits.min) & (numbers <= limits.max)).all())
