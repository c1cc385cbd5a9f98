"""Small transformers whose maps train for a few steps, and what several files of tests do with them."""

import copy

import numpy as np
import pytest
import torch

from sklearn_fairlatent import FairLatentTransformer
from sklearn_fairlatent import _counterfactual_bench as map_bench
from sklearn_fairlatent import _counterfactual_training as map_training
from sklearn_fairlatent import _readers as readers
from sklearn_fairlatent.datasets import make_biased_latents

# Most of what is claimed holds after a few steps: a fit then takes a second instead of half a minute.
FEW_STEPS = {"N_STEPS": 10, "GAINS": (1.0, 1.3), "TABLE_GAINS": (1.2,)}
FEW_READER_STEPS = {"READER_STEPS": 30, "READER_EPOCHS": 2}


def _fit(fair, X, y, A=None, *, steps=None, reader_steps=None):
    """Fit with few steps."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (FEW_STEPS | (steps or {})).items():
            patch.setattr(map_training if hasattr(map_training, name) else map_bench, name, value)
        for name, value in (FEW_READER_STEPS | (reader_steps or {})).items():
            patch.setattr(readers, name, value)
        return fair.fit(X, y, sensitive_features=A)


def _model(**params):
    """A small transformer."""
    params = {"max_epochs": 1, "n_layers": 3, "hidden_size": 16, "random_state": 0} | params
    return FairLatentTransformer(**{"counterfactual_map": "trained"} | params)


def _trained(X, y, A=None, *, steps=None, reader_steps=None, **params):
    """A small transformer with a map that trained for a few steps."""
    return _fit(_model(**params), X, y, A, steps=steps, reader_steps=reader_steps)


def _bend(fair):
    """Couplings that are not the identity, whatever the few steps made of them."""
    for seed, found in enumerate(fair.counterfactual_map_.maps.values()):
        generator = torch.Generator().manual_seed(seed)
        found.mover = copy.deepcopy(found.mover)
        with torch.no_grad():
            for coupling in found.mover.couplings:
                for parameter in (coupling.hyper[-1].weight, coupling.hyper[-1].bias):
                    parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return fair


def _distance(X, X_other):
    """Largest difference, relative to the size of the rows."""
    return np.abs(X - X_other).max() / max(1.0, np.abs(X).max())


def _small():
    data = make_biased_latents(300, 8, random_state=1)
    return data.data, data.target, data.sensitive_features
