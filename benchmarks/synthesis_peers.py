"""Generators of tables to compare the fair synthesizer with, each a function of training rows and a seed.

Every one is called as ``generate(table, label, sensitive, n, seed)``: a DataFrame of training rows with all columns,
the name of the label column, the names of the sensitive columns, the number of rows wanted, and a seed. It returns n
rows with the same columns and dtypes (or several such frames by name). Columns that are numbers (not bool) are
numeric, all others are categories; no value may be missing.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from itertools import islice
from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pandas.api.types import is_bool_dtype, is_integer_dtype, is_numeric_dtype
from problems import cache_folder
from scipy.special import ndtr, ndtri
from torch import nn

# Weight of the identity in the copula's correlation matrix, against columns that determine one another.
COPULA_SHRINKAGE = 1e-4
# The autoencoder's settings were chosen on validation rows split off the training rows of Adult (3,483) and German
# (140), by the joint frequencies of all pairs of columns, the AUC of boosting trained on drawn rows, and that model's
# difference between the sexes. Tried were widths 128 and 256, latents of 8 and 16, 30, 40 and 60 epochs of Adult and
# 400 to 1,600 steps of German, batches of 1/4, 1/8 and 1/16 of German's rows, KL weights 0.5 and 1 with and without a
# warm-up, label weights 1 and 5, and beta 0, 30, 100, 300 and 1,000. On Adult, with the settings below, beta = 0, 30,
# 100 and 1,000 gave AUC .897, .893, .877 and .795, differences of .19, .13, .08 and .08, and pairs .946, .949, .951
# and .931: beyond 100 quality goes and little is gained. On German, before the warm-up, AUC fell from .76 at beta = 0
# to .69 at 100 and .63 at 1,000. A KL weight of 0.5 costs pairs (.911 to .933 on Adult at beta up to 300), a label
# weight of 5 brings AUC and difference back alike. One seed on Adult, four on German.
VAE_BINS = 32
VAE_LATENT = 16
VAE_WIDTH = 128
VAE_BATCH = 512
VAE_EPOCHS = 40
# Least number of steps, for tables of few rows.
VAE_STEPS = 800
VAE_BETA = 100.0
# Most epochs, and most rows seen in all of them: 35 epochs of Adult, which stops by itself after 29.
ARGN_EPOCHS = 100
ARGN_SEEN = 1_000_000
# Rows drawn at once; the engine's own choice looks at the memory that is free.
ARGN_BATCH = 10_000
# The engine and what else it imports for tables; its other requirements are ours as well, or are for texts.
ARGN = (
    "mostlyai-engine==2.7.3",
    "datasets==5.2.0",
    "dill==0.4.1",
    "multiprocess==0.70.19",
    "opacus==1.6.0",
    "psutil==5.9.8",
    "xxhash==4.1.0",
)


def is_number(column):
    return is_numeric_dtype(column) and not is_bool_dtype(column)


def like(table, columns):
    """A frame of drawn columns in the order and with the dtypes of the table."""
    return pd.DataFrame({name: columns[name] for name in table}).astype(table.dtypes.to_dict())


def bootstrap(table, label, sensitive, n, seed):
    """Training rows drawn with replacement: the quality that no generator has to exceed, and no privacy at all."""
    return table.sample(n, replace=True, random_state=seed).reset_index(drop=True)


def independent_marginals(table, label, sensitive, n, seed):
    """Every column drawn by itself: exact marginals, fair without exception, and nothing to be learnt from it."""
    rng = np.random.default_rng(seed)
    return like(table, {name: column.array.take(rng.integers(len(column), size=n)) for name, column in table.items()})


# -- Gaussian copula --


@dataclass(frozen=True)
class Steps:
    """The empirical distribution of a column: its distinct values, each with an interval of [0, 1].

    Parameters
    ----------
    values : pandas array of shape (k,)
        In ascending order for numbers, the most frequent first for categories, as in SDV.
    codes : ndarray of int of shape (n,)
        Position in ``values`` of every row.
    edges : ndarray of shape (k + 1,)
        Ends of the intervals; each is as wide as its value is frequent.
    """

    values: pd.api.extensions.ExtensionArray
    codes: np.ndarray
    edges: np.ndarray

    @classmethod
    def of(cls, column):
        codes = pd.factorize(column, sort=is_number(column))[0]
        counts, first = np.bincount(codes), np.unique(codes, return_index=True)[1]
        if not is_number(column):
            order = np.argsort(-counts, kind="stable")
            codes, counts, first = np.argsort(order)[codes], counts[order], first[order]
        return cls(column.array.take(first), codes, np.append(0.0, np.cumsum(counts)) / len(codes))

    def scores(self, rng):
        """Normal scores of the training rows, ties spread uniformly over their interval."""
        width = np.diff(self.edges)[self.codes]
        return ndtri(self.edges[self.codes] + width * rng.uniform(1e-9, 1 - 1e-9, size=len(width)))

    def at(self, scores):
        """Values at the normal scores: the empirical quantile function."""
        return self.values.take(np.searchsorted(self.edges[1:-1], ndtr(scores), side="right"))


def gaussian_copula(table, label, sensitive, n, seed):
    """Gaussian copula of the empirical marginals.

    Marginals are exact, with spikes and integers. Categories are intervals in the order of their frequency and values
    are dithered in their interval, as SDV does it; its parametric marginals, which miss spikes, are not copied.
    """
    rng = np.random.default_rng(seed)
    steps = {name: Steps.of(column) for name, column in table.items()}
    scores = np.column_stack([step.scores(rng) for step in steps.values()])
    correlation = np.atleast_2d(np.corrcoef(scores, rowvar=False))
    correlation = (1 - COPULA_SHRINKAGE) * correlation + COPULA_SHRINKAGE * np.eye(len(steps))
    drawn = rng.standard_normal((n, len(steps))) @ np.linalg.cholesky(correlation).T
    return like(table, {name: step.at(z) for (name, step), z in zip(steps.items(), drawn.T, strict=True)})


# -- A variational autoencoder with distance covariance --


@dataclass(frozen=True)
class Bins:
    """A column of numbers as up to VAE_BINS bins; a value with the share of a bin or more has one of its own.

    Parameters
    ----------
    codes : ndarray of int of shape (n,)
    low, high : ndarray of shape (k,)
        Lowest and highest training value of every bin.
    whole : bool
        Whether all training values are whole numbers.
    """

    codes: np.ndarray
    low: np.ndarray
    high: np.ndarray
    whole: bool

    @classmethod
    def of(cls, column):
        x = column.to_numpy(dtype=float)
        values, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
        alone = (counts >= len(x) / VAE_BINS) | (len(values) <= VAE_BINS)
        rest = ~alone[inverse]
        n_rest = VAE_BINS - alone.sum()
        bins = np.zeros(len(values), dtype=int)
        if rest.any():
            cuts = np.unique(np.quantile(x[rest], np.linspace(0, 1, n_rest + 1)[1:-1]))
            bins = np.searchsorted(cuts, values, side="right")
        bins[alone] = VAE_BINS + np.arange(alone.sum())
        codes = np.unique(bins[inverse], return_inverse=True)[1]
        groups = pd.Series(x).groupby(codes)
        whole = is_integer_dtype(column) or bool((x == np.round(x)).all())
        return cls(codes, groups.min().to_numpy(), groups.max().to_numpy(), whole)

    def values(self, codes, rng):
        low, high = self.low[codes], self.high[codes]
        if self.whole:
            return np.minimum(low + np.floor(rng.uniform(size=len(codes)) * (high - low + 1)), high)
        return low + rng.uniform(size=len(codes)) * (high - low)


@dataclass(frozen=True)
class Categories:
    """A column of categories as codes."""

    codes: np.ndarray
    levels: pd.api.extensions.ExtensionArray

    @classmethod
    def of(cls, column):
        codes = pd.factorize(column)[0]
        return cls(codes, column.array.take(np.unique(codes, return_index=True)[1]))

    def values(self, codes, rng):
        return self.levels.take(codes)


def coded(column):
    return (Bins if is_number(column) else Categories).of(column)


def squared_distance_covariance(z, s):
    """Squared sample distance covariance of two batches of shapes (n, d) and (n, k)."""
    a, b = torch.cdist(z, z), torch.cdist(s, s)
    b = b - b.mean(dim=0) - b.mean(dim=1, keepdim=True) + b.mean()
    return (a * b).mean()  # to centre one of the two is enough, for centring is a projection


class FairAutoencoder(nn.Module):
    """Encoder of all but the sensitive columns, decoder of (latent, s), and a label head of the latent alone."""

    def __init__(self, sizes, label_size, n_groups):
        super().__init__()
        self.sizes = sizes
        self.encoder = nn.Sequential(*hidden(sum(sizes) + label_size), nn.Linear(VAE_WIDTH, 2 * VAE_LATENT))
        self.decoder = nn.Sequential(*hidden(VAE_LATENT + n_groups), nn.Linear(VAE_WIDTH, sum(sizes)))
        self.head = nn.Sequential(*hidden(VAE_LATENT), nn.Linear(VAE_WIDTH, label_size))

    def encode(self, columns, generator):
        mean, log_variance = self.encoder(columns).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn(mean.shape, generator=generator)
        return z, 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)

    def decode(self, z, s):
        """Logits of every column, the label's last."""
        return [*self.decoder(torch.cat([z, s], dim=1)).split(self.sizes, dim=1), self.head(z)]


def hidden(n_inputs):
    return nn.Linear(n_inputs, VAE_WIDTH), nn.SiLU(), nn.Linear(VAE_WIDTH, VAE_WIDTH), nn.SiLU()


def fit_fair_vae(codes, s, seed, generator):
    """The trained autoencoder of columns of codes, the label's last, and of one-hot s."""
    sizes = [int(c.max()) + 1 for c in codes]
    targets = torch.tensor(np.column_stack(codes))
    columns = torch.cat([nn.functional.one_hot(t, k) for t, k in zip(targets.T, sizes, strict=True)], dim=1).float()
    with torch.random.fork_rng(devices=[]):  # modules draw their weights from torch's own generator
        torch.default_generator.manual_seed(seed)
        model = FairAutoencoder(sizes[:-1], sizes[-1], s.shape[1])
    # In a small batch the distance covariance of independent z and s is far from zero, and shrinks z.
    batch = min(VAE_BATCH, ceil(len(s) / 4))
    steps = max(VAE_EPOCHS * (len(s) // batch), VAE_STEPS)
    optimiser = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    for step, rows in enumerate(islice(batches(len(s), batch, generator), steps)):
        z, divergence = model.encode(columns[rows], generator)
        logits = model.decode(z, s[rows])
        error = sum(nn.functional.cross_entropy(part, t) for part, t in zip(logits, targets[rows].T, strict=True))
        unfair = squared_distance_covariance(z, s[rows])
        loss = error + min(1.0, 2 * step / steps) * divergence.mean() + VAE_BETA * unfair
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return model


def batches(n, size, generator):
    """Positions of batches without end, every row at most once an epoch."""
    while True:
        yield from torch.randperm(n, generator=generator)[: n // size * size].split(size)


def fair_vae(table, label, sensitive, n, seed):
    """A variational autoencoder whose latent is made independent of s by distance covariance.

    Ours, after the recipe of FairDisCo (Liu et al., "Fair representation learning: an alternative to mutual
    information", KDD 2022): loss = reconstruction + KL + beta * V^2(z, s).
    A row is drawn as z ~ N(0, I), the sensitive columns from the training rows independently of z, the label from z
    alone, the other columns from both.
    """
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    names = [name for name in table if name not in sensitive and name != label] + [label]
    columns = [coded(table[name]) for name in names]
    group = table.groupby(sensitive, observed=True).ngroup().to_numpy()
    s = nn.functional.one_hot(torch.tensor(group)).float()
    model = fit_fair_vae([column.codes for column in columns], s, seed, generator)
    rows = rng.integers(len(table), size=n)
    with torch.no_grad():
        logits = model.decode(torch.randn((n, VAE_LATENT), generator=generator), s[torch.from_numpy(rows)])
        codes = [torch.multinomial(part.softmax(dim=1), 1, generator=generator)[:, 0].numpy() for part in logits]
    drawn = {name: column.values(code, rng) for name, column, code in zip(names, columns, codes, strict=True)}
    drawn |= {name: table[name].array.take(rows) for name in sensitive}
    return like(table, drawn)


# -- An autoregressive network from PyPI --


def argn_folder():
    """Folder with the packages of ARGN, installed on first use, for nothing of them may enter the environment.

    mostlyai-engine requires torchvision and torchaudio too, which PyPI has for CUDA only: beside a CPU build of torch
    they break transformers. It imports neither for tables, nor the packages for its language models.
    """
    folder = cache_folder() / "packages" / ARGN[0]
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as draft:
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", f"{draft}/packages"]
            subprocess.run([*command, *ARGN], check=True)
            Path(draft, "packages").rename(folder)
    return folder


def argn_here(folder):
    """Fit and sample in this process, as ``argn`` has it done in another; files of ``folder`` in and out."""
    from mostlyai.engine import TabularARGN

    folder = Path(folder)
    table = pd.read_pickle(folder / "table.pkl")
    asked = json.loads((folder / "asked.json").read_text())
    model = TabularARGN(
        max_epochs=min(ARGN_EPOCHS, ARGN_SEEN / len(table)),
        # The engine's own rule, which would also look at the memory that is free.
        batch_size=int(np.clip(2 ** int(np.log2(max(len(table) * 0.8, 64) / 64)), 8, 512)),
        value_protection=False,  # rare values are kept, as all peers here keep them
        tgt_encoding_types=asked["encodings"],
        device="cpu",
        workspace_dir=folder / "workspace",
        random_state=asked["seed"],
    ).fit(table)
    for name, fairness in asked["fairness"].items():
        drawn = model.sample(asked["n"], batch_size=min(asked["n"], ARGN_BATCH), fairness=fairness)
        drawn.to_pickle(folder / f"{name}.pkl")


def argn(table, label, sensitive, n, seed):
    """TabularARGN of mostlyai-engine (Tiwald et al. 2025, Apache-2.0): an autoregressive network over binned columns.

    Trained until its own early stopping, within bounds of time: 112 s of one thread for the 28,000 rows of Adult.

    Returns
    -------
    dict of str to DataFrame
        "ARGN", and "fair ARGN" with its option ``fairness``: the label's probabilities are moved to the same
        distribution in every group (Krchova et al. 2023, "Strong statistical parity through fair synthetic data").
    """
    columns = {
        name: column if is_number(column) and name not in sensitive and name != label else Categories.of(column)
        for name, column in table.items()
    }
    categories = [name for name, column in columns.items() if isinstance(column, Categories)]
    # Codes for names: the engine reads some names as missing values, others as numbers.
    sent = pd.DataFrame({k: [f"c{c}" for c in v.codes] if k in categories else v for k, v in columns.items()})
    asked = {
        "n": n,
        "seed": seed,
        "encodings": dict.fromkeys(categories, "TABULAR_CATEGORICAL"),
        "fairness": {"ARGN": None, "fair ARGN": {"target_column": label, "sensitive_columns": list(sensitive)}},
    }
    with tempfile.TemporaryDirectory() as folder:
        sent.to_pickle(Path(folder, "table.pkl"))
        Path(folder, "asked.json").write_text(json.dumps(asked))
        # The engine seeds every global generator and keeps the seed in the environment: in a process of its own.
        call = f"from synthesis_peers import argn_here; argn_here({folder!r})"
        paths = os.pathsep.join([str(Path(__file__).parent), str(argn_folder()), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": paths, "HF_HOME": folder, "HF_HUB_OFFLINE": "1"}
        subprocess.run([sys.executable, "-W", "ignore", "-c", call], check=True, env=environment)
        both = {name: pd.read_pickle(Path(folder, f"{name}.pkl")) for name in asked["fairness"]}
    for drawn in both.values():
        for name in categories:
            drawn[name] = columns[name].levels.take(drawn[name].str[1:].astype(int).to_numpy())
    return {name: like(table, drawn) for name, drawn in both.items()}


PEERS = {
    "bootstrap": bootstrap,
    "independent marginals": independent_marginals,
    "Gaussian copula": gaussian_copula,
    "fair VAE": fair_vae,
    "ARGN": argn,
}
