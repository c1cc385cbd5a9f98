"""The FairLatentTransformer inside a pipeline, and the rows that reach it."""

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ._transformer import FairLatentTransformer


def fair_step(estimator, caller):
    """The fitted transformer in ``estimator`` and the steps before it.

    Parameters
    ----------
    estimator : FairLatentTransformer or Pipeline with exactly one as a step
    caller : str

    Returns
    -------
    fair : FairLatentTransformer
    before : list of estimator
    """
    steps = list(estimator.steps) if isinstance(estimator, Pipeline) else [("", estimator)]
    positions = [k for k, (_, step) in enumerate(steps) if isinstance(step, FairLatentTransformer)]
    if len(positions) != 1:
        found = f"a {type(estimator).__name__}" + f" with {len(positions)} of them" * isinstance(estimator, Pipeline)
        raise TypeError(f"{caller}: expected a FairLatentTransformer or a Pipeline with exactly one, got {found}.")
    fair = steps[positions[0]][1]
    check_is_fitted(fair)
    return fair, [step for _, step in steps[: positions[0]] if step not in (None, "passthrough")]


def through(steps, X):
    """Rows behind the steps of a pipeline."""
    for step in steps:
        X = step.transform(X)
    return X
