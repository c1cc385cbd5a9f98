"""Partners of rows and maps of them; batches, losses and steps that a map is trained with."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_fairlatent import _counterfactual_training as map_training
from sklearn_fairlatent import _readers as readers_module
from sklearn_fairlatent._attributes import Variable
from sklearn_fairlatent._counterfactual_bench import Bench
from sklearn_fairlatent._counterfactual_flow import BlockFlow, linear_blocks
from sklearn_fairlatent._counterfactual_map import CounterfactualMap, VariableMap, _split
from sklearn_fairlatent._counterfactual_rows import LEAST_SHARE, MoveRows, partners_of
from sklearn_fairlatent._counterfactual_training import MARGIN, MoveLoss, _missed, train_map
from sklearn_fairlatent._group_maps import LEAST_PARTNERS, partner_maps
from sklearn_fairlatent._readers import fit_panel
from sklearn_fairlatent._ruler import Ruler
from sklearn_fairlatent._steps import fit_steps

from .variables import NUMBER, THREE, TWO, _assert_there_and_back

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
    partner_map = partner_maps(X[seen], table)
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
    there, moves = _assert_there_and_back(partner_maps(X, table), X, n_groups, np.random.default_rng(seed))
    assert (np.abs(there - X)[moves].max(axis=1) > 1e-6 * np.abs(X).max()).all()


@pytest.mark.parametrize("n_groups", [2, 3])
def test_a_stretched_map_ends_beyond_and_stays_exact(n_groups):
    X, codes = _twins(40, 5, n_groups)
    table = np.full((len(X), n_groups), -1)
    for group in range(n_groups):
        table[codes != group, group] = (np.arange(len(X)) % 40 + 40 * group)[codes != group]
    plain, stretched = partner_maps(X, table), partner_maps(X, table, 0.5)
    _assert_there_and_back(stretched, X, n_groups, np.random.default_rng(0))
    means = np.stack([X[codes == group].mean(0) for group in range(n_groups)])
    for own, wanted in ((0, 1), (1, 0), (n_groups - 1, 0)):
        own_codes, wanted_codes = np.full(40, float(own)), np.full(40, float(wanted))
        there, beyond = (m.move(X[codes == own], own_codes, wanted_codes).mean(0) for m in (plain, stretched))
        assert_allclose(there, means[wanted], atol=1e-9)
        # Both ends move apart, the own one through the map itself.
        way = means[wanted] - means[own]
        assert 1.2 < (beyond - means[own]) @ way / (way @ way) < 1.8


def test_a_map_that_misses_nothing_of_its_partners_is_not_stretched():
    X, codes = _twins(60)
    exact = np.r_[X[:60], X[:60] + 1.0]
    for rows, missed_part in ((exact, (0.0, 0.05)), (X, (0.05, 1.0))):
        rng = np.random.RandomState(0)
        bench = Bench(
            rows, codes[:, None], rows, codes[:, None], [_variable(2)], Ruler(np.ones(rows.shape[1])), None, rng
        )
        table = np.full((120, 2), -1)
        table[:60, 1], table[60:, 0] = np.arange(60, 120), np.arange(60)
        found = CounterfactualMap({}, None, np.arange(rows.shape[1]), np.zeros(0, dtype=int), None)
        missed = bench.missed(found, 0, VariableMap(partner_maps(rows, table), "partners"))
        assert missed_part[0] <= missed <= missed_part[1]


def test_too_few_partners_make_no_map():
    X, _ = _twins(LEAST_PARTNERS)
    n = LEAST_PARTNERS
    table = np.full((2 * n, 2), -1)
    table[:n, 1], table[n:, 0] = np.arange(n, 2 * n), np.arange(n)
    assert partner_maps(X, table) is not None
    table[0, 1] = -1
    assert partner_maps(X, table) is None


def test_a_map_with_partners_goes_straight_to_the_twin():
    X, codes = _twins(100)
    table = np.full((200, 2), -1)
    table[:100, 1], table[100:, 0] = np.arange(100, 200), np.arange(100)
    start = linear_blocks(X, [_variable(2)], codes[:, None], {})
    flow = BlockFlow(start, hidden_size=8).double()
    plain, partnered = (
        CounterfactualMap({"g": found}, None, np.arange(6), np.zeros(0, dtype=int), start)
        for found in (VariableMap(flow, "closed form"), VariableMap(partner_maps(X, table), "partners"))
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
    rows, held_out = _split(X[order], [_variable(2)], codes[order][:, None], np.random.RandomState(0))
    assert sorted([*rows, *held_out]) == list(range(400))
    assert 0.2 < len(held_out) / 400 < 0.5
    side = np.isin(np.arange(400), order[held_out])
    # Of rows drawn one by one 42 in 100 versions would be on the other side.
    assert (side[:200] != side[200:]).mean() < 0.2


def test_rows_without_versions_are_held_out_one_by_one():
    rng = np.random.default_rng(0)
    codes = rng.integers(2, size=400).astype(float)
    X = rng.normal(size=(400, 32)) + codes[:, None]
    rows, held_out = _split(X, [_variable(2)], codes[:, None], np.random.RandomState(0))
    assert sorted([*rows, *held_out]) == list(range(400))
    assert len(held_out) == 120
    assert (np.diff(held_out) > 0).all()
    assert (np.diff(rows) > 0).all()


def _loss(weights=None, n=64, d=4):
    generator = torch.Generator().manual_seed(0)
    columns = {"two": slice(0, 2), "other": slice(2, 4), "number": slice(4, 5)}
    spreads = {name: torch.ones(3) for name in columns}
    loss = MoveLoss(columns, spreads, Ruler(np.ones(d)), weights or map_training.WEIGHTS, generator)
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
        patch.setattr(map_training, "N_STEPS", 160)
        patch.setattr(map_training, "LEARNING_RATE", 1e-2)
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
        train_map(candidate, "two", found, rows, Ruler(np.ones(4)), None, "cpu", generator)
    assert short_of(found) < 0.9 * before
    # What is linear and fixed is as exact as before.
    assert_array_equal(candidate.mover.matrix, matrix)
    assert candidate.mover.matrix.dtype == torch.float64


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
