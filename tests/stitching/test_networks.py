"""Estimators become modules that give the same probabilities, and outputs become logits."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier
from torch import nn

from sklearn_fairlatent.stitching._networks import as_logits, as_module, trained_network

from .networks import mlp, seeded

# lbfgs is stopped after a few steps.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
X = 3 * rng.normal(size=(200, 3)) + 5
Y2 = np.where(X[:, 0] + rng.normal(size=200) > 5, "yes", "no")
Y3 = np.select([X[:, 0] > 7, X[:, 1] > 5], ["a", "b"], "c")


def probabilities(trained, rows, n_classes):
    parameter = next(trained.module.parameters())
    with torch.no_grad():
        given = trained.module.eval()(torch.as_tensor(rows, dtype=parameter.dtype))
        return torch.softmax(as_logits(given, trained.output, n_classes), dim=1).numpy()


def perceptron(**params):
    return MLPClassifier((6, 4), solver="lbfgs", max_iter=15, random_state=0, **params)


ESTIMATORS = [
    LogisticRegression(C=10),
    LogisticRegression(fit_intercept=False),
    perceptron(activation="relu"),
    perceptron(activation="tanh"),
    perceptron(activation="logistic"),
    perceptron(activation="identity"),
    make_pipeline(StandardScaler(), perceptron()),
    make_pipeline(StandardScaler(with_mean=False), StandardScaler(with_std=False), LogisticRegression()),
]


@pytest.mark.parametrize("y", [Y2, Y3], ids=["two classes", "three classes"])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_a_converted_estimator_gives_the_same_probabilities(estimator, y):
    estimator.fit(X, y)
    trained = as_module(estimator)
    assert trained.classes.tolist() == np.unique(y).tolist()
    np.testing.assert_allclose(
        probabilities(trained, X, len(trained.classes)), estimator.predict_proba(X), rtol=0, atol=1e-12
    )


# Whole numbers for classes and float32: as skorch wants them.
@pytest.mark.parametrize("criterion", [nn.CrossEntropyLoss, nn.NLLLoss])
def test_a_skorch_classifier_is_read_as_its_criterion_tells(criterion):
    network = mlp() if criterion is nn.CrossEntropyLoss else nn.Sequential(mlp(), nn.Softmax(dim=1))
    net = NeuralNetClassifier(network, criterion=criterion, max_epochs=1, train_split=None, verbose=0)
    net.fit(X.astype(np.float32), (Y2 == "yes").astype(np.int64))
    trained = trained_network(net, None, None, None, 0)
    assert trained.classes.tolist() == [0, 1]
    np.testing.assert_allclose(probabilities(trained, X, 2), net.predict_proba(X.astype(np.float32)), rtol=0, atol=1e-6)


def test_a_skorch_net_of_one_output():
    net = NeuralNetBinaryClassifier(mlp(n_outputs=1), max_epochs=1, train_split=None, verbose=0)
    net.fit(X.astype(np.float32), (Y2 == "yes").astype(np.float32))
    trained = as_module(net)
    np.testing.assert_allclose(probabilities(trained, X, 2), net.predict_proba(X.astype(np.float32)), rtol=0, atol=1e-6)


def test_an_estimator_is_cloned_and_fitted_unless_frozen():
    estimator = LogisticRegression().fit(X, Y2)
    weights = estimator.coef_.copy()
    kept = trained_network(FrozenEstimator(estimator), X, Y2[::-1], None, 0)
    refitted = trained_network(estimator, X, Y2[::-1], None, 0)
    np.testing.assert_array_equal(kept.module.linear.weight.detach(), weights)
    assert np.abs(refitted.module.linear.weight.detach().numpy() - weights).max() > 0.01
    np.testing.assert_array_equal(estimator.coef_, weights)


def test_weights_reach_the_network_that_is_fitted():
    weights = np.where(Y2 == "yes", 5.0, 1.0)
    for estimator in (LogisticRegression(), make_pipeline(StandardScaler(), LogisticRegression())):
        plain, weighted = (trained_network(estimator, X, Y2, w, 0) for w in (None, weights))
        assert probabilities(weighted, X, 2)[:, 1].mean() > probabilities(plain, X, 2)[:, 1].mean() + 0.1


def test_what_is_no_network_is_refused():
    with pytest.raises(TypeError, match="network is a Ridge; expected a torch.nn.Module"):
        trained_network(FrozenEstimator(Ridge().fit(X, X[:, 0])), X, Y2, None, 0)
    with pytest.raises(TypeError, match="step 'pca' of the pipeline is a PCA"):
        trained_network(make_pipeline(PCA(2), LogisticRegression()), X, Y2, None, 0)
    with pytest.raises(ValueError, match="was not fitted"):
        trained_network(FrozenEstimator(NeuralNetClassifier(mlp())), X, Y2, None, 0)
    several = perceptron(max_fun=1).fit(X, np.column_stack([Y2 == "yes", X[:, 1] > 5, X[:, 2] > 5]).astype(int))
    with pytest.raises(TypeError, match="several labels a row"):
        as_module(several)


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 2)])
def test_outputs_of_two_classes(shape):
    given = seeded(lambda: torch.randn(shape, dtype=torch.float64))
    logits = as_logits(given, "logits", 2)
    p = torch.softmax(given, 1) if shape == (5, 2) else torch.sigmoid(given)
    told = p.reshape(5, -1)[:, -1]
    torch.testing.assert_close(torch.softmax(logits, 1)[:, 1], told)
    torch.testing.assert_close(torch.softmax(as_logits(p, "probabilities", 2), 1)[:, 1], told)


def test_probabilities_of_zero_and_one_stay_finite():
    assert torch.isfinite(as_logits(torch.tensor([0.0, 1.0], dtype=torch.float64), "probabilities", 2)).all()
    assert torch.isfinite(as_logits(torch.tensor([0.0, 1.0]), "probabilities", 2)).all()


def test_outputs_that_do_not_fit_the_classes():
    with pytest.raises(ValueError, match=r"shape \(4, 3\), y has 2 classes; expected 1 or 2 column"):
        as_logits(torch.zeros(4, 3), "logits", 2)
    with pytest.raises(ValueError, match="expected 3 column"):
        as_logits(torch.zeros(4, 1), "logits", 3)
    with pytest.raises(ValueError, match="gives a tuple"):
        as_logits((torch.zeros(4, 2),), "logits", 2)
