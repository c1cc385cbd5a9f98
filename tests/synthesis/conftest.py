# Rows and fitted synthesizers that several files of tests use.
from pathlib import Path

import pytest

from .rows import quick, quick_teacher, table, table_teacher, vectors


@pytest.fixture(scope="module")
def frame():
    """A mixed frame with "sex" as a column, and labels."""
    return table()


@pytest.fixture(scope="module")
def of_table(frame):
    """A synthesizer of tables whose attribute is a column."""
    return quick(table_teacher(), sensitive_columns=["sex"]).fit(*frame)


@pytest.fixture(scope="module")
def rows():
    """Vectors, labels and groups."""
    return vectors()


@pytest.fixture(scope="module")
def of_vectors(rows):
    X, y, group = rows
    return quick(quick_teacher()).fit(X, y, sensitive_features=group)


def pytest_collection_modifyitems(items):
    """Teachers of a few epochs lose the label or miss the attribute, and say so: here that is not the point."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for category in ("LabelLost", "PenaltyIneffective"):
                item.add_marker(pytest.mark.filterwarnings(f"ignore::sklearn_fairlatent.{category}Warning"))
