"""Training: seeds and threads, what is watched, and the skorch net that fits the invertible module."""

import contextlib
import copy
import threading
from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import r2_score, roc_auc_score
from skorch import NeuralNet
from skorch.callbacks import (
    Callback,
    EarlyStopping,
    GradientNormClipping,
    LRScheduler,
    PassthroughScoring,
    ProgressBar,
)
from skorch.helper import predefined_split
from threadpoolctl import threadpool_limits

from ._batches import BatchLoader, Codes, LatentRows, WhitenedRows
from ._devices import forked_generators, seed_generators
from ._flow import CarrierFlow
from ._latent import sample_rows
from ._objective import LatentLoss, LatentModel

# The penalty is off for the first quarter of the steps and rises linearly over the second: the block first
# learns the label, which is what stops a strong penalty from collapsing it.
WARM_UP = 0.25
# A default fit sees its rows this often; those of a table sqrt(rows / 10) times within these bounds, since the steps of
# its columns let few rows be learnt by heart. Many rows: it stops after this many steps, but not before a few epochs.
DEFAULT_EPOCHS = 40
TABLE_EPOCHS = (10, 50)
DEFAULT_STEPS = 600
FEWEST_EPOCHS = 4
# The flow learns slower than the rest: at the full rate its outcome varied widely from seed to seed.
FLOW_RATE = 0.3
# A fit that goes on from another takes one in this many of the epochs, but enough for a few steps: shorter ones often
# end worse than they began (docs/design_notes.md, "Warm starts").
WARM_SHARE = 16
WARM_STEPS = 24
CALIBRATION_ROWS = 8192
# A hand-on that keeps no more than this share of the AUC above 0.5, or its square of the R2, has lost the label.
LABEL_SHARE = 0.25

# torch's generators and every thread pool are process-wide, so fits in one process take turns.
_FIT_LOCK = threading.RLock()


@contextlib.contextmanager
def reproducible(seed, n_threads, device="cpu"):
    """Fixed seed and thread count inside, everything as it was outside; one fit at a time in a process."""
    with _FIT_LOCK:
        threads_before = torch.get_num_threads()
        try:
            with threadpool_limits(limits=n_threads), forked_generators(device):
                torch.set_num_threads(n_threads)
                seed_generators(seed, device)
                yield
        finally:
            torch.set_num_threads(threads_before)


class LatentNet(NeuralNet):
    """skorch's loop around :class:`LatentModel`, with the terms of the objective kept in the history."""

    total_steps = 1
    warm_up = WARM_UP

    def train_step_single(self, batch, **fit_params):
        step = super().train_step_single(batch, **fit_params)
        self.steps_done += 1
        return step

    def get_loss(self, y_pred, y_true, X=None, training=False):
        terms = self.criterion_.terms(y_pred, _to(y_true, self.device), self.module_)
        prefix = "train" if training else "valid"
        for name, term in terms.items():
            self.history.record_batch(f"{prefix}_{name}", term.item())
        if not training:
            self.held_out.append((y_pred["scores"], y_pred["adversary"]))
            terms.pop("adversary_loss", None)
        done = self.steps_done / self.total_steps
        ramp = 1.0
        if training and self.warm_up:
            ramp = min(1.0, max(0.0, (done - self.warm_up) / self.warm_up))
        return self.criterion_(terms, ramp)


class HeldOutScores(Callback):
    """Records the validation utility and the adversary's AUC of an epoch."""

    def __init__(self, task, codes):
        self.task, self.codes = task, codes

    def on_epoch_begin(self, net, **kwargs):
        net.held_out = []

    def on_epoch_end(self, net, **kwargs):
        scores, adversary = (
            [part.cpu().double().numpy() for part in parts if part is not None]
            for parts in zip(*net.held_out, strict=True)
        )
        if scores:
            net.history.record("validation_utility", utility(np.concatenate(scores), self.codes.label, self.task))
        if adversary:
            net.history.record("adversary_auc", adversary_auc(np.concatenate(adversary), self.codes))


def _to(batch, device):
    if isinstance(batch, dict):
        return {name: _to(value, device) for name, value in batch.items()}
    if isinstance(batch, list):
        return [_to(value, device) for value in batch]
    return batch.to(device)


def utility(scores, label, task):
    """ROC AUC of the label head (macro one-vs-rest for many classes) in [0, 1], or R2 for a continuous label."""
    if task.kind == "continuous":
        return float(r2_score(label, scores[:, 0]))
    columns = scores if task.kind == "multiclass" else np.column_stack([-scores[:, 0], scores[:, 0]])
    wanted = range(columns.shape[1]) if task.kind == "multiclass" else [1]
    aucs = [roc_auc_score(label == k, columns[:, k]) for k in wanted if 0 < (label == k).sum() < len(label)]
    return float(np.mean(aucs)) if aucs else float("nan")


def adversary_auc(scores, codes):
    """Highest AUC of the adversary over all comparisons and label strata, at least 0.5."""
    highest = 0.5
    for stratum in np.unique(codes.strata[codes.strata >= 0]):
        rows = codes.strata == stratum
        for scored, inside in zip(scores[rows].T, codes.members[rows].T, strict=True):
            known = ~np.isnan(inside)
            n_inside = inside[known].sum()
            # An AUC of fewer than five rows is a coin toss, and the maximum would pick it.
            if min(n_inside, known.sum() - n_inside) >= 5:
                auc = roc_auc_score(inside[known], scored[known])
                highest = max(highest, auc, 1 - auc)
    return float(highest)


def chance_auc(members):
    """How far above 0.5 the highest AUC of independent comparisons lies by chance: two standard errors and the maximum.

    Parameters
    ----------
    members : ndarray of shape (n, n_comparisons)
    """
    n_inside = np.nansum(members, axis=0)
    n_outside = (~np.isnan(members)).sum(axis=0) - n_inside
    used = np.minimum(n_inside, n_outside) >= 5
    if not used.any():
        return 0.5
    error = np.sqrt((1 / n_inside[used] + 1 / n_outside[used]) / 12).max()
    return float(error * (2 + np.sqrt(2 * np.log(used.sum()))))


def chance_utility(label, task):
    """The highest :func:`utility` that a lost label has by chance: two standard errors above none.

    Parameters
    ----------
    label : ndarray of shape (n,)
    task : Task
    """
    n = len(label)
    if task.kind == "continuous":
        return float(2 / np.sqrt(3 * n))
    counts = np.unique(label, return_counts=True)[1]
    counts = counts[counts < n]
    errors = np.sqrt((1 / counts + 1 / (n - counts)) / 12)
    return float(0.5 + 2 * errors.mean()) if len(errors) else 0.5


def least_utility(best, label, task):
    """The :func:`utility` up to which a label counts as lost: chance, or a small share of the best.

    Parameters
    ----------
    best : float
        The highest utility that there was, before the penalty took its part.
    label : ndarray of shape (n,)
    task : Task
    """
    none, share = (0.0, LABEL_SHARE**2) if task.kind == "continuous" else (0.5, LABEL_SHARE)
    return max(chance_utility(label, task), none + share * (best - none))


def calibrate(core, w):
    """Set the location and scale of the carried columns to those of the rows ``w``."""
    if not isinstance(core, CarrierFlow) or not core.n_carried:
        return
    with torch.no_grad():
        momentum, core.standardise.momentum = core.standardise.momentum, 1.0
        core.eval()
        core.training = True  # the running statistics move, and nothing is dropped
        core.standardise.train()
        core.carry(w)
        core.eval()
        core.standardise.momentum = momentum


def _start_head(head, Z, label, task):
    """The head that fits the untrained latent best, so that training starts from the linear solution."""
    if task.kind == "continuous":
        fitted = LinearRegression().fit(Z, label)
    else:
        # A class that the sample misses has no row in coef_: the head then keeps its random start.
        if len(np.unique(label)) != max(2, task.n_scores):
            return
        fitted = LogisticRegression(max_iter=1000).fit(Z, label)
    with torch.no_grad():
        head.weight.copy_(torch.as_tensor(fitted.coef_.reshape(head.weight.shape)))
        head.bias.copy_(torch.as_tensor(np.reshape(fitted.intercept_, head.bias.shape)))


@dataclass
class Schedule:
    """The training knobs of the estimator."""

    max_epochs: int | str
    batch_size: int | str
    lr: float
    early_stopping: bool
    device: str
    verbose: int
    net_params: dict | None = field(default=None)
    warm: bool = False

    def resolve(self, n_rows, of_table):
        """Batch size, epochs and steps per epoch for ``n_rows`` training rows, ``of_table`` if g sees columns."""
        batch_size = min(2048, max(32, n_rows // 4)) if self.batch_size == "auto" else self.batch_size
        batch_size = min(batch_size, n_rows)
        steps = max(1, n_rows // batch_size)
        epochs = self.max_epochs
        if epochs == "auto":
            epochs = int(np.clip(np.sqrt(n_rows / 10), *TABLE_EPOCHS)) if of_table else DEFAULT_EPOCHS
            epochs = min(epochs, max(FEWEST_EPOCHS, -(-DEFAULT_STEPS // steps)))
            if self.warm:
                epochs = min(epochs, max(-(-epochs // WARM_SHARE), -(-WARM_STEPS // steps)))
        return batch_size, epochs, steps


def train(flow, layout, task, X, codes, train_rows, held_out_rows, schedule, seed):
    """Fit the float64 module ``flow`` in place, in float32, and return the history.

    Returns
    -------
    history : list of dict
        One entry per epoch.
    improved : bool
        False if what it started from was better on the held-out rows and was put back.
    utilities : tuple of float
        :func:`utility` on the held-out rows of what it started from and of what is kept; NaN without a label.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs = WhitenedRows(X, flow.linear)
    calibration = LatentRows(inputs, codes, sample_rows(train_rows, CALIBRATION_ROWS, np.random.RandomState(seed)))
    held_out = LatentRows(inputs, codes, held_out_rows)
    model = LatentModel(copy.deepcopy(flow.core).float(), layout, task, [d.shape[1] for d in codes.designs])
    model.to(schedule.device)
    w, batch = calibration.take(slice(None))
    w = w.to(schedule.device)
    calibrate(model.core, w)
    if task.kind:
        with torch.no_grad():
            target, handed_on = (z.mean(0).cpu().double().numpy() for z in model.latent(w)[:2])
        _start_head(model.head, handed_on, batch["label"].numpy(), task)
        if model.target_head is not None:
            _start_head(model.target_head, target, batch["label"].numpy(), task)

    net = _net(model, layout, task, codes, len(train_rows), held_out, schedule, generator)
    net.initialize()
    if isinstance(model.core, CarrierFlow):
        model.core.start_dither(task.strength)
    start = copy.deepcopy(model.core.state_dict())
    start_loss, start_utility = _held_out(net, held_out)
    net.partial_fit(LatentRows(inputs, codes, train_rows), y=None)
    calibrate(model.core, w)
    loss, kept_utility = _held_out(net, held_out)
    improved = loss <= start_loss  # False for a loss that is no number
    if not improved:
        model.core.load_state_dict(start)
        kept_utility = start_utility
    flow.core.load_state_dict(model.core.state_dict())
    flow.to(schedule.device).eval()
    for parameter in flow.parameters():
        parameter.requires_grad_(False)
    history = [
        {name: _plain(value) for name, value in epoch.items() if not name.endswith(("batches", "_best", "_count"))}
        for epoch in net.history.to_list()
    ]
    return history, improved, (start_utility, kept_utility)


def _plain(value):
    return value.item() if isinstance(value, np.generic) else value


def _held_out(net, dataset):
    """Objective at full strength on the held-out rows, without the terms that only watch, and the utility there."""
    net.module_.eval()
    total, scores = 0.0, []
    with torch.no_grad():
        for w, batch in BatchLoader(dataset, CALIBRATION_ROWS):
            outputs, batch = net.module_(w.to(net.device)), _to(batch, net.device)
            terms = net.criterion_.terms(outputs, batch, net.module_)
            terms.pop("adversary_loss", None)
            total += float(net.criterion_(terms, 1.0)) * len(w)
            scores.append(outputs["scores"])
    task, told = net.criterion_.task, float("nan")
    if task.kind and np.isfinite(total):
        told = utility(torch.cat(scores).cpu().double().numpy(), dataset.codes.label[dataset.rows], task)
    return total / len(dataset), told


def _net(model, layout, task, codes, n_rows, held_out, schedule, generator):
    of_table = getattr(model.core, "exact", False)
    batch_size, epochs, steps = schedule.resolve(n_rows, of_table)
    rows = held_out.rows
    held_out_codes = Codes(codes.label[rows], codes.strata[rows], codes.members[rows], [])
    names = ["likelihood"]
    names += ["label_loss"] if task.kind else []
    if len(task.comparison_weights):
        names += ["dependence", "adversary_loss"] + ["rate_gap"] * task.compares_rates
    if layout.n_sensitive:
        names += ["sensitive_loss"] + ["isolation"] * bool(layout.widths[-1] - (layout.n_handed_on - layout.n_target))
    rates = {"head.": 10, "target_head.": 10, "core.couplings.": FLOW_RATE, "": 1}
    named = [name for name, _ in model.named_parameters()]
    groups = [next(prefix for prefix in rates if name.startswith(prefix)) for name in named]
    # skorch drops the groups that match nothing, and the schedule wants one peak for each that is left.
    rates = {prefix: rate for prefix, rate in rates.items() if prefix in groups}
    callbacks = [
        *(
            (f"{prefix}_{name}", PassthroughScoring(f"{prefix}_{name}", on_train=prefix == "train"))
            for prefix in ("train", "valid")
            for name in names
        ),
        ("held_out", HeldOutScores(task, held_out_codes)),
        ("clip", GradientNormClipping(5.0)),
        (
            "schedule",
            LRScheduler(
                torch.optim.lr_scheduler.OneCycleLR,
                # skorch keeps the order of the patterns, the rest last.
                max_lr=[rate * schedule.lr for rate in rates.values()],
                total_steps=epochs * steps,
                step_every="batch",
            ),
        ),
    ]
    if schedule.early_stopping:
        patience = max(5, epochs // 5)
        callbacks.append(("early_stopping", EarlyStopping(patience=patience, load_best=True, sink=_silent)))
    if schedule.verbose >= 2:
        callbacks.append(("progress", ProgressBar()))
    params = {
        "optimizer": torch.optim.AdamW,
        "optimizer__weight_decay": 1e-2,
        "optimizer__param_groups": [
            (f"{prefix}*", {"lr": rate * schedule.lr}) for prefix, rate in rates.items() if prefix
        ],
        "lr": schedule.lr,
        "max_epochs": epochs,
        "batch_size": batch_size,
        "device": schedule.device,
        "verbose": int(schedule.verbose == 1),
        "callbacks__print_log__keys_ignored": [f"train_{name}" for name in names] + ["valid_adversary_loss"],
        "iterator_train": BatchLoader,
        "iterator_train__generator": generator,
        "iterator_valid": BatchLoader,
        "iterator_valid__batch_size": CALIBRATION_ROWS,
        "train_split": predefined_split(held_out),
    }
    extra = dict(schedule.net_params or {})
    params["callbacks"] = callbacks + list(extra.pop("callbacks", []))
    params.update(extra)
    net = LatentNet(model, LatentLoss(task, layout, generator), **params)
    net.total_steps, net.steps_done, net.held_out = epochs * steps, 0, []
    if schedule.warm:
        net.warm_up = 0.0
    return net


def _silent(*args, **kwargs):
    """A sink for skorch's messages."""
