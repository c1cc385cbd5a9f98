"""The invertible module: a linear map, one carrier coupling for what is handed on, and a flow for the rest."""

from dataclasses import dataclass
from functools import partial
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from sklearn.tree import DecisionTreeRegressor
from torch import nn
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.transforms import MonotonicAffineTransform

from ._latent import row_chunks

# Lower bound of every slope: with 0.3 a float64 round trip keeps 12 digits at input scale 100, with 0.05 seven.
MIN_SLOPE = 0.3

# Steps of all columns together; more columns get fewer steps each. No step parts off fewer rows than STEP_ROWS.
MAX_STEPS = 256
STEP_ROWS = 20
# Rows that tell which columns take more than two values.
GLANCE_ROWS = 2000
# g is the mean of this many networks, each with a label loss of its own, and with this share of hidden units dropped
# in training (docs/design_notes.md, "A mean of four networks").
N_MEMBERS = 4
DROPOUT = 0.2
# Several columns handed on tell more of an attribute than each alone: exact values give rows of a table away. Noise of
# this standard deviation times the strength in training, and a wave of this frequency that looks like it afterwards
# hide what is finer; a column's own deviation is 1. The label's columns hold little else, and a single one is left
# clear (docs/design_notes.md, "More than one column").
DITHER = 4.0
LABEL_DITHER = 0.4
FREQUENCY = 100.0
FREQUENCY_STEP = 0.05
# The wave has the values of a normal distribution without this share at either end: with them it would be so steep
# there that the way back in float32 is lost.
CUT = 0.05
_NORMAL = NormalDist()
_BOUND = _NORMAL.inv_cdf(1 - CUT)
CUT_DEVIATION = (1 - 2 * _BOUND * _NORMAL.pdf(_BOUND) / (1 - 2 * CUT)) ** 0.5
# Logarithm of the carrier's share of what is handed on, at the start: loud enough to invert, quiet next to g.
CARRIER_SCALE = -0.7


def _last_axes(n_features, n_last):
    """Reflection vectors that leave the last ``n_last`` coordinates where they are (up to sign)."""
    return torch.eye(n_features)[n_features - n_last :]


class LinearMap(nn.Module):
    """The fixed affine map of :class:`~sklearn_fairlatent._latent.LinearStart` as a module.

    Its buffers are no part of the state: training in float32 must not round the float64 originals.
    """

    def __init__(self, start):
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(start.mean), persistent=False)
        self.register_buffer("matrix", torch.as_tensor(start.matrix), persistent=False)
        self.register_buffer("unmix", torch.as_tensor(start.inverse), persistent=False)
        self.log_det = float(np.linalg.slogdet(start.matrix)[1])

    def forward(self, x):
        return (x - self.mean) @ self.matrix, x.new_full((len(x),), self.log_det)

    def inverse(self, w):
        return w @ self.unmix + self.mean


def _step_bounds(tree, values):
    """Where the steps at a tree's thresholds begin and end."""
    thresholds = np.unique(tree.threshold[tree.feature >= 0])
    distinct = np.unique(values)
    above = np.clip(np.searchsorted(distinct, thresholds), 1, len(distinct) - 1)
    gap = distinct[above] - distinct[above - 1]
    # No steeper than the inverse of the map can follow, and float32 can resolve.
    low, high = np.quantile(values, (0.01, 0.99))
    width = np.maximum(gap / 2, max(1e-3 * (high - low), 1e-5 * (distinct[-1] - distinct[0])))
    return thresholds - width / 2, thresholds + width / 2


def _spaced(knots):
    """Distinct knots, none closer than float32 can resolve on the column's range."""
    knots = np.unique(knots)
    gap = 1e-6 * (knots[-1] - knots[0])
    kept = [knots[0]]
    for knot in knots[1:-1]:
        if knot - kept[-1] > gap and knots[-1] - knot > gap:
            kept.append(knot)
    return np.array([*kept, knots[-1]])


@dataclass
class Table:
    """What g wants to know of the columns of X: their scale, and where their steps lie."""

    scale: np.ndarray  # (n_features,): the range of a column of two values, else the standard deviation
    steps: list  # (column, low, high) with the increasing bounds of the column's steps


def describe_columns(X, rows, codes, *, smooth=False):
    """Scale and steps of the columns, from at most ``len(rows)`` rows of X.

    The steps of a column lie where a small regression tree on it alone splits the codes of label and attributes.
    A step is as wide as half the gap between the two values it parts: every value seen in training lies on one side.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
    rows : ndarray of int
    codes : ndarray of shape (n_samples, n_codes)
        Of label and attributes; NaN where missing.
    smooth : bool
        Ramps from knot to knot instead of steps: half of the knots are quantiles of the rows, half quantiles of the
        distinct values, since a column that is mostly zero has its information in the rest.

    Returns
    -------
    Table
        Without steps if there are too many columns for at least four each.
    """
    glance = X[rows[:: max(1, len(rows) // GLANCE_ROWS)]]
    two_valued = np.array([len(np.unique(column)) <= 2 for column in glance.T])
    total, squares = np.zeros((2, X.shape[1]))
    lowest, highest = glance.min(axis=0).astype(np.float64), glance.max(axis=0).astype(np.float64)
    centre, kept = glance.mean(axis=0), []
    continuous = np.flatnonzero(~two_valued)
    n_steps = min(32, MAX_STEPS // max(1, len(continuous)))
    with_steps = len(continuous) > 0 and n_steps >= 4 and (smooth or codes.shape[1] > 0)
    for part in row_chunks(len(rows)):
        chunk = X[rows[part]]
        total += (chunk - centre).sum(axis=0)
        squares += ((chunk - centre) ** 2).sum(axis=0)
        lowest, highest = np.minimum(lowest, chunk.min(axis=0)), np.maximum(highest, chunk.max(axis=0))
        if with_steps:
            kept.append(chunk[:, continuous].astype(np.float64))
    spread = np.sqrt(np.maximum(squares / len(rows) - (total / len(rows)) ** 2, 0.0))
    scale = np.where(two_valued, highest - lowest, spread)
    # What hardly varies next to its size is rounding.
    scale[scale <= 1e-12 * np.maximum(1.0, np.abs(centre))] = 1.0
    if not with_steps:
        return Table(scale, [])

    columns = np.concatenate(kept).T
    if smooth:
        grid = np.linspace(0, 1, n_steps // 2 + 1)
        knots = [_spaced(np.r_[np.quantile(values, grid), np.quantile(np.unique(values), grid)]) for values in columns]
        return Table(scale, [(int(j), edges[:-1], edges[1:]) for j, edges in zip(continuous, knots, strict=True)])
    known = codes[rows]
    deviation = np.nanstd(known, axis=0)
    # A missing code counts as the mean: it splits nothing.
    target = np.nan_to_num((known - np.nanmean(known, axis=0)) / np.where(deviation > 0, deviation, 1.0))
    tree = DecisionTreeRegressor(max_leaf_nodes=n_steps + 1, min_samples_leaf=STEP_ROWS, random_state=0)
    steps = [
        (int(j), *_step_bounds(tree.fit(values[:, None], target).tree_, values))
        for j, values in zip(continuous, columns, strict=True)
    ]
    return Table(scale, [step for step in steps if len(step[1])])


class ColumnFeatures(nn.Module):
    """What a tree would see of a table: its columns, and steps where a column tells something of label or attributes.

    A step is a steep ramp from -0.5 to 0.5 between two neighbouring values (piecewise-linear encoding with bins from
    trees: Gorishniy et al. 2022, "On embeddings for numerical features in tabular deep learning", eq. 1 and section
    3.2). It lets a small network follow spikes (capital gains, ages) that it would take thousands of updates to learn.

    Parameters
    ----------
    start : LinearStart
        Gives the columns back from their linear image.
    table : Table
    whole : bool
        Whether the columns themselves are features, too.
    """

    def __init__(self, start, table, whole):
        super().__init__()
        columns = np.array([column for column, _, _ in table.steps], dtype=np.int64)
        low, high = (np.concatenate([step[k] for step in table.steps] or [np.zeros(0)]) for k in (1, 2))
        n_steps = [len(low) for _, low, _ in table.steps]
        n_whole = len(table.scale) if whole else 0
        # The columns, centred and scaled, then those with steps once more, in their own unit.
        unmix = np.hstack([(start.inverse / table.scale)[:, :n_whole], start.inverse[:, columns]])
        self.register_buffer("mean", torch.as_tensor(start.mean[columns]), persistent=False)
        self.register_buffer("unmix", torch.as_tensor(unmix), persistent=False)
        self.register_buffer("low", torch.as_tensor(low), persistent=False)
        self.register_buffer("slope", torch.as_tensor(1 / (high - low)), persistent=False)
        column_of = np.repeat(np.arange(len(columns)), n_steps).astype(np.int64)
        self.register_buffer("column_of", torch.as_tensor(column_of), persistent=False)
        self.n_columns = n_whole
        self.n_features = self.n_columns + len(low)

    def forward(self, mixed):
        """Features of the rows ``mixed``, which are a linear image times ``unmix``; of shape (n, n_features)."""
        columns = mixed[:, self.n_columns :] + self.mean
        ramps = (columns.index_select(1, self.column_of) - self.low).mul_(self.slope)
        return torch.cat([mixed[:, : self.n_columns], ramps.clamp_(0, 1).sub_(0.5)], dim=1)


class ByteDropout(nn.Module):
    """Dropout with a byte of randomness per value: on a CPU a third of the time of :class:`torch.nn.Dropout`.

    ``p`` is rounded to a multiple of 1/256.
    """

    def __init__(self, p):
        super().__init__()
        self.threshold = round(256 * p)

    def forward(self, x):
        if not self.training or not self.threshold:
            return x
        n_values = x.numel()
        words = torch.empty(-(-n_values // 8), dtype=torch.int64, device=x.device).random_(-(2**63), None)
        kept = words.view(torch.uint8)[:n_values].view(x.shape) >= self.threshold
        return x * (kept * (256 / (256 - self.threshold)))


class MemberNetworks(nn.Module):
    """``N_MEMBERS`` networks with two hidden layers on the same inputs, side by side; 0 at the start."""

    def __init__(self, n_inputs, n_outputs, hidden_size):
        super().__init__()
        self.first = nn.Linear(n_inputs, N_MEMBERS * hidden_size)
        bound = hidden_size**-0.5
        self.weight = nn.Parameter(torch.empty(N_MEMBERS, hidden_size, hidden_size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(N_MEMBERS, 1, hidden_size).uniform_(-bound, bound))
        self.last_weight = nn.Parameter(torch.zeros(N_MEMBERS, hidden_size, n_outputs))
        self.last_bias = nn.Parameter(torch.zeros(N_MEMBERS, 1, n_outputs))
        self.dropout = ByteDropout(DROPOUT)

    def forward(self, x):
        """Outputs of every member, shape (N_MEMBERS, n, n_outputs)."""
        hidden = self.first(x).unflatten(1, (N_MEMBERS, -1)).transpose(0, 1)
        hidden = self.dropout(hidden.relu())
        hidden = self.dropout(torch.baddbmm(self.bias, hidden, self.weight).relu())
        return torch.baddbmm(self.last_bias, hidden, self.last_weight)


def _count_carried(layout):
    """How many columns are carried, and whether what is handed on is wider than that."""
    # Carriers take half of the coordinates at most: a wider hand-on takes its tail from the flow. So does
    # one without a label, whose columns have nothing but the likelihood to tell them what to hold.
    n_wanted = max(layout.n_handed_on, layout.n_target)
    n_others = layout.n_features - layout.n_sensitive
    wide = layout.n_target == 0 or (n_wanted > layout.n_target and 2 * n_wanted > n_others)
    return (layout.n_target if wide else n_wanted), wide


def is_exact(layout, start):
    """Whether the carriers of a :class:`CarrierFlow` are directions without variance.

    One with variance takes a part of every column with it, which blurs every step: smooth ramps then.
    """
    return 0 < _count_carried(layout)[0] <= start.n_null


class Dither(nn.Module):
    """Normal noise in training and, once fitted, waves so fast in ``source`` that they look like it.

    Not sines: these are often next to their crests, and what stands out there shows what it should hide.

    Parameters
    ----------
    n_source, n_columns : int
        Columns that make the waves, and columns that they are for.
    """

    size: torch.Tensor
    waves: torch.Tensor

    def __init__(self, n_source, n_columns):
        super().__init__()
        self.register_buffer("size", torch.zeros(n_columns))
        # Apart from each other and from 0: two equal waves cancel in a difference, a slow one gives its source away.
        steps = torch.rand(n_source, n_columns).argsort(dim=1)
        self.register_buffer("waves", FREQUENCY * (1 + FREQUENCY_STEP * steps))

    def forward(self, source):
        if self.training:
            return self.size * torch.randn(len(source), len(self.size), device=source.device)
        uniform = 0.5 + torch.asin(torch.sin(source @ self.waves)) / torch.pi
        return self.size * torch.special.ndtri(CUT + (1 - 2 * CUT) * uniform) / CUT_DEVIATION


class CarrierFlow(nn.Module):
    r"""The default invertible module.

    The linear image is split into the sensitive axes and the others; a learned rotation of the others
    singles out as many *carrier* coordinates ``c`` as columns are to be handed on, ``r`` are the rest::

        z_f = standardise(g(r) + exp(a) c) + d(r)   one affine coupling: what is handed on
        [z_s | u] = flow(r; z_f)                    affine couplings, conditional on z_f

    ``g`` is the mean of several networks, so that ``z_f`` can be any function of ``r``; the carrier keeps the map
    invertible. Where X has enough directions without any variance (one-hot tables have), these are the carriers: ``r``
    gives every column back exactly, and ``g`` works on the columns and their steps. Else the rotation is learned with
    everything else, and thereby finds the directions that the label can best do without; ``g`` works on ``r`` and on
    smooth ramps of the columns.

    With more than one column handed on ``d`` is noise in training and, afterwards, a wave so fast in ``r`` that it
    looks like noise (a dither): it hides what is finer, and the inverse stays exact. A single label column is left
    clear. Where the rest is handed on as well, ``u`` gets such waves of ``z_s``, if there are a label and attributes.
    Before training all of them are 0.

    Parameters
    ----------
    layout : LatentLayout
        Blocks of the latent.
    start : LinearStart
        The linear map in front.
    table : Table
        See :func:`describe_columns`.
    n_layers : int
        Number of couplings of the flow.
    hidden_size : int
        Width of all hidden layers, in the flow and in each of the networks behind g.
    """

    def __init__(self, layout, start, table, *, n_layers, hidden_size):
        super().__init__()
        n_features = layout.n_features
        n_others = n_features - layout.n_sensitive
        self.n_carried, self.wide = _count_carried(layout)
        self.n_target, self.n_sensitive = layout.n_target, layout.n_sensitive
        self.n_rest = n_features - self.n_carried
        n_free = n_others - self.n_carried
        self.exact = is_exact(layout, start)
        self.columns = ColumnFeatures(start, table, whole=self.exact)
        if self.n_carried:
            self.reflections = nn.Parameter(_last_axes(n_others, self.n_carried), requires_grad=not self.exact)
            self.scale = nn.Parameter(torch.full((self.n_carried,), CARRIER_SCALE))
            # torch cannot initialise a layer without inputs: where there is no rest, g reads a column of zeros.
            n_inputs = self.columns.n_features + (0 if self.exact else self.n_rest)
            self.n_padding = int(n_inputs == 0)
            n_inputs += self.n_padding
            self.shift = MemberNetworks(n_inputs, self.n_carried, hidden_size)
            if self.exact:
                self.straight = nn.Linear(n_inputs, self.n_carried, bias=False)
                nn.init.zeros_(self.straight.weight)
            self.standardise = nn.BatchNorm1d(self.n_carried, affine=False, momentum=0.05)
        self.n_skip = min(self.n_target, n_free)
        # The sensitive axes alone make the waves on a rest that is handed on. Without a label they would be all noise.
        n_tail = layout.n_handed_on - self.n_target if self.wide and self.n_target and self.n_sensitive else 0
        self.carried_dither = Dither(self.n_rest, self.n_carried) if self.n_carried > 1 else None
        self.tail_dither = Dither(self.n_sensitive, n_tail) if n_tail else None
        self.couplings = nn.ModuleList(_couplings(self.n_rest, self.n_sensitive, self.n_carried, n_layers, hidden_size))

    def _rotate(self, p, *, back=False):
        for v in self.reflections.flip(0) if back else self.reflections:
            p = p - (2 / (v @ v)) * (p @ v)[:, None] * v
        return p

    def _split(self, w):
        """The sensitive axes of ``w`` and the others."""
        first, last = self.n_target, self.n_target + self.n_sensitive
        return w[:, first:last], torch.cat([w[:, :first], w[:, last:]], dim=1)

    def _shift(self, s, free):
        """g(r) of every member: the label's linear axes, a linear map and a network of what r tells of the columns."""
        axes = nn.functional.pad(free[:, : self.n_skip], (0, self.n_carried - self.n_skip))
        features = [] if self.exact else [s, free, s.new_zeros(len(s), self.n_padding)]
        if self.columns.n_features:
            # Rotating the columns of the linear map costs less than rotating every row back. Without
            # gradient: a learned rotation learns from the linear path.
            with torch.no_grad():
                unmix_s, unmix = self._split(self.columns.unmix.T)
                unmix = self._rotate(unmix)[:, : -self.n_carried]
                features.append(self.columns(s @ unmix_s.T + free @ unmix.T))
        features = torch.cat(features, dim=1)
        if self.exact:
            axes = axes + self.straight(features)
        return self.shift(features) + axes

    def start_dither(self, strength):
        """Set the noise on what is handed on, if that is more than one column."""
        if self.carried_dither is not None:
            size = self.carried_dither.size
            size[:] = DITHER * strength
            size[: self.n_target] = LABEL_DITHER * strength if self.n_target > 1 else 0.0
        if self.tail_dither is not None:
            self.tail_dither.size[:] = DITHER * strength

    def _dither(self, r):
        return r.new_zeros(()) if self.carried_dither is None else self.carried_dither(r)

    def _dither_tail(self, rest, sign):
        """``[z_s | u]`` with the dither on the part of u that is handed on; a sign of -1 takes it away."""
        if self.tail_dither is None:
            return rest
        noise = sign * self.tail_dither(rest[:, : self.n_sensitive])
        return rest + nn.functional.pad(noise, (self.n_sensitive, rest.shape[1] - self.n_sensitive - noise.shape[1]))

    def _normaliser(self):
        norm: Any = self.standardise  # its running statistics are never None
        return norm.running_mean, torch.sqrt(norm.running_var + norm.eps)

    def carry(self, w):
        """The carried columns ``z_f`` and the rest ``r``; the log-determinant of this step per row."""
        members, r, log_det = self.carry_members(w)
        return members.mean(0), r, log_det

    def carry_members(self, w):
        """Like :meth:`carry`, with what every member alone would carry, shape (N_MEMBERS, n, n_carried)."""
        s, p = self._split(w)
        if not self.n_carried:
            return w[None, :, :0], torch.cat([s, p], dim=1), w.new_zeros(len(w))
        p = self._rotate(p)
        free, carrier = p[:, : -self.n_carried], p[:, -self.n_carried :]
        shifts = self._shift(s, free)
        shift = shifts.mean(0)
        step = MonotonicAffineTransform(shift, self.scale, slope=0.1)
        z = step(carrier)
        log_det = step.log_abs_det_jacobian(carrier, z).sum(dim=1)
        if self.training:
            scale = torch.sqrt(z.var(0, unbiased=False) + self.standardise.eps)
            z = self.standardise(z)
        else:
            mean, scale = self._normaliser()
            z = (z - mean) / scale
        log_det = log_det - scale.log().sum()
        r = torch.cat([s, free], dim=1)
        return z + self._dither(r) + (shifts - shift) / scale, r, log_det

    def disentangle(self, r, z_f):
        """The rest made into ``[z_s | u]`` given ``z_f``, with the log-determinant per row."""
        log_det = r.new_zeros(len(r))
        context = z_f if self.n_carried else None
        for coupling in self.couplings:
            r, step = coupling(context).call_and_ladj(r)
            log_det = log_det + step
        return r, log_det

    def _assemble(self, z_f, rest):
        z_s, u = rest[:, : self.n_sensitive], rest[:, self.n_sensitive :]
        return torch.cat([z_f[:, : self.n_target], z_s, z_f[:, self.n_target :], u], dim=1)

    def forward(self, w):
        """Latent and log-determinant: tensors of shape (n, n_features) and (n,)."""
        z_f, r, carried = self.carry(w)
        rest, disentangled = self.disentangle(r, z_f)
        return self._assemble(z_f, self._dither_tail(rest, 1)), carried + disentangled

    def inverse(self, z):
        """Linear image of the latent ``z``, both of shape (n, n_features)."""
        n_target, n_sensitive, n_carried = self.n_target, self.n_sensitive, self.n_carried
        z_s, tail = z[:, n_target : n_target + n_sensitive], z[:, n_target + n_sensitive :]
        z_f = torch.cat([z[:, :n_target], tail[:, : n_carried - n_target]], dim=1)[:, :n_carried]
        r = self._dither_tail(torch.cat([z_s, tail[:, max(n_carried - n_target, 0) :]], dim=1), -1)
        for coupling in reversed(self.couplings):
            r = coupling(z_f if n_carried else None).inv(r)
        s, free = r[:, :n_sensitive], r[:, n_sensitive:]
        if n_carried:
            mean, scale = self._normaliser()
            step = MonotonicAffineTransform(self._shift(s, free).mean(0), self.scale, slope=0.1)
            carrier = step.inv((z_f - self._dither(r)) * scale + mean)
            free = self._rotate(torch.cat([free, carrier], dim=1), back=True)
        return torch.cat([free[:, :n_target], s, free[:, n_target:]], dim=1)


def _start_at_zero(network):
    last = network[-1]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)


def _couplings(n_features, n_sensitive, n_context, n_layers, hidden_size):
    """Couplings that start at the identity: first the sensitive axes given the others, then halves in turn."""
    if n_features == 0:
        return
    for layer in range(n_layers):
        position = torch.arange(n_features)
        sensitive_first = layer == 0 and 0 < n_sensitive < n_features
        mask = position >= n_sensitive if sensitive_first else position % 2 == layer % 2
        if n_features == 1:
            mask = None
        coupling = GeneralCouplingTransform(
            n_features,
            n_context,
            mask=mask,
            univariate=partial(MonotonicAffineTransform, slope=MIN_SLOPE),
            hidden_features=(hidden_size, hidden_size),
        )
        hyper = getattr(coupling, "hyper", None)
        if hyper is not None:
            _start_at_zero(hyper)
        else:  # a single column without context has free parameters in place of a network
            for parameter in coupling.phi:
                nn.init.zeros_(parameter)
        yield coupling


class LatentFlow(nn.Module):
    """An invertible module behind the fixed linear map: ``forward(x) -> (z, log_det)``, ``inverse(z) -> x``."""

    def __init__(self, linear, core):
        super().__init__()
        self.linear = linear
        self.core = core

    def forward(self, x):
        w, log_det = self.linear(x)
        z, step = self.core(w)
        return z, log_det + step

    def inverse(self, z):
        return self.linear.inverse(self.core.inverse(z))

    def hand_on(self, x, columns):
        """The columns of the latent that are handed on; skips the rest of the flow where it can."""
        core = self.core
        if isinstance(core, CarrierFlow) and not core.wide:
            return core.carry(self.linear(x)[0])[0][:, : len(columns)]
        return self(x)[0][:, columns]
