"""The invertible module: a linear map, one carrier coupling for what is handed on, and a flow for the rest."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.transforms import MonotonicAffineTransform

from ._latent import row_chunks

# Lower bound of every slope: with 0.3 a float64 round trip keeps 12 digits at input scale 100, with 0.05 seven.
MIN_SLOPE = 0.3

# Piecewise-linear features of the columns, all columns together; more columns get fewer knots each.
MAX_PIECES = 256
# Rows that tell which columns take more than two values.
GLANCE_ROWS = 2000
# g is the mean of this many networks, each with a label loss of its own, and with this share of hidden units dropped
# in training (docs/design_notes.md, "A mean of four networks").
N_MEMBERS = 4
DROPOUT = 0.2
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


class PiecewiseFeatures(nn.Module):
    """Piecewise-linear encoding of the input columns.

    A column becomes one ramp per interval between its knots, from -0.5 to 0.5 (Gorishniy et al. 2022,
    "On embeddings for numerical features in tabular deep learning", eq. 1). It lets a small network follow
    steps and spikes (capital gains, ages) that it would take thousands of updates to learn.

    ``unmix`` (n_features, n_columns) and ``mean`` give the columns back from their linear image.
    """

    def __init__(self, start, knots):
        super().__init__()
        columns = [column for column, _ in knots]
        low = np.concatenate([edges[:-1] for _, edges in knots]) if knots else np.zeros(0)
        high = np.concatenate([edges[1:] for _, edges in knots]) if knots else np.ones(0)
        column_of = np.repeat(np.arange(len(knots)), [len(edges) - 1 for _, edges in knots]).astype(np.int64)
        self.register_buffer("mean", torch.as_tensor(start.mean[columns]), persistent=False)
        self.register_buffer("unmix", torch.as_tensor(start.inverse[:, columns]), persistent=False)
        self.register_buffer("low", torch.as_tensor(low), persistent=False)
        self.register_buffer("slope", torch.as_tensor(1 / (high - low)), persistent=False)
        self.register_buffer("column_of", torch.as_tensor(column_of), persistent=False)
        self.n_features = len(low)

    def forward(self, columns):
        ramps = (columns.index_select(1, self.column_of) - self.low).mul_(self.slope)
        return ramps.clamp_(0, 1).sub_(0.5)


def _spaced(knots):
    """Distinct knots, none closer than float32 can resolve on the column's range."""
    knots = np.unique(knots)
    gap = 1e-6 * (knots[-1] - knots[0])
    kept = [knots[0]]
    for knot in knots[1:-1]:
        if knot - kept[-1] > gap and knots[-1] - knot > gap:
            kept.append(knot)
    return np.array([*kept, knots[-1]])


def choose_knots(X, rows):
    """Knots of the columns that take more than two values, from at most ``len(rows)`` rows of X.

    Half of the knots are quantiles of the rows, half quantiles of the distinct values, since a
    column that is mostly zero has its information in the rest.

    Returns
    -------
    list of (int, ndarray)
        Column and its increasing knots; empty if there are too many columns for at least four pieces each.
    """
    glance = X[rows[:: max(1, len(rows) // GLANCE_ROWS)]]
    continuous = [j for j in range(glance.shape[1]) if len(np.unique(glance[:, j])) > 2]
    n_pieces = min(32, MAX_PIECES // max(1, len(continuous)))
    if not continuous or n_pieces < 4:
        return []
    sample = np.concatenate([X[rows[part]][:, continuous] for part in row_chunks(len(rows))]).astype(np.float64)
    distinct = [np.unique(column) for column in sample.T]
    grid = np.linspace(0, 1, n_pieces // 2 + 1)
    return [
        (j, _spaced(np.r_[np.quantile(column, grid), np.quantile(values, grid)]))
        for j, column, values in zip(continuous, sample.T, distinct, strict=True)
    ]


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
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x):
        """Outputs of every member, shape (N_MEMBERS, n, n_outputs)."""
        hidden = self.first(x).unflatten(1, (N_MEMBERS, -1)).transpose(0, 1)
        hidden = self.dropout(hidden.relu())
        hidden = self.dropout(torch.baddbmm(self.bias, hidden, self.weight).relu())
        return torch.baddbmm(self.last_bias, hidden, self.last_weight)


class CarrierFlow(nn.Module):
    r"""The default invertible module.

    The linear image is split into the sensitive axes and the others; a learned rotation of the others
    singles out as many *carrier* coordinates ``c`` as columns are to be handed on, ``r`` are the rest::

        z_f = standardise(g(r) + exp(a) c)          one affine coupling: what is handed on
        [z_s | u] = flow(r; z_f)                    affine couplings, conditional on z_f

    ``g`` is the mean of several networks, so that ``z_f`` can be any function of ``r``; the carrier keeps the map
    invertible. The rotation is learned with everything else, and thereby finds the directions that the label
    can best do without (the null directions of one-hot tables cost nothing at all).

    Parameters
    ----------
    layout : LatentLayout
        Blocks of the latent.
    start : LinearStart
        The linear map in front, for the piecewise-linear features.
    knots : list of (int, ndarray)
        See :func:`choose_knots`.
    n_layers : int
        Number of couplings of the flow.
    hidden_size : int
        Width of all hidden layers, in the flow and in each of the networks behind g.
    """

    def __init__(self, layout, start, knots, *, n_layers, hidden_size):
        super().__init__()
        n_features = layout.n_features
        n_others = n_features - layout.n_sensitive
        # Carriers take half of the coordinates at most: a wider hand-on takes its tail from the flow. So does
        # one without a label, whose columns have nothing but the likelihood to tell them what to hold.
        n_wanted = max(layout.n_handed_on, layout.n_target)
        self.wide = layout.n_target == 0 or (n_wanted > layout.n_target and 2 * n_wanted > n_others)
        self.n_carried = layout.n_target if self.wide else n_wanted
        self.n_target, self.n_sensitive = layout.n_target, layout.n_sensitive
        self.n_rest = n_features - self.n_carried
        n_free = n_others - self.n_carried
        self.pieces = PiecewiseFeatures(start, knots)
        if self.n_carried:
            self.reflections = nn.Parameter(_last_axes(n_others, self.n_carried))
            self.scale = nn.Parameter(torch.full((self.n_carried,), CARRIER_SCALE))
            # torch cannot initialise a layer without inputs: where there is no rest, g reads a column of zeros.
            self.n_padding = int(self.n_rest + self.pieces.n_features == 0)
            n_inputs = self.n_rest + self.pieces.n_features + self.n_padding
            self.shift = MemberNetworks(n_inputs, self.n_carried, hidden_size)
            self.standardise = nn.BatchNorm1d(self.n_carried, affine=False, momentum=0.05)
        self.n_skip = min(self.n_carried, n_free)
        self.couplings = nn.ModuleList(
            _couplings(self.n_rest, self.n_sensitive, self.n_carried, n_layers, hidden_size)
        )

    def _rotate(self, p, *, back=False):
        for v in self.reflections.flip(0) if back else self.reflections:
            p = p - (2 / (v @ v)) * (p @ v)[:, None] * v
        return p

    def _split(self, w):
        """The sensitive axes of ``w`` and the others."""
        first, last = self.n_target, self.n_target + self.n_sensitive
        return w[:, first:last], torch.cat([w[:, :first], w[:, last:]], dim=1)

    def _shift(self, s, free):
        """g(r) of every member: the label's linear axes plus a network on r and the columns as far as r tells them."""
        hidden = [s, free, s.new_zeros(len(s), self.n_padding)]
        if self.pieces.n_features:
            # Rotating the few columns of the linear map costs less than rotating every row back. Without
            # gradient: the rotation learns from the linear path.
            with torch.no_grad():
                unmix_s, unmix = self._split(self.pieces.unmix.T)
                unmix = self._rotate(unmix)[:, : -self.n_carried]
                hidden.append(self.pieces(s @ unmix_s.T + free @ unmix.T + self.pieces.mean))
        shift = self.shift(torch.cat(hidden, dim=1))
        return shift + nn.functional.pad(free[:, : self.n_skip], (0, self.n_carried - self.n_skip))

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
        return z + (shifts - shift) / scale, torch.cat([s, free], dim=1), log_det

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
        return self._assemble(z_f, rest), carried + disentangled

    def inverse(self, z):
        """Linear image of the latent ``z``, both of shape (n, n_features)."""
        n_target, n_sensitive, n_carried = self.n_target, self.n_sensitive, self.n_carried
        z_s, tail = z[:, n_target : n_target + n_sensitive], z[:, n_target + n_sensitive :]
        z_f = torch.cat([z[:, :n_target], tail[:, : n_carried - n_target]], dim=1)[:, :n_carried]
        r = torch.cat([z_s, tail[:, max(n_carried - n_target, 0) :]], dim=1)
        for coupling in reversed(self.couplings):
            r = coupling(z_f if n_carried else None).inv(r)
        s, free = r[:, :n_sensitive], r[:, n_sensitive:]
        if n_carried:
            mean, scale = self._normaliser()
            step = MonotonicAffineTransform(self._shift(s, free).mean(0), self.scale, slope=0.1)
            carrier = step.inv(z_f * scale + mean)
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
