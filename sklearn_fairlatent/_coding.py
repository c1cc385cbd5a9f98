"""The part of the estimator that hands on a finite code: its cells, and which rows are not new."""

from typing import Any

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ._codebook import Codebook, group_gaps
from ._fingerprint import Fingerprint, hash_rows
from ._latent import sample_rows

# Rows that choose the cells of a finite code.
CODE_ROWS = 200_000


def _has_codes(fair):
    if fair.n_codes is None and not hasattr(fair, "codebook_"):
        raise AttributeError("to_codes needs a finite code: set n_codes before fit.")
    return True


class CodingMixin:
    """The finite code of a transformer; see :class:`~sklearn_fairlatent.FairLatentTransformer`."""

    # What it needs of the estimator.
    n_codes: Any
    encoding_: Any
    codebook_: Codebook
    _read_rows: Any
    _hand_on: Any

    def _note_rows(self, X, before):
        """Remember the rows of ``fit``, before it takes its time."""
        n_samples = len(X)
        if self.n_codes > n_samples:
            raise ValueError(f"n_codes={self.n_codes}: X has only {n_samples} rows to make cells of. Lower n_codes.")
        if "flow_" in before and "_fingerprint" not in before:
            raise ValueError(
                f"n_codes={self.n_codes} with warm_start=True: the last fit had n_codes=None and did not note its "
                "rows, so that nothing could tell new ones. Set n_codes from the first fit on."
            )
        self._fingerprint = Fingerprint.of(hash_rows(X), before.get("_fingerprint"))

    def _fit_codebook(self, E, codes, task, target, label, seed):
        """The cells of the finite code."""
        rows = sample_rows(np.arange(len(E)), CODE_ROWS, np.random.RandomState(seed))
        Z = self._hand_on(E[rows], np.float64)
        # The last class first, whose mean gives the order of the codes where it is the second of two.
        targets = Z if target is None else target.design(label[rows])[:, ::-1]
        gaps = group_gaps(codes.members[rows], codes.strata[rows], task.comparison_weights)
        self.codebook_ = Codebook.fit(
            Z,
            targets,
            gaps,
            self.n_codes,
            strength=task.strength,
            are_classes=target is not None and target.kind == "groups",
            seed=seed,
        )

    def _quantised(self, Z):
        """What is handed on: ``Z`` itself, or the representatives of its cells."""
        if not hasattr(self, "codebook_"):
            return Z
        return self.codebook_.representatives.astype(Z.dtype)[self.codebook_.assign(Z)]

    @available_if(_has_codes)
    def to_codes(self, X):
        """The cell of every row, with ``n_codes``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        codes : ndarray of int of shape (n_samples,)
            In [0, ``codebook_.n_codes``). Of a single handed-on column they follow it, in the direction in which the
            mean label (the share of the last class) rises; of several they ascend with that mean, without a label with
            the first column.

        Raises
        ------
        ValueError
            If ``n_codes`` was set after ``fit``.
        """
        check_is_fitted(self)
        if not hasattr(self, "codebook_"):
            raise ValueError(f"n_codes={self.n_codes} was set after fit, which made no code. Call fit again.")
        X, _ = self._read_rows(X, reset=False)
        return self._codes_of(X)

    def _codes_of(self, X):
        """The cells of rows that were read."""
        return self.codebook_.assign(self._hand_on(self.encoding_.encode(X)))
