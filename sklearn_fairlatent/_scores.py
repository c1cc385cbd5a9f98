"""OutOfFoldScores: what another estimator says of a row, as further columns in front of the latent space."""

import numbers

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, is_classifier
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from ._fit_state import fresh_state, seeded

# Probabilities are kept this far from 0 and 1, so that log-odds stay within +-9.2.
SMALLEST = 1e-4


class OutOfFoldScores(TransformerMixin, BaseEstimator):
    """Append an estimator's scores to X: out of fold for the training rows, the mean of the folds' models for others.

    A network learns smooth functions easily and those of trees slowly. Put in front of a
    :class:`FairLatentTransformer`, in its ``encoder`` or as a step of the pipeline, this hands it the scores of a
    boosted classifier to start from. As with :class:`sklearn.preprocessing.TargetEncoder`, ``fit_transform(X, y)`` is
    not ``fit(X, y).transform(X)``: a score that a model gives to its own training rows knows their labels.

    The scores are no fairer than the estimator: what comes behind must do the rest.

    Parameters
    ----------
    estimator : estimator, default=None
        A classifier with ``predict_proba``, or a regressor. None:
        :class:`~sklearn.ensemble.HistGradientBoostingClassifier` if y holds classes,
        :class:`~sklearn.ensemble.HistGradientBoostingRegressor` if it holds numbers that are not whole.
    cv : int, default=3
        Number of folds, at least 2; stratified on classes.
    random_state : int, RandomState instance or None, default=None
        Seed of the folds and of every ``random_state`` parameter of the estimator that is None.

    Attributes
    ----------
    estimators_ : list of estimators
        One per fold, fitted on the rows outside of it.
    classes_ : ndarray of shape (n_classes,)
        Class labels; only of a classifier.
    n_scores_ : int
        Number of columns appended: 1 for two classes (log-odds, in nats) and for a regression (the prediction), else
        one log-probability per class, centred.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X, if it has any.

    See Also
    --------
    FairLatentTransformer : Takes this as its ``encoder``.

    References
    ----------
    .. [1] Wolpert (1992), "Stacked generalization", Neural Networks 5(2), section 2.

    Examples
    --------
    >>> from sklearn_fairlatent import FairLatentTransformer, OutOfFoldScores
    >>> from sklearn_fairlatent.datasets import make_biased_latents
    >>> data = make_biased_latents(600, random_state=0)
    >>> scores = OutOfFoldScores(random_state=0)
    >>> scores.fit_transform(data.data, data.target).shape == (600, data.data.shape[1] + 1)
    True
    >>> fair = FairLatentTransformer(encoder=scores, max_epochs=5, random_state=0)
    >>> fair.fit(data.data, data.target, sensitive_features=data.sensitive_features).transform(data.data).shape
    (600, 1)
    """

    def __init__(self, estimator=None, *, cv=3, random_state=None):
        self.estimator = estimator
        self.cv = cv
        self.random_state = random_state

    def __sklearn_tags__(self):
        """Tags: y is needed."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def fit(self, X, y):
        """Fit one estimator per fold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)

        Returns
        -------
        self : OutOfFoldScores
            If ``fit`` raises, an earlier fit is left as it was.
        """
        self._fit(X, y)
        return self

    def fit_transform(self, X, y, **fit_params):
        """Fit, and append to every row the score of the estimator that did not see it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        **fit_params : dict
            None are taken; there for the signature that scikit-learn's pipelines expect.

        Returns
        -------
        X_scored : ndarray of shape (n_samples, n_features + n_scores)
        """
        if fit_params:
            raise TypeError(f"fit_transform got {sorted(fit_params)}: OutOfFoldScores takes X and y only.")
        X, folds = self._fit(X, y)
        scores = np.empty((len(X), self.n_scores_), dtype=X.dtype)
        for estimator, (_, rows) in zip(self.estimators_, folds, strict=True):
            scores[rows] = self._score(estimator, X[rows])
        return np.hstack([X, scores])

    def _fit(self, X, y):
        with fresh_state(self):
            return self._fit_folds(X, y)

    def _fit_folds(self, X, y):
        if not isinstance(self.cv, numbers.Integral) or isinstance(self.cv, bool) or self.cv < 2:
            raise ValueError(f"cv={self.cv!r}: expected the number of folds, an integer >= 2.")
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], y_numeric=False)
        numeric = type_of_target(y, input_name="y", raise_unknown=True).startswith("continuous")
        estimator = self.estimator
        if estimator is None:
            estimator = HistGradientBoostingRegressor() if numeric else HistGradientBoostingClassifier()
        classifier = is_classifier(estimator)
        if classifier and numeric:
            raise ValueError("Unknown label type: y holds numbers that are not whole. Pass a regressor, or bin y.")
        if classifier and not hasattr(estimator, "predict_proba"):
            raise TypeError(f"estimator={estimator!r} has no predict_proba. Pass one that has, or calibrate it.")
        if len(X) < self.cv:
            raise ValueError(f"cv={self.cv} folds need as many rows; X has n_samples={len(X)}.")
        rng = check_random_state(self.random_state)
        seed = int(rng.randint(np.iinfo(np.int32).max))
        if classifier:
            self.classes_, counts = np.unique(y, return_counts=True)
            if len(counts) < 2:
                raise ValueError(f"y has a single class {self.classes_.tolist()}; a classifier needs at least two.")
            if counts.min() < self.cv:
                rare = self.classes_[counts.argmin()]
                raise ValueError(
                    f"Class {rare!r} of y has {counts.min()} row(s), fewer than cv={self.cv} folds: a fold's model "
                    "would not know it. Lower cv, or merge the class with another."
                )
        splitter = (StratifiedKFold if classifier else KFold)(self.cv, shuffle=True, random_state=seed)
        folds = list(splitter.split(X, y))
        # As in scikit-learn's ensembles, also for the steps inside a pipeline.
        self.estimators_ = [seeded(estimator, seed).fit(X[train], y[train]) for train, _ in folds]
        self.n_scores_ = len(self.classes_) if classifier and len(self.classes_) > 2 else 1
        return X, folds

    def _score(self, estimator, X):
        """Scores of shape (n, n_scores)."""
        if not hasattr(self, "classes_"):
            return np.reshape(estimator.predict(X), (-1, 1))
        log_p = np.log(np.clip(estimator.predict_proba(X), SMALLEST, 1 - SMALLEST))
        if self.n_scores_ == 1:
            return log_p[:, 1:] - log_p[:, :1]
        return log_p - log_p.mean(axis=1, keepdims=True)

    def transform(self, X):
        """Append the mean score of the folds' estimators.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows that took no part in ``fit``; for those that did, use the outcome of ``fit_transform``.

        Returns
        -------
        X_scored : ndarray of shape (n_samples, n_features + n_scores)
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        scores = np.mean([self._score(estimator, X) for estimator in self.estimators_], axis=0)
        return np.hstack([X, scores.astype(X.dtype)])

    def inverse_transform(self, X_scored):
        """Drop the scores.

        Parameters
        ----------
        X_scored : array-like of shape (n_samples, n_features + n_scores)

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        X_scored = np.asarray(X_scored)
        n_columns = self.n_features_in_ + self.n_scores_
        if X_scored.ndim != 2 or X_scored.shape[1] != n_columns:
            raise ValueError(
                f"X_scored has shape {X_scored.shape}, expected (n_samples, {n_columns}): the columns of X and "
                f"{self.n_scores_} score(s), as transform gives them."
            )
        return X_scored[:, : self.n_features_in_]

    def get_feature_names_out(self, input_features=None):
        """Names of the columns of X, then "oof_score", or "oof_score_<class>" for more than two classes.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the columns of X.

        Returns
        -------
        names : ndarray of object
        """
        check_is_fitted(self)
        names = _check_feature_names_in(self, input_features)
        scores = ["oof_score"] if self.n_scores_ == 1 else [f"oof_score_{label}" for label in self.classes_]
        return np.array([*names, *scores], dtype=object)
