import pytest

from skperco.datasets import load_wordnet_glosses


@pytest.fixture(scope="session")
def embeddings():
    """Embeddings of 1,000 glosses, 64 of their features."""
    return load_wordnet_glosses().data[:1000, ::6].copy()
