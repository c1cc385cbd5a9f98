"""Fair latent spaces for scikit-learn."""

from ._codec import TabularCodec
from ._exceptions import (
    DisparityBoundWarning,
    LabelLostWarning,
    MissingSensitiveWarning,
    PenaltyIneffectiveWarning,
    SmallGroupWarning,
)
from ._explanation import Explanation
from ._pipelines import pipeline_counterfactual
from ._scores import OutOfFoldScores
from ._transformer import FairLatentTransformer

__version__ = "0.1.0.dev0"

__all__ = [
    "DisparityBoundWarning",
    "Explanation",
    "FairLatentTransformer",
    "LabelLostWarning",
    "MissingSensitiveWarning",
    "OutOfFoldScores",
    "PenaltyIneffectiveWarning",
    "SmallGroupWarning",
    "TabularCodec",
    "pipeline_counterfactual",
]
