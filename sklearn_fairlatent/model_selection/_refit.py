"""ConstrainedRefit: what a search refits if a disparity must not exceed a bound."""

import numbers
import warnings

import numpy as np
from sklearn.base import BaseEstimator

from .._exceptions import DisparityBoundWarning


def check_bound(max_disparity):
    """Refuse what is no bound on a difference."""
    if not isinstance(max_disparity, numbers.Real) or isinstance(max_disparity, bool) or not float(max_disparity) >= 0:
        raise ValueError(f"max_disparity={max_disparity!r}: expected a number >= 0, such as 0.05.")


class ConstrainedRefit(BaseEstimator):
    """Choose the setting with the best score among those whose disparity is within a bound.

    For ``refit=`` of :class:`~sklearn.model_selection.GridSearchCV` and
    :class:`~sklearn.model_selection.RandomizedSearchCV` with two scorers. Of equal scores the one with the least
    disparity is chosen, then the first. A setting whose score or disparity is NaN in a fold is never chosen.

    Parameters
    ----------
    max_disparity : float
        Greatest mean disparity over the folds, at least 0. Small folds overstate a disparity, which makes the bound
        stricter than it says: :func:`fairness_frontier` pools the folds.
    score : str, default="score"
        The key in ``scoring`` of what is to be large.
    disparity : str, default="disparity"
        The key in ``scoring`` of a difference with a minus sign, as
        ``fairness_scorer("demographic_parity_difference")`` gives it.

    Raises
    ------
    ValueError
        If ``max_disparity`` is no number >= 0.

    Warns
    -----
    DisparityBoundWarning
        When called, if no setting is within the bound; the one with the least disparity is chosen.

    See Also
    --------
    sklearn_fairlatent.metrics.fairness_scorer : Makes the scorer of the disparity.
    fairness_frontier : All strengths at once, with pooled disparities.

    Notes
    -----
    The successive halving searches of scikit-learn take a single score and no notice of ``refit``: they cannot use it.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.pipeline import Pipeline
    >>> from sklearn_fairlatent import FairLatentTransformer
    >>> from sklearn_fairlatent.datasets import make_biased_latents
    >>> from sklearn_fairlatent.metrics import fairness_scorer
    >>> from sklearn_fairlatent.model_selection import AttributeStratifiedKFold, ConstrainedRefit
    >>> data = make_biased_latents(600, random_state=0)
    >>> X, A = pd.DataFrame(data.data).add_prefix("x"), data.sensitive_features
    >>> disparity = fairness_scorer("demographic_parity_difference", sensitive_features=A)
    >>> search = GridSearchCV(
    ...     Pipeline([
    ...         ("fair", FairLatentTransformer(max_epochs=6, random_state=0)),
    ...         ("classify", LogisticRegression()),
    ...     ]),
    ...     {"fair__fairness_strength": [0.0, 2.0]},
    ...     scoring={"score": "accuracy", "disparity": disparity},
    ...     refit=ConstrainedRefit(max_disparity=0.2),
    ...     cv=AttributeStratifiedKFold(2, sensitive_features=A, random_state=0),
    ... )
    >>> search.fit(X, data.target, fair__sensitive_features=A).best_params_
    {'fair__fairness_strength': 2.0}
    """

    def __init__(self, max_disparity, *, score="score", disparity="disparity"):
        # Also checked here: a search would call it only after all its fits.
        check_bound(max_disparity)
        self.max_disparity = max_disparity
        self.score = score
        self.disparity = disparity

    def __call__(self, cv_results):
        """Choose a setting.

        Parameters
        ----------
        cv_results : dict of str to array of shape (n_settings,)
            The ``cv_results_`` of a search.

        Returns
        -------
        best_index : int

        Raises
        ------
        ValueError
            If a score is missing or always NaN, or the disparities are positive.
        """
        check_bound(self.max_disparity)
        scores = self._means(cv_results, "score")
        negated = self._means(cv_results, "disparity")
        if (negated > 0).any():
            raise ValueError(
                f"mean_test_{self.disparity} has positive values, up to {np.nanmax(negated):.3g}: a ratio, or a "
                "difference without its minus sign. Score with minus the difference, as "
                'fairness_scorer("demographic_parity_difference") does.'
            )
        disparities = -negated
        known = ~(np.isnan(scores) | np.isnan(disparities))
        if not known.any():
            raise ValueError(
                f"Every setting has a NaN in mean_test_{self.score} or mean_test_{self.disparity}, so there is none to "
                'choose. Pass error_score="raise" to the search to see why scores fail.'
            )
        within = np.flatnonzero(known & (disparities <= self.max_disparity))
        if len(within):
            return int(within[np.lexsort((disparities[within], -scores[within]))[0]])
        known = np.flatnonzero(known)
        best = int(known[np.lexsort((-scores[known], disparities[known]))[0]])
        warnings.warn(
            f"No setting has a disparity of at most max_disparity={self.max_disparity}; the least is "
            f"{disparities[best]:.3g}, with a score of {scores[best]:.3g}, and was chosen. Search stronger settings, "
            "or raise max_disparity.",
            DisparityBoundWarning,
            stacklevel=2,
        )
        return best

    def _means(self, cv_results, argument):
        key = getattr(self, argument)
        if f"mean_test_{key}" not in cv_results:
            there = [name.removeprefix("mean_test_") for name in cv_results if name.startswith("mean_test_")]
            raise ValueError(
                f"{argument}={key!r}: the search was not scored by it but by {there}. Pass {argument}= one of these, "
                f"or scoring={{{self.score!r}: ..., {self.disparity!r}: fairness_scorer(...)}} to the search."
            )
        return np.asarray(cv_results[f"mean_test_{key}"], dtype=np.float64)
