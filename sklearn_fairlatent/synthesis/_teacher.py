"""The teacher: a fitted FairLatentTransformer, what its handed-on block says of the label, and rows of its own."""

import warnings

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import QuantileTransformer
from sklearn.utils.validation import check_is_fitted

from .._codec import TabularCodec
from .._exceptions import LabelLostWarning, MissingSensitiveWarning
from .._joining import take_rows
from .._latent import sample_rows
from .._transformer import FairLatentTransformer
from ._checks import inner_transformer

# Rows whose latents tell how the teacher's own rows are distributed, and quantiles of each of its columns.
LATENT_ROWS, N_QUANTILES = 10_000, 1000
# Of a default teacher: the next where the label is lost, as it is on Law school's three columns.
DEFAULT_STRENGTHS = (1.0, 0.5, 0.25, 0.125)


class Teacher:
    """A transformer with a readout of the label from what it hands on.

    Parameters
    ----------
    transformer : FairLatentTransformer, fitted
    readout : LogisticRegression, fitted
        On what the transformer hands on.
    """

    def __init__(self, transformer, readout):
        self.transformer, self.readout = transformer, readout

    @classmethod
    def fit(cls, transformer, X, y, codes, attributes, variables, seed, *, is_table, device):
        """The teacher, and its label probabilities of the training rows; from the user's transformer, fitted or not."""
        frozen = inner_transformer(transformer)
        if frozen is transformer and not _is_fitted(transformer):
            frozen, Z = _fitted(transformer, X, y, attributes, variables, seed, is_table, device)
        else:
            Z = np.asarray(frozen.transform(X))
        teacher = cls(frozen, LogisticRegression(max_iter=1000).fit(Z, codes))
        teacher._describe(X, attributes, seed)
        return teacher, teacher.readout.predict_proba(Z)

    def _describe(self, X, attributes, seed):
        """Learn the distribution of the latent: normal within every group, what is handed on by its normal scores."""
        known = np.flatnonzero(~np.isnan(attributes).any(axis=1))
        rows = sample_rows(known, LATENT_ROWS, np.random.RandomState(seed))
        # Of a rare group, too, there is a row.
        rows = np.union1d(rows, known[np.unique(attributes[known], axis=0, return_index=True)[1]])
        latents = np.array(self.transformer.to_latent(take_rows(X, rows)), dtype=np.float64)
        self.scores = QuantileTransformer(
            n_quantiles=min(N_QUANTILES, len(rows)), output_distribution="normal", subsample=None
        ).fit(latents[:, self.handed_on])
        latents[:, self.handed_on] = self.scores.transform(latents[:, self.handed_on])
        self.cells, cell = np.unique(attributes[rows].astype(int), axis=0, return_inverse=True)
        cell = cell.ravel()
        self.means = np.stack([latents[cell == k].mean(axis=0) for k in range(len(self.cells))])
        values, vectors = np.linalg.eigh(np.atleast_2d(np.cov((latents - self.means[cell]).T)))
        self.root = vectors * np.sqrt(np.clip(values, 0, None))

    @property
    def can_decode(self):
        """Whether its latents have a way back to the space of X."""
        return self.transformer.encoding_.can_decode

    @property
    def handed_on(self):
        """Columns of the latent that the transformer hands on."""
        return self.transformer.latent_layout_.handed_on

    @property
    def n_parameters(self):
        """Trained parameters of the flow, with what it hands on to the label."""
        return sum(parameter.numel() for parameter in self.transformer.flow_.parameters()) + self.readout.coef_.size

    @property
    def n_bytes(self):
        """Bytes of all that the flow holds."""
        state = self.transformer.flow_.state_dict().values()
        return sum(tensor.numel() * tensor.element_size() for tensor in state)

    def probabilities(self, X):
        """What the handed-on block of rows says of the label, of shape (n, n_classes)."""
        return self.readout.predict_proba(np.asarray(self.transformer.transform(X)))

    def draw(self, groups, n, rng):
        """Latents of one group each of all attributes, in a tuple."""
        cell = int(np.flatnonzero((self.cells == groups).all(axis=1))[0])
        latents = self.means[cell] + rng.standard_normal((n, len(self.root))) @ self.root.T
        latents[:, self.handed_on] = self.scores.inverse_transform(latents[:, self.handed_on])
        return (latents,)

    def label_probabilities(self, latents):
        """What the handed-on columns of latents say of the label."""
        return self.readout.predict_proba(latents[:, self.handed_on])

    def decode(self, latents):
        """Rows as the transformer gives them back."""
        return self.transformer.from_latent(latents)


def _is_fitted(transformer):
    if transformer is None:
        return False
    try:
        check_is_fitted(transformer)
    except NotFittedError:
        return False
    return True


def _fitted(transformer, X, y, attributes, variables, seed, is_table, device):
    """A new transformer fitted on the rows, and what it hands on of them."""
    groups = {
        variable.name: [None if np.isnan(code) else variable.categories[int(code)] for code in codes]
        for variable, codes in zip(variables, attributes.T, strict=True)
    }
    strengths = DEFAULT_STRENGTHS
    if transformer is None:
        transformer = FairLatentTransformer(encoder=TabularCodec() if is_table else None, device=device)
    else:
        strengths = (transformer.fairness_strength,)
    for strength in strengths:
        new = clone(transformer).set_params(fairness_strength=strength)
        if new.random_state is None:
            new.set_params(random_state=seed)
        with warnings.catch_warnings():
            # Both were said once, of the same rows.
            warnings.simplefilter("ignore", MissingSensitiveWarning)
            warnings.filterwarnings("ignore", message="sensitive_features: .* rows have no value of")
            if strength != strengths[-1]:
                warnings.simplefilter("ignore", LabelLostWarning)
            Z = np.asarray(new.fit_transform(X, y, sensitive_features=groups or None))
        if not new.label_lost_:
            break
    return new, Z
