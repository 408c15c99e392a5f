import gzip
import io
import json
from importlib.resources import files

import numpy as np
import pytest

from skperco import neighbor_recall_score
from skperco.datasets import _wordnet, load_wordnet_glosses


@pytest.fixture(scope="module")
def glosses():
    return load_wordnet_glosses()


@pytest.fixture(scope="module")
def hidden():
    return load_wordnet_glosses(representation="hidden").data


@pytest.fixture(scope="module", params=["final", "hidden"])
def embeddings(request, glosses, hidden):
    return {"final": glosses.data, "hidden": hidden}[request.param]


@pytest.fixture(scope="module")
def nearest(embeddings):
    """The nearest other row of every row, by cosine."""
    similarities = cosine_similarities(embeddings)
    np.fill_diagonal(similarities, -np.inf)
    return similarities.argmax(axis=1)


def cosine_similarities(embeddings):
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return unit @ unit.T


def mean_similarity_of_two_rows(embeddings):
    similarities = cosine_similarities(embeddings)
    return similarities[~np.eye(len(embeddings), dtype=bool)].mean()


def words(text):
    return set(text.lower().split())


def overlap(texts, others):
    """The mean share of words that the texts have in common."""
    pairs = [(words(text), words(other)) for text, other in zip(texts, others, strict=True)]
    return np.mean([len(one & two) / len(one | two) for one, two in pairs])


def test_shapes_and_types(glosses, embeddings):
    assert embeddings.shape == (5000, 384)
    assert embeddings.dtype == np.float32
    assert glosses.target.shape == (5000,)
    assert np.issubdtype(glosses.target.dtype, np.integer)
    assert glosses.target_names.shape == (45,)
    assert len(glosses.text) == len(glosses.names) == 5000
    assert all(isinstance(value, str) and value for value in glosses.text + glosses.names)


def test_final_embeddings_have_unit_norm(glosses):
    norms = np.linalg.norm(glosses.data, axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-4)


def test_hidden_embeddings_have_the_norms_of_the_description(glosses, hidden):
    norms = np.linalg.norm(hidden, axis=1)
    assert norms.min() > 5.3
    assert norms.max() < 7.7
    assert "between 5.3 and 7.7" in glosses.DESCR


def test_hidden_embeddings_are_anisotropic_and_final_ones_are_not(glosses, hidden):
    final_similarity = mean_similarity_of_two_rows(glosses.data)
    hidden_similarity = mean_similarity_of_two_rows(hidden)
    assert f"{hidden_similarity:.2f} ({final_similarity:.2f} in the final" in glosses.DESCR
    assert hidden_similarity > 5 * final_similarity


def test_hidden_rows_are_in_the_order_of_the_final_rows(glosses, hidden):
    assert neighbor_recall_score(glosses.data, hidden, n_neighbors=10) > 0.25
    shifted = np.roll(hidden, 1, axis=0)
    assert neighbor_recall_score(glosses.data, shifted, n_neighbors=10) < 0.01


def test_default_representation_is_the_final_one(glosses):
    final = load_wordnet_glosses(representation="final")
    np.testing.assert_array_equal(final.data, glosses.data)
    assert final.text == glosses.text


@pytest.mark.parametrize("representation", ["Hidden", "layer3", None, 3, ["hidden"]])
def test_unknown_representation_is_an_error_with_the_known_ones(representation):
    with pytest.raises(ValueError, match=r"representation must be one of \['final', 'hidden'\]"):
        load_wordnet_glosses(representation=representation)


def test_every_category_is_named_and_used(glosses):
    assert list(glosses.target_names) == sorted(set(glosses.target_names))
    assert set(glosses.target) == set(range(45))


def test_docstring_and_description_have_the_right_category_counts(glosses):
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


def test_equal_texts_have_equal_embeddings(glosses, embeddings):
    first = {}
    repeated = [
        (first[text], row)
        for row, text in enumerate(glosses.text)
        if first.setdefault(text, row) != row
    ]
    assert len(repeated) == 7
    one, two = np.transpose(repeated)
    # The model computed hidden states of equal texts in different batches.
    np.testing.assert_allclose(embeddings[one], embeddings[two], atol=1e-4)


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


def test_return_X_y_of_the_hidden_representation(glosses, hidden):
    X, y = load_wordnet_glosses(representation="hidden", return_X_y=True)
    np.testing.assert_array_equal(X, hidden)
    np.testing.assert_array_equal(y, glosses.target)


def test_return_X_y_is_keyword_only():
    with pytest.raises(TypeError, match="positional"):
        load_wordnet_glosses(True)


def test_line_separators_inside_a_text_do_not_split_its_row(monkeypatch, tmp_path):
    row = {"name": "a", "label": "b", "text": "one\u2028two\x85three"}
    line = json.dumps(row, ensure_ascii=False).encode()
    (tmp_path / "wordnet_glosses.jsonl.gz").write_bytes(gzip.compress(line + b"\n" + line))
    monkeypatch.setattr(_wordnet, "_DATA", tmp_path)
    assert _wordnet._load_rows() == [row, row]


@pytest.mark.parametrize("name", _wordnet._FILES.values())
def test_embeddings_are_stored_in_half_precision_in_less_than_4_MB(name):
    stored = (files("skperco.datasets") / "data" / name).read_bytes()
    assert np.load(io.BytesIO(stored), allow_pickle=False).dtype == np.float16
    assert len(stored) < 4e6


def test_license_and_origin_ship_with_the_data(glosses):
    license = files("skperco.datasets") / "data" / "WORDNET_LICENSE.txt"
    text = " ".join(license.read_text(encoding="utf-8").split())
    assert "WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved." in text
    assert text.startswith("This software and database is being provided to you")
    assert text.endswith("LICENSEE agrees to preserve same.")
    for origin in ("WordNet 3.0", "all-MiniLM-L6-v2", "Apache License 2.0", license.name):
        assert origin in glosses.DESCR
