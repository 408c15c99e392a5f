"""Scores, displays, dissimilarities and ranks on the device equal those on the CPU."""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from builders import METRIC_NAMES

from skperco import (
    CoherenceCurveDisplay,
    CoherenceMatrixDisplay,
    coherence_curve,
    neighbor_recall_score,
    pairwise_dissimilarity,
    pairwise_perception_coherence,
    percentile_rank,
    perception_coherence_interval,
    perception_coherence_samples,
    perception_coherence_score,
    perception_coherence_test,
    soft_percentile_rank,
)

SCORES = {
    "score": perception_coherence_score,
    "sampled score": lambda *rows, **options: perception_coherence_score(
        *rows, n_anchors=40, n_references=60, n_jobs=2, **options
    ),
    "samples": perception_coherence_samples,
    "interval": perception_coherence_interval,
    "test": lambda teacher, student, **options: perception_coherence_test(
        teacher, student, np.roll(student, 1, axis=1) ** 2, **options
    ),
    "recall": neighbor_recall_score,
    "curve": lambda *rows, **options: coherence_curve(*rows, **options).coherences,
}


def plain(teacher):
    return teacher


def tied(teacher):
    return np.round(8 * teacher[:, :5])


def sparse(teacher):
    return sp.csr_array(np.where(teacher > 0.05, teacher, 0))


def table(teacher):
    return np.round(np.linalg.norm(teacher[:, None] - teacher, axis=2), 2)


def distances(anchors, references):
    return torch.cdist(anchors, references)


# Conversion of the teacher's embeddings, metrics, and whether samples are weighted.
CASES = [
    *product([plain], [{"metric": metric} for metric in METRIC_NAMES], [False]),
    *product([tied], [{"metric": metric} for metric in METRIC_NAMES], [True]),
    (sparse, {"metric": "cosine"}, True),
    (sparse, {"metric": "euclidean"}, False),
    (table, {"metric": "cosine", "teacher_metric": "precomputed"}, True),
    (plain, {"metric": distances}, False),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].__name__} {case[1]}")
@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES.keys())
def test_score_on_the_device_equals_the_cpu(device, operators, score, case, teacher, weights):
    layout, metrics, weighted = case
    rows = layout(teacher[:70]), np.round(4 * teacher[:70, :3], 1)
    options = metrics | {"sample_weight": weights[:70] if weighted else None}
    expected = score(*rows, **options)
    assert not operators.counted_kernels()
    found = score(*rows, **options, device=device)
    assert operators.counted_kernels()
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=0, atol=1e-9)


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES.keys())
def test_scores_of_tensors_on_the_device_equal_those_of_arrays(device, score, teacher, weights):
    rows, options = (teacher[:90], teacher[:90, :3]), {"sample_weight": weights[:90]}
    expected = score(*rows, **options)
    rows = [torch.from_numpy(part).to(device) for part in rows]
    options = {"sample_weight": torch.from_numpy(weights[:90]).to(device)}
    if score is SCORES["test"]:
        rows = [part.cpu().numpy() for part in rows]
    np.testing.assert_allclose(np.asarray(score(*rows, **options)), np.asarray(expected))


def test_percentiles_on_the_device_are_converted(device, teacher):
    percentiles = torch.tensor([0.1, 0.5, 1.0], device=device)
    rows = teacher[:60], teacher[:60, :3]
    np.testing.assert_array_equal(
        coherence_curve(*rows, percentiles=percentiles, device=device).percentiles,
        coherence_curve(*rows, percentiles=[0.1, 0.5, 1.0]).percentiles.astype(np.float32),
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_pairwise_coherence_on_the_device_equals_the_cpu(device, teacher, weights, weighted):
    models = [teacher[:90], teacher[:90, :3], tied(teacher[:90])]
    weights = weights[:90] if weighted else None
    matrices = [
        pairwise_perception_coherence(models, sample_weight=weights, device=where)
        for where in (device, "cpu")
    ]
    np.testing.assert_allclose(*matrices, atol=1e-9)


def test_displays_computed_on_the_device_equal_the_cpu(device, teacher):
    rows = teacher[:60], teacher[:60, :3]
    curves = [
        CoherenceCurveDisplay.from_embeddings(*rows, device=where) for where in (device, "cpu")
    ]
    np.testing.assert_allclose(
        *(display.curves["student"].coherences for display in curves), atol=1e-9
    )
    matrices = [
        CoherenceMatrixDisplay.from_representations(rows, device=where) for where in (device, "cpu")
    ]
    np.testing.assert_allclose(*(matrix.matrix for matrix in matrices), atol=1e-9)
    plt.close("all")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("metric", [*METRIC_NAMES, distances])
def test_dissimilarities_and_their_gradients_equal_the_cpu(device, metric, dtype, teacher):
    results = []
    for where in (device, torch.device("cpu")):
        anchors, references = (
            torch.from_numpy(part).to(where, dtype).requires_grad_()
            for part in (teacher[:9], teacher[5:20])
        )
        table = pairwise_dissimilarity(anchors, references, metric=metric)
        table.square().sum().backward()
        assert table.device.type == where.type
        results.append([part.detach().cpu() for part in (table, anchors.grad, references.grad)])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rank", [percentile_rank, soft_percentile_rank])
def test_ranks_and_their_gradients_equal_the_cpu(device, rank, weighted, dtype):
    table = torch.randn(7, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    table = (5 * table).round() / 5 + 1
    weights = torch.arange(40) % 3 + 1.0 if weighted else None
    results = []
    for where in (device, torch.device("cpu")):
        rows = table.to(where, dtype).requires_grad_()
        ranks = rank(rows, weights=None if weights is None else weights.to(where, dtype))
        results.append([ranks.detach().cpu()])
        if rank is soft_percentile_rank:
            (ranks * torch.arange(40, device=where)).sum().backward()
            results[-1].append(rows.grad.cpu())
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
