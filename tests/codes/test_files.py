"""Quantizers are saved and loaded without pickle, and altered files are refused."""

import pickle
import subprocess
import sys

import joblib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from skperco import CoherenceDistiller, CoherenceQuantizer

METHODS = {"residual": 2, "product": 4, "scalar": 4, "int8": 8, "int4": 8, "binary": 2}


@pytest.fixture(scope="module")
def rows(embeddings):
    return embeddings[:200]


def fit(rows, method="product", **parameters):
    n_bytes = METHODS[method]
    given = {"random_state": 0, "beam_width": 2} | parameters
    return CoherenceQuantizer(n_bytes, method=method, **given).fit(rows)


@pytest.mark.parametrize("method", METHODS)
def test_a_loaded_quantizer_encodes_and_decodes_as_before(rows, method, tmp_path):
    quantizer = fit(rows, method)
    quantizer.save(tmp_path / "file")
    loaded = CoherenceQuantizer.load(tmp_path / "file")
    codes = quantizer.encode(rows)
    np.testing.assert_array_equal(loaded.encode(rows), codes)
    np.testing.assert_array_equal(loaded.decode(codes), quantizer.decode(codes))
    np.testing.assert_array_equal(loaded.transform_queries(rows), quantizer.transform_queries(rows))
    assert loaded.get_params() == quantizer.get_params()
    for name in ("method_", "n_components_", "n_bytes_", "validation_scores_", "metric_"):
        assert getattr(loaded, name) == getattr(quantizer, name)
    assert loaded.score(rows) == quantizer.score(rows)


def test_saving_a_loaded_quantizer_writes_the_same_file(rows, tmp_path):
    fit(rows).save(tmp_path / "first")
    CoherenceQuantizer.load(tmp_path / "first").save(tmp_path / "second")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_another_process_decodes_the_same_codes(rows, metric, tmp_path):
    quantizer = fit(rows, metric=metric)
    quantizer.save(tmp_path / "file")
    np.save(tmp_path / "rows.npy", rows)
    code = (
        "import sys, numpy as np, skperco;"
        "folder = sys.argv[1];"
        "quantizer = skperco.CoherenceQuantizer.load(folder + '/file');"
        "codes = quantizer.encode(np.load(folder + '/rows.npy'));"
        "np.save(folder + '/codes.npy', codes);"
        "np.save(folder + '/decoded.npy', quantizer.decode(codes))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    codes = np.load(tmp_path / "codes.npy")
    np.testing.assert_array_equal(codes, quantizer.encode(rows))
    np.testing.assert_array_equal(np.load(tmp_path / "decoded.npy"), quantizer.decode(codes))


@pytest.mark.parametrize("copy", [pickle.dumps, "joblib"])
def test_a_pickled_quantizer_encodes_as_before(rows, copy, tmp_path):
    quantizer = fit(rows)
    if copy == "joblib":
        joblib.dump(quantizer, tmp_path / "file")
        copied = joblib.load(tmp_path / "file")
    else:
        copied = pickle.loads(copy(quantizer))
    np.testing.assert_array_equal(copied.encode(rows), quantizer.encode(rows))


def test_a_file_of_another_estimator_is_refused(rows, tmp_path):
    CoherenceDistiller(4, max_iter=0).fit(rows).save(tmp_path / "distiller")
    with pytest.raises(ValueError, match="holds a 'CoherenceDistiller', not a CoherenceQuantizer"):
        CoherenceQuantizer.load(tmp_path / "distiller")
    fit(rows).save(tmp_path / "quantizer")
    with pytest.raises(ValueError, match="holds a 'CoherenceQuantizer', not a CoherenceDistiller"):
        CoherenceDistiller.load(tmp_path / "quantizer")


def test_a_file_with_another_centroid_is_refused(rows, tmp_path):
    fit(rows).save(tmp_path / "file")
    tensors = load_file(tmp_path / "file")
    tensors["encoder/centroids"][0] += 1
    save_file(tensors, tmp_path / "other")
    with pytest.raises(ValueError, match="was not saved by skperco"):
        CoherenceQuantizer.load(tmp_path / "other")
    contents = bytearray((tmp_path / "file").read_bytes())
    contents[-1] ^= 1
    (tmp_path / "file").write_bytes(contents)
    with pytest.raises(ValueError, match="checksum mismatch"):
        CoherenceQuantizer.load(tmp_path / "file")


@pytest.mark.parametrize(
    "alter",
    [
        {"encoder/centroids": lambda value: value[:-1]},
        {"encoder/encoder.offset": lambda value: value[:-1]},
        {"encoder/encoder.rotation": lambda value: value[:-1]},
        {"encoder/shapes": lambda value: value[:-1]},
        {"encoder/shapes": lambda value: value + 1},
        {"encoder/beam_width": lambda value: value[None].repeat(2)},
        {"encoder/encoder.query_scale": lambda value: value[None]},
    ],
)
def test_tensors_that_do_not_fit_together_are_refused(rows, alter, tmp_path, monkeypatch):
    from skperco.codes import _files

    pack = _files._pack

    def altered(quantizer):
        document, tensors = pack(quantizer)
        return document, tensors | {name: change(tensors[name]) for name, change in alter.items()}

    monkeypatch.setattr(_files, "_pack", altered)
    fit(rows).save(tmp_path / "file")
    with pytest.raises(ValueError, match="cannot be loaded"):
        CoherenceQuantizer.load(tmp_path / "file")


def test_a_callable_metric_of_the_teacher_must_be_given(rows, tmp_path):
    def metric(anchors, references):
        return torch.cdist(anchors, references)

    quantizer = fit(rows, teacher_metric=metric, n_components=8)
    quantizer.save(tmp_path / "file")
    with pytest.raises(ValueError, match="teacher_metric must be passed"):
        CoherenceQuantizer.load(tmp_path / "file")
    loaded = CoherenceQuantizer.load(tmp_path / "file", teacher_metric=metric)
    assert loaded.score(rows) == quantizer.score(rows)


def test_unknown_parameters_are_refused(rows, tmp_path):
    fit(rows).save(tmp_path / "file")
    with pytest.raises(ValueError, match="'n_bits' is not a parameter of CoherenceQuantizer"):
        CoherenceQuantizer.load(tmp_path / "file", n_bits=3)
