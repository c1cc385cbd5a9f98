"""What a trained counterfactual map starts as and what bends it: the closed form, the flow."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_fairlatent._counterfactual_flow import BlockFlow, column_scale, linear_blocks
from sklearn_fairlatent._counterfactual_map import CounterfactualMap, VariableMap

from .variables import THREE, TWO, VARIABLES, _codes, _rows


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
