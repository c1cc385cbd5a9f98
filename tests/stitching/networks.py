"""Networks and rows that several files of tests use."""

import hashlib

import numpy as np
import torch
from torch import nn

from sklearn_fairlatent.stitching import FairStitchClassifier

N = 600


class Skipping(nn.Module):
    """A block with a skip connection, and a function with weights of its own."""

    def __init__(self, width):
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return torch.relu(x + self.scale * self.inner(x))


class Branching(nn.Module):
    """A network whose layers depend on the values in it."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        hidden = self.first(x)
        return self.last(hidden if hidden.sum() > 0 else -hidden)


def seeded(make, seed=0):
    """What ``make()`` gives from this seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return make()


def mlp(n_inputs=3, n_outputs=2):
    return seeded(
        lambda: nn.Sequential(
            nn.Linear(n_inputs, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, n_outputs)
        )
    )


def convolutional():
    """For pictures of shape (2, 8, 8): normalisation, pooling, dropout."""
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 3, 3), nn.ReLU(),
            nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, 2),
        )
    )  # fmt: skip


def digest(module):
    """Hash of all weights and buffers."""
    found = hashlib.sha256()
    for name, value in module.state_dict().items():
        found.update(name.encode() + value.cpu().numpy().tobytes())
    return found.hexdigest()


def biased(n=N, seed=0):
    """Rows whose label is read from two columns, one of which stands for the group: an unfair network is easy.

    Returns
    -------
    X : ndarray of shape (n, 3)
    y, group : ndarray of shape (n,)
    """
    rng = np.random.RandomState(seed)
    group = rng.randint(2, size=n)
    y = (rng.normal(size=n) + 0.8 * (group - 0.5) > 0).astype(int)
    X = np.column_stack([y + rng.normal(size=n), group + 0.3 * rng.normal(size=n), rng.normal(size=n)])
    return X, y, np.array(["f", "m"])[group]


def stitched(network=None, **params):
    """A classifier that is quick to fit."""
    return FairStitchClassifier(network, **{"max_epochs": 30, "random_state": 0, **params})


def outputs(module, X):
    """What a module gives for rows, as an array."""
    parameter = next(module.parameters())
    with torch.no_grad():
        return module.eval()(torch.as_tensor(X, dtype=parameter.dtype)).numpy()
