"""Folds stratified on sensitive attributes, and the choice of a model under a bound on its disparity."""

from ._frontier import FairnessFrontier, fairness_frontier
from ._refit import ConstrainedRefit
from ._split import AttributeStratifiedKFold

__all__ = ["AttributeStratifiedKFold", "ConstrainedRefit", "FairnessFrontier", "fairness_frontier"]
