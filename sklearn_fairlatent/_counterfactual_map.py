"""Maps for counterfactuals: trained ones, whose blocks flip what was asked and leave the rest, and transports."""

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans

from ._counterfactual_bench import Bench
from ._counterfactual_flow import BlockFlow, LinearBlocks, column_scale, fitted_effects, linear_blocks
from ._counterfactual_rows import MoveRows, partners_of
from ._counterfactual_training import train_map
from ._group_maps import partner_maps, transport_maps
from ._latent import row_chunks, sample_rows
from ._readers import Panel, fit_panel, live_columns
from ._row_matching import RowMatching, match_rows
from ._ruler import Ruler

# Rows that train a map and its readers, and the share of them that only judges.
MAP_TRAINING_ROWS = 30_000
HELD_OUT_SHARE = 0.3
# Rows that a transport learns from: an affine map needs no more.
TRANSPORT_ROWS = 10_000
# A transport needs rows of every group: where the sample has fewer, so many are added.
ROWS_OF_RARE = 300
# Rows that are versions of each other, as a sample of rows tells, are held out by whole clusters of this many.
PARTNER_SAMPLE, N_CLUSTERS = 3000, 30
# What a map between partners misses is noise to whoever reads the rows. This times the part of the way to held-out
# partners that is missed is by how much farther apart it sets the groups.
STRETCH = 0.35


@dataclass(eq=False)
class VariableMap:
    """How the rows move when one variable does.

    Attributes
    ----------
    mover : BlockFlow, GroupMaps, Slope or RowMatching
        What moves the rows, in float64.
    gain : float
        Factor of the shift of its block.
    kind : {"closed form", "trained", "partners", "transport", "matching"}
        Which candidate it is: the closed form, the same after training, or the affine maps between partners; or
        optimal transport, which has no rivals, and of a table rows that were seen.
    scores : dict of str to float
        What held-out judges say of it: expected flip rate, consistency, distance relative to the rows' spread, and
        the quality it was chosen by. Empty where nothing was to choose.
    """

    mover: Any
    kind: str
    gain: float = 1.0
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def gives_seen_rows(self):
        """Whether rows become rows that were seen: valid as they are, and with nothing between."""
        return isinstance(self.mover, RowMatching)

    def move(self, X, context, name, own, wanted, share=1.0):
        """Rows ``X`` after ``share`` of the way from the codes ``own`` to the codes ``wanted``."""
        mover = self.mover
        if not isinstance(mover, BlockFlow):
            # Such a map is the whole way; part of it lies on the straight line.
            there = mover.move(X, own, wanted)
            return there if share == 1 else X + share * (there - X)
        device, out = mover.mean.device, np.empty_like(X)
        with torch.inference_mode():
            for part in row_chunks(len(X), 2048):
                rows, looked_at, before, after = (
                    torch.as_tensor(values[part], dtype=torch.float64, device=device)
                    for values in (X, context, own, wanted)
                )
                looked_at = looked_at if looked_at.shape[1] else None
                z = mover(rows, looked_at)
                z = mover.place(z, name, share * self.gain * mover.shift(name, before, after))
                out[part] = mover.inverse(z, looked_at).cpu().numpy()
        return out


@dataclass(eq=False)
class CounterfactualMap:
    """What a fit learned about moving rows.

    Attributes
    ----------
    maps : dict of str to VariableMap
        By variable.
    panel : Panel
        The readers.
    movable, context : ndarray of int
        Encoded columns that move, and those that a map looks at and leaves as they are.
    start : LinearBlocks
        The closed form of the movable columns.
    """

    maps: dict[str, VariableMap]
    panel: Panel
    movable: np.ndarray
    context: np.ndarray
    start: LinearBlocks

    def move(self, E, moves, share=1.0):
        """Rows ``E`` after ``moves``, a list of (name, own codes, wanted codes) in this order, or part of the way."""
        out = np.array(E, dtype=np.float64)
        context = out[:, self.context]
        for name, own, wanted in moves:
            found = self.maps[name]
            # A row is matched by all its columns; the matching itself keeps those that may not change.
            columns = slice(None) if found.gives_seen_rows else self.movable
            out[:, columns] = found.move(out[:, columns], context, name, own, wanted, share)
        return out

    def neutral_rest(self, E):
        """Rows ``E`` with everything but the blocks of the closed form at its mean."""
        out, start = np.array(E, dtype=np.float64), self.start
        n_blocks = max(columns.stop for columns in start.columns.values())
        z = (out[:, self.movable] - start.mean) / start.scale @ start.inverse.T
        z[:, n_blocks:] = 0.0
        out[:, self.movable] = z @ start.matrix.T * start.scale + start.mean
        return out


def fit_counterfactual_map(
    E, variables, codes, rows, *, fixed, rounding, metric, device, generator, rng, n_layers, hidden_size
):
    """A map that moves the blocks of ``variables``, trained on some of ``rows`` and judged by others.

    Parameters
    ----------
    E : array of shape (n_samples, n_encoded)
    variables : list of Variable
    codes : ndarray of shape (n_samples, n_variables)
        NaN where missing.
    rows : ndarray of int
        Rows that may be used.
    fixed : ndarray of int
        Columns that may not move.
    rounding : torch.nn.Module or None
        What the decoder does to a row, with a gradient.
    metric : ndarray of shape (n_encoded, n_encoded) or None
        By which the length of moves is measured; None: by the units of :func:`column_scale`.
    device : str
    generator : torch.Generator
    rng : numpy RandomState
    n_layers, hidden_size : int

    Returns
    -------
    CounterfactualMap
    """
    rows = sample_rows(rows, MAP_TRAINING_ROWS, rng)
    everyone, codes = np.asarray(E[rows], dtype=np.float64), codes[rows]
    rows, held_out = _split(everyone, variables, codes, rng)
    X, told = everyone[rows], codes[rows]
    found, ruler = _started(X, told, variables, fixed, device, generator, rng, metric)
    scale = ruler.scale
    start, movable, context = found.start, found.movable, found.context
    partners = partners_of(X / scale, variables, told, rng)
    bench = Bench(everyone[held_out], codes[held_out], X, told, variables, ruler, rounding, rng)
    flow = BlockFlow(
        start,
        len(context),
        context_mean=X[:, context].mean(0),
        context_scale=scale[context],
        n_layers=n_layers,
        hidden_size=hidden_size,
    ).double()
    for k, variable in enumerate(variables):
        candidates = [VariableMap(flow, "closed form")]
        if variable.name in partners and not len(context):
            fitted = partner_maps(X[:, movable], partners[variable.name][0])
            if fitted is not None:
                stretch = STRETCH * bench.missed(found, k, VariableMap(fitted, "partners"))
                fitted = partner_maps(X[:, movable], partners[variable.name][0], stretch)
                candidates.append(VariableMap(fitted, "partners"))
        best = bench.best_of(found, k, candidates)
        if best.kind == "partners":
            # Chosen: learned once more from all rows, as a search refits what it chose.
            order = np.r_[rows, held_out]
            X_all = everyone[order]
            again = partners_of(X_all / scale, [variable], codes[order][:, [k]], rng)
            if variable.name in again:
                best.mover = partner_maps(X_all[:, movable], again[variable.name][0], stretch) or best.mover
        else:
            candidate = VariableMap(copy.deepcopy(best.mover).cpu().requires_grad_(True), "trained")
            with torch.no_grad():
                where = candidate.mover.positions_of(variable.name)
                centre = where.mean(0) if len(where) > 1 else 0.0
                where.copy_(centre + best.gain * (where - centre))
            dataset = MoveRows(X, told, variables, partners, rng, k)
            train_map(candidate, variable.name, found, dataset, ruler, rounding, device, generator)
            best = bench.best_of(found, k, [best, candidate])
        if isinstance(best.mover, BlockFlow):
            best.mover.to(device).eval().requires_grad_(False)
        found.maps[variable.name] = best
    return found


def fit_transport_map(E, variables, codes, rows, *, columns, fixed, device, generator, rng):
    """Optimal transport between the groups of every variable, from some of ``rows``.

    Parameters
    ----------
    columns : list of (slice, bool) or None
        Of a table the encoded columns of every column, and whether they are one-hot: its rows are matched.
    E, variables, codes, rows, fixed, device, generator, rng
        As in :func:`fit_counterfactual_map`.

    Returns
    -------
    CounterfactualMap
    """
    rows = _some_of_all(rows, variables, codes, rng)
    X, told = np.asarray(E[rows], dtype=np.float64), codes[rows]
    found, ruler = _started(X, told, variables, fixed, device, generator, rng)
    for k, variable in enumerate(variables):
        if columns is not None and variable.kind == "groups":
            maps, kind = match_rows(X, variables, told, k, found.panel, columns, fixed, rng), "matching"
        else:
            scale = ruler.scale[found.movable]
            maps, kind = transport_maps(X[:, found.movable], variables, told, k, scale), "transport"
        found.maps[variable.name] = VariableMap(maps, kind)
    return found


def _some_of_all(rows, variables, codes, rng):
    """A sample of ``rows``, and further ones of groups that it has few of, so that none is missing."""
    sample = sample_rows(rows, TRANSPORT_ROWS, rng)
    parts = [sample]
    for variable, code in zip(variables, codes.T, strict=True):
        for group in range(variable.n_groups or 0):
            if len(sample) < len(rows) and (code[sample] == group).sum() < ROWS_OF_RARE:
                parts.append(sample_rows(rows[code[rows] == group], ROWS_OF_RARE, rng))
    return np.unique(np.concatenate(parts))


def _started(X, told, variables, fixed, device, generator, rng, metric=None):
    """A map with readers and the closed form that moves nothing yet, and what measures moves."""
    live = live_columns(X)
    movable = np.setdiff1d(np.flatnonzero(live), fixed)
    context = np.intersect1d(np.flatnonzero(live), fixed)
    if len(fixed) and len(movable) < len(variables):
        raise ValueError(
            f"immutable_features leaves {len(movable)} encoded column(s) that vary, too few to move "
            f"{[variable.name for variable in variables]}. Leave some columns out of immutable_features."
        )
    panel = fit_panel(X, variables, told, device=device, generator=generator, rng=rng)
    readouts = {name: weights[movable] for name, weights in panel.linear_weights().items()}
    scale = np.ones(X.shape[1])
    scale[live] = column_scale(X[:, live])
    start = linear_blocks(
        X[:, movable], variables, told, readouts, None if metric is None else metric[np.ix_(movable, movable)]
    )
    return CounterfactualMap({}, panel, movable, context, start), Ruler.of(scale, metric)


def _split(X, variables, codes, rng):
    """Training and held-out rows; where rows are versions of each other, whole clusters of them stay together."""
    rows = np.arange(len(X))
    n_clusters = min(N_CLUSTERS, len(rows) // 10)
    # Versions of a row differ by where their groups lie.
    scaled = fitted_effects((X - X.mean(0)) / column_scale(X), variables, codes)[-1]
    some = rng.permutation(len(rows))[:PARTNER_SAMPLE]
    if n_clusters < 4 or not partners_of(scaled[some], variables, codes[some], rng):
        order = rng.permutation(len(rows))
        n_held_out = int(len(rows) * HELD_OUT_SHARE)
        return rows[np.sort(order[n_held_out:])], rows[np.sort(order[:n_held_out])]
    seed = int(rng.randint(2**31 - 1))
    cluster = KMeans(n_clusters, n_init=1, random_state=seed).fit_predict(scaled)
    held_out = np.zeros(len(rows), dtype=bool)
    for k in rng.permutation(n_clusters):
        if held_out.mean() >= HELD_OUT_SHARE:
            break
        # The largest cluster may hold most rows.
        if (held_out | (cluster == k)).mean() <= 0.5:
            held_out |= cluster == k
    return rows[~held_out], rows[held_out]
