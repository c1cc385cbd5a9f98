"""Training of a counterfactual map: moved rows against readers, near and alike to the rows they join."""

import copy

import torch
from torch import nn

from ._readers import score_loss
from ._steps import fit_steps

N_STEPS = 300
BATCH_ROWS = 256
LEARNING_RATE = 1e-3
# A row counts as flipped when its readers prefer the wanted group by so many nats.
MARGIN = 1.5
WEIGHTS = {"flip": 1.0, "kept": 3.0, "distance": 1.0, "likeness": 1.0, "partner": 20.0}
# A table's rows are revised afterwards, which undoes what is not needed: more may move.
TABLE_WEIGHTS = WEIGHTS | {"kept": 2.0, "distance": 0.1}
N_DIRECTIONS = 64


def train_map(candidate, name, found, dataset, ruler, rounding, device, generator):
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
        """The terms by name; distances as the ruler measures, relative to the spread of the rows."""
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
        """Squared lengths, as the ruler measures, of steps in the columns' own scale."""
        return ((step if self.root is None else step @ self.root) ** 2).sum(1)


def _missed(scores, wanted):
    """By how much every reader's preference for the wanted code falls short, shape (n_readers, n)."""
    if scores.shape[-1] == 1:
        return score_loss(scores, wanted)
    codes = wanted.long().expand(len(scores), -1)[..., None]
    own = scores.gather(-1, codes)[..., 0]
    others = scores.scatter(-1, codes, -1e9).amax(-1)
    return nn.functional.relu(MARGIN - (own - others))
