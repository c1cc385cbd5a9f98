"""FairStitchClassifier as scikit-learn's users expect it: input, errors, weights, seeds, pipelines, searches."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn

from sklearn_fairlatent import MissingSensitiveWarning, SmallGroupWarning
from sklearn_fairlatent.stitching import FairStitchClassifier

from .networks import biased, mlp, outputs, stitched

WEIGHTS = "rows are shuffled, held out and cut into batches: weights are not copies of rows, bit for bit"


# The checks fit without an attribute: the warning about that is right.
@pytest.mark.filterwarnings("ignore::sklearn_fairlatent.MissingSensitiveWarning")
@parametrize_with_checks(
    [
        FairStitchClassifier(LogisticRegression(), max_epochs=3),
        FairStitchClassifier(max_epochs=2, split="activation_0"),
    ],
    expected_failed_checks=lambda _: {"check_sample_weight_equivalence_on_dense_data": WEIGHTS},
)
def test_estimator_checks(estimator, check):
    check(estimator)


# ---------------------------------------------------------------- outputs


def test_probabilities_scores_and_labels_belong_together(fair, new_rows):
    X = new_rows[0]
    probabilities, scores = fair.predict_proba(X), fair.decision_function(X)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    np.testing.assert_allclose(probabilities[:, 1], 1 / (1 + np.exp(-scores)))
    np.testing.assert_array_equal(fair.predict(X), (scores > 0).astype(int))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fair)).predict_proba(X), probabilities)


def test_classes_of_a_module_are_told_or_those_of_y(rows):
    X, y, group = rows
    words = np.where(y == 1, "yes", "no")
    assert stitched(mlp()).fit(X, words, sensitive_features=group).classes_.tolist() == ["no", "yes"]
    sure = nn.Linear(3, 2)
    with torch.no_grad():
        sure.weight.copy_(torch.tensor([[1.0, 0, 0], [-1, 0, 0]]))
    told = stitched(sure, classes=["yes", "no"]).fit(X, words, sensitive_features=group)
    # As scikit-learn's scorers expect, sorted, whatever the order of the outputs.
    assert told.classes_.tolist() == ["no", "yes"]
    assert (told.predict(X) == words).mean() > 0.6
    assert roc_auc_score(words == "yes", told.predict_proba(X)[:, 1]) > 0.7
    assert outputs(told.stitched_network(), X).argmax(1).tolist() == (told.predict(X) == "no").astype(int).tolist()
    three = stitched(mlp(n_outputs=3), classes=[0, 1, 2]).fit(X, y, sensitive_features=group)
    assert three.predict_proba(X).shape == (len(X), 3)
    with pytest.raises(ValueError, match=r"y has the classes \['no', 'yes'\], the network \[0, 1\]"):
        stitched(mlp(), classes=[0, 1]).fit(X, words, sensitive_features=group)
    with pytest.raises(ValueError, match="y has 2 classes; expected 1 or 2 column"):
        stitched(mlp(n_outputs=3)).fit(X, y, sensitive_features=group)


def test_a_skorch_net_trained_or_not(rows):
    X, y, group = rows
    net = NeuralNetClassifier(mlp(), criterion=nn.CrossEntropyLoss, max_epochs=2, train_split=None, verbose=0)
    fresh = stitched(net, split="1").fit(X.astype(np.float32), y, sensitive_features=group)
    assert not net.initialized_ if hasattr(net, "initialized_") else True
    net.fit(X.astype(np.float32), y)
    before = net.predict_proba(X.astype(np.float32))
    trained = stitched(net, split="1").fit(X, y, sensitive_features=group)
    assert torch.equal(trained.network_[0].weight, net.module_[0].weight)
    np.testing.assert_array_equal(net.predict_proba(X.astype(np.float32)), before)
    assert fresh.classes_.tolist() == trained.classes_.tolist() == [0, 1]
    kept = clone(stitched(FrozenEstimator(net), split="1")).fit(X, y, sensitive_features=group)
    np.testing.assert_array_equal(kept.predict_proba(X), trained.predict_proba(X))


# ---------------------------------------------------------------- attributes


def test_without_an_attribute(unfair, rows):
    X, y, _ = rows
    with pytest.warns(MissingSensitiveWarning, match="nothing about it is fair"):
        fitted = stitched(unfair).fit(X, y)
    assert fitted.trained_without_sensitive_
    with pytest.raises(ValueError, match="No sensitive attribute"):
        stitched(unfair, on_missing_sensitive="raise").fit(X, y)


def test_an_attribute_that_is_a_column(unfair, rows):
    X, y, group = rows
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(sex=group)[["a", "sex", "b", "c"]]
    fitted = stitched(unfair, sensitive_columns=["sex"]).fit(frame, y)
    np.testing.assert_array_equal(fitted.predict(frame.drop(columns="sex")), fitted.predict(frame))
    beside = stitched(unfair).fit(X, y, sensitive_features=pd.Series(group, name="sex"))
    # The same numbers lie in another order in memory, which the last bit of a sum depends on.
    np.testing.assert_allclose(fitted.predict_proba(frame), beside.predict_proba(X), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="Name each attribute once"):
        stitched(unfair, sensitive_columns=["sex"]).fit(frame, y, sensitive_features=pd.Series(group, name="sex"))


def test_quantities_and_lonely_rows(unfair, rows):
    X, y, group = rows
    with pytest.raises(ValueError, match=r"\['sensitive_feature_0'\] are numbers, not groups"):
        stitched(unfair).fit(X, y, sensitive_features=X[:, 1])
    lonely = np.where(np.arange(len(y)) == 3, "other", group)
    with pytest.warns(SmallGroupWarning):
        fitted = stitched(unfair).fit(X, y, sensitive_features=lonely)
    assert np.isfinite(fitted.predict_proba(X)).all()


@pytest.mark.parametrize("balanced", [True, "subsample", False])
def test_ways_to_balance(unfair, rows, balanced):
    X, y, group = rows
    cells = np.char.add(y.astype(str), group)
    smallest = np.unique(cells, return_counts=True)[1].min()
    seen = Watch()
    fitted = stitched(
        unfair, balanced=balanced, max_epochs=2, validation_fraction=0.02, net_params={"callbacks": [seen]}
    )
    fitted.fit(X, y, sensitive_features=group)
    # So few held-out rows would tell nothing: all rows train.
    assert seen.n_rows == (4 * smallest if balanced == "subsample" else len(y))


class Watch(Callback):
    """Counts the rows of an epoch."""

    def on_epoch_end(self, net, dataset_train=None, **kwargs):
        self.n_rows = len(dataset_train)


# skorch copies callbacks; the count is read from the copy.
Watch.__deepcopy__ = lambda self, memo: self


def test_weights(unfair, rows):
    X, y, group = rows
    ones, none = (
        stitched(unfair).fit(X, y, sensitive_features=group, sample_weight=w) for w in (np.ones(len(y)), None)
    )
    np.testing.assert_array_equal(ones.predict_proba(X), none.predict_proba(X))
    heavy = np.where(y == 1, 5.0, 1.0)
    weighted = stitched(unfair, balanced=False).fit(X, y, sensitive_features=group, sample_weight=heavy)
    plain = stitched(unfair, balanced=False).fit(X, y, sensitive_features=group)
    assert weighted.predict_proba(X)[:, 1].mean() > plain.predict_proba(X)[:, 1].mean() + 0.1
    with pytest.raises(ValueError, match="[Nn]egative"):
        stitched(unfair).fit(X, y, sensitive_features=group, sample_weight=-heavy)


# ---------------------------------------------------------------- seeds


def _probabilities(seed, rows):
    X, y, group = rows
    return (
        stitched(split="hidden_0", random_state=seed, max_epochs=3).fit(X, y, sensitive_features=group).predict_proba(X)
    )


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_a_seed_gives_the_same_bits_here_and_in_workers(rows, backend):
    before = torch.get_rng_state(), torch.get_num_threads()
    draws = np.random.get_state()[1].copy()  # noqa: NPY002 - the global generator is what must not move
    here = _probabilities(0, rows)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], draws)  # noqa: NPY002 - the same
    assert torch.get_num_threads() == before[1]
    there = Parallel(n_jobs=2, backend=backend)(delayed(_probabilities)(seed, rows) for seed in (0, 1))
    np.testing.assert_array_equal(there[0], here)
    assert np.abs(there[1] - here).max() > 0


# ---------------------------------------------------------------- errors


BAD = [
    ({"split": 3}, "split=3: expected the name of a layer"),
    ({"split": "nine"}, "split='nine': the network has no such layer"),
    ({"constraints": "fair"}, "constraints='fair': expected one of"),
    ({"fairness_strength": -1}, "fairness_strength=-1: expected a finite number >= 0"),
    ({"fairness_strength": float("inf")}, "fairness_strength=inf"),
    ({"stitch": "zigzag"}, "stitch='zigzag': expected 'residual'"),
    ({"balanced": "yes"}, "balanced='yes': expected True, 'subsample' or False"),
    ({"sensitive_columns": []}, "sensitive_columns=\\[\\]: expected a non-empty list"),
    ({"sensitive_columns": ["sex"]}, "sensitive_columns: 'sex' is not a column of X"),
    ({"classes": [0, 0]}, "classes=\\[0, 0\\]: expected two or more different values"),
    ({"network_output": "scores"}, "network_output='scores'"),
    ({"hidden_size": 0}, "hidden_size=0: expected an integer >= 1"),
    ({"n_threads": True}, "n_threads=True"),
    ({"max_epochs": 0}, "max_epochs=0: expected 'auto' or an integer >= 1"),
    # A row alone says nothing about the difference between groups.
    ({"batch_size": 1}, "batch_size=1: expected 'auto' or an integer >= 2"),
    ({"lr": 0}, "lr=0: expected 'auto' or a finite number > 0"),
    ({"validation_fraction": 1.0}, "validation_fraction=1.0"),
    ({"on_missing_sensitive": "ignore"}, "on_missing_sensitive='ignore'"),
    ({"device": "abacus"}, "device='abacus': expected a device"),
    ({"verbose": 3}, "verbose=3"),
    ({"net_params": [1]}, "net_params=\\[1\\]"),
    ({"pos_label": "maybe", "constraints": "equal_opportunity"}, "pos_label: 'maybe' is not a known value"),
    ({"stitch": nn.Identity()}, "stitch=Identity has no weights"),
    ({"net_params": {"max_epochs": 3}}, "net_params=.* sets \\['max_epochs'\\].*Set those of the classifier"),
    ({"network": 3}, "network=3: expected a torch.nn.Module, a skorch net, an estimator or None"),
    ({"extractor": nn.Linear(3, 3)}, "\\['network', 'extractor'\\] are given"),
    ({"network": None, "head": nn.Linear(3, 3)}, "\\['head'\\] are given: expected network= alone, or extractor="),
    ({"network": None, "head": "x"}, "head='x': expected a torch.nn.Module"),
]


@pytest.mark.parametrize(("params", "message"), BAD, ids=str)
def test_errors_name_argument_value_and_expectation_and_leave_the_last_fit(unfair, rows, params, message):
    X, y, group = rows
    fitted = stitched(unfair, max_epochs=1).fit(X, y, sensitive_features=group)
    before, state = fitted.predict_proba(X), set(vars(fitted))
    fitted.set_params(**params)
    with pytest.raises((ValueError, TypeError), match=message):
        fitted.fit(X, y, sensitive_features=group)
    assert set(vars(fitted)) == state
    # What was fitted does not go by what is set now.
    np.testing.assert_array_equal(fitted.predict_proba(X), before)


def test_rows_that_cannot_be(unfair, rows):
    X, y, group = rows
    with pytest.raises(NotFittedError):
        stitched(unfair).predict(X)
    with pytest.raises(ValueError, match="y has 10 rows, X has 600"):
        stitched(unfair).fit(X, y[:10], sensitive_features=group)
    with pytest.raises(ValueError, match="has 10 rows, X has 600"):
        stitched(unfair).fit(X, y, sensitive_features=group[:10])
    with pytest.raises(ValueError, match="Unknown label type: y is continuous"):
        stitched(unfair).fit(X, X[:, 0], sensitive_features=group)
    with pytest.raises(ValueError, match="single class"):
        stitched(unfair).fit(X, np.zeros(len(X)), sensitive_features=group)
    for dtype in ("string", "boolean", "object"):
        kinds = pd.Series(np.where(y > 0, True, False)).astype(dtype)
        kinds[3] = None
        with pytest.raises(ValueError, match="missing|NaN"):
            stitched(unfair).fit(X, kinds, sensitive_features=group)
    with pytest.raises(ValueError, match="NaN"):
        stitched(unfair).fit(np.where(X > 2, np.nan, X), y, sensitive_features=group)
    with pytest.raises(ValueError, match="X holds text.*numbers"):
        stitched(unfair).fit(np.full((600, 3), "a"), y, sensitive_features=group)
    with pytest.raises(ValueError, match="4 features"):
        stitched(unfair).fit(X, y, sensitive_features=group).predict(np.c_[X, X[:, 0]])


# ---------------------------------------------------------------- pipelines and searches


@pytest.fixture(params=[False, True], ids=["routing off", "routing on"])
def routing(request):
    with sklearn.config_context(enable_metadata_routing=request.param):
        yield request.param


def test_pipelines_and_searches(routing, rows, new_rows):
    X, y, group = rows
    scaled = StandardScaler().fit(X)
    network = FrozenEstimator(LogisticRegression().fit(scaled.transform(X), y))
    pipe = make_pipeline(FrozenEstimator(scaled), stitched(network, max_epochs=5))
    prefix = "" if routing else "fairstitchclassifier__"
    search = GridSearchCV(pipe, {"fairstitchclassifier__fairness_strength": [0.0, 2.0]}, cv=2, n_jobs=2)
    search.fit(X, y, **{f"{prefix}sensitive_features": pd.Series(group)})
    assert search.predict(new_rows[0]).shape == (len(new_rows[0]),)
    assert search.score(*new_rows[:2]) > 0.6
    stitch = search.best_estimator_[-1]
    np.testing.assert_array_equal(stitch.network_.linear.weight.numpy(), network.coef_)


def test_progress_is_shown_when_asked_for(unfair, rows, capsys):
    X, y, group = rows
    stitched(unfair, max_epochs=2).fit(X, y, sensitive_features=group)
    assert capsys.readouterr() == ("", "")
    stitched(unfair, max_epochs=2, verbose=1).fit(X, y, sensitive_features=group)
    assert "valid_disparity" in capsys.readouterr().out
    stitched(unfair, max_epochs=2, verbose=2).fit(X, y, sensitive_features=group)
    assert "%" in capsys.readouterr().err


def test_precision_of_the_network_and_of_x(rows):
    X, y, group = rows
    for dtype in (np.float32, np.float64):
        fitted = stitched(mlp(), max_epochs=1).fit(X.astype(dtype), y, sensitive_features=group)
        assert fitted.predict_proba(X.astype(dtype)).dtype == np.float32
    double = stitched(mlp().double(), max_epochs=1).fit(X, y, sensitive_features=group)
    assert double.predict_proba(X).dtype == np.float64


def test_small_batches(unfair):
    X, y, group = biased(300)
    fitted = stitched(unfair, batch_size=32, max_epochs=3).fit(X, y, sensitive_features=group)
    assert fitted.n_iter_ == len(fitted.history_) == 3
    assert set(fitted.history_[0]) == {f"{p}_{t}" for p in ("train", "valid") for t in ("nll", "disparity", "loss")}
