"""What a trained network is, whoever trained it: one torch module, its classes, and what its outputs mean."""

import warnings
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted, has_fit_parameter
from torch import nn

from .._encoding import is_network
from .._fit_state import seeded

ACTIVATIONS = {"identity": nn.Identity, "logistic": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}
# The default network holds rows out and stops early where each class has enough of them for a tenth to tell.
ROWS_TO_STOP = 20
# What probabilities may miss their range and their sum by.
ROUNDING = 1e-3


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network.

    Parameters
    ----------
    module : torch.nn.Module
    classes : ndarray or None
        What its outputs stand for; None: not known.
    output : {"logits", "probabilities"} or None
        None: not known.
    """

    module: nn.Module
    classes: Any = None
    output: str | None = None


class Standardise(nn.Module):
    """Columns, or channels, minus a mean and over a scale."""

    def __init__(self, mean, scale):
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(mean))
        self.register_buffer("scale", torch.as_tensor(scale))

    def forward(self, x):
        """Standardised columns."""
        return (x - self.mean) / self.scale


def default_network(y):
    """A small network for tables, unfitted."""
    enough = np.unique(y, return_counts=True)[1].min() >= ROWS_TO_STOP
    return make_pipeline(StandardScaler(), MLPClassifier((64, 32), early_stopping=enough))


def trained_network(network, X, y, sample_weight, seed):
    """The network of a ``network`` argument, fitted here unless it is frozen.

    Parameters
    ----------
    network : torch.nn.Module, skorch net, estimator, FrozenEstimator or None
    X : ndarray of shape (n_samples, ...)
    y : ndarray of shape (n_samples,)
    sample_weight : ndarray of shape (n_samples,) or None
        For a network that is fitted here, if its ``fit`` takes weights.
    seed : int

    Returns
    -------
    Trained
    """
    if isinstance(network, nn.Module):
        return Trained(network)
    if isinstance(network, FrozenEstimator):
        return as_module(network.estimator)
    if is_network(network) and getattr(network, "initialized_", False):
        return as_module(network)
    estimator = seeded(default_network(y) if network is None else network, seed)
    params = {}
    if sample_weight is not None:
        last = estimator.steps[-1] if isinstance(estimator, Pipeline) else ("", estimator)
        prefix = f"{last[0]}__" if last[0] else ""
        params = {f"{prefix}sample_weight": sample_weight} if has_fit_parameter(last[1], "sample_weight") else {}
    # Nobody asked the steps for what they want: the prefix tells them.
    with warnings.catch_warnings(), config_context(enable_metadata_routing=False):
        if network is not None:
            return as_module(estimator.fit(X, y, **params))
        warnings.simplefilter("ignore", ConvergenceWarning)
        # By codes: before 1.7.1, scikit-learn's network cannot stop early on labels that are words.
        classes, codes = np.unique(y, return_inverse=True)
        return replace(as_module(estimator.fit(X, codes, **params)), classes=classes)


def as_module(estimator):
    """A fitted estimator as a module that gives the same probabilities.

    Raises
    ------
    TypeError
        If it is none that can be converted.
    """
    if isinstance(estimator, nn.Module):
        return Trained(estimator)
    if is_network(estimator):
        return _of_skorch(estimator)
    check_is_fitted(estimator)
    if isinstance(estimator, Pipeline):
        last_name, last = estimator.steps[-1][0], as_module(estimator.steps[-1][1])
        dtype = next((parameter.dtype for parameter in last.module.parameters()), torch.float32)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for name, step in estimator.steps[:-1]:
            if not isinstance(step, StandardScaler):
                raise TypeError(
                    f"network: step {name!r} of the pipeline is a {type(step).__name__}; only a StandardScaler can "
                    "become a layer. Put this step in front of the FairStitchClassifier."
                )
            # mean_ is there even where it is not taken away.
            mean = step.mean_ if step.with_mean else np.zeros(step.n_features_in_)
            scale = step.scale_ if step.with_std else np.ones(step.n_features_in_)
            layers[name] = Standardise(mean, scale).to(dtype)
        if is_network(estimator.steps[-1][1]):
            layers[last_name] = last.module
        else:  # made here, of layers in a row
            layers.update(
                (f"{name}_last" if name in layers else name, layer) for name, layer in last.module.named_children()
            )
        return Trained(nn.Sequential(layers), last.classes, last.output)
    if isinstance(estimator, LogisticRegression):
        layers: OrderedDict[str, nn.Module] = OrderedDict(linear=_linear(estimator.coef_.T, estimator.intercept_))
        ovr = getattr(estimator, "multi_class", None) == "ovr" or estimator.solver == "liblinear"
        if len(estimator.classes_) > 2 and ovr:
            # One against the rest: the sigmoids, divided by their sum.
            layers["log_sigmoid"] = nn.LogSigmoid()
        return Trained(nn.Sequential(layers), estimator.classes_, "logits")
    if isinstance(estimator, MLPClassifier):
        if estimator.out_activation_ == "logistic" and len(estimator.classes_) > 2:
            raise TypeError("network: this MLPClassifier was fitted on several labels a row; expected one.")
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for k, (weights, bias) in enumerate(zip(estimator.coefs_, estimator.intercepts_, strict=True)):
            last = k == len(estimator.coefs_) - 1
            layers["output" if last else f"hidden_{k}"] = _linear(weights, bias)
            if not last:
                layers[f"activation_{k}"] = ACTIVATIONS[estimator.activation]()
        return Trained(nn.Sequential(layers), estimator.classes_, "logits")
    raise TypeError(
        f"network is a {type(estimator).__name__}; expected a torch.nn.Module, a skorch net, an MLPClassifier or a "
        "LogisticRegression (alone or behind a StandardScaler in a Pipeline), one of these in a FrozenEstimator, or "
        "None."
    )


def _linear(weights, bias):
    """A layer in the precision of the weights, shape (n_inputs, n_outputs)."""
    layer = nn.Linear(*weights.shape, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights.T))
        layer.bias.copy_(torch.tensor(np.broadcast_to(bias, weights.shape[1])))
    return layer


def _of_skorch(net):
    if not getattr(net, "initialized_", False):
        raise ValueError(
            f"network={type(net).__name__} is a skorch net that was not fitted, in a FrozenEstimator. Fit it first, or "
            "pass it without."
        )
    nonlinearity = getattr(net, "predict_nonlinearity", None)
    if not (nonlinearity is None or nonlinearity == "auto") or getattr(net, "threshold", 0.5) != 0.5:
        raise ValueError(
            f"network={type(net).__name__} has predict_nonlinearity={nonlinearity!r} and threshold="
            f"{getattr(net, 'threshold', 0.5)!r}; expected 'auto' or None, and 0.5. Pass its module_, and say in "
            "network_output what that gives."
        )
    # As skorch's predict_proba reads these criteria; of all others the outputs are probabilities.
    logits = nonlinearity == "auto" and isinstance(net.criterion_, (nn.CrossEntropyLoss, nn.BCEWithLogitsLoss))
    classes = getattr(net, "classes_", None)
    return Trained(
        net.module_, None if classes is None else np.asarray(classes), "logits" if logits else "probabilities"
    )


def check_values(outputs, output, told):
    """Raise where outputs cannot be what they are taken for.

    Parameters
    ----------
    outputs : ndarray of shape (n, ...)
        What the network gives for some rows.
    output : {"logits", "probabilities"}
    told : bool
        Whether somebody says so, else it was concluded from the network's last step.

    Raises
    ------
    ValueError
        If probabilities lie outside [0, 1], or what is taken for logits unasked looks like probabilities.
    """
    low, high = outputs.min(), outputs.max()
    inside = low >= -ROUNDING and high <= 1 + ROUNDING
    if output == "probabilities" and not inside:
        raise ValueError(
            f"network gives values from {low:.4g} to {high:.4g}, which are no probabilities. Pass "
            "network_output='logits' if they are logits."
        )
    if output == "logits" and not told and inside:
        flat = outputs.reshape(len(outputs), -1)
        # Of one column: a trained network's logits have both signs, and one that gives a constant says nothing.
        alike = low < high if flat.shape[1] == 1 else np.abs(flat.sum(1) - 1).max() <= ROUNDING
        if alike:
            raise ValueError(
                "network_output='auto': network gives values that look like probabilities, but its last step is "
                "neither a softmax nor a sigmoid. Pass network_output='probabilities', or 'logits' if they are."
            )


def as_logits(outputs, output, n_classes, order=None):
    """Logits of shape (n, n_classes) from what a network gives; of two classes it may give one number.

    Parameters
    ----------
    outputs : Tensor of shape (n,), (n, 1) or (n, n_classes)
    output : {"logits", "probabilities"}
    n_classes : int
    order : tuple of int or None
        Which column stands for each of the sorted classes; None: they are in order.

    Raises
    ------
    ValueError
        If the shape does not fit the classes.
    """
    if not isinstance(outputs, torch.Tensor):
        raise ValueError(f"network gives a {type(outputs).__name__}; expected one tensor, a row per row of X.")
    if outputs.ndim == 1:
        outputs = outputs[:, None]
    widths = (1, 2) if n_classes == 2 else (n_classes,)
    if outputs.ndim != 2 or outputs.shape[1] not in widths:
        raise ValueError(
            f"network gives outputs of shape {tuple(outputs.shape)}, y has {n_classes} classes; expected "
            f"{' or '.join(map(str, widths))} column(s). Pass classes= if y lacks some."
        )
    if output == "probabilities":
        # A probability of exactly 0 or 1 has no logit.
        smallest = torch.finfo(outputs.dtype).eps
        outputs = outputs.clamp(smallest, 1 - smallest)
        outputs = outputs.log() - (1 - outputs).log() if outputs.shape[1] == 1 else outputs.log()
    if outputs.shape[1] == 1:
        outputs = torch.cat([torch.zeros_like(outputs), outputs], dim=1)
    return outputs if order is None else outputs[:, list(order)]
