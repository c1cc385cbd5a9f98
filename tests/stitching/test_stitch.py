"""What the stitch is and does: the identity at first, then fairer, with everything else frozen."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.neural_network import MLPClassifier
from torch import nn

from sklearn_fairlatent.stitching._constraints import CONSTRAINTS
from sklearn_fairlatent.stitching._layers import new_stitch, places
from sklearn_fairlatent.stitching._stitches import FreshLayer, Stitch
from sklearn_fairlatent.stitching._training import Goal, StitchedHead

from .networks import biased, convolutional, digest, mlp, outputs, seeded, stitched


def pictures(n=120):
    """Small pictures whose label and group are brightnesses of the two channels."""
    X, y, group = biased(n)
    noise = np.random.RandomState(2).normal(size=(n, 2, 8, 8))
    return (noise + X[:, :2, None, None]).astype(np.float32), y, group


# ---------------------------------------------------------------- before training


@pytest.mark.parametrize("kind", ["residual", "linear", nn.Identity()])
@pytest.mark.parametrize(("make", "shape"), [(mlp, (30, 3)), (convolutional, (30, 2, 8, 8))])
def test_an_untrained_stitch_predicts_exactly_what_the_network_does(make, shape, kind):
    network = make().eval()
    X = np.random.RandomState(0).normal(size=shape)
    goal = Goal(2, None, "logits", (), "equalized_odds", None, 1.0)
    found, spare = places(network, "auto", kind, ())
    for place in [*found, spare]:
        features = place.extractor(torch.as_tensor(X, dtype=torch.float32)).detach()
        stitch = seeded(lambda p=place, f=features: new_stitch(kind, 16, p, f))
        module = StitchedHead(stitch, place.head, goal).eval()
        with torch.no_grad():
            np.testing.assert_array_equal(module(features).numpy(), outputs(network, X))


def test_without_a_better_epoch_the_network_is_kept(unfair, rows):
    X, y, group = rows
    # Steps as long as these only make it worse.
    kept = stitched(unfair, lr=1e3, max_epochs=2).fit(X, y, sensitive_features=group)
    assert not kept.improved_on_start_
    np.testing.assert_allclose(kept.predict_proba(X), unfair.predict_proba(X), rtol=0, atol=1e-12)


def test_a_fresh_last_layer_is_no_identity(unfair, rows):
    X, y, group = rows
    trained = stitched(unfair, stitch="last_layer").fit(X, y, sensitive_features=group)
    assert isinstance(trained.stitch_, FreshLayer)
    assert trained.split_ == "linear"
    assert trained.improved_on_start_


# ---------------------------------------------------------------- what is frozen


@pytest.mark.parametrize("stitch", ["residual", "last_layer"])
def test_the_network_is_frozen_and_stays_as_it_was(stitch):
    network = convolutional().train()
    network[0].weight.requires_grad_(False)
    before, flags = digest(network), [parameter.requires_grad for parameter in network.parameters()]
    X, y, group = pictures()
    fitted = stitched(network, stitch=stitch, split="3", max_epochs=3).fit(X, y, sensitive_features=group)
    fitted.predict(X)
    assert digest(network) == before
    assert [parameter.requires_grad for parameter in network.parameters()] == flags
    assert network.training
    assert fitted.network_ is not network
    assert digest(fitted.network_) == before
    # The parts are the network's, the running statistics of its normalisation included, and nothing learns on.
    for name, value in network.state_dict().items():
        if stitch == "residual" and int(name.split(".")[0]) <= 3:
            part = fitted.extractor_.state_dict()[f"network.{name}"]
            assert torch.equal(part, value)
    for part in (fitted.network_, fitted.extractor_, fitted.head_, fitted.stitch_):
        assert not any(parameter.requires_grad for parameter in part.parameters())


def test_a_frozen_estimator_stays_through_clone_and_search(unfair, rows):
    X, y, group = rows
    fitted = clone(stitched(unfair)).fit(X, y, sensitive_features=group)
    np.testing.assert_array_equal(fitted.network_.linear.weight.numpy(), unfair.coef_)
    refitted = stitched(LogisticRegression(C=0.01)).fit(X, y, sensitive_features=group)
    assert np.abs(refitted.network_.linear.weight.numpy() - unfair.coef_).max() > 0.01


# ---------------------------------------------------------------- what training does


def test_it_is_fairer_on_new_rows_and_the_network_is_not(fair, unfair, rows, new_rows):
    X, y, group = new_rows
    before, after = (
        equalized_odds_difference(y, model.predict(X), sensitive_features=group) for model in (unfair, fair)
    )
    assert before > 0.25
    assert after < before / 2
    assert balanced_accuracy_score(y, fair.predict(X)) > balanced_accuracy_score(y, unfair.predict(X)) - 0.07
    # Not by training on: without the penalty, and without groups of equal size, it stays unfair.
    plain = stitched(unfair, fairness_strength=0, balanced=False, max_epochs="auto").fit(
        *rows[:2], sensitive_features=rows[2]
    )
    assert equalized_odds_difference(y, plain.predict(X), sensitive_features=group) > 0.25


GAPS = {
    "equalized_odds": lambda y, p, g: equalized_odds_difference(y, p > 0.5, sensitive_features=g),
    "true_positive_rate_parity": lambda y, p, g: abs(np.diff([(p > 0.5)[(g == k) & (y == 1)].mean() for k in "fm"])[0]),
    "demographic_parity": lambda y, p, g: demographic_parity_difference(y, p > 0.5, sensitive_features=g),
    "accuracy_equality": lambda y, p, g: abs(np.diff([nll(y, p)[g == k].mean() for k in "fm"])[0]),
    # What is left of it at best is chance in every cell.
    "max_min": lambda y, p, g: max(nll(y, p)[(g == k) & (y == c)].mean() for k in "fm" for c in (0, 1)) - np.log(2),
}


def nll(y, p):
    return -np.log(np.where(y == 1, p, 1 - p))


@pytest.fixture(scope="module")
def uneven():
    """Rows whose label is harder to tell in one group."""
    rng = np.random.RandomState(3)
    X, y, group = biased(3000, seed=3)
    X[:, 0] += 2 * y + np.where(group == "f", 3 * rng.normal(size=len(y)), 0)
    return X, y, group


@pytest.mark.parametrize("constraint", sorted(set(CONSTRAINTS.values())))
def test_every_constraint_lowers_its_own_gap_on_new_rows(uneven, constraint):
    X, y, group = (part[:1500] for part in uneven)
    network = FrozenEstimator(MLPClassifier((16,), max_iter=100, random_state=0, early_stopping=True).fit(X, y))
    params = {"constraints": constraint, "balanced": False, "max_epochs": 80, "split": "hidden_0"}
    new_X, new_y, new_group = (part[1500:] for part in uneven)
    found = []
    for strength in (0, 3):
        model = stitched(network, fairness_strength=strength, **params).fit(X, y, sensitive_features=group)
        found.append(GAPS[constraint](new_y, model.predict_proba(new_X)[:, 1], new_group))
    assert found[1] < 0.7 * found[0]


def test_a_residual_stitch_can_what_a_linear_one_cannot():
    """The group is told by the product of two features, which no affine map before a linear head can take away."""
    rng = np.random.RandomState(0)
    n = 4000
    signs = rng.choice([-1, 1], size=(n, 2))
    group = np.where(signs.prod(1) > 0, "f", "m")
    y = (rng.normal(size=n) > 0).astype(int)
    # The label's feature is shifted by the group: a threshold on it is unfair, and only the signs can put it right.
    feature = (2 * y - 1) + 1.2 * signs.prod(1) + 0.7 * rng.normal(size=n)
    X = np.column_stack([feature, signs + 0.2 * rng.normal(size=(n, 2))])
    half = n // 2
    network = FrozenEstimator(LogisticRegression().fit(X[:half], y[:half]))
    found = {}
    for kind in ("linear", "last_layer", "residual"):
        model = stitched(network, stitch=kind, max_epochs="auto", fairness_strength=2)
        model.fit(X[:half], y[:half], sensitive_features=group[:half])
        told = model.predict(X[half:])
        found[kind] = (
            balanced_accuracy_score(y[half:], told),
            equalized_odds_difference(y[half:], told, sensitive_features=group[half:]),
        )
    assert found["residual"][0] > 0.85
    assert found["residual"][1] < 0.1
    for kind in ("linear", "last_layer"):
        assert found[kind][0] < 0.8 or found[kind][1] > 0.3


def test_several_attributes_groups_and_classes():
    X, y, group = biased(1500)
    three = np.select([X[:, 2] > 0.7, X[:, 2] > -0.5], ["u", "v"], "w").astype(object)
    three[::50] = None
    labels = np.array(["no", "maybe", "yes"])[y + (X[:, 0] > 2)]
    frame = pd.DataFrame({"sex": group, "ward": three})
    with pytest.warns(UserWarning, match="30 of 1500 rows have no value of 'ward'"):
        fitted = stitched(max_epochs=10).fit(X, labels, sensitive_features=frame)
    assert fitted.classes_.tolist() == ["maybe", "no", "yes"]
    assert fitted.predict_proba(X).shape == fitted.decision_function(X).shape == (1500, 3)
    assert set(fitted.predict(X)) <= {"maybe", "no", "yes"}
    # Between three classes the gaps are still measured: with the penalty they are smaller.
    plain = clone(fitted).set_params(fairness_strength=0)
    with pytest.warns(UserWarning, match="have no value"):
        plain.fit(X, labels, sensitive_features=frame)
    assert fitted.split_scores_["disparity"].min() < plain.split_scores_["disparity"].min()


# ---------------------------------------------------------------- where


def test_every_layer_is_tried_and_the_best_on_held_out_rows_is_kept():
    X, y, group = pictures(300)
    fitted = stitched(convolutional(), max_epochs=10).fit(X, y, sensitive_features=group)
    table = fitted.split_scores_
    assert table.index.tolist() == ["0", "1", "2", "3", "4", "5", "6"]
    assert fitted.split_ == table["objective"].idxmin()
    assert table["n_features"].tolist() == [256, 256, 256, 64, 12, 12, 12]
    np.testing.assert_allclose(table["objective"], table["nll"] + table["disparity"])
    assert table["balanced_accuracy"].between(0, 1).all()
    alone = stitched(convolutional(), max_epochs=10, split=fitted.split_).fit(X, y, sensitive_features=group)
    np.testing.assert_array_equal(alone.predict_proba(X), fitted.predict_proba(X))
    assert fitted.improved_on_start_
    assert min(epoch["valid_loss"] for epoch in fitted.history_) == pytest.approx(table["objective"].min(), rel=1e-5)


def test_wide_layers_are_left_out_unless_named(monkeypatch):
    monkeypatch.setattr("sklearn_fairlatent.stitching._layers.MOST_FEATURES", 100)
    X, y, group = pictures()
    fitted = stitched(convolutional(), max_epochs=1).fit(X, y, sensitive_features=group)
    assert fitted.split_scores_.index.tolist() == ["3", "4", "5", "6"]
    assert stitched(convolutional(), max_epochs=1, split="0").fit(X, y, sensitive_features=group).split_ == "0"
    monkeypatch.setattr("sklearn_fairlatent.stitching._layers.MOST_FEATURES", 3)
    with pytest.raises(ValueError, match="no layer can be stitched after .*split='0': more than 3 values a row"):
        stitched(convolutional(), max_epochs=1).fit(X, y, sensitive_features=group)


def test_a_stitch_on_maps_does_the_same_at_every_position():
    features = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    stitch = seeded(lambda: Stitch(features, 8, axis=1))
    nn.init.normal_(stitch.outer.weight)
    whole = stitch(features)
    assert whole.shape == features.shape
    torch.testing.assert_close(stitch(features[:, :, 1:3, 2:]), whole[:, :, 1:3, 2:])
    tokens = features.flatten(2).transpose(1, 2)
    of_tokens = seeded(lambda: Stitch(tokens, 8))
    of_tokens.load_state_dict(stitch.state_dict())
    torch.testing.assert_close(of_tokens(tokens), whole.flatten(2).transpose(1, 2))


def test_dead_units_do_not_blow_up():
    features = torch.cat([torch.randn(50, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(50, 1)], dim=1)
    stitch = seeded(lambda: Stitch(features, 4))
    assert torch.isfinite(stitch(features)).all()
    assert torch.isfinite(stitch(features + 1e-6)).all()
    assert torch.isfinite(Stitch(torch.zeros(5, 3), None)(torch.ones(5, 3))).all()


class Shift(nn.Module):
    """A stitch of the user's own."""

    def __init__(self, width):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, features):
        return features + self.shift


def test_a_stitch_of_ones_own(unfair, rows):
    X, y, group = rows
    own = Shift(3)
    fitted = stitched(unfair, stitch=own).fit(X, y, sensitive_features=group)
    assert torch.equal(own.shift, torch.zeros(3))
    assert fitted.improved_on_start_
    assert fitted.stitch_.shift.abs().max() > 0
    with pytest.raises(ValueError, match=r"stitch=Linear gives shape \(1, 5\) for features of shape \(1, 3\)"):
        stitched(unfair, stitch=nn.Linear(3, 5)).fit(X, y, sensitive_features=group)


# ---------------------------------------------------------------- to deploy


@pytest.mark.parametrize("kind", ["residual", "linear", "last_layer"])
def test_the_stitched_network_is_a_plain_module(kind):
    X, y, group = pictures()
    fitted = stitched(convolutional(), stitch=kind, split="3", max_epochs=3).fit(X, y, sensitive_features=group)
    network = fitted.stitched_network()
    assert type(network) is nn.Sequential
    assert not network.training
    logits = outputs(pickle.loads(pickle.dumps(network)), X)
    np.testing.assert_allclose(torch.softmax(torch.as_tensor(logits), 1), fitted.predict_proba(X), rtol=0, atol=1e-6)
    before = fitted.predict_proba(X)
    nn.init.zeros_(next(network.parameters()))
    np.testing.assert_array_equal(fitted.predict_proba(X), before)


def test_it_gives_what_the_network_gave(rows):
    X, y, group = rows
    one = mlp(n_outputs=1)
    fitted = stitched(nn.Sequential(one, nn.Sigmoid()), split="0.0").fit(X, y, sensitive_features=group)
    given = outputs(fitted.stitched_network(), X)
    assert given.shape == (len(X), 1)
    np.testing.assert_allclose(given[:, 0], fitted.predict_proba(X)[:, 1], rtol=0, atol=1e-6)
    np.testing.assert_allclose(outputs(fitted.network_, X)[:, 0], 1 / (1 + np.exp(-outputs(one, X)[:, 0])), atol=1e-6)


def test_two_parts_instead_of_a_network(rows):
    X, y, group = rows
    whole = mlp()
    parts = {"extractor": whole[:2], "head": whole[2:]}
    fitted = stitched(**parts).fit(X, y, sensitive_features=group)
    assert fitted.split_ == "extractor"
    same = stitched(whole, split="1").fit(X, y, sensitive_features=group)
    np.testing.assert_allclose(fitted.predict_proba(X), same.predict_proba(X), rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        outputs(fitted.stitched_network(), X), outputs(same.stitched_network(), X), rtol=0, atol=1e-5
    )
    last = stitched(**parts, stitch="last_layer").fit(X, y, sensitive_features=group)
    assert last.split_ == "head.5"
