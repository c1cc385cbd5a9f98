"""Rows on disk, for several files of tests."""

import numpy as np


def map_to_disk(X, path, mode):
    np.asarray(X).tofile(path)
    return np.memmap(path, dtype=X.dtype, shape=X.shape, mode=mode)
