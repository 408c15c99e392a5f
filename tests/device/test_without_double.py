"""A device without double precision is refused; device="auto" uses the CPU instead."""

import numpy as np
import pytest
import torch
from builders import METRIC_NAMES, small

from skperco import (
    CoherenceDistiller,
    PerceptionCoherenceLoss,
    coherence_curve,
    neighbor_recall_score,
    pairwise_dissimilarity,
    pairwise_perception_coherence,
    percentile_rank,
    perception_coherence_interval,
    perception_coherence_samples,
    perception_coherence_score,
    perception_coherence_test,
    show_versions,
    soft_percentile_rank,
)

SCORES = [
    perception_coherence_score,
    perception_coherence_samples,
    perception_coherence_interval,
    neighbor_recall_score,
    lambda *rows, **options: coherence_curve(*rows, **options).coherences,
    lambda *rows, **options: pairwise_perception_coherence(rows, **options),
    lambda *rows, **options: perception_coherence_test(*rows, rows[1], **options),
]

pytestmark = pytest.mark.usefixtures("without_double")


def test_device_auto_uses_the_cpu(rows, operators):
    distiller = small(device="auto", max_iter=2).fit(rows)
    distiller.transform(rows)
    distiller.score(rows)
    assert not operators.counted_kernels()


def test_estimator_on_the_device_is_refused(device, rows):
    message = rf"device must have double precision, which '{device}' lacks: use device='cpu'"
    with pytest.raises(ValueError, match=message):
        small(device=device).fit(rows)
    distiller = small(device="cpu", max_iter=2).fit(rows).set_params(device=device)
    for method in (distiller.transform, distiller.score, distiller.partial_fit):
        with pytest.raises(ValueError, match=message):
            method(rows)


@pytest.mark.parametrize("score", SCORES)
def test_score_on_the_device_is_refused(device, rows, teacher, score):
    with pytest.raises(ValueError, match="device must have double precision"):
        score(teacher, rows, device=device)
    expected = score(teacher, rows)
    np.testing.assert_array_equal(
        np.asarray(score(teacher, rows, device="auto")), np.asarray(expected)
    )


def test_tensors_on_the_device_are_processed_on_the_cpu(device, rows, teacher):
    X, y = (torch.from_numpy(array).to(device) for array in (rows, teacher))
    distiller = small(device="auto", max_iter=2).fit(X, y)
    embeddings = distiller.transform(X)
    assert embeddings.device.type == device.type
    expected = small(device="cpu", max_iter=2).fit(rows, teacher)
    np.testing.assert_array_equal(embeddings.cpu(), expected.transform(rows))
    assert distiller.score(X, y) == expected.score(rows, teacher)
    streamed = small(device="auto", max_iter=2).partial_fit(X, y)
    np.testing.assert_array_equal(streamed.transform(rows), expected.transform(rows))


def test_a_file_with_the_device_is_loaded_with_device_auto(device, rows, tmp_path):
    pytest.importorskip("safetensors")
    distiller = small(device="cpu", max_iter=2).fit(rows).set_params(device=device)
    distiller.save(tmp_path / "file")
    assert CoherenceDistiller.load(tmp_path / "file").device == "auto"


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda table: PerceptionCoherenceLoss()(table, table), "student"),
        (percentile_rank, "dissimilarities"),
        (soft_percentile_rank, "dissimilarities"),
    ],
)
def test_ranks_and_loss_on_the_device_are_refused(device, call, name):
    with pytest.raises(ValueError, match=f"^{name} is on a device without double precision"):
        call(torch.ones(5, 4, device=device))


@pytest.mark.parametrize("metric", METRIC_NAMES)
def test_dissimilarities_need_no_double_precision(device, metric, rows):
    single = torch.from_numpy(rows[:9])
    expected = pairwise_dissimilarity(single, single[3:], metric=metric)
    anchors = single.to(device).requires_grad_()
    found = pairwise_dissimilarity(anchors, anchors[3:], metric=metric)
    torch.testing.assert_close(found.detach().cpu(), expected, atol=1e-5, rtol=1e-4)
    found.sum().backward()
    assert anchors.grad.isfinite().all()


def test_show_versions_names_the_device(device, capsys):
    show_versions()
    assert device.type in capsys.readouterr().out
