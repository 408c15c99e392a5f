"""Indexes of FAISS hold the codes, and find the neighbors that decoded rows have."""

import numpy as np
import pytest

from skperco import CoherenceQuantizer

faiss = pytest.importorskip("faiss")

EXPORTS = {
    "product": {"n_bytes": 8, "n_components": 32},
    "scalar": {"n_bytes": 8, "n_components": 32},
    "scalar, bytes of different widths": {"n_bytes": 8, "n_components": 20},
    "scalar, two bytes": {"n_bytes": 48, "n_components": 48},
    "residual": {"n_bytes": 3, "n_components": 16},
    "int8": {"n_bytes": 16},
    "int4": {"n_bytes": 16},
}


def fit(embeddings, name, **parameters):
    parameters = {"method": name.split(",")[0], **EXPORTS.get(name, {}), **parameters}
    return CoherenceQuantizer(random_state=0, device="cpu", **parameters).fit(embeddings[:700])


def nearest(queries, rows, k):
    distances = ((queries[:, None].astype(np.float64) - rows) ** 2).sum(2)
    return np.sort(distances, axis=1)[:, :k], np.argsort(distances, axis=1, kind="stable")[:, :k]


def shared(first, second):
    """Share of common entries of each pair of rows."""
    pairs = zip(first.tolist(), second.tolist(), strict=True)
    return np.mean([len(set(a) & set(b)) / len(a) for a, b in pairs])


@pytest.mark.parametrize("method", EXPORTS)
def test_an_index_finds_the_nearest_decoded_rows_for_euclidean_distances(embeddings, method):
    quantizer = fit(embeddings, method, metric="euclidean")
    index = quantizer.to_faiss()
    assert index.is_trained
    assert index.ntotal == 0
    codes = quantizer.encode(embeddings)
    index.add_sa_codes(codes)
    queries = quantizer.transform_queries(embeddings[:100])
    distances, found = index.search(queries, 10)
    expected, _ = nearest(queries, quantizer.decode(codes), 10)
    # Distances, since equal codes are ties, which may come in any order.
    np.testing.assert_allclose(distances, expected, rtol=1e-3, atol=1e-4)
    assert found.shape == (100, 10)


@pytest.mark.parametrize("method", EXPORTS)
def test_an_index_finds_nearly_the_neighbors_by_cosine(embeddings, method):
    quantizer = fit(embeddings, method)
    index = quantizer.to_faiss()
    index.add_sa_codes(quantizer.encode(embeddings))
    queries = quantizer.transform_queries(embeddings[:200])
    _, found = index.search(queries, 10)
    _, expected = nearest(queries, quantizer.transform(embeddings), 10)
    # Without the scale of the queries, 0.85 of the neighbors of product codes are the same.
    assert shared(found, expected) > 0.93


@pytest.mark.parametrize("name", EXPORTS)
def test_twice_as_many_neighbors_contain_those_by_cosine(embeddings, name):
    quantizer = fit(embeddings, name)
    codes = quantizer.encode(embeddings)
    queries = quantizer.transform_queries(embeddings[:200])
    _, found = quantizer.to_faiss(codes).search(queries, 20)
    decoded = quantizer.decode(codes)
    distances, _ = nearest(queries, decoded, 10)
    # The tenth neighbor can be a tie.
    farthest = distances[:, -1:]
    of_found = ((queries[:, None].astype(np.float64) - decoded[found]) ** 2).sum(2)
    assert ((of_found <= farthest + 1e-6).sum(1) >= 10).mean() > 0.98


def test_an_index_of_bits_finds_the_nearest_codes(embeddings):
    quantizer = fit(embeddings, "binary", n_bytes=8)
    index = quantizer.to_faiss()
    codes = quantizer.encode(embeddings)
    index.add(codes)
    distances, _ = index.search(codes[:50], 10)
    hamming = np.unpackbits(codes[:50, None] ^ codes, axis=2).sum(2)
    np.testing.assert_array_equal(distances, np.sort(hamming, axis=1)[:, :10])


def test_an_index_is_read_from_a_file(embeddings, tmp_path):
    quantizer = fit(embeddings, "product")
    index = quantizer.to_faiss()
    index.add_sa_codes(quantizer.encode(embeddings))
    faiss.write_index(index, str(tmp_path / "index"))
    queries = quantizer.transform_queries(embeddings[:20])
    for one, other in zip(
        index.search(queries, 5),
        faiss.read_index(str(tmp_path / "index")).search(queries, 5),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_integer_codes_with_unused_bits_are_refused(embeddings):
    quantizer = fit(embeddings, "int4", n_bytes=8, n_components=15)
    with pytest.raises(ValueError, match="to_faiss needs integer codes without unused bits"):
        quantizer.to_faiss()


@pytest.mark.parametrize(
    ("n_components", "message"),
    [(20, "without unused bytes"), (40, "change n_components to 24")],
)
def test_scalar_codes_that_faiss_cannot_hold_are_refused(embeddings, n_components, message):
    quantizer = fit(embeddings, "scalar", n_bytes=48, n_components=n_components)
    with pytest.raises(ValueError, match=message):
        quantizer.to_faiss()


def test_codes_are_trained_without_faiss(embeddings, monkeypatch):
    monkeypatch.setattr("skperco.codes._kmeans.has_module", lambda module: False)
    without = fit(embeddings, "product")
    monkeypatch.undo()
    scores = [one.score(embeddings[700:]) for one in (without, fit(embeddings, "product"))]
    assert scores[0] == pytest.approx(scores[1], abs=0.02)


@pytest.mark.parametrize("method", EXPORTS)
@pytest.mark.parametrize("n_coarse", [64, 7])
def test_two_passes_find_nearly_the_neighbors_of_one(embeddings, method, n_coarse, monkeypatch):
    # No number of dimensions is divisible by 7.
    monkeypatch.setattr("skperco.codes._faiss._MAX_COARSE_CODES", n_coarse)
    quantizer = fit(embeddings, method)
    codes = quantizer.encode(embeddings)
    queries = quantizer.transform_queries(embeddings[:200])
    _, expected = quantizer.to_faiss(codes).search(queries, 10)
    _, found = quantizer.to_faiss(codes, k_factor=30).search(queries, 10)
    assert shared(found, expected) > 0.9
    # The candidates are fewer than the rows.
    _, first = quantizer.to_faiss(codes, k_factor=1).search(queries, 10)
    assert shared(first, expected) < shared(found, expected)


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("product", {"k_factor": 2}, "k_factor needs codes"),
        ("product", {"codes": np.zeros((20, 8), np.uint8), "k_factor": 0.5}, "at least 1"),
        ("product", {"codes": np.zeros((20, 7), np.uint8)}, "codes must have shape"),
        ("binary", {"codes": np.zeros((20, 8), np.uint8), "k_factor": 2}, "binary codes"),
    ],
)
def test_bad_arguments_are_named(embeddings, method, arguments, message):
    quantizer = fit(embeddings, method, n_bytes=8)
    with pytest.raises(ValueError, match=message):
        quantizer.to_faiss(**arguments)
