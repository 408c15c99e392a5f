import numpy as np
import pytest
import torch
from builders import small

from skperco.datasets import load_wordnet_glosses

N_ROWS = 10_000
KINDS = pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"metric": "euclidean"},
        {"metric": "correlation"},
        {"student": "mlp"},
        {"student": "mlp", "metric": "euclidean"},
    ],
    ids=str,
)


@pytest.fixture(scope="module")
def rows():
    """Embeddings of glosses, and sums of two of them at many scales; the last two rows are zero."""
    glosses = load_wordnet_glosses().data[:5000]
    more = glosses + np.roll(glosses, 1, axis=0)
    more *= np.logspace(-10, 10, len(more), dtype=np.float32)[:, None]
    more[-2:] = 0
    return np.concatenate([glosses, more]).astype(np.float32)[:N_ROWS]


def embeddings_and_scales(distiller, rows):
    """Embeddings, and the scale of each for relative errors."""
    expected = distiller.transform(rows)
    return expected, np.abs(expected).max(1, keepdims=True).clip(1e-30)


@KINDS
def test_embeddings_of_an_exported_torch_module_equal_those_of_transform(rows, parameters):
    distiller = small(8, **parameters).fit(rows[:400])
    expected, scales = embeddings_and_scales(distiller, rows)
    module = distiller.to_torch()
    assert not module.training
    found = module(torch.from_numpy(rows)).detach().numpy()
    np.testing.assert_allclose(found / scales, expected / scales, atol=1e-6)


def test_training_an_exported_torch_module_does_not_change_the_distiller(rows):
    distiller = small(8).fit(rows[:400])
    expected = distiller.transform(rows[:5])
    module = distiller.to_torch()
    module(torch.from_numpy(rows[:5])).sum().backward()
    with torch.no_grad():
        for parameter in module.parameters():
            assert parameter.grad is not None
            parameter.add_(1)
    np.testing.assert_array_equal(distiller.transform(rows[:5]), expected)


@KINDS
def test_embeddings_of_an_onnx_model_equal_those_of_transform(rows, parameters, tmp_path):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    distiller = small(8, **parameters).fit(rows[:400])
    distiller.to_onnx(tmp_path / "student.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "student.onnx")
    expected, scales = embeddings_and_scales(distiller, rows)
    (found,) = session.run(["embeddings"], {"rows": rows})
    np.testing.assert_allclose(found / scales, expected / scales, atol=1e-5)
    assert session.run(None, {"rows": rows[:1]})[0].shape == (1, 8)


def test_an_onnx_model_of_a_module_with_integer_input_equals_transform(tmp_path):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    tokens = np.random.default_rng(0).integers(50, size=(300, 6))
    teacher = np.random.default_rng(1).normal(size=(300, 16))
    distiller = small(4, student=torch.nn.EmbeddingBag(50, 4)).fit(tokens, teacher)
    distiller.to_onnx(tmp_path / "student.onnx", example=tokens[:3])
    session = onnxruntime.InferenceSession(tmp_path / "student.onnx")
    (found,) = session.run(None, {"rows": tokens})
    np.testing.assert_allclose(found, distiller.transform(tokens), atol=1e-5)


@pytest.mark.skipif(
    torch.__version__.startswith("2.7."),
    reason="PyTorch 2.7 crashes on branches that depend on data",
)
def test_a_module_that_cannot_be_exported_raises_an_error_and_writes_no_file(rows, tmp_path):
    pytest.importorskip("onnxscript")

    class Branches(torch.nn.Linear):
        def forward(self, rows):
            return super().forward(rows if rows.sum() > 0 else -rows)

    distiller = small(4, student=Branches(rows.shape[1], 4)).fit(rows[:400])
    with pytest.raises(ValueError, match=r"student \(Branches\) cannot be exported"):
        distiller.to_onnx(tmp_path / "student.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["to_torch", "to_onnx"])
def test_exporting_an_unfitted_distiller_raises_an_error(method, tmp_path):
    with pytest.raises(ValueError, match="not fitted"):
        getattr(small(), method)(*[tmp_path / "file"] * (method == "to_onnx"))
