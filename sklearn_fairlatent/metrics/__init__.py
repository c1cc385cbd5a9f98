"""Leakage, fairness scorers, group metrics and the quality of counterfactuals; everything else comes from fairlearn."""

from ._bootstrap import bias_scores, calibrated_threshold
from ._counterfactual import CounterfactualScores, counterfactual_scores
from ._disparity import bias_amplification, disparity_table, group_table, score_distribution_gap, worst_group_score
from ._leakage import Leakage, LeakageReport, leakage_score
from ._scorers import FairnessScorer, fairness_scorer
from ._synthesis import SynthesisReport, synthesis_report

__all__ = [
    "CounterfactualScores",
    "FairnessScorer",
    "Leakage",
    "LeakageReport",
    "SynthesisReport",
    "bias_amplification",
    "bias_scores",
    "calibrated_threshold",
    "counterfactual_scores",
    "disparity_table",
    "fairness_scorer",
    "group_table",
    "leakage_score",
    "score_distribution_gap",
    "synthesis_report",
    "worst_group_score",
]
