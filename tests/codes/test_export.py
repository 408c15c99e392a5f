"""Quantizers as PyTorch modules and ONNX models."""

import numpy as np
import pytest
import torch

from skperco import CoherenceQuantizer

METHODS = {"residual": 2, "product": 4, "scalar": 4, "int8": 8, "int4": 8, "binary": 2}


def fit(embeddings, method):
    quantizer = CoherenceQuantizer(
        METHODS[method], method=method, beam_width=2, random_state=0, device="cpu"
    )
    # With fewer rows, codebooks have copies of centroids, of which any may be chosen.
    return quantizer.fit(embeddings)


@pytest.mark.parametrize("method", METHODS)
def test_a_torch_module_computes_codes_queries_and_embeddings(embeddings, method):
    quantizer = fit(embeddings, method)
    module, rows = quantizer.to_torch(), torch.from_numpy(embeddings)
    codes = module(rows)
    assert codes.dtype == torch.uint8
    assert (codes.numpy() == quantizer.encode(embeddings)).mean() > 0.999
    np.testing.assert_allclose(
        module.embed(rows).detach(), quantizer.transform_queries(embeddings), atol=1e-6
    )
    np.testing.assert_array_equal(module.decode(codes), quantizer.decode(codes))


@pytest.mark.parametrize("method", METHODS)
def test_an_onnx_model_computes_codes_and_queries(embeddings, method, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    quantizer = fit(embeddings, method)
    quantizer.to_onnx(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    codes, queries = session.run(["codes", "embeddings"], {"rows": embeddings})
    assert codes.dtype == np.uint8
    assert (codes == quantizer.encode(embeddings)).mean() > 0.999
    np.testing.assert_allclose(queries, quantizer.transform_queries(embeddings), atol=1e-5)
