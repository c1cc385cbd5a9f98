"""Whether rows are new: hashes of rows of any kind, and what chance explains."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from sklearn_fairlatent._fingerprint import Fingerprint, hash_rows

RNG = np.random.RandomState(0)
NUMBERS = RNG.normal(size=(50, 3))
WORDS = [f"a text of {k} words" for k in range(50)]


def test_equal_rows_have_equal_hashes_whatever_holds_them():
    hashes = hash_rows(NUMBERS)
    assert hashes.dtype == np.uint64
    assert len(set(hashes.tolist())) == 50
    for other in (NUMBERS.astype(np.float32), NUMBERS.tolist(), np.asfortranarray(NUMBERS), torch.as_tensor(NUMBERS),
                  pd.DataFrame(NUMBERS).add_prefix("x"), pl.DataFrame(NUMBERS), NUMBERS.astype(object)):  # fmt: skip
        np.testing.assert_array_equal(hash_rows(other), hashes)
    np.testing.assert_array_equal(hash_rows(NUMBERS[::-1]), hashes[::-1])
    assert not set(hash_rows(NUMBERS[:, ::-1]).tolist()) & set(hashes.tolist())
    whole = np.arange(12).reshape(6, 2)
    np.testing.assert_array_equal(hash_rows(whole), hash_rows(whole.astype(float)))
    np.testing.assert_array_equal(hash_rows(-0.0 * NUMBERS), hash_rows(0.0 * NUMBERS))


def test_texts_pictures_and_rows_of_any_length():
    hashes = hash_rows(WORDS)
    assert len(set(hashes.tolist())) == 50
    for other in (pd.Series(WORDS), pl.Series(WORDS), np.array(WORDS), np.array(WORDS, dtype=object)):
        np.testing.assert_array_equal(hash_rows(other), hashes)
    pictures = RNG.normal(size=(6, 3, 40, 40))
    assert len(set(hash_rows(pictures).tolist())) == 6
    np.testing.assert_array_equal(hash_rows(list(pictures)), hash_rows(pictures))
    ragged = [list(range(k)) for k in range(5)]
    assert len(set(hash_rows(ragged).tolist())) == 5
    long = [np.zeros(5000 + k) for k in range(3)]
    long[0][2500] = 1  # which a text of it would leave out
    assert len({*hash_rows(long).tolist(), *hash_rows([np.zeros(5000), *long[1:]]).tolist()}) == 4


def test_mixed_frames_and_missing_values():
    frame = pd.DataFrame(
        {"n": [1.0, np.nan, 1.0, 2.0], "w": ["a", "b", None, "a"], "c": pd.Categorical(["u", "v", "u", "u"])}
    )
    hashes = hash_rows(frame)
    assert len(set(hashes.tolist())) == 4
    np.testing.assert_array_equal(hash_rows(pl.from_pandas(frame.astype({"c": str}))), hashes)
    np.testing.assert_array_equal(hash_rows(frame.astype({"c": object})), hashes)
    with np.errstate(all="raise"):
        hash_rows(np.array([[1e40], [2.0]]))


def _found(fingerprint, hashes):
    n_seen, most = fingerprint.seen(hashes)
    return n_seen > most


def _tables(rng):
    people = rng.normal(size=(1000, 4))
    return {
        "distinct": people,
        "bootstrap": people[rng.randint(1000, size=1000)],
        "twice": np.repeat(people[:500], 2, axis=0),
        "binary": rng.randint(2, size=(1000, 8)).astype(float),
        "clusters": np.repeat(people[:100], 10, axis=0),
    }


@pytest.mark.parametrize("kind", ["distinct", "bootstrap", "twice", "binary", "clusters"])
@pytest.mark.parametrize("share", [0.2, 0.7])
def test_honest_splits_are_accepted(kind, share):
    rng = np.random.RandomState(1)
    for _ in range(30):
        hashes = rng.permutation(hash_rows(_tables(rng)[kind]))
        n = int(share * len(hashes))
        assert not _found(Fingerprint.of(hashes[:n]), hashes[n:])


@pytest.mark.parametrize("kind", ["distinct", "bootstrap", "twice", "binary"])
def test_honest_splits_are_accepted_after_a_warm_start(kind):
    rng = np.random.RandomState(2)
    for _ in range(30):
        hashes = rng.permutation(hash_rows(_tables(rng)[kind]))
        fingerprint = Fingerprint.of(hashes[300:600], before=Fingerprint.of(hashes[:300]))
        assert not _found(fingerprint, hashes[600:])
        if kind == "distinct":
            assert _found(fingerprint, hashes[200:400])


@pytest.mark.parametrize(("kind", "n_seen"), [("distinct", 20), ("bootstrap", 700), ("twice", 700)])
def test_rows_of_the_fit_are_found(kind, n_seen):
    rng = np.random.RandomState(3)
    hashes = rng.permutation(hash_rows(_tables(rng)[kind]))
    fingerprint = Fingerprint.of(hashes[:700])
    assert _found(fingerprint, np.r_[hashes[700:], hashes[:n_seen]])
