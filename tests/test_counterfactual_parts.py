"""The parts of a trained counterfactual map: closed form, flow, partners, readers, rounding, revision."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import StandardScaler

from sklearn_fairlatent import TabularCodec
from sklearn_fairlatent import _counterfactual_map as counterfactual_map
from sklearn_fairlatent import _readers as readers_module
from sklearn_fairlatent._attributes import Variable
from sklearn_fairlatent._counterfactual_flow import BlockFlow, column_scale, linear_blocks
from sklearn_fairlatent._counterfactual_map import MARGIN, CounterfactualMap, MoveLoss, VariableMap, _missed, _split
from sklearn_fairlatent._counterfactual_rows import LEAST_SHARE, MoveRows, partners_of
from sklearn_fairlatent._partner_map import LEAST_PARTNERS, PartnerMap
from sklearn_fairlatent._readers import Judges, LinearReader, Panel, Readers, fit_panel, live_columns, score_loss
from sklearn_fairlatent._revision import Revision
from sklearn_fairlatent._rounding import Rounding, codec_of, rounding_of
from sklearn_fairlatent._steps import fit_steps

TWO = Variable("two", "groups", categories=np.array(["f", "m"]))
THREE = Variable("three", "groups", categories=np.array(["a", "b", "c"]))
NUMBER = Variable("num.ber", "continuous")
VARIABLES = {"two": [TWO], "two, three": [TWO, THREE], "all": [TWO, THREE, NUMBER], "number, two": [NUMBER, TWO]}


def _codes(variables, n, rng):
    return np.column_stack(
        [rng.integers(v.n_groups, size=n) if v.kind == "groups" else rng.normal(size=n) for v in variables]
    ).astype(np.float64)


def _rows(variables, codes, d, rng, strength=1.5):
    """Correlated rows that every variable shifts along a direction of its own."""
    X = rng.normal(size=(len(codes), d)) @ (np.eye(d) + 0.3 * rng.normal(size=(d, d)))
    for variable, code in zip(variables, codes.T, strict=True):
        design = variable.design(code)
        X += strength * np.nan_to_num(design) @ rng.normal(size=(design.shape[1], d))
    return X


@st.composite
def problems(draw):
    """Variables, codes and rows of several shapes and units, without directions that repeat."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    variables = VARIABLES[draw(st.sampled_from(sorted(VARIABLES)))]
    n, d = draw(st.integers(60, 200)), draw(st.integers(5, 14))
    codes = _codes(variables, n, rng)
    unit = 10.0 ** rng.uniform(-3, 3, size=d) if draw(st.booleans()) else np.ones(d)
    return variables, codes, _rows(variables, codes, d, rng) * unit


# ---------------------------------------------------------------- the closed form


@settings(max_examples=40)
@given(problems())
def test_a_block_moves_its_own_score_and_no_other(problem):
    variables, codes, X = problem
    blocks = linear_blocks(X, variables, codes, {})
    assert_allclose(blocks.matrix @ blocks.inverse, np.eye(X.shape[1]), atol=1e-8)
    coordinates = (X - blocks.mean) / blocks.scale @ blocks.inverse.T
    for variable, code in zip(variables, codes.T, strict=True):
        columns = blocks.columns[variable.name]
        own = coordinates[:, columns]
        assert own.shape[1] == variable.width
        # The coordinate is the discriminant score: what it says of the groups is where they are.
        if variable.kind == "groups":
            means = np.stack([own[code == g].mean(0) for g in range(variable.n_groups)])
            assert_allclose(blocks.positions[variable.name], means, atol=1e-8)
        else:
            slope = np.polyfit(code, own[:, 0], 1)[0]
            assert_allclose(blocks.positions[variable.name], [[slope]], atol=1e-8)
        step = np.zeros(X.shape[1])
        step[columns] = 1.0
        moved = (X + step @ blocks.matrix.T * blocks.scale - blocks.mean) / blocks.scale @ blocks.inverse.T
        assert_allclose(moved - coordinates, np.tile(step, (len(X), 1)), atol=1e-7)


@settings(max_examples=30)
@given(problems())
def test_the_closed_form_does_not_depend_on_units(problem):
    variables, codes, X = problem
    unit = 10.0 ** np.linspace(-2, 2, X.shape[1])
    first = linear_blocks(X, variables, codes, {})
    second = linear_blocks(X * unit, variables, codes, {})
    n_blocks = sum(variable.width for variable in variables)
    moves = [(blocks.matrix * blocks.scale[:, None])[:, :n_blocks] for blocks in (first, second)]
    assert_allclose(moves[1], moves[0] * unit[:, None], rtol=1e-6, atol=1e-9 * np.abs(moves[1]).max())


def _two_ties(d=40, n=600):
    """Rows in which label and group are tied: the shift of one group's mean carries the label."""
    rng = np.random.default_rng(0)
    codes = _codes([TWO, THREE], n, rng)
    codes[:, 1] = np.where(rng.random(n) < 0.7, 2 * codes[:, 0], codes[:, 1])
    return [TWO, THREE], codes, _rows([TWO, THREE], codes, d, rng)


def test_readouts_of_other_variables_do_not_see_a_move():
    variables, codes, X = _two_ties()
    rng = np.random.default_rng(1)
    readouts = {"two": rng.normal(size=(40, 2)), "three": rng.normal(size=(40, 2))}
    held, free = (linear_blocks(X, variables, codes, known) for known in (readouts, {}))

    def seen(blocks, name, other):
        move = blocks.matrix[:, blocks.columns[name]] * blocks.scale[:, None]
        return np.abs(readouts[other].T @ move).max() / np.linalg.norm(move)

    for name, other in (("two", "three"), ("three", "two")):
        assert seen(held, name, other) < 1e-8 < 0.02 < seen(free, name, other)
        # Its own readout may see it: that is what is asked.
        assert seen(held, name, name) > 0.02


def test_a_move_goes_where_its_own_group_lies_and_not_where_the_label_does():
    variables, codes, X = _two_ties()
    blocks = linear_blocks(X, variables, codes, {})
    step = np.diff(blocks.positions["two"], axis=0)[0] @ blocks.matrix[:, blocks.columns["two"]].T * blocks.scale

    def cosine(direction):
        return step @ direction / np.linalg.norm(step) / np.linalg.norm(direction)

    own, label = (
        X[(codes == there).all(1)].mean(0) - X[(codes == here).all(1)].mean(0)
        for there, here in (([1, 1], [0, 1]), ([1, 2], [1, 0]))
    )
    shift = X[codes[:, 0] == 1].mean(0) - X[codes[:, 0] == 0].mean(0)
    assert cosine(own) > 0.5
    assert abs(cosine(label)) < 0.4 * shift @ label / np.linalg.norm(shift) / np.linalg.norm(label)


def test_rows_without_a_code_count_as_average():
    variables, codes, X = _two_ties()
    rng = np.random.default_rng(2)
    gaps = codes.copy()
    gaps[rng.random(codes.shape) < 0.2] = np.nan
    blocks = linear_blocks(X, variables, gaps, {})
    full = linear_blocks(X, variables, codes, {})
    assert np.isfinite(blocks.matrix).all()
    cosine = blocks.matrix[:, 0] @ full.matrix[:, 0]
    assert cosine > 0.8 * np.linalg.norm(blocks.matrix[:, 0]) * np.linalg.norm(full.matrix[:, 0])


@pytest.mark.parametrize("d", [1, 2, 3])
def test_variables_share_what_columns_there_are(d):
    rng = np.random.default_rng(0)
    variables = VARIABLES["all"]
    codes = _codes(variables, 100, rng)
    blocks = linear_blocks(_rows(variables, codes, d, rng), variables, codes, {})
    widths = [blocks.columns[v.name].stop - blocks.columns[v.name].start for v in variables]
    assert widths == {1: [1, 0, 0], 2: [1, 1, 0], 3: [1, 2, 0]}[d]
    assert_allclose(blocks.matrix @ blocks.inverse, np.eye(d), atol=1e-8)


def test_columns_that_repeat_each_other_leave_the_map_invertible():
    variables, codes, X = _two_ties(8)
    blocks = linear_blocks(np.column_stack([X, X[:, :3]]), variables, codes, {})
    assert np.linalg.cond(blocks.matrix) < 1e4


def test_the_scale_of_a_column_with_two_values_is_their_distance():
    X = np.column_stack([np.r_[np.zeros(99), 5.0], np.full(100, 3.0), np.arange(100.0)])
    assert_allclose(column_scale(X), [5.0, 1.0, np.arange(100.0).std()])


# ---------------------------------------------------------------- the flow


def _bend(flow, seed, size=0.3):
    """Weights that no coupling is the identity with."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for coupling in flow.couplings:
            for parameter in (coupling.hyper[-1].weight, coupling.hyper[-1].bias):
                parameter.copy_(size * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return flow


@st.composite
def flows(draw):
    """A flow with couplings that bend, and rows on and far off the data."""
    variables, codes, X = draw(problems())
    n_context, n_layers = draw(st.integers(0, 3)), draw(st.integers(1, 5))
    start = linear_blocks(X, variables, codes, {})
    flow = BlockFlow(start, n_context, n_layers=n_layers, hidden_size=8).double()
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = X[:20] + draw(st.sampled_from([0.0, 1.0, 30.0])) * rng.normal(size=(20, X.shape[1])) * X.std(0)
    context = torch.as_tensor(rng.normal(size=(20, n_context))) if n_context else None
    return _bend(flow, draw(st.integers(0, 1000))), variables, rows, context


@settings(max_examples=40)
@given(flows())
def test_a_flow_is_invertible(drawn):
    flow, _, rows, context = drawn
    x = torch.as_tensor(rows)
    with torch.inference_mode():
        z = flow(x, context)
        back = flow.inverse(z, context).numpy()
        straight = (x - flow.mean) @ flow.inverse_matrix.T
    scale = flow.matrix.abs().sum(1).numpy()
    assert (np.abs(back - rows) / np.maximum(np.abs(rows).max(0), scale)).max() < 1e-8
    assert (z - straight).abs().max() > 1e-3  # the couplings bend


@settings(max_examples=40)
@given(flows(), st.integers(0, 2**32 - 1))
def test_any_detour_ends_at_the_same_place(drawn, seed):
    flow, variables, rows, context = drawn
    rng = np.random.default_rng(seed)
    first, second, third = (_codes(variables, len(rows), rng) for _ in range(3))

    def move(x, k, own, wanted):
        with torch.inference_mode():
            z = flow(torch.as_tensor(x), context)
            shift = flow.shift(variables[k].name, torch.as_tensor(own[:, k]), torch.as_tensor(wanted[:, k]))
            return flow.inverse(flow.place(z, variables[k].name, shift), context).numpy()

    scale = np.maximum(np.abs(rows).max(0), flow.matrix.abs().sum(1).numpy())
    for k in range(len(variables)):
        there = move(rows, k, first, third)
        detour = move(move(rows, k, first, second), k, second, third)
        assert (np.abs(detour - there) / scale).max() < 1e-6
        assert (np.abs(move(there, k, third, first) - rows) / scale).max() < 1e-6
        went = (first != third)[:, k]
        assert (np.abs(there - rows)[went] / scale).max(axis=1).min(initial=1) > 1e-6
    # Blocks are moved one after the other in any order.
    if len(variables) > 1:
        one = move(move(rows, 0, first, third), 1, first, third)
        other = move(move(rows, 1, first, third), 0, first, third)
        assert (np.abs(one - other) / scale).max() < 1e-6


def test_a_flow_starts_as_the_closed_form():
    variables, codes, X = _two_ties(8)
    start = linear_blocks(X, variables, codes, {})
    flow = BlockFlow(start, 2, n_layers=4, hidden_size=8).double()
    expected = (X - start.mean) / start.scale @ start.inverse.T
    with torch.inference_mode():
        z = flow(torch.as_tensor(X), torch.zeros(len(X), 2, dtype=torch.float64))
    assert_allclose(z.numpy(), expected, atol=1e-10)
    for code in range(3):
        assert_allclose(expected[codes[:, 1] == code, flow.columns["three"]].mean(0), start.positions["three"][code])


def test_context_changes_the_map_and_no_context_means_none():
    variables, codes, X = _two_ties(8)
    start = linear_blocks(X, variables, codes, {})
    flow = _bend(BlockFlow(start, 1, n_layers=3, hidden_size=8).double(), 0)
    x = torch.as_tensor(X)
    with torch.inference_mode():
        low, high = (flow(x, torch.full((len(X), 1), value, dtype=torch.float64)) for value in (-1.0, 1.0))
    assert (low - high).abs().max() > 1e-3


def test_a_single_column_has_no_couplings():
    codes = np.repeat([0.0, 1.0], 20)[:, None]
    X = codes + 0.1 * np.random.default_rng(0).normal(size=(40, 1))
    flow = BlockFlow(linear_blocks(X, [TWO], codes, {}), n_layers=4).double()
    assert len(flow.couplings) == 0
    x = torch.as_tensor(X)
    shift = flow.shift("two", torch.zeros(40), torch.ones(40))
    with torch.inference_mode():
        moved = flow.inverse(flow.place(flow(x), "two", shift)).numpy()
    assert_allclose(moved - X, X[20:].mean() - X[:20].mean(), atol=1e-10)


def test_part_of_the_way_and_the_columns_that_stay():
    variables, codes, X = _two_ties(8)
    movable, context = np.array([0, 1, 2, 4, 5, 7]), np.array([3, 6])
    start = linear_blocks(X[:, movable], variables, codes, {})
    flow = _bend(BlockFlow(start, 2, n_layers=3, hidden_size=8).double(), 1)
    found = CounterfactualMap({"two": VariableMap(flow, "trained", 1.5)}, None, movable, context, start)
    moves = [("two", codes[:, 0], 1 - codes[:, 0])]
    shares = [np.linalg.norm(found.move(X, moves, share) - X, axis=1) for share in (0, 0.25, 0.5, 0.75, 1)]
    assert_allclose(shares[0], 0, atol=1e-10)
    assert (np.diff(shares, axis=0) > 0).all(axis=0).mean() > 0.95
    assert_array_equal(found.move(X, moves)[:, context], X[:, context])
    twice = CounterfactualMap({"two": VariableMap(flow, "trained", 3.0)}, None, movable, context, start)
    assert_allclose(twice.move(X, moves, 0.5), found.move(X, moves), atol=1e-9)


def test_the_rest_is_set_to_its_mean_and_the_blocks_are_kept():
    variables, codes, X = _two_ties(8)
    movable, context = np.array([0, 1, 2, 4, 5, 7]), np.array([3, 6])
    start = linear_blocks(X[:, movable], variables, codes, {})
    # Whatever the maps are: partner maps know no rest.
    found = CounterfactualMap({}, None, movable, context, start)
    neutral = found.neutral_rest(X)
    before, after = ((rows[:, movable] - start.mean) / start.scale @ start.inverse.T for rows in (X, neutral))
    assert_allclose(after[:, 3:], 0, atol=1e-9)
    assert_allclose(after[:, :3], before[:, :3], atol=1e-9)
    assert np.abs(before[:, 3:]).max() > 1
    assert_array_equal(neutral[:, context], X[:, context])


def test_closed_forms_move_several_variables_in_any_order():
    variables, codes, X = _two_ties(8)
    flows = {
        name: BlockFlow(linear_blocks(X, variables, codes, known), hidden_size=8).double()
        for name, known in (("two", {}), ("three", {"two": np.eye(8)[:, :1]}))
    }
    maps = {name: VariableMap(flow, "closed form", 1.3) for name, flow in flows.items()}
    found = CounterfactualMap(maps, None, np.arange(8), np.zeros(0, dtype=int), linear_blocks(X, variables, codes, {}))
    moves = [("two", codes[:, 0], 1 - codes[:, 0]), ("three", codes[:, 1], (codes[:, 1] + 1) % 3)]
    there = found.move(X, moves)
    assert_allclose(found.move(X, moves[::-1]), there, atol=1e-10)
    assert_allclose(found.move(X, moves, 0.5), (X + there) / 2, atol=1e-10)
    assert np.abs(there - X).max() > 1


# ---------------------------------------------------------------- partners


def _twins(n, d=6, n_groups=2, *, noise=0.2, seed=0):
    """Rows and their versions in every other group: another shift and a linear part; row k of every group is one."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(n, d))
    versions = [base]
    for _ in range(n_groups - 1):
        shift, linear = rng.normal(size=d), 0.6 / np.sqrt(d) * rng.normal(size=(d, d))
        versions.append(base + shift + base @ linear + noise * rng.normal(size=(n, d)))
    codes = np.repeat(np.arange(n_groups), n).astype(np.float64)
    return np.concatenate(versions), codes


def _variable(n_groups):
    return Variable("g", "groups", categories=np.arange(n_groups))


@pytest.mark.parametrize("n_groups", [2, 3])
def test_partners_are_the_twins(n_groups):
    n = 80
    X, codes = _twins(n, 12, n_groups)
    table, share = partners_of(X, [_variable(n_groups)], codes[:, None], np.random.RandomState(0))["g"]
    assert LEAST_SHARE < share <= 1
    row = np.arange(n * n_groups)
    for group in range(n_groups):
        others = codes != group
        assert (table[~others, group] == -1).all()
        assert (table[others, group] == (row % n + group * n)[others]).mean() > 0.95


@pytest.mark.parametrize(
    ("d", "sizes"),
    [
        (32, (200, 200)),
        (16, (200, 200)),
        (5, (200, 200)),
        (16, (100, 300)),
        (5, (100, 300)),
    ],
)
def test_rows_without_twins_have_no_partners(d, sizes):
    codes = np.repeat([0.0, 1.0], sizes)
    for seed in range(3):
        rng = np.random.RandomState(seed)
        X = rng.normal(size=(sum(sizes), d)) + 2 * codes[:, None]
        assert partners_of(X, [_variable(2)], codes[:, None], rng) == {}


def test_only_known_groups_have_partners():
    X, codes = _twins(60)
    gaps = codes.copy()
    gaps[:10] = np.nan
    both = np.column_stack([np.random.default_rng(0).normal(size=len(X)), gaps])
    found = partners_of(X, [NUMBER, _variable(2)], both, np.random.RandomState(0))
    assert list(found) == ["g"]
    table = found["g"][0]
    assert (table[:10] == -1).all()
    assert not np.isin(table, np.arange(10)).any()
    assert (table[10:60, 1] >= 0).all()


def test_a_partner_map_is_nearer_to_the_twin_than_the_shift_of_the_means():
    X, codes = _twins(300)
    seen = np.arange(len(X)) % 300 < 200
    table = np.full((400, 2), -1)
    table[:200, 1], table[200:, 0] = np.arange(200, 400), np.arange(200)
    partner_map = PartnerMap.fit(X[seen], table)
    for own in (0, 1):
        rows, twins = X[~seen & (codes == own)], X[~seen & (codes != own)]
        moved = partner_map.move(rows, np.full(100, float(own)), np.full(100, 1.0 - own))
        shift = X[seen & (codes != own)].mean(0) - X[seen & (codes == own)].mean(0)
        error, error_of_shift = (np.linalg.norm(there - twins, axis=1).mean() for there in (moved, rows + shift))
        assert error < 0.8 * error_of_shift
        assert error_of_shift < np.linalg.norm(rows - twins, axis=1).mean()


@settings(max_examples=30)
@given(st.integers(2, 4), st.sampled_from([0.01, 1.0, 100.0]), st.integers(0, 2**32 - 1))
def test_a_partner_map_is_exact_there_and_back(n_groups, scale, seed):
    X, codes = _twins(40, 5, n_groups, seed=seed)
    X *= scale
    table = np.full((len(X), n_groups), -1)
    for group in range(n_groups):
        table[codes != group, group] = (np.arange(len(X)) % 40 + 40 * group)[codes != group]
    partner_map = PartnerMap.fit(X, table)
    rng = np.random.default_rng(seed)
    own, between, wanted = rng.integers(n_groups, size=(3, len(X))).astype(float)
    there = partner_map.move(X, own, wanted)
    size = np.abs(X).max()
    assert np.abs(partner_map.move(there, wanted, own) - X).max() < 1e-7 * size
    detour = partner_map.move(partner_map.move(X, own, between), between, wanted)
    assert np.abs(detour - there).max() < 1e-7 * size
    assert_array_equal(there[own == wanted], X[own == wanted])
    assert (np.abs(there - X)[own != wanted].max(axis=1) > 1e-6 * size).all()


def test_too_few_partners_make_no_map():
    X, _ = _twins(LEAST_PARTNERS)
    n = LEAST_PARTNERS
    table = np.full((2 * n, 2), -1)
    table[:n, 1], table[n:, 0] = np.arange(n, 2 * n), np.arange(n)
    assert PartnerMap.fit(X, table) is not None
    table[0, 1] = -1
    assert PartnerMap.fit(X, table) is None


def test_a_map_with_partners_goes_straight_to_the_twin():
    X, codes = _twins(100)
    table = np.full((200, 2), -1)
    table[:100, 1], table[100:, 0] = np.arange(100, 200), np.arange(100)
    start = linear_blocks(X, [_variable(2)], codes[:, None], {})
    flow = BlockFlow(start, hidden_size=8).double()
    plain, partnered = (
        CounterfactualMap({"g": found}, None, np.arange(6), np.zeros(0, dtype=int), start)
        for found in (VariableMap(flow, "closed form"), VariableMap(PartnerMap.fit(X, table), "partners"))
    )
    moves = [("g", codes, 1 - codes)]
    twins = np.r_[X[100:], X[:100]]
    assert np.linalg.norm(partnered.move(X, moves) - twins) < 0.8 * np.linalg.norm(plain.move(X, moves) - twins)
    half = partnered.move(X, moves, 0.5)
    assert_allclose(half, (X + partnered.move(X, moves)) / 2, atol=1e-12)


# ---------------------------------------------------------------- what a map is trained on


@pytest.mark.parametrize("k", [0, 1, 2])
def test_batches_move_one_variable(k):
    rng = np.random.RandomState(0)
    variables = [TWO, NUMBER, THREE]
    codes = np.column_stack([np.arange(90) % 2, rng.normal(size=90), np.arange(90) % 3]).astype(float)
    codes[:5] = np.nan
    # A row carries its own codes, so that a batch tells which rows were chosen.
    rows = MoveRows(codes, codes, variables, {}, rng, k)
    for _ in range(3):
        inputs, batch = rows.take(np.arange(40))
        assert batch["known"].sum() == 35
        wanted, real = inputs["wanted"][5:], batch["real"][5:, k]
        assert_allclose(inputs["own"][5:], codes[5:40, k].astype(np.float32))
        assert_allclose(real, wanted)
        if variables[k].kind == "groups":
            assert (wanted != inputs["own"][5:]).all()
        assert (batch["partner_weight"] == 0).all()
    assert len(rows) == 90


def test_a_batch_shows_every_row_its_partner():
    X, codes = _twins(30)
    table = np.full((60, 2), -1)
    table[5:30, 1], table[35:, 0] = np.arange(35, 60), np.arange(5, 30)
    rows = MoveRows(X, codes[:, None], [_variable(2)], {"g": (table, 0.7)}, np.random.RandomState(0), 0)
    _, batch = rows.take(np.arange(30))
    assert_allclose(batch["partner_weight"], np.r_[np.zeros(5), np.full(25, 0.7)], rtol=1e-6)
    assert_allclose(batch["partner"][5:], X[35:], rtol=1e-5)


@pytest.mark.parametrize(
    "apart",
    [0.2, 3.0],
)
def test_versions_of_a_row_stay_on_one_side(apart):
    base = np.random.default_rng(0).normal(size=(200, 8))
    X, codes = np.r_[base, base + apart], np.repeat([0.0, 1.0], 200)
    order = np.random.default_rng(0).permutation(400)
    rows, held_out = _split(X[order], 1000 + order, [_variable(2)], codes[order][:, None], np.random.RandomState(0))
    assert sorted([*rows, *held_out]) == list(range(1000, 1400))
    assert 0.2 < len(held_out) / 400 < 0.5
    side = np.isin(np.arange(1000, 1400), held_out)
    # Of rows drawn one by one 42 in 100 versions would be on the other side.
    assert (side[:200] != side[200:]).mean() < 0.2


def test_rows_without_versions_are_held_out_one_by_one():
    rng = np.random.default_rng(0)
    codes = rng.integers(2, size=400).astype(float)
    X = rng.normal(size=(400, 32)) + codes[:, None]
    rows, held_out = _split(X, np.arange(400), [_variable(2)], codes[:, None], np.random.RandomState(0))
    assert sorted([*rows, *held_out]) == list(range(400))
    assert len(held_out) == 120
    assert (np.diff(held_out) > 0).all()
    assert (np.diff(rows) > 0).all()


def _loss(weights=None, n=64, d=4):
    generator = torch.Generator().manual_seed(0)
    columns = {"two": slice(0, 2), "other": slice(2, 4), "number": slice(4, 5)}
    spreads = {name: torch.ones(3) for name in columns}
    loss = MoveLoss(columns, spreads, np.ones(d), weights or counterfactual_map.WEIGHTS, generator)
    x = torch.randn(n, d, generator=generator)
    scores = torch.randn(3, n, 5, generator=generator)
    batch = {"x": x, "wanted": torch.ones(n), "known": torch.ones(n), "real": torch.flip(x, [0]) + 2.0}
    batch |= {"partner": x + 1.0, "partner_weight": torch.ones(n)}
    return loss, batch, {"name": "two", "moved": x.clone(), "before": scores, "after": scores.clone()}


def test_terms_are_nothing_where_there_is_nothing_to_want():
    loss, batch, outputs = _loss()
    still = loss.terms(outputs, batch)
    assert still["distance"] == still["kept"] == 0
    assert min(still[name] for name in ("flip", "likeness", "partner")) > 0.1
    arrived = outputs | {"moved": batch["real"]}
    assert loss.terms(arrived, batch)["likeness"] < 1e-9
    assert loss.terms(outputs | {"moved": batch["partner"]}, batch)["partner"] == 0
    flipped = outputs["after"].clone()
    flipped[..., :2] = torch.tensor([0.0, MARGIN])
    assert loss.terms(outputs | {"after": flipped}, batch)["flip"] == 0
    disturbed = outputs["after"].clone()
    disturbed[..., 3] += 1.0
    assert loss.terms(outputs | {"after": disturbed}, batch)["kept"] > 0.05
    assert loss.terms(outputs | {"after": disturbed}, batch)["flip"] == still["flip"]


def test_a_loss_is_the_weighted_sum_and_leaves_out_rows_without_a_code():
    loss, batch, outputs = _loss({"flip": 1.0, "kept": 0.0, "distance": 10.0, "likeness": 0.0, "partner": 0.0})
    outputs["moved"] = batch["x"] + 1.0
    terms = loss.terms(outputs, batch)
    assert_allclose(loss(outputs, batch), terms["flip"] + 10 * terms["distance"], rtol=1e-6)
    batch["known"] = (torch.arange(64) < 8).float()
    outputs["moved"][8:] += 100.0
    assert_allclose(loss.terms(outputs, batch)["distance"], terms["distance"], rtol=1e-5)


def test_a_reader_misses_what_it_does_not_prefer_enough():
    scores = torch.tensor([[[0.0, 2.0], [0.0, 1.0], [3.0, 0.0]]])
    assert_allclose(_missed(scores, torch.ones(3)), [[0.0, MARGIN - 1.0, MARGIN + 3.0]])
    assert_allclose(_missed(torch.tensor([[[0.5], [2.0]]]), torch.tensor([0.5, 1.0])), [[0.0, 0.5]])


def test_training_lowers_the_loss_of_the_map():
    rng = np.random.RandomState(0)
    codes = np.random.default_rng(0).integers(2, size=(300, 2)).astype(float)
    X = np.random.default_rng(1).normal(size=(300, 4))
    # The group is the sign of a product: no linear move flips it.
    X[:, 0] = np.abs(X[:, 0]) * np.sign(X[:, 1]) * np.where(codes[:, 0] == 1, 1, -1)
    X[:, 2] += 2 * codes[:, 1]
    variables = [TWO, Variable("label", "groups", categories=np.array([0, 1]))]
    generator = torch.Generator().manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers_module, "READER_STEPS", 150)
        patch.setattr(counterfactual_map, "N_STEPS", 160)
        patch.setattr(counterfactual_map, "LEARNING_RATE", 1e-2)
        panel = fit_panel(X, variables, codes, device="cpu", generator=generator, rng=rng)
        start = linear_blocks(X, variables, codes, {})
        flow = BlockFlow(start, n_layers=3, hidden_size=32).double()
        candidate = VariableMap(flow, "trained")
        found = CounterfactualMap({"two": candidate}, panel, np.arange(4), np.zeros(0, dtype=int), start)

        def short_of(found):
            moved = found.move(X, [("two", codes[:, 0], 1 - codes[:, 0])])
            return np.maximum(0, MARGIN - panel.margin(moved, "two", 1 - codes[:, 0])).mean()

        before = short_of(found)
        matrix = flow.matrix.clone()
        rows = MoveRows(X, codes, variables, {}, rng, 0)
        counterfactual_map._train(candidate, "two", found, rows, np.ones(4), None, "cpu", generator)
    assert short_of(found) < 0.9 * before
    # What is linear and fixed is as exact as before.
    assert_array_equal(candidate.flow.matrix, matrix)
    assert candidate.flow.matrix.dtype == torch.float64


def test_steps_train_a_module_at_the_rates_of_its_parts():
    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return 64

        def take(self, positions):
            x = torch.linspace(-1, 1, 64)[positions][:, None]
            return x, 3 * x

    class Sum(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.slow, self.fast = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
            for part in (self.slow, self.fast):
                torch.nn.init.zeros_(part.weight)

        def forward(self, x):
            return self.slow(x) + self.fast(x)

    module = Sum()
    generator = torch.Generator().manual_seed(0)
    fit_steps(
        module, torch.nn.MSELoss(), Rows(), n_steps=200, batch_size=16, lr=1e-2, device="cpu", generator=generator,
        rates={"fast.": 10.0},
    )  # fmt: skip
    assert not module.training
    assert 0 < 4 * module.slow.weight.item() < module.fast.weight.item()
    assert abs(module.slow.weight.item() + module.fast.weight.item() - 3) < 0.5


# ---------------------------------------------------------------- readers and judges


@pytest.fixture(scope="module")
def read():
    """Rows to learn from and others, and a panel that learnt, with a dead column."""
    rng = np.random.default_rng(0)
    variables = VARIABLES["all"]
    codes = _codes(variables, 1000, rng)
    X = _rows(variables, codes, 10, rng, strength=2.0)
    X[:, 3] = 1e-33 * rng.normal(size=len(X))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers_module, "READER_STEPS", 150)
        generator = torch.Generator().manual_seed(0)
        panel = fit_panel(
            X[:600], variables, codes[:600], device="cpu", generator=generator, rng=np.random.RandomState(0)
        )
    return panel, variables, X, codes


def test_a_panel_reads_rows_that_it_did_not_learn_from(read):
    panel, variables, X, codes = read
    new, told = X[600:], codes[600:]
    assert panel.names == [variable.name for variable in variables]
    assert (panel.read(new, "two") == told[:, 0]).mean() > 0.8
    assert (panel.read(new, "three") == told[:, 1]).mean() > 0.7
    assert np.corrcoef(panel.read(new, "num.ber"), told[:, 2])[0, 1] > 0.7
    # And from rows in another order nothing.
    shuffled = np.random.default_rng(0).permutation(new)
    assert (panel.read(shuffled, "two") == told[:, 0]).mean() < 0.6
    assert abs(np.corrcoef(panel.read(shuffled, "num.ber"), told[:, 2])[0, 1]) < 0.15


def test_scores_and_margins_of_a_panel(read):
    panel, variables, X, codes = read
    new = X[600:]
    n_readers = len(panel.readers.members)
    assert n_readers == len(readers_module.LINEAR_STRENGTHS) + readers_module.N_NETWORKS + readers_module.N_ADDITIVE
    for variable in variables:
        assert panel.scores(new, variable.name).shape == (n_readers, 400, variable.n_groups or 1)
    right, wrong = (panel.margin(new, "two", code) for code in (codes[600:, 0], 1 - codes[600:, 0]))
    assert_allclose(right, -wrong, atol=1e-5)
    assert right.mean() > 0.5
    near, far = (panel.margin(new, "num.ber", codes[600:, 2] + by) for by in (0.0, 3.0))
    assert (far < near).mean() > 0.95
    assert near.max() <= 0


def test_linear_weights_are_the_gradients_of_the_linear_readers(read):
    panel, variables, X, _ = read
    weights = panel.linear_weights()
    n_linear = len(readers_module.LINEAR_STRENGTHS)
    step = np.random.default_rng(0).normal(size=10) * (np.arange(10) != 3)
    for variable in variables:
        change = (panel.scores(X + step, variable.name) - panel.scores(X, variable.name))[:n_linear].mean(1)
        assert_allclose((step @ weights[variable.name]).reshape(n_linear, -1), change, atol=1e-3)
        assert np.abs(change).max() > 0.05


def test_readers_do_not_see_a_dead_column(read):
    panel, _, X, _ = read
    assert_array_equal(live_columns(X), np.arange(10) != 3)
    changed = X.copy()
    changed[:, 3] = 1e6
    assert_array_equal(panel.scores(changed, "two"), panel.scores(X, "two"))
    changed[:, 4] += 1.0
    assert np.abs(panel.scores(changed, "two") - panel.scores(X, "two")).max() > 1e-3


def test_constant_columns_are_dead_whatever_rounding_makes_of_them():
    X = np.random.default_rng(0).normal(size=(1000, 4))
    X[:, 1], X[:, 2] = 0.1, 1e-33 * X[:, 2]
    assert_array_equal(live_columns(X), [True, False, False, True])


def test_a_column_in_a_small_unit_is_alive():
    X = np.random.default_rng(0).normal(size=(100, 2)) * [1e5, 0.02]
    assert live_columns(X).all()


def test_rows_without_a_code_teach_readers_and_judges_nothing():
    rng = np.random.default_rng(0)
    codes = _codes([TWO], 300, rng)
    X = _rows([TWO], codes, 5, rng)
    gaps, garbage = np.r_[codes, np.full((100, 1), np.nan)], np.r_[X, X.mean(0) + 3 * rng.normal(size=(100, 5))]
    judges = Judges(garbage, [TWO], gaps, np.random.RandomState(0))
    assert_array_equal(judges.verdicts(X, "two"), Judges(X, [TWO], codes, np.random.RandomState(0)).verdicts(X, "two"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers_module, "READER_STEPS", 60)
        generator = torch.Generator().manual_seed(0)
        panel = fit_panel(garbage, [TWO], gaps, device="cpu", generator=generator, rng=np.random.RandomState(0))
    assert np.isfinite(panel.scores(X, "two")).all()
    assert (panel.read(X, "two") == codes[:, 0]).mean() > 0.7


def test_a_group_that_the_rows_lack_is_not_read():
    rng = np.random.default_rng(0)
    codes = rng.integers(2, size=(200, 1)).astype(float)
    X = _rows([THREE], codes, 5, rng, strength=3.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers_module, "READER_STEPS", 60)
        generator = torch.Generator().manual_seed(0)
        panel = fit_panel(X, [THREE], codes, device="cpu", generator=generator, rng=np.random.RandomState(0))
    assert set(panel.read(X, "three")) == {0.0, 1.0}


def test_judges_are_two_kinds_of_models_of_other_rows():
    rng = np.random.default_rng(0)
    variables = VARIABLES["all"]
    codes = _codes(variables, 600, rng)
    X = _rows(variables, codes, 8, rng, strength=2.0)
    judges = Judges(X[:300], variables, codes[:300], np.random.RandomState(0))
    for k, least in ((0, 0.8), (1, 0.6)):
        verdicts = judges.verdicts(X[300:], variables[k].name)
        assert verdicts.shape == (2, 300)
        assert ((verdicts == codes[300:, k]).mean(axis=1) > least).all()
        assert (verdicts[0] != verdicts[1]).any()
    numbers = judges.verdicts(X[300:], "num.ber")
    assert all(np.corrcoef(told, codes[300:, 2])[0, 1] > 0.6 for told in numbers)
    alone = Judges(X[:50], [TWO], np.ones((50, 1)), np.random.RandomState(0))
    assert_array_equal(alone.verdicts(X, "two"), np.ones((1, 600)))


def test_losses_of_scores_are_cross_entropy_and_half_the_squared_error():
    generator = torch.Generator().manual_seed(0)
    scores, codes = torch.randn(2, 7, 3, generator=generator), torch.arange(7) % 3
    expected = torch.stack([torch.nn.functional.cross_entropy(own, codes, reduction="none") for own in scores])
    assert_allclose(score_loss(scores, codes.float()), expected, rtol=1e-6)
    assert_allclose(score_loss(scores[..., :1], codes.float()), 0.5 * (scores[..., 0] - codes) ** 2, rtol=1e-6)


# ---------------------------------------------------------------- rounding


@pytest.fixture(scope="module")
def table():
    """A table with numbers, one of them with gaps, and categories, one of them with gaps."""
    rng = np.random.default_rng(0)
    n = 200
    X = pd.DataFrame(
        {
            "age": rng.integers(18, 80, size=n),
            "income": np.round(rng.lognormal(3, 1, size=n), 2),
            "debt": pd.Series(np.round(rng.normal(size=n), 3)).mask(rng.random(n) < 0.2),
            "job": rng.choice(["clerk", "nurse", "smith"], size=n),
            "pet": pd.Series(rng.choice(["cat", "dog"], size=n)).mask(rng.random(n) < 0.2),
            "owner": rng.random(n) < 0.5,
        }
    )
    codec = TabularCodec().fit(X)
    return X, codec, codec.transform(X)


def _choices(codec, E):
    """Encoded columns that are 0 or 1."""
    return [k for k, name in enumerate(codec.get_feature_names_out()) if name not in ("age", "income", "debt")]


def test_rounding_chooses_as_the_codec_does(table):
    _, codec, E = table
    rounding = rounding_of(codec, E)
    noisy = E + np.random.default_rng(1).normal(size=E.shape)
    rounded = rounding(torch.as_tensor(noisy, dtype=torch.float32)).numpy()
    valid = codec.transform(codec.inverse_transform(noisy))
    choices = _choices(codec, E)
    assert len(choices) == E.shape[1] - 3
    assert_allclose(rounded[:, choices], valid[:, choices], atol=1e-6)
    assert (np.abs(noisy - valid)[:, choices].max(axis=1) > 0.1).all()
    # Numbers stay between the smallest and the largest.
    assert (rounded <= E.max(0) + 1e-6).all()
    assert (rounded >= E.min(0) - 1e-6).all()
    assert ((noisy > E.max(0)).any(axis=1) | (noisy < E.min(0)).any(axis=1)).mean() > 0.5
    assert_allclose(rounding(torch.as_tensor(E, dtype=torch.float32)).numpy(), E, atol=1e-6)


def test_rounded_numbers_are_the_codecs_but_for_their_grain(table):
    _, codec, E = table
    noisy = E + 0.3 * np.random.default_rng(2).normal(size=E.shape)
    rounded = rounding_of(codec, E)(torch.as_tensor(noisy, dtype=torch.float32)).numpy()
    valid = codec.transform(codec.inverse_transform(noisy))
    names = codec.get_feature_names_out().tolist()
    age, debt, missing = (names.index(name) for name in ("age", "debt", "debt_missing"))
    # Whole years: half of one at most.
    assert np.abs(rounded - valid)[:, age].max() <= 0.5 / 10
    assert (np.abs(rounded - valid)[:, age] > 1e-4).any()
    known = valid[:, missing] == 0
    assert_allclose(rounded[known, debt], valid[known, debt], atol=1e-3)


def test_rounding_has_a_gradient(table):
    _, codec, E = table
    rounding = rounding_of(codec, E)
    x = torch.as_tensor(E[:20] + 0.05, dtype=torch.float32).requires_grad_()
    weights = torch.randn(E.shape[1], generator=torch.Generator().manual_seed(0))
    (rounding(x) @ weights).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad.abs()[:, _choices(codec, E)] > 1e-6).any(dim=0).all()


def test_rounding_knows_the_columns_of_the_table(table):
    X, codec, E = table
    rounding = rounding_of(codec_of(FrozenEstimator(codec)), E)
    assert rounding.columns == [codec.feature_groups_[name] for name in X.columns]
    assert codec_of(StandardScaler()) is None
    assert codec_of(None) is None
    assert codec_of(FrozenEstimator(codec)) is codec
    assert codec_of(FrozenEstimator(StandardScaler())) is None


# ---------------------------------------------------------------- revision


def _linear_panel(weights):
    """A panel of one linear reader per variable with two groups: the scores are -w and w times the row."""
    names = list(weights)
    weight = np.column_stack([column for w in weights.values() for column in (-np.array(w) / 2, np.array(w) / 2)])
    columns = {name: slice(2 * k, 2 * k + 2) for k, name in enumerate(names)}
    member = LinearReader(weight, np.zeros(2 * len(names)))
    return Panel(Readers(np.zeros(len(weight)), np.ones(len(weight)), [member], columns).eval())


COLUMNS = [slice(0, 1), slice(1, 2), slice(2, 4), slice(4, 5)]


def _changed(rows, X):
    return np.stack([(rows[:, part] != X[:, part]).any(axis=1) for part in COLUMNS], axis=1)


def test_only_the_columns_that_the_question_needs_are_changed():
    panel = _linear_panel({"sex": [2.0, 0, 0, 0, 0], "label": [0, 0, 0, 0, 3.0]})
    X = np.tile([-1.0, 0, 0, 1, -1], (6, 1))
    moved = np.tile([1.0, 5, 1, 0, 1], (6, 1))
    wanted = {"sex": np.ones(6)}
    revised = Revision(panel, COLUMNS).revise(X, [moved], wanted)
    assert_array_equal(_changed(revised, X), np.tile([True, False, False, False], (6, 1)))
    assert_array_equal(panel.read(revised, "sex"), np.ones(6))
    assert_array_equal(panel.read(revised, "label"), panel.read(X, "label"))
    # The move itself would have changed what the label's reader reads.
    assert (panel.read(moved, "label") != panel.read(X, "label")).all()


def test_columns_are_changed_together_where_one_does_not_do():
    panel = _linear_panel({"sex": [1.0, 1.0, 0.5, 0, 0]})
    X, moved = np.full((4, 5), -1.0), np.full((4, 5), 1.0)
    revised = Revision(panel, COLUMNS).revise(X, [moved], {"sex": np.ones(4)})
    # Two of the largest steps: -1 -1 -.5 becomes 1 1 -.5, enough for a margin of half a nat.
    assert_array_equal(_changed(revised, X), np.tile([True, True, False, False], (4, 1)))
    assert (panel.margin(revised, "sex", np.ones(4)) >= 0.5).all()


def test_of_several_moves_the_first_that_does_is_taken_for_every_row():
    panel = _linear_panel({"sex": [1.0, 0, 0, 0, 0], "label": [0.3, 0, 0, 0, 1.0]})
    X = np.zeros((2, 5))
    X[:, 0] = [-0.2, -3.0]
    short, long = X.copy(), X.copy()
    short[:, 0] += 1.0
    long[:, 0] += 4.0
    revised = Revision(panel, COLUMNS).revise(X, [short, long], {"sex": np.ones(2)})
    # The longer move disturbs the label more; only the second row needs it.
    assert_allclose(revised[:, 0], [0.8, 1.0])


def test_of_two_moves_that_do_the_one_that_disturbs_less_is_taken():
    panel = _linear_panel({"sex": [1.0, 0, 0, 0, 0], "label": [0.3, 0, 0, 0, 1.0]})
    X = np.full((3, 5), -1.0)
    near, far = X.copy(), X.copy()
    near[:, 0], far[:, 0] = 1.0, 3.0
    for candidates in ([near, far], [far, near]):
        assert_array_equal(Revision(panel, COLUMNS).revise(X, candidates, {"sex": np.ones(3)}), near)


def test_a_column_that_hardly_helps_is_not_changed():
    panel = _linear_panel({"sex": [1.0, 0.2, 0, 0, 0]})
    X, moved = np.zeros((2, 5)), np.zeros((2, 5))
    # The first column falls short of a margin of half a nat by next to nothing, or by a tenth.
    X[:, 0], moved[:, 0] = -1.0, [0.495, 0.4]
    moved[:, 1] = 1.0
    revised = Revision(panel, COLUMNS).revise(X, [moved], {"sex": np.ones(2)})
    assert_array_equal(_changed(revised, X)[:, :2], [[True, False], [True, True]])


def test_rows_are_revised_one_by_one(monkeypatch):
    rng = np.random.default_rng(0)
    panel = _linear_panel({"sex": rng.normal(size=5), "label": rng.normal(size=5)})
    X, moved, more = rng.normal(size=(3, 30, 5))
    wanted = {"sex": rng.integers(2, size=30).astype(float)}
    revision = Revision(panel, COLUMNS)
    together = revision.revise(X, [moved, more], wanted)
    for k in range(30):
        one = {"sex": wanted["sex"][k : k + 1]}
        alone = revision.revise(X[k : k + 1], [moved[k : k + 1], more[k : k + 1]], one)
        assert_array_equal(alone[0], together[k])
    from sklearn_fairlatent import _revision

    monkeypatch.setattr(_revision, "REVISION_ROWS", 7)
    assert_array_equal(revision.revise(X, [moved, more], wanted), together)
    # Every value is the row's or that of a move.
    assert ((together == X) | (together == moved) | (together == more)).all()


def test_a_move_that_does_not_move_leaves_the_row():
    panel = _linear_panel({"sex": [1.0, 0, 0, 0, 0]})
    X = np.full((3, 5), -1.0)
    assert_array_equal(Revision(panel, COLUMNS).revise(X, [X.copy()], {"sex": np.ones(3)}), X)


def test_rounding_is_a_module_without_parameters(table):
    _, codec, E = table
    rounding = rounding_of(codec, E)
    assert isinstance(rounding, Rounding)
    assert list(rounding.parameters()) == []
