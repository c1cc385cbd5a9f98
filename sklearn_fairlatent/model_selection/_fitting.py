"""Fitting on some rows, with the sensitive attributes given to whoever takes them."""

import inspect
from typing import Any

import narwhals as nw
import sklearn
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object


def fit_arguments(estimator):
    """Names by which ``estimator.fit`` takes the attributes; none if a step finds them in columns of X.

    Raises
    ------
    ValueError
        If nobody takes them.
    """
    columns = [
        value
        for name, value in estimator.get_params(deep=True).items()
        if name == "sensitive_columns" or name.endswith("__sensitive_columns")
    ]
    in_X = any(value is not None for value in columns)
    if sklearn.get_config()["enable_metadata_routing"]:
        asked = get_routing_for_object(estimator).consumes("fit", ["sensitive_features"])
        # What is passed would reach the step with columns too, which names an attribute twice.
        names = [] if in_X else sorted(asked)
    else:
        names = list(_prefixed(estimator))
    if not names and not in_X:
        raise ValueError(
            f"fit of {type(estimator).__name__} takes no sensitive_features, neither by itself nor in a step. Put a "
            "FairLatentTransformer into the pipeline, or switch metadata routing on if an estimator inside another one "
            "is to have them."
        )
    return names


def _prefixed(estimator):
    if isinstance(estimator, Pipeline):
        for name, step in estimator.steps:
            if step is not None and step != "passthrough":
                yield from (f"{name}__{inner}" for inner in _prefixed(step))
    elif (
        "sensitive_features" in inspect.signature(estimator.fit).parameters
        and getattr(estimator, "sensitive_columns", None) is None
    ):
        yield "sensitive_features"


def fit_with_attributes(estimator, X, y, sensitive_features):
    """Fit, giving the attributes to whoever takes them, whether metadata routing is on or off."""
    return estimator.fit(X, y, **dict.fromkeys(fit_arguments(estimator), sensitive_features))


def take_rows(values, rows):
    """Some rows of an array, a sparse matrix, a Series or a frame, as the kind of ``values``."""
    if hasattr(values, "iloc"):
        return values.iloc[rows]
    native: Any = nw.from_native(values, eager_only=True, allow_series=True, pass_through=True)
    return native[rows].to_native() if isinstance(native, nw.DataFrame) else values[rows]
