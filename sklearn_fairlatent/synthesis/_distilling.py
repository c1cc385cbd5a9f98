"""Distillation: the student as a torch module, its two losses, its size, and the skorch net that trains it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from .._batches import BatchLoader
from .._term_net import term_history, term_net
from ._student import Student

TERMS = ("quality", "utility")
# Share of the teacher's parameters that a student of a size may have.
SIZES = {"small": 0.1, "medium": 0.25, "large": 1.0}
# The largest student: twice the rank left the likeness of pairs on Adult as it was (.974, seed 0).
N_COMPONENTS, RANK, N_HIDDEN, N_FACTORS = 128, 16, 16, 64
# What few rows can tell; more is learnt by heart, which held-out quality hardly shows, but an attacker sees.
ROWS_PER_COMPONENT, ROWS_PER_RANK = 40, 80
SHRINKAGE = 0.8
# A default fit takes about this many steps, but sees its rows at least and at most this often.
STEPS = 1000
EPOCHS = (10, 100)
BATCH_ROWS = (32, 2048)
# Weight decay, in rows: it acts as a prior would, and weighs less the more rows there are.
PRIOR_ROWS = 500
FREE = ("mixture", "bias", "log_scale", "head_bias")


@dataclass(frozen=True)
class Shape:
    """The sizes of a student's parts."""

    sizes: tuple
    attribute_sizes: tuple
    n_vectors: int
    n_classes: int
    n_components: int
    rank: int
    n_hidden: int
    n_factors: int

    @property
    def n_parameters(self):
        """Number of parameters."""
        n_levels, n_groups = sum(self.sizes), sum(self.attribute_sizes)
        n_logits, n_inputs = self.n_classes - 1, n_levels + self.n_vectors
        mixture = self.n_components * (1 + self.rank) + (n_inputs + n_groups) * self.rank + n_levels + n_groups
        vectors = self.n_vectors * (1 + self.n_factors)
        head = n_logits * (n_inputs + 1 + self.n_hidden) + self.n_hidden * (self.rank + 1)
        return mixture + vectors + head


def fitting_shape(sizes, attribute_sizes, n_vectors, n_classes, n_rows, budget):
    """The largest shape within a budget of parameters, or the smallest there is."""
    most, most_rank = max(8, n_rows // ROWS_PER_COMPONENT), max(4, n_rows // ROWS_PER_RANK)
    share = 1.0
    while True:
        shape = Shape(
            sizes,
            attribute_sizes,
            n_vectors,
            n_classes,
            n_components=int(np.clip(N_COMPONENTS * share, 8, most)),
            rank=int(np.clip(RANK * share, 2, most_rank)),
            n_hidden=max(4, int(N_HIDDEN * share)),
            n_factors=min(max(1, int(N_FACTORS * share)), n_vectors // 2),
        )
        if shape.n_parameters <= budget or share < 1 / N_COMPONENTS:
            return shape
        share *= SHRINKAGE


class StudentModule(nn.Module):
    r"""A mixture whose components share their loadings, and a label head that reads rows through the same loadings.

    With ``e_k`` the embedding of component k, ``W`` the loadings and ``b`` a bias, column j has in component k the
    levels' probabilities ``softmax(b_j + W_j e_k)``, the attributes likewise; vectors are normal around ``W_v e_k``
    with a covariance ``F F' + diag(exp(2 t))`` common to all. The label's logits are linear in the levels and
    vectors, plus a small network of their sum of loadings.
    """

    def __init__(self, shape, log_frequencies, generator):
        super().__init__()
        self.shape = shape
        n_levels, n_groups = sum(shape.sizes), sum(shape.attribute_sizes)
        n_outputs = n_levels + n_groups + shape.n_vectors
        n_logits = shape.n_classes - 1

        def normal(*size, scale):
            return nn.Parameter(scale * torch.randn(*size, generator=generator))

        self.mixture = nn.Parameter(torch.zeros(shape.n_components))
        self.components = normal(shape.n_components, shape.rank, scale=1.0)
        # Levels, then groups, then vectors.
        self.loadings = normal(n_outputs, shape.rank, scale=0.3)
        self.bias = nn.Parameter(torch.as_tensor(log_frequencies, dtype=torch.float32))
        self.factor = normal(shape.n_vectors, shape.n_factors, scale=0.1)
        self.log_scale = nn.Parameter(torch.zeros(shape.n_vectors))
        self.head_linear = nn.Parameter(torch.zeros(n_levels + shape.n_vectors, n_logits))
        self.head_bias = nn.Parameter(torch.zeros(n_logits))
        self.head_inner = normal(shape.n_hidden, shape.rank, scale=shape.rank**-0.5)
        self.head_inner_bias = nn.Parameter(torch.zeros(shape.n_hidden))
        self.head_outer = normal(n_logits, shape.n_hidden, scale=shape.n_hidden**-0.5)

    def log_tables(self):
        """Log-probabilities of all levels and groups in every component, of shape (n_outputs, n_components)."""
        sizes = (*self.shape.sizes, *self.shape.attribute_sizes)
        logits = self.bias + self.components @ self.loadings[: sum(sizes)].T
        return torch.cat([torch.log_softmax(part, dim=1) for part in logits.split(sizes, dim=1)], dim=1).T

    def log_likelihood(self, places, vectors):
        """Log-likelihood of rows in nats, of shape (n,).

        Parameters
        ----------
        places : tensor of int of shape (n, n_columns + n_attributes)
            Where the level stands among all levels and groups; one past the last where it is missing, which sums it
            out.
        vectors : tensor of shape (n, n_vectors)
        """
        joint = torch.log_softmax(self.mixture, dim=0)
        if places.shape[1]:
            tables = self.log_tables()
            tables = torch.cat([tables, tables.new_zeros(1, tables.shape[1])])
            joint = joint + nn.functional.embedding_bag(places, tables, mode="sum")
        if self.shape.n_vectors:
            joint = joint + self._log_normal(vectors)
        return torch.logsumexp(joint, dim=1)

    def _log_normal(self, vectors):
        centres = self.components @ self.loadings[-self.shape.n_vectors :].T
        covariance = self.factor @ self.factor.T + torch.diag(torch.exp(2 * self.log_scale))
        root = torch.linalg.cholesky(covariance)
        both = torch.linalg.solve_triangular(root, torch.cat([vectors, centres]).T, upper=False).T
        x, m = both[: len(vectors)], both[len(vectors) :]
        squares = (x**2).sum(1)[:, None] - 2 * x @ m.T + (m**2).sum(1)
        log_volume = root.diagonal().log().sum() + 0.5 * self.shape.n_vectors * np.log(2 * np.pi)
        return -0.5 * squares - log_volume

    def label_logits(self, places, vectors):
        """Logits of all labels but the first, whose logit is 0, as one tensor of shape (n, n_classes)."""
        n_levels, n_columns = sum(self.shape.sizes), len(self.shape.sizes)
        plain: Any = self.head_bias
        shared: Any = 0.0
        if n_columns:
            own = places[:, :n_columns]
            plain = plain + nn.functional.embedding_bag(own, self.head_linear, mode="sum")
            shared = shared + nn.functional.embedding_bag(own, self.loadings, mode="sum")
        if self.shape.n_vectors:
            plain = plain + vectors @ self.head_linear[n_levels:]
            shared = shared + vectors @ self.loadings[-self.shape.n_vectors :]
        hidden = torch.relu(shared @ self.head_inner.T + self.head_inner_bias)
        logits = plain + hidden @ self.head_outer.T
        return torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1)

    def forward(self, rows):
        """Log-likelihoods and label logits."""
        places, vectors = rows
        return self.log_likelihood(places, vectors), self.label_logits(places, vectors)


class DistillationLoss(nn.Module):
    """``quality_weight`` times the distance of distributions plus ``utility_weight`` times that of the labels.

    Quality: minus the log-likelihood of the teacher's rows, which is the Kullback-Leibler divergence of the student
    from the teacher up to the entropy of the teacher. An invertible map changes neither, so that what is learnt of
    encoded rows is learnt of their latents. Utility: the divergence of the student's label probabilities from the
    teacher's.
    """

    def __init__(self, quality_weight, utility_weight):
        super().__init__()
        self.quality_weight, self.utility_weight = quality_weight, utility_weight

    def terms(self, output, teacher):
        """Both terms as scalars, in nats a row."""
        log_likelihood, logits = output
        teacher = teacher.to(logits)
        gap = torch.special.xlogy(teacher, teacher) - teacher * torch.log_softmax(logits, dim=1)
        return {"quality": -log_likelihood.mean(), "utility": gap.sum(1).mean()}

    def forward(self, terms):
        """The objective."""
        return self.quality_weight * terms["quality"] + self.utility_weight * terms["utility"]


class TaughtRows(torch.utils.data.Dataset):
    """Rows as the student reads them, with the teacher's label probabilities, taken whole batches at a time."""

    def __init__(self, places, vectors, teacher, device):
        self.places = torch.as_tensor(places, device=device)
        self.vectors = torch.as_tensor(vectors, dtype=torch.float32, device=device)
        self.teacher = torch.as_tensor(teacher, dtype=torch.float32, device=device)

    def __len__(self):
        return len(self.places)

    def take(self, positions):
        """Rows and what the teacher says of them."""
        return (self.places[positions], self.vectors[positions]), self.teacher[positions]


def places_of(codes, attributes, sizes, attribute_sizes):
    """Where every level and group stands among all of them; NaN, a missing group, one past the last."""
    offsets = np.cumsum((0, *sizes, *attribute_sizes), dtype=np.int64)
    groups = np.nan_to_num(attributes, nan=0).astype(np.int64)
    places = np.concatenate([codes, groups], axis=1) + offsets[:-1]
    places[:, codes.shape[1] :][np.isnan(attributes)] = offsets[-1]
    return places


def distil(shape, rows, teacher, parts, schedule, weights, seed):
    """Train a student.

    Parameters
    ----------
    shape : Shape
    rows : tuple of ndarray
        Levels (n, n_columns), vectors (n, n_vectors), codes of the attributes (n, n_attributes), NaN where missing.
    teacher : ndarray of shape (n, n_classes)
        Its label probabilities.
    parts : tuple of ndarray
        Training rows and held-out rows, which choose the epoch.
    schedule : Schedule
    weights : tuple of float
        Of quality and utility.
    seed : int

    Returns
    -------
    student : Student
    history : list of dict
    """
    codes, vectors, attributes = rows
    places = places_of(codes, attributes, shape.sizes, shape.attribute_sizes)
    train, held_out = (TaughtRows(places[p], vectors[p], teacher[p], schedule.device) for p in parts)
    generator = torch.Generator().manual_seed(seed)
    module = StudentModule(shape, _log_frequencies(places[parts[0]], shape), generator).to(schedule.device)
    net = _net(module, weights, train, held_out, schedule, generator)
    diverged = ValueError(f"lr={schedule.lr}: the distillation diverged. Pass a smaller one.")
    try:
        net.fit(train)
    except RuntimeError as error:  # of linear algebra: no covariance any more
        if "linalg" not in str(error):
            raise
        raise diverged from None
    arrays = {name: value.detach().cpu().numpy().copy() for name, value in module.state_dict().items()}
    if not all(np.isfinite(values).all() for values in arrays.values()):
        raise diverged
    return Student(shape.sizes, shape.attribute_sizes, arrays), term_history(net, TERMS)


def _log_frequencies(places, shape):
    """Log-shares of all levels and groups; half a row more is spread over those of a column."""
    sizes = (*shape.sizes, *shape.attribute_sizes)
    if not sizes:
        return np.zeros(0)
    counts = np.bincount(places.ravel(), minlength=sum(sizes) + 1)[: sum(sizes)] + 0.5 / np.repeat(sizes, sizes)
    return np.concatenate([np.log(part / part.sum()) for part in np.split(counts, np.cumsum(sizes)[:-1])])


@dataclass(frozen=True)
class Schedule:
    """The training knobs of the estimator."""

    max_epochs: int | str
    batch_size: int | str
    lr: float
    device: str
    verbose: int
    net_params: dict

    def resolve(self, n_rows):
        """Rows of a batch, and epochs."""
        batch_size = int(np.clip(n_rows // 8, *BATCH_ROWS)) if self.batch_size == "auto" else self.batch_size
        batch_size = min(n_rows, batch_size)
        epochs = self.max_epochs
        if epochs == "auto":
            epochs = int(np.clip(STEPS // max(1, n_rows // batch_size), *EPOCHS))
        return batch_size, epochs


def _net(module, weights, train, held_out, schedule, generator):
    batch_size, epochs = schedule.resolve(len(train))
    return term_net(
        module,
        DistillationLoss(*weights),
        TERMS,
        held_out,
        BatchLoader,
        generator,
        rate=schedule.lr,
        epochs=epochs,
        batch_size=batch_size,
        n_rows=len(train),
        verbose=schedule.verbose,
        net_params=schedule.net_params,
        optimizer__weight_decay=PRIOR_ROWS / len(train),
        # Shares and scales are not drawn to anything: nought is a uniform share.
        optimizer__param_groups=[(name, {"weight_decay": 0.0}) for name in FREE],
    )
