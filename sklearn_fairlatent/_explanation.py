"""What a model makes of counterfactual rows: how far its predictions move with each block."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted


@dataclass(frozen=True, eq=False)
class Explanation:
    """What :meth:`FairLatentTransformer.explain` returns.

    Attributes
    ----------
    blocks : DataFrame
        A row per block (the label, every sensitive attribute, "residual") with the columns

        - ``mean_change``: mean of the change of the prediction: of the probability of the class ``favoured``, of the
          decision function where there are no probabilities, of the decision itself where there is neither, or of a
          regressor's value;
        - ``mean_absolute_change``: mean of its absolute value;
        - ``changed``: share of rows whose decision changes, in [0, 1]; NaN for a regressor.
    groups : DataFrame
        The same for the rows of every own group of every sensitive attribute that moves, with the number of rows,
        indexed by attribute and group.
    favoured : object
        The class whose probability is followed; None for a regressor.
    n_samples : int

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_fairlatent import Explanation
    >>> blocks = pd.DataFrame(
    ...     {"mean_change": [0.1], "mean_absolute_change": [0.2], "changed": [0.05]}, index=["sex"]
    ... )
    >>> Explanation(blocks, pd.DataFrame(), "yes", 100).changed("sex")
    0.05
    """

    blocks: pd.DataFrame
    groups: pd.DataFrame
    favoured: object
    n_samples: int

    def changed(self, name):
        """Share of rows whose decision changes when a block moves.

        Parameters
        ----------
        name : str
            A block: the label's name, an attribute's, or "residual".

        Returns
        -------
        float
            In [0, 1]; NaN for a regressor.
        """
        return float(self.blocks.loc[name, "changed"])

    def __str__(self):
        """Both tables, as text."""
        return f"{self.blocks.round(3)}\n\n{self.groups.round(3)}"


def explain(fair, X, estimator, sensitive_features):
    """The tables of an :class:`Explanation`; ``fair`` is a fitted transformer."""
    predict, favoured = _prediction(estimator)
    score, decision = predict(X)
    given = fair._read_given(X, sensitive_features)
    everyone = np.arange(len(score))
    blocks, groups = {}, []
    for name, block_map in fair._block_maps.items():
        variable = block_map.variable
        own = given.current(fair, name)
        changes, flips, rows = [], [], []
        for goal in _goals(variable, own):
            move = fair._move(given, name, goal)
            moved_score, moved_decision = predict(fair._answer(move, move.end(fair), "input"))
            some = everyone if variable.kind == "continuous" else np.flatnonzero(variable.encode(goal) != own)
            rows.append(some)
            changes.append((moved_score - score)[some])
            flips.append((moved_decision != decision)[some].astype(float))
        changes, flips, rows = (np.concatenate(parts) for parts in (changes, flips, rows))
        blocks[name] = _summary(changes, flips, favoured)
        if variable.kind == "groups" and (fair._target is None or name != fair._target.name):
            for code, group in enumerate(variable.categories):
                here = own[rows] == code
                if here.any():
                    found = _summary(changes[here], flips[here], favoured)
                    groups.append({"attribute": name, "group": group, "n_samples": int((own == code).sum()), **found})
    moved_score, moved_decision = predict(fair._neutral_rows(given))
    blocks["residual"] = _summary(moved_score - score, (moved_decision != decision).astype(float), favoured)
    table = pd.DataFrame(groups, columns=["attribute", "group", "n_samples", *blocks["residual"]])
    return Explanation(
        pd.DataFrame.from_dict(blocks, orient="index").rename_axis("block"),
        table.set_index(["attribute", "group"]),
        favoured,
        len(score),
    )


def _goals(variable, own):
    """Wanted values in turn: every group for all rows, or a quantity one standard deviation up and down."""
    if variable.kind == "groups":
        return [np.full(len(own), group, dtype=variable.categories.dtype) for group in variable.categories]
    return [variable.decode(own + step) for step in (1.0, -1.0)]


def _prediction(estimator):
    """A function from rows to scores and decisions, and the class whose score it is."""
    if not is_classifier(estimator):

        def values(rows):
            told = np.asarray(estimator.predict(rows), dtype=np.float64)
            return told, told

        return values, None
    if not hasattr(estimator, "classes_"):
        check_is_fitted(estimator)
    favoured = estimator.classes_[-1]

    def scores(rows):
        decision = np.asarray(estimator.predict(rows))
        if hasattr(estimator, "predict_proba"):
            return np.asarray(estimator.predict_proba(rows))[:, -1], decision
        if not hasattr(estimator, "decision_function"):
            return (decision == favoured).astype(np.float64), decision
        told = np.asarray(estimator.decision_function(rows))
        return (told if told.ndim == 1 else told[:, -1]), decision

    return scores, favoured


def _summary(changes, flips, favoured):
    return {
        "mean_change": float(changes.mean()),
        "mean_absolute_change": float(np.abs(changes).mean()),
        "changed": float(flips.mean()) if favoured is not None else float("nan"),
    }
