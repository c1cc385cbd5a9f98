"""FairLatentTransformer: validate, encode, train, and map rows to the latent and back."""

import copy
import warnings
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import _num_samples, check_array, check_is_fitted

from ._attributes import (
    CONSTRAINTS,
    label_conditions,
    label_variable,
    resolve_pos_label,
)
from ._batches import split_rows
from ._coding import CodingMixin
from ._counterfactual import BlockMap
from ._counterfactual_map import fit_counterfactual_map, fit_transport_map
from ._devices import PortableEstimator
from ._encoding import Encoding, as_frame, column_names, forwards
from ._exceptions import LabelLostWarning, PenaltyIneffectiveWarning
from ._fit_state import fresh_state
from ._flow import CarrierFlow, LatentFlow, LinearMap, describe_columns, is_exact
from ._latent import LatentLayout, linear_information, linear_scores, linear_start, moments, row_chunks, sample_rows
from ._moving import MovingMixin
from ._objective import describe_task, exchange_rate
from ._parameters import check_parameters
from ._rounding import codec_of, column_positions, encoded_positions, rounding_of
from ._rows import FLOATS, RowsMixin
from ._ruler import output_metric
from ._sensitive import read_attributes
from ._training import Schedule, chance_auc, chance_utility, least_utility, reproducible, train

# Rows whose latents give the groups' quantiles, the readouts and the neutral latent: a tenth of a warm fit on Adult.
SUMMARY_ROWS = 10_000
# Rows that tell the exchange rate.
RATE_ROWS = 20_000
# Rows that choose the steps of the columns.
STEP_SAMPLE = 50_000
# Rows mapped at once: 2,048 rows of 384 columns are 6 MB as float64, of which a flow holds a dozen.
MAP_ROWS = 2048
# Rows that give the bounds of the columns for a counterfactual map.
ROUNDING_ROWS = 50_000
# Held-out rows below which a lost label may be no more than noise.
FEW_ROWS = 100
# Fitted state that is not public.
PRIVATE_STATE = (
    "_target",
    "_variables",
    "_block_maps",
    "_neutral",
    "_template",
    "_sensitive_positions",
    "_peak_dependence",
    "_peak_utility",
    "_exchange_rate",
    "_architecture",
    "_immutable",
    "_fixed",
    "_fingerprint",
)


class FairLatentTransformer(
    RowsMixin,
    CodingMixin,
    MovingMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    PortableEstimator,
):
    r"""Sort a representation into a target block, sensitive blocks and a residual, and hand on the fair part.

    An invertible network maps every row to a latent ``[target | sensitive | residual]``. ``transform`` hands on
    the first ``n_components`` columns of ``[target | residual]``, from which the label can be read and the
    sensitive attributes hardly. Nothing is lost: :meth:`to_latent` and :meth:`from_latent` are exact inverses, and
    :meth:`counterfactual` moves one block and goes back to the space of X.

    The sensitive attributes enter at ``fit`` only. Fairness is claimed for what ``transform`` hands on and for
    nothing else: the whole latent, being a bijection, is as unfair as X.

    Parameters
    ----------
    n_components : int, "auto" or None, default="auto"
        Number of columns handed on. "auto": the target block (one column for two classes or a continuous label,
        ``n_classes - 1`` for more); without a label, all but the sensitive blocks. None: all but the sensitive
        blocks. Wider means more to learn from and more that can leak.
    constraints : {"demographic_parity", "equalized_odds", "true_positive_rate_parity"}, default="demographic_parity"
        What fairness means, in fairlearn's words: the handed-on block is independent of the attributes, or so among
        rows of equal label (a continuous label is cut into four quantile bins), or among rows
        labelled ``pos_label``. "equal_opportunity" is an alias of "true_positive_rate_parity".
    pos_label : object, default=None
        The favourable label, for "true_positive_rate_parity". None: 1 of {0, 1} or {-1, 1}, True of booleans.
    fairness_strength : float, default=1.0
        Weight of the dependence penalty, relative to how much X tells of the label; 0 switches it off, useful
        values lie between 0 and about 4. With more than one column handed on, also the size of the noise on those
        beside the label's.
    sensitive_columns : list of str or int, default=None
        Columns of X that are sensitive attributes. They never enter the network; a frame may lack them after
        ``fit`` if its columns have names. Without names the attributes are called x0, x1, ... by position. Missing
        values are allowed in frames, as in ``sensitive_features``.
    continuous_features : list of str, default=None
        Sensitive attributes that are quantities, not groups (an age in years). Numbers that are not whole are
        quantities anyway.
    task : {"auto", "classification", "regression"}, default="auto"
        What y is. "auto": regression if y holds numbers that are not whole.
    encoder : estimator, torch.nn.Module, skorch net, callable or None, default=None
        Stands in front. An estimator is cloned and fitted, unless wrapped in
        :class:`sklearn.frozen.FrozenEstimator`; a module, a fitted skorch net or a callable is used as it is. With
        ``encoder=TabularCodec()`` X may be a raw frame.
    decoder : estimator, torch.nn.Module, skorch net, callable or None, default=None
        The way back; never trained. None: the encoder's ``inverse_transform``. A generator without an encoder: fit
        on sampled latents and pass the generator here.
    on_missing_sensitive : {"warn", "raise"}, default="warn"
        What ``fit`` does without any sensitive attribute.
    max_epochs : int or "auto", default="auto"
        Passes over the training rows. "auto": 40 and, for tables (with one-hot columns), the
        square root of a tenth of the rows, between 10 and 50; no more than about 600 steps make, but at least 4.
    batch_size : int or "auto", default="auto"
        Rows a step. "auto": a quarter of the training rows, between 32 and 2,048.
    lr : float, default=3e-3
        Peak of the one-cycle learning rate.
    n_layers : int, default=4
        Couplings of the flow that disentangles what is not handed on.
    hidden_size : int, default=64
        Width of the hidden layers, in the flow and in each of the four networks behind what is handed on.
    module : type or None, default=None
        Another invertible module: a class called with ``n_features`` whose instances have
        ``forward(w) -> (z, log_det)`` and ``inverse(z) -> w``, rows in, the latent's columns out. It works behind the
        closed-form linear map, whose columns already have the latent's order.
    early_stopping : bool, default=False
        Stop when the held-out objective has not improved for a fifth of the epochs and keep the best one.
    validation_fraction : float, default=0.1
        Share of rows held out for ``history_``, ``early_stopping`` and the choice between the trained map and
        the linear one it started from; 2,000 rows at most. With fewer than 20 the training rows are used.
    warm_start : bool, default=False
        True: ``fit`` goes on from the module of the last fit, on the same columns and attributes, with the penalty at
        full weight from the first step and, where ``max_epochs="auto"``, a sixteenth of the epochs, but at least 24
        steps (and never more than a cold fit). For curves over ``fairness_strength``; ``improved_on_start_`` then
        compares with the last fit. Columns, label, attributes and the size of the module must be the same.
    device : str, default="cpu"
        torch device of ``fit`` and of what is asked of it later. A pickle of a fit on "cuda" also loads where there is
        none, and then computes on the CPU.
    n_threads : int, default=1
        Threads used inside ``fit``, whatever the process has, so that a seed gives the same bits everywhere.
    random_state : int, RandomState instance or None, default=None
        Seed. An integer gives the same bits every time on one machine.
    verbose : int, default=0
        1: one line an epoch. 2: a progress bar.
    net_params : dict or None, default=None
        Further arguments of :class:`skorch.NeuralNet`.
    counterfactual_map : {"latent", "trained", "transport"}, default="latent"
        What :meth:`counterfactual` moves along. "latent": the block of the latent, with everything else in the latent
        held, what is handed on included; costs nothing. "trained": a second invertible map from the encoded rows to one
        block per label and attribute and the rest, trained so that moving a block makes readers (small models
        of several kinds) read the wanted value and otherwise what they read before, near the row and alike to
        the rows it joins. It is kept where held-out rows and judges of their own find it better than the closed
        form it starts from. Takes one to four minutes. Of a decoder that makes pictures, signals or the like
        (floating arrays of three or more dimensions) near means little changed in what it makes [5]_, which costs
        ``fit`` 32 decoded rows for every encoded column, up to 512 columns. "transport": every group's rows are
        carried affinely to those of the wanted group, by optimal transport between normal distributions with the
        groups' means and covariances where the other variables are alike [4]_; along its slope for a continuous
        variable. Behind a :class:`TabularCodec` a row becomes one of the wanted group that ``fit`` saw, near it and
        read alike otherwise, with prices that keep rows from being given to many: **the fitted estimator holds rows
        of** ``fit`` **and gives them out**. Takes seconds. Nearest to what a row would have been where that is known;
        readers are convinced about as often as by real rows of that group, where "trained" asks for more.
    immutable_features : list of str or int, default=None
        Columns of X, by name or position, that no counterfactual changes, whatever a decoder loses or repairs.
        With ``encoder=None`` or a :class:`TabularCodec`.
    n_codes : int or None, default=None
        From 2 to 512. At most so many different rows are handed on: the block is cut into cells, and :meth:`transform`
        gives each row the representative of its cell. What any model can do with finitely many codes can be bounded,
        see :func:`~sklearn_fairlatent.certification.certify`. The cells are learned from the rows of ``fit``, so as to
        lose little of what they tell of the label, and, the higher ``fairness_strength``, to differ little in
        frequency between groups; with fewer than some 50 rows a code there is little to choose. Everything else stays:
        the bijection and the counterfactuals do not know of cells. The fitted estimator keeps a 64-bit hash of every
        row of ``fit``: whoever has it and a row can tell whether that row took part.

    Attributes
    ----------
    latent_layout_ : LatentLayout
        The blocks of the latent; ``latent_layout_["sex"]`` is the slice of an attribute.
    history_ : list of dict
        Per epoch: every loss term on training and held-out rows, ``validation_utility`` (ROC AUC, or R2), and
        ``adversary_auc``, that of a small network that tries to read the attributes from the handed-on block.
    improved_on_start_ : bool
        False if training did not improve on the closed-form linear map, which was then kept.
    trained_without_sensitive_ : bool
        True if ``fit`` saw no sensitive attribute: nothing about this latent is fair.
    label_lost_ : bool
        True if the handed-on block predicts held-out labels at chance level, or keeps a quarter at most of the AUC
        above 0.5 that it had at its best, before the penalty was at full weight or in the fits that ``warm_start`` goes
        on from (a sixteenth of the R2 of a continuous label).
    penalty_ineffective_ : bool
        True if the adversary reads the attributes as well as before the penalty.
    classes_ : ndarray of shape (n_classes,)
        Class labels; only if y has classes.
    flow_ : torch.nn.Module
        The fitted invertible module, in float64.
    counterfactual_map_ : CounterfactualMap
        Not with ``counterfactual_map="latent"``. Its ``maps`` hold for every variable the ``kind`` of map that was
        chosen; of "trained" its ``gain`` and the ``scores`` that held-out judges gave: expected flip rate,
        consistency, distance.
    codebook_ : Codebook
        Only with ``n_codes``. Its ``n_codes`` cells, and their ``representatives``, of shape (n_codes, n_components).
    encoding_ : Encoding
        The fitted encoder and the decoder.
    n_iter_ : int
        Number of epochs run.
    n_features_in_ : int
        Number of columns of X, sensitive ones included.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X, if it has any.

    See Also
    --------
    TabularCodec : Mixed frames to numbers and back.
    pipeline_counterfactual : Counterfactuals of a transformer inside a Pipeline.
    certification.certify : What no classifier on the codes of a finite code can exceed.

    Notes
    -----
    With ``y`` given and ``z_f`` what is handed on, ``fit`` minimises ::

        loss(head(z_f), y) + weight * fairness_strength * dependence(z_f, attributes [given y]) + likelihood of the rest

    "weight" is 12.5 times the nats that X tells linearly of y over the dependence of that linear prediction on the
    attributes (both within bounds), and half as much again if more than one column is handed on.
    "dependence" is a sliced energy distance, normalised by the block's spread and corrected for its finite-sample bias
    [2]_. With "equalized_odds" or "true_positive_rate_parity", and a label with classes, .12 times the difference of
    the groups' rates of decision within the labels is added to it: the decisions of the head, softened at a temperature
    of .25 nats.
    The design is inspired by [1]_, whose loss is unpublished, and does not reproduce it.

    References
    ----------
    .. [1] Joo, Han, Kim, Hong, Lee (2025), "Fair latent space by invertible networks", AAAI; arXiv:2412.17523.
    .. [2] Szekely and Rizzo (2013), "Energy statistics: A class of statistics based on distances",
       J. Stat. Planning and Inference 143, eq. 2 (the distance) and section 3 (its bias).
    .. [3] Dinh, Sohl-Dickstein, Bengio (2017), "Density estimation using Real NVP", ICLR, eq. 4-5 (couplings).
    .. [4] De Lara, Gonzalez-Sanz, Asher, Risser, Loubes (2024), "Transport-based counterfactual models", JMLR 25; the
       map of Peyre and Cuturi (2019), "Computational optimal transport", remark 2.31.
    .. [5] Arvanitidis, Hansen, Hauberg (2018), "Latent space oddity: on the curvature of deep generative models", ICLR,
       eq. 3 (the metric, here its mean over rows).

    Examples
    --------
    >>> from sklearn_fairlatent import FairLatentTransformer
    >>> from sklearn_fairlatent.datasets import make_biased_latents
    >>> data = make_biased_latents(600, random_state=0)
    >>> fair = FairLatentTransformer(max_epochs=5, random_state=0)
    >>> Z = fair.fit(data.data, data.target, sensitive_features=data.sensitive_features).transform(data.data)
    >>> Z.shape
    (600, 1)
    >>> L = fair.to_latent(data.data)
    >>> bool(abs(fair.from_latent(L) - data.data).max() < 1e-8)
    True
    """

    # Spares users the set_fit_request call when metadata routing is on.
    __metadata_request__fit = {"sensitive_features": True}

    def __init__(
        self,
        n_components: int | str | None = "auto",
        *,
        constraints="demographic_parity",
        pos_label=None,
        fairness_strength=1.0,
        sensitive_columns=None,
        continuous_features=None,
        task="auto",
        encoder=None,
        decoder=None,
        on_missing_sensitive="warn",
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        lr=3e-3,
        n_layers=4,
        hidden_size=64,
        module=None,
        early_stopping=False,
        validation_fraction=0.1,
        warm_start=False,
        device: Any = "cpu",
        n_threads=1,
        random_state=None,
        verbose=0,
        net_params=None,
        counterfactual_map="latent",
        immutable_features=None,
        n_codes=None,
    ):
        self.n_components = n_components
        self.constraints = constraints
        self.pos_label = pos_label
        self.fairness_strength = fairness_strength
        self.sensitive_columns = sensitive_columns
        self.continuous_features = continuous_features
        self.task = task
        self.encoder = encoder
        self.decoder = decoder
        self.on_missing_sensitive = on_missing_sensitive
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.n_layers = n_layers
        self.hidden_size = hidden_size
        self.module = module
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.device = device
        self.n_threads = n_threads
        self.random_state = random_state
        self.verbose = verbose
        self.net_params = net_params
        self.counterfactual_map = counterfactual_map
        self.immutable_features = immutable_features
        self.n_codes = n_codes

    def __sklearn_tags__(self):
        """Truthful tags: an encoder decides about strings and missing values."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.input_tags.string = self.encoder is not None
        tags.input_tags.allow_nan = self.encoder is not None
        return tags

    @property
    def _n_features_out(self):
        return self.latent_layout_.n_handed_on

    # ---------------------------------------------------------------- fit

    def fit(self, X, y=None, *, sensitive_features=None):
        """Learn the latent space.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Numbers, or whatever ``encoder`` takes.
        y : array-like of shape (n_samples,), default=None
            The label. None: only the sensitive information is sorted out.
        sensitive_features : Series, DataFrame or array-like of shape (n_samples,) or (n_samples, n), default=None
            The sensitive attributes, row for row with X. Rows with a missing value train everything but the
            fairness of that attribute.

        Returns
        -------
        self : FairLatentTransformer
            The fitted transformer. If ``fit`` raises, an earlier fit is left as it was.

        Raises
        ------
        ValueError, TypeError
            With the argument, what was got, what was expected and what to do.
        """
        # Nothing of an earlier fit may survive: without a label there are no classes_.
        with fresh_state(self, PRIVATE_STATE) as before:
            self._fit(X, y, sensitive_features, before if self.warm_start else {})
        return self

    def fit_transform(self, X, y=None, *, sensitive_features=None):
        """Learn the latent space, and hand on the fair part of the training rows.

        As ``fit(X, y).transform(X)``, but for an ``encoder`` that gives its training rows other values than new ones
        (:class:`OutOfFoldScores`, :class:`sklearn.preprocessing.TargetEncoder`): these go through the encoder's own
        ``fit_transform``. A pipeline calls this method, so that what stands behind never learns from scores that have
        seen the row's label.

        Parameters
        ----------
        X, y, sensitive_features
            As in :meth:`fit`.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)
            See :meth:`transform`.

        Raises
        ------
        ValueError, TypeError
            As :meth:`fit`.

        Examples
        --------
        >>> from sklearn_fairlatent import FairLatentTransformer
        >>> from sklearn_fairlatent.datasets import make_biased_latents
        >>> data = make_biased_latents(600, random_state=0)
        >>> fair = FairLatentTransformer(max_epochs=5, random_state=0)
        >>> Z = fair.fit_transform(data.data, data.target, sensitive_features=data.sensitive_features)
        >>> bool((Z == fair.transform(data.data)).all())  # without such an encoder
        True
        """
        with fresh_state(self, PRIVATE_STATE) as before:
            E = self._fit(X, y, sensitive_features, before if self.warm_start else {})
        return self._quantised(self._hand_on(E))

    def _fit(self, X, y, sensitive_features, before):
        """What both do; the encoded rows."""
        check_parameters(self)
        index = getattr(X, "index", None)
        given = X
        X, own = self._read_rows(X, reset=True)
        n_samples = _num_samples(X)
        if n_samples < 2:
            raise ValueError(f"Found X with {n_samples} sample(s); a minimum of 2 is required to fit.")
        target, label = self._read_label(y, n_samples)
        if self.n_codes is not None:
            self._note_rows(X, before)
        variables, attributes = read_attributes(
            own,
            sensitive_features,
            n_samples,
            index,
            taken={"residual", "target"} | ({target.name} if target is not None else set()),
            continuous=list(self.continuous_features or []),
            on_missing=self.on_missing_sensitive,
        )
        constraint = CONSTRAINTS[self.constraints]
        if target is None and constraint != "demographic_parity":
            raise ValueError(
                f"constraints={self.constraints!r} compares the groups within labels, but y=None. Pass y, or use "
                "constraints='demographic_parity'."
            )
        pos_label = resolve_pos_label(target, self.pos_label) if constraint == "true_positive_rate_parity" else None
        strata = label_conditions(target, label, constraint, pos_label)

        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        with reproducible(seed, self.n_threads, self.device):
            rng = np.random.RandomState(seed)
            self.encoding_, E = Encoding.fit(self.encoder, self.decoder, X, y, seed)
            self._find_immutable(given)
            self.latent_layout_ = self._layout(E.shape[1], target, variables)
            train_rows, held_out_rows = split_rows(n_samples, self.validation_fraction, label, attributes, rng)
            within_labels = constraint != "demographic_parity"
            codes, task = describe_task(
                target, label, variables, attributes, strata, self.fairness_strength, within_labels
            )
            warm = "flow_" in before
            self._architecture = {name: getattr(self, name) for name in ("module", "n_layers", "hidden_size")}
            if warm:
                self.flow_, self._exchange_rate = self._go_on(before), before["_exchange_rate"]
            else:
                self.flow_, self._exchange_rate = self._start(
                    E, codes, task, target, label, train_rows, rng, constraint
                )
            task.exchange_rate = self._exchange_rate
            self.history_, self.improved_on_start_, utilities = train(
                self.flow_,
                self.latent_layout_,
                task,
                E,
                codes,
                train_rows,
                held_out_rows,
                self._schedule(warm),
                seed,
            )
            self._summarise(E, target, label, variables, attributes, sample_rows(train_rows, SUMMARY_ROWS, rng))
            if self.n_codes is not None:
                self._fit_codebook(E, codes, task, target, label, seed)
            if self.counterfactual_map != "latent":
                self._fit_counterfactual_map(E, target, label, variables, attributes, seed)
        self._target, self._variables = target, variables
        self.n_iter_ = len(self.history_)
        if target is not None and target.kind == "groups":
            self.classes_ = target.categories
        self.trained_without_sensitive_ = not variables
        self._judge(task, codes, held_out_rows, utilities, before)
        return E

    def _find_immutable(self, X):
        """Positions of ``immutable_features`` in X, less its sensitive columns, and in what the encoder makes of it."""
        self._immutable, self._fixed = [], np.zeros(0, dtype=int)
        if self.immutable_features is not None:
            # Without an encoder a frame has become an array, which has no names.
            labels = column_names(X) if as_frame(X) is not None else list(range(np.shape(X)[1]))
            self._immutable = column_positions(self.immutable_features, labels, self._sensitive_positions)
            self._fixed = encoded_positions(self.encoding_.encoder, self._immutable)

    def _schedule(self, warm):
        return Schedule(
            self.max_epochs,
            self.batch_size,
            self.lr,
            self.early_stopping,
            self.device,
            self.verbose,
            self.net_params,
            warm,
        )

    def _read_label(self, y, n_samples):
        if y is None:
            return None, np.zeros(n_samples)
        name = getattr(y, "name", None)
        if name == "residual":
            raise ValueError("y bears the name 'residual', that of a block of the latent. Rename it.")
        variable, codes = label_variable(y, self.task, name if isinstance(name, str) and name else "target")
        if len(codes) != n_samples:
            raise ValueError(f"y has {len(codes)} rows, X has {n_samples}; they must have the same length.")
        return variable, codes

    def _layout(self, n_encoded, target, variables):
        names = tuple(variable.name for variable in variables)
        widths, left = [], n_encoded - 1
        for variable in variables:
            widths.append(min(variable.width, left))
            left -= widths[-1]
        n_sensitive = sum(widths)
        room = n_encoded - n_sensitive
        # As in LDA, classes and groups beyond the number of columns share them; one column is the target's.
        n_target = 0 if target is None else min(target.width, room)
        if isinstance(self.n_components, str):
            n_handed_on = n_target or room
        elif self.n_components is None:
            n_handed_on = room
        elif self.n_components > room:
            raise ValueError(
                f"n_components={self.n_components} does not fit: the encoded X has {n_encoded} column(s) and "
                f"{list(names)} take {n_sensitive} of them. Pass n_components<={room}."
            )
        else:
            n_handed_on = self.n_components
        widths = (n_target, *widths, room - n_target)
        return LatentLayout(None if target is None else target.name, names, widths, int(n_handed_on))

    def _start(self, E, codes, task, target, label, train_rows, rng, constraint):
        """The untrained module, a closed-form linear map and couplings at the identity, and the exchange rate."""
        layout = self.latent_layout_
        label_design = np.zeros((len(E), 0)) if target is None else target.design(label)
        designs = [label_design, *codes.designs]
        stops = np.cumsum([design.shape[1] for design in designs])
        blocks = [slice(stop - design.shape[1], stop) for stop, design in zip(stops, designs, strict=True)]
        all_designs = np.column_stack(designs)
        stats = moments(E, all_designs, train_rows)
        start = linear_start(stats, blocks, layout, label_first=constraint != "demographic_parity")
        if self.module is not None:
            core = self.module(layout.n_features)
            missing = [name for name in ("forward", "inverse") if not callable(getattr(core, name, None))]
            if missing or not isinstance(core, torch.nn.Module):
                raise ValueError(
                    f"module={self.module.__name__}: expected a torch.nn.Module with forward(w) -> (z, log_det) and "
                    f"inverse(z) -> w; missing: {missing}."
                )
        else:
            smooth = not is_exact(layout, start)
            table = describe_columns(E, sample_rows(train_rows, STEP_SAMPLE, rng), all_designs, smooth=smooth)
            core = CarrierFlow(layout, start, table, n_layers=self.n_layers, hidden_size=self.hidden_size)
        rate = 1.0
        if target is not None:
            information = linear_information(stats, blocks[0], label_design[train_rows])
            rows = sample_rows(train_rows, RATE_ROWS, rng)
            scores = linear_scores(stats, blocks[0], E[rows])
            rate = exchange_rate(information, scores, codes.members[rows], task.comparison_weights)
        return LatentFlow(LinearMap(start), core).double(), rate

    def _go_on(self, before):
        """The module of the last fit, to be trained further."""
        if before["latent_layout_"] != self.latent_layout_:
            raise ValueError(
                f"warm_start=True: the last fit had {before['latent_layout_']}, this one has {self.latent_layout_}. "
                "Fit on the same columns, label and attributes, or set warm_start=False."
            )
        names = [list(state.get("feature_names_in_", [])) for state in (before, vars(self))]
        if all(names) and names[0] != names[1]:
            raise ValueError(
                f"warm_start=True: the last fit had the columns {names[0]}, this one has {names[1]}. Bring them into "
                "the same order, or set warm_start=False."
            )
        for name, built in before["_architecture"].items():
            now = self._architecture[name]
            if now != built:
                raise ValueError(
                    f"warm_start=True: the last fit had {name}={built!r}, this one has {now!r}; a trained module stays "
                    f"as it was built. Set {name} back, or set warm_start=False."
                )
        flow = copy.deepcopy(before["flow_"]).cpu()
        fixed = {"core.reflections"} if getattr(flow.core, "exact", False) else set()
        for name, parameter in flow.named_parameters():
            parameter.requires_grad_(name not in fixed)
        return flow

    def _summarise(self, E, target, label, variables, attributes, rows):
        """What moving a block needs to know: the maps between groups and the neutral latent."""
        # The rows are copied in the dtype of E, which is half of what float64 takes.
        L = self._map(E[rows], _whole, E.shape[1], np.float64)
        self._neutral = np.median(L, axis=0)
        known = [*([] if target is None else [(target, label)]), *zip(variables, attributes, strict=True)]
        self._block_maps = {
            variable.name: BlockMap.fit(variable, L[:, self.latent_layout_[variable.name]], codes[rows])
            for variable, codes in known
            if self.latent_layout_.width(variable.name)
        }

    def _fit_counterfactual_map(self, E, target, label, variables, attributes, seed):
        """The second invertible map, from all rows: it holds out some of its own."""
        known = [*([] if target is None else [(target, label)]), *zip(variables, attributes, strict=True)]
        known = [(variable, codes) for variable, codes in known if variable.name in self._block_maps]
        if not known:
            return
        rng = np.random.RandomState(seed)
        variables = [variable for variable, _ in known]
        codes = np.column_stack([codes for _, codes in known])
        everyone = np.arange(len(E))
        shared = {
            "fixed": self._fixed,
            "device": self.device,
            "generator": torch.Generator().manual_seed(seed),
            "rng": rng,
        }
        codec = codec_of(self.encoding_.encoder)
        if self.counterfactual_map == "transport":
            columns = None if codec is None else codec._encoded_columns()
            self.counterfactual_map_ = fit_transport_map(E, variables, codes, everyone, columns=columns, **shared)
            return
        seen = sample_rows(everyone, ROUNDING_ROWS, rng)
        self.counterfactual_map_ = fit_counterfactual_map(
            E,
            variables,
            codes,
            everyone,
            rounding=None if codec is None else rounding_of(codec, np.asarray(E[seen], dtype=np.float64)),
            metric=output_metric(self.encoding_, E, seen, self._fixed),
            n_layers=self.n_layers,
            hidden_size=self.hidden_size,
            **shared,
        )

    def _judge(self, task, codes, held_out_rows, utilities, before):
        """Warn if the label was lost or the penalty changed nothing; the flags stay on the estimator.

        Both compare with the peak, which lies before the penalty is at full weight, or in the fits that this one goes
        on from.
        """
        last = self.history_[-1]
        label = codes.label[held_out_rows]
        first, kept = utilities
        found = [first, kept, *(epoch.get("validation_utility", np.nan) for epoch in self.history_)]
        earlier, target = before.get("_target"), self._target
        # Another label's best says nothing of this one.
        if earlier and target and earlier.kind == target.kind and np.array_equal(earlier.categories, target.categories):
            found.append(before["_peak_utility"])
        self._peak_utility = max((value for value in found if not np.isnan(value)), default=float("nan"))
        self.label_lost_ = bool(task.kind and kept <= least_utility(self._peak_utility, label, task))
        if self.label_lost_:
            remedy = "Lower fairness_strength, raise n_components, or check" if self.fairness_strength else "Check"
            warnings.warn(
                f"The handed-on block lost the label: {'R2' if task.kind == 'continuous' else 'ROC AUC'} {kept:.3f} on "
                f"the {len(label)} rows that fit held out; the best was {self._peak_utility:.3f}, chance gives up to "
                f"{chance_utility(label, task):.3f}. {remedy} that X predicts y at all"
                f"{', or pass more rows: so few tell little' if len(label) < FEW_ROWS else ''}.",
                LabelLostWarning,
                stacklevel=4,
            )
        readable = last.get("adversary_auc", 0.5)
        noise = chance_auc(codes.members[held_out_rows])
        dependences = [epoch.get("valid_dependence", 0.0) for epoch in self.history_]
        self._peak_dependence = max([before.get("_peak_dependence", 0.0), *dependences])
        self.penalty_ineffective_ = bool(
            self.fairness_strength > 0
            and readable > 0.5 + noise
            # Half of the peak is the least that a penalty should remove.
            and last["valid_dependence"] > self._peak_dependence / 2
        )
        if self.penalty_ineffective_:
            warnings.warn(
                f"The penalty changed nothing: an adversary reads the attributes with AUC {readable:.3f}. Raise "
                "fairness_strength or max_epochs, or lower n_components.",
                PenaltyIneffectiveWarning,
                stacklevel=4,
            )

    # ---------------------------------------------------------------- maps

    def _map(self, rows, step, width, dtype=None):
        """``step(flow, tensor)`` over batches of rows, in ``dtype``, else that of ``rows``."""
        flow = self.flow_
        dtype = np.dtype(dtype or rows.dtype)
        if dtype == np.float32:
            flow = copy.deepcopy(flow).float()
        device = next((p.device for p in flow.parameters()), torch.device("cpu"))
        precision = torch.float32 if dtype == np.float32 else torch.float64
        out = np.empty((len(rows), width), dtype=dtype)
        with torch.inference_mode():
            for part in row_chunks(len(rows), MAP_ROWS):
                batch = torch.tensor(rows[part], dtype=precision, device=device)
                out[part] = step(flow, batch).cpu().numpy()
        return out

    def _check_latent(self, Z, width, name):
        Z = forwards(check_array(Z, dtype=FLOATS, input_name=name))
        if Z.shape[1] != width:
            raise ValueError(f"{name} has {Z.shape[1]} columns, expected {width}: {self.latent_layout_}.")
        return Z

    def transform(self, X):
        """Hand on the fair part of the latent.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Columns named in ``sensitive_columns`` are ignored. Frames may lack them; in arrays they may be all NaN.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)
            First ``n_components`` columns of ``[target | residual]``, each standardised over the training rows
            up to what training moved. Float32 if X is, else float64, and computed in that dtype. With ``n_codes``
            the representative of each row's cell.
        """
        check_is_fitted(self)
        X, _ = self._read_rows(X, reset=False)
        Z = self._hand_on(self.encoding_.encode(X))
        return self._quantised(Z)

    def _hand_on(self, E, dtype=None):
        columns = self.latent_layout_.handed_on
        return self._map(E, lambda flow, x: flow.hand_on(x, columns), len(columns), dtype)

    def to_latent(self, X):
        """The whole latent, ``[target | sensitive | residual]``; see ``latent_layout_``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        L : ndarray of shape (n_samples, n_encoded)
            As unfair as X: a bijection loses nothing.
        """
        check_is_fitted(self)
        X, _ = self._read_rows(X, reset=False)
        E = self.encoding_.encode(X)
        return self._map(E, _whole, E.shape[1])

    def from_latent(self, L):
        """Rows whose latent is ``L``: the inverse of :meth:`to_latent`.

        Parameters
        ----------
        L : array-like of shape (n_samples, n_encoded)

        Returns
        -------
        X : array or frame of shape (n_samples, n_features)
            In the space of X, by the decoder. Columns named in ``sensitive_columns`` are missing.
        """
        check_is_fitted(self)
        L = self._check_latent(L, self.latent_layout_.n_features, "L")
        return self._give_back(self._map(L, lambda flow, z: flow.inverse(z), L.shape[1]))

    def inverse_transform(self, Z):
        """Rows that hand on ``Z`` and are neutral otherwise.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)

        Returns
        -------
        X : array or frame of shape (n_samples, n_features)
            What Z does not carry takes its neutral value, the median of the training latents. ``transform(X)``
            is Z again, unless a decoder rounds. Columns named in ``sensitive_columns`` are missing: no sex is invented.
        """
        check_is_fitted(self)
        Z = self._check_latent(Z, self._n_features_out, "Z")
        L = np.tile(self._neutral.astype(Z.dtype), (len(Z), 1))
        L[:, self.latent_layout_.handed_on] = Z
        return self.from_latent(L)


def _whole(flow, x):
    """The whole latent of a batch."""
    return flow(x)[0]
