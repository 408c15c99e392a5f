"""Every method of the estimator on the device, and the device in its files and pickles."""

import copy
import pickle

import joblib
import numpy as np
import pytest
import torch
from builders import small
from sklearn import config_context

from skperco import Checkpoint, CoherenceDistiller, PerceptionCoherenceScorer, show_versions


@pytest.fixture(scope="module")
def fitted(device, rows):
    return small(device=device).fit(rows)


def here(array, device):
    return torch.from_numpy(array).to(device)


def test_auto_takes_the_accelerator(rows, operators):
    small(device="auto", max_iter=2).fit(rows)
    assert operators.counted_kernels()


@pytest.mark.parametrize("index", [1, 7])
def test_a_device_that_does_not_exist_is_refused(device, rows, index):
    with pytest.raises(ValueError, match=rf"device must be .*{device.type}.*{index}"):
        small(device=f"{device.type}:{index}").fit(rows)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_stay_on_their_device(device, rows, teacher, weights, dtype):
    X, y, sample_weight = (here(array, device) for array in (rows, teacher, weights))
    distiller = small(device="auto", max_iter=2).fit(X, y, sample_weight=sample_weight)
    images = distiller.transform(X.to(dtype))
    assert images.device.type == device.type
    assert images.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    expected = small(max_iter=2).fit(rows, teacher, sample_weight=weights)
    np.testing.assert_allclose(images.cpu(), expected.transform(rows), atol=0.02)
    assert distiller.score(X, y, sample_weight=sample_weight) == pytest.approx(
        expected.score(rows, teacher, sample_weight=weights), abs=1e-3
    )
    fitted_images = small(device="auto", max_iter=2).fit_transform(X, y)
    assert fitted_images.device.type == device.type


def test_labels_may_be_on_the_device(device, rows):
    X, labels = here(rows, device), torch.arange(len(rows), device=device) % 3
    for y in (labels, labels[:, None], torch.eye(3, device=device)[labels].bool()):
        np.testing.assert_array_equal(
            small(max_iter=1).fit(X, y).transform(rows), small(max_iter=1).fit(X).transform(rows)
        )


def test_lists_of_tensors_of_the_device_are_rows(device, rows, fitted):
    images = fitted.transform(list(here(rows, device)))
    np.testing.assert_array_equal(images, fitted.transform(rows))


@pytest.mark.parametrize("configure", ["method", "global"])
def test_frames_are_made_of_tensors_of_the_device(device, rows, fitted, configure):
    pandas = pytest.importorskip("pandas")
    distiller = copy.deepcopy(fitted)
    if configure == "method":
        distiller.set_output(transform="pandas")
    with config_context(transform_output="pandas" if configure == "global" else "default"):
        frame = distiller.transform(here(rows, device))
    assert isinstance(frame, pandas.DataFrame)
    np.testing.assert_array_equal(frame, fitted.transform(rows))


@pytest.mark.parametrize("with_teacher", [False, True])
def test_a_stream_is_that_of_the_cpu(device, rows, teacher, with_teacher):
    streams = []
    for where in (device, torch.device("cpu")):
        distiller = small(device="auto", max_iter=2)
        for part in np.array_split(np.arange(len(rows)), 3):
            y = here(teacher[part], where) if with_teacher else None
            distiller.partial_fit(here(rows[part], where), y)
        streams.append(distiller.transform(rows))
    np.testing.assert_allclose(*streams, atol=0.02)


def test_a_warm_start_continues_on_the_device(device, rows):
    fits = [
        small(device=where, warm_start=True, max_iter=3, early_stopping=False).fit(rows).fit(rows)
        for where in (device, "cpu")
    ]
    np.testing.assert_allclose(*(fit.transform(rows) for fit in fits), atol=0.02)


def test_embeddings_are_written_where_wanted(rows, fitted):
    out = np.empty((len(rows), 4), dtype=np.float32)
    assert fitted.transform(rows, out=out) is out
    np.testing.assert_array_equal(out, fitted.transform(rows))


def test_a_module_embeds_on_the_device(device, rows, fitted):
    module = fitted.to_torch().to(device)
    images = module(here(rows, device))
    assert images.device.type == device.type
    np.testing.assert_allclose(images.detach().cpu(), fitted.transform(rows), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_module_embeds_in_half_precision(device, rows, fitted, dtype):
    images = fitted.to_torch().to(device, dtype)(here(rows, device))
    np.testing.assert_allclose(images.detach().float().cpu(), fitted.transform(rows), atol=0.02)


def test_an_onnx_model_embeds(rows, fitted, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    fitted.to_onnx(tmp_path / "model.onnx")
    (images,) = runtime.InferenceSession(tmp_path / "model.onnx").run(None, {"rows": rows})
    np.testing.assert_allclose(images, fitted.transform(rows), atol=1e-5)


@pytest.mark.parametrize("given", [str, torch.device])
def test_a_file_keeps_the_device(device, rows, tmp_path, given):
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


def test_a_module_that_is_given_on_the_device_stays_there(device, rows):
    module = torch.nn.Linear(32, 4).to(device)
    small(student=module, device=device, max_iter=2).fit(rows)
    assert module.weight.device.type == device.type


def test_a_fit_leaves_the_random_state_of_the_device_alone(device, rows):
    class Noisy(torch.nn.Linear):
        def forward(self, rows):
            return super().forward(rows) + 0.01 * torch.randn(len(rows), 4, device=rows.device)

    distiller = small(student=Noisy(32, 4), device=device, max_iter=2)
    torch.manual_seed(5)
    expected = torch.rand(3, device=device), torch.rand(3)
    torch.manual_seed(5)
    images = distiller.fit(rows).transform(rows)
    assert torch.equal(torch.rand(3, device=device), expected[0])
    assert torch.equal(torch.rand(3), expected[1])
    np.testing.assert_array_equal(distiller.fit(rows).transform(rows), images)


def test_a_fit_on_the_cpu_leaves_the_random_state_of_the_device_alone(device, rows):
    torch.manual_seed(5)
    expected = torch.rand(3, device=device)
    torch.manual_seed(5)
    small(student=torch.nn.Linear, device="cpu", max_iter=2).fit(rows)
    assert torch.equal(torch.rand(3, device=device), expected)


def test_a_maker_of_modules_that_draws_on_the_device_repeats_itself(device, rows):
    class Drawn(torch.nn.Module):
        def __init__(self, n_features, n_components):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(n_components, n_features, device=device))

        def forward(self, rows):
            return rows @ self.weight.T

    fits = [small(student=Drawn, device=device, max_iter=2).fit(rows) for _ in range(2)]
    assert torch.equal(*(fit.student_.weight for fit in fits))


def test_the_rest_of_the_estimator_needs_no_device(fitted, rows, teacher, capsys):
    assert fitted.get_feature_names_out().tolist() == [f"coherencedistiller{i}" for i in range(4)]
    assert fitted.set_params(verbose=False) is fitted
    assert "fake" in capsys.readouterr().out or show_versions() is None
    scorer = PerceptionCoherenceScorer(device="auto")
    assert scorer(fitted, rows, teacher) == pytest.approx(fitted.score(rows, teacher), abs=1e-9)
