# Settings of the whole test run; fixtures of one topic stand in its test file.
import os
import sys

import pytest
from hypothesis import settings

# On busy cores, threads that spin while they wait for each other take several times as long as one thread.
# Read when numpy and torch are loaded, so set before any test file is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# No test shows a window.
os.environ.setdefault("MPLBACKEND", "Agg")

# No deadline, since no test asserts a time; the same examples in every run, so that a failure comes again.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _close_figures():
    """Matplotlib warns of many open figures."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
