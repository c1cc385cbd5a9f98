"""Rows that go to a file."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator

from .samples import NAMES, Flattened, N, Reads, flip, generate, module, pictures, sampler

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.PenaltyIneffectiveWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_fairlatent.LabelLostWarning"),
]


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_file_has_the_rows_that_memory_would_have(rows, tmp_path, drop, dtype):
    X, y, group = rows
    rows = X.astype(dtype), y, group
    params = {"judge": FrozenEstimator(Reads(2)), "drop_inconsistent": drop, "batch_size": 64}
    _, expected, y_expected = flip(rows, **params)
    file = tmp_path / "more.npy"
    for path in (file, str(file)):
        made, X_more, y_more = flip(rows, output_file=path, **params)
        assert isinstance(X_more, np.memmap)
        assert not X_more.flags.writeable
        assert X_more.dtype == dtype
        assert_array_equal(X_more, expected)
        assert_array_equal(np.load(file), expected)
        assert_array_equal(y_more, y_expected)
        assert [found.name for found in tmp_path.iterdir()] == ["more.npy"]
    assert (N < len(expected) < 2 * N) == drop
    # The file ends with its last row.
    assert file.stat().st_size == 128 + expected.nbytes


def test_a_file_of_pictures_and_of_sensitive_columns(rows, tmp_path):
    shown = pictures(rows)
    params = {
        "generator": module(torch.nn.Linear(4, 12), torch.nn.Unflatten(1, (3, 2, 2))),
        "annotators": {"target": Flattened(), "group": Flattened()},
        "judge": FrozenEstimator(Reads(2)),
        "drop_inconsistent": True,
    }
    _, expected, _ = generate(shown, **params)
    _, X_more, _ = generate(shown, output_file=tmp_path / "more.npy", **params)
    assert_array_equal(np.load(tmp_path / "more.npy"), expected)
    assert N + 400 < len(X_more) < N + 800
    X, y, group = rows
    wide = np.column_stack([X, group])
    _, X_more, _ = flip((wide, y, None), sensitive_columns=[6], output_file=tmp_path / "wide.npy")
    assert_array_equal(X_more, flip((wide, y, None), sensitive_columns=[6])[1])


def test_rows_may_come_from_a_file_even_from_the_one_they_go_to(rows, tmp_path):
    X, y, group = rows
    np.save(tmp_path / "rows.npy", X)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    _, X_more, _ = flip((mapped, y, group), output_file=tmp_path / "rows.npy")
    assert_array_equal(X_more, flip(rows)[1])
    assert_array_equal(mapped, X)


def test_a_file_may_be_read_by_whom_any_new_file_may(rows, tmp_path):
    flip(rows, output_file=tmp_path / "more.npy")
    np.save(tmp_path / "any.npy", rows[0])
    assert (tmp_path / "more.npy").stat().st_mode == (tmp_path / "any.npy").stat().st_mode


def test_a_full_disk_leaves_no_file(rows, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(np.lib.format, "open_memmap", full)
    with pytest.raises(OSError, match="No space left"):
        flip(rows, output_file=tmp_path / "more.npy")
    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be(rows, tmp_path):
    X, y, group = rows
    with pytest.raises(ValueError, match=r"output_file='.*more\.npz': expected a path that ends in \.npy, or None"):
        flip(rows, output_file=tmp_path / "more.npz")
    with pytest.raises(ValueError, match=r"output_file='.*more\.npy': only arrays go into a \.npy file; X is a frame"):
        flip((pd.DataFrame(X, columns=NAMES), y, group), output_file=tmp_path / "more.npy")
    with pytest.raises(FileNotFoundError):
        flip(rows, output_file=tmp_path / "none" / "more.npy")
    assert list(tmp_path.iterdir()) == []


class Breaks(BaseEstimator):
    """Fails when it is asked for the fifth time."""

    def fit(self, X, y):
        self.n_left_ = 4
        return self

    def predict(self, X):
        self.n_left_ -= 1
        if self.n_left_ < 0:
            raise ArithmeticError("broken")
        return np.zeros(len(X))


def test_a_failed_call_leaves_everything_as_it_was(rows, tmp_path):
    X, y, group = rows
    file = tmp_path / "more.npy"
    made = sampler(output_file=file, batch_size=16)
    made.fit_resample(X, y, sensitive_features=group)
    before, content = dict(vars(made)), file.read_bytes()
    made.set_params(judge=FrozenEstimator(Breaks().fit(None, None)))
    with pytest.raises(ArithmeticError, match="broken"):
        made.fit_resample(pd.DataFrame(X[:, :3]).to_numpy(), y, sensitive_features=group)
    calls = [
        (X, y[:-1], group),
        (X, X[:, 0], group),
        (X[:, :2], y, np.zeros(N)),
        (pd.DataFrame(X, columns=["a", 1, 2, 3, 4, 5]), y, group),
    ]
    for X_bad, y_bad, A_bad in calls:
        with pytest.raises((ValueError, TypeError)):
            made.fit_resample(X_bad, y_bad, sensitive_features=A_bad)
    fitted = [name for name in before if name.endswith("_")]
    assert len(fitted) == 6
    assert sorted(name for name in vars(made) if name.endswith("_")) == sorted(fitted)
    assert all(vars(made)[name] is before[name] for name in fitted)
    assert [found.name for found in tmp_path.iterdir()] == ["more.npy"]
    assert file.read_bytes() == content


class RunsAnother(BaseEstimator):
    """Another run that writes the same file, in the middle of this one: as two processes of a search do."""

    def __init__(self, rows=None, file=None):
        self.rows, self.file = rows, file

    def fit(self, X, y):
        self.done_ = False
        return self

    def predict(self, X):
        if not self.done_:
            self.done_ = True
            flip(self.rows, output_file=self.file, batch_size=16)
        return np.zeros(len(X))


def test_two_runs_may_write_the_same_file_at_once(rows, tmp_path):
    X, y, group = rows
    file = tmp_path / "more.npy"
    other = RunsAnother((X + 1, y, group), file).fit(None, None)
    _, X_more, _ = flip(rows, output_file=file, batch_size=16, judge=FrozenEstimator(other))
    assert_array_equal(X_more, flip(rows)[1])


def test_no_other_file_is_touched(rows, tmp_path):
    (tmp_path / "more.partial.npy").write_text("mine")
    flip(rows, output_file=tmp_path / "more.npy")
    assert (tmp_path / "more.partial.npy").read_text() == "mine"
