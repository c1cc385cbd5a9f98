"""Who says whether a flipped row still has its label: estimators that did not learn from the row itself."""

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from .._codec import TabularCodec
from .._encoding import as_frame
from .._joining import take_rows
from ._rows import is_number

# Rows that a judge of ours learns from: more tell little more.
JUDGE_ROWS = 10_000


def default_judge(X, seed):
    """Boosted trees, behind a codec if X is a frame.

    Raises
    ------
    ValueError
        If X has more than two dimensions.
    """
    trees = HistGradientBoostingClassifier(random_state=seed)
    frame = as_frame(X)
    if frame is not None:
        # Flipped, whole numbers and booleans may have become others, which a codec does not know. A judge learns from a
        # part of the rows, which need not have every category or a missing value.
        plain = all(map(is_number, frame.schema.values()))
        if not plain:
            return make_pipeline(TabularCodec(handle_unknown="ignore"), trees)
        return make_pipeline(FunctionTransformer(_as_floats).set_output(transform="default"), trees)
    if np.ndim(X) != 2:
        raise ValueError(
            f"judge='auto' and annotators=None read tables; X has the shape {np.shape(X)}. Pass estimators that "
            "read it, or judge=None."
        )
    return trees


def _as_floats(X):
    if isinstance(X, pd.DataFrame):
        return X.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.asarray(X, dtype=np.float64)


class Judges:
    """Two judges of the label, each fitted on one half of the rows and asked about the other; or one that knows it all.

    Parameters
    ----------
    judge : estimator
        A ``FrozenEstimator`` is asked about all rows as it is.
    """

    def __init__(self, judge):
        self.judge = judge

    def fit(self, X, y, rng):
        """Learn the label ``y`` (codes) from the rows ``X``."""
        self.frozen = isinstance(self.judge, FrozenEstimator)
        if not self.frozen:
            # Alternately, label by label, so that both halves have every one.
            order = rng.permutation(len(y))
            order = order[np.argsort(y[order], kind="stable")]
            self.half = np.empty(len(y), dtype=int)
            self.half[order] = np.arange(len(y)) % 2
            self.fitted = []
            for k in range(2):
                rows = rng.permutation(np.flatnonzero(self.half != k))[:JUDGE_ROWS]
                self.fitted.append(clone(self.judge).fit(take_rows(X, rows), y[rows]))
        return self

    def disagree(self, before, after, source):
        """Where the label reads differently after than before; both made of the rows at the positions ``source``."""
        return np.asarray(self._verdicts(before, source) != self._verdicts(after, source), dtype=bool)

    def _verdicts(self, X, source):
        if self.frozen:
            return np.asarray(self.judge.predict(X))
        told = np.empty(len(source), dtype=object)
        for k, judge in enumerate(self.fitted):
            here = np.flatnonzero(self.half[source] == k)
            if len(here):
                told[here] = judge.predict(take_rows(X, here))
        return told
