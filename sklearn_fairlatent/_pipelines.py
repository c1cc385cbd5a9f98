"""The FairLatentTransformer inside a pipeline or a search: the rows that reach it, and counterfactuals through it."""

from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ._groups import read_columns
from ._transformer import FairLatentTransformer


def best_of(estimator):
    """What a fitted search chose; anything else as it is."""
    return getattr(estimator, "best_estimator_", estimator)


def fair_step(estimator, caller, *, required=True) -> tuple[Any, list]:
    """The fitted transformer in ``estimator`` and the steps before it through which rows pass at prediction.

    Parameters
    ----------
    estimator : FairLatentTransformer, Pipeline with exactly one as a step, or a fitted search over one of these
    caller : str
    required : bool
        Whether there must be one.

    Returns
    -------
    fair : FairLatentTransformer or None
    before : list of (str, estimator)

    Raises
    ------
    TypeError
        If there are several, or none and ``required``.
    """
    estimator = best_of(estimator)
    steps = list(estimator.steps) if isinstance(estimator, Pipeline) else [("", estimator)]
    steps = [(name, step.estimator if isinstance(step, FrozenEstimator) else step) for name, step in steps]
    positions = [k for k, (_, step) in enumerate(steps) if isinstance(step, FairLatentTransformer)]
    if not positions and not required:
        return None, []
    if len(positions) != 1:
        found = f"a {type(estimator).__name__}" + f" with {len(positions)} of them" * isinstance(estimator, Pipeline)
        raise TypeError(
            f"{caller}: expected a FairLatentTransformer or a Pipeline with exactly one, or a fitted search over one "
            f"of these, got {found}."
        )
    fair = steps[positions[0]][1]
    check_is_fitted(fair)
    return fair, [(name, step) for name, step in steps[: positions[0]] if not _is_passed_over(step)]


def _is_passed_over(step):
    """Whether rows skip it at prediction, as they do a sampler in imbalanced-learn's Pipeline."""
    return step in (None, "passthrough") or hasattr(step, "fit_resample")


def through(steps, X):
    """Rows behind the steps of a pipeline."""
    for _, step in steps:
        X = step.transform(X)
    return X


def attributes_beside(X, sensitive_features):
    """The attributes by name, or None; checked against ``X`` as it was given, whose index a step may drop."""
    if sensitive_features is None:
        return None
    return read_columns(sensitive_features, np.shape(X)[0], getattr(X, "index", None))


def pipeline_counterfactual(pipeline, X, attr, value=None, *, sensitive_features=None, output="input", step=1.0):
    """Counterfactuals of a :class:`FairLatentTransformer` inside a Pipeline, in the pipeline's input units.

    Rows pass through the steps before the transformer, are moved by its ``counterfactual``, and come back through
    the inverse of these steps, last first.

    Parameters
    ----------
    pipeline : Pipeline
        A fitted pipeline with exactly one ``FairLatentTransformer``; a fitted search over such a pipeline is taken as
        its ``best_estimator_``. A transformer on its own answers as its method does.
    X : array-like of shape (n_samples, n_features)
        Rows as ``pipeline.predict`` takes them.
    attr, value, sensitive_features, output, step
        As in :meth:`FairLatentTransformer.counterfactual`. Only with ``output="input"`` the steps are inverted.

    Returns
    -------
    array or frame of shape (n_samples, n_features)
        Whatever the first step's ``inverse_transform`` returns; embeddings or latents, if ``output`` asks for them.

    Raises
    ------
    TypeError
        If ``pipeline`` does not hold exactly one transformer.
    ValueError
        If a step before it has no ``inverse_transform`` and ``output="input"``, or as
        :meth:`FairLatentTransformer.counterfactual`.

    See Also
    --------
    FairLatentTransformer.counterfactual : The same for a transformer on its own.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_fairlatent import FairLatentTransformer, pipeline_counterfactual
    >>> from sklearn_fairlatent.datasets import make_biased_latents
    >>> data = make_biased_latents(400, random_state=0)
    >>> fair = FairLatentTransformer(max_epochs=15, random_state=0)
    >>> pipeline = make_pipeline(StandardScaler(), fair, LogisticRegression())
    >>> _ = pipeline.fit(
    ...     data.data, data.target, fairlatenttransformer__sensitive_features=data.sensitive_features
    ... )
    >>> pipeline_counterfactual(pipeline, data.data[:3], data.sensitive_features.columns[0]).shape
    (3, 16)
    """
    fair, before = fair_step(pipeline, "pipeline_counterfactual")
    way_back = list(reversed(before)) if output == "input" else []
    for name, passed in way_back:
        if not hasattr(passed, "inverse_transform"):
            raise ValueError(
                f"step {name!r} ({type(passed).__name__}) has no inverse_transform, so there is no way back to the "
                "pipeline's input units. Replace it by a TabularCodec, or call counterfactual on the "
                "FairLatentTransformer step for an answer in that step's units."
            )
    told = attributes_beside(X, sensitive_features)
    moved = fair.counterfactual(through(before, X), attr, value, sensitive_features=told, output=output, step=step)
    for _, passed in way_back:
        moved = passed.inverse_transform(moved)
    return moved
