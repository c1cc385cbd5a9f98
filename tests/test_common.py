"""scikit-learn's estimator checks, and the output checks that ``check_estimator`` leaves out."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_fairlatent import FairLatentTransformer

# Five epochs: the checks are about behaviour, not about quality.
ESTIMATORS = [
    FairLatentTransformer(max_epochs=5),
    FairLatentTransformer(max_epochs=5, sensitive_columns=[0]),
]


@pytest.mark.filterwarnings("ignore::sklearn_fairlatent.MissingSensitiveWarning")
@pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning")
@pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning")
@pytest.mark.filterwarnings("ignore::sklearn_fairlatent.SmallGroupWarning")
@parametrize_with_checks(ESTIMATORS)
def test_estimator_checks(estimator, check):
    check(estimator)
