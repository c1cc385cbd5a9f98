"""Training a module for a number of steps: skorch's loop without validation, for readers and counterfactual maps."""

import torch
from skorch import NeuralNet
from skorch.callbacks import GradientNormClipping, LRScheduler

from ._batches import BatchLoader
from ._training import _to as to_device


class StepNet(NeuralNet):
    """skorch's loop around a module and a criterion of its outputs and the batch."""

    def get_loss(self, y_pred, y_true, X=None, training=False):
        return self.criterion_(y_pred, to_device(y_true, self.device))


def fit_steps(module, criterion, dataset, *, n_steps, batch_size, lr, device, generator, weight_decay=1e-2, rates=None):
    """Train ``module`` in place for about ``n_steps`` batches, with AdamW and a one-cycle rate.

    Parameters
    ----------
    module : torch.nn.Module
    criterion : torch.nn.Module
        Called with the module's output and the batch.
    dataset : Dataset with ``take(positions) -> (inputs, batch)``
    n_steps, batch_size : int
    lr, weight_decay : float
    device : str
    generator : torch.Generator
        Shuffles the rows.
    rates : dict of str to float, default=None
        Factors of the rate for the parameters whose names begin so.
    """
    rates = rates or {}
    batch_size = min(batch_size, len(dataset))
    epochs = -(-n_steps // max(1, len(dataset) // batch_size))
    total = epochs * max(1, len(dataset) // batch_size)
    net = StepNet(
        module,
        criterion,
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=weight_decay,
        optimizer__param_groups=[(f"{name}*", {"lr": rate * lr}) for name, rate in rates.items()],
        lr=lr,
        max_epochs=epochs,
        batch_size=batch_size,
        device=device,
        verbose=0,
        iterator_train=BatchLoader,
        iterator_train__generator=generator,
        train_split=None,
        callbacks=[
            ("clip", GradientNormClipping(5.0)),
            (
                "schedule",
                LRScheduler(
                    torch.optim.lr_scheduler.OneCycleLR,
                    max_lr=[*(rate * lr for rate in rates.values()), lr],
                    total_steps=total,
                    step_every="batch",
                ),
            ),
        ],
    )
    net.initialize()
    net.partial_fit(dataset, y=None)
    module.eval()
