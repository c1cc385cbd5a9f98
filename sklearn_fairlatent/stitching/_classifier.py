"""FairStitchClassifier: read the network, cut it, cache its features, train the stitch, predict."""

import copy
from collections import OrderedDict
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted
from torch import nn

from .._attributes import Variable, resolve_pos_label
from .._batches import split_rows
from .._devices import PortableEstimator
from .._encoding import through_module
from .._fit_state import fresh_state
from .._rows import FLOATS, RowsMixin
from .._sensitive import read_attributes, read_classes
from .._training import reproducible
from ._cells import cells_of, coded_rows, smallest_cells
from ._checks import check_parameters
from ._constraints import CONSTRAINTS
from ._cutting import CutNetwork, with_stitch
from ._layers import new_stitch, places, stitch_best
from ._networks import Trained, check_values, trained_network
from ._stitches import FreshLayer
from ._training import Goal, Schedule, StitchedHead

# The name of the label where attributes have theirs.
LABEL = "target"
# Rows that show what a network gives, and whether one with the stitch among its layers gives what its parts do.
PROBED = 64
# Precisions that no stitch is trained in.
HALF = (torch.float16, torch.bfloat16)


class FairStitchClassifier(RowsMixin, ClassifierMixin, PortableEstimator):
    r"""De-bias a trained network by a small layer between its frozen extractor and its frozen head.

    The network is cut after one of its layers. What comes out there goes through a *stitch*, which is the identity
    before training, and on through the rest: ``logits = head(stitch(extractor(x)))``. Only the stitch is trained, on
    features that are computed once, with the label's loss on group-balanced rows and a penalty on the disparity
    between the groups. The sensitive attributes enter at ``fit`` only.

    Parameters
    ----------
    network : torch.nn.Module, skorch net, estimator or None, default=None
        What was trained. A module or a fitted skorch net is used as it is; an estimator is cloned and fitted, unless
        wrapped in :class:`sklearn.frozen.FrozenEstimator`, which also keeps it through :func:`sklearn.base.clone`. Of
        scikit-learn's, :class:`~sklearn.neural_network.MLPClassifier` and
        :class:`~sklearn.linear_model.LogisticRegression`, alone or behind a
        :class:`~sklearn.preprocessing.StandardScaler` in a Pipeline, become modules that give the same probabilities.
        None: such an MLP with layers of 64 and 32 units. It is copied, never changed.
    extractor, head : torch.nn.Module or None, default=None
        Instead of ``network``: its two parts, where it cannot be cut by following its layers.
    split : str, default="auto"
        Name of the layer after which to stitch, as in ``network.named_modules()``, or "input": in front of the first
        one. "auto": every layer that everything goes through, but the last one with weights, is tried (the last
        eight, up to 1,024 values a row), and the one with the least objective on held-out rows is kept; see
        ``split_scores_``. The layers of an MLPClassifier are "hidden_0", "activation_0", ..., "output".
    constraints : str, default="equalized_odds"
        What fairness means. "equalized_odds": equal rates of every decision within each label.
        "true_positive_rate_parity" (or "equal_opportunity"): within ``pos_label``. "demographic_parity": over all
        rows. "accuracy_equality": equal loss of the groups. "max_min": the highest loss of a cell of label and group.
    pos_label : object, default=None
        The favourable label, for "true_positive_rate_parity". None: 1 of {0, 1} or {-1, 1}, True of booleans.
    fairness_strength : float, default=1.0
        Weight of the disparity, at least 0; of rates in [0, 1] against nats.
    stitch : {"residual", "linear", "last_layer"} or torch.nn.Module, default="residual"
        "residual": the features plus a network with one hidden layer. "linear": an affine map, which before a linear
        head can no more than training that head again. "last_layer": no stitch but new weights of the last layer with
        weights, from a random start (the FDR baseline [2]_); ``split`` then has no meaning. A module is copied and
        trained; it takes and gives features of one shape, and should be the identity before. On maps of shape
        (n, channels, height, width) the same stitch works on the channels of every position, on (n, tokens, features)
        on those of every token.
    balanced : {True, "subsample", False}, default=True
        The label's loss is that of rows on which every combination of label and group counts the same. True: by
        weights. "subsample": by leaving out rows, until all combinations have as many as the smallest, as published
        [1]_. False: rows count as they are. The rates are always those of the rows as they are.
    sensitive_columns : list of str or int, default=None
        Columns of X that are sensitive attributes. The network never sees them; a frame may lack them after ``fit``.
    classes : array-like or None, default=None
        Classes in the order of a module's outputs. None: the sorted values of y. A skorch net or an estimator knows
        its own.
    network_output : {"auto", "logits", "probabilities"}, default="auto"
        What the network gives. "auto": of a skorch net, what its criterion tells; of a module, probabilities if its
        last step is a softmax or sigmoid. Of two classes it may give one number, for the second. What the first rows
        contradict is refused.
    hidden_size : int, default=32
        Units of the residual stitch.
    max_epochs : int or "auto", default="auto"
        Passes over the training rows. "auto": about 200 steps, between 10 and 200 passes.
    batch_size : int or "auto", default="auto"
        Rows a step, drawn so that every combination of label and group has its share; at least 2. "auto": 2,048, or
        all if there are fewer. The disparity of a small batch is mostly noise.
    lr : float or "auto", default="auto"
        Peak of the one-cycle learning rate. "auto": 1e-2, and 1e-1 for a fresh last layer, which starts from nothing.
    validation_fraction : float, default=0.2
        Share of rows held out, 2,000 at most, to choose the epoch and the layer. With fewer than 20 the training rows
        are used.
    on_missing_sensitive : {"warn", "raise"}, default="warn"
        What ``fit`` does without any sensitive attribute.
    device : str, default="cpu"
        torch device for the network and the stitch, in ``fit`` and later. A pickle of a fit on "cuda" also loads where
        there is none, and then computes on the CPU.
    n_threads : int, default=1
        Threads used inside ``fit``, whatever the process has, so that a seed gives the same bits everywhere.
    random_state : int, RandomState instance or None, default=None
        Seed. An integer gives the same bits every time on one machine.
    verbose : int, default=0
        1: one line an epoch. 2: a progress bar.
    net_params : dict or None, default=None
        Further arguments of :class:`skorch.NeuralNet`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    network_ : torch.nn.Module
        The frozen network, without the stitch.
    extractor_, head_ : torch.nn.Module
        Its two parts.
    stitch_ : torch.nn.Module
        The trained stitch.
    split_ : str
        The layer after which it is stitched; with ``stitch="last_layer"``, the layer it replaces.
    split_scores_ : DataFrame
        For each layer tried, on held-out rows: ``objective``, ``nll`` (nats, on balanced rows), ``disparity`` (of soft
        decisions), ``balanced_accuracy`` and ``hard_disparity`` (of decisions); ``n_features``, those of a row.
    history_ : list of dict
        Per epoch: ``nll``, ``disparity`` and ``loss``, with the prefix ``train_`` or ``valid_``.
    improved_on_start_ : bool
        False if training did not improve on what it started from, which was then kept.
    trained_without_sensitive_ : bool
        True if ``fit`` saw no sensitive attribute: nothing about this classifier is fair.
    n_iter_ : int
        Number of epochs run for the layer that was kept.
    n_features_in_ : int
        Number of columns of X, or of its channels.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X, if it has any.

    See Also
    --------
    sklearn_fairlatent.FairLatentTransformer : Sorts embeddings, for any classifier behind.

    Notes
    -----
    With :math:`c` the cells of label and group, ``fit`` minimises over the stitch, by the rates of soft decisions ::

        mean over c of mean NLL in c  +  fairness_strength * sum over attributes of the disparity of the rates

    Two classes and two groups under equalized odds: the false positive rates' gap plus the false negative rates' gap,
    as in [1]_; more groups: twice their mean distance from their middle. What differs from the paper: the stitch is
    not linear and starts at the identity; rates divide by the count of label and group; batches are large and
    stratified; the epoch is chosen on rows that were held out.

    A network knows the labels of the rows it was trained on better than those of others. Pass ``fit`` other rows than
    those, if there are any.

    References
    ----------
    .. [1] Sulaiman and Roy (2023), "The Fairness Stitch: Unveiling the Potential of Model Stitching in Neural Network
       De-Biasing", arXiv:2311.03532.
    .. [2] Mao, Deng, Yao, Ye, Kawaguchi, Zou (2023), "Last-layer fairness fine-tuning is simple and effective for
       neural networks", arXiv:2304.03935.

    Examples
    --------
    >>> from sklearn.frozen import FrozenEstimator
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_fairlatent.datasets import make_biased_latents
    >>> from sklearn_fairlatent.stitching import FairStitchClassifier
    >>> data = make_biased_latents(600, random_state=0)
    >>> trained = LogisticRegression().fit(data.data, data.target)
    >>> fair = FairStitchClassifier(FrozenEstimator(trained), max_epochs=20, random_state=0)
    >>> fair.fit(data.data, data.target, sensitive_features=data.sensitive_features).split_
    'input'
    >>> fair.predict_proba(data.data).shape
    (600, 2)
    """

    # Spares users the set_fit_request call when metadata routing is on.
    __metadata_request__fit = {"sensitive_features": True}
    # No encoder stands in front: X is what the network takes.
    encoder = None

    def __init__(
        self,
        network=None,
        *,
        extractor=None,
        head=None,
        split="auto",
        constraints="equalized_odds",
        pos_label=None,
        fairness_strength=1.0,
        stitch="residual",
        balanced: bool | str = True,
        sensitive_columns=None,
        classes=None,
        network_output="auto",
        hidden_size=32,
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        lr: float | str = "auto",
        validation_fraction=0.2,
        on_missing_sensitive="warn",
        device: Any = "cpu",
        n_threads=1,
        random_state=None,
        verbose=0,
        net_params=None,
    ):
        self.network = network
        self.extractor = extractor
        self.head = head
        self.split = split
        self.constraints = constraints
        self.pos_label = pos_label
        self.fairness_strength = fairness_strength
        self.stitch = stitch
        self.balanced = balanced
        self.sensitive_columns = sensitive_columns
        self.classes = classes
        self.network_output = network_output
        self.hidden_size = hidden_size
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.validation_fraction = validation_fraction
        self.on_missing_sensitive = on_missing_sensitive
        self.device = device
        self.n_threads = n_threads
        self.random_state = random_state
        self.verbose = verbose
        self.net_params = net_params

    # ---------------------------------------------------------------- fit

    def fit(self, X, y, *, sensitive_features=None, sample_weight=None):
        """Train the stitch.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            What the network takes: numbers in two dimensions or more.
        y : array-like of shape (n_samples,)
            Classes.
        sensitive_features : Series, DataFrame or array-like of shape (n_samples,) or (n_samples, n), default=None
            The sensitive attributes, row for row with X, as groups. Rows with a missing value train everything but
            the fairness of that attribute.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, at least 0, in the loss and in the rates; also for a network that is fitted here, if
            its ``fit`` takes weights.

        Returns
        -------
        self : FairStitchClassifier
            If ``fit`` raises, an earlier fit is left as it was.

        Raises
        ------
        ValueError, TypeError
            With the argument, what was got, what was expected and what to do.
        """
        with fresh_state(self):
            self._fit(X, y, sensitive_features, sample_weight)
        return self

    def _fit(self, X, y, sensitive_features, sample_weight):
        check_parameters(self)
        index = getattr(X, "index", None)
        self._takes_arrays = (self.network is not None or self.head is not None) and not self.sensitive_columns
        X, own = self._read_rows(X, reset=True)
        label, codes = read_classes(y, len(X), LABEL, "a classifier")
        variables, attributes = read_attributes(
            own, sensitive_features, len(X), index, taken={LABEL}, continuous=None, on_missing=self.on_missing_sensitive
        )
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        with reproducible(seed, self.n_threads, self.device):
            rng = np.random.RandomState(seed)
            y = label.decode(codes)
            trained = self._read_network(X, y, None if sample_weight is None else weights, seed)
            network = trained.module
            label, order = self._match_classes(label, trained.classes)
            goal = Goal(
                label.n_groups,
                order,
                trained.output or self._find_output(network),
                tuple(variable.n_groups for variable in variables),
                CONSTRAINTS[self.constraints],
                self._pos_code(label),
                self.fairness_strength,
            )
            check_values(self._outputs(network, X[:PROBED]), goal.output, trained.output is not None)
            train, held_out = self._parts(label.encode(y), attributes, weights, network, rng)
            best, self.split_scores_ = stitch_best(
                *places(network, self.split, self.stitch, self._leaves()),
                partial(new_stitch, self.stitch, self.hidden_size),
                network,
                X,
                train,
                held_out,
                goal,
                Schedule(self.max_epochs, self.batch_size, self.lr, self.verbose, self.net_params or {}),
                seed,
            )
        self.network_, self._goal = network, goal
        self.split_, self.extractor_, self.head_ = best.place.name, best.place.extractor, best.place.head
        self.stitch_, self.history_ = best.trained.stitch, best.trained.history
        self.improved_on_start_ = best.trained.objective < best.trained.start_objective
        self.n_iter_ = len(self.history_)
        self.classes_ = label.categories
        self.trained_without_sensitive_ = not variables
        self._in_place = self._works_in_place(X[:PROBED])

    def _read_network(self, X, y, sample_weight, seed):
        """A frozen copy of the network, its classes and what it gives, the last two None where nobody tells."""
        extractor, head = self.extractor, self.head
        if extractor is not None and head is not None:
            trained = Trained(nn.Sequential(OrderedDict(extractor=extractor, head=head)))
        else:
            trained = trained_network(self.network, X, y, sample_weight, seed)
        module = copy.deepcopy(trained.module).to(self.device).eval().requires_grad_(False)
        if any(parameter.dtype in HALF for parameter in module.parameters()):
            module = module.float()
        return Trained(
            module,
            trained.classes if self.classes is None else np.asarray(self.classes),
            trained.output if self.network_output == "auto" else self.network_output,
        )

    @staticmethod
    def _match_classes(label, classes):
        """The label with the network's classes, sorted as scikit-learn wants them, and the outputs that mean them."""
        if classes is None:
            return label, None
        if not set(label.categories.tolist()) <= set(classes.tolist()):
            raise ValueError(
                f"y has the classes {label.categories.tolist()}, the network {classes.tolist()}. Pass rows of these, "
                "or classes= if the network's outputs stand for others."
            )
        order = np.argsort(classes, kind="stable")
        return Variable(LABEL, "groups", categories=classes[order]), tuple(order.tolist())

    def _leaves(self):
        """Parts of the network that were given as modules."""
        return ("extractor", "head") if self.head is not None else ()

    def _outputs(self, network, X):
        """What the network gives; parts that were given as modules one after the other."""
        for name, part in network.named_children() if self.head is not None else [("network", network)]:
            try:
                X = through_module(part, X, like=network)
            except ValueError as error:
                raise ValueError(f"{name}: {error} Wrap it in a module that gives one.") from None
        return X

    def _find_output(self, network):
        """What a module gives, by its last step."""
        if self.head is None:
            return "probabilities" if CutNetwork(network).ends_in_probabilities() else "logits"
        try:
            return "probabilities" if CutNetwork(network.head).ends_in_probabilities() else "logits"
        except ValueError:
            raise ValueError(
                f"network_output='auto': what head={type(self.head).__name__} gives cannot be told, since its steps "
                "cannot be followed. Pass network_output='logits' or 'probabilities'."
            ) from None

    def _parts(self, codes, attributes, weights, network, rng):
        """Training rows and held-out rows, each as positions and as what is known of them."""
        used = np.flatnonzero(weights > 0)
        if not len(used):  # recent versions of scikit-learn say so themselves
            raise ValueError("Sample weights must contain at least one non-zero number.")
        groups = [values[used] for values in attributes]
        parts = split_rows(len(used), self.validation_fraction, codes[used], groups, rng)
        train, held_out = (used[rows] for rows in parts)
        if self.balanced == "subsample":
            train = smallest_cells(train, cells_of(codes, attributes), rng)
        dtype = next((parameter.dtype for parameter in network.parameters()), torch.float32)
        # Held-out rows are all there: there the same balance comes from weights.
        ways = self.balanced, bool(self.balanced)
        return [
            (positions, coded_rows(codes, attributes, weights, balanced, dtype, self.device).take(positions))
            for positions, balanced in zip((train, held_out), ways, strict=True)
        ]

    def _works_in_place(self, X):
        """Whether the stitch among the network's layers gives what the parts give: some networks look at theirs."""
        try:
            given = through_module(self._network_in_place(), X, like=self.network_)
        except Exception:  # whatever the user's forward raises when a layer is another one
            return False
        return np.allclose(given, through_module(self._parts_in_a_row(), X, like=self.network_), rtol=1e-4, atol=1e-5)

    def _network_in_place(self):
        return with_stitch(self.network_, self.split_, self.stitch_, replaces=isinstance(self.stitch_, FreshLayer))

    def _parts_in_a_row(self):
        return nn.Sequential(OrderedDict(extractor=self.extractor_, stitch=self.stitch_, head=self.head_))

    def _pos_code(self, label):
        if CONSTRAINTS[self.constraints] != "true_positive_rate_parity":
            return None
        return int(label.encode([resolve_pos_label(label, self.pos_label)], argument="pos_label")[0])

    # ---------------------------------------------------------------- predict

    def _logits(self, X):
        check_is_fitted(self)
        X, _ = self._read_rows(X, reset=False)
        module = nn.Sequential(self.extractor_, StitchedHead(self.stitch_, self.head_, self._goal))
        return through_module(module, X)

    def decision_function(self, X):
        """Logits.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Columns named in ``sensitive_columns`` are ignored and may be absent.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
            Of two classes: the log-odds of the second, in nats.
        """
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X):
        """Probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            In [0, 1], in the order of ``classes_``.
        """
        return torch.softmax(torch.as_tensor(self._logits(X)), dim=1).numpy()

    def predict(self, X):
        """Most probable classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        decided = self._logits(X).argmax(axis=1)
        return self.classes_[decided]

    # ---------------------------------------------------------------- deploy

    def stitched_network(self):
        """One plain module to deploy: the network with the stitch in its place.

        Returns
        -------
        network : torch.nn.Module
            A copy. It takes what the network took and gives what it gave, logits or probabilities, in its own order of
            classes. Where a network looks at its layers and would notice the stitch among them, its parts in a row.
        """
        check_is_fitted(self)
        return self._network_in_place() if self._in_place else copy.deepcopy(self._parts_in_a_row()).eval()

    # ---------------------------------------------------------------- rows

    def _numbers(self, check, *args, **kwargs):
        """``check(*args)`` as floats, of as many dimensions as a network of the user takes."""
        try:
            return check(*args, dtype=FLOATS, allow_nd=self._takes_arrays, **kwargs)
        except ValueError as error:
            if "could not convert" not in str(error):
                raise
            raise ValueError(
                f"X holds text ({error}); expected numbers, as the network takes them. Encode the columns before."
            ) from None
