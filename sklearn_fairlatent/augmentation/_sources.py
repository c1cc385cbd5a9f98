"""The rows that partners are made of: those that were given, or latents of a generator with what annotators say."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from .._encoding import Encoding
from .._joining import take_rows
from .._latent import row_chunks
from ._given import LABEL, learnable
from ._judging import default_judge
from ._pairs import intersections

# Without a number, at least so many latents are drawn.
LEAST_GENERATED = 1000


@dataclass(frozen=True, eq=False)
class Sources:
    """Embeddings, rows of a table, or latents."""

    rows: Any
    label: np.ndarray  # codes
    codes: dict  # of every attribute, NaN where missing
    groups: np.ndarray  # intersection of the attributes, -1 where one is missing
    members: np.ndarray  # codes of every intersection
    annotator: Any = None  # of the label, for what is generated

    @property
    def generated(self):
        """Whether they are latents of a generator."""
        return self.annotator is not None

    def group_codes(self, groups, variables):
        """Codes by attribute of rows whose groups are given."""
        return {variable.name: self.members[groups][:, k] for k, variable in enumerate(variables)}


def given_sources(given):
    """The rows themselves."""
    codes = given.codes
    return Sources(given.rest, given.label_codes, codes, *intersections(codes))


def generated_sources(given, generator, annotators, n_latent, n_generated, batch_size, rng):
    """Latents from the standard normal, with labels and attributes that annotators read from what they become.

    Parameters
    ----------
    given : Given
        Its rows teach the annotators that are not frozen.
    generator : object
        Anything a decoder may be.
    annotators : dict of str to estimator
    n_latent : int or None
    n_generated : int or None
    batch_size : int
    rng : numpy RandomState

    Returns
    -------
    Sources
    """
    if n_latent is None:
        raise ValueError("n_latent=None: the generator does not tell how many columns its latents have. Pass it.")
    values = {LABEL: given.y} | {name: column.to_numpy() for name, column in given.attributes.items()}
    strangers = sorted(set(annotators) - set(values))
    if strangers:
        raise ValueError(f"annotators names {strangers}, expected {list(values)}.")
    Z = rng.normal(size=(n_generated or max(LEAST_GENERATED, len(given.y)), n_latent))
    fitted = {}
    for name, known in values.items():
        annotator = annotators.get(name)
        if annotator is None:
            annotator = default_judge(given.rest, int(rng.randint(2**31 - 1)))
        if not isinstance(annotator, FrozenEstimator):
            rows = np.flatnonzero(~pd.isna(known))
            annotator = clone(annotator).fit(take_rows(given.rest, rows), learnable(known[rows]))
        fitted[name] = annotator
    decode = Encoding(None, generator).decode
    told: dict[str, list] = {name: [] for name in values}
    for part in row_chunks(len(Z), batch_size):
        rows = decode(Z[part])
        for name, annotator in fitted.items():
            told[name].extend(np.asarray(annotator.predict(rows)).tolist())
    codes = {}
    for variable in (given.label, *given.variables):
        name = variable.name
        codes[name] = variable.encode(told[name], argument=f"annotators[{name!r}]")
        if len(np.unique(codes[name])) < 2:
            raise ValueError(
                f"annotators[{name!r}] reads one value only in {len(Z)} generated rows. Draw more (n_generated), or "
                "pass an annotator that tells them apart."
            )
    label = codes.pop(LABEL).astype(int)
    return Sources(Z, label, codes, *intersections(codes), fitted[LABEL])
