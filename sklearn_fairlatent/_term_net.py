"""A skorch net whose objective is made of terms, all kept in its history."""

import torch
from skorch import NeuralNet
from skorch.callbacks import EarlyStopping, GradientNormClipping, LRScheduler, PassthroughScoring, ProgressBar
from skorch.helper import predefined_split


class TermsNet(NeuralNet):
    """skorch's loop around a criterion with ``terms(output, rows)``, scalars by name, that is called with these."""

    def infer(self, x, **fit_params):
        return self.module_(x)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        terms = self.criterion_.terms(y_pred, y_true)
        for name, term in terms.items():
            self.history.record_batch(f"{'train' if training else 'valid'}_{name}", term.item())
        return self.criterion_(terms)


def term_net(
    module,
    criterion,
    terms,
    held_out,
    loader,
    generator,
    *,
    rate,
    epochs,
    batch_size,
    n_rows,
    verbose,
    net_params,
    **own,
):
    """The net of such a fit: whole batches of a loader, AdamW with a one-cycle rate, the best epoch on held-out rows.

    Parameters
    ----------
    module, criterion : torch.nn.Module
        Where they belong already.
    terms : tuple of str
    held_out : Dataset
    loader : type
        ``loader(dataset, batch_size, generator=None)``; without a generator all rows in order.
    generator : torch.Generator
    rate : float
        Peak of the learning rate.
    epochs, batch_size, n_rows, verbose : int
    net_params : dict
        The user's own, which come last.
    **own
        Further arguments of skorch.
    """
    n_steps = epochs * max(1, n_rows // batch_size)
    params = {
        "optimizer": torch.optim.AdamW,
        "lr": rate,
        "max_epochs": epochs,
        "batch_size": batch_size,
        "device": None,
        "verbose": int(verbose == 1),
        "iterator_train": loader,
        "iterator_train__generator": generator,
        "iterator_valid": loader,
        "train_split": predefined_split(held_out),
        **own,
    }
    extra = dict(net_params)
    params["callbacks"] = _callbacks(terms, rate, n_steps, epochs, verbose) + list(extra.pop("callbacks", None) or [])
    params.update(extra)
    return TermsNet(module, criterion, **params)


def _callbacks(terms, rate, n_steps, epochs, verbose):
    """Terms of an epoch, clipped gradients, a one-cycle rate, the best epoch, progress."""
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
