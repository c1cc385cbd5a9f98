"""Ratios of time and memory: fit against a bare torch loop and ExponentiatedGradient, transform against the module.

Both sides alternate in one run. `--quick` does each once on small data.
"""

import argparse
import copy
import gc
import multiprocessing
import os
import tempfile
import time
import warnings

import numpy as np
import torch
from fairlearn.reductions import DemographicParity, ExponentiatedGradient
from measuring import versions
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from sklearn_fairlatent import FairLatentTransformer, TabularCodec, _batches, _objective, _training
from sklearn_fairlatent.datasets import load_adult

warnings.filterwarnings("ignore", module="fairlearn")


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def show(name, ours, theirs):
    ratios = np.array(ours) / np.array(theirs)
    print(
        f"{name}: {np.median(ours):.2f} s against {np.median(theirs):.2f} s, "
        f"ratio {np.median(ratios):.3f} ({ratios.min():.3f} to {ratios.max():.3f})",
        flush=True,
    )


class BareLoop:
    """The steps of skorch's loop, and nothing else: recorded from a fit and replayed with plain torch."""

    def __init__(self, X, y, sex):
        self.args = None
        original = _training._net

        def recording(model, layout, task, codes, n_rows, held_out, schedule, generator):
            self.args = (copy.deepcopy(model), layout, task, codes, n_rows, held_out, schedule)
            return original(model, layout, task, codes, n_rows, held_out, schedule, generator)

        _training._net = recording
        try:
            FairLatentTransformer(max_epochs=1, random_state=0).fit(X, y, sensitive_features=sex)
        finally:
            _training._net = original

    def run(self, epochs):
        model, layout, task, codes, n_rows, held_out, schedule = self.args
        model = copy.deepcopy(model).train()
        batch_size, _, steps = schedule.resolve(n_rows, of_table=getattr(model.core, "exact", False))
        generator = torch.Generator().manual_seed(0)
        rows = np.setdiff1d(np.arange(len(codes.label)), held_out.rows)
        loader = _batches.BatchLoader(_batches.LatentRows(held_out.inputs, codes, rows), batch_size, generator)
        valid = _batches.BatchLoader(held_out, _training.CALIBRATION_ROWS)
        loss = _objective.LatentLoss(task, layout, generator)
        rates = {"head.": 10, "core.couplings.": _training.FLOW_RATE, "": 1}
        groups = {prefix: [] for prefix in rates}
        for name, parameter in model.named_parameters():
            groups[next(prefix for prefix in rates if name.startswith(prefix))].append(parameter)
        peaks = [rate * schedule.lr for rate in rates.values()]
        optimizer = torch.optim.AdamW(
            [{"params": groups[prefix], "lr": peak} for prefix, peak in zip(rates, peaks, strict=True)],
            weight_decay=1e-2,
        )
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, peaks, total_steps=epochs * steps)
        for _ in range(epochs):
            model.train()
            for w, batch in loader:
                optimizer.zero_grad()
                total = loss(loss.terms(model(w), batch, model), 1.0)
                total.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                rate.step()
            model.eval()
            with torch.no_grad():
                for w, batch in valid:
                    loss(loss.terms(model(w), batch, model), 1.0)


def fit_against_bare_loop(X, y, sex, epochs, repeats):
    bare = BareLoop(X, y, sex)
    ours, theirs = [], []
    # The parts of fit that are no training (moments, whitening, summaries) are no part of the loop either: they are
    # counted with one epoch less than asked, on both sides.
    for _ in range(repeats):
        with _training.reproducible(0, 1):
            theirs.append(seconds(lambda: bare.run(epochs)) - seconds(lambda: bare.run(1)))
        long, short = (FairLatentTransformer(max_epochs=n, random_state=0) for n in (epochs, 1))
        ours.append(
            seconds(lambda long=long: long.fit(X, y, sensitive_features=sex))
            - seconds(lambda short=short: short.fit(X, y, sensitive_features=sex))
        )
    show(f"fit, {epochs - 1} epochs, against the bare torch loop", ours, theirs)


def fit_against_exponentiated_gradient(X, y, sex, repeats):
    label = (y == ">50K").astype(int)
    times = {}
    for _ in range(repeats):
        for threads in (1, 2):
            fair = FairLatentTransformer(random_state=0, n_threads=threads)
            times.setdefault(("ours", threads), []).append(
                seconds(lambda fair=fair: fair.fit(X, label, sensitive_features=sex))
            )
            with threadpool_limits(threads):
                reduction = ExponentiatedGradient(LogisticRegression(), DemographicParity())
                times.setdefault(("ExponentiatedGradient", threads), []).append(
                    seconds(lambda reduction=reduction: reduction.fit(X, label, sensitive_features=sex))
                )
    for key, values in times.items():
        print(f"  {key[0]}, {key[1]} thread(s): {', '.join(f'{value:.2f}' for value in values)} s")
    faster = min((1, 2), key=lambda threads: np.median(times["ExponentiatedGradient", threads]))
    for threads in (1, 2):
        show(
            f"fit, default, {threads} thread(s), against the faster ExponentiatedGradient ({faster} thread(s))",
            times["ours", threads],
            times["ExponentiatedGradient", faster],
        )


def transform_against_module(n_rows, n_columns, repeats):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(n_rows, n_columns)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    fair = FairLatentTransformer(max_epochs=1, random_state=0)
    fair.fit(X[:5000], y[:5000], sensitive_features=(X[:5000, 1] > 0).astype(int))
    flow, tensor = copy.deepcopy(fair.flow_).float(), torch.from_numpy(X)
    columns = fair.latent_layout_.handed_on

    def bare(step):
        with torch.inference_mode():
            for start in range(0, n_rows, 8192):
                step(tensor[start : start + 8192])

    pairs = {
        "transform against the module's forward": (lambda: fair.transform(X), lambda: bare(flow)),
        "transform against the part of it that is handed on": (
            lambda: fair.transform(X),
            lambda: bare(lambda x: flow.hand_on(x, columns)),
        ),
        "to_latent against the module's forward": (lambda: fair.to_latent(X), lambda: bare(flow)),
    }
    for name, (mine, theirs) in pairs.items():
        mine(), theirs()
        times = np.array([(seconds(mine), seconds(theirs)) for _ in range(repeats)])
        show(f"{name}, {n_rows:,} x {n_columns}, float32", times[:, 0], times[:, 1])


def _peak_rss():
    """Peak resident memory of this process in KiB since the last reset (Linux: VmHWM).

    Not `ru_maxrss`: that one survives exec, so that a child starts with its parent's peak.
    """
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def _reset_peak():
    gc.collect()
    with open("/proc/self/clear_refs", "w") as refs:
        refs.write("5")  # sets VmHWM back to what is resident now


def _peak(job, path, shape, results):
    X = np.memmap(path, dtype=np.float32, mode="r", shape=shape)
    if job.startswith("array"):
        X = np.array(X)
    y, attribute = (np.asarray(X[:, 0]) > 0).astype(int), (np.asarray(X[:, 1]) > 0).astype(int)
    # A small fit loads what is loaded once, and gives a fitted transformer.
    fair = FairLatentTransformer(max_epochs=1, random_state=0).fit(
        np.array(X[:1000]), y[:1000], sensitive_features=attribute[:1000]
    )
    fair.transform(np.array(X[:1000]))
    _reset_peak()
    before = _peak_rss()
    if job.endswith("fit"):
        FairLatentTransformer(max_epochs=1, random_state=0).fit(X, y, sensitive_features=attribute)
    else:
        fair.transform(X)
    results.put(_peak_rss() - before)


def memory(n_rows, n_columns):
    """Peak resident memory as a multiple of X as float32; an array X counts as one.

    The pages of a memory map that were read count as resident too, although the system may drop them.
    """
    shape = (n_rows, n_columns)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "X.bin")
        written = np.memmap(path, dtype=np.float32, mode="w+", shape=shape)
        rng = np.random.default_rng(0)
        for start in range(0, n_rows, 10_000):
            written[start : start + 10_000] = rng.standard_normal((min(10_000, n_rows - start), n_columns))
        written.flush()
        context = multiprocessing.get_context("spawn")
        for job in ("array fit", "array transform", "memmap fit", "memmap transform"):
            results = context.Queue()
            process = context.Process(target=_peak, args=(job, path, shape, results))
            process.start()
            peak = results.get() * 1024 / (4 * n_rows * n_columns) + job.startswith("array")
            process.join()
            print(f"peak memory, {job}, {n_rows:,} x {n_columns}: {peak:.2f} times X", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    print(versions(), f"{os.cpu_count()} cores", sep="; ")
    adult = load_adult()
    X = TabularCodec().fit_transform(adult.data)
    y, sex = adult.target.to_numpy(), adult.sensitive_features["sex"].to_numpy()
    if quick:
        X, y, sex = X[:5000], y[:5000], sex[:5000]
    fit_against_bare_loop(X, y, sex, epochs=3 if quick else 12, repeats=1 if quick else 3)
    transform_against_module(*((10_000, 64) if quick else (100_000, 384)), repeats=1 if quick else 5)
    memory(*((20_000, 64) if quick else (100_000, 384)))
    fit_against_exponentiated_gradient(X, y, sex, repeats=1 if quick else 3)


if __name__ == "__main__":
    main()
