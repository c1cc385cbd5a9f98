"""A skorch net whose objective is made of terms, all kept in its history, and the callbacks of such a fit."""

import torch
from skorch import NeuralNet
from skorch.callbacks import EarlyStopping, GradientNormClipping, LRScheduler, PassthroughScoring, ProgressBar


class TermsNet(NeuralNet):
    """skorch's loop around a criterion with ``terms(output, rows)``, scalars by name, that is called with these."""

    def infer(self, x, **fit_params):
        return self.module_(x)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        terms = self.criterion_.terms(y_pred, y_true)
        for name, term in terms.items():
            self.history.record_batch(f"{'train' if training else 'valid'}_{name}", term.item())
        return self.criterion_(terms)


def term_callbacks(terms, rate, n_steps, epochs, verbose):
    """What every such fit has: terms of an epoch, clipped gradients, a one-cycle rate, the best epoch, progress."""
    callbacks = [
        *(
            (f"{part}_{name}", PassthroughScoring(f"{part}_{name}", on_train=part == "train"))
            for part in ("train", "valid")
            for name in terms
        ),
        ("clip", GradientNormClipping(1.0)),
        (
            "schedule",
            LRScheduler(torch.optim.lr_scheduler.OneCycleLR, max_lr=rate, total_steps=n_steps, step_every="batch"),
        ),
        ("best", EarlyStopping(patience=epochs, threshold=0.0, load_best=True, sink=_silent)),
    ]
    if verbose >= 2:
        callbacks.append(("progress", ProgressBar()))
    return callbacks


def term_history(net, terms):
    """Per epoch a dict of the terms and the loss on training and held-out rows."""
    names = [f"{part}_{name}" for part in ("train", "valid") for name in (*terms, "loss")]
    return [{name: float(epoch[name]) for name in names} for epoch in net.history]


def _silent(*args, **kwargs):
    """A sink for skorch's messages."""
