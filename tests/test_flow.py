"""The invertible module: round trips, log-determinants, what is handed on, and the piecewise-linear features."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import kstest, norm, truncnorm

from sklearn_fairlatent._flow import (
    CUT,
    CUT_DEVIATION,
    DITHER,
    LABEL_DITHER,
    MIN_SLOPE,
    ByteDropout,
    CarrierFlow,
    ColumnFeatures,
    LatentFlow,
    LinearMap,
    Table,
    describe_columns,
)
from sklearn_fairlatent._latent import LatentLayout, LinearStart, linear_start, moments


def make_layout(n_features, n_target, sensitive, n_handed_on):
    n_residual = n_features - n_target - sum(sensitive)
    names = tuple(f"a{k}" for k in range(len(sensitive)))
    return LatentLayout("y" if n_target else None, names, (n_target, *sensitive, n_residual), n_handed_on)


def make_flow(layout, *, seed=0, scale=1.0, n_layers=3, perturb=0.3):
    """A float64 flow in eval mode behind the linear map of random rows, and those rows."""
    rng = np.random.default_rng(seed)
    X = scale * (rng.normal(size=(40, layout.n_features)) + rng.normal(size=layout.n_features))
    X[:, -1] = X[:, -1] > X[:, -1].mean()
    if layout.n_features > 4:
        X[:, -2] = 1 - X[:, -1]  # a direction without variance, so that a single carrier is exact
    codes = rng.normal(size=(40, 1 + len(layout.sensitive)))
    blocks = [slice(k, k + 1) for k in range(codes.shape[1])]
    start = linear_start(moments(X, codes, np.arange(40)), blocks, layout, label_first=False)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        core = CarrierFlow(layout, start, describe_columns(X, np.arange(40), codes), n_layers=n_layers, hidden_size=8)
        flow = LatentFlow(LinearMap(start), core).double().eval()
        with torch.no_grad():
            for parameter in flow.parameters():
                parameter += perturb * torch.randn_like(parameter)
            if core.n_carried and perturb:
                core.standardise.running_mean.normal_()
                core.standardise.running_var.uniform_(0.5, 2.0)
    for parameter in flow.parameters():
        parameter.requires_grad_(False)
    return flow, torch.as_tensor(X)


@st.composite
def layouts(draw, most=12):
    """Every split that a fit can ask for: at least one column is no sensitive one, some column is no target."""
    n_features = draw(st.integers(2, most))
    n_sensitive = draw(st.integers(0, min(3, n_features - 1)))
    n_target = draw(st.integers(0, min(3, n_features - max(n_sensitive, 1))))
    first = draw(st.integers(0, n_sensitive))
    sensitive = (first, n_sensitive - first) if n_sensitive else draw(st.sampled_from([(), (0,)]))
    n_handed_on = draw(st.integers(1, n_features - n_sensitive))
    return make_layout(n_features, n_target, sensitive, n_handed_on)


FIXED = [
    make_layout(5, 1, (1,), 1),
    make_layout(5, 1, (1, 1), 2),  # wider than the target, within half
    make_layout(5, 1, (1,), 4),  # everything but the sensitive block
    make_layout(6, 3, (1, 1), 2),  # narrower than the target
    make_layout(6, 3, (3,), 3),  # no residual
    make_layout(4, 0, (2,), 2),  # no label
    make_layout(3, 0, (), 3),
    make_layout(2, 1, (), 1),
    make_layout(2, 1, (1,), 1),
]


# The round trip


@settings(max_examples=60)
@given(layout=layouts(), scale=st.floats(1, 100), seed=st.integers(0, 1000), n_layers=st.integers(0, 4))
def test_inverse_restores_every_column(layout, scale, seed, n_layers):
    flow, X = make_flow(layout, seed=seed, scale=scale, n_layers=n_layers)
    z, log_det = flow(X)
    assert z.shape == X.shape
    assert log_det.shape == (len(X),)
    assert_allclose(flow.inverse(z), X, rtol=0, atol=1e-8 * float(X.abs().max()))


@settings(max_examples=30)
@given(layout=layouts(), seed=st.integers(0, 1000))
def test_forward_undoes_the_inverse(layout, seed):
    flow, X = make_flow(layout, seed=seed)
    z = torch.as_tensor(np.random.default_rng(seed).normal(size=tuple(X.shape)))
    assert_allclose(flow(flow.inverse(z))[0], z, rtol=0, atol=1e-8)


@settings(max_examples=40)
@given(layout=layouts(), seed=st.integers(0, 1000))
def test_hand_on_is_the_handed_on_columns(layout, seed):
    flow, X = make_flow(layout, seed=seed)
    columns = layout.handed_on
    assert_allclose(flow.hand_on(X, columns), flow(X)[0][:, columns], rtol=1e-12, atol=1e-12)


def test_hand_on_of_another_module():
    flow, X = make_flow(FIXED[1])
    columns = FIXED[1].handed_on
    flow.core = Doubling()
    assert_allclose(flow.hand_on(X, columns), 2 * flow.linear(X)[0][:, columns])


class Doubling(torch.nn.Module):
    def forward(self, w):
        return 2 * w, w.new_full((len(w),), w.shape[1] * np.log(2))

    def inverse(self, z):
        return z / 2


# The log-determinant


@pytest.mark.parametrize("layout", FIXED, ids=repr)
def test_log_det_agrees_with_autograd(layout):
    flow, X = make_flow(layout, seed=3)
    # Away from the corners of the piecewise-linear features, which are data points.
    X = X[:4] + 0.0123
    log_det = flow(X)[1]
    for row, found in zip(X, log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda x: flow(x[None])[0][0], row)
        assert_allclose(found, torch.linalg.slogdet(jacobian)[1], rtol=1e-6, atol=1e-8)


def test_log_det_of_the_linear_map():
    start = LinearStart(np.zeros(2), np.diag([2.0, -3.0]), np.diag([0.5, -1 / 3]))
    w, log_det = LinearMap(start)(torch.ones(3, 2, dtype=torch.float64))
    assert w.tolist() == [[2.0, -3.0]] * 3
    assert_allclose(log_det, np.full(3, np.log(6)))


# What the module is made of


@settings(max_examples=25)
@given(layout=layouts(), seed=st.integers(0, 1000))
def test_couplings_start_at_the_identity(layout, seed):
    flow, X = make_flow(layout, seed=seed, perturb=0.0)
    _, r, _ = flow.core.carry(flow.linear(X)[0])
    rest, log_det = flow.core.disentangle(r, r.new_zeros(len(r), flow.core.n_carried))
    assert_allclose(rest, r, atol=1e-12)
    assert_allclose(log_det, 0.0, atol=1e-12)


def test_coupling_of_a_single_column_starts_at_the_identity():
    flow, X = make_flow(make_layout(1, 0, (), 1), perturb=0.0)
    w = flow.linear(X)[0]
    assert_allclose(flow.core(w)[0], w, atol=1e-12)


@pytest.mark.parametrize("n_features", [1, 2])
def test_a_label_block_of_all_columns(n_features):
    # X of 0 and 1 only: neither a rest nor knots, so that the network of g has no input.
    layout = make_layout(n_features, n_features, (), 1)
    start = LinearStart(np.zeros(n_features), np.eye(n_features), np.eye(n_features))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        core = CarrierFlow(layout, start, Table(np.ones(n_features), []), n_layers=2, hidden_size=8)
    flow = LatentFlow(LinearMap(start), core).double().eval()
    X = torch.as_tensor(np.random.default_rng(0).normal(size=(5, n_features)))
    assert_allclose(flow.inverse(flow(X)[0]).detach(), X, atol=1e-10)


@pytest.mark.parametrize("layout", FIXED, ids=repr)
def test_slopes_are_bounded_below_whatever_the_parameters(layout):
    flow, X = make_flow(layout, perturb=30.0)
    _, r, _ = flow.core.carry(flow.linear(X)[0])
    context = r.new_zeros(len(r), flow.core.n_carried) if flow.core.n_carried else None
    for coupling in flow.core.couplings:
        _, log_det = coupling(context).call_and_ladj(r)
        assert (log_det >= r.shape[1] * np.log(MIN_SLOPE)).all()


def test_what_is_handed_on_depends_on_no_coupling():
    layout = make_layout(5, 1, (1, 1), 1)
    flow, X = make_flow(layout)
    before, latent = flow.hand_on(X, layout.handed_on), flow(X)[0]
    for parameter in flow.core.couplings.parameters():
        parameter += 1.0
    assert_array_equal(flow.hand_on(X, layout.handed_on), before)
    assert (flow(X)[0] - latent).abs().max() > 0.1


def test_carriers_are_standardised_over_the_batch_in_training():
    layout = make_layout(6, 2, (1,), 2)
    flow, X = make_flow(layout)
    flow.train()
    z = flow(X)[0][:, :2]
    assert_allclose(z.mean(dim=0), [0, 0], atol=1e-10)
    assert_allclose(z.var(dim=0, unbiased=False), [1, 1], rtol=1e-3)


@pytest.mark.parametrize(
    ("layout", "wide", "n_carried"),
    [
        (make_layout(9, 1, (1,), 1), False, 1),
        (make_layout(9, 1, (1,), 4), False, 4),  # half of the eight others
        (make_layout(9, 1, (1,), 5), True, 1),
        (make_layout(9, 3, (1,), 2), False, 3),
        (make_layout(4, 3, (), 3), False, 3),
        (make_layout(9, 0, (1,), 2), True, 0),
    ],
)
def test_how_many_columns_have_a_carrier(layout, wide, n_carried):
    core = make_flow(layout)[0].core
    assert core.wide == wide
    assert core.n_carried == n_carried


def test_a_zero_log_det_where_nothing_is_done():
    layout = make_layout(3, 0, (1,), 2)
    flow, X = make_flow(layout, n_layers=0)
    w, log_det = flow.linear(X)
    z, total = flow(X)
    # Without a carrier and couplings only the blocks are put into their places: here they are there already.
    assert_array_equal(z, w)
    assert_array_equal(total, log_det)


# Copies and the state


@pytest.mark.parametrize("layout", FIXED, ids=repr)
@pytest.mark.parametrize("make_copy", [copy.deepcopy, lambda flow: pickle.loads(pickle.dumps(flow))])
def test_copies_compute_the_same(layout, make_copy):
    flow, X = make_flow(layout)
    twin = make_copy(flow)
    assert_array_equal(twin(X)[0], flow(X)[0])
    assert_array_equal(twin.inverse(X), flow.inverse(X))
    for parameter in twin.parameters():
        parameter += 1.0
    assert_array_equal(make_copy(flow)(X)[0], flow(X)[0])


@pytest.mark.parametrize("layout", FIXED, ids=repr)
def test_the_state_holds_no_fixed_map(layout):
    flow, _ = make_flow(layout)
    fixed = {"mean", "matrix", "unmix", "low", "slope", "column_of"}
    assert not {name.rsplit(".")[-1] for name in flow.state_dict()} & fixed
    held = {name.rsplit(".")[-1] for name, _ in flow.named_buffers()}
    assert (fixed if flow.core.exact else {"mean", "matrix", "unmix"}) <= held


def test_training_in_float32_does_not_round_the_fixed_map():
    flow, X = make_flow(FIXED[0], scale=100.0)
    assert flow.core.exact
    buffers = {name: buffer.clone() for name, buffer in flow.named_buffers() if "linear." in name or "columns." in name}
    trained = copy.deepcopy(flow.core).float()
    flow.core.load_state_dict(trained.state_dict())
    assert len(buffers) == 8
    for name, buffer in flow.named_buffers():
        if name in buffers:
            assert torch.equal(buffer, buffers[name]), name
    assert all(parameter.dtype == torch.float64 for parameter in flow.parameters())
    assert_allclose(flow.inverse(flow(X)[0]), X, rtol=0, atol=1e-8 * float(X.abs().max()))


# Columns and their steps


def test_steps_of_a_mostly_zero_column_lie_where_the_label_changes():
    rng = np.random.default_rng(0)
    gain = np.where(rng.random(2000) < 0.9, 0, rng.choice([1000, 2000, 3000, 4000], 2000))
    label = np.isin(gain, (2000, 4000)).astype(float)
    X = np.column_stack([rng.integers(0, 2, 2000), gain, np.full(2000, 3.0), rng.normal(size=2000)])
    table = describe_columns(X, np.arange(2000), label[:, None])
    bounds = {column: (low, high) for column, low, high in table.steps}
    assert {(1250, 1750), (2250, 2750), (3250, 3750)} <= set(zip(*bounds[1], strict=True))
    assert 0 not in bounds
    assert 2 not in bounds
    assert_allclose(table.scale, [1, gain.std(), 1, X[:, 3].std()])


def test_steps_serve_attributes_with_missing_values_too():
    X = np.arange(400.0)[:, None]
    codes = np.column_stack([np.arange(400) % 2, np.where(np.arange(400) < 100, 1.0, 0.0)])
    codes[::7, 1] = np.nan
    (column, low, high), *_ = describe_columns(X, np.arange(400), codes).steps
    assert column == 0
    assert ((low <= 99.5) & (high >= 99.5)).any()
    # Negative control: the first code alone has nothing to do with the column's size.
    codes[:, 1] = np.nan
    others = describe_columns(X, np.arange(400), codes[:, :1]).steps
    assert not others or not ((others[0][1] <= 99.5) & (others[0][2] >= 99.5)).any()


def test_steps_come_from_the_given_rows():
    X = np.r_[np.repeat(np.arange(4.0), 30), np.repeat(np.arange(100.0, 104.0), 30)][:, None]
    label = X % 2
    assert describe_columns(X, np.arange(120), label).steps[0][2].max() < 4
    assert describe_columns(X, np.arange(240), label).steps[0][2].max() > 100


@pytest.mark.parametrize(("n_columns", "n_steps"), [(1, 32), (16, 16), (32, 8), (64, 4), (65, 0), (200, 0)])
def test_many_columns_get_fewer_steps_and_then_none(n_columns, n_steps):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, n_columns))
    table = describe_columns(X, np.arange(2000), rng.normal(size=(2000, 1)))
    assert len(table.steps) == (n_columns if n_steps else 0)
    assert all(len(low) == n_steps for _, low, _ in table.steps)
    assert table.scale.shape == (n_columns,)


def test_columns_of_two_values_need_no_steps_and_are_scaled_by_their_range():
    X = np.column_stack([np.arange(20) % 2 * 5.0, np.zeros(20)])
    table = describe_columns(X, np.arange(20), X[:, :1])
    assert table.steps == []
    assert_array_equal(table.scale, [5, 1])


def test_without_codes_there_are_no_steps():
    assert describe_columns(np.arange(50.0)[:, None], np.arange(50), np.zeros((50, 0))).steps == []


def test_smooth_ramps_of_a_mostly_zero_column_lie_in_its_tail():
    rng = np.random.default_rng(0)
    gain = np.where(rng.random(500) < 0.95, 0.0, rng.exponential(1000, 500))
    X = np.column_stack([rng.integers(0, 2, 500), gain, np.full(500, 3.0), rng.normal(size=500)])
    steps = describe_columns(X, np.arange(500), np.zeros((500, 0)), smooth=True).steps
    ramps = {column: (low, high) for column, low, high in steps}
    assert list(ramps) == [1, 3]
    low, high = ramps[1]
    assert low[0] == 0.0
    assert high[-1] == gain.max()
    assert (low[1:] > 0).sum() >= 8
    assert_array_equal(low[1:], high[:-1])
    assert all((high > low).all() for low, high in ramps.values())
    # Negative control: quantiles of the rows alone see the spike and the maximum only.
    assert len(np.unique(np.quantile(gain, np.linspace(0, 1, 17)))) <= 3


def features_of(X, table=None):
    n_features = X.shape[1]
    start = LinearStart(np.zeros(n_features), np.eye(n_features), np.eye(n_features))
    if table is None:
        table = describe_columns(X, np.arange(len(X)), np.arange(len(X))[:, None] % 3)
    return ColumnFeatures(start, table, whole=True)


def test_features_of_known_steps():
    table = Table(np.array([2.0, 4.0]), [(1, np.array([0.0, 1.0]), np.array([1.0, 3.0]))])
    values = torch.tensor([[-5.0], [0.0], [0.5], [1.0], [2.0], [3.0], [9.0]], dtype=torch.float64)
    steps = [[-0.5, -0.5], [-0.5, -0.5], [0, -0.5], [0.5, -0.5], [0.5, 0], [0.5, 0.5], [0.5, 0.5]]
    rows = torch.cat([torch.ones_like(values), values], dim=1)
    features = features_of(np.zeros((1, 2)), table).double()
    assert_allclose(features(rows @ features.unmix), np.column_stack([np.full(7, 0.5), values / 4, steps]))
    assert features.n_features == 4


@settings(max_examples=40)
@given(
    column=st.lists(st.floats(-1e6, 1e6), min_size=45, max_size=90),
    others=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=10),
)
def test_steps_stay_in_range_and_rise(column, others):
    features = features_of(np.array(column)[:, None])
    values = torch.as_tensor(np.sort(np.r_[column, others]))[:, None]
    ramps = features(values @ features.unmix)[:, 1:]
    assert ((ramps >= -0.5) & (ramps <= 0.5)).all()
    assert (ramps.diff(dim=0) >= 0).all()


def test_features_leave_their_input_alone():
    X = np.random.default_rng(0).normal(size=(300, 1))
    values = torch.as_tensor(X.copy())
    features = features_of(X)
    assert features.n_features > 1
    features(values @ features.unmix)
    assert_array_equal(values, X)


def test_steps_of_tiny_probabilities_are_numbers_in_float32():
    # Such columns come from a softmax: most values are closer together than float32 can tell apart.
    X = np.repeat(np.logspace(-60, 0, 64), 30)[:, None]
    features = features_of(X, describe_columns(X, np.arange(len(X)), np.log10(X))).float()
    ramps = features(torch.as_tensor(X, dtype=torch.float32) @ features.unmix)[:, 1:]
    assert ramps.shape[1] > 0
    assert torch.isfinite(ramps).all()
    assert ramps.abs().max() <= 0.5


def one_hot_flow(n_carried, n_features=9):
    """Three numbers and two columns of indicators with three values each: two directions without variance."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=(300, 3)), *(np.eye(3)[rng.integers(0, 3, 300)] for _ in range(2))])
    codes = rng.integers(0, 2, (300, 2)).astype(float)
    layout = make_layout(n_features, 1, (1,), n_carried)
    start = linear_start(moments(X, codes, np.arange(300)), [slice(0, 1), slice(1, 2)], layout, label_first=False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        core = CarrierFlow(layout, start, describe_columns(X, np.arange(300), codes), n_layers=1, hidden_size=8)
    return X, start, core


@pytest.mark.parametrize(("n_carried", "exact"), [(1, True), (2, True), (3, False)])
def test_directions_without_variance_are_carried_first_and_cost_no_column(n_carried, exact):
    X, start, core = one_hot_flow(n_carried)
    assert start.n_null == 2
    assert core.exact == exact
    assert core.reflections.requires_grad == (not exact)
    w = torch.as_tensor((X - start.mean) @ start.matrix)
    seen = w.clone()
    seen[:, -n_carried:] = 0.0  # what g does not see
    back = (seen.numpy() @ start.inverse + start.mean) - X
    assert (np.abs(back).max() < 1e-9) == exact


# The dither


@pytest.mark.parametrize("n_carried", [2, 3])
def test_the_dither_hides_small_differences_and_comes_off_exactly(n_carried):
    X, start, core = one_hot_flow(n_carried)
    flow = LatentFlow(LinearMap(start), core).double().eval()
    X = torch.as_tensor(X)
    with torch.no_grad():
        plain = core.carry(flow.linear(X)[0])[0]
        core.start_dither(0.5)
        dithered = core.carry(flow.linear(X)[0])[0]
        assert_array_equal(core.carry(flow.linear(X)[0])[0], dithered)
        assert_allclose(flow.inverse(flow(X)[0]), X, atol=1e-9)
        # The label's own column is left clear.
        assert_array_equal(dithered[:, 0], plain[:, 0])
        hidden = (dithered - plain)[:, 1:]
        # As large as announced, and without a trend in the column it hides.
        assert_allclose(hidden.std(0), 0.5 * DITHER, rtol=0.1)
        assert np.abs(np.corrcoef(np.hstack([plain, hidden]).T)[:n_carried, n_carried:]).max() < 0.2
        nudged = X.clone()
        nudged[:, 0] += torch.linspace(0.05, 0.5, len(X))
        moved = core.carry(flow.linear(nudged)[0])[0] - dithered
        assert moved[:, 1:].std(0).min() > 0.5 * DITHER


def test_the_columns_of_a_many_class_label_are_dithered_a_little():
    layout = make_layout(9, 3, (1,), 3)
    core = make_flow(layout)[0].core
    core.start_dither(1.0)
    assert_allclose(core.carried_dither.size, [LABEL_DITHER] * 3)


def test_a_rest_that_is_handed_on_is_dithered_by_the_sensitive_axes():
    layout = make_layout(12, 1, (1,), 11)
    core = make_flow(layout)[0].core.double().eval()
    w = torch.randn(4000, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = core(w)[0]
        core.start_dither(1.0)
        z = core(w)[0]
        assert_allclose(core.inverse(z), w, atol=1e-9)
        assert_array_equal(z[:, :2], plain[:, :2])
        hidden = (z - plain)[:, 2:]
        assert_allclose(hidden.std(0), DITHER, rtol=0.1)
        # Nearly normal. A sine is next to its crest in a third of the rows: there what it should hide would show.
        bound = norm.ppf(1 - CUT)
        nearly = truncnorm(-bound, bound, scale=DITHER / CUT_DEVIATION)
        assert max(kstest(column, nearly.cdf).statistic for column in hidden.T) < 1.9 / np.sqrt(len(w))
        assert kstest(DITHER * np.sqrt(2) * np.sin(100 * z[:, 1].numpy()), nearly.cdf).statistic > 0.08
        # No wave looks like another, like its source or like what it hides.
        correlation = np.corrcoef(np.hstack([hidden, z[:, 1:2], plain[:, 2:]]).T)[:10]
    assert np.abs(correlation - np.eye(10, correlation.shape[1])).max() < 5 / np.sqrt(len(w))


@pytest.mark.parametrize(("n_target", "n_handed_on", "widths"), [(1, 1, (1,)), (0, 8, (1,)), (1, 9, ())])
def test_no_dither_on_a_single_column_without_a_label_or_without_attributes(n_target, n_handed_on, widths):
    core = make_flow(make_layout(9, n_target, widths, n_handed_on))[0].core.double().eval()
    w = torch.randn(50, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = core(w)[0]
        core.start_dither(1.0)
        assert_array_equal(core(w)[0], plain)


def test_strength_zero_has_no_dither():
    X, start, core = one_hot_flow(3)
    flow = LatentFlow(LinearMap(start), core).double().eval()
    with torch.no_grad():
        plain = flow(torch.as_tensor(X))[0]
        core.start_dither(0.0)
        assert_array_equal(flow(torch.as_tensor(X))[0], plain)


@pytest.mark.parametrize("shape", [(4, 500, 64), (3, 7, 5), (1,)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dropout_zeroes_its_share_and_keeps_the_mean(shape, dtype):
    dropout, x = ByteDropout(0.2), torch.ones(shape, dtype=dtype, requires_grad=True)
    torch.manual_seed(0)
    dropped = dropout(x)
    dropped.sum().backward()
    kept = dropped != 0
    assert dropped.dtype == dtype
    assert_allclose(dropped[kept].detach(), 256 / 205, rtol=1e-6)
    assert_array_equal(x.grad, dropped.detach())
    if x.numel() > 1000:
        assert abs(kept.float().mean() - 205 / 256) < 4 * (0.16 / x.numel()) ** 0.5
        # No value takes part in its neighbour's draw.
        both = (kept.flatten()[1:] & kept.flatten()[:-1]).double().mean()
        assert abs(both - (205 / 256) ** 2) < 4 * (0.25 / x.numel()) ** 0.5


def test_dropout_is_off_outside_training_and_at_zero():
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    assert_array_equal(ByteDropout(0.5).eval()(x), x)
    assert_array_equal(ByteDropout(0.0)(x), x)
