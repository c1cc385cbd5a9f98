"""Readers: small models that tell label and attributes from a row, for a counterfactual to be trained against."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn

from ._steps import fit_steps

# Inverse regularisation of the linear readers, on standardised columns.
LINEAR_STRENGTHS = (0.003, 0.03, 0.3)
N_NETWORKS = 3
N_ADDITIVE = 2
HIDDEN_SIZE = 64
# An additive reader sees every column at so many quantiles, as smooth steps this wide in standard deviations.
N_KNOTS = 7
STEP_WIDTH = 0.3
# A row is seen about this often, but the readers take at least these many steps.
READER_EPOCHS = 15
READER_STEPS = 300
READER_BATCH = 512
# Rows that the judges learn from: more tell little more and cost seconds.
JUDGE_ROWS = 4000


class LinearReader(nn.Module):
    """Logistic or ridge regressions of all variables side by side."""

    weight: torch.Tensor

    def __init__(self, weight, bias):
        super().__init__()
        self.register_buffer("weight", torch.as_tensor(weight, dtype=torch.float32))
        self.register_buffer("bias", torch.as_tensor(bias, dtype=torch.float32))

    def forward(self, z):
        return z @ self.weight + self.bias


class AdditiveReader(nn.Module):
    """A sum of smooth steps of single columns: what gradient boosting with small trees reads, with a gradient."""

    def __init__(self, knots, n_outputs):
        super().__init__()
        self.register_buffer("knots", torch.as_tensor(knots, dtype=torch.float32))
        self.dropout = nn.Dropout(0.2)
        self.linear = nn.Linear(knots.size, n_outputs)
        nn.init.zeros_(self.linear.weight)

    def forward(self, z):
        steps = torch.tanh((z[:, None, :] - self.knots) / STEP_WIDTH).flatten(1)
        return 0.1 * self.linear(self.dropout(steps))


class Readers(nn.Module):
    """Several readers of all variables: ``forward(x)`` gives their scores, of shape (n_readers, n, n_scores).

    A variable with groups has a score for each of them, a continuous one its predicted code.
    """

    def __init__(self, mean, scale, members, columns):
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32))
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))
        self.members = nn.ModuleList(members)
        self.columns = columns  # name of a variable to the slice of its scores

    def forward(self, x):
        z = (x - self.mean) * self.scale
        return torch.stack([member(z) for member in self.members])


class ReaderLoss(nn.Module):
    """Mean loss of every reader on its own bootstrap sample; rows with a missing code are left out."""

    def __init__(self, columns):
        super().__init__()
        self.columns = columns

    def forward(self, scores, batch):
        total = scores.new_zeros(())
        for columns, code in zip(self.columns.values(), batch["codes"].T, strict=True):
            known = ~torch.isnan(code)
            loss = score_loss(scores[:, :, columns], torch.nan_to_num(code))
            total = total + (loss * batch["weights"].T * known).mean()
        return total


def score_loss(scores, codes):
    """Loss of every reader and row: cross-entropy of groups or squared error of numbers, shape (n_readers, n)."""
    if scores.shape[-1] == 1:
        return 0.5 * (scores[..., 0] - codes) ** 2
    wanted = codes.long().expand(len(scores), -1)
    return -scores.log_softmax(-1).gather(-1, wanted[..., None])[..., 0]


class ReaderRows(torch.utils.data.Dataset):
    """Rows with the codes of all variables and every reader's bootstrap weights."""

    def __init__(self, X, codes, weights):
        self.parts = [torch.as_tensor(part, dtype=torch.float32) for part in (X, codes, weights)]

    def __len__(self):
        return len(self.parts[0])

    def take(self, positions):
        x, codes, weights = (part[positions] for part in self.parts)
        return x, {"codes": codes, "weights": weights}


@dataclass(frozen=True, eq=False)
class Panel:
    """The readers of a fit."""

    readers: Readers

    @property
    def names(self):
        """Names of the variables that are read."""
        return list(self.readers.columns)

    def margin(self, X, name, codes):
        """By how much the readers prefer the codes, mean over the readers: nats, or less the error of a number."""
        scores = self.scores(X, name)
        if scores.shape[-1] == 1:
            return -np.abs(scores[..., 0] - codes).mean(0)
        wanted = np.broadcast_to(codes.astype(int)[None, :, None], (*scores.shape[:2], 1))
        own = np.take_along_axis(scores, wanted, -1)[..., 0]
        others = np.where(np.arange(scores.shape[-1]) == wanted, -np.inf, scores).max(-1)
        return (own - others).mean(0)

    def linear_weights(self):
        """Weights of the linear readers on the columns of X, shape (n_features, n_readouts), by variable."""
        readers = self.readers
        linear = [member.weight for member in readers.members if isinstance(member, LinearReader)]
        stacked = {name: torch.cat([w[:, part] for w in linear], dim=1) for name, part in readers.columns.items()}
        scale: Any = readers.scale
        return {name: (w * scale[:, None]).double().numpy() for name, w in stacked.items()}

    def scores(self, X, name):
        """Scores of the variable ``name`` in the rows ``X`` (an array), of shape (n_readers, n, n_scores)."""
        with torch.inference_mode():
            x = torch.tensor(np.asarray(X), dtype=torch.float32)
            return self.readers(x)[..., self.readers.columns[name]].numpy()

    def read(self, X, name):
        """Codes of the rows as the mean of the readers tells them, shape (n,)."""
        scores = self.scores(X, name)
        if scores.shape[-1] == 1:
            return scores[..., 0].mean(0).astype(np.float64)
        shifted = scores - scores.max(-1, keepdims=True)
        return (shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))).mean(0).argmax(-1).astype(np.float64)


def fit_panel(X, variables, codes, *, device, generator, rng):
    """Readers of all ``variables`` from the rows ``X``.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
    variables : list of Variable
    codes : ndarray of shape (n, n_variables)
        NaN where missing.
    device : str
    generator : torch.Generator
    rng : numpy RandomState

    Returns
    -------
    Panel
    """
    mean, deviation = X.mean(0), X.std(0)
    live = live_columns(X)
    scale = np.where(live, 1 / np.where(live, deviation, 1.0), 0.0)
    Z = (X - mean) * scale
    widths = [variable.n_groups or 1 for variable in variables]
    stops = np.cumsum(widths)
    columns = {v.name: slice(stop - width, stop) for v, stop, width in zip(variables, stops, widths, strict=True)}
    linear = [_linear_reader(Z, variables, codes, strength, rng) for strength in LINEAR_STRENGTHS]
    n_inputs, n_outputs = X.shape[1], int(stops[-1])
    knots = np.quantile(Z, np.linspace(0, 1, N_KNOTS + 2)[1:-1], axis=0)
    networks = [
        nn.Sequential(nn.Linear(n_inputs, HIDDEN_SIZE), nn.ReLU(), nn.Dropout(0.3), nn.Linear(HIDDEN_SIZE, n_outputs))
        for _ in range(N_NETWORKS)
    ]
    networks += [AdditiveReader(knots, n_outputs) for _ in range(N_ADDITIVE)]
    trained = Readers(mean, scale, networks, columns)
    weights = rng.poisson(1.0, size=(len(X), len(networks)))
    fit_steps(
        trained,
        ReaderLoss(columns),
        ReaderRows(X, codes, weights),
        n_steps=max(READER_STEPS, READER_EPOCHS * len(X) // READER_BATCH),
        batch_size=READER_BATCH,
        lr=2e-3,
        weight_decay=0.1,
        rates={f"members.{N_NETWORKS + k}.": 5.0 for k in range(N_ADDITIVE)},
        device=device,
        generator=generator,
    )
    readers = Readers(mean, scale, [*linear, *trained.members], columns).eval().requires_grad_(False).cpu()
    return Panel(readers)


def live_columns(X):
    """Which columns vary by more than rounding; an encoder's dead units do not. Boolean of shape (n_features,)."""
    return X.std(0) > 1e-12 * np.maximum(1.0, np.abs(X.mean(0)))


def _linear_reader(Z, variables, codes, strength, rng):
    weights, biases = [], []
    bootstrap = rng.poisson(1.0, size=len(Z)).astype(float)
    for variable, code in zip(variables, codes.T, strict=True):
        known = ~np.isnan(code) & (bootstrap > 0)
        rows, told, share = Z[known], code[known], bootstrap[known]
        if variable.kind == "continuous":
            model = Ridge(alpha=1 / strength).fit(rows, told, sample_weight=share)
            weights.append(model.coef_[:, None])
            biases.append([model.intercept_])
            continue
        n_groups = variable.n_groups
        weight, bias = np.zeros((Z.shape[1], n_groups)), np.full(n_groups, -10.0)
        seen = np.unique(told).astype(int)
        if len(seen) == 1:
            bias[seen] = 0.0
        else:
            model = LogisticRegression(C=strength, max_iter=300).fit(rows, told, sample_weight=share)
            coefficients, offsets = model.coef_, model.intercept_
            if len(seen) == 2:
                coefficients, offsets = np.vstack([-coefficients / 2, coefficients / 2]), np.r_[-offsets, offsets] / 2
            weight[:, seen], bias[seen] = coefficients.T, offsets
        weights.append(weight)
        biases.append(bias)
    return LinearReader(np.column_stack(weights), np.concatenate(biases))


class Judges:
    """Readers of their own rows, one linear and one boosted per variable, that take no part in training a map.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
    variables : list of Variable
    codes : ndarray of shape (n, n_variables)
    rng : numpy RandomState
    """

    def __init__(self, X, variables, codes, rng):
        live = live_columns(X)
        self.fitted = {}
        for variable, code in zip(variables, codes.T, strict=True):
            rows = np.flatnonzero(~np.isnan(code))[:JUDGE_ROWS]
            seed = int(rng.randint(2**31 - 1))
            if variable.kind == "continuous":
                linear, boosted = Ridge(100.0), HistGradientBoostingRegressor(max_iter=100, random_state=seed)
            else:
                linear = LogisticRegression(C=0.1, max_iter=300)
                boosted = HistGradientBoostingClassifier(max_iter=100, random_state=seed)
            scaled = make_pipeline(FunctionTransformer(_take, kw_args={"columns": live}), StandardScaler(), linear)
            several = variable.kind == "continuous" or len(np.unique(code[rows])) > 1
            judges = [scaled, boosted] if several else [DummyClassifier(), DummyClassifier()]
            self.fitted[variable.name] = [judge.fit(X[rows], code[rows]) for judge in judges]

    def flipped(self, X, name, codes):
        """How surely the judges read the rows as ``codes``: the linear one's probability, the boosted one's verdict."""
        found = [(judge.predict(X) == codes).astype(float) for judge in self.fitted[name]]
        linear = self.fitted[name][0]
        found[0] = (linear.predict_proba(X) * (linear.classes_ == codes[:, None])).sum(1)
        return np.stack(found)

    def verdicts(self, X, name):
        """Codes that every judge tells of the rows: shape (n_judges, n)."""
        return np.stack([judge.predict(X) for judge in self.fitted[name]])


def _take(X, columns):
    return X[:, columns]
