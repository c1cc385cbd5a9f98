# Rows and fitted transformers that several files of tests use. Once for all of them: tests only read them.
import pytest

from .samples import _small, _trained


@pytest.fixture(scope="session")
def small():
    return _small()


@pytest.fixture(scope="session")
def small_fair(small):
    """Tests read it only: whoever fits or sets something takes a model of their own."""
    return _trained(*small)


@pytest.fixture(scope="session")
def small_latent(small):
    """The same without a trained map, to read only."""
    return _trained(*small, counterfactual_map="latent")


@pytest.fixture
def small_of(small_fair, small_latent):
    """Either of the two by the name of its map."""
    return {"latent": small_latent, "trained": small_fair}
