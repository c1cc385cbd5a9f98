"""Trained counterfactuals: fit a map whose blocks flip what was asked and leave the rest, and move rows by it."""

import copy
from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import nn

from ._counterfactual_flow import BlockFlow, column_scale, linear_blocks
from ._counterfactual_rows import MoveRows, partners_of
from ._latent import row_chunks, sample_rows
from ._partner_map import PartnerMap
from ._readers import Judges, Panel, fit_panel, live_columns, score_loss
from ._revision import Revision
from ._steps import fit_steps

# Rows that train a map and its readers, and the share of them that only judges.
MAP_TRAINING_ROWS = 20_000
HELD_OUT_SHARE = 0.3
# Rows that are versions of each other, as a sample of rows tells, are held out by whole clusters of this many.
PARTNER_SAMPLE, N_CLUSTERS = 3000, 30
STEPS_PER_VARIABLE = 300
BATCH_ROWS = 256
LEARNING_RATE = 1e-3
# A row counts as flipped when its readers prefer the wanted group by so many nats.
MARGIN = 1.5
WEIGHTS = {"flip": 1.0, "kept": 3.0, "distance": 1.0, "likeness": 1.0, "partner": 20.0}
# A table's rows are revised afterwards, which undoes what is not needed: more may move.
TABLE_WEIGHTS = WEIGHTS | {"kept": 2.0, "distance": 0.1}
N_DIRECTIONS = 64
# The expected flip rate that is enough, and the gains tried on the held-out rows, up to which multiple of the distance of
# a shift of the group means.
ENOUGH_FLIPS = 0.95
GAINS = (0.6, 0.8, 1.0, 1.15, 1.3, 1.5, 1.7, 2.0, 2.4)
MOST_DISTANCE = 1.4
# A table's rows are revised for every gain tried: fewer gains, fewer rows, and no limit of the distance.
TABLE_GAINS = (0.8, 1.2, 1.7)
MOST_REVISED = 1500
# Where an attribute is not linear a shift of the means may be next to nothing, less than the first share of the rows'
# spread: a move may then be as long as the second one.
SHORT_SHIFT, LONGEST_MOVE = 0.15, 0.6


@dataclass(eq=False)
class CounterfactualMap:
    """A fitted map with its readers.

    Parameters
    ----------
    flow : BlockFlow
        In float64.
    panel : Panel
    movable, context : ndarray of int
        Columns that move, and columns that the map looks at and leaves as they are.
    gains : dict of str to float
        Factor of every variable's shift.
    improved : bool
        False if training did not improve on the closed form, which was then kept.
    scores : dict of str to dict
        Flip rate, consistency and relative distance on the held-out rows, by variable.
    """

    flow: BlockFlow
    panel: Panel
    movable: np.ndarray
    context: np.ndarray
    gains: dict[str, float]
    partner_maps: dict[str, PartnerMap] = field(default_factory=dict)
    improved: bool = False
    scores: dict[str, dict] = field(default_factory=dict)

    @property
    def quality(self):
        """Mean over the variables of what the gains were chosen by."""
        return float(np.mean([score["quality"] for score in self.scores.values()]))

    def move(self, E, moves, share=1.0):
        """Rows ``E`` after ``moves``, a list of (name, own codes, wanted codes), or after a ``share`` of the way."""
        out = np.array(E, dtype=np.float64)
        for name, own, wanted in moves:
            if name in self.partner_maps:
                there = self.partner_maps[name].move(out[:, self.movable], own, wanted)
                # What a partner map learns is the whole way; part of it lies on the straight line.
                out[:, self.movable] += share * (there - out[:, self.movable])
        moves = [move for move in moves if move[0] not in self.partner_maps]
        if not moves:
            return out
        E = out.copy()
        device = self.flow.mean.device
        with torch.inference_mode():
            for part in row_chunks(len(E), 2048):
                rows = torch.as_tensor(np.asarray(E[part], dtype=np.float64), device=device)
                context = rows[:, self.context] if len(self.context) else None
                z = self.flow(rows[:, self.movable], context)
                for name, own, wanted in moves:
                    codes = (torch.as_tensor(c[part], dtype=torch.float64, device=device) for c in (own, wanted))
                    z = self.flow.place(z, name, share * self.gains[name] * self.flow.shift(name, *codes))
                out[part, self.movable] = self.flow.inverse(z, context).cpu().numpy()
        return out

    def neutral_rest(self, E):
        """Rows ``E`` with everything but the blocks at its mean."""
        out = np.array(E, dtype=np.float64)
        device = self.flow.mean.device
        n_blocks = max(columns.stop for columns in self.flow.columns.values())
        with torch.inference_mode():
            for part in row_chunks(len(E), 2048):
                rows = torch.as_tensor(np.asarray(E[part], dtype=np.float64), device=device)
                context = rows[:, self.context] if len(self.context) else None
                z = self.flow(rows[:, self.movable], context)
                z[:, n_blocks:] = 0.0
                out[part, self.movable] = self.flow.inverse(z, context).cpu().numpy()
        return out


class MoveModel(nn.Module):
    """Moves a batch and lets the readers read it before and after."""

    movable: torch.Tensor
    context: torch.Tensor

    def __init__(self, flow, readers, rounding, movable, context):
        super().__init__()
        self.flow, self.readers, self.rounding = flow, readers, rounding
        self.register_buffer("movable", torch.as_tensor(movable))
        self.register_buffer("context", torch.as_tensor(context))

    def forward(self, x, variable, own, wanted):
        name = self.flow.names[int(variable[0])]
        context = x[:, self.context] if len(self.context) else None
        z = self.flow(x[:, self.movable], context)
        z = self.flow.place(z, name, self.flow.shift(name, own, wanted))
        moved = x.clone()
        moved[:, self.movable] = self.flow.inverse(z, context)
        if self.rounding is not None:
            moved = self.rounding(moved)
        with torch.no_grad():
            before = self.readers(x)
        return {"name": name, "moved": moved, "before": before, "after": self.readers(moved)}


class MoveLoss(nn.Module):
    """What a moved row should be: read as wanted, otherwise as before, near, and alike to the rows it joins."""

    def __init__(self, columns, spreads, scale, weights, generator):
        super().__init__()
        self.columns, self.weights, self.generator = columns, weights, generator
        for name, spread in spreads.items():
            self.register_buffer(f"spread_{list(columns).index(name)}", spread)
        self.register_buffer("scale", torch.as_tensor(1 / scale, dtype=torch.float32))

    def forward(self, outputs, batch):
        return sum(self.weights[name] * term for name, term in self.terms(outputs, batch).items())

    def terms(self, outputs, batch):
        """The terms by name; distances in the columns' own scale, relative to the spread of the rows."""
        x, moved, name = batch["x"] * self.scale, outputs["moved"] * self.scale, outputs["name"]
        rows = batch["known"]
        weight = rows / rows.sum().clamp(min=1)
        spread = ((x - x.mean(0)) ** 2).sum(1).mean().clamp(min=1e-12)
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
        towards = ((moved - batch["partner"] * self.scale) ** 2).sum(1)
        return {
            "flip": flip,
            "kept": kept,
            "distance": (((moved - x) ** 2).sum(1) * weight).sum() / spread,
            "likeness": (gap**2).mean() / ((x @ directions).var(0).mean() + 1e-12),
            "partner": (towards * batch["partner_weight"] * weight).sum() / spread,
        }


def _missed(scores, wanted):
    """By how much every reader's preference for the wanted code falls short, shape (n_readers, n)."""
    if scores.shape[-1] == 1:
        return score_loss(scores, wanted)
    codes = wanted.long().expand(len(scores), -1)[..., None]
    own = scores.gather(-1, codes)[..., 0]
    others = scores.scatter(-1, codes, -1e9).amax(-1)
    return nn.functional.relu(MARGIN - (own - others))


def fit_counterfactual_map(
    E, variables, codes, rows, *, fixed, rounding, device, generator, rng, n_layers, hidden_size, trained=True
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
    device : str
    generator : torch.Generator
    rng : numpy RandomState
    n_layers, hidden_size : int
    trained : bool
        False: the closed form alone.

    Returns
    -------
    CounterfactualMap
    """
    rows = sample_rows(rows, MAP_TRAINING_ROWS, rng)
    rows, held_out = _split(np.asarray(E[rows], dtype=np.float64), rows, variables, codes[rows], rng)
    X, told = np.asarray(E[rows], dtype=np.float64), codes[rows]
    live = live_columns(X)
    movable = np.setdiff1d(np.flatnonzero(live), fixed)
    context = np.intersect1d(np.flatnonzero(live), fixed)
    panel = fit_panel(X, variables, told, device=device, generator=generator, rng=rng)
    readouts = {name: weights[movable] for name, weights in panel.linear_weights().items()}
    scale = np.ones(X.shape[1])
    scale[movable] = column_scale(X[:, movable])
    partners = partners_of(X / scale, variables, told, rng)
    bench = _Bench(np.asarray(E[held_out], dtype=np.float64), codes[held_out], X, told, variables, scale, rounding, rng)
    best = None
    for along in ("score", "means"):
        start = linear_blocks(X[:, movable], variables, told, readouts, along)
        flow = BlockFlow(start, len(context), n_layers=n_layers, hidden_size=hidden_size).double()
        found = CounterfactualMap(flow, panel, movable, context, {variable.name: 1.0 for variable in variables})
        bench.calibrate(found)
        if best is None or found.quality > best.quality:
            best = found
    if trained:
        found = copy.deepcopy(best)
        with torch.no_grad():
            for name, where in zip(found.flow.names, found.flow.positions.values(), strict=True):
                centre = where.mean(0) if len(where) > 1 else 0.0
                where.copy_(centre + found.gains[name] * (where - centre))
        _train(found, MoveRows(X, told, variables, partners, rng), scale, rounding, device, generator)
        bench.calibrate(found)
        if found.quality > best.quality:
            best = found
            best.improved = True
    best.flow.to(device).eval().requires_grad_(False)
    if not len(context):
        for name in partners:
            best = _with_partners(best, name, bench, partners, E, variables, codes, np.r_[rows, held_out], scale, rng)
    return best


def _with_partners(best, name, bench, partners, E, variables, codes, rows, scale, rng):
    """The map ``best``, with a partner map for the variable ``name`` if that is better on the held-out rows."""
    fitted = PartnerMap.fit(bench.X_training[:, best.movable], partners[name][0])
    if fitted is None:
        return best
    found = copy.copy(best)
    found.partner_maps = best.partner_maps | {name: fitted}
    found.gains, found.scores = dict(best.gains), dict(best.scores)
    bench.calibrate(found)
    if found.scores[name]["quality"] <= best.scores[name]["quality"]:
        return best
    # Chosen: learned once more from all rows, as a search refits what it chose.
    X = np.asarray(E[rows], dtype=np.float64)
    again = partners_of(X / scale, variables, codes[rows], rng)
    if name in again:
        found.partner_maps[name] = PartnerMap.fit(X[:, best.movable], again[name][0]) or fitted
    return found


def _split(X, rows, variables, codes, rng):
    """Training and held-out rows; where rows are versions of each other, whole clusters of them stay together."""
    n_clusters = min(N_CLUSTERS, len(rows) // 10)
    scaled = (X - X.mean(0)) / column_scale(X)
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


def _train(result, dataset, scale, rounding, device, generator):
    linear = {name: buffer.clone() for name, buffer in result.flow.named_buffers(recurse=False)}
    readers = copy.deepcopy(result.panel.readers).to(device)
    with torch.no_grad():
        before = readers(torch.as_tensor(dataset.X, dtype=torch.float32, device=device))
    spreads = {
        name: before[..., columns].std(1).mean(-1).clamp(min=0.1).cpu() for name, columns in readers.columns.items()
    }
    model = MoveModel(result.flow.float(), readers, rounding, result.movable, result.context)
    fit_steps(
        model,
        MoveLoss(readers.columns, spreads, scale, WEIGHTS if rounding is None else TABLE_WEIGHTS, generator),
        dataset,
        n_steps=STEPS_PER_VARIABLE * len(readers.columns),
        batch_size=BATCH_ROWS,
        lr=LEARNING_RATE,
        device=device,
        generator=generator,
    )
    result.flow = model.flow.cpu().double()
    # Float32 rounded the fixed linear map, and its inverse no longer was one.
    for name, exact in linear.items():
        getattr(result.flow, name).copy_(exact)


class _Bench:
    """Held-out rows with judges of their own, on which a map's gains are chosen and maps are compared."""

    def __init__(self, X, codes, X_training, codes_training, variables, scale, rounding, rng):
        self.rounding = rounding
        self.X, self.codes, self.X_training, self.codes_training = X, codes, X_training, codes_training
        self.variables, self.scale = variables, scale
        # Each half is judged by judges of the other one: of their own rows they remember what they were.
        self.half = rng.permutation(len(X)) % 2
        self.judges = [Judges(X[self.half != k], variables, codes[self.half != k], rng) for k in range(2)]
        self.wanted = [_wanted(variable, code, rng) for variable, code in zip(variables, codes.T, strict=True)]
        self.partners = partners_of(X / scale, variables, codes, rng)
        self.spread = float(np.sqrt((((X - X.mean(0)) / scale) ** 2).sum(1).mean()))

    def calibrate(self, found):
        """Choose every variable's gain and note how good the map then is.

        Where rows have partners, the gain that comes nearest to them. Else the least gain that flips enough within
        the distance allowed, and where none does, that of the highest product of flip rate and consistency.
        """
        for k, variable in enumerate(self.variables):
            name, known = variable.name, ~np.isnan(self.codes[:, k])
            if self.rounding is not None:
                known &= np.cumsum(known) <= MOST_REVISED
            own, wanted, X = self.codes[known, k], self.wanted[k][known], self.X[known]
            if not len(X):
                continue
            shift = self._mean_shift(k, own, wanted)
            limit = MOST_DISTANCE * shift if shift > SHORT_SHIFT * self.spread else LONGEST_MOVE * self.spread
            before = {other.name: self._verdicts(X, other.name, known) for other in self.variables}
            tried = []
            for gain in GAINS if self.rounding is None else TABLE_GAINS:
                found.gains[name] = gain
                moved = self._moved(found, X, name, own, wanted)
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
                    table, _ = self.partners[name]
                    partner = table[known, wanted.astype(int)]
                    pairs = partner >= 0
                    score["to_partner"] = self._length(moved[pairs] - self.X[partner[pairs]]) / self.spread
                    score["quality"] = 1 - score["to_partner"]
                if self.rounding is not None or score["distance"] * self.spread <= limit or not tried:
                    tried.append(score)
            best = max(tried, key=lambda score: score["quality"])
            enough = [score for score in tried if score["flip_rate"] >= ENOUGH_FLIPS]
            if enough and name not in self.partners:
                best = enough[0]
            found.gains[name], found.scores[name] = best["gain"], best

    def _moved(self, found, X, name, own, wanted):
        """Rows as a user gets them: those of a table rounded and revised."""
        moved = found.move(X, [(name, own, wanted)])
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
        """How many rows flip: by the linear judges' probabilities, which know how noisy a variable is, and by the
        verdicts of the boosted ones, whose probabilities on few rows do not.
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

    def _length(self, step):
        return float(np.sqrt(((step / self.scale) ** 2).sum(1).mean()))

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
