"""Tests of FairLatentTransformer: what is fair, what is kept, what is exact, what fit reports."""

import re
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from sklearn_fairlatent import (
    FairLatentTransformer,
    LabelLostWarning,
    MissingSensitiveWarning,
    PenaltyIneffectiveWarning,
)
from sklearn_fairlatent.datasets import make_biased_latents

N_TRAIN = 800

# A fit of few steps may well leave the attribute readable; where that is not the topic, the warning is noise.
SHORT_FIT = pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning")


def _halves(n_samples=1600, **kwargs):
    data = make_biased_latents(n_samples, **{"random_state": 0, **kwargs})
    X, y, A = data.data, data.target, data.sensitive_features
    train, test = slice(0, N_TRAIN), slice(N_TRAIN, None)
    return (X[train], y[train], A[train]), (X[test], y[test], A[test].reset_index(drop=True))


def _strongest_auc(Z, s, train, test):
    """Highest held-out AUC of three probes that are shown ``Z`` and asked for ``s``."""
    probes = [
        make_pipeline(StandardScaler(), LogisticRegression()),
        make_pipeline(StandardScaler(), MLPClassifier((16,), early_stopping=True, random_state=0)),
        HistGradientBoostingClassifier(max_iter=30, max_leaf_nodes=8, random_state=0),
    ]
    aucs = [roc_auc_score(s[test], probe.fit(Z[train], s[train]).predict_proba(Z[test])[:, 1]) for probe in probes]
    return max(max(auc, 1 - auc) for auc in aucs)


def _leakage(Z, s, within=None):
    """Strongest AUC for ``s`` on the second half of the rows, all of them or those in ``within``."""
    rows = np.flatnonzero(np.ones(len(s), dtype=bool) if within is None else within)
    return _strongest_auc(Z, np.asarray(s), rows[: len(rows) // 2], rows[len(rows) // 2 :])


def _label_auc(Z_train, y_train, Z_test, y_test):
    probe = make_pipeline(StandardScaler(), LogisticRegression()).fit(Z_train, y_train)
    return roc_auc_score(y_test, probe.predict_proba(Z_test)[:, 1])


@pytest.fixture(scope="module")
def binary():
    return _halves()


@pytest.fixture(scope="module")
def fitted(binary):
    (X, y, A), _ = binary
    return FairLatentTransformer(random_state=0).fit(X, y, sensitive_features=A)


# ---------------------------------------------------------------- fairness


@pytest.mark.parametrize(
    ("label", "bounds"), [("noise", (0.6, 0.7)), ("sex", (0.4, 0.6)), ("copy", (3.1, 3.2)), (None, (1, 1))]
)
def test_the_penalty_is_worth_what_X_tells_of_the_label_and_by_it_of_the_attribute(label, bounds):
    rng = np.random.RandomState(0)
    X, sex = rng.standard_normal((300, 5)), rng.randint(0, 2, 300)
    X[:, 1] += 10 * sex
    y = {"noise": rng.randint(0, 2, 300), "sex": sex, "copy": (X[:, 0] > 0).astype(int), None: None}[label]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fair = FairLatentTransformer(max_epochs=1, random_state=0).fit(X, y, sensitive_features=sex)
    assert bounds[0] <= fair._exchange_rate <= bounds[1]


def test_the_attribute_leaks_from_X_and_hardly_from_what_is_handed_on(binary, fitted):
    (X, y, _), (X_test, y_test, A_test) = binary
    s = A_test["group"].to_numpy()
    assert _leakage(X_test, s) > 0.85
    Z_test = fitted.transform(X_test)
    assert Z_test.shape == (len(X_test), 1)
    assert _leakage(Z_test, s) < 0.62
    kept = _label_auc(fitted.transform(X), y, Z_test, y_test)
    assert kept > 0.85
    assert kept > _label_auc(X, y, X_test, y_test) - 0.08
    assert not fitted.label_lost_
    assert not fitted.penalty_ineffective_
    assert not fitted.trained_without_sensitive_
    assert fitted.improved_on_start_
    assert fitted.classes_.tolist() == [0, 1]


def test_without_the_penalty_the_label_column_leaks(binary, fitted):
    (X, y, A), (X_test, _, A_test) = binary
    unfair = FairLatentTransformer(fairness_strength=0, max_epochs=20, random_state=0).fit(X, y, sensitive_features=A)
    s = A_test["group"].to_numpy()
    assert not unfair.penalty_ineffective_  # there is none
    unfair_leak, fair_leak = (_leakage(model.transform(X_test), s) for model in (unfair, fitted))
    assert unfair_leak > 0.63
    assert unfair_leak > fair_leak + 0.05


@pytest.mark.parametrize("n_components", [None, 4])
def test_a_wider_hand_on_leaks_less_than_X_as_well(binary, n_components):
    (X, y, A), (X_test, y_test, A_test) = binary
    fair = FairLatentTransformer(n_components, random_state=0).fit(X, y, sensitive_features=A)
    Z, Z_test = fair.transform(X), fair.transform(X_test)
    width = {None: X.shape[1] - 1, 4: 4}[n_components]
    assert Z.shape[1] == width == len(fair.get_feature_names_out())
    s = A_test["group"].to_numpy()
    assert _leakage(X_test, s) > 0.85
    assert _leakage(Z_test, s) < 0.78
    assert _label_auc(Z, y, Z_test, y_test) > 0.85


@pytest.fixture(scope="module")
def tied():
    """Label and attribute so strongly tied that parity overall and parity within labels exclude each other."""
    return _halves(2400, correlation=0.8, random_state=1)


@pytest.fixture(scope="module")
def constrained(tied):
    (X, y, A), _ = tied
    return {
        constraint: FairLatentTransformer(constraints=constraint, max_epochs=20, random_state=0).fit(
            X, y, sensitive_features=A
        )
        for constraint in ("demographic_parity", "equalized_odds", "true_positive_rate_parity")
    }


def test_equalized_odds_lowers_the_leakage_within_each_label(tied, constrained):
    _, (X, y, A) = tied
    s = A["group"].to_numpy()
    Z = constrained["equalized_odds"].transform(X)
    for label in (0, 1):
        before = _leakage(X, s, within=y == label)
        assert before > 0.75
        assert _leakage(Z, s, within=y == label) < min(0.66, before - 0.12)
    # It keeps what the label itself tells about the group; demographic parity does not.
    assert _leakage(Z, s) > _leakage(constrained["demographic_parity"].transform(X), s) + 0.05


def test_true_positive_rate_parity_lowers_the_leakage_among_the_favoured(tied, constrained):
    _, (X, y, A) = tied
    s = A["group"].to_numpy()
    Z = constrained["true_positive_rate_parity"].transform(X)
    before = _leakage(X, s, within=y == 1)
    assert before > 0.75
    assert _leakage(Z, s, within=y == 1) < min(0.66, before - 0.12)


@SHORT_FIT
def test_equal_opportunity_is_an_alias_and_pos_label_chooses_the_label(binary):
    (X, y, A), _ = binary
    params = {"max_epochs": 2, "random_state": 0}
    words = np.where(y == 1, "no", "yes")

    def latent(label, **kwargs):
        fair = FairLatentTransformer(**params, **kwargs)
        return fair.fit(X, label, sensitive_features=A).transform(X)

    tpr = latent(y, constraints="true_positive_rate_parity")
    np.testing.assert_array_equal(latent(y, constraints="equal_opportunity"), tpr)
    np.testing.assert_array_equal(latent(y, constraints="equal_opportunity", pos_label=1), tpr)
    assert not np.array_equal(latent(y, constraints="equal_opportunity", pos_label=0), tpr)
    # "no" sorts before "yes", as 0 before 1: the same as pos_label=1 of the flipped label.
    np.testing.assert_array_equal(
        latent(words, constraints="equal_opportunity", pos_label="yes"),
        latent(1 - y, constraints="equal_opportunity"),
    )


# ---------------------------------------------------------------- kinds of labels and attributes


def test_many_classes():
    (X, y, A), (X_test, y_test, A_test) = _halves(task="multiclass")
    fair = FairLatentTransformer(max_epochs=20, random_state=0).fit(X, y, sensitive_features=A)
    Z, Z_test = fair.transform(X), fair.transform(X_test)
    assert Z.shape[1] == 2
    assert fair.classes_.tolist() == [0, 1, 2]
    s = A_test["group"].to_numpy()
    assert _leakage(X_test, s) > 0.8
    assert _leakage(Z_test, s) < 0.66
    assert LogisticRegression().fit(Z, y).score(Z_test, y_test) > 0.55  # a third by chance


def test_a_continuous_label():
    (X, y, A), (X_test, y_test, A_test) = _halves(task="regression")
    fair = FairLatentTransformer(max_epochs=20, random_state=0).fit(X, y, sensitive_features=A)
    Z, Z_test = fair.transform(X), fair.transform(X_test)
    assert Z.shape[1] == 1
    assert not hasattr(fair, "classes_")
    s = A_test["group"].to_numpy()
    assert _leakage(X_test, s) > 0.85
    assert _leakage(Z_test, s) < 0.64
    assert r2_score(y_test, LinearRegression().fit(Z, y).predict(Z_test)) > 0.3
    assert fair.history_[-1]["validation_utility"] <= 1


@SHORT_FIT
def test_a_continuous_label_with_equalized_odds_and_a_whole_number_one(binary):
    (X, y, A), _ = binary
    whole = FairLatentTransformer(task="regression", max_epochs=2, random_state=0)
    whole.fit(X, np.round(3 * X[:, 0]).astype(int), sensitive_features=A)
    assert not hasattr(whole, "classes_")
    bins = FairLatentTransformer(constraints="equalized_odds", max_epochs=2, random_state=0)
    bins.fit(X, X[:, 0], sensitive_features=A)
    assert bins.transform(X).shape == (len(X), 1)


def test_without_a_label_the_sensitive_information_is_sorted_out(binary):
    (X, _, A), (X_test, _, A_test) = binary
    fair = FairLatentTransformer(max_epochs=20, random_state=0).fit(X, sensitive_features=A)
    layout = fair.latent_layout_
    assert layout.target is None
    assert layout.n_target == 0
    Z_test = fair.transform(X_test)
    assert Z_test.shape[1] == X.shape[1] - 1
    s = A_test["group"].to_numpy()
    before = _leakage(X_test, s)
    assert before > 0.85
    assert _leakage(Z_test, s) < before - 0.1
    assert "validation_utility" not in fair.history_[-1]
    assert not fair.label_lost_


def test_several_attributes_of_several_kinds():
    (X, y, A), (X_test, y_test, A_test) = _halves(sensitive=("binary", "categorical", "continuous"))
    assert A.columns.tolist() == ["group", "category", "level"]
    fair = FairLatentTransformer(max_epochs=20, random_state=0).fit(X, y, sensitive_features=A)
    layout = fair.latent_layout_
    assert [layout.width(name) for name in A.columns] == [1, 2, 1]
    Z_test = fair.transform(X_test)
    memberships = {
        "group": A_test["group"] == 1,
        "category": A_test["category"] == "c",
        "level": A_test["level"] > 0,
    }
    for name, inside in memberships.items():
        before = _leakage(X_test, inside.to_numpy())
        assert before > 0.75, name
        assert _leakage(Z_test, inside.to_numpy()) < min(0.66, before - 0.1), name
    assert _label_auc(fair.transform(X), y, Z_test, y_test) > 0.75


@SHORT_FIT
def test_names_of_attributes_and_label(binary):
    (X, y, A), _ = binary
    s = A["group"].to_numpy()
    fair = FairLatentTransformer(max_epochs=1, random_state=0)

    def names(y, A):
        layout = clone(fair).fit(X, y, sensitive_features=A).latent_layout_
        return layout.target, layout.sensitive

    assert names(y, s) == ("target", ("sensitive_feature_0",))
    assert names(pd.Series(y, name="income"), A["group"]) == ("income", ("group",))
    assert names(y, np.column_stack([s, s[::-1]])) == ("target", ("sensitive_feature_0", "sensitive_feature_1"))
    assert names(y, {"sex": s.tolist()}) == ("target", ("sex",))
    assert names(y, s.tolist()) == ("target", ("sensitive_feature_0",))


@SHORT_FIT
def test_whole_numbers_can_be_declared_a_quantity(binary):
    (X, y, _), _ = binary
    age = np.round(40 + 10 * X[:, 0])
    fair = FairLatentTransformer(continuous_features=["age"], max_epochs=1, random_state=0)
    layout = fair.fit(X, y, sensitive_features=pd.DataFrame({"age": age})).latent_layout_
    assert layout.width("age") == 1


def test_missing_values_of_an_attribute_are_counted_and_do_no_harm(binary):
    (X, y, A), (X_test, y_test, A_test) = binary
    gaps = A["group"].astype(object).mask(np.arange(len(A)) % 4 == 0)
    fair = FairLatentTransformer(max_epochs=20, random_state=0)
    with pytest.warns(UserWarning, match=r"200 of 800 rows have no value of 'group'"):
        fair.fit(X, y, sensitive_features=gaps)
    s = A_test["group"].to_numpy()
    Z_test = fair.transform(X_test)
    assert np.isfinite(Z_test).all()
    assert _leakage(X_test, s) > 0.85
    assert _leakage(Z_test, s) < 0.64
    assert _label_auc(fair.transform(X), y, Z_test, y_test) > 0.85


# ---------------------------------------------------------------- what fit reports


def test_history_has_every_term_of_every_epoch(fitted, binary):
    terms = ["loss", "label_loss", "dependence", "likelihood", "adversary_loss"]
    expected = {f"{part}_{term}" for part in ("train", "valid") for term in terms}
    expected |= {"validation_utility", "adversary_auc"}
    assert len(fitted.history_) == fitted.n_iter_ >= 4
    for epoch in fitted.history_:
        assert expected <= set(epoch)
        assert all(np.isfinite(epoch[name]) for name in expected)
        assert 0.5 <= epoch["adversary_auc"] <= 1
        assert 0 <= epoch["validation_utility"] <= 1
    assert fitted.history_[-1]["train_label_loss"] < np.log(2)
    assert fitted.history_[-1]["validation_utility"] > 0.8


@SHORT_FIT
def test_without_attributes_a_warning_and_a_flag(binary):
    (X, y, _), _ = binary
    plain = FairLatentTransformer(max_epochs=2, random_state=0)
    with pytest.warns(MissingSensitiveWarning, match="sensitive_features="):
        plain.fit(X, y)
    assert plain.trained_without_sensitive_
    assert plain.latent_layout_.n_sensitive == 0
    assert "adversary_auc" not in plain.history_[-1]
    with pytest.raises(ValueError, match="sensitive_columns"):
        clone(plain).set_params(on_missing_sensitive="raise").fit(X, y)


def test_a_lost_label_is_flagged(binary):
    (X, _, A), _ = binary
    noise = np.random.RandomState(0).randint(2, size=len(X))
    lost = FairLatentTransformer(max_epochs=20, random_state=0)
    with pytest.warns(LabelLostWarning, match="fairness_strength"):
        lost.fit(X, noise, sensitive_features=A)
    assert lost.label_lost_


def test_a_label_told_mostly_by_the_attribute_is_flagged():
    rng = np.random.RandomState(0)
    group, talent = rng.randint(2, size=6000), rng.standard_normal(6000)
    X = np.column_stack([group + 0.2 * rng.standard_normal(6000), talent, rng.standard_normal((6000, 2))])
    y = (6 * (group - 0.5) + 0.7 * talent + rng.logistic(size=6000) > 0).astype(int)
    fair = FairLatentTransformer(max_epochs=20, random_state=0)
    with pytest.warns(LabelLostWarning, match="the best was"):
        fair.fit(X, y, sensitive_features=group)
    assert fair.label_lost_
    # Negative control: the same rows without the penalty.
    fair.set_params(fairness_strength=0, max_epochs=4).fit(X, y, sensitive_features=group)
    assert not fair.label_lost_


def test_a_penalty_without_effect_is_flagged(binary):
    (X, y, A), _ = binary
    weak = FairLatentTransformer(None, fairness_strength=1e-6, max_epochs=10, random_state=0)
    with pytest.warns(PenaltyIneffectiveWarning, match="Raise fairness_strength"):
        weak.fit(X, y, sensitive_features=A)
    assert weak.penalty_ineffective_


@SHORT_FIT
def test_early_stopping_ends_training_and_keeps_a_good_map(binary):
    (X, y, A), (X_test, y_test, _) = binary
    stopped = FairLatentTransformer(early_stopping=True, max_epochs=100, lr=3e-2, random_state=0)
    stopped.fit(X[:300], y[:300], sensitive_features=A[:300])
    assert stopped.n_iter_ == len(stopped.history_) < 100
    Z, Z_test = stopped.transform(X), stopped.transform(X_test)
    assert _label_auc(Z, y, Z_test, y_test) > 0.7


@SHORT_FIT
def test_verbose_1_prints_a_line_an_epoch(binary, capfd):
    (X, y, A), _ = binary
    FairLatentTransformer(max_epochs=3, verbose=1, random_state=0).fit(X, y, sensitive_features=A)
    lines = capfd.readouterr().out.splitlines()
    assert sum(bool(re.match(r"\s*\d+\s", line)) for line in lines) == 3
    assert any("validation_utility" in line for line in lines)


@SHORT_FIT
def test_verbose_2_shows_a_progress_bar_and_0_nothing(binary, capfd):
    (X, y, A), _ = binary
    fair = FairLatentTransformer(max_epochs=2, verbose=2, random_state=0)
    fair.fit(X, y, sensitive_features=A)
    shown = capfd.readouterr()
    assert "it/s" in shown.out + shown.err
    fair.set_params(verbose=0).fit(X, y, sensitive_features=A)
    shown = capfd.readouterr()
    assert shown.out + shown.err == ""


# ---------------------------------------------------------------- knobs


class Upscale(torch.nn.Module):
    """The smallest invertible module that learns: one positive factor a column."""

    def __init__(self, n_features):
        super().__init__()
        self.log_scale = torch.nn.Parameter(torch.zeros(n_features))

    def forward(self, w):
        return w * self.log_scale.exp(), self.log_scale.sum().expand(len(w))

    def inverse(self, z):
        return z / self.log_scale.exp()


class ForwardOnly(torch.nn.Module):
    def __init__(self, n_features):
        super().__init__()

    def forward(self, w):
        return w, w.new_zeros(len(w))


@SHORT_FIT
def test_another_invertible_module(binary):
    (X, y, A), (X_test, y_test, A_test) = binary
    fair = FairLatentTransformer(module=Upscale, random_state=0).fit(X, y, sensitive_features=A)
    assert isinstance(fair.flow_.core, Upscale)
    np.testing.assert_allclose(fair.from_latent(fair.to_latent(X_test)), X_test, rtol=0, atol=1e-10)
    # The linear map in front alone makes the label's column uncorrelated with the group.
    s = A_test["group"].to_numpy()
    Z_test = fair.transform(X_test)
    assert abs(np.corrcoef(X @ np.linalg.lstsq(X, A["group"], rcond=None)[0], A["group"])[0, 1]) > 0.5
    assert abs(np.corrcoef(Z_test[:, 0], s)[0, 1]) < 0.15
    assert _label_auc(fair.transform(X), y, Z_test, y_test) > 0.75
    with pytest.raises(ValueError, match=r"module=ForwardOnly.*inverse"):
        FairLatentTransformer(module=ForwardOnly).fit(X, y, sensitive_features=A)


class CountEpochs(Callback):
    n_epochs = 0

    def on_epoch_end(self, net, **kwargs):
        type(self).n_epochs += 1
        assert net.optimizer_.param_groups[0]["weight_decay"] == 0.25


@SHORT_FIT
def test_net_params_reach_skorch(binary):
    (X, y, A), _ = binary
    CountEpochs.n_epochs = 0
    extra = {"callbacks": [("count", CountEpochs())], "optimizer__weight_decay": 0.25}
    params = {"max_epochs": 3, "random_state": 0}
    fair = FairLatentTransformer(net_params=extra, **params).fit(X, y, sensitive_features=A)
    assert CountEpochs.n_epochs == 3
    assert extra == {"callbacks": extra["callbacks"], "optimizer__weight_decay": 0.25}
    assert len(extra["callbacks"]) == 1
    plain = FairLatentTransformer(**params).fit(X, y, sensitive_features=A)
    assert not np.array_equal(fair.transform(X), plain.transform(X))


@SHORT_FIT
@pytest.mark.parametrize(
    "params",
    [{"n_layers": 1}, {"hidden_size": 8}, {"lr": 1e-2}, {"batch_size": 64}, {"validation_fraction": 0.3}],
    ids=str,
)
def test_each_training_knob_changes_the_latent(binary, params):
    (X, y, A), _ = binary
    # Enough epochs to beat the linear start: both fits would keep that, and be equal, otherwise.
    latents = [
        FairLatentTransformer(max_epochs=10, random_state=0, **extra).fit(X, y, sensitive_features=A).to_latent(X)
        for extra in ({}, params)
    ]
    assert not np.allclose(*latents)


@SHORT_FIT
@pytest.mark.parametrize("n_layers", [0, 1, 3])
def test_no_or_few_couplings_are_exact_too(binary, n_layers):
    (X, y, A), _ = binary
    fair = FairLatentTransformer(n_layers=n_layers, max_epochs=2, random_state=0)
    fair.fit(X, y, sensitive_features=A)
    np.testing.assert_allclose(fair.from_latent(fair.to_latent(X)), X, rtol=0, atol=1e-10)


# ---------------------------------------------------------------- exactness


def _awkward(n_samples=600):
    """Columns on very different scales; constant, collinear and rare one-hot ones among them."""
    data = make_biased_latents(n_samples, n_features=8, random_state=3)
    rng = np.random.RandomState(0)
    X = np.column_stack(
        [
            data.data,
            np.full(n_samples, 7.25),
            np.zeros(n_samples),
            data.data[:, 0] - 2 * data.data[:, 1],
            1e4 * data.data[:, 2] + 1e5,
            data.data[:, 3],
            np.eye(40)[np.r_[np.arange(40), rng.randint(3, size=n_samples - 40)]],  # most have a single row
        ]
    )
    return X, data.target, data.sensitive_features


def _relative_error(X_back, X):
    return np.abs(X_back - X).max(axis=0) / np.maximum(np.abs(X).max(axis=0), 1e-300)


@pytest.fixture(scope="module", params=["auto", 5, None])
def awkward(request):
    X, y, A = _awkward()
    fair = FairLatentTransformer(request.param, max_epochs=10, random_state=0)
    with warnings.catch_warnings():
        # What so short a fit learns is not the matter here: the map is.
        warnings.simplefilter("ignore", PenaltyIneffectiveWarning)
        warnings.simplefilter("ignore", LabelLostWarning)
        return fair.fit(X, y, sensitive_features=A), X


def test_the_whole_latent_goes_there_and_back_on_all_columns(awkward):
    fair, X = awkward
    L = fair.to_latent(X)
    assert L.shape == X.shape
    assert L.dtype == np.float64
    back = fair.from_latent(L)
    np.testing.assert_array_less(np.abs(back[:, 9]), 1e-8)  # the column of zeros has no scale of its own
    assert np.delete(_relative_error(back, X), 9).max() <= 1e-8
    scale = np.abs(L).max(axis=0)
    assert (np.abs(fair.to_latent(back) - L).max(axis=0) <= 1e-8 * scale).all()


def test_latents_off_the_data_go_there_and_back(awkward):
    fair, X = awkward
    L = np.random.RandomState(0).normal(size=X.shape) * np.median(np.abs(fair.to_latent(X)), axis=0)
    np.testing.assert_allclose(fair.to_latent(fair.from_latent(L)), L, rtol=1e-7, atol=1e-7)


def test_transform_hands_on_its_columns_of_the_whole_latent(awkward):
    fair, X = awkward
    L, columns = fair.to_latent(X), fair.latent_layout_.handed_on
    np.testing.assert_allclose(fair.transform(X), L[:, columns], rtol=0, atol=1e-10)
    sensitive = np.arange(X.shape[1])[fair.latent_layout_["group"]]
    assert not set(columns) & set(sensitive)


def test_inverse_transform_hands_on_the_same_and_is_neutral_otherwise(awkward):
    fair, X = awkward
    Z = fair.transform(X)
    X_fair = fair.inverse_transform(Z)
    assert X_fair.shape == X.shape
    np.testing.assert_allclose(fair.transform(X_fair), Z, rtol=1e-7, atol=1e-7)
    L = fair.to_latent(X_fair)
    others = np.setdiff1d(np.arange(X.shape[1]), fair.latent_layout_.handed_on)
    np.testing.assert_allclose(L[:, others], np.tile(L[0, others], (len(L), 1)), atol=1e-6)
    assert not np.allclose(fair.to_latent(X)[:, others].std(axis=0), 0)


def test_output_dtype_follows_the_input(fitted, binary):
    _, (X, _, A) = binary
    single = X.astype(np.float32)
    for method in (fitted.transform, fitted.to_latent):
        assert method(X).dtype == np.float64
        assert method(single).dtype == np.float32
        np.testing.assert_allclose(method(single), method(X), rtol=0, atol=1e-3)
        assert not np.array_equal(method(single), method(X).astype(np.float32))  # computed in float32
    L = fitted.to_latent(single)
    assert fitted.from_latent(L).dtype == np.float32
    np.testing.assert_allclose(fitted.from_latent(L), single, rtol=0, atol=1e-3)
    assert fitted.inverse_transform(fitted.transform(single)).dtype == np.float32
    moved = fitted.counterfactual(single, "group", sensitive_features=A)
    assert moved.dtype == np.float32
    np.testing.assert_allclose(moved, fitted.counterfactual(X, "group", sensitive_features=A), atol=1e-3)


@SHORT_FIT
def test_fit_on_float32_is_nearly_the_fit_on_float64(binary):
    (X, y, A), (X_test, _, _) = binary
    fair = FairLatentTransformer(max_epochs=2, random_state=0)
    double = clone(fair).fit(X, y, sensitive_features=A).transform(X_test)
    single = clone(fair).fit(X.astype(np.float32), y, sensitive_features=A).transform(X_test)
    assert np.corrcoef(single[:, 0], double[:, 0])[0, 1] > 0.99


@SHORT_FIT
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int32])
@pytest.mark.parametrize("sensitive_columns", [None, [1]])
def test_a_read_only_memory_map_gives_the_result_of_the_array(binary, tmp_path, dtype, sensitive_columns):
    (X, y, A), _ = binary
    X = 100 * X if dtype == np.int32 else X
    X = np.insert(X, 1, A["group"], axis=1).astype(dtype) if sensitive_columns else X.astype(dtype)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    given = None if sensitive_columns else A
    fair = FairLatentTransformer(sensitive_columns=sensitive_columns, max_epochs=2, random_state=0)
    in_memory = clone(fair).fit(X, y, sensitive_features=given)
    from_map = clone(fair).fit(mapped, y, sensitive_features=given)
    np.testing.assert_allclose(from_map.transform(mapped), in_memory.transform(X), rtol=1e-5, atol=1e-5)
    # The same model, the same rows: the same bits, wherever the rows lie.
    np.testing.assert_array_equal(from_map.transform(mapped), from_map.transform(X))
    np.testing.assert_array_equal(from_map.to_latent(mapped), from_map.to_latent(X))
    name = "x1" if sensitive_columns else "group"
    np.testing.assert_array_equal(
        from_map.counterfactual(mapped, name, sensitive_features=given),
        from_map.counterfactual(X, name, sensitive_features=given),
    )
    np.testing.assert_array_equal(np.load(tmp_path / "X.npy"), X)


@SHORT_FIT
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("sensitive_columns", [None, [0], [3]])
def test_transform_never_holds_a_memory_map_whole(binary, tmp_path, dtype, sensitive_columns):
    (X, y, A), _ = binary
    column = sensitive_columns[0] if sensitive_columns else 0
    X = np.insert(X, column, A["group"], axis=1).astype(dtype)
    given = None if sensitive_columns else A
    fair = FairLatentTransformer(sensitive_columns=sensitive_columns, max_epochs=1, random_state=0)
    fair.fit(X, y, sensitive_features=given)
    np.save(tmp_path / "X.npy", np.tile(X, (400, 1)))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    tracemalloc.start()  # numpy reports to it
    try:
        Z = fair.transform(mapped)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(Z[-len(X) :], fair.transform(X), rtol=0, atol=1e-5)
    assert Z.nbytes <= peak < mapped.nbytes / 2


@SHORT_FIT
def test_a_nan_in_a_memory_map_of_half_floats_is_found(binary, tmp_path):
    (X, y, A), _ = binary
    X = X.astype(np.float16)
    fair = FairLatentTransformer(max_epochs=1, random_state=0).fit(X, y, sensitive_features=A)
    X[-1, 3] = np.nan
    np.save(tmp_path / "X.npy", X)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        fair.transform(np.load(tmp_path / "X.npy", mmap_mode="r"))


def test_rows_do_not_depend_on_their_neighbours(fitted, binary):
    _, (X, _, _) = binary
    many = np.tile(X, (11, 1))  # more than one batch of rows
    Z = fitted.transform(many)
    np.testing.assert_allclose(Z, np.tile(fitted.transform(X), (11, 1)), rtol=0, atol=1e-12)
    np.testing.assert_allclose(fitted.transform(X[:1]), Z[:1], rtol=0, atol=1e-12)


# ---------------------------------------------------------------- encoders and decoders


@SHORT_FIT
def test_an_estimator_is_cloned_and_a_frozen_one_is_used_as_it_is(binary):
    (X, y, A), (X_test, _, _) = binary
    X, X_test = 3 * X + 5, 3 * X_test + 5
    scaler = StandardScaler()
    params = {"max_epochs": 2, "random_state": 0}
    fair = FairLatentTransformer(encoder=scaler, **params).fit(X, y, sensitive_features=A)
    assert not hasattr(scaler, "mean_")
    np.testing.assert_allclose(fair.from_latent(fair.to_latent(X_test)), X_test, rtol=0, atol=1e-9)
    fitted_before = StandardScaler().fit(X_test)
    frozen = FairLatentTransformer(encoder=FrozenEstimator(fitted_before), **params)
    frozen.fit(X, y, sensitive_features=A)
    assert frozen.encoding_.encoder.estimator is not scaler
    np.testing.assert_array_equal(frozen.encoding_.encode(X), fitted_before.transform(X))


@SHORT_FIT
def test_a_module_or_a_callable_as_encoder_with_and_without_a_decoder(binary):
    (X, y, A), _ = binary
    torch_encoder = torch.nn.Linear(X.shape[1], 6)
    before = torch_encoder.weight.detach().clone()
    params = {"max_epochs": 2, "random_state": 0}
    fair = FairLatentTransformer(encoder=torch_encoder, **params).fit(X, y, sensitive_features=A)
    assert torch.equal(torch_encoder.weight, before)
    assert fair.to_latent(X).shape == (len(X), 6)
    with pytest.raises(ValueError, match="decoder"):
        fair.inverse_transform(fair.transform(X))
    with pytest.raises(ValueError, match="decoder"):
        fair.counterfactual(X, "group", sensitive_features=A)

    doubled = FairLatentTransformer(encoder=_double, decoder=_halve, **params).fit(X, y, sensitive_features=A)
    np.testing.assert_allclose(doubled.from_latent(doubled.to_latent(X)), X, rtol=0, atol=1e-10)


def _double(X):
    return 2 * X


def _halve(E):
    return E / 2
