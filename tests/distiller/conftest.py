import pytest
from sklearn.feature_extraction.text import TfidfVectorizer


@pytest.fixture(scope="session")
def rows(glosses):
    """Few rows, enough for some of them to be held out."""
    return glosses.data[:300]


@pytest.fixture(scope="session")
def new_rows(glosses):
    return glosses.data[300:700]


@pytest.fixture(scope="session")
def texts(glosses):
    """The glosses as TF-IDF counts, sparse."""
    return TfidfVectorizer(min_df=3).fit_transform(glosses.text[:700])
