"""A report on a fitted model, and pictures of a transformer and of what it costs; the pictures need matplotlib."""

from ._counterfactual_display import CounterfactualDisplay
from ._frontier_display import FrontierDisplay
from ._latent_display import LatentDisplay
from ._leakage_display import LeakageDisplay
from ._report import FairnessReport, fairness_report
from ._training_display import TrainingDisplay

__all__ = [
    "CounterfactualDisplay",
    "FairnessReport",
    "FrontierDisplay",
    "LatentDisplay",
    "LeakageDisplay",
    "TrainingDisplay",
    "fairness_report",
]
