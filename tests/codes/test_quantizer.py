"""CoherenceQuantizer: codes, what they keep, and bad input."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer

from skperco import (
    CoherenceDistiller,
    CoherenceQuantizer,
    neighbor_recall_score,
    perception_coherence_score,
)
from skperco.datasets import load_wordnet_glosses

METHODS = ["residual", "product", "scalar", "int8", "int4", "binary"]
BYTES = {"residual": 3, "product": 8, "scalar": 8, "int8": 16, "int4": 16, "binary": 4}


def quantizer(method="product", **parameters):
    """An unfitted quantizer that is fitted quickly."""
    given = {"method": method, "random_state": 0, "device": "cpu", "beam_width": 2}
    n_bytes = parameters.pop("n_bytes", BYTES.get(method, 8))
    return CoherenceQuantizer(n_bytes, **(given | parameters))


@pytest.fixture(scope="module")
def fitted(embeddings):
    return {
        method: quantizer(method, n_components=16 if method == "residual" else None).fit(
            embeddings[:700]
        )
        for method in METHODS
    }


@pytest.mark.parametrize("method", METHODS)
def test_codes_are_bytes_and_decode_to_unit_rows(fitted, embeddings, method):
    model = fitted[method]
    codes = model.encode(embeddings)
    assert codes.shape == (len(embeddings), BYTES[method])
    assert codes.dtype == np.uint8
    decoded = model.decode(codes)
    assert decoded.shape == (len(embeddings), model.n_components_)
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(decoded, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(decoded, model.transform(embeddings))


@pytest.mark.parametrize("method", METHODS)
def test_exact_queries_keep_at_least_as_much_as_coded_queries(fitted, embeddings, method):
    model, new = fitted[method], embeddings[700:]
    exact, coded = (model.score(new, queries=queries) for queries in ("exact", "coded"))
    assert exact >= coded - 0.002
    assert coded > 0.6


@pytest.mark.parametrize("method", METHODS)
def test_codes_of_blocks_are_codes_of_all_rows(fitted, embeddings, method):
    model = fitted[method]
    parts = [model.encode(block) for block in np.array_split(embeddings, 7)]
    assert (np.concatenate(parts) == model.encode(embeddings)).mean() > 0.999


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
def test_distances_are_kept_for_euclidean_metrics(embeddings, method, metric):
    rows = 3 * embeddings + 1
    model = quantizer(method, metric=metric, n_components=16 if method == "residual" else None)
    model.fit(rows[:700])
    assert model.score(rows[700:]) > 0.6
    recall = neighbor_recall_score(
        rows[700:],
        model.transform(rows[700:]),
        metric=metric,
        student_queries=model.transform_queries(rows[700:]),
    )
    assert recall > 0.15


def test_more_bytes_keep_more(embeddings):
    scores = [
        quantizer(n_bytes=n).fit(embeddings[:700]).score(embeddings[700:]) for n in (4, 16, 64)
    ]
    assert scores[0] < scores[1] < scores[2]
    assert scores[2] > 0.95


def test_the_number_of_dimensions_has_the_best_validation_score(fitted):
    model = fitted["product"]
    assert model.validation_scores_
    best = max(model.validation_scores_, key=model.validation_scores_.__getitem__)
    assert best == ("product", model.n_components_, False, True)


def test_a_method_and_a_number_of_dimensions_leave_nothing_to_choose(embeddings):
    model = quantizer(n_components=24).fit(embeddings)
    assert model.validation_scores_ == {}
    assert model.n_components_ == 24


def test_few_rows_are_fitted_without_validation(embeddings):
    model = quantizer(n_bytes=2).fit(embeddings[:50])
    assert model.validation_scores_ == {}
    np.testing.assert_array_equal(
        model.transform(embeddings[:50]), model.decode(model.encode(embeddings[:50]))
    )


@pytest.mark.parametrize(
    ("n_bytes", "methods"),
    [(4, {"residual", "product"}), (48, {"product"}), (64, {"product", "scalar"})],
)
def test_auto_chooses_between_methods(embeddings, n_bytes, methods):
    model = quantizer("auto", n_bytes=n_bytes).fit(embeddings)
    scores = model.validation_scores_
    assert {method for method, *_ in scores} == methods
    assert (model.method_, model.n_components_) == max(scores, key=scores.get)[:2]


def test_columns_of_few_values_are_decoded_almost_exactly():
    # Two columns of five values have 25 combinations; principal components have many more values.
    rows = np.random.default_rng(0).integers(0, 5, size=(600, 12)).astype(np.float32)
    model = quantizer("auto", n_bytes=6, metric="euclidean").fit(rows)
    exact, decoded = model.transform_queries(rows), model.transform(rows)
    np.testing.assert_allclose(decoded, exact, atol=0.01)
    np.testing.assert_allclose(decoded - decoded.mean(0), rows - rows.mean(0), atol=0.01)


def test_columns_are_not_coded_where_the_dimensions_are_given_or_the_input_is_sparse(embeddings):
    rows = embeddings[:400, :32]
    assert _codes_columns(quantizer(n_bytes=4).fit(rows))
    assert not _codes_columns(quantizer(n_bytes=4, n_components=16).fit(rows))
    assert not _codes_columns(quantizer(n_bytes=4).fit(sp.csr_array(rows)))
    assert not _codes_columns(quantizer(n_bytes=4).fit(rows, teacher_embeddings=embeddings[:400]))


def _codes_columns(model):
    return any(not rotated for *_, rotated in model.validation_scores_)


def test_a_trained_distiller_is_tried_with_a_teacher_only(embeddings):
    model = quantizer(n_bytes=2).fit(embeddings[:700, :16], teacher_embeddings=embeddings[:700])
    assert {trained for _, _, trained, _ in model.validation_scores_} == {False, True}
    model = quantizer(n_bytes=2).fit(embeddings[:700])
    assert {trained for _, _, trained, _ in model.validation_scores_} == {False}


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_coded_dimensions_are_uncorrelated(embeddings, metric):
    rows = embeddings[:700] + 0.1
    queries = quantizer(metric=metric).fit(rows).transform_queries(rows).astype(np.float64)
    if metric == "euclidean":
        np.testing.assert_allclose(queries.mean(0), 0, atol=1e-5)
    moments = queries.T @ queries / len(rows)
    np.testing.assert_allclose(moments, np.diag(np.diag(moments)), atol=1e-5)


def test_residual_codes_of_many_bytes_have_groups_of_dimensions(embeddings):
    rows = embeddings[:400]
    model = quantizer("residual", n_bytes=20, n_components=48, beam_width=1).fit(rows)
    shapes = [codebook.shape for codebook in model.encoder_.code.codebooks()]
    assert shapes == [(7, 256, 16), (7, 256, 16), (6, 256, 16)]


@pytest.mark.parametrize("method", METHODS)
def test_equal_seeds_give_equal_codes(embeddings, method):
    rows = embeddings[:300]
    codes = [quantizer(method, n_components=None).fit(rows).encode(rows) for _ in range(2)]
    np.testing.assert_array_equal(*codes)


def random_states():
    """The global random states of NumPy and PyTorch."""
    keys = np.random.get_state()[1]  # noqa: NPY002
    return keys.tolist(), torch.get_rng_state().tolist()


def test_a_fit_changes_neither_its_input_nor_global_random_states(embeddings):
    rows, distiller = embeddings[:300].copy(), CoherenceDistiller(max_iter=0)
    states = random_states()
    quantizer(distiller=distiller).fit(rows)
    np.testing.assert_array_equal(rows, embeddings[:300])
    assert random_states() == states
    assert not hasattr(distiller, "student_")


def test_sparse_rows_of_a_transfer_are_coded():
    glosses = load_wordnet_glosses()
    texts, teacher = glosses.text[:600], glosses.data[:600]
    X = TfidfVectorizer(max_features=300).fit_transform(texts)
    distiller = CoherenceDistiller(max_iter=2)
    model = quantizer(n_bytes=8, n_components=32, distiller=distiller).fit(X, teacher)
    assert sp.issparse(X)
    assert model.encode(X).shape == (600, 8)
    expected = perception_coherence_score(
        teacher, model.transform(X), student_queries=model.transform_queries(X)
    )
    assert model.score(X, teacher) == pytest.approx(expected)
    assert expected > 0.6


def test_rows_of_weight_zero_are_left_out(embeddings):
    rows = embeddings[:300]
    weight = np.r_[np.ones(200), np.zeros(100)]
    weighted = quantizer(n_components=16).fit(rows, sample_weight=weight)
    alone = quantizer(n_components=16).fit(rows[:200])
    np.testing.assert_array_equal(weighted.encode(rows), alone.encode(rows))


@pytest.mark.parametrize("method", ["product", "residual", "scalar"])
def test_heavier_rows_are_coded_more_precisely(embeddings, method):
    weight = np.r_[np.full(100, 100.0), np.ones(600)]
    errors = []
    for sample_weight in (None, weight):
        model = quantizer(method, n_bytes=4, n_components=16)
        model.fit(embeddings[:700], sample_weight=sample_weight)
        exact, coded = (
            embed(embeddings[:100]) for embed in (model.transform_queries, model.transform)
        )
        errors.append(np.square(exact - coded).sum())
    assert errors[1] < errors[0]


def test_codes_are_written_to_a_memory_map(fitted, embeddings, tmp_path):
    model = fitted["product"]
    path = tmp_path / "rows.npy"
    np.save(path, embeddings)
    out = np.lib.format.open_memmap(tmp_path / "codes.npy", "w+", np.uint8, (1000, 8))
    assert model.encode(np.load(path, mmap_mode="r"), out=out) is out
    np.testing.assert_array_equal(out, model.encode(embeddings))


@pytest.mark.parametrize("call", ["encode", "transform", "transform_queries"])
def test_nan_is_refused(fitted, embeddings, call):
    rows = embeddings.copy()
    rows[3, 5] = np.nan
    with pytest.raises(ValueError, match="X contains NaN"):
        getattr(fitted["product"], call)(rows)


@pytest.mark.parametrize("call", ["encode", "decode", "transform", "transform_queries", "score"])
def test_a_quantizer_that_is_not_fitted_is_refused(embeddings, call):
    with pytest.raises(NotFittedError):
        getattr(quantizer(), call)(embeddings)


@pytest.mark.parametrize(
    ("codes", "error", "message"),
    [
        (np.zeros((2, 7), np.uint8), ValueError, r"codes must have shape \(n_samples, 8\)"),
        (np.zeros(8, np.uint8), ValueError, "codes must have shape"),
        (np.zeros((2, 8), np.int64), TypeError, "codes must be of uint8, got int64"),
        (np.zeros((2, 8)), TypeError, "codes must be of uint8, got float64"),
        ([["a"] * 8], TypeError, "codes must be of uint8"),
    ],
)
def test_other_codes_are_refused(fitted, codes, error, message):
    with pytest.raises(error, match=message):
        fitted["product"].decode(codes)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_bytes": 0}, "n_bytes"),
        ({"n_bytes": 257}, "n_bytes must be at most 256, which the 64 features of X take"),
        ({"n_components": 65}, "n_components must be at most 64, the number of features of X"),
        ({"n_components": 0}, "n_components"),
        ({"metric": "manhattan"}, "metric must be one of .*cosine.* got 'manhattan'"),
        ({"metric": "precomputed"}, "metric must be one of"),
        ({"method": "opq"}, "method"),
        ({"method": "int8", "n_bytes": 65}, "method='int8' codes 65 to 65 dimensions"),
        ({"method": "binary", "n_bytes": 9}, "method='binary' codes 65 to 72 dimensions"),
        (
            {"method": "scalar", "n_bytes": 4, "n_components": 33},
            "method='scalar' codes 1 to 32 dimensions",
        ),
        ({"method": "int4", "n_bytes": 4, "n_components": 12}, "change n_bytes or n_components"),
        ({"beam_width": 0}, "beam_width"),
        ({"distiller": "linear"}, "distiller"),
    ],
)
def test_bad_parameters_are_named(embeddings, parameters, message):
    with pytest.raises(ValueError, match=message):
        quantizer(**({"method": "product"} | parameters)).fit(embeddings)


def test_a_budget_above_the_teachers_size_is_refused(embeddings):
    with pytest.raises(ValueError, match="at most 40, which the 10 columns"):
        quantizer(n_bytes=41).fit(embeddings, embeddings[:, :10])


@pytest.mark.parametrize(
    ("out", "error"),
    [
        (np.zeros((1000, 8), np.float32), TypeError),
        (np.zeros((1000, 7), np.uint8), ValueError),
        ([], TypeError),
    ],
)
def test_other_outputs_are_refused(fitted, embeddings, out, error):
    with pytest.raises(error, match="out must be"):
        fitted["product"].encode(embeddings, out=out)


def test_queries_are_exact_or_coded(fitted, embeddings):
    with pytest.raises(ValueError, match="queries must be 'exact' or 'coded', got 'both'"):
        fitted["product"].score(embeddings, queries="both")


def test_a_clone_has_the_parameters_of_its_distiller():
    model = clone(quantizer(distiller=CoherenceDistiller(max_iter=3)))
    assert model.get_params()["distiller__max_iter"] == 3


def test_columns_are_named_after_the_class(fitted, embeddings):
    model = clone(fitted["product"]).set_output(transform="pandas").fit(embeddings)
    frame = model.transform(embeddings)
    assert next(iter(frame)) == "coherencequantizer0"
    assert frame.shape == (1000, model.n_components_)
