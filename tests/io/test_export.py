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
    """Glosses, sums of two of them, and rows of other sizes, the last two zero."""
    glosses = load_wordnet_glosses().data[:5000]
    more = glosses + np.roll(glosses, 1, axis=0)
    more *= np.logspace(-10, 10, len(more), dtype=np.float32)[:, None]
    more[-2:] = 0
    return np.concatenate([glosses, more]).astype(np.float32)[:N_ROWS]


def of_students(distiller, rows):
    """Relative errors, where embeddings have no unit norm."""
    expected = distiller.transform(rows)
    return expected, np.abs(expected).max(1, keepdims=True).clip(1e-30)


@KINDS
def test_a_torch_module_transforms(rows, parameters):
    distiller = small(8, **parameters).fit(rows[:400])
    expected, sizes = of_students(distiller, rows)
    module = distiller.to_torch()
    assert not module.training
    found = module(torch.from_numpy(rows)).detach().numpy()
    np.testing.assert_allclose(found / sizes, expected / sizes, atol=1e-6)


def test_a_torch_module_is_a_copy_with_gradients(rows):
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
def test_an_onnx_model_transforms(rows, parameters, tmp_path):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    distiller = small(8, **parameters).fit(rows[:400])
    distiller.to_onnx(tmp_path / "student.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "student.onnx")
    expected, sizes = of_students(distiller, rows)
    (found,) = session.run(["embeddings"], {"rows": rows})
    np.testing.assert_allclose(found / sizes, expected / sizes, atol=1e-5)
    assert session.run(None, {"rows": rows[:1]})[0].shape == (1, 8)


def test_an_onnx_model_of_a_module_that_takes_integers(tmp_path):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    tokens = np.random.default_rng(0).integers(50, size=(300, 6))
    teacher = np.random.default_rng(1).normal(size=(300, 16))
    distiller = small(4, student=torch.nn.EmbeddingBag(50, 4)).fit(tokens, teacher)
    distiller.to_onnx(tmp_path / "student.onnx", example=tokens[:3])
    session = onnxruntime.InferenceSession(tmp_path / "student.onnx")
    (found,) = session.run(None, {"rows": tokens})
    np.testing.assert_allclose(found, distiller.transform(tokens), atol=1e-5)


def test_a_module_that_cannot_be_exported(rows, tmp_path):
    pytest.importorskip("onnxscript")

    class Branches(torch.nn.Linear):
        def forward(self, rows):
            return super().forward(rows if rows.sum() > 0 else -rows)

    distiller = small(4, student=Branches(rows.shape[1], 4)).fit(rows[:400])
    with pytest.raises(ValueError, match=r"student \(Branches\) cannot be exported"):
        distiller.to_onnx(tmp_path / "student.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["to_torch", "to_onnx"])
def test_nothing_to_export(method, tmp_path):
    with pytest.raises(ValueError, match="not fitted"):
        getattr(small(), method)(*[tmp_path / "file"] * (method == "to_onnx"))
