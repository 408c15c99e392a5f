import pytest
from sklearn.feature_extraction.text import TfidfVectorizer


@pytest.fixture(scope="session")
def rows(glosses):
    """As few rows as allow a validation set."""
    return glosses.data[:300]


@pytest.fixture(scope="session")
def new_rows(glosses):
    return glosses.data[300:700]


@pytest.fixture(scope="session")
def texts(glosses):
    """Sparse TF-IDF vectors of the glosses."""
    return TfidfVectorizer(min_df=3).fit_transform(glosses.text[:700])
