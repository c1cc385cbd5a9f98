"""Networks and rows of unusual kinds: what they give is read right, or refused in words."""

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier
from torch import nn

from sklearn_fairlatent.stitching._cells import cells_of, coded_rows
from sklearn_fairlatent.stitching._constraints import disparity
from sklearn_fairlatent.stitching._cutting import CutNetwork

from .networks import Branching, biased, mlp, outputs, seeded, stitched


class Module(nn.Module):
    """A network of two layers and a ``forward`` from outside."""

    def __init__(self, forward, n_outputs=2):
        super().__init__()
        self.first, self.last, self.how = nn.Linear(3, 3), nn.Linear(3, n_outputs), forward
        self.weight = nn.Parameter(torch.ones(2, 3))

    def forward(self, x):
        return self.how(self, x)


def residual(self, x):
    return self.last(x + torch.tanh(self.first(x)))


def squeezed(self, x):
    return torch.sigmoid(self.last(self.first(x))).squeeze(-1)


def of_the_dtype_of_a_layer(self, x):
    return self.last(self.first(x.to(self.first.weight.dtype)))


def functional_head(self, x):
    return nn.functional.linear(torch.relu(self.first(x)), self.weight)


def two_ways(self, x):
    return self.last(x) + self.first(x)[:, :2]


def pair(self, x):
    return self.last(x), x


def sized(self, x):
    n = x.shape[0]
    return self.last(self.first(x)).reshape(n, 2)


def made(forward, **params):
    return seeded(lambda: Module(forward, **params))


def softened(network, X):
    given = outputs(network, X)
    return torch.softmax(torch.as_tensor(given), 1).numpy()


def untrained(network, rows, **params):
    """A fit that changes nothing: steps that lead away are taken back."""
    X, y, group = rows
    fitted = stitched(network, lr=1e3, max_epochs=2, **params).fit(X, y, sensitive_features=group)
    assert not fitted.improved_on_start_
    return fitted


# ---------------------------------------------------------------- what a network gives


def test_a_skorch_net_behind_a_scaler_keeps_its_forward(rows):
    X, y, _ = rows
    for module in (made(residual), made(residual).double()):
        dtype = next(module.parameters()).dtype
        net = NeuralNetClassifier(module, criterion=nn.CrossEntropyLoss, max_epochs=1, train_split=None, verbose=0)
        pipe = make_pipeline(StandardScaler(), net).fit(X.astype(str(dtype).removeprefix("torch.")), y)
        fitted = untrained(FrozenEstimator(pipe), rows)
        want = pipe.predict_proba(X.astype(str(dtype).removeprefix("torch.")))
        np.testing.assert_allclose(fitted.predict_proba(X), want, rtol=0, atol=1e-5)


def test_probabilities_are_known_behind_steps_of_shape_and_in_a_head(rows):
    X = rows[0]
    network = made(squeezed, n_outputs=1)
    np.testing.assert_allclose(untrained(network, rows).predict_proba(X)[:, 1], outputs(network, X), atol=1e-5)
    one = mlp(n_outputs=1)
    parts = {"extractor": one[:2], "head": nn.Sequential(one[2:], nn.Sigmoid())}
    found = untrained(None, rows, **parts).predict_proba(X)[:, 1]
    np.testing.assert_allclose(found, outputs(nn.Sequential(one, nn.Sigmoid()), X)[:, 0], atol=1e-5)
    with pytest.raises(ValueError, match=r"network_output='auto'.*Pass network_output='logits' or 'probabilities'"):
        untrained(None, rows, extractor=nn.Linear(3, 3), head=Branching())
    told = untrained(None, rows, extractor=nn.Linear(3, 3), head=Branching(), network_output="logits")
    assert told.split_ == "extractor"


@pytest.mark.parametrize(
    "net",
    [
        NeuralNetClassifier(mlp(), predict_nonlinearity=lambda given: given, train_split=None, verbose=0, max_epochs=1),
        NeuralNetBinaryClassifier(mlp(n_outputs=1), threshold=0.3, train_split=None, verbose=0, max_epochs=1),
    ],
)
def test_a_skorch_net_that_decides_otherwise_is_refused(net, rows):
    net.initialize()
    with pytest.raises(ValueError, match="predict_nonlinearity=.* and threshold=.*Pass its module_"):
        stitched(net).fit(rows[0], rows[1], sensitive_features=rows[2])


class Focal(nn.Module):
    """A criterion of logits that skorch does not know."""

    def forward(self, given, y):
        loss = nn.functional.cross_entropy(given, y, reduction="none")
        return ((1 - torch.exp(-loss)) ** 2 * loss).mean()


def test_logits_of_an_unknown_criterion_are_not_taken_for_probabilities(rows):
    X, y, group = rows
    net = NeuralNetClassifier(mlp(), criterion=Focal, max_epochs=1, train_split=None, verbose=0).fit(X.astype("f4"), y)
    with pytest.raises(ValueError, match="network gives values from -.* which are no probabilities.*='logits'"):
        stitched(net).fit(X, y, sensitive_features=group)
    told = untrained(net, rows, network_output="logits")
    np.testing.assert_allclose(told.predict_proba(X), softened(net.module_, X), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="which are no probabilities"):
        stitched(mlp(), network_output="probabilities").fit(X, y, sensitive_features=group)


def clamped(self, x):
    return torch.sigmoid(self.last(self.first(x))).clamp(1e-6, 1 - 1e-6)


def both(self, x):
    one = torch.sigmoid(self.last(self.first(x)))
    return torch.cat([1 - one, one], dim=1)


@pytest.mark.parametrize("forward", [clamped, both])
def test_probabilities_are_not_taken_for_logits(forward, rows):
    X, y, group = rows
    network = made(forward, n_outputs=1)
    with pytest.raises(ValueError, match="network_output='auto': network gives values that look like probabilities"):
        stitched(network).fit(X, y, sensitive_features=group)
    found = untrained(network, rows, network_output="probabilities").predict_proba(X)[:, 1]
    np.testing.assert_allclose(found, outputs(network, X)[:, -1], rtol=0, atol=1e-5)
    assert untrained(network, rows, network_output="logits").predict_proba(X)[:, 1].min() > 0.5 - (forward is both)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_half_precision_is_stitched_in_float32(precision, rows):
    X, y, group = rows
    network = mlp().to(precision)
    fitted = stitched(network).fit(X, y, sensitive_features=group)
    assert fitted.improved_on_start_
    assert next(network.parameters()).dtype == precision
    assert next(fitted.stitched_network().parameters()).dtype == torch.float32


class Recurrent(nn.Module):
    """Its first layer gives a pair, which no stitch takes."""

    def __init__(self):
        super().__init__()
        self.lstm, self.last = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.lstm(x[:, None])[0][:, -1])


class Folding(nn.Module):
    """Works on parts of the rows before it works on rows."""

    def __init__(self):
        super().__init__()
        self.part, self.whole, self.last = nn.Linear(1, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        parts = torch.relu(self.part(x.reshape(-1, 1))).reshape(-1, 3, 4).mean(1)
        return self.last(torch.relu(self.whole(parts)))


@pytest.mark.parametrize(("network", "found"), [(Recurrent, {"input"}), (Folding, {"whole"})])
def test_auto_leaves_out_where_no_rows_come_out(network, found, rows):
    X, y, group = rows
    fitted = stitched(seeded(network)).fit(X, y, sensitive_features=group)
    assert set(fitted.split_scores_.index) == found


def test_where_no_rows_come_out_is_said(rows):
    X, y, group = rows
    with pytest.raises(ValueError, match=r"split='part': there 3 rows of X have the shape \(9, 4\)"):
        stitched(seeded(Folding), split="part").fit(X, y, sensitive_features=group)
    with pytest.raises(ValueError, match="extractor: a LSTM gives a tuple; expected one tensor. Wrap it"):
        stitched(extractor=nn.LSTM(3, 4), head=nn.Linear(4, 2)).fit(X, y, sensitive_features=group)


def test_a_last_layer_with_computed_weights_is_refused(rows):
    X, y, group = rows
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)))
    with pytest.raises(ValueError, match="computes its weights from others.*remove_parametrizations"):
        stitched(network, stitch="last_layer").fit(X, y, sensitive_features=group)


@pytest.mark.parametrize("forward", [of_the_dtype_of_a_layer, residual])
def test_the_network_to_deploy_is_what_predicts_even_if_it_looks_at_its_layers(forward, rows):
    X, y, group = rows
    network = made(forward)
    split = "first" if forward is of_the_dtype_of_a_layer else "input"
    fitted = stitched(network, split=split).fit(X, y, sensitive_features=group)
    np.testing.assert_allclose(softened(fitted.stitched_network(), X), fitted.predict_proba(X), rtol=0, atol=1e-5)
    assert fitted.improved_on_start_


def test_an_alias_of_a_layer_does_not_lose_the_stitch(rows):
    X, y, group = rows
    network = mlp()
    network.alias = network[0]
    fitted = stitched(Aliased()).fit(X, y, sensitive_features=group)
    np.testing.assert_allclose(softened(fitted.stitched_network(), X), fitted.predict_proba(X), rtol=0, atol=1e-5)


class Aliased(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)
        self.encoder = self.first

    def forward(self, x):
        return self.last(torch.relu(self.encoder(x)))


# ---------------------------------------------------------------- where networks can be cut


def test_layers_that_give_several_tensors_are_left_out(rows):
    X, y, group = rows
    network = seeded(lambda: nn.Sequential(nn.Linear(3, 4), Recurrent(), nn.ReLU(), nn.Linear(4, 2)))
    fitted = stitched(network).fit(X, y, sensitive_features=group)
    assert fitted.split_scores_.index.tolist() == ["0", "2"]
    with pytest.raises(ValueError, match=r"split='1.inner': .* gives a tuple; expected one tensor. Name another layer"):
        stitched(network, split="1.inner").fit(X, y, sensitive_features=group)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.LSTM(1, 4, batch_first=True)

    def forward(self, x):
        return self.inner(x.unsqueeze(-1))[0][:, -1]


def test_networks_that_give_no_tensor_or_no_last_layer(rows):
    X, y, group = rows
    with pytest.raises(ValueError, match="network=Module gives a tuple; expected one tensor"):
        stitched(made(pair)).fit(X, y, sensitive_features=group)
    assert stitched(made(two_ways)).fit(X, y, sensitive_features=group).split_ == "input"
    assert CutNetwork(made(functional_head)).names() == ["first"]
    for forward in (two_ways, functional_head):
        with pytest.raises(ValueError, match="stitch='last_layer': the last weights"):
            stitched(made(forward), stitch="last_layer").fit(X, y, sensitive_features=group)
    with pytest.raises(ValueError, match="a size that is read of the input"):
        stitched(made(sized), split="first").fit(X, y, sensitive_features=group)
    inside = nn.Sequential(nn.TransformerEncoderLayer(4, 2, 4, batch_first=True), nn.Flatten(), nn.Linear(12, 2))
    with pytest.raises(ValueError, match="works inside another one"):
        CutNetwork(inside.eval()).after("0.linear1")


def test_a_last_layer_behind_an_extractor_that_cannot_be_followed(rows):
    X, y, group = rows
    fitted = stitched(extractor=Branching(), head=nn.Linear(2, 2), stitch="last_layer")
    assert fitted.fit(X, y, sensitive_features=group).split_ == "head"


def test_maps_along_one_dimension_are_stitched_by_channel():
    X, y, group = biased(120)
    long = np.repeat(X[:, :2, None], 6, axis=2) + np.random.RandomState(0).normal(size=(120, 2, 6))
    network = seeded(lambda: nn.Sequential(nn.Conv1d(2, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(20, 2)))
    fitted = stitched(network, split="1", max_epochs=2).fit(long, y, sensitive_features=group)
    assert fitted.stitch_.outer.out_features == 5
    assert fitted.predict(long).shape == (120,)


def test_a_stitch_of_ones_own_goes_where_it_fits(rows):
    X, y, group = rows
    own = nn.Linear(5, 5)
    fitted = stitched(mlp(), stitch=own).fit(X, y, sensitive_features=group)
    assert fitted.split_scores_.index.tolist() == ["3", "4"]
    with pytest.raises(ValueError, match="no layer can be stitched after"):
        stitched(mlp(), stitch=nn.Linear(6, 6)).fit(X, y, sensitive_features=group)


def test_one_wide_place_is_taken():
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(60, 5000)), rng.randint(2, size=60)
    wide = FrozenEstimator(LogisticRegression().fit(X, y))
    fitted = stitched(wide, max_epochs=1, hidden_size=2).fit(X, y, sensitive_features=rng.randint(2, size=60))
    assert fitted.split_ == "input"


# ---------------------------------------------------------------- rows and weights


def test_held_out_rows_of_a_smaller_set_are_measured_as_they_are():
    X, y, group = biased(4000)
    codes = (group == "f").astype(float)
    gaps = {}
    for balanced in (True, False):
        rows = coded_rows(y.astype(float), [codes], np.ones(4000), balanced, torch.float64, "cpu")
        sure = nn.functional.one_hot(rows.label, 2).double()
        zeros = torch.zeros(4000, dtype=torch.float64)
        gaps[balanced] = float(
            disparity(sure, zeros, rows.label, rows.groups[:, 0], 2, rows.rate_weights, "demographic_parity", None)
        )
    fitted = stitched(balanced="subsample", split="hidden_0", max_epochs=1)
    (_, _), (positions, held_out) = fitted._parts(
        y.astype(float), [codes], np.ones(4000), mlp(), np.random.RandomState(0)
    )
    assert gaps[True] == gaps[False]
    np.testing.assert_allclose(held_out.rate_weights, 1)
    cells = cells_of(y.astype(float), [codes])[positions]
    totals = np.bincount(cells, held_out.label_weights)
    np.testing.assert_allclose(totals, totals.mean(), rtol=0.05)


def test_batches_without_weight_and_rows_without(unfair, rows):
    X, y, group = rows
    weights = (np.arange(len(y)) % 15 == 0).astype(float)
    fitted = stitched(unfair, batch_size=8, max_epochs=2).fit(X, y, sensitive_features=group, sample_weight=weights)
    assert np.isfinite(pd.DataFrame(fitted.history_)).all(axis=None)
    used = weights > 0
    alone = stitched(unfair, batch_size=8, max_epochs=2).fit(X[used], y[used], sensitive_features=group[used])
    np.testing.assert_allclose(fitted.predict_proba(X), alone.predict_proba(X), rtol=0, atol=1e-9)
    with pytest.raises(ValueError, match="Sample weights must contain at least one non-zero"):
        stitched(unfair).fit(X, y, sensitive_features=group, sample_weight=np.zeros(len(y)))


def test_rows_in_reverse(unfair, rows):
    X, y, group = rows
    fitted = stitched(unfair, max_epochs=2).fit(X[::-1], y[::-1], sensitive_features=group[::-1])
    np.testing.assert_allclose(fitted.predict_proba(X[::-1]), fitted.predict_proba(X)[::-1], rtol=0, atol=1e-12)
    assert fitted.predict_proba(X[:, ::-1]).shape == (len(y), 2)


def test_classes_that_y_lacks(rows):
    X, y, group = rows
    fitted = stitched(mlp(n_outputs=3), classes=["c", "a", "b"]).fit(
        X, np.array(["a", "b"])[y], sensitive_features=group
    )
    assert fitted.classes_.tolist() == ["a", "b", "c"]
    assert roc_auc_score(y, fitted.predict_proba(X)[:, 1]) > 0.6


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        (np.arange(600) % 30, "are numbers, not groups. Cut them into groups before"),
        (pd.Series(np.arange(600) % 2, name="target"), "of the label. Rename"),
    ],
)
def test_remedies_are_those_of_the_classifier(unfair, rows, attribute, message):
    with pytest.raises(ValueError, match=message):
        stitched(unfair).fit(rows[0], rows[1], sensitive_features=attribute)


# ---------------------------------------------------------------- scikit-learn's ways


def test_what_was_fitted_does_not_go_by_what_is_set_later(rows):
    X, y, group = rows
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(sex=group)
    fitted = stitched(max_epochs=1, split="hidden_0", sensitive_columns=["sex"]).fit(frame, y)
    before = fitted.predict_proba(frame)
    np.testing.assert_array_equal(fitted.set_params(sensitive_columns=None).predict_proba(frame), before)
    network = nn.Sequential(nn.Flatten(), mlp())
    pictures = stitched(network, max_epochs=1).fit(X[:, :, None, None], y, sensitive_features=group)
    assert pictures.set_params(network=None).predict(X[:, :, None, None]).shape == y.shape
    plain = stitched(mlp(), max_epochs=1).fit(X, y, sensitive_features=group)
    assert plain.set_params(sensitive_columns=[1]).predict(X).shape == y.shape


def test_a_nested_network_gets_the_seed(rows):
    X, y, group = rows
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - the global generator is what must not move
    one, two = (
        stitched(MLPClassifier((4,), early_stopping=True), max_epochs=1).fit(X, y, sensitive_features=group)
        for _ in range(2)
    )
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002 - the same


def test_weights_reach_the_default_network_with_routing_on(rows):
    X, y, group = rows
    with sklearn.config_context(enable_metadata_routing=True):
        fitted = stitched(max_epochs=1, split="hidden_0")
        fitted.fit(X, y, sensitive_features=group, sample_weight=np.where(y == 1, 3.0, 1.0))
    assert fitted.predict(X).shape == y.shape


def test_calibrated_behind_outputs_in_another_order(rows):
    X, y, group = rows
    words = np.array(["no", "yes"])[y]
    fitted = stitched(mlp(), classes=["yes", "no"]).fit(X, words, sensitive_features=group)
    calibrated = CalibratedClassifierCV(FrozenEstimator(fitted)).fit(X, words)
    assert roc_auc_score(y, calibrated.predict_proba(X)[:, 1]) > 0.6
