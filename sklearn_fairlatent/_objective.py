"""What a fit minimises: the module with its heads, and the weighted terms of the loss."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from zuko.nn import MLP

from ._batches import Codes
from ._flow import CarrierFlow
from ._losses import (
    dependence,
    design_loss,
    gaussian_nll,
    label_loss,
    random_directions,
    rate_gap,
    soft_decisions,
)

# Weight of the dependence measure at fairness_strength=1, in units of the exchange rate.
UNIT_STRENGTH = 12.5
# Its factor where more than one column is handed on: what a sum over directions misses, boosting still finds.
WIDE_FACTOR = 1.5
# Weight of the gap between the groups' rates of decision within labels, in units of the dependence's, and the
# temperature in nats at which the label head decides (docs/design_notes.md, "Rates within labels").
RATE_FACTOR = 0.12
TEMPERATURE = 0.25
# Bounds of the two parts of the exchange rate. What X tells of the label counts as no fewer and no more nats than
# these: what is told otherwise than linearly should not count as nothing, and a penalty above that takes more of the
# label than it needs. The dependence of the label counts as no less than the noise of a small data set.
LABEL_INFORMATION = (0.05, 0.25)
LABEL_DEPENDENCE = (0.08, 0.5)
# The likelihood needs no large batches: every eighth row of a full one is enough.
LIKELIHOOD_ROWS = 256
N_DIRECTIONS = 32
# How strongly the attribute is drawn into its block, and pushed out of the residual: enough for the likelihood
# not to scatter it, little enough to leave the block's shape to the likelihood (docs/design_notes.md).
SENSITIVE_WEIGHT = 0.3
ISOLATION_WEIGHT = 4.0


@dataclass
class Task:
    """What is learnt: the kind of label, the comparisons and the sizes of the heads."""

    kind: str | None  # "binary", "multiclass", "continuous"; None without a label
    n_scores: int
    comparison_weights: np.ndarray
    strength: float
    exchange_rate: float = 1.0  # nats of the label for a unit of dependence
    within_labels: bool = False  # whether groups are compared within labels

    @property
    def compares_rates(self):
        """Whether the groups' rates of decision within labels count, too: those of a label with classes."""
        return self.within_labels and self.kind in ("binary", "multiclass") and len(self.comparison_weights) > 0


def describe_task(target, label, variables, attributes, strata, strength, within_labels=False):
    """The codes of all rows and the task, from the variables of the label and the attributes."""
    members = [variable.memberships(codes) for variable, codes in zip(variables, attributes, strict=True)]
    # Every attribute counts the same, however many comparisons it takes.
    weights = [np.full(part.shape[1], 1 / part.shape[1]) for part in members]
    codes = Codes(
        label,
        strata,
        np.column_stack(members) if members else np.zeros((len(label), 0)),
        [variable.design(codes) for variable, codes in zip(variables, attributes, strict=True)],
    )
    kind, n_scores = None, 0
    if target is not None:
        kind = target.kind if target.kind == "continuous" else ("binary" if target.n_groups == 2 else "multiclass")
        n_scores = target.n_groups if kind == "multiclass" else 1
    weights = np.concatenate(weights) if weights else np.zeros(0)
    return codes, Task(kind, n_scores, weights, float(strength), within_labels=within_labels)


def exchange_rate(information, scores, members, weights):
    """Nats of the label that go with a unit of its dependence on the attributes, both as a linear map of X tells them.

    It makes a strength trade the same share of the label's information for the same share of its dependence on
    every data set (docs/design_notes.md, "The weight of the penalty"). The dependence is that of demographic parity
    whatever the constraint: within the labels there is less of it, but a unit of that costs no more.

    Parameters
    ----------
    information : float
        Nats that X tells of the label.
    scores : ndarray of shape (n, n_codes)
        The label as a linear map of X predicts it.
    members : ndarray of shape (n, n_comparisons)
    weights : ndarray of shape (n_comparisons,)
        As in :func:`~sklearn_fairlatent._losses.dependence`.

    Returns
    -------
    float
        Between 0.1 and 3.125; 1 without an attribute.
    """
    if not len(weights):
        return 1.0
    parts = (scores, members, weights, np.zeros(len(scores)), np.eye(scores.shape[1]))
    dependent = float(dependence(*map(torch.as_tensor, parts))) / scores.shape[1]
    return float(np.clip(information, *LABEL_INFORMATION) / np.clip(dependent, *LABEL_DEPENDENCE))


class LatentModel(nn.Module):
    """The invertible module behind the linear map, with its heads, which are only needed while training."""

    def __init__(self, core, layout, task, design_widths):
        super().__init__()
        self.core = core
        self.layout = layout
        n_handed_on = layout.n_handed_on
        self.head = nn.Linear(n_handed_on, task.n_scores) if task.kind else None
        # A hand-on wider or narrower than the target block: the block itself must carry the label as well.
        wider = task.kind and n_handed_on != layout.n_target
        self.target_head = nn.Linear(layout.n_target, task.n_scores) if wider else None
        self.locations = nn.ModuleList(
            nn.Linear(n_columns, width) if width else nn.Identity()
            for n_columns, width in zip(design_widths, layout.widths[1:-1], strict=True)
        )
        self.readers = nn.ModuleList(
            nn.Linear(width, n_columns) if width else nn.Identity()
            for n_columns, width in zip(design_widths, layout.widths[1:-1], strict=True)
        )
        n_comparisons = len(task.comparison_weights)
        self.adversary = MLP(n_handed_on, n_comparisons, (32, 32)) if n_comparisons else None

    def latent(self, w):
        """Target block and hand-on of every row; latent, log-determinant and positions of the likelihood's rows.

        The first two have a leading axis for the networks behind them, whose mean counts; 1 for another module.
        """
        core, layout = self.core, self.layout
        if isinstance(core, CarrierFlow) and not core.wide:
            members, r, _ = core.carry_members(w)
            some = slice(None, None, max(1, len(w) // LIKELIHOOD_ROWS))
            # The flow fits the rest to a fixed z_f: its gradient must not move what is handed on.
            rest, log_det = core.disentangle(r[some].detach(), members.mean(0)[some].detach())
            rest = torch.cat([rest.new_zeros(len(rest), layout.n_target), rest], dim=1)
            return members[..., : layout.n_target], members[..., : layout.n_handed_on], rest, log_det, some
        z, log_det = core(w)
        return z[None, :, : layout.n_target], z[None][..., layout.handed_on], z, log_det, slice(None)

    def forward(self, w):
        target, handed_on, z, log_det, some = self.latent(w)
        mean = handed_on.mean(0)
        if not self.training:
            target, handed_on = target.mean(0, keepdim=True), mean[None]
        return {
            "handed_on": mean,
            # Every member has a label loss of its own, which keeps them different: their mean generalises better.
            "scores": self.head(handed_on).flatten(0, 1) if self.head is not None else None,
            "target_scores": self.target_head(target).flatten(0, 1) if self.target_head is not None else None,
            "latent": z,
            "log_det": log_det,
            "rows": some,
            # Only watches: what it learns never reaches the latent.
            "adversary": self.adversary(mean.detach()) if self.adversary is not None else None,
        }


class LatentLoss(nn.Module):
    """The objective: label loss, dependence of the handed-on block on the attributes, likelihood of the rest."""

    def __init__(self, task, layout, generator):
        super().__init__()
        self.task, self.layout, self.generator = task, layout, generator
        self.register_buffer("weights", torch.as_tensor(task.comparison_weights, dtype=torch.float32))

    def terms(self, outputs, batch, model):
        """The single terms, in nats; the dependence as a share of the block's spread, the rate gap as a rate."""
        task, layout = self.task, self.layout
        z = outputs["handed_on"]
        terms = {}
        if task.kind:
            label = batch["label"].repeat(len(outputs["scores"]) // len(batch["label"]))
            loss = label_loss(outputs["scores"], label, task.kind)
            if outputs["target_scores"] is not None:
                loss = (loss + label_loss(outputs["target_scores"], label, task.kind)) / 2
            terms["label_loss"] = loss
        if len(self.task.comparison_weights):
            directions = random_directions(z.shape[1], N_DIRECTIONS, self.generator, z.device)
            terms["dependence"] = dependence(z, batch["members"], self.weights, batch["strata"], directions)
            if task.compares_rates:
                # The head's weights are held: it is the block that has to move, not the threshold.
                scores = nn.functional.linear(z, model.head.weight.detach(), model.head.bias.detach())
                decisions = soft_decisions(scores, TEMPERATURE)
                terms["rate_gap"] = rate_gap(decisions, batch["members"], self.weights, batch["strata"])
            known = ~torch.isnan(batch["members"])
            loss = nn.functional.binary_cross_entropy_with_logits(
                outputs["adversary"], torch.nan_to_num(batch["members"]), reduction="none"
            )
            terms["adversary_loss"] = (loss * known).sum() / known.sum().clamp(min=1)
        latent, rows = outputs["latent"], outputs["rows"]
        residual = latent[:, layout.n_target + layout.n_sensitive :]
        nll = gaussian_nll(residual, 0.0) - outputs["log_det"]
        readings = []
        for name, location, reader, design in zip(
            layout.sensitive, model.locations, model.readers, batch["designs"], strict=True
        ):
            if layout.width(name):
                block = latent[:, layout[name]]
                missing = torch.isnan(design[rows])
                # A linear layer's weights would get NaN gradients from NaN rows, whatever becomes of its output.
                where = location(torch.nan_to_num(design[rows])).masked_fill(missing.any(1, keepdim=True), torch.nan)
                nll = nll + gaussian_nll(block, where)
                readings.append(design_loss(reader(block), design[rows]))
        if readings:
            terms["sensitive_loss"] = sum(readings)
            if residual.shape[1]:
                directions = random_directions(residual.shape[1], N_DIRECTIONS, self.generator, z.device)
                everyone = torch.zeros_like(batch["strata"][rows])
                terms["isolation"] = (
                    dependence(residual, batch["members"][rows], self.weights, everyone, directions[:, -N_DIRECTIONS:])
                    / residual.shape[1]
                )
        terms["likelihood"] = nll.mean() / layout.n_features
        return terms

    def forward(self, terms, ramp):
        """Weighted sum of the terms; ``ramp`` in [0, 1] scales the penalty during warm-up."""
        strength = ramp * UNIT_STRENGTH * self.task.exchange_rate * self.task.strength
        weights = {
            "label_loss": 1.0,
            "dependence": strength * WIDE_FACTOR if self.layout.n_handed_on > 1 else strength,
            "rate_gap": RATE_FACTOR * strength,
            "adversary_loss": 1.0,
            "likelihood": 1.0,
            "sensitive_loss": SENSITIVE_WEIGHT,
            "isolation": ISOLATION_WEIGHT,
        }
        return sum(weights[name] * term for name, term in terms.items() if weights[name])
