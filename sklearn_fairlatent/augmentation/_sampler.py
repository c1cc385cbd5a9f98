"""LatentFlipSampler: real rows and partners of the other group, by imbalanced-learn's convention."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from .._encoding import Encoding, column_names
from .._fit_state import seeded
from .._groups import crossed
from .._joining import join_columns, series_like, take_rows
from .._latent import row_chunks
from .._moving import check_whole_step
from .._parameters import check_value, is_integer, is_real
from .._rounding import codec_of
from ._flip import check_bound
from ._given import read_given
from ._judging import Judges, default_judge
from ._movers import LinearMover, TransformerMover
from ._pairs import all_pairs, balancing_pairs, cell_needs, intersections
from ._rows import RowWriter
from ._sources import generated_sources, given_sources

# scikit-learn's metadata routing knows fit_resample once imbalanced-learn is imported, and what a class requests is
# read when the class is made.
try:
    import imblearn.base  # noqa: F401 - for what it registers

    ROUTED = True
except ImportError:
    ROUTED = False


class LatentFlipSampler(OneToOneFeatureMixin, BaseEstimator):
    """Add to the training rows partners of another group with the same label, made in a latent space.

    A classifier that sees a row as both groups, under one label, learns less of what tells the groups apart. By default
    the rows are embeddings (or a table of numbers), and a partner is made by the hyperplane flip of [1]_, see
    :func:`latent_flip`. With a ``transformer`` the flip is not linear: the sensitive block of its latent moves. With a
    ``generator`` the partners are decoded from latents that are drawn, as in the paper.

    The interface is imbalanced-learn's: ``fit_resample(X, y, sensitive_features=...)``. In its ``Pipeline`` keywords
    reach a sampler only with metadata routing enabled; without, keep the attribute in ``X`` and name it in
    ``sensitive_columns``.

    Parameters
    ----------
    transformer : FairLatentTransformer, default=None
        Moves rows by its ``counterfactual``. Cloned and fitted on the rows, or on the latents of the ``generator``;
        used as it is in a ``FrozenEstimator``. With ``constraints="equalized_odds"`` its target block keeps what tells
        the label beside the attribute, and a flip takes along the rest. None: the linear flip.
    generator : torch.nn.Module, skorch net, callable or estimator with ``transform``, default=None
        Makes rows like those of X from latents, in batches; never trained. ``clone``, and with it a search, keeps what
        an estimator has learned only in a ``FrozenEstimator``.
    annotators : dict of str to estimator, default=None
        Only with a generator: who tells label ("target") and attributes (by name) of what it makes. Cloned and fitted
        on the rows of X, or used as it is in a ``FrozenEstimator``. Those left out are boosted trees.
    n_latent : int, default=None
        Columns of the generator's latents, which are drawn from the standard normal. None: as many as a frozen
        ``transformer`` takes.
    n_generated : int, default=None
        Latents drawn. None: as many as X has rows, and at least 1,000.
    pairs : {"all", "balance"}, default="all"
        "all": every row (or every latent, which then is added itself) gets a partner in every other group, so
        that label and attribute are independent among them. "balance": only as many partners as make the groups of
        every label equally large, of randomly chosen rows of this label.
    step : float, default=1.0
        How far a row goes, > 0. Linear: 1 mirrors it at the hyperplane, 0.5 projects it there. Of a transformer:
        1 goes to the other group's place, more goes beyond it.
    hold_target : bool, default=True
        Only of the linear flip: hold the score of the label.
    max_stretch, on_parallel
        Only of the linear flip, as in :func:`latent_flip`.
    judge : "auto", estimator or None, default="auto"
        Who says whether a partner still has the label of its row. "auto": boosted trees, fitted on one half of the rows
        and asked about the other; with a generator its annotator. An estimator is treated likewise, or used as it is
        in a ``FrozenEstimator``. It reads rows without the ``sensitive_columns``. None: nobody.
    drop_inconsistent : bool, default=False
        Leave out the partners whose label the judge reads differently from that of their row.
    sensitive_columns : list of str or int, default=None
        Columns of X that are sensitive attributes: the flip does not see them, and partners bear the other group there.
    output_file : path-like, default=None
        A .npy file that the rows are written to, for arrays larger than memory; the result is a memory map. Finding the
        directions of the linear flip still takes a copy of X.
    batch_size : int, default=1024
        Rows made at once, at least 1.
    random_state : int, RandomState instance or None, default=None
        Seed of what is drawn, and of a ``random_state`` of the transformer that is None.

    Attributes
    ----------
    sensitive_features_ : DataFrame of shape (n_resampled, n_attributes)
        The attributes of the rows that ``fit_resample`` returned, for what follows.
    sample_indices_ : ndarray of int of shape (n_resampled,)
        The row of X that each is, or is the partner of; -1 for what a generator made.
    flipped_ : ndarray of bool of shape (n_resampled,)
        Which of them are partners.
    label_changed_ : float
        Share of all partners made whose label the judge read differently from that of their row, in [0, 1]; NaN
        without a judge.
    pair_summary_ : DataFrame
        By the group left and the group joined: ``n_pairs`` made, ``n_kept``, and ``label_changed``.
    transformer_ : FairLatentTransformer
        Only with a ``transformer``.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of str of shape (`n_features_in_`,)
        Names of the columns of X, if it has any.

    See Also
    --------
    latent_flip : The closed form.
    sklearn_fairlatent.metrics.bias_scores : What augmentation is to improve.

    Notes
    -----
    That a partner has the label of its row is an assumption. Look at ``label_changed_``.

    References
    ----------
    .. [1] Ramaswamy, Kim, Russakovsky (2021), "Fair attribute classification through latent space de-biasing", CVPR,
       section 3.

    Examples
    --------
    >>> from sklearn_fairlatent.augmentation import LatentFlipSampler
    >>> from sklearn_fairlatent.datasets import make_biased_latents
    >>> data = make_biased_latents(600, random_state=0)
    >>> sampler = LatentFlipSampler(random_state=0)
    >>> X, y = sampler.fit_resample(data.data, data.target, sensitive_features=data.sensitive_features)
    >>> X.shape, y.shape
    ((1200, 16), (1200,))
    >>> sampler.sensitive_features_["group"].value_counts().tolist()
    [600, 600]
    """

    __metadata_request__fit = {"sensitive_features": True}
    if ROUTED:
        __metadata_request__fit_resample = {"sensitive_features": True}

    def __init__(
        self,
        transformer=None,
        *,
        generator=None,
        annotators=None,
        n_latent=None,
        n_generated=None,
        pairs="all",
        step=1.0,
        hold_target=True,
        max_stretch=10.0,
        on_parallel="raise",
        judge="auto",
        drop_inconsistent=False,
        sensitive_columns=None,
        output_file=None,
        batch_size=1024,
        random_state=None,
    ):
        self.transformer = transformer
        self.generator = generator
        self.annotators = annotators
        self.n_latent = n_latent
        self.n_generated = n_generated
        self.pairs = pairs
        self.step = step
        self.hold_target = hold_target
        self.max_stretch = max_stretch
        self.on_parallel = on_parallel
        self.judge = judge
        self.drop_inconsistent = drop_inconsistent
        self.sensitive_columns = sensitive_columns
        self.output_file = output_file
        self.batch_size = batch_size
        self.random_state = random_state

    def fit(self, X, y, *, sensitive_features=None):
        """Check the input, as imbalanced-learn's samplers do; the work is done by :meth:`fit_resample`.

        Parameters
        ----------
        X, y, sensitive_features
            As in :meth:`fit_resample`.

        Returns
        -------
        self : LatentFlipSampler
        """
        self._check_parameters()
        given = read_given(X, y, sensitive_features, list(self.sensitive_columns or []))
        validate_data(self, X if len(np.shape(X)) > 1 else given.X, skip_check_array=True)
        return self

    def fit_resample(self, X, y, *, sensitive_features=None):
        """The rows, and their partners.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...), or frame
            Embeddings, a table, or, with a generator, what it makes (pictures).
        y : array-like of shape (n_samples,)
            Classes.
        sensitive_features : Series, DataFrame, array-like of shape (n_samples,) or (n_samples, n), or dict of arrays
            Attributes with groups. Rows where one is missing are kept and get no partner. May be left out with
            ``sensitive_columns``.

        Returns
        -------
        X_resampled : of the kind of X, of shape (n_resampled, n_features) or (n_resampled, ...)
            The rows of X, with ``pairs="all"`` what the generator made, and the partners. Floats.
        y_resampled : of the kind of y, of shape (n_resampled,)

        Raises
        ------
        ValueError
            If the attribute is missing, continuous or has one group, y is not of classes, or parameters do not fit.
        """
        self._check_parameters()
        rng = np.random.RandomState(check_random_state(self.random_state).randint(2**31 - 1))
        given = read_given(X, y, sensitive_features, list(self.sensitive_columns or []))
        # One thread: the last bits of a sum depend on their number.
        with threadpool_limits(1):
            X_resampled, y_resampled, fitted = self._resample(given, rng)
        validate_data(self, X if len(np.shape(X)) > 1 else given.X, skip_check_array=True)
        # What an earlier call with a transformer left is no part of this one.
        self.__dict__.pop("transformer_", None)
        self.__dict__.update(fitted)
        return X_resampled, series_like(y, y_resampled)

    def _check_parameters(self):
        for name, least, optional in (("batch_size", 1, False), ("n_latent", 1, True), ("n_generated", 2, True)):
            value = getattr(self, name)
            valid = (optional and value is None) or (is_integer(value) and value >= least)
            check_value(name, value, valid, f"an integer >= {least}{', or None' if optional else ''}")
        check_value("pairs", self.pairs, self.pairs in ("all", "balance"), "'all' or 'balance'")
        check_value("step", self.step, is_real(self.step) and 0 < self.step < np.inf, "a number > 0")
        fair: Any = self.transformer
        if getattr(fair, "counterfactual_map", None) == "transport" and codec_of(fair.encoder) is not None:
            check_whole_step(self.step)
        check_bound(self.max_stretch, self.on_parallel)
        for name in ("hold_target", "drop_inconsistent"):
            value = getattr(self, name)
            check_value(name, value, isinstance(value, (bool, np.bool_)), "True or False")
        judge, columns, file = self.judge, self.sensitive_columns, self.output_file
        is_judge = judge is None or hasattr(judge, "predict") or (isinstance(judge, str) and judge == "auto")
        check_value("judge", judge, is_judge, "'auto', an estimator with predict, or None")
        is_list = columns is None or (isinstance(columns, (list, tuple)) and len(columns) > 0)
        check_value("sensitive_columns", columns, is_list, "a non-empty list of names or positions, or None")
        is_file = file is None or Path(file).suffix == ".npy"
        check_value("output_file", None if file is None else str(file), is_file, "a path that ends in .npy, or None")
        if self.drop_inconsistent and self.judge is None:
            raise ValueError("drop_inconsistent=True needs a judge: pass judge='auto' or an estimator.")
        if self.generator is None:
            unused = [name for name in ("annotators", "n_latent", "n_generated") if getattr(self, name) is not None]
            if unused:
                raise ValueError(f"{unused} are of a generator, and generator=None. Pass one, or leave them out.")
        if not (self.transformer is None or hasattr(self.transformer, "counterfactual")):
            raise TypeError(
                f"transformer is a {type(self.transformer).__name__}; expected a FairLatentTransformer, or None."
            )
        if getattr(self.transformer, "sensitive_columns", None):
            raise ValueError(
                "transformer has sensitive_columns, which it would not see. Set sensitive_columns of the sampler, and "
                "let the transformer learn without: fit it with sensitive_features."
            )

    def _resample(self, given, rng):
        """Rows, labels and fitted attributes."""
        generated = self.generator is not None
        if generated:
            n_latent = self.n_latent or getattr(self.transformer, "n_features_in_", None)
            sources = generated_sources(
                given, self.generator, self.annotators or {}, n_latent, self.n_generated, self.batch_size, rng
            )
        else:
            sources = given_sources(given)
        decode = Encoding(None, self.generator if generated else _same).decode
        mover, fitted = self._mover(sources, given, rng)
        source, wanted = self._plan(sources, given, rng)
        judges = self._judges(sources, given, rng)
        n_drawn = len(sources.label) if generated and self.pairs == "all" else 0
        changed = np.zeros(len(source), dtype=bool)
        writer = RowWriter(given.X, len(given.y) + n_drawn + len(source), self.output_file)
        with writer:
            for part in row_chunks(len(given.y), self.batch_size):
                writer.append(take_rows(given.X, np.arange(part.start, part.stop)))
            for part in row_chunks(n_drawn, self.batch_size):
                groups = sources.groups[part]
                writer.append(self._with_columns(decode(sources.rows[part]), sources, groups, given))
            for part in row_chunks(len(source), self.batch_size):
                before, goal = take_rows(sources.rows, source[part]), wanted[part]
                own = sources.group_codes(sources.groups[source[part]], given.variables)
                rows = decode(mover.move(before, own, sources.group_codes(goal, given.variables)))
                if judges is not None:
                    changed[part] = judges.disagree(decode(before), rows, source[part])
                kept = np.flatnonzero(~changed[part]) if self.drop_inconsistent else np.arange(len(goal))
                writer.append(self._with_columns(take_rows(rows, kept), sources, goal[kept], given))
        kept = ~changed if self.drop_inconsistent else np.ones(len(source), dtype=bool)
        described = _describe(given, sources, source, wanted, kept, changed if judges is not None else None, n_drawn)
        y = np.concatenate([given.y, given.label.decode(sources.label)[np.r_[np.arange(n_drawn), source[kept]]]])
        return writer.rows, y, fitted | described

    @staticmethod
    def _with_columns(rows, sources, groups, given):
        """Rows with the sensitive columns that X has, of the ``groups`` that they show."""
        codes = sources.group_codes(groups, given.variables[: len(given.columns)])
        values = [v.decode(codes[v.name]) for v in given.variables[: len(given.columns)]]
        return join_columns(rows, given.columns, values, column_names(given.X))

    def _mover(self, sources, given, rng):
        """What moves the source rows, and what is fitted with it."""
        if self.transformer is None:
            linear = LinearMover(self.step, self.hold_target, self.max_stretch, self.on_parallel)
            return linear.fit(sources.rows, sources.label, sources.codes), {}
        if isinstance(self.transformer, FrozenEstimator):
            fair = self.transformer.estimator
            check_is_fitted(fair)
            known = list(fair.latent_layout_.sensitive)
            strangers = [variable.name for variable in given.variables if variable.name not in known]
            if strangers:
                raise ValueError(
                    f"sensitive_features: the frozen transformer knows {known}, not {strangers}. Pass a Series or a "
                    "DataFrame with these names."
                )
        else:
            fair = clone(self.transformer)
            if fair.random_state is None:
                fair.set_params(random_state=int(rng.randint(2**31 - 1)))
            index = getattr(sources.rows, "index", None)
            A = pd.DataFrame({v.name: _decoded(v, sources.codes[v.name]) for v in given.variables}, index=index)
            fair.fit(sources.rows, given.label.decode(sources.label), sensitive_features=A)
        return TransformerMover(fair, given.variables, self.step), {"transformer_": fair}

    def _plan(self, sources, given, rng):
        """Which source row joins which group."""
        if self.pairs == "all":
            return all_pairs(sources.groups, len(sources.members))
        # What is balanced is the rows of X, whatever the partners are made of.
        position = {tuple(member): k for k, member in enumerate(sources.members.tolist())}
        own, members = intersections(given.codes)
        unseen = [member for member in members.tolist() if tuple(member) not in position]
        if unseen:
            names = [[v.categories[c] for v, c in zip(given.variables, member, strict=True)] for member in unseen]
            raise ValueError(f"No generated row is read as one of the group(s) {names}. Draw more (n_generated).")
        groups = np.array([*(position[tuple(member)] for member in members.tolist()), -1])[own]
        needs = cell_needs(given.label_codes, groups, given.label.n_groups, len(sources.members))
        source, wanted, missing = balancing_pairs(sources.label, sources.groups, needs, rng)
        # Of the rows themselves there are always enough: the largest group of the label is among them.
        if missing:
            warnings.warn(
                f"pairs='balance': {missing} partner(s) are missing: too few generated rows of other groups have the "
                "label. Draw more (n_generated).",
                UserWarning,
                stacklevel=4,
            )
        return source, wanted

    def _judges(self, sources, given, rng):
        if self.judge is None:
            return None
        if isinstance(self.judge, FrozenEstimator):
            judge = self.judge
        elif not isinstance(self.judge, str):
            judge = seeded(self.judge, int(rng.randint(2**31 - 1)))
        elif sources.generated:
            judge = FrozenEstimator(sources.annotator)
        else:
            judge = default_judge(given.rest, int(rng.randint(2**31 - 1)))
        if sources.generated and not isinstance(judge, FrozenEstimator):
            # What is generated takes no part in what it learns: one judge for all.
            judge = FrozenEstimator(clone(judge).fit(given.rest, given.y))
        return Judges(judge).fit(given.rest, given.y, rng)


def _describe(given, sources, source, wanted, kept, changed, n_drawn):
    """The fitted attributes that tell of the rows."""
    members = pd.DataFrame({v.name: v.categories[sources.members[:, k]] for k, v in enumerate(given.variables)})
    groups = np.r_[sources.groups[:n_drawn], wanted[kept]]
    A = pd.concat([given.attributes, members.iloc[groups]], ignore_index=True)
    origin = np.full(len(A), -1)
    origin[: len(given.y)] = np.arange(len(given.y))
    if not sources.generated:
        origin[len(given.y) :] = source[kept]
    names = np.asarray(crossed(members), dtype=object)
    summary = pd.DataFrame({"from": names[sources.groups[source]], "to": names[wanted], "n_pairs": 1, "n_kept": kept})
    summary["label_changed"] = np.nan if changed is None else changed.astype(float)
    aggregated = {"n_pairs": "sum", "n_kept": "sum", "label_changed": "mean"}
    return {
        "sensitive_features_": A.astype(given.attributes.dtypes.to_dict()),
        "sample_indices_": origin,
        "flipped_": np.arange(len(A)) >= len(given.y) + n_drawn,
        "label_changed_": float("nan") if changed is None or not len(changed) else float(changed.mean()),
        "pair_summary_": summary.groupby(["from", "to"]).agg(aggregated),
    }


def _same(rows):
    return rows


def _decoded(variable, codes):
    """Values of the codes, None where missing."""
    known = ~np.isnan(codes)
    if known.all():
        return variable.decode(codes)
    values = np.full(len(codes), None, dtype=object)
    values[known] = variable.decode(codes[known])
    return values
