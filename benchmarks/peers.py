"""The peers of the trade-off benchmark behind one interface, each with a grid from weakest to strongest fairness."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from math import ceil

import numpy as np
import pandas as pd
import torch
import zuko
from fairlearn.adversarial import AdversarialFairnessClassifier
from fairlearn.postprocessing import ThresholdOptimizer
from fairlearn.preprocessing import CorrelationRemover, PrototypeRepresentationLearner
from fairlearn.reductions import DemographicParity, EqualizedOdds, ExponentiatedGradient
from scipy.linalg import orth
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import LabelEncoder, OneHotEncoder, StandardScaler
from torch import nn

# Settings of every method that has a knob: as many chances for one as for another.
GRID_SIZE = 6
# Share of the closed-form erasure in a mix with the untouched columns.
MIXES = tuple({"alpha": alpha} for alpha in (0.0, 0.5, 0.75, 0.9, 0.97, 1.0))
# Training rows of fairlearn's LFR. It has no gradient and evaluates the objective once per parameter instead, 1,133
# times a step on Adult's 102 columns, until scipy stops it at 15,000 evaluations, after 8 to 13 steps: 84 s with 2,000
# rows, 19 minutes with 31,000. max_iter stays at its default, for so few steps are far from convergence already.
LFR_ROWS = 1000
LFR_PROTOTYPES = 10
# Weights of reconstruction (a mean over columns) and label, aif360's defaults.
LFR_RECONSTRUCT, LFR_TARGET = 0.01, 1.0
LFR_GRID = tuple({"fairness_weight": weight} for weight in (0.0, 5.0, 20.0, 50.0, 200.0, 1000.0))
# Steps of the flows per group: by likelihood alone, then with label and KL; rows of each group in a step.
FNF_STEPS = (500, 250)
FNF_BATCH = 256
# Most principal components that the flows see, and the spread of the noise on them: one-hot columns are too many
# points and too little density. On all 102 columns of Adult no gamma lowered the disparity.
FNF_COMPONENTS = 20
FNF_DITHER = 0.1
# Steps of adversarial training, 40 epochs of Adult; few rows need as many steps, or the classifier stays at chance.
ADVERSARIAL_STEPS = 2500
ADVERSARIAL_BATCH = 512


@dataclass(frozen=True)
class Rows:
    """Rows of one split.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        float64, without the sensitive attributes.
    y : ndarray of shape (n,) or None
        0 and 1, class codes, or floats for regression.
    sensitive : DataFrame of shape (n, k)
        Strings, one column per attribute.
    """

    X: np.ndarray
    y: np.ndarray | None
    sensitive: pd.DataFrame


@dataclass(frozen=True)
class Method:
    """A peer.

    Parameters
    ----------
    name : str
        Name in the tables.
    kind : {"representation", "predictor", "post-processing"}
        What ``fit`` returns: a representation has ``transform(rows)``, the others ``predict(rows, seed)``.
    grid : tuple of dict
        Settings of the knob from weakest to strongest fairness, GRID_SIZE of them, or one without a knob.
    fit : callable
        ``fit(rows, task, constraint, params, seed)``, with one of the grid as ``params``.
    supports : callable
        ``supports(task, constraint, n_attributes)``.
    needs_attribute : bool
        Whether the sensitive attributes must be known for new rows.
    downstream : {"LR", "boosting"} or None
        Base classifier of a method that gives labels itself.
    """

    name: str
    kind: str
    grid: tuple[dict, ...]
    fit: Callable
    supports: Callable
    needs_attribute: bool = False
    downstream: str | None = None


TASKS = ("binary", "multiclass", "regression", "none")
CONSTRAINTS = ("demographic_parity", "equalized_odds")


def supports(task, constraint, n_attributes, *, tasks=TASKS, constraints=CONSTRAINTS, most=None, package=None):
    """Whether task, constraint and number of attributes are within the bounds, and an optional package is there."""
    return (
        task in tasks
        and constraint in constraints
        and (most is None or n_attributes <= most)
        and (package is None or find_spec(package) is not None)
    )


def combined(sensitive):
    """One group name per row: the combination of all attributes."""
    names = sensitive.iloc[:, 0].astype(str)
    for attribute in sensitive.columns[1:]:
        names = names + "," + sensitive[attribute].astype(str)
    return names.to_numpy(dtype=object)


def one_hot(sensitive):
    return OneHotEncoder(sparse_output=False, handle_unknown="ignore").fit(sensitive.to_numpy(dtype=object))


def indicators(encoder, sensitive):
    return encoder.transform(sensitive.to_numpy(dtype=object))


# -- Linear representations --


def without_rounding(Z):
    """Z without what is rounding error in it.

    An erased or constant column is 1e-16 times the attribute instead of zero, and a StandardScaler behind, as in a
    classifier, makes a full column of it: with 3,000 rows of Adult, some of whose columns are constant, logistic
    regression after LEACE then had the disparity of the untouched columns, .18 instead of .12.
    """
    return np.round(Z, 10)


@dataclass
class Linear:
    """Standardised columns times a matrix."""

    scaler: StandardScaler
    matrix: np.ndarray

    def transform(self, rows):
        return without_rounding(self.scaler.transform(rows.X) @ self.matrix)


@dataclass
class WithAttribute:
    """All columns and the one-hot sensitive attributes, standardised."""

    encoder: OneHotEncoder
    scaler: StandardScaler

    def transform(self, rows):
        return self.scaler.transform(np.hstack([rows.X, indicators(self.encoder, rows.sensitive)]))


@dataclass
class Decorrelated:
    """fairlearn's CorrelationRemover on standardised columns."""

    encoder: OneHotEncoder
    scaler: StandardScaler
    remover: CorrelationRemover

    def transform(self, rows):
        columns = np.hstack([self.scaler.transform(rows.X), indicators(self.encoder, rows.sensitive)])
        return without_rounding(self.remover.transform(columns))


def fit_raw(rows, task, constraint, params, seed):
    encoder = one_hot(rows.sensitive)
    return WithAttribute(encoder, StandardScaler().fit(np.hstack([rows.X, indicators(encoder, rows.sensitive)])))


def fit_dropped(rows, task, constraint, params, seed):
    return Linear(StandardScaler().fit(rows.X), np.eye(rows.X.shape[1]))


def leace(X, S):
    """Matrix that erases S linearly from centred X with the least change (Belrose et al. 2023, Theorem 4.3)."""
    X, S = X - X.mean(axis=0), S - S.mean(axis=0)
    variances, axes = np.linalg.eigh(X.T @ X / (len(X) - 1))
    kept = variances > variances[-1] * len(variances) * np.finfo(float).eps  # as in a pseudo-inverse
    spread, axes = np.sqrt(variances[kept]), axes[:, kept]
    whiten, colour = axes / spread @ axes.T, axes * spread @ axes.T
    directions, strength, _ = np.linalg.svd(whiten @ X.T @ S / (len(X) - 1), full_matrices=False)
    directions = directions[:, strength > 1e-8]  # one-hot columns are one more than they have directions
    return (np.eye(len(variances)) - colour @ directions @ directions.T @ whiten).T


def fit_leace(rows, task, constraint, params, seed):
    scaler = StandardScaler().fit(rows.X)
    erase = leace(scaler.transform(rows.X), indicators(one_hot(rows.sensitive), rows.sensitive))
    return Linear(scaler, params["alpha"] * erase + (1 - params["alpha"]) * np.eye(len(erase)))


def check_leace(rows):
    """Largest absolute difference from concept-erasure, without its shrinkage and its bound on the trace."""
    from concept_erasure import LeaceFitter

    fitted = fit_leace(rows, "none", "demographic_parity", MIXES[-1], 0)
    X = torch.from_numpy(fitted.scaler.transform(rows.X))
    S = torch.from_numpy(indicators(one_hot(rows.sensitive), rows.sensitive))
    reference = LeaceFitter.fit(X, S, shrinkage=False, constrain_cov_trace=False, svd_tol=1e-8).eraser
    return float(np.abs(X.numpy() @ fitted.matrix - reference(X).numpy()).max())


def fit_correlation_remover(rows, task, constraint, params, seed):
    scaler, encoder = StandardScaler().fit(rows.X), one_hot(rows.sensitive)
    columns = np.hstack([scaler.transform(rows.X), indicators(encoder, rows.sensitive)])
    sensitive = list(range(rows.X.shape[1], columns.shape[1]))
    remover = CorrelationRemover(sensitive_feature_ids=sensitive, alpha=params["alpha"])
    return Decorrelated(encoder, scaler, remover.fit(columns))


def fit_inlp(rows, task, constraint, params, seed):
    """Iterated null-space projection (Ravfogel et al. 2020), in each iteration a linear probe for every attribute."""
    scaler = StandardScaler().fit(rows.X)
    X = scaler.transform(rows.X)
    project, directions = np.eye(X.shape[1]), []
    for _ in range(params["iterations"]):
        for attribute in rows.sensitive:
            probe = LogisticRegression(max_iter=200).fit(X @ project, rows.sensitive[attribute].to_numpy(dtype=object))
            # Late probes are weak: at unit length none of them is taken for rounding error. The softmax weights of
            # k groups sum to zero, so orth finds k - 1 directions.
            directions.extend(w / np.linalg.norm(w) for w in probe.coef_ if np.linalg.norm(w) > 0)
        found = orth(np.array(directions).T)
        if found.shape[1] >= X.shape[1]:  # another step would leave nothing
            break
        project = np.eye(X.shape[1]) - found @ found.T
    return Linear(scaler, project)


# -- Learnt representations --


@dataclass
class Prototypes:
    """What a learner of fair representations (Zemel et al. 2013) hands on for standardised columns."""

    scaler: StandardScaler
    learner: object

    def transform(self, rows):
        X = self.scaler.transform(rows.X)
        if isinstance(self.learner, PrototypeRepresentationLearner):
            return self.learner.transform(X)
        return self.learner.transform(pd.DataFrame(X)).to_numpy()


def fit_lfr_fairlearn(rows, task, constraint, params, seed):
    """fairlearn's LFR on LFR_ROWS random training rows, for budget: the reasons stand at LFR_ROWS."""
    scaler = StandardScaler().fit(rows.X)
    some = np.random.RandomState(seed).permutation(len(rows.X))[:LFR_ROWS]
    learner = PrototypeRepresentationLearner(
        n_prototypes=LFR_PROTOTYPES,
        reconstruct_weight=LFR_RECONSTRUCT / rows.X.shape[1],  # fairlearn sums over the columns
        target_weight=LFR_TARGET,
        random_state=seed,
        **params,
    )
    y = rows.y[some] if task == "binary" else None
    learner.fit(scaler.transform(rows.X[some]), y, sensitive_features=combined(rows.sensitive)[some])
    return Prototypes(scaler, learner)


def fit_lfr_aif360(rows, task, constraint, params, seed):
    """aif360's LFR, which has gradients and sees all rows; the largest group against the others."""
    from aif360.sklearn.preprocessing import LearnedFairRepresentations

    scaler = StandardScaler().fit(rows.X)
    groups = pd.Index(combined(rows.sensitive), name="group")
    learner = LearnedFairRepresentations(
        "group",
        n_prototypes=LFR_PROTOTYPES,
        reconstruct_weight=LFR_RECONSTRUCT,
        target_weight=LFR_TARGET,
        random_state=seed,
        **params,
    )
    X = pd.DataFrame(scaler.transform(rows.X), index=groups)
    try:
        learner.fit(X, pd.Series(rows.y, index=groups), priv_group=groups.value_counts().index[0])
    except AttributeError:
        # After a failed line search aif360 0.6.1 decodes scipy's message, by now a str; all is learnt by then.
        if not hasattr(learner, "prototypes_"):
            raise
    return Prototypes(scaler, learner)


class GroupFlow(nn.Module):
    """One group's bijection: symmetric whitening, which keeps the columns' meaning, then affine couplings."""

    def __init__(self, X):
        super().__init__()
        covariance = np.cov(X.T) + FNF_DITHER**2 * np.eye(X.shape[1])
        variances, axes = np.linalg.eigh(covariance)
        variances = np.maximum(variances, FNF_DITHER**2)
        self.register_buffer("mean", torch.tensor(X.mean(axis=0), dtype=torch.float32))
        for name, power in (("whiten", -0.5), ("colour", 0.5)):
            self.register_buffer(name, torch.tensor(axes * variances**power @ axes.T, dtype=torch.float32))
        self.log_det = -0.5 * float(np.log(variances).sum())
        # Scales between 1/5 and 5 a coupling: with zuko's 1/1000 to 1000 rare columns of new rows overflow.
        scale = partial(zuko.transforms.MonotonicAffineTransform, slope=0.2)
        self.couplings = zuko.flows.RealNVP(
            X.shape[1], transforms=4, randmask=True, hidden_features=(64, 64), univariate=scale
        )

    def forward(self, X):
        Z, log_det = self.couplings.transform().call_and_ladj((X - self.mean) @ self.whiten)
        return Z, log_det + self.log_det

    def inverse(self, Z):
        W, log_det = self.couplings.transform().inv.call_and_ladj(Z)
        return W @ self.colour + self.mean, log_det - self.log_det

    def log_prob(self, X):
        Z, log_det = self(X)
        return log_det - 0.5 * (Z.square() + np.log(2 * np.pi)).sum(dim=1)


@dataclass
class GroupFlows:
    """Each row through the flow of its own group, with the noise that the flows were trained on."""

    reduce: Pipeline
    flows: dict
    seed: int

    def transform(self, rows):
        groups = combined(rows.sensitive)
        X = dithered(self.reduce.transform(rows.X), torch.Generator().manual_seed(self.seed))
        Z = np.empty(X.shape)
        with torch.no_grad():
            for group in np.unique(groups):
                here = groups == group
                Z[here] = self.flows[group](X[torch.from_numpy(here)])[0].numpy()
        return Z


def dithered(X, generator):
    X = torch.tensor(X, dtype=torch.float32)
    return X + FNF_DITHER * torch.randn(X.shape, generator=generator)


def drawn(X, y, generator):
    """FNF_BATCH noisy rows of a group and their labels."""
    some = torch.randint(len(X), (FNF_BATCH,), generator=generator).numpy()
    return dithered(X[some], generator), None if y is None else y[some]


def optimise(modules, loss, steps):
    parameters = [p for module in modules for p in module.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimiser.step()
        schedule.step()


def divergence(flow, density, other, other_density, X):
    """KL divergence of a group's latent density from another's, over rows X of the group."""
    Z, log_det = flow(X)
    back, log_det_back = other.inverse(Z)
    return (density.log_prob(X).detach() - log_det - other_density.log_prob(back) - log_det_back).mean()


def fit_fnf(rows, task, constraint, params, seed):
    """One normalizing flow per combination of the attributes, after Balunovic et al. 2022 (Fair Normalizing Flows).

    The flows are first fitted by likelihood. As they then are, they are the groups' densities; copies go on with
    (1 - gamma) * loss of a linear head + gamma * KL divergences of the groups' latent densities, both ways along a
    ring of the groups (for two groups the paper's two terms). The columns are reduced to FNF_COMPONENTS, and noise
    gives them a density, which ``transform`` therefore adds too. Without a label the likelihood decides alone.
    """
    components = min(FNF_COMPONENTS, *rows.X.shape)
    reduce = make_pipeline(StandardScaler(), PCA(components, whiten=True, svd_solver="full")).fit(rows.X)
    X, groups = reduce.transform(rows.X), combined(rows.sensitive)
    names = list(np.unique(groups))
    if task == "regression":
        y = torch.tensor((rows.y - rows.y.mean()) / rows.y.std(), dtype=torch.float32)[:, None]
        n_outputs, head_loss = 1, nn.MSELoss()
    elif task != "none":
        codes = LabelEncoder().fit_transform(rows.y)
        y, n_outputs, head_loss = torch.tensor(codes), int(codes.max()) + 1, nn.CrossEntropyLoss()
    else:
        y = None
    parts = {name: (X[groups == name], None if y is None else y[groups == name]) for name in names}
    generator = torch.Generator().manual_seed(seed)

    with torch.random.fork_rng(devices=[]):  # modules draw their weights from torch's own generator
        torch.default_generator.manual_seed(seed)
        flows = {name: GroupFlow(parts[name][0]) for name in names}
        for name in names:
            optimise(
                [flows[name]],
                lambda name=name: -flows[name].log_prob(drawn(*parts[name], generator)[0]).mean() / X.shape[1],
                FNF_STEPS[0],
            )
        if y is not None:
            densities = {name: copy.deepcopy(flow).requires_grad_(False) for name, flow in flows.items()}
            head = nn.Linear(X.shape[1], n_outputs)
            ring = list(zip(names, names[1:] + names[:1], strict=True)) if len(names) > 1 else []
            pairs = list(dict.fromkeys(ring + [pair[::-1] for pair in ring]))

            def loss():
                batches = {name: drawn(*parts[name], generator) for name in names}
                supervised = sum(
                    len(parts[name][0]) / len(X) * head_loss(head(flows[name](batch)[0]), labels)
                    for name, (batch, labels) in batches.items()
                )
                unfair = sum(
                    divergence(flows[a], densities[a], flows[b], densities[b], batches[a][0]) for a, b in pairs
                )
                return (1 - params["gamma"]) * supervised + params["gamma"] * unfair

            optimise([*flows.values(), head], loss, FNF_STEPS[1])
    return GroupFlows(reduce, flows, seed)


# -- Methods that give labels --


@dataclass
class Mixture:
    """fairlearn's randomised classifiers: ExponentiatedGradient, and ThresholdOptimizer, which asks for the group."""

    model: object
    ask_group: bool = False

    def predict(self, rows, seed):
        given = {"sensitive_features": combined(rows.sensitive)} if self.ask_group else {}
        return np.asarray(self.model.predict(rows.X, random_state=seed, **given))


@dataclass
class Network:
    """A network that gives the probability of label 1, behind a scaler."""

    scaler: StandardScaler
    module: nn.Module

    def predict(self, rows, seed):
        with torch.no_grad():
            scores = self.module(torch.tensor(self.scaler.transform(rows.X), dtype=torch.float32))
        return (scores[:, 0] >= 0.5).numpy().astype(int)


def base_classifier(downstream, seed):
    """The classifier underneath, and the name under which it takes weights."""
    if downstream == "LR":
        return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)), "logisticregression__sample_weight"
    return HistGradientBoostingClassifier(random_state=seed), "sample_weight"


def fit_exponentiated_gradient(rows, task, constraint, params, seed, *, downstream):
    """The bound is that between a group and all rows; two groups may differ by twice as much."""
    moment = {"demographic_parity": DemographicParity, "equalized_odds": EqualizedOdds}[constraint]
    estimator, weights = base_classifier(downstream, seed)
    # fairlearn's own `eps` bounds the multipliers; that of the paper is the moment's difference_bound.
    model = ExponentiatedGradient(estimator, moment(difference_bound=params["bound"]), sample_weight_name=weights)
    return Mixture(model.fit(rows.X, rows.y, sensitive_features=combined(rows.sensitive)))


def fit_threshold_optimizer(rows, task, constraint, params, seed, *, downstream):
    """Under equalized odds fairlearn cannot relax the constraint, and all settings are the strict one."""
    model = ThresholdOptimizer(
        estimator=base_classifier(downstream, seed)[0],
        constraints=constraint,
        predict_method="predict_proba",
        tol=params["tol"] if constraint == "demographic_parity" else None,
    )
    return Mixture(model.fit(rows.X, rows.y, sensitive_features=combined(rows.sensitive)), ask_group=True)


def fit_adversarial(rows, task, constraint, params, seed):
    scaler = StandardScaler().fit(rows.X)
    groups = LabelEncoder().fit_transform(combined(rows.sensitive))
    n_groups = int(groups.max()) + 1
    with torch.random.fork_rng(devices=[]):
        # Own modules: fairlearn 0.15 seeds torch with a number below 1, cut to 0, so its weights know no seed.
        torch.default_generator.manual_seed(seed)
        predictor = nn.Sequential(nn.Linear(rows.X.shape[1], 64), nn.ReLU(), nn.Linear(64, 1), nn.Sigmoid())
        known = 1 if constraint == "demographic_parity" else 2
        adversary = nn.Sequential(nn.Linear(known, 32), nn.ReLU(), nn.Linear(32, 1 if n_groups == 2 else n_groups))
        if n_groups == 2:
            adversary.append(nn.Sigmoid())
        AdversarialFairnessClassifier(
            backend="torch",
            predictor_model=predictor,
            adversary_model=adversary,
            constraints=constraint,
            alpha=params["alpha"],
            learning_rate=1e-3,
            epochs=ceil(ADVERSARIAL_STEPS / ceil(len(rows.X) / ADVERSARIAL_BATCH)),
            batch_size=ADVERSARIAL_BATCH,
            shuffle=True,
            random_state=seed,
        ).fit(scaler.transform(rows.X), rows.y, sensitive_features=groups)
    # fairlearn's object is left behind: in another process it would look for torch in vain.
    return Network(scaler, predictor.eval())


BINARY = {"tasks": ("binary",)}
PARITY = {"constraints": ("demographic_parity",)}
BOUNDS = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002)


def fairlearn_method(name, kind, knob, values, fit, downstream):
    return Method(
        f"{name} ({downstream})",
        kind,
        tuple({knob: value} for value in values),
        partial(fit, downstream=downstream),
        partial(supports, **BINARY),
        needs_attribute=kind == "post-processing",
        downstream=downstream,
    )


METHODS = {
    method.name: method
    for method in (
        Method("raw", "representation", ({},), fit_raw, supports, needs_attribute=True),
        Method("attribute dropped", "representation", ({},), fit_dropped, supports),
        Method("LEACE", "representation", MIXES, fit_leace, partial(supports, **PARITY)),
        Method(
            "CorrelationRemover",
            "representation",
            MIXES,
            fit_correlation_remover,
            partial(supports, **PARITY),
            needs_attribute=True,
        ),
        Method(
            "INLP",
            "representation",
            tuple({"iterations": iterations} for iterations in (1, 2, 4, 8, 16, 32)),
            fit_inlp,
            partial(supports, **PARITY),
        ),
        Method(
            "LFR (fairlearn)",
            "representation",
            LFR_GRID,
            fit_lfr_fairlearn,
            partial(supports, tasks=("binary", "none"), **PARITY),
        ),
        Method(
            "LFR (AIF360)",
            "representation",
            LFR_GRID,
            fit_lfr_aif360,
            partial(supports, tasks=("binary", "multiclass"), most=1, package="aif360", **PARITY),
        ),
        Method(
            "FNF (flow per group)",
            "representation",
            tuple({"gamma": gamma} for gamma in (0.0, 0.001, 0.01, 0.1, 0.5, 0.9)),
            fit_fnf,
            partial(supports, **PARITY),
            needs_attribute=True,
        ),
        Method(
            "AdversarialFairnessClassifier",
            "predictor",
            tuple({"alpha": alpha} for alpha in (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)),
            fit_adversarial,
            partial(supports, **BINARY),
        ),
        *(
            fairlearn_method("ExponentiatedGradient", "predictor", "bound", BOUNDS, fit_exponentiated_gradient, base)
            for base in ("LR", "boosting")
        ),
        *(
            fairlearn_method(
                "ThresholdOptimizer",
                "post-processing",
                "tol",
                (0.1, 0.05, 0.02, 0.01, 0.005, None),
                fit_threshold_optimizer,
                base,
            )
            for base in ("LR", "boosting")
        ),
    )
}
