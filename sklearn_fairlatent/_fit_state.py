"""What surrounds a fit: the state of the estimator before it, and the seeds of estimators inside."""

import contextlib

from sklearn.base import clone


@contextlib.contextmanager
def fresh_state(estimator, private=()):
    """Nothing of an earlier fit stands while a new one runs; all of it is back if that raises.

    Parameters
    ----------
    estimator : object
    private : tuple of str
        Fitted attributes whose names do not end in an underscore.

    Yields
    ------
    before : dict
        All attributes that there were.
    """
    before = estimator.__dict__.copy()
    for name in before:
        if name.endswith("_") or name in private:
            delattr(estimator, name)
    try:
        yield before
    except BaseException:
        estimator.__dict__.clear()
        estimator.__dict__.update(before)
        raise


def seeded(estimator, seed):
    """A clone in which every ``random_state`` that is None is ``seed``, also those of the steps inside."""
    estimator = clone(estimator)
    free = {
        name: seed
        for name, value in estimator.get_params().items()
        if value is None and (name == "random_state" or name.endswith("__random_state"))
    }
    return estimator.set_params(**free)
