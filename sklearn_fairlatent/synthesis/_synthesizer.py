"""FairSynthesizer: a small student of a fair latent, and rows drawn from it."""

import time
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from .._batches import split_rows
from .._columns import Table
from .._encoding import as_frame, column_names
from .._fit_state import fresh_state
from .._joining import attribute_names, split_columns
from .._parameters import check_value
from .._sensitive import read_attributes, read_classes
from .._training import reproducible
from ._checks import SOURCES, check_count, check_parameters, inner_transformer
from ._distilling import SIZES, Schedule, distil, fitting_shape
from ._files import read_student, write_student
from ._levels import TableRows, VectorRows, table_codec
from ._outputs import LabelFormat, attribute_format, join_attributes
from ._requests import Cells
from ._student import draw_labelled
from ._teacher import Teacher

# Columns of what tells how a sample was drawn, beside those of label and attributes.
DISTRIBUTION = ("probability", "n_rows")
# The label's name where y has none.
LABEL = "target"
FLOATS = [np.float64, np.float32]


class FairSynthesizer(BaseEstimator):
    r"""Synthetic rows whose label does not depend on the sensitive attributes, from a small model that holds no row.

    A :class:`~sklearn_fairlatent.FairLatentTransformer`, the teacher, learns what of a row tells the label and not the
    attributes. It is distilled into a student of a tenth of its size: a generator of rows given the wanted groups,
    and a label head. A row gets the label that the teacher's handed-on block gives it, so that a model
    trained on the synthetic rows learns the fair part of the label from the very features that real rows have.

    The student holds categories, quantiles of numbers (the smallest and the largest included) and weights, but no
    training row; :meth:`save` writes
    it to files that can be handed to others, without the teacher.

    Parameters
    ----------
    transformer : FairLatentTransformer, default=None
        The teacher. A fitted one, or one in a :class:`~sklearn.frozen.FrozenEstimator`, is used as it is (``clone``,
        and with it a search, keeps what it has learned only in the latter); else it is cloned and fitted. None: one
        with default parameters, with a half, a quarter or an eighth of the strength where the label is lost, and a
        :class:`~sklearn_fairlatent.TabularCodec` as its encoder for tables.
    student_size : {"small", "medium", "large"} or int, default="small"
        Size of the student: at most a tenth, a quarter or all of the teacher's number of parameters, or a number of
        parameters; fewer where there are few training rows. There is a least size, which may exceed a tenth for tables
        of very few columns: see :meth:`cost`.
    quality_weight : float, default=1.0
        Weight of the quality loss: how far the distribution of the student's rows is from the teacher's.
    utility_weight : float, default=1.0
        Weight of the utility loss: how far the student's label probabilities are from the teacher's.
    rows : {"auto", "table", "vectors"}, default="auto"
        What a row is. "table": columns of categories and numbers, of which the student gives valid values only; at most
        1,000 categories each. "vectors": numbers that vary together, such as embeddings, in the space behind the
        transformer's ``encoder``, and decoded by its ``decoder``, images among them. "auto": a data frame is a table,
        anything else vectors.
    sensitive_columns : list of str or int, default=None
        Columns of X that are sensitive attributes; samples have them in X, too.
    max_epochs : int or "auto", default="auto"
        Passes over the training rows. "auto": as many as make about 1,000 steps, between 10 and 100.
    batch_size : int or "auto", default="auto"
        Rows a step. "auto": an eighth of the training rows, between 32 and 2,048.
    lr : float, default=0.05
        Peak of the one-cycle learning rate.
    validation_fraction : float, default=0.1
        Share of rows held out of the distillation, which choose its epoch; 2,000 at most. With fewer than 20 the
        training rows are used.
    on_missing_sensitive : {"warn", "raise"}, default="warn"
        What ``fit`` does without any sensitive attribute.
    device : str, default="cpu"
        torch device of the default transformer and of the distillation. Samples are drawn by numpy.
    n_threads : int, default=1
        Threads used inside ``fit``, so that a seed gives the same bits everywhere.
    random_state : int, RandomState instance or None, default=None
        Seed of ``fit`` and, unless ``sample`` is given another, of samples.
    verbose : int, default=0
        1: one line an epoch. 2: a progress bar.
    net_params : dict or None, default=None
        Further arguments of :class:`skorch.NeuralNet`.

    Attributes
    ----------
    student_ : Student
        ``n_parameters``, ``n_bytes``, and the weights as ``arrays``.
    teacher_ : Teacher
        Its ``transformer`` is the fitted one. Absent after :meth:`load`.
    history_ : list of dict
        Per epoch: "quality" and "utility" on training and held-out rows (``train_...``, ``valid_...``), in nats a row,
        and the weighted sum, "loss". Quality is minus the mean log-likelihood: the divergence of the distributions up
        to the entropy of the teacher's, which no student changes.
    classes_ : ndarray of shape (n_classes,)
        Labels.
    sampled_distribution_ : DataFrame
        Of the last sample: a row per cell of label and groups, with its probability and the rows drawn. After
        ``sample``.
    trained_without_sensitive_ : bool
        True if ``fit`` saw no sensitive attribute: nothing about the samples is fair.
    n_iter_ : int
        Number of epochs run.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X, if it has any.

    See Also
    --------
    sklearn_fairlatent.metrics.synthesis_report : How fair, useful, faithful and private synthetic rows are.

    Notes
    -----
    With ``x`` a row behind the encoder, ``s`` its groups and ``P_T(y | x)`` the logistic regression of the label on
    what the teacher hands on, ``fit`` minimises over the rows ::

        quality_weight * -log p(x, s) + utility_weight * KL(P_T(. | x) || q(. | x))

    with ``p`` a mixture whose components share their loadings and ``q`` the label head, which reads rows through the
    same loadings. The teacher's map is invertible, so the divergence between student and teacher is the same for
    latents as for encoded rows, and no inverse is needed to sample. A row of label y and groups s is drawn from ``p(x
    | s) q(y | x)``, by rejection. The design follows [1]_, whose teacher is a variational autoencoder with a distance
    covariance, and does not reproduce it.

    Synthetic rows in which label and groups are independent do not make every model fair on real rows: measure it,
    with :func:`~sklearn_fairlatent.metrics.synthesis_report`. What makes it fair is that the label follows a fair
    function of the features. With ``constraints="equalized_odds"`` the label may depend on the groups, and
    ``balance="as_observed"`` keeps it as it is.

    References
    ----------
    .. [1] Sikder, Ramachandranpillai, de Leeuw, Heintz (2024), "Generating synthetic fair syntax-agnostic data by
       learning and distilling fair representation", arXiv:2408.10755, section 4 (quality and utility loss).

    Examples
    --------
    >>> from sklearn_fairlatent.datasets import load_german
    >>> from sklearn_fairlatent.synthesis import FairSynthesizer
    >>> german = load_german()
    >>> synthesizer = FairSynthesizer(max_epochs=20, random_state=0)
    >>> synthesizer = synthesizer.fit(german.data, german.target, sensitive_features=german.sensitive_features["sex"])
    >>> X, y, A = synthesizer.sample(500)
    >>> X.shape, A["sex"].unique().tolist()
    ((500, 18), ['male', 'female'])
    """

    # Spares users the set_fit_request call when metadata routing is on.
    __metadata_request__fit = {"sensitive_features": True}

    def __init__(
        self,
        transformer=None,
        *,
        student_size: int | str = "small",
        quality_weight=1.0,
        utility_weight=1.0,
        rows="auto",
        sensitive_columns=None,
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        lr=0.05,
        validation_fraction=0.1,
        on_missing_sensitive="warn",
        device: Any = "cpu",
        n_threads=1,
        random_state=None,
        verbose=0,
        net_params=None,
    ):
        self.transformer = transformer
        self.student_size = student_size
        self.quality_weight = quality_weight
        self.utility_weight = utility_weight
        self.rows = rows
        self.sensitive_columns = sensitive_columns
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

    def __sklearn_tags__(self):
        """A label is needed; frames may hold strings and missing values."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    # ---------------------------------------------------------------- fit

    def fit(self, X, y, *, sensitive_features=None):
        """Fit the teacher, unless it is fitted, and distil it.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, ...)
            A table, numbers, or whatever the transformer's encoder takes.
        y : array-like of shape (n_samples,)
            Classes.
        sensitive_features : Series, DataFrame or array-like of shape (n_samples,) or (n_samples, n), default=None
            The sensitive attributes, row for row with X, as groups. Missing values are allowed.

        Returns
        -------
        self : FairSynthesizer
            If ``fit`` raises, an earlier fit is left as it was.

        Raises
        ------
        ValueError, TypeError
            With the argument, what was got, what was expected and what to do.
        """
        with fresh_state(self, ("_rows", "_cells", "_label_format", "_attribute_format", "_own", "_order", "_seed")):
            self._fit(X, y, sensitive_features)
        return self

    def _fit(self, X, y, sensitive_features):
        check_parameters(self)
        index = getattr(X, "index", None)
        given, is_table = self._read_rows(X)
        X, own, self._own = split_columns(given, self.sensitive_columns)
        if self._is_numbers(is_table):
            X = check_array(X, dtype=FLOATS, estimator=self, input_name="X")
        self._order = column_names(given) if len(np.shape(given)) == 2 else []
        n_samples = len(X)
        name = getattr(y, "name", None)
        label, codes = read_classes(y, n_samples, name if isinstance(name, str) and name else LABEL, "a synthesizer")
        if label.name in DISTRIBUTION:
            raise ValueError(
                f"y bears the name {label.name!r}, which is a column of sampled_distribution_. Rename it, or pass y "
                "without a name."
            )
        variables, attributes = read_attributes(
            own,
            sensitive_features,
            n_samples,
            index,
            taken={label.name, *DISTRIBUTION},
            continuous=None,
            on_missing=self.on_missing_sensitive,
        )
        attributes = np.column_stack(attributes) if variables else np.zeros((n_samples, 0))
        self._cells = Cells.learn(label, variables, codes, attributes)
        self._seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        with reproducible(self._seed, self.n_threads, self.device):
            values = label.decode(codes)
            self.teacher_, probabilities = Teacher.fit(
                self.transformer,
                X,
                values,
                codes,
                attributes,
                variables,
                self._seed,
                is_table=is_table,
                device=self.device,
            )
            levels, vectors = self._learn_rows(X, is_table)
            groups = tuple(variable.n_groups for variable in variables)
            budget = self.student_size
            if isinstance(budget, str):
                budget = SIZES[budget] * self.teacher_.n_parameters
            shape = fitting_shape(self._rows.sizes, groups, self._rows.n_vectors, label.n_groups, n_samples, budget)
            rng = np.random.RandomState(self._seed)
            self.student_, self.history_ = distil(
                shape,
                (levels, vectors, attributes),
                probabilities,
                split_rows(n_samples, self.validation_fraction, codes, list(attributes.T), rng),
                Schedule(self.max_epochs, self.batch_size, self.lr, self.device, self.verbose, self.net_params or {}),
                (self.quality_weight, self.utility_weight),
                self._seed,
            )
        self._label_format = LabelFormat.of(y, label.name)
        columns = {v.name: v.decode(np.nan_to_num(c)) for v, c in zip(variables, attributes.T, strict=True)}
        self._attribute_format = attribute_format(given, self._own, sensitive_features, columns, list(columns))
        self.classes_ = label.categories
        self.trained_without_sensitive_ = not variables
        self.n_iter_ = len(self.history_)

    def _learn_rows(self, X, is_table):
        """Levels and vectors of the training rows, once it is known how rows become such."""
        encoding = self.teacher_.transformer.encoding_
        if is_table:
            codec = table_codec(encoding.encoder, X)
            columns = codec._column_codes(X)
            self._rows = TableRows.learn(codec, columns)
            return self._rows.encode(columns)
        E = np.asarray(encoding.encode(X))
        self._rows = VectorRows.learn(encoding, E)
        return self._rows.encode(E)

    def _read_rows(self, X):
        """X, checked as far as can be told what it is, and whether it is a table."""
        frame = as_frame(X)
        is_table = self.rows == "table" or (self.rows == "auto" and frame is not None)
        if frame is None and is_table:
            X = Table(X, self).native
        if self._is_numbers(is_table):
            if frame is not None:
                raise ValueError("rows='vectors', but X is a data frame: expected an array. Pass X.to_numpy().")
            dtype = None if self.sensitive_columns else FLOATS
            return validate_data(self, X, dtype=dtype, ensure_min_samples=2), False
        if isinstance(X, (list, tuple)):
            X = np.asarray(X)
        if frame is not None or len(np.shape(X)) == 2:
            validate_data(self, X, skip_check_array=True)
        return X, is_table

    def _is_numbers(self, is_table):
        """Whether rows are vectors without an encoder in front."""
        return not is_table and getattr(inner_transformer(self.transformer), "encoder", None) is None

    # ---------------------------------------------------------------- sample

    def sample(
        self, n_samples, *, y=None, sensitive_features=None, balance="independent", source="student", random_state=None
    ):
        """Draw synthetic rows.

        Parameters
        ----------
        n_samples : int
            Number of rows.
        y : object or array-like of shape (n_samples,), default=None
            The wanted label, of all rows or of each. None: drawn as ``balance`` says.
        sensitive_features : object, dict, Series, DataFrame or array-like, default=None
            The wanted groups: one value for the only attribute, a dict of values, or row for row. None: drawn as
            ``balance`` says.
        balance : {"independent", "as_observed"} or dict, default="independent"
            How labels and groups are drawn that are not given.

            - "independent": the label as often as in the training rows and, independently of it, the groups.
            - "as_observed": both together, as often as in the training rows.
            - a dict: keys are tuples (label, group, ...) with a group for each attribute, values probabilities, with
              sum 1.
        source : {"student", "teacher"}, default="student"
            Who makes the rows: the student, or the teacher, by a normal distribution of its latent within every group
            and its inverse, to compare with.
        random_state : int, RandomState instance or None, default=None
            Seed of this sample. None: that of the fit, so that the same call gives the same rows.

        Returns
        -------
        X : of the kind of X in ``fit``
            n_samples rows: a table of valid rows; vectors, decoded if the transformer can.
        y : Series or ndarray of shape (n_samples,)
            A Series if ``fit`` got one.
        A : DataFrame of shape (n_samples, n_attributes)
            The groups; of polars if they came in its frames, else of pandas.

        Raises
        ------
        ValueError
            For a label or group that ``fit`` did not see, alone or together, or probabilities that are none.
        """
        X, y, A, self.sampled_distribution_ = self._draw(
            n_samples, y, sensitive_features, balance, source, random_state
        )
        return X, y, A

    def _draw(self, n_samples, y, sensitive_features, balance, source, random_state):
        check_is_fitted(self)
        check_count("n_samples", n_samples)
        check_value("source", source, source in SOURCES, f"one of {list(SOURCES)}")
        if source == "teacher" and not hasattr(self, "teacher_"):
            raise ValueError("source='teacher': a loaded synthesizer is a student alone. Sample from it.")
        if isinstance(balance, dict) and (y is not None or sensitive_features is not None):
            raise ValueError(
                "balance is a dict of cells, and y or sensitive_features is given. Pass the one or the other."
            )
        # numpy's newer generator is the faster one.
        seeds = check_random_state(self._seed if random_state is None else random_state).randint(2**31, size=4)
        rng = np.random.default_rng(seeds)
        labels = self._cells.read_labels(y, n_samples)
        groups = self._cells.read_attributes(sensitive_features, n_samples)
        cells, shares, drawn = self._cells.draw(n_samples, balance, labels, groups, rng)
        model = self.teacher_ if source == "teacher" else self.student_
        rows = draw_labelled(model.draw, model.label_probabilities, cells, drawn, rng)
        X = self.teacher_.decode(rows[0]) if source == "teacher" else self._rows.decode(rows[0], rows[1], rng)
        labels, *groups = cells[drawn].T
        values = [variable.categories[codes] for variable, codes in zip(self._cells.variables, groups, strict=True)]
        A: Any = pd.DataFrame(index=range(n_samples))
        if self._attribute_format is not None:
            A = self._attribute_format.write(values)
        y = self._label_format.write(self._cells.label.categories[labels])
        return join_attributes(X, A, self._own, self._order), y, A, self._cells.table(cells, shares, drawn)

    def sample_batches(self, n_samples, *, batch_size=100_000, random_state=None, **params):
        """Draw synthetic rows part by part, for more than memory holds.

        Parameters
        ----------
        n_samples : int
            Number of rows of all parts together.
        batch_size : int, default=100_000
            Rows of a part; the last one may have fewer.
        random_state : int, RandomState instance or None, default=None
            As in :meth:`sample`.
        **params
            Further arguments of :meth:`sample`, but ``y`` and ``sensitive_features`` only as one value for all rows.

        Yields
        ------
        X, y, A
            As :meth:`sample` returns them.
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples)
        check_count("batch_size", batch_size)
        for name in ("y", "sensitive_features"):
            values = params.get(name)
            each: Any = values.values() if isinstance(values, dict) else [values]
            check_value(name, values, all(np.ndim(value) == 0 for value in each), "one value for all rows")
        return self._batches(n_samples, batch_size, random_state, params)

    def _batches(self, n_samples, batch_size, random_state, params):
        rng = check_random_state(self._seed if random_state is None else random_state)
        for start in range(0, n_samples, batch_size):
            yield self.sample(min(batch_size, n_samples - start), random_state=rng, **params)

    def write_parquet(self, path, n_samples, *, batch_size=100_000, random_state=None, **params):
        """Write synthetic rows to a Parquet file, part by part.

        Parameters
        ----------
        path : path-like
            The file; one of this name is replaced when all rows are written, and kept if that fails.
        n_samples, batch_size, random_state, **params
            As in :meth:`sample_batches`.

        Returns
        -------
        columns : list of str
            Those of the file: of X, the label, and the attributes that are no columns of X.

        Raises
        ------
        ImportError
            Without pyarrow.
        ValueError
            If two columns would have one name.
        """
        try:
            from ._parquet import as_arrow, write_tables
        except ImportError:
            raise ImportError("write_parquet needs pyarrow: pip install pyarrow.") from None

        parts = self.sample_batches(n_samples, batch_size=batch_size, random_state=random_state, **params)
        own = attribute_names(self._own, self._order)
        return write_tables(path, (as_arrow(*part, self._label_format.name, own) for part in parts))

    # ---------------------------------------------------------------- what it costs

    def cost(self, n_samples=10_000):
        """Size and speed of the student beside the teacher's.

        Parameters
        ----------
        n_samples : int, default=10_000
            Rows drawn from each to measure the speed, the fastest of three times after one that does not count; labels
            and groups as observed.

        Returns
        -------
        DataFrame
            Rows "student" and, where it can decode its latents, "teacher"; columns "n_parameters", "n_bytes",
            "rows_per_second". The time is measured in this call, on this machine, with the threads that the process
            has.
        """
        check_is_fitted(self)
        teacher = getattr(self, "teacher_", None)
        sources = SOURCES if teacher is not None and teacher.can_decode else SOURCES[:1]
        rows = {}
        for source in sources:
            model: Any = self.student_ if source == "student" else teacher
            seconds = []
            for _ in range(4):  # the first makes what later calls find made
                start = time.perf_counter()
                self._draw(n_samples, None, None, "as_observed", source, None)
                seconds.append(time.perf_counter() - start)
            rows[source] = [model.n_parameters, model.n_bytes, n_samples / min(seconds[1:])]
        return pd.DataFrame.from_dict(rows, orient="index", columns=["n_parameters", "n_bytes", "rows_per_second"])

    # ---------------------------------------------------------------- files

    def save(self, path):
        """Write the student to files: weights as safetensors, everything else as JSON, no pickle and no training row.

        Parameters
        ----------
        path : path-like
            A folder, made if need be; ``student.safetensors`` and ``student.json`` in it are replaced.

        Raises
        ------
        ValueError
            If a column is of a dtype that has no name to write, or a ``repair`` function would be lost.
        """
        check_is_fitted(self)
        write_student(self, path)

    @classmethod
    def load(cls, path, *, decoder=None):
        """A synthesizer from the files of :meth:`save`.

        Parameters
        ----------
        path : path-like
            The folder.
        decoder : estimator with ``transform``, torch.nn.Module, skorch net or callable, default=None
            Of vectors: from the space of the embeddings to that of X. None: samples are embeddings.

        Returns
        -------
        synthesizer : FairSynthesizer
            It samples as the one that was saved, bit for bit, and has no ``teacher_``.
        """
        return read_student(cls, path, decoder)
