"""The package's own entries of the trade-off benchmark, behind the interface of the peers."""

from dataclasses import dataclass

from peers import Method

from sklearn_fairlatent import FairLatentTransformer, OutOfFoldScores

STRENGTHS = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass
class FittedLatent:
    """A fitted transformer that takes the benchmark's rows."""

    fair: FairLatentTransformer

    def transform(self, rows):
        return self.fair.transform(rows.X)


def fit_latent(rows, task, constraint, params, seed):
    fair = FairLatentTransformer(
        constraints=constraint, task="regression" if task == "regression" else "auto", random_state=seed, **params
    )
    return FittedLatent(fair.fit(rows.X, rows.y, sensitive_features=rows.sensitive))


def fit_boosted(rows, task, constraint, params, seed):
    return fit_latent(rows, task, constraint, {"encoder": OutOfFoldScores(random_state=seed), **params}, seed)


def supports_any(task, constraint, n_attributes):
    return task != "none" or constraint == "demographic_parity"


def supports_label(task, constraint, n_attributes):
    return task != "none"


def _grid(**fixed):
    return tuple({"fairness_strength": strength, **fixed} for strength in STRENGTHS)


OUR_METHODS = {
    method.name: method
    for method in (
        Method("fair latent", "representation", _grid(), fit_latent, supports_any),
        Method("fair latent, boosted scores in front", "representation", _grid(), fit_boosted, supports_label),
        # Grids of one: they are there for their leakage.
        Method("fair latent, 8 components", "representation", _grid(n_components=8)[-1:], fit_latent, supports_any),
        Method("fair latent, 8 codes", "representation", _grid(n_codes=8)[-1:], fit_latent, supports_label),
        Method(
            "fair latent, all components", "representation", _grid(n_components=None)[-1:], fit_latent, supports_any
        ),
    )
}
