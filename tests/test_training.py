"""Seeds and threads, the split, the schedule, the rows in batches, the scores, and the loop itself."""

import contextlib
import copy
import pickle
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import foldnorm
from sklearn.metrics import r2_score, roc_auc_score
from skorch.callbacks import Callback

from sklearn_fairlatent._attributes import Variable
from sklearn_fairlatent._batches import MIN_HELD_OUT, BatchLoader, Codes, LatentRows, WhitenedRows, split_rows
from sklearn_fairlatent._flow import CarrierFlow, LatentFlow, LinearMap, describe_columns
from sklearn_fairlatent._latent import LatentLayout, LinearStart, linear_start, moments
from sklearn_fairlatent._objective import WIDE_FACTOR, LatentLoss, LatentModel, Task, describe_task, exchange_rate
from sklearn_fairlatent._training import (
    DEFAULT_EPOCHS,
    FEWEST_EPOCHS,
    TABLE_EPOCHS,
    Schedule,
    adversary_auc,
    calibrate,
    chance_utility,
    least_utility,
    reproducible,
    train,
    utility,
)

# Seeds and threads


def test_same_seed_same_draws():
    draws = []
    for seed in (0, 0, 1):
        with reproducible(seed, 1):
            draws.append(torch.randn(3).tolist())
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


@pytest.mark.parametrize("fails", [False, True])
def test_generators_and_threads_are_as_before(fails):
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 - the global generator is what must not move
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002 - the global generator is what is tested
    n_threads = torch.get_num_threads()
    wanted = n_threads + 1
    with contextlib.suppress(ZeroDivisionError), reproducible(1, wanted):
        assert torch.get_num_threads() == wanted
        torch.randn(10)
        if fails:
            raise ZeroDivisionError
    assert torch.get_num_threads() == n_threads
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert_array_equal(np.random.get_state()[1], numpy_state[1])  # noqa: NPY002 - the global generator is what is tested


def test_fits_in_one_process_take_turns():
    order = []

    def second():
        with reproducible(0, 1):
            order.append("second")

    with reproducible(0, 1):
        thread = threading.Thread(target=second)
        thread.start()
        # The other thread cannot get in however long it is given.
        thread.join(timeout=0.05)
        assert thread.is_alive()
        with reproducible(1, 1):  # one inside another, in one thread, is fine
            order.append("first")
    thread.join()
    assert order == ["first", "second"]


# The held-out rows


@settings(max_examples=50)
@given(
    n=st.integers(1, 300),
    fraction=st.floats(0.05, 0.6),
    n_classes=st.integers(1, 40),
    continuous=st.booleans(),
    seed=st.integers(0, 100),
)
def test_split_is_a_partition(n, fraction, n_classes, continuous, seed):
    rng = np.random.default_rng(seed)
    label = rng.normal(size=n) if continuous else rng.integers(0, n_classes, n).astype(float)
    group = np.where(rng.random(n) < 0.1, np.nan, rng.integers(0, 2, n))
    train_rows, held_out = split_rows(n, fraction, label, [group], np.random.RandomState(seed))
    if n * fraction < MIN_HELD_OUT:
        assert_array_equal(train_rows, np.arange(n))
        assert_array_equal(held_out, np.arange(n))
        return
    assert_array_equal(np.sort(np.r_[train_rows, held_out]), np.arange(n))
    assert (np.diff(train_rows) > 0).all()
    assert (np.diff(held_out) > 0).all()
    assert len(held_out) == np.ceil(n * fraction)


def test_split_is_stratified_on_label_and_group():
    label = np.repeat([0.0, 0.0, 0.0, 1.0], 50)
    group = np.tile([0.0, 0.0, 0.0, 0.0, 1.0], 40)
    for seed in range(5):
        _, held_out = split_rows(200, 0.2, label, [group], np.random.RandomState(seed))
        counts = [((label[held_out] == y) & (group[held_out] == a)).sum() for y in (0, 1) for a in (0, 1)]
        assert counts == [24, 6, 8, 2]


def test_split_depends_on_the_seed_only():
    label = np.arange(200) % 2.0
    splits = [split_rows(200, 0.2, label, [], np.random.RandomState(seed))[1] for seed in (0, 0, 1)]
    assert_array_equal(splits[0], splits[1])
    assert (splits[0] != splits[2]).any()


@pytest.mark.parametrize("n_rare", [1, 2, 7])
def test_rare_strata_do_not_stop_the_split(n_rare):
    label = np.zeros(150)
    label[:n_rare] = np.arange(1, n_rare + 1)
    train_rows, held_out = split_rows(150, 0.2, label, [], np.random.RandomState(0))
    assert len(train_rows) + len(held_out) == 150


@pytest.mark.parametrize("fraction", [0.9, 0.95])
def test_many_strata_and_few_training_rows(fraction):
    label = np.repeat(np.arange(30.0), 4)
    train_rows, held_out = split_rows(120, fraction, label, [], np.random.RandomState(0))
    assert len(train_rows) + len(held_out) == 120


def test_a_fraction_that_leaves_no_training_row():
    train_rows, held_out = split_rows(30, 0.999, np.zeros(30), [], np.random.RandomState(0))
    assert len(train_rows) > 0
    assert len(held_out) > 0


# The schedule


@pytest.mark.parametrize(
    ("max_epochs", "batch_size", "n_rows", "expected"),
    [
        ("auto", "auto", 20, (20, TABLE_EPOCHS[0], 1)),
        ("auto", "auto", 400, (100, TABLE_EPOCHS[0], 4)),
        ("auto", "auto", 9_000, (2048, 30, 4)),
        ("auto", "auto", 40_000, (2048, 32, 19)),
        ("auto", "auto", 1_000_000, (2048, FEWEST_EPOCHS, 488)),
        (7, "auto", 400, (100, 7, 4)),
        ("auto", 10, 400, (10, TABLE_EPOCHS[0], 40)),
        (3, 1000, 400, (400, 3, 1)),
        (3, 300, 400, (300, 3, 1)),
    ],
)
def test_schedule_of_a_table(max_epochs, batch_size, n_rows, expected):
    assert Schedule(max_epochs, batch_size, 1e-3, False, "cpu", 0).resolve(n_rows, of_table=True) == expected


@pytest.mark.parametrize(
    ("n_rows", "epochs"), [(400, DEFAULT_EPOCHS), (9_000, DEFAULT_EPOCHS), (90_000, 14), (1_000_000, FEWEST_EPOCHS)]
)
def test_schedule_of_embeddings(n_rows, epochs):
    assert Schedule("auto", "auto", 1e-3, False, "cpu", 0).resolve(n_rows, of_table=False)[1] == epochs


@pytest.mark.parametrize(
    ("max_epochs", "n_rows", "epochs"),
    [("auto", 25_000, 4), ("auto", 40_000, 2), ("auto", 1_800, 6), ("auto", 12, 10), (5, 25_000, 5)],
)
def test_schedule_of_a_fit_that_goes_on(max_epochs, n_rows, epochs):
    schedule = Schedule(max_epochs, "auto", 1e-3, False, "cpu", 0, warm=True)
    assert schedule.resolve(n_rows, of_table=True)[1] == epochs


# Rows in batches


def make_linear(n_features, seed=0):
    matrix = np.random.default_rng(seed).normal(size=(n_features, n_features))
    return LinearMap(LinearStart(np.arange(n_features, dtype=float), matrix, np.linalg.inv(matrix)))


def make_rows(n, rows=None, X=None):
    X = np.random.default_rng(0).normal(size=(n, 3)) if X is None else X
    codes = Codes(
        np.arange(n, dtype=float), np.zeros(n, dtype=np.int64), np.arange(2.0 * n).reshape(n, 2), [np.ones((n, 1))]
    )
    return LatentRows(WhitenedRows(X, make_linear(3)), codes, np.arange(n) if rows is None else rows)


def test_loader_without_a_generator_covers_every_row_in_order():
    batches = list(BatchLoader(make_rows(25), 10))
    assert [len(w) for w, _ in batches] == [10, 10, 5]
    assert torch.cat([batch["label"] for _, batch in batches]).tolist() == list(range(25))


def test_shuffled_loader_drops_the_remainder():
    rows = np.arange(3, 28)
    loader = BatchLoader(make_rows(30, rows), 10, torch.Generator().manual_seed(0))
    seen = []
    for _ in range(2):
        batches = list(loader)
        assert [len(w) for w, _ in batches] == [10, 10] == [10] * len(loader)
        labels = torch.cat([batch["label"] for _, batch in batches]).tolist()
        assert len(set(labels)) == 20
        assert set(labels) <= set(rows)
        seen.append(labels)
    assert seen[0] != seen[1]


def test_shuffled_loader_keeps_a_single_short_batch():
    loader = BatchLoader(make_rows(4), 10, torch.Generator().manual_seed(0))
    assert [len(w) for w, _ in loader] == [4]


@pytest.mark.parametrize("generator", [None, torch.Generator().manual_seed(0)])
def test_batches_keep_a_rows_parts_together(generator):
    dataset = make_rows(25)
    whole, _ = dataset.take(slice(None))
    for w, batch in BatchLoader(dataset, 7, generator):
        rows = batch["label"].long()
        assert torch.equal(w, whole[rows])
        assert torch.equal(batch["members"][:, 0], 2.0 * rows)
        assert batch["designs"][0].shape == (len(rows), 1)
        assert batch["strata"].dtype == torch.int64
        assert w.dtype == batch["label"].dtype == batch["members"].dtype == torch.float32


def map_to_disk(X, path, mode):
    np.asarray(X).tofile(path)
    return np.memmap(path, dtype=X.dtype, shape=X.shape, mode=mode)


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_mapped_rows_are_read_and_not_kept(tmp_path, mode, dtype):
    X = np.random.default_rng(0).normal(size=(50, 3)).astype(dtype)
    mapped = map_to_disk(X, tmp_path / "X", mode)
    held, streamed = WhitenedRows(X, make_linear(3)), WhitenedRows(mapped, make_linear(3))
    views = [mapped[:], np.asarray(mapped), mapped.view(np.ndarray)[1:]]
    assert held.cache.shape == (50, 3)
    assert streamed.cache is None
    assert all(WhitenedRows(view, make_linear(3)).cache is None for view in views)
    for rows in (np.array([7, 1, 4]), np.arange(50), slice(2, 9)):
        assert torch.equal(held[rows], streamed[rows])
        assert streamed[rows].dtype == torch.float32
    streamed[np.array([0, 1])].zero_()
    assert_array_equal(mapped, X)


def test_whitened_rows_are_the_linear_image():
    X = np.random.default_rng(0).normal(size=(20, 3))
    linear = make_linear(3)
    w, _ = linear(torch.as_tensor(X))
    assert_allclose(WhitenedRows(X, linear)[np.arange(20)], w, rtol=1e-5, atol=1e-5)


def test_whitening_keeps_the_digits_of_a_column_with_a_large_mean():
    # 1e9 swallows the digits in float32: the mean has to go before the rounding.
    X = np.random.default_rng(0).normal(size=(20, 1)) + 1e9
    linear = LinearMap(LinearStart(np.array([1e9]), np.eye(1), np.eye(1)))
    assert_allclose(WhitenedRows(X, linear)[np.arange(20)], X - 1e9, rtol=1e-6)


# The objective


def test_the_penalty_weighs_what_the_label_is_worth():
    loss = LatentLoss(task_of("binary", n_comparisons=1), LatentLayout("y", ("s",), (1, 1, 2), 1), torch.Generator())
    terms = {"label_loss": torch.tensor(0.5), "dependence": torch.tensor(0.1)}

    def penalty(rate, ramp):
        loss.task.exchange_rate = rate
        return float(loss(terms, ramp)) - 0.5

    assert penalty(2.0, 0.0) == 0
    assert penalty(2.0, 1.0) == pytest.approx(2 * penalty(1.0, 1.0)) == pytest.approx(2 * penalty(2.0, 0.5))
    alone = penalty(2.0, 1.0)
    loss.layout = LatentLayout("y", ("s",), (1, 1, 2), 2)
    assert WIDE_FACTOR > 1
    assert penalty(2.0, 1.0) == pytest.approx(WIDE_FACTOR * alone)


def scored_groups(shift, n=4000):
    """Scores of two groups, ``shift`` standard deviations apart, with their memberships."""
    members = (np.arange(n) % 2).astype(float)[:, None]
    return np.random.RandomState(0).standard_normal((n, 1)) + shift * members, members


def test_the_exchange_rate_is_information_over_dependence():
    scores, members = scored_groups(1.0)
    weights = np.ones(1)
    rates = [exchange_rate(nats, scores, members, weights) for nats in (0.1, 0.2)]
    assert rates[1] == pytest.approx(2 * rates[0])
    # The energy distance of two normal groups one standard deviation apart, over the spread of their mixture.
    between, within = foldnorm.mean(0.5**0.5, scale=2**0.5), 2 / np.pi**0.5
    assert 0.2 / rates[1] == pytest.approx(4 * (between - within) / (between + within), rel=0.1)
    # Neither the scale of the scores nor a second column with the same in it changes it.
    for same in (100 * scores, np.column_stack([scores, scores])):
        assert exchange_rate(0.1, same, members, weights) == pytest.approx(rates[0])


def test_the_exchange_rate_has_bounds():
    weights = np.ones(1)
    far, none = scored_groups(20.0), scored_groups(0.0)
    assert exchange_rate(0.0, *far, weights) == pytest.approx(0.1)
    assert exchange_rate(9.0, *none, weights) == pytest.approx(0.25 / 0.08)
    assert exchange_rate(9.0, far[0], np.zeros((4000, 0)), np.zeros(0)) == 1.0


# The scores


def task_of(kind, n_scores=1, n_comparisons=0):
    return Task(kind, n_scores, np.full(n_comparisons, 1.0), 1.0)


def test_utility_of_two_classes_is_the_auc():
    rng = np.random.default_rng(0)
    label, scores = rng.integers(0, 2, 50).astype(float), rng.normal(size=(50, 1))
    assert utility(scores, label, task_of("binary")) == roc_auc_score(label, scores[:, 0])
    assert utility(label[:, None], label, task_of("binary")) == 1.0
    assert utility(-label[:, None], label, task_of("binary")) == 0.0


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_chance_utility_is_what_one_noise_in_forty_exceeds(share):
    rng = np.random.RandomState(0)
    label = (np.arange(400) < 400 * share).astype(float)
    noise = rng.standard_normal((2000, 400))
    # The AUC of every noise by its ranks, all at once; ``utility`` takes them one by one.
    ranks = noise.argsort(axis=1).argsort(axis=1)
    n_pos = int(label.sum())
    found = (ranks[:, label == 1].sum(axis=1) - n_pos * (n_pos - 1) / 2) / (n_pos * (400 - n_pos))
    assert_allclose(found[:20], [utility(row[:, None], label, task_of("binary")) for row in noise[:20]])
    chance = chance_utility(label, task_of("binary"))
    assert 0.01 < np.mean(found > chance) < 0.04
    assert chance_utility(np.ones(400), task_of("binary")) == 0.5
    # The AUC of three classes is a mean of three.
    assert 0.5 < chance_utility(np.arange(400) % 3, task_of("multiclass", 3)) < 0.6


def test_a_label_is_lost_at_chance_or_with_a_quarter_of_its_best():
    label = (np.arange(4000) % 2).astype(float)
    chance = chance_utility(label, task_of("binary"))
    assert least_utility(0.9, label, task_of("binary")) == pytest.approx(0.6)
    assert least_utility(0.51, label, task_of("binary")) == chance == least_utility(np.nan, label, task_of("binary"))
    # A quarter of the correlation is a sixteenth of R2.
    assert least_utility(0.8, label, task_of("continuous")) == pytest.approx(0.05)
    assert least_utility(-1.0, label, task_of("continuous")) == chance_utility(label, task_of("continuous")) > 0


def test_utility_of_many_classes_is_the_macro_auc():
    rng = np.random.default_rng(0)
    label, scores = np.arange(60) % 3, rng.normal(size=(60, 3))
    proba = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    expected = np.mean([roc_auc_score(label == k, scores[:, k]) for k in range(3)])
    assert_allclose(utility(scores, label, task_of("multiclass", 3)), expected)
    # The rank of one class's score is what counts, so sklearn's own needs equal sums to agree.
    assert_allclose(utility(proba, label, task_of("multiclass", 3)), roc_auc_score(label, proba, multi_class="ovr"))


def test_utility_leaves_out_a_class_that_was_not_held_out():
    rng = np.random.default_rng(0)
    label, scores = np.arange(40) % 2, rng.normal(size=(40, 3))
    expected = np.mean([roc_auc_score(label == k, scores[:, k]) for k in range(2)])
    assert_allclose(utility(scores, label, task_of("multiclass", 3)), expected)


@pytest.mark.parametrize(("kind", "n_scores"), [("binary", 1), ("multiclass", 3)])
def test_utility_of_a_single_class_is_unknown(kind, n_scores):
    assert np.isnan(utility(np.zeros((9, n_scores)), np.zeros(9), task_of(kind, n_scores)))


def test_utility_of_a_number_is_r2():
    rng = np.random.default_rng(0)
    label, scores = rng.normal(size=30), rng.normal(size=(30, 1))
    assert utility(scores, label, task_of("continuous")) == r2_score(label, scores[:, 0])


def codes_of(members, strata=None):
    n = len(members)
    return Codes(np.zeros(n), np.zeros(n, dtype=np.int64) if strata is None else strata, members, [])


def test_adversary_auc_is_the_highest_over_the_comparisons():
    rng = np.random.default_rng(0)
    members = np.column_stack([np.arange(60) % 2, rng.permutation(60) < 20]).astype(float)
    scores = rng.normal(size=(60, 2)) + 1.5 * members * [0, 1]
    aucs = [roc_auc_score(members[:, k], scores[:, k]) for k in range(2)]
    found = adversary_auc(scores, codes_of(members))
    assert found == max(max(auc, 1 - auc) for auc in aucs)
    assert found == aucs[1] > 0.7
    assert_allclose(adversary_auc(-scores, codes_of(members)), found)


def test_adversary_auc_leaves_out_missing_members_and_uncompared_rows():
    members = (np.arange(60) % 2.0)[:, None]
    scores = np.random.default_rng(0).normal(size=(60, 1))
    strata = np.zeros(60, dtype=np.int64)
    scores[:10], strata[:10] = 100 * members[:10], -1
    gone = np.arange(10, 20)
    scores[gone] = 100 * members[gone]
    holed = members.copy()
    holed[gone] = np.nan
    auc = roc_auc_score(members[20:, 0], scores[20:, 0])
    assert_allclose(adversary_auc(scores, codes_of(holed, strata)), max(auc, 1 - auc))
    # Negative control: those rows would have given the group away.
    assert adversary_auc(scores, codes_of(members)) > max(auc, 1 - auc) + 0.05


def test_adversary_auc_looks_within_the_strata():
    label = np.arange(80) // 40
    members = np.where(np.arange(80) % 8 == 0, 1 - label, label)[:, None].astype(float)
    scores = label[:, None] + np.zeros((80, 1))
    assert adversary_auc(scores, codes_of(members, label)) == 0.5
    assert adversary_auc(scores, codes_of(members)) > 0.8


@pytest.mark.parametrize(("n_inside", "expected"), [(4, 0.5), (5, 1.0), (35, 1.0), (36, 0.5), (0, 0.5)])
def test_adversary_auc_of_fewer_than_five_rows_does_not_count(n_inside, expected):
    members = (np.arange(40) < n_inside).astype(float)[:, None]
    assert adversary_auc(members, codes_of(members)) == expected


def test_adversary_auc_where_nothing_is_compared():
    members = (np.arange(40) % 2.0)[:, None]
    assert adversary_auc(members, codes_of(members, np.full(40, -1))) == 0.5


# What is learnt


def test_task_weighs_every_attribute_the_same():
    race = Variable.from_values("race", list("abc"), continuous=False)
    sex = Variable.from_values("sex", list("ab"), continuous=False)
    label = Variable.from_values("y", [0, 1, 2], continuous=False)
    attributes = [race.encode(list("abcab")), sex.encode(list("ababa"))]
    codes, task = describe_task(label, np.arange(5.0) % 3, [race, sex], attributes, np.zeros(5), 0.5)
    assert (task.kind, task.n_scores, task.strength) == ("multiclass", 3, 0.5)
    assert_allclose(task.comparison_weights, [1 / 3, 1 / 3, 1 / 3, 1])
    assert codes.members.shape == (5, 4)
    assert [design.shape for design in codes.designs] == [(5, 3), (5, 2)]


@pytest.mark.parametrize(
    ("values", "continuous", "kind"), [([0, 1], False, "binary"), ([0.5, 1.5], True, "continuous")]
)
def test_task_without_attributes(values, continuous, kind):
    label = Variable.from_values("y", values, continuous=continuous)
    codes, task = describe_task(label, label.encode(values), [], [], np.zeros(2), 1)
    assert (task.kind, task.n_scores) == (kind, 1)
    assert codes.members.shape == (2, 0)
    assert task.comparison_weights.shape == (0,)


def test_task_without_a_label():
    sex = Variable.from_values("sex", list("ab"), continuous=False)
    _, task = describe_task(None, np.zeros(2), [sex], [sex.encode(list("ab"))], np.zeros(2), 1)
    assert (task.kind, task.n_scores) == (None, 0)


# The loop


def make_problem(
    n=200, *, label="binary", attributes=2, n_handed_on=None, missing=0.0, strength=1.0, n_features=6, seed=0
):
    """Everything that ``train`` takes, but for its schedule, on rows with two attributes of different means."""
    rng = np.random.default_rng(seed)
    groups = [(rng.random(n) < 0.3).astype(float), rng.integers(0, 3, n).astype(float)][:attributes]
    X = rng.normal(size=(n, n_features))
    for k, group in enumerate(groups):
        X[:, k] += 1.5 * group
    signal = X[:, 0] + X[:, 3]
    y = {
        "binary": (signal > 0.5).astype(int),
        "multiclass": np.digitize(signal, [0, 1]),
        "continuous": signal,
        None: np.zeros(n),
    }[label]
    target = None if label is None else Variable.from_values("y", y, continuous=label == "continuous")
    y_codes = y if target is None else target.encode(y)
    variables = [Variable.from_values(f"a{k}", g, continuous=False) for k, g in enumerate(groups)]
    for group in groups:
        group[rng.random(n) < missing] = np.nan
    encoded = [variable.encode(group) for variable, group in zip(variables, groups, strict=True)]
    codes, task = describe_task(target, y_codes, variables, encoded, np.zeros(n, dtype=np.int64), strength)
    n_target = 0 if target is None else target.width
    widths = (n_target, *(variable.width for variable in variables))
    n_residual = n_features - sum(widths)
    names = tuple(variable.name for variable in variables)
    n_handed_on = n_handed_on or n_target or n_residual
    layout = LatentLayout("y" if target else None, names, (*widths, n_residual), n_handed_on)
    designs = [np.zeros((n, 0)) if target is None else target.design(y_codes), *codes.designs]
    stops = np.cumsum([design.shape[1] for design in designs])
    blocks = [slice(stop - design.shape[1], stop) for stop, design in zip(stops, designs, strict=True)]
    rows = np.arange(n)
    start = linear_start(moments(X, np.column_stack(designs), rows), blocks, layout, label_first=False)
    torch.manual_seed(seed)
    table = describe_columns(X, rows, np.column_stack(designs), smooth=True)
    core = CarrierFlow(layout, start, table, n_layers=2, hidden_size=8)
    return {
        "flow": LatentFlow(LinearMap(start), core).double(),
        "layout": layout,
        "task": task,
        "X": X,
        "codes": codes,
        "train_rows": rows[: 3 * n // 4],
        "held_out_rows": rows[3 * n // 4 :],
    }


def schedule_of(**changes):
    knobs = {"max_epochs": 3, "batch_size": 50, "lr": 2e-3, "early_stopping": False, "device": "cpu", "verbose": 0}
    return Schedule(**{**knobs, **changes})


def run(problem, seed=0, **changes):
    with reproducible(seed, 1):
        return train(**problem, schedule=schedule_of(**changes), seed=seed)


PROBLEMS = [
    {"label": "binary"},
    {"label": "binary", "n_handed_on": 3},
    {"label": "multiclass"},
    {"label": "multiclass", "n_handed_on": 1},
    {"label": "multiclass", "n_features": 5},  # no residual
    {"label": "multiclass", "n_features": 5, "n_handed_on": 1},
    {"label": "binary", "n_handed_on": 2, "n_features": 5},  # all but the sensitive blocks
    {"label": "continuous"},
    {"label": None},
    {"label": "binary", "attributes": 0},
    {"label": None, "attributes": 0},
    {"label": "binary", "missing": 0.2},
    {"label": "binary", "strength": 0.0},
]


@pytest.mark.parametrize("kind", PROBLEMS, ids=repr)
def test_train_records_every_term_and_leaves_a_working_flow(kind):
    problem = make_problem(**kind)
    history, improved, _ = run(problem)
    assert isinstance(improved, bool)
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3]
    terms = {"likelihood"}
    terms |= {"label_loss"} if problem["task"].kind else set()
    if len(problem["task"].comparison_weights):
        terms |= {"dependence", "adversary_loss", "sensitive_loss"}
    expected = {f"{prefix}_{term}" for prefix in ("train", "valid") for term in terms | {"loss"}}
    expected |= {"validation_utility"} if problem["task"].kind else set()
    expected |= {"adversary_auc"} if len(problem["task"].comparison_weights) else set()
    for epoch in history:
        assert expected <= set(epoch)
        assert np.isfinite([epoch[name] for name in expected]).all()
    flow, X = problem["flow"], torch.as_tensor(problem["X"])
    z, _ = flow(X)
    assert torch.isfinite(z).all()
    assert_allclose(flow.inverse(z), X, rtol=0, atol=1e-8 * float(X.abs().max()))
    assert not flow.training
    assert all(p.dtype == torch.float64 and not p.requires_grad for p in flow.parameters())


def test_training_is_reproducible_and_depends_on_the_seed():
    images = []
    for seed in (0, 0, 1):
        problem = make_problem()
        assert run(problem, seed=seed, max_epochs=20)[1]  # else starts would be compared, which need no seed
        images.append(problem["flow"](torch.as_tensor(problem["X"]))[0])
    assert torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])


def test_a_memory_map_trains_to_the_same_bits(tmp_path):
    images = []
    for mapped in (False, True):
        problem = make_problem()
        X = problem["X"]
        if mapped:
            problem["X"] = map_to_disk(X, tmp_path / "X", "r")
        run(problem)
        images.append(problem["flow"](torch.as_tensor(X))[0])
    assert torch.equal(*images)


def test_the_penalty_lowers_the_dependence():
    found = {}
    for strength in (0.0, 1.0):
        history, *_ = run(make_problem(n=400, strength=strength), max_epochs=25)
        found[strength] = np.mean([epoch["valid_dependence"] for epoch in history[-3:]])
    assert found[0.0] > 0.05
    assert found[1.0] < 0.5 * found[0.0]


def test_a_run_that_made_things_worse_is_taken_back():
    problem = make_problem()
    before = copy.deepcopy(problem["flow"])
    history, improved, (first, kept) = run(problem, lr=30.0)
    assert not improved
    # What is told of the label is that of the map that was put back.
    assert first == kept > 0.6
    X = torch.as_tensor(problem["X"])
    # The calibration runs in float32 and sets the location and scale of the carrier; all else is as it was.
    for (name, trained), start in zip(problem["flow"].core.named_parameters(), before.core.parameters(), strict=True):
        assert_allclose(trained, start.detach(), rtol=1e-6, atol=1e-7, err_msg=name)
    assert_allclose(problem["flow"].inverse(problem["flow"](X)[0]), X, atol=1e-8 * float(X.abs().max()))
    assert len(history) == 3


def test_a_run_whose_loss_is_no_number_is_taken_back():
    problem = make_problem(n=80)

    class Ruin(Callback):
        def on_train_end(self, net, **kwargs):
            with torch.no_grad():
                next(net.module_.core.parameters()).fill_(torch.nan)

    _, improved, _ = run(problem, net_params={"callbacks": [("ruin", Ruin())]})
    assert not improved
    assert torch.isfinite(problem["flow"](torch.as_tensor(problem["X"]))[0]).all()


def test_early_stopping_ends_early_and_keeps_the_best():
    history, *_ = run(make_problem(n=80), max_epochs=40, lr=0.1, early_stopping=True)
    assert len(history) < 40


def test_verbose(capsys):
    run(make_problem(n=80), max_epochs=2)
    assert capsys.readouterr().out == ""
    run(make_problem(n=80), max_epochs=2, verbose=1)
    out = capsys.readouterr().out
    assert "valid_loss" in out
    assert len(out.strip().splitlines()) == 4  # two lines of heading, one an epoch
    run(make_problem(n=80), max_epochs=2, verbose=2)
    printed = capsys.readouterr()
    assert "it/s" in printed.err
    assert "valid_loss" not in printed.out


def test_net_params_reach_skorch_and_stay_the_callers():
    seen = []

    class Watch(Callback):
        def on_batch_end(self, net, batch, training, **kwargs):
            if training:
                seen.append((len(batch[0]), type(net.optimizer_)))

    net_params = {"callbacks": [("watch", Watch())], "optimizer": torch.optim.Adam}
    run(make_problem(), net_params=net_params)
    assert seen == [(50, torch.optim.Adam)] * 9
    assert list(net_params) == ["callbacks", "optimizer"]


def test_training_leaves_the_global_generators_alone():
    problem = make_problem()
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002 - the global generator is what is tested
    run(problem)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert_array_equal(np.random.get_state()[1], numpy_state[1])  # noqa: NPY002 - the global generator is what is tested
    assert np.random.get_state()[2] == numpy_state[2]  # noqa: NPY002 - the global generator is what is tested


def test_trained_flow_can_be_pickled():
    problem = make_problem(n=80)
    run(problem, max_epochs=1)
    X = torch.as_tensor(problem["X"])
    twin = pickle.loads(pickle.dumps(problem["flow"]))
    assert torch.equal(twin(X)[0], problem["flow"](X)[0])


class Doubling(torch.nn.Module):
    """A module of a user: no carrier, no statistics to calibrate."""

    def __init__(self):
        super().__init__()
        self.log_scale = torch.nn.Parameter(torch.zeros(6))

    def forward(self, w):
        return w * self.log_scale.exp(), self.log_scale.sum().expand(len(w))

    def inverse(self, z):
        return z / self.log_scale.exp()


def test_another_module_is_trained():
    problem = make_problem()
    problem["flow"].core = Doubling().double()
    history, improved, _ = run(problem)
    assert improved
    assert history[-1]["valid_loss"] < history[0]["valid_loss"] + 0.1
    assert problem["flow"].core.log_scale.abs().max() > 1e-3


def test_calibration_standardises_the_carried_columns():
    problem = make_problem()
    core, w = problem["flow"].core, problem["flow"].linear(torch.as_tensor(problem["X"]))[0]
    momentum = core.standardise.momentum
    calibrate(core, w)
    z = core.carry(w)[0]
    assert not core.training
    assert core.standardise.momentum == momentum
    assert_allclose(z.detach().mean(dim=0), [0.0], atol=1e-10)
    assert_allclose(z.detach().std(dim=0), [1.0], rtol=1e-3)


@pytest.mark.parametrize("core", [Doubling(), make_problem(label=None)["flow"].core])
def test_calibration_leaves_modules_without_a_carrier_alone(core):
    before = {name: value.clone() for name, value in core.state_dict().items()}
    calibrate(core, torch.zeros(4, 6))
    assert all(torch.equal(before[name], value) for name, value in core.state_dict().items())


def test_rows_without_an_attribute_do_not_reach_its_location():
    problem = make_problem(missing=0.3)
    model = LatentModel(problem["flow"].core.float(), problem["layout"], problem["task"], [2, 3])
    loss = LatentLoss(problem["task"], problem["layout"], torch.Generator().manual_seed(0))
    linear = problem["flow"].linear.double()
    dataset = LatentRows(WhitenedRows(problem["X"], linear), problem["codes"], problem["train_rows"])
    w, batch = dataset.take(slice(None))
    terms = loss.terms(model(w), batch, model)
    loss(terms, 1.0).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


def test_the_adversary_only_watches():
    problem = make_problem()
    model = LatentModel(problem["flow"].core.float(), problem["layout"], problem["task"], [2, 3])
    linear = problem["flow"].linear.double()
    dataset = LatentRows(WhitenedRows(problem["X"], linear), problem["codes"], problem["train_rows"])
    w, _ = dataset.take(slice(None))
    model(w)["adversary"].sum().backward()
    assert all(parameter.grad is None for parameter in model.core.parameters())
    assert any(parameter.grad is not None for parameter in model.adversary.parameters())
