"""Maps for counterfactuals: trained ones, whose blocks flip what was asked and leave the rest, and transports."""

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import nn

from ._counterfactual_flow import BlockFlow, LinearBlocks, column_scale, fitted_effects, linear_blocks
from ._counterfactual_rows import MoveRows, partners_of
from ._group_maps import partner_maps, transport_maps
from ._latent import row_chunks, sample_rows
from ._readers import Judges, Panel, fit_panel, live_columns, score_loss
from ._revision import Revision
from ._row_matching import RowMatching, match_rows
from ._ruler import Ruler
from ._steps import fit_steps

# Rows that train a map and its readers, and the share of them that only judges.
MAP_TRAINING_ROWS = 30_000
HELD_OUT_SHARE = 0.3
# Rows that a transport learns from: an affine map needs no more.
TRANSPORT_ROWS = 10_000
# A transport needs rows of every group: where the sample has fewer, so many are added.
ROWS_OF_RARE = 300
# Rows that are versions of each other, as a sample of rows tells, are held out by whole clusters of this many.
PARTNER_SAMPLE, N_CLUSTERS = 3000, 30
N_STEPS = 300
BATCH_ROWS = 256
LEARNING_RATE = 1e-3
# A row counts as flipped when its readers prefer the wanted group by so many nats.
MARGIN = 1.5
WEIGHTS = {"flip": 1.0, "kept": 3.0, "distance": 1.0, "likeness": 1.0, "partner": 20.0}
# A table's rows are revised afterwards, which undoes what is not needed: more may move.
TABLE_WEIGHTS = WEIGHTS | {"kept": 2.0, "distance": 0.1}
N_DIRECTIONS = 64
# The expected flip rate that is enough, and the gains tried on the held-out rows, up to which multiple of the distance
# of a shift of the group means.
ENOUGH_FLIPS = 0.95
GAINS = (0.6, 0.8, 1.0, 1.15, 1.3, 1.5, 1.7, 2.0, 2.4)
MOST_DISTANCE = 1.4
# What a map between partners misses is noise to whoever reads the rows. This times the part of the way to held-out
# partners that is missed is by how much farther apart it sets the groups.
STRETCH = 0.35
# A table's rows are revised for every gain tried: fewer gains, fewer rows, and no limit of the distance.
TABLE_GAINS = (0.8, 1.2, 1.7)
MOST_REVISED = 1500
# Where an attribute is not linear a shift of the means may be next to nothing, less than the first share of the rows'
# spread: a move may then be as long as the second one.
SHORT_SHIFT, LONGEST_MOVE = 0.15, 0.6


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


class MoveModel(nn.Module):
    """Moves the variable ``name`` of a batch and lets the readers read it before and after."""

    movable: torch.Tensor
    context: torch.Tensor

    def __init__(self, flow, name, readers, rounding, movable, context):
        super().__init__()
        self.flow, self.name, self.readers, self.rounding = flow, name, readers, rounding
        self.register_buffer("movable", torch.as_tensor(movable))
        self.register_buffer("context", torch.as_tensor(context))

    def forward(self, x, own, wanted):
        context = x[:, self.context] if len(self.context) else None
        z = self.flow(x[:, self.movable], context)
        z = self.flow.place(z, self.name, self.flow.shift(self.name, own, wanted))
        moved = x.clone()
        moved[:, self.movable] = self.flow.inverse(z, context)
        if self.rounding is not None:
            moved = self.rounding(moved)
        with torch.no_grad():
            before = self.readers(x)
        return {"name": self.name, "moved": moved, "before": before, "after": self.readers(moved)}


class MoveLoss(nn.Module):
    """What a moved row should be: read as wanted, otherwise as before, near, and alike to the rows it joins."""

    def __init__(self, columns, spreads, ruler, weights, generator):
        super().__init__()
        self.columns, self.weights, self.generator = columns, weights, generator
        for name, spread in spreads.items():
            self.register_buffer(f"spread_{list(columns).index(name)}", spread)
        self.register_buffer("scale", torch.as_tensor(1 / ruler.scale, dtype=torch.float32))
        root = None if ruler.root is None else torch.as_tensor(ruler.root, dtype=torch.float32)
        self.register_buffer("root", root)

    def forward(self, outputs, batch):
        return sum(self.weights[name] * term for name, term in self.terms(outputs, batch).items())

    def terms(self, outputs, batch):
        """The terms by name; distances in the columns' own scale, relative to the spread of the rows."""
        x, moved, name = batch["x"] * self.scale, outputs["moved"] * self.scale, outputs["name"]
        rows = batch["known"]
        weight = rows / rows.sum().clamp(min=1)
        spread = self._squared(x - x.mean(0)).mean().clamp(min=1e-12)
        kept = x.new_zeros(())
        for k, (other, columns) in enumerate(self.columns.items()):
            before, after = outputs["before"][..., columns], outputs["after"][..., columns]
            if other == name:
                flip = (_missed(after, batch["wanted"]).mean(0) * weight).sum()
            else:
                change = 0.5 * ((after - before) / getattr(self, f"spread_{k}")[:, None, None]) ** 2
                kept = kept + change.mean()
                if after.shape[-1] > 1:
                    kept = kept + nn.functional.kl_div(
                        after.log_softmax(-1), before.log_softmax(-1), log_target=True, reduction="none"
                    ).sum(-1).mean()  # fmt: skip
        directions = torch.randn(x.shape[1], N_DIRECTIONS, generator=self.generator).to(x.device)
        directions = directions / directions.norm(dim=0)
        gap = (moved @ directions).sort(0).values - (batch["real"] * self.scale @ directions).sort(0).values
        towards = self._squared(moved - batch["partner"] * self.scale)
        return {
            "flip": flip,
            "kept": kept,
            "distance": (self._squared(moved - x) * weight).sum() / spread,
            "likeness": (gap**2).mean() / ((x @ directions).var(0).mean() + 1e-12),
            "partner": (towards * batch["partner_weight"] * weight).sum() / spread,
        }

    def _squared(self, step):
        """Squared lengths of steps in the columns' own scale."""
        return ((step if self.root is None else step @ self.root) ** 2).sum(1)


def _missed(scores, wanted):
    """By how much every reader's preference for the wanted code falls short, shape (n_readers, n)."""
    if scores.shape[-1] == 1:
        return score_loss(scores, wanted)
    codes = wanted.long().expand(len(scores), -1)[..., None]
    own = scores.gather(-1, codes)[..., 0]
    others = scores.scatter(-1, codes, -1e9).amax(-1)
    return nn.functional.relu(MARGIN - (own - others))


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
        By which the length of moves is measured; None: by the columns' standard deviations.
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
    bench = _Bench(everyone[held_out], codes[held_out], X, told, variables, ruler, rounding, rng)
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
            _train(candidate, variable.name, found, dataset, ruler, rounding, device, generator)
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
            maps, kind = (
                transport_maps(X[:, found.movable], variables, told, k, ruler.scale[found.movable]),
                "transport",
            )
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


def _train(candidate, name, found, dataset, ruler, rounding, device, generator):
    """Train the flow of ``candidate`` in place, in float32."""
    linear = {key: buffer.clone() for key, buffer in candidate.mover.named_buffers(recurse=False)}
    readers = copy.deepcopy(found.panel.readers).to(device)
    with torch.no_grad():
        before = readers(torch.as_tensor(dataset.X, dtype=torch.float32, device=device))
    spreads = {
        other: before[..., columns].std(1).mean(-1).clamp(min=0.1).cpu() for other, columns in readers.columns.items()
    }
    # Of both, copies: they go to the device, the originals are also read on the CPU.
    model = MoveModel(candidate.mover.float(), name, readers, copy.deepcopy(rounding), found.movable, found.context)
    fit_steps(
        model,
        MoveLoss(readers.columns, spreads, ruler, WEIGHTS if rounding is None else TABLE_WEIGHTS, generator),
        dataset,
        n_steps=N_STEPS,
        batch_size=BATCH_ROWS,
        lr=LEARNING_RATE,
        device=device,
        generator=generator,
    )
    candidate.mover = model.flow.cpu().double()
    # Float32 rounded the fixed linear map, and its inverse no longer was one.
    for key, exact in linear.items():
        getattr(candidate.mover, key).copy_(exact)


class _Bench:
    """Held-out rows with judges of their own, on which a map's gains are chosen and maps are compared."""

    def __init__(self, X, codes, X_training, codes_training, variables, ruler, rounding, rng):
        self.rounding, self.ruler = rounding, ruler
        self.X, self.codes, self.X_training, self.codes_training = X, codes, X_training, codes_training
        self.variables = variables
        # Each half is judged by judges of the other one: of their own rows they remember what they were.
        self.half = rng.permutation(len(X)) % 2
        self.judges = [Judges(X[self.half != k], variables, codes[self.half != k], rng) for k in range(2)]
        self.wanted = [_wanted(variable, code, rng) for variable, code in zip(variables, codes.T, strict=True)]
        self.partners = partners_of(X / ruler.scale, variables, codes, rng)
        self.spread = self._length(X - X.mean(0))

    def best_of(self, found, k, candidates):
        """The best candidate for the ``k``-th variable, every one with its best gain."""
        for candidate in candidates:
            self._calibrate(found, k, candidate)
        return max(candidates, key=lambda candidate: candidate.scores["quality"])

    def missed(self, found, k, candidate):
        """The part of the way to their partners that the rows miss after the candidate's move."""
        name, known = self.variables[k].name, ~np.isnan(self.codes[:, k])
        if name not in self.partners:
            return 0.0
        X, own, wanted = self.X[known], self.codes[known, k], self.wanted[k][known]
        moved = self._moved(found, candidate, X, name, own, wanted)
        way = self._to_partner(name, X, known, wanted)
        return min(1.0, self._to_partner(name, moved, known, wanted) / max(way, 1e-12))

    def _calibrate(self, found, k, candidate):
        """Choose the gain of a candidate and note how good it then is.

        Where rows have partners, the gain that comes nearest to them. Else the least gain that flips enough within
        the distance allowed, and where none does, that of the highest product of flip rate and consistency.
        """
        variable = self.variables[k]
        name, known = variable.name, ~np.isnan(self.codes[:, k])
        if self.rounding is not None:
            known &= np.cumsum(known) <= MOST_REVISED
        own, wanted, X = self.codes[known, k], self.wanted[k][known], self.X[known]
        candidate.scores = {"quality": 0.0}
        if not len(X):
            return
        shift = self._mean_shift(k, own, wanted)
        limit = MOST_DISTANCE * shift if shift > SHORT_SHIFT * self.spread else LONGEST_MOVE * self.spread
        before = {other.name: self._verdicts(X, other.name, known) for other in self.variables}
        gains = (1.0,) if candidate.kind == "partners" else GAINS if self.rounding is None else TABLE_GAINS
        tried = []
        for gain in gains:
            candidate.gain = gain
            moved = self._moved(found, candidate, X, name, own, wanted)
            score = {"gain": gain, "distance": self._length(moved - X) / self.spread}
            score["flip_rate"] = self._expected_flips(variable, moved, known, wanted)
            kept = [
                _agreement(other, self._verdicts(moved, other.name, known), before[other.name])
                for other in self.variables
                if other is not variable
            ]
            score["consistency"] = float(np.mean(kept or [1.0]))
            score["quality"] = score["flip_rate"] * score["consistency"]
            if name in self.partners:
                score["to_partner"] = self._to_partner(name, moved, known, wanted) / self.spread
                score["quality"] = 1 - score["to_partner"]
            if self.rounding is not None or score["distance"] * self.spread <= limit or not tried:
                tried.append(score)
        best = max(tried, key=lambda score: score["quality"])
        enough = [score for score in tried if score["flip_rate"] >= ENOUGH_FLIPS]
        if enough and name not in self.partners:
            best = enough[0]
        candidate.gain, candidate.scores = best.pop("gain"), best

    def _moved(self, found, candidate, X, name, own, wanted):
        """Rows as a user gets them: those of a table rounded and revised."""
        moved = X.copy()
        moved[:, found.movable] = candidate.move(X[:, found.movable], X[:, found.context], name, own, wanted)
        if self.rounding is None:
            return moved
        with torch.inference_mode():
            moved = self.rounding(torch.as_tensor(moved, dtype=torch.float32)).double().numpy()
        return Revision(found.panel, self.rounding.columns).revise(X, [moved], {name: wanted})

    def _verdicts(self, X, name, known):
        """Codes that the judges tell of ``X``, the rows where ``known``: shape (n_judges, n)."""
        half = self.half[known]
        told = np.empty((len(self.judges[0].fitted[name]), len(X)))
        for k, judges in enumerate(self.judges):
            if (half == k).any():
                told[:, half == k] = judges.verdicts(X[half == k], name)
        return told

    def _expected_flips(self, variable, X, known, wanted):
        """Share of rows that flip, the mean of the judges.

        Of the linear ones the probability counts, which knows how noisy a variable is; of the boosted ones the
        verdict, since on few rows their probabilities know little.
        """
        if variable.kind == "continuous":
            return _agreement(variable, self._verdicts(X, variable.name, known), wanted)
        half = self.half[known]
        told = [
            judges.flipped(X[half == k], variable.name, wanted[half == k])
            for k, judges in enumerate(self.judges)
            if (half == k).any()
        ]
        return float(np.concatenate(told, axis=1).mean())

    def _to_partner(self, name, moved, known, wanted):
        """How far the rows ``moved``, those where ``known``, are from their partners in the groups ``wanted``."""
        partner = self.partners[name][0][known, wanted.astype(int)]
        pairs = partner >= 0
        return self._length(moved[pairs] - self.X[partner[pairs]]) if pairs.any() else 0.0

    def _length(self, step):
        return float(np.sqrt((self.ruler.measured(step) ** 2).sum(1).mean()))

    def _mean_shift(self, k, own, wanted):
        """Root mean square length of the shift of the group means."""
        variable, code = self.variables[k], self.codes_training[:, k]
        known = ~np.isnan(code)
        X, code = self.X_training[known], code[known]
        if variable.kind == "continuous":
            centred = code - code.mean()
            return self._length((wanted - own)[:, None] * (centred @ X / (centred @ centred)))
        overall = X.mean(0)
        means = [X[code == g].mean(0) if (code == g).any() else overall for g in range(variable.n_groups)]
        return self._length(np.stack(means)[wanted.astype(int)] - np.stack(means)[own.astype(int)])


def _wanted(variable, code, rng):
    """Another code for every row: a random other group, or another row's number; NaN where the own one is missing."""
    if variable.kind == "continuous":
        known = code[~np.isnan(code)]
        return np.where(np.isnan(code), np.nan, rng.choice(known, len(code)) if len(known) else code)
    return (code + rng.randint(1, variable.n_groups, size=len(code))) % variable.n_groups


def _agreement(variable, told, wanted):
    """Share of rows that the judges read as wanted, mean of the judges; of numbers one less the mean error in sd."""
    if variable.kind == "continuous":
        return float(np.clip(1 - np.abs(told - wanted).mean(), 0, 1))
    return float((told == wanted).mean())
