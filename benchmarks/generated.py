"""Judged pictures of the pretrained generator, small, and a network of ours that learns from them."""

import numpy as np
from faces import age_judge, gender_judge, generator, in_batches
from problems import cache_folder

N_SAMPLES = 20_000  # judged faces of the GAN, the same for all seeds, which split them
QUICK_SAMPLES = 2000
N_FURTHER = 100_000  # judged faces of their own, for a network that knows the judge well


def judged_samples(quick=False, further=False):
    """Latents of the GAN with the judges' verdicts on their pictures, and the pictures small; cached.

    ``further``: more of them, drawn apart.

    Returns
    -------
    dict of ndarray
        ``Z`` (n, 100), ``gender`` (n,) in nats (positive: "male"), ``age`` (n,) in years, ``small`` (n, 3, 32, 32) as
        bytes.
    """
    n = QUICK_SAMPLES if quick else N_FURTHER if further else N_SAMPLES
    file = cache_folder() / "generated" / f"dcgan-{n}{'-further' if further else ''}.npz"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        network, gender, age = generator(), gender_judge(), age_judge()
        Z = np.random.RandomState(1 if further else 0).normal(size=(n, 100))
        verdicts, years, small = [], [], []
        for start in range(0, n, 500):
            pictures = in_batches(network, Z[start : start + 500].astype(np.float32))
            verdicts.append(gender.decision_function(pictures))
            years.append(age.predict(pictures))
            small.append(halved(pictures))
        draft = file.with_suffix(".tmp.npz")
        np.savez(draft, Z=Z, gender=np.concatenate(verdicts), age=np.concatenate(years), small=np.concatenate(small))
        draft.replace(file)
    with np.load(file) as found:
        return {name: found[name] for name in found.files}


def halved(pictures):
    """Pictures of half the size, as bytes."""
    n, channels, height, width = pictures.shape
    smaller = pictures.reshape(n, channels, height // 2, 2, width // 2, 2).mean((3, 5))
    return np.round(255 * smaller).astype(np.uint8)


def picture_classifier(seed, widths=(16, 32, 64), pooled=False, max_epochs=8):
    """A convolutional network for small pictures: a skorch classifier, not fitted yet, always the same for a seed.

    ``pooled``: the last layer reads the mean of every map instead of all of it behind a dropout, and the rate falls to
    zero (cosine), without which such a network ends wherever its last step takes it.
    """
    import torch
    from skorch import NeuralNetClassifier
    from skorch.callbacks import LRScheduler
    from torch import nn

    layers, n_in = [], 3
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # before the first layer, which draws its weights
        for n_out in widths:
            layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU(), nn.MaxPool2d(2)]
            n_in = n_out
        if pooled:
            module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 2))
        else:
            module = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.5), nn.Linear(16 * widths[-1], 2))
    return NeuralNetClassifier(
        module,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        lr=2e-3,
        max_epochs=max_epochs,
        callbacks=[LRScheduler(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=max_epochs)] if pooled else None,
        batch_size=128,
        train_split=None,
        verbose=0,
    )


def fit_pictures(seed, small, codes, **params):
    """A fitted :func:`picture_classifier` of small pictures (bytes) and codes 0 and 1."""
    import torch

    net = picture_classifier(seed, **params)
    # A convolution adds up in another order on another number of threads.
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return net.fit(as_floats(small), codes.astype(np.int64))
    finally:
        torch.set_num_threads(n_threads)


def well_read_judge(quick=False):
    """A picture network that learned the judge's gender from all further samples; the same for all seeds, cached."""
    file = cache_folder() / "generated" / f"judge-of-{QUICK_SAMPLES if quick else N_FURTHER}.pt"
    if file.exists():
        net = picture_classifier(0).initialize()
        net.load_params(f_params=file)
        return net
    pool = judged_samples(quick, further=True)
    net = fit_pictures(0, pool["small"], pool["gender"] > 0)
    draft = file.with_suffix(".tmp")
    net.save_params(f_params=draft)
    draft.replace(file)
    return net


def as_floats(small):
    """Bytes as the network takes them."""
    return np.divide(small, np.float32(255), dtype=np.float32)
