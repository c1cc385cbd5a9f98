"""A stitch after one layer or after each of several, of which held-out rows choose one."""

import copy
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import nn

from .._encoding import through_module
from ._cutting import CutNetwork
from ._stitches import FreshLayer, Stitch
from ._training import StitchedHead, TrainedStitch, disparities, train_stitch

# "auto" caches the features of one layer at a time; wider ones (maps of early layers) are left out.
MOST_FEATURES = 4096
# And tries no more layers than these, the last ones.
MOST_LAYERS = 8


@dataclass(frozen=True, eq=False)
class Place:
    """Where a stitch may go: with ``layer``, in its place, else between."""

    name: str
    extractor: nn.Module
    head: nn.Module
    layer: nn.Module | None = None


@dataclass(frozen=True, eq=False)
class Stitched:
    """A place with its trained stitch."""

    place: Place
    trained: TrainedStitch


def places(network, split, kind, leaves):
    """The places in question, one after another.

    Parameters
    ----------
    network : torch.nn.Module
    split : str
    kind : str or torch.nn.Module
        "last_layer": the place of the last layer, whatever ``split`` says.
    leaves : tuple of str
        Parts that were given as modules, which are not looked into.
    """
    if isinstance(kind, str) and kind == "last_layer":
        cut = CutNetwork(network)
        name = cut.last_layer()
        extractor, layer, head = cut.around(name)
        yield Place(name, extractor, head, layer)
        return
    cut = CutNetwork(network, leaves)
    names = [split] if split != "auto" else list(leaves[:1]) or cut.names()[-MOST_LAYERS:]
    for name in names:
        yield Place(name, *cut.after(name))


def stitch_best(found, most_features, network, kind, hidden_size, X, rows, parts, goal, schedule, seed):
    """Train a stitch at every place and keep the one with the least objective on held-out rows.

    Parameters
    ----------
    found : iterable of Place
    most_features : float
        Values of a row beyond which a place is left out.
    network : torch.nn.Module
        Tells device and precision.
    kind : {"residual", "linear", "last_layer"} or torch.nn.Module
    hidden_size : int
    X : ndarray of shape (n_samples, ...)
    rows : Rows
    parts : tuple of ndarray
        Positions of the training rows and of those held out.
    goal : Goal
    schedule : Schedule
    seed : int

    Returns
    -------
    best : Stitched
    table : DataFrame
        A row per place.
    """
    best, table = None, {}
    for place in found:
        features = torch.as_tensor(through_module(place.extractor, X, like=network), device=rows.label.device)
        n_features = int(np.prod(features.shape[1:]))
        if n_features > most_features:
            continue
        train, held_out = (rows.with_features(features).take(part) for part in parts)
        torch.default_generator.manual_seed(seed)  # inside `reproducible`
        stitch = new_stitch(place, kind, hidden_size, train.features).to(rows.label.device)
        trained = train_stitch(stitch, place.head, train, held_out, goal, schedule, seed)
        told = {"n_features": n_features, "objective": trained.objective} | trained.terms
        table[place.name] = told | decisions(StitchedHead(stitch, place.head, goal), held_out, goal)
        if best is None or trained.objective < best.trained.objective:
            best = Stitched(place, trained)
    if best is None:
        raise ValueError(f"split='auto': every layer gives more than {most_features:,} values a row. Name one.")
    return best, pd.DataFrame.from_dict(table, orient="index").rename_axis("layer")


def new_stitch(place, kind, hidden_size, features):
    """An untrained stitch for features like these."""
    if place.layer is not None:
        return FreshLayer(place.layer, features)
    if isinstance(kind, nn.Module):
        stitch = copy.deepcopy(kind).to(features).requires_grad_(True)
        with torch.no_grad():
            shape = stitch.eval()(features[:2]).shape
        if shape != features[:2].shape:
            raise ValueError(
                f"stitch={type(kind).__name__} gives shape {tuple(shape)} for features of shape "
                f"{tuple(features[:2].shape)}; expected the same, since the rest of the network takes that."
            )
        return stitch
    return Stitch(features, hidden_size if kind == "residual" else None)


def decisions(module, rows, goal):
    """What the decisions on ``rows`` come to."""
    module.eval()
    with torch.no_grad():
        logits = module(rows.features)
        decided = logits.argmax(1)
        gaps = disparities(nn.functional.one_hot(decided, goal.n_classes).to(logits), logits, rows, goal)
    return {
        "balanced_accuracy": balanced_accuracy_score(rows.label.cpu().numpy(), decided.cpu().numpy()),
        "hard_disparity": float(sum(gaps)),
    }
