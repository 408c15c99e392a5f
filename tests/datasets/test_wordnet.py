import gzip
import io
import json
from importlib.resources import files

import numpy as np
import pytest

from skperco.datasets import _wordnet, load_wordnet_glosses


@pytest.fixture(scope="module")
def glosses():
    return load_wordnet_glosses()


@pytest.fixture(scope="module")
def nearest(glosses):
    """The nearest other row of every row, by cosine."""
    similarities = glosses.data @ glosses.data.T
    np.fill_diagonal(similarities, -np.inf)
    return similarities.argmax(axis=1)


def words(text):
    return set(text.lower().split())


def overlap(texts, others):
    """The mean share of words that the texts have in common."""
    pairs = [(words(text), words(other)) for text, other in zip(texts, others, strict=True)]
    return np.mean([len(one & two) / len(one | two) for one, two in pairs])


def test_shapes_and_types(glosses):
    assert glosses.data.shape == (5000, 384)
    assert glosses.data.dtype == np.float32
    assert glosses.target.shape == (5000,)
    assert np.issubdtype(glosses.target.dtype, np.integer)
    assert glosses.target_names.shape == (45,)
    assert len(glosses.text) == len(glosses.names) == 5000
    assert all(isinstance(value, str) and value for value in glosses.text + glosses.names)


def test_embeddings_have_unit_norm(glosses):
    norms = np.linalg.norm(glosses.data, axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-4)


def test_every_category_is_named_and_used(glosses):
    assert list(glosses.target_names) == sorted(set(glosses.target_names))
    assert set(glosses.target) == set(range(45))


def test_docstring_and_description_count_the_categories_rightly(glosses):
    counts = np.bincount(glosses.target)
    assert f"{counts.min()} - {counts.max()}" in load_wordnet_glosses.__doc__
    assert f"45, of {counts.min()} to {counts.max()} rows" in glosses.DESCR


def test_a_row_known_from_wordnet(glosses):
    row = glosses.names.index("carcinogenic")
    assert glosses.text[row] == "causing or tending to cause cancer"
    assert glosses.target_names[glosses.target[row]] == "adj.pert"


def test_embeddings_are_aligned_with_categories(glosses, nearest):
    agreement = np.mean(glosses.target[nearest] == glosses.target)
    by_chance = np.sum((np.bincount(glosses.target) / 5000) ** 2)
    assert agreement > 8 * by_chance


def test_embeddings_are_aligned_with_texts(glosses, nearest):
    neighbors = [glosses.text[row] for row in nearest]
    shifted = glosses.text[1:] + glosses.text[:1]
    assert overlap(glosses.text, neighbors) > 3 * overlap(glosses.text, shifted)


def test_equal_texts_have_equal_embeddings(glosses):
    first = {}
    repeated = [
        (first[text], row)
        for row, text in enumerate(glosses.text)
        if first.setdefault(text, row) != row
    ]
    assert len(repeated) == 7
    one, two = np.transpose(repeated)
    np.testing.assert_array_equal(glosses.data[one], glosses.data[two])


def test_loading_again_gives_the_same_data_in_fresh_arrays(glosses):
    again = load_wordnet_glosses()
    np.testing.assert_array_equal(again.data, glosses.data)
    np.testing.assert_array_equal(again.target, glosses.target)
    assert again.text == glosses.text
    assert not np.shares_memory(again.data, glosses.data)


def test_return_X_y(glosses):
    X, y = load_wordnet_glosses(return_X_y=True)
    np.testing.assert_array_equal(X, glosses.data)
    np.testing.assert_array_equal(y, glosses.target)


def test_return_X_y_is_keyword_only():
    with pytest.raises(TypeError, match="positional"):
        load_wordnet_glosses(True)


def test_rows_survive_line_separators_inside_a_text(monkeypatch, tmp_path):
    row = {"name": "a", "label": "b", "text": "one\u2028two\x85three"}
    line = json.dumps(row, ensure_ascii=False).encode()
    (tmp_path / "wordnet_glosses.jsonl.gz").write_bytes(gzip.compress(line + b"\n" + line))
    monkeypatch.setattr(_wordnet, "_DATA", tmp_path)
    assert _wordnet._load_rows() == [row, row]


def test_files_are_half_precision_and_small():
    data = files("skperco.datasets") / "data"
    embeddings = np.load(io.BytesIO((data / "wordnet_glosses.npy").read_bytes()))
    assert embeddings.dtype == np.float16
    assert sum(len(file.read_bytes()) for file in data.iterdir()) < 5e6


def test_license_and_origin_ship_with_the_data(glosses):
    license = files("skperco.datasets") / "data" / "WORDNET_LICENSE.txt"
    text = " ".join(license.read_text(encoding="utf-8").split())
    assert "WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved." in text
    assert text.startswith("This software and database is being provided to you")
    assert text.endswith("LICENSEE agrees to preserve same.")
    for origin in ("WordNet 3.0", "all-MiniLM-L6-v2", "Apache License 2.0", license.name):
        assert origin in glosses.DESCR
