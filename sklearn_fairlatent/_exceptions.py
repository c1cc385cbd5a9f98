"""The warning categories of the package."""


class MissingSensitiveWarning(UserWarning):
    """``fit`` was called without any sensitive attribute: the latent is plain, nothing about it is fair.

    Examples
    --------
    >>> import warnings
    >>> from sklearn_fairlatent import MissingSensitiveWarning
    >>> warnings.simplefilter("error", MissingSensitiveWarning)  # make it a failure in production
    >>> warnings.resetwarnings()
    """


class LabelLostWarning(UserWarning):
    """The handed-on block tells nothing of the label, or little of what it told before the penalty."""


class PenaltyIneffectiveWarning(UserWarning):
    """The fairness penalty left the sensitive attribute as readable as it was before."""


class SmallGroupWarning(UserWarning):
    """A group has too few rows for anything to be learnt about it."""


class DisparityBoundWarning(UserWarning):
    """No setting of a search has a disparity within the bound: the one with the least disparity was chosen."""
