"""Methods of the estimator on the device, files and pickles included."""

import copy
import pickle

import joblib
import numpy as np
import pytest
import torch
from builders import small
from sklearn import config_context

from skperco import Checkpoint, CoherenceDistiller, PerceptionCoherenceScorer


@pytest.fixture(scope="module")
def fitted(device, rows):
    return small(device=device).fit(rows)


def on_device(array, device):
    return torch.from_numpy(array).to(device)


def test_device_auto_uses_the_accelerator(rows, operators):
    small(device="auto", max_iter=2).fit(rows)
    assert operators.counted_kernels()


@pytest.mark.parametrize("index", [1, 7])
def test_a_device_that_does_not_exist_is_refused(device, rows, index):
    with pytest.raises(ValueError, match=rf"device must be .*{device.type}.*{index}"):
        small(device=f"{device.type}:{index}").fit(rows)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_embeddings_of_tensors_are_on_the_device_of_the_tensors(
    device, rows, teacher, weights, dtype
):
    X, y, sample_weight = (on_device(array, device) for array in (rows, teacher, weights))
    distiller = small(device="auto", max_iter=2).fit(X, y, sample_weight=sample_weight)
    embeddings = distiller.transform(X.to(dtype))
    assert embeddings.device.type == device.type
    assert embeddings.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    expected = small(max_iter=2).fit(rows, teacher, sample_weight=weights)
    np.testing.assert_allclose(embeddings.cpu(), expected.transform(rows), atol=0.02)
    assert distiller.score(X, y, sample_weight=sample_weight) == pytest.approx(
        expected.score(rows, teacher, sample_weight=weights), abs=1e-3
    )
    fitted_embeddings = small(device="auto", max_iter=2).fit_transform(X, y)
    assert fitted_embeddings.device.type == device.type


def test_labels_on_the_device_are_ignored(device, rows):
    X, labels = on_device(rows, device), torch.arange(len(rows), device=device) % 3
    for y in (labels, labels[:, None], torch.eye(3, device=device)[labels].bool()):
        np.testing.assert_array_equal(
            small(max_iter=1).fit(X, y).transform(rows), small(max_iter=1).fit(X).transform(rows)
        )


def test_a_list_of_tensors_on_the_device_is_converted(device, rows, fitted):
    embeddings = fitted.transform(list(on_device(rows, device)))
    np.testing.assert_array_equal(embeddings, fitted.transform(rows))


@pytest.mark.parametrize("configure", ["method", "global"])
def test_set_output_pandas_applies_to_tensors_on_the_device(device, rows, fitted, configure):
    pandas = pytest.importorskip("pandas")
    distiller = copy.deepcopy(fitted)
    if configure == "method":
        distiller.set_output(transform="pandas")
    with config_context(transform_output="pandas" if configure == "global" else "default"):
        frame = distiller.transform(on_device(rows, device))
    assert isinstance(frame, pandas.DataFrame)
    np.testing.assert_array_equal(frame, fitted.transform(rows))


@pytest.mark.parametrize("with_teacher", [False, True])
def test_partial_fit_on_the_device_equals_the_cpu(device, rows, teacher, with_teacher):
    streams = []
    for where in (device, torch.device("cpu")):
        distiller = small(device="auto", max_iter=2)
        for part in np.array_split(np.arange(len(rows)), 3):
            y = on_device(teacher[part], where) if with_teacher else None
            distiller.partial_fit(on_device(rows[part], where), y)
        streams.append(distiller.transform(rows))
    np.testing.assert_allclose(*streams, atol=0.02)


def test_a_warm_start_continues_on_the_device(device, rows):
    fits = [
        small(device=where, warm_start=True, max_iter=3, early_stopping=False).fit(rows).fit(rows)
        for where in (device, "cpu")
    ]
    np.testing.assert_allclose(*(fit.transform(rows) for fit in fits), atol=0.02)


def test_transform_on_the_device_writes_into_out(rows, fitted):
    out = np.empty((len(rows), 4), dtype=np.float32)
    assert fitted.transform(rows, out=out) is out
    np.testing.assert_array_equal(out, fitted.transform(rows))


def test_a_torch_module_on_the_device_equals_transform(device, rows, fitted):
    module = fitted.to_torch().to(device)
    embeddings = module(on_device(rows, device))
    assert embeddings.device.type == device.type
    np.testing.assert_allclose(embeddings.detach().cpu(), fitted.transform(rows), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_torch_module_in_half_precision_approximates_transform(device, rows, fitted, dtype):
    embeddings = fitted.to_torch().to(device, dtype)(on_device(rows, device))
    np.testing.assert_allclose(embeddings.detach().float().cpu(), fitted.transform(rows), atol=0.02)


def test_an_onnx_model_equals_transform(rows, fitted, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    fitted.to_onnx(tmp_path / "model.onnx")
    (embeddings,) = runtime.InferenceSession(tmp_path / "model.onnx").run(None, {"rows": rows})
    np.testing.assert_allclose(embeddings, fitted.transform(rows), atol=1e-5)


@pytest.mark.parametrize("given", [str, torch.device])
def test_a_saved_file_keeps_the_device(device, rows, tmp_path, given):
    pytest.importorskip("safetensors")
    distiller = small(device=given(device), max_iter=2).fit(rows)
    distiller.save(tmp_path / "file")
    loaded = CoherenceDistiller.load(tmp_path / "file")
    assert torch.device(loaded.device) == device
    np.testing.assert_array_equal(loaded.transform(rows), distiller.transform(rows))
    on_cpu = CoherenceDistiller.load(tmp_path / "file", device="cpu")
    np.testing.assert_allclose(on_cpu.transform(rows), distiller.transform(rows), atol=1e-5)


def test_pickles_keep_the_device(device, rows, fitted, tmp_path):
    joblib.dump(fitted, tmp_path / "file")
    for again in (pickle.loads(pickle.dumps(fitted)), joblib.load(tmp_path / "file")):
        assert again.device == device
        np.testing.assert_array_equal(again.transform(rows), fitted.transform(rows))


def test_a_checkpoint_is_saved_from_the_device(device, rows, tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "file"
    small(device=device, max_iter=2).set_callbacks(Checkpoint(path, every=0)).fit(rows)
    assert CoherenceDistiller.load(path).transform(rows).shape == (len(rows), 4)


def test_fit_leaves_a_given_module_on_the_device(device, rows):
    module = torch.nn.Linear(32, 4).to(device)
    small(student=module, device=device, max_iter=2).fit(rows)
    assert module.weight.device.type == device.type


def test_fit_does_not_change_the_random_state_of_the_device(device, rows):
    class Noisy(torch.nn.Linear):
        def forward(self, rows):
            return super().forward(rows) + 0.01 * torch.randn(len(rows), 4, device=rows.device)

    distiller = small(student=Noisy(32, 4), device=device, max_iter=2)
    torch.manual_seed(5)
    expected = torch.rand(3, device=device), torch.rand(3)
    torch.manual_seed(5)
    embeddings = distiller.fit(rows).transform(rows)
    assert torch.equal(torch.rand(3, device=device), expected[0])
    assert torch.equal(torch.rand(3), expected[1])
    np.testing.assert_array_equal(distiller.fit(rows).transform(rows), embeddings)


def test_fit_on_the_cpu_does_not_change_the_random_state_of_the_device(device, rows):
    torch.manual_seed(5)
    expected = torch.rand(3, device=device)
    torch.manual_seed(5)
    small(student=torch.nn.Linear, device="cpu", max_iter=2).fit(rows)
    assert torch.equal(torch.rand(3, device=device), expected)


def test_a_student_factory_that_draws_on_the_device_is_repeatable(device, rows):
    class Drawn(torch.nn.Module):
        def __init__(self, n_features, n_components):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(n_components, n_features, device=device))

        def forward(self, rows):
            return rows @ self.weight.T

    fits = [small(student=Drawn, device=device, max_iter=2).fit(rows) for _ in range(2)]
    assert torch.equal(*(fit.student_.weight for fit in fits))


def test_feature_names_parameters_and_scorer_of_a_fit_on_the_device(fitted, rows, teacher):
    assert fitted.get_feature_names_out().tolist() == [f"coherencedistiller{i}" for i in range(4)]
    assert fitted.set_params(verbose=False) is fitted
    scorer = PerceptionCoherenceScorer(device="auto")
    assert scorer(fitted, rows, teacher) == pytest.approx(fitted.score(rows, teacher), abs=1e-9)
