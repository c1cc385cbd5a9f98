"""Devices of torch: whether this machine has one, its random numbers, and pickles that other machines can load."""

import io
import warnings
from typing import Any

import torch
from sklearn.base import BaseEstimator

EXPECTED_DEVICE = "a device that torch has on this machine, with float64, such as 'cpu', or 'cuda' where there is one"


def is_device(value):
    """Whether torch has a device of this name here, and float64 on it."""
    if not isinstance(value, (str, torch.device)):
        return False
    try:
        torch.zeros(1, dtype=torch.float64, device=value).cpu()
    except (RuntimeError, AssertionError, TypeError):  # no such name; not compiled in; no float64
        return False
    return True


def _accelerator(device):
    """Module and index of a device that draws random numbers of its own; None for the CPU."""
    device = torch.device(device)
    if device.type == "cpu":
        return None
    module = torch.get_device_module(device)
    return module, module.current_device() if device.index is None else device.index


def forked_generators(device):
    """A context after which torch's global generators of the CPU and of ``device`` are as they were before."""
    found = _accelerator(device)
    indices = [] if found is None else [found[1]]
    return torch.random.fork_rng(devices=indices, device_type=torch.device(device).type)


def seed_generators(seed, device):
    """Seed torch's global generators of the CPU and of ``device``, and of no other device."""
    torch.default_generator.manual_seed(seed)
    found = _accelerator(device)
    if found is not None:
        module, index = found
        with module.device(index):
            module.manual_seed(seed)


class PortableEstimator(BaseEstimator):
    """Estimators with a ``device`` whose pickles load where that device is absent: they then compute on the CPU.

    On the CPU the pickle is the plain one. It says nothing of safety: torch reads with pickle, too.
    """

    device: Any

    def __getstate__(self):
        state = super().__getstate__()
        device = self.device
        if not isinstance(device, (str, torch.device)) or str(device) == "cpu":
            return state
        buffer = io.BytesIO()
        torch.save(state, buffer)
        return {"_of_torch": buffer.getvalue()}

    def __setstate__(self, state):
        if "_of_torch" in state:
            saved = state["_of_torch"]
            try:
                state = torch.load(io.BytesIO(saved), weights_only=False)
            except RuntimeError:
                state = torch.load(io.BytesIO(saved), map_location="cpu", weights_only=False)
                warnings.warn(
                    f"This {type(self).__name__} was fitted with device={str(state['device'])!r}, which this machine "
                    "lacks: it computes on the CPU. Pass device='cpu' before you fit it again.",
                    stacklevel=2,
                )
        super().__setstate__(state)
