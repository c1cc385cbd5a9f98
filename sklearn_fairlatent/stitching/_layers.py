"""A stitch after one layer or after each of several, of which held-out rows choose one."""

import copy
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import recall_score
from torch import nn

from .._devices import seed_generators
from .._encoding import through_module
from ._cutting import INPUT, CutNetwork
from ._stitches import FreshLayer, Stitch
from ._training import StitchedHead, TrainedStitch, disparities, train_stitch

# Of several layers those with more values a row (maps of early layers) are left out.
MOST_FEATURES = 1024
# No more layers than these are tried, the last ones.
MOST_LAYERS = 8
# Rows that show what comes out at a place: more than one, so that another first axis than that of the rows shows.
PROBED = 3


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
    """The places in question, in order, and one for where none of them can be stitched, or None.

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
        return [Place(*CutNetwork(network, leaves[:1]).around_last())], None
    cut = CutNetwork(network, leaves)
    names = [split] if split != "auto" else list(leaves[:1]) or cut.names()[-MOST_LAYERS:]
    spare = Place(INPUT, *cut.after(INPUT)) if split == "auto" and not leaves and names != [INPUT] else None
    return [Place(name, *cut.after(name)) for name in names], spare


def stitch_best(found, spare, new_stitch, network, X, train, held_out, goal, schedule, seed):
    """Train a stitch at every place and keep the one with the least objective on held-out rows.

    Parameters
    ----------
    found : list of Place
        Of several, those are left out that give many values, no numbers, no row per row, or what the stitch does not
        take.
    spare : Place or None
        Where all of them are left out.
    new_stitch : callable
        ``new_stitch(place, features)``: an untrained stitch.
    network : torch.nn.Module
        Tells device and precision.
    X : ndarray of shape (n_samples, ...)
    train, held_out : tuple of ndarray and Rows
        Positions in X, and what is known of these rows.
    goal : Goal
    schedule : Schedule
    seed : int

    Returns
    -------
    best : Stitched
    table : DataFrame
        A row per place.
    """
    best, table, reasons = None, {}, {}
    for place in [*found, spare]:
        if place is None or (place is spare and best is not None):
            break
        try:
            probe = _features(place, X[:PROBED], network)
            n_values = probe[0].numel()
            if len(found) > 1 and n_values > MOST_FEATURES:
                raise ValueError(f"split={place.name!r}: more than {MOST_FEATURES:,} values a row.")
            seed_generators(seed, probe.device)  # inside `reproducible`
            new_stitch(place, probe[:1])  # says what is wrong before all rows are encoded
        except ValueError as error:
            if len(found) == 1 and spare is None:
                raise
            reasons[place.name] = error
            continue
        features = _features(place, X, network)
        learnt, judged = (rows.with_features(features[positions]) for positions, rows in (train, held_out))
        seed_generators(seed, features.device)
        stitch = new_stitch(place, learnt.features).to(features.device)
        trained = train_stitch(stitch, place.head, learnt, judged, goal, schedule, seed)
        told = {"n_features": n_values, "objective": trained.objective} | trained.terms
        table[place.name] = told | decisions(StitchedHead(stitch, place.head, goal), judged, goal)
        if best is None or trained.objective < best.trained.objective:
            best = Stitched(place, trained)
    if best is None:
        raise ValueError(f"split='auto': no layer can be stitched after ({'; '.join(map(str, reasons.values()))}).")
    return best, pd.DataFrame.from_dict(table, orient="index").rename_axis("layer")


def _features(place, X, network):
    """What the extractor gives, on the network's device."""
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    try:
        given = through_module(place.extractor, X, like=network)
    except ValueError as error:
        raise ValueError(f"split={place.name!r}: {error} Name another layer.") from None
    if given.ndim < 2 or len(given) != len(X):
        raise ValueError(
            f"split={place.name!r}: there {len(X)} rows of X have the shape {given.shape}; expected a row of "
            "numbers per row of X. Name another layer."
        )
    return torch.as_tensor(given, device=device)


def new_stitch(kind, hidden_size, place, features):
    """An untrained stitch for features like these.

    Parameters
    ----------
    kind : {"residual", "linear", "last_layer"} or torch.nn.Module
    hidden_size : int
    place : Place
    features : Tensor of shape (n, ...)
    """
    if place.layer is not None:
        return FreshLayer(place.layer, features)
    if isinstance(kind, nn.Module):
        stitch = copy.deepcopy(kind).to(features).requires_grad_(True)
        try:
            with torch.no_grad():
                shape = tuple(stitch.eval()(features[:2]).shape)
        except RuntimeError as error:
            shape = f"none ({error})"
        if shape != tuple(features[:2].shape):
            raise ValueError(
                f"stitch={type(kind).__name__} gives shape {shape} for features of shape {tuple(features[:2].shape)}, "
                f"behind the layer {place.name!r}; expected the same, since the rest of the network takes that."
            )
        return stitch
    # Of three dimensions the second is that of channels behind a convolution, else the last, as of tokens.
    along_length = any(isinstance(module, nn.Conv1d) for module in place.extractor.modules())
    axis = 1 if features.ndim > 3 or (features.ndim == 3 and along_length) else -1
    return Stitch(features, hidden_size if kind == "residual" else None, axis)


def decisions(module, rows, goal):
    """What the decisions on ``rows`` come to."""
    module.eval()
    with torch.no_grad():
        logits = module(rows.features)
        decided = logits.argmax(1)
        wrong = (decided != rows.label).to(logits)
        gaps = disparities(nn.functional.one_hot(decided, goal.n_classes).to(logits), wrong, rows, goal)
    label = rows.label.cpu().numpy()
    return {
        # The mean recall of the classes that there are: a network may know others.
        "balanced_accuracy": recall_score(label, decided.cpu().numpy(), labels=np.unique(label), average="macro"),
        "hard_disparity": float(sum(gaps)),
    }
