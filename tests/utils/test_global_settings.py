"""Global settings of PyTorch, NumPy and scikit-learn change no result of a public function."""

import inspect
import threading
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import references
import sklearn
import torch
from builders import small
from torch.overrides import TorchFunctionMode

import skperco
from skperco import datasets

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 10)).astype(np.float32)
TEACHER = RNG.normal(size=(48, 6)).astype(np.float32)
STUDENT = TEACHER[:, :3] + 0.1
WEIGHTS = RNG.integers(1, 4, 48).astype(float)
METRICS = ("cosine", "correlation", "euclidean", "manhattan", "sqeuclidean")


class Module(torch.nn.Module):
    """A user's own student that draws random numbers in training."""

    def __init__(self, n_features, n_components):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(n_features, 8, dtype=torch.float32),
            torch.nn.BatchNorm1d(8, dtype=torch.float32),
            torch.nn.Dropout(0.3),
            torch.nn.Linear(8, n_components, dtype=torch.float32),
        )

    def forward(self, rows):
        return self.layers(rows)


def euclidean(anchors, references):
    """A user's own metric."""
    return torch.cdist(anchors, references)


def fitted(**parameters):
    return small(**({"max_iter": 4, "early_stopping": True} | parameters)).fit


def embeddings(fit, *teacher):
    """Results of the methods of a fitted estimator, and its loss curve."""
    distiller = fit(X, *teacher)
    return [
        distiller.transform(X),
        distiller.transform(torch.from_numpy(X)),
        distiller.score(X, *teacher),
        distiller.loss_curve_,
        distiller.to_torch()(torch.from_numpy(X)).detach(),
    ]


def partial_fit():
    distiller = small(max_iter=4)
    for rows in (X[:24], X[24:]):
        distiller.partial_fit(rows)
    return distiller.transform(X)


def saved_and_loaded(tmp_path):
    path = tmp_path / "student.safetensors"
    distiller = small(max_iter=4)
    distiller.set_callbacks(skperco.Checkpoint(path, every=0))
    distiller.fit(X).save(path)
    return skperco.CoherenceDistiller.load(path).transform(X)


def exported(tmp_path):
    small(max_iter=4).fit(X).to_onnx(tmp_path / "student.onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(tmp_path / "student.onnx")
    return session.run(None, {"rows": X})[0]


def codes(method):
    """Results of the methods of a fitted quantizer."""
    quantizer = skperco.CoherenceQuantizer(
        1, method=method, beam_width=2, random_state=0, device="cpu"
    ).fit(X)
    encoded = quantizer.encode(X)
    return [
        encoded,
        quantizer.decode(encoded),
        quantizer.transform(torch.from_numpy(X)),
        quantizer.transform_queries(X),
        quantizer.score(X),
        quantizer.to_torch()(torch.from_numpy(X)),
    ]


def loss(**parameters):
    """Value of the loss and, where gradients are on, its gradient."""
    student, teacher = torch.from_numpy(STUDENT).requires_grad_(), torch.from_numpy(TEACHER)
    value = skperco.PerceptionCoherenceLoss(**parameters)(student, teacher)
    if not value.requires_grad:
        return [value]
    return [value.detach(), *torch.autograd.grad(value, student)]


def of_tensors(function, *arrays, **options):
    return function(*map(torch.from_numpy, arrays), **options)


CALLS = {
    "CoherenceDistiller": lambda: embeddings(fitted()),
    "CoherenceDistiller transfer": lambda: embeddings(fitted(), TEACHER),
    "CoherenceDistiller mlp": lambda: embeddings(fitted(student="mlp"), TEACHER),
    "CoherenceDistiller module": lambda: embeddings(fitted(student=Module), TEACHER),
    "CoherenceDistiller callable": lambda: embeddings(fitted(metric=euclidean)),
    "CoherenceDistiller weights": lambda: fitted()(X, sample_weight=WEIGHTS).transform(X),
    "CoherenceDistiller.partial_fit": partial_fit,
    "CoherenceDistiller.fit_transform": lambda: small(max_iter=2).fit_transform(X),
    "CoherenceDistiller.save": saved_and_loaded,
    "CoherenceDistiller.to_onnx": exported,
    "CoherenceQuantizer": lambda: codes("auto"),
    "CoherenceQuantizer scalar": lambda: codes("scalar"),
    "CoherenceQuantizer int8": lambda: codes("int8"),
    "CoherenceQuantizer binary": lambda: codes("binary"),
    "Checkpoint": saved_and_loaded,
    "CoherenceCurveDisplay": lambda: (
        skperco.CoherenceCurveDisplay.from_embeddings(TEACHER, {"student": STUDENT})
        .curves["student"]
        .coherences
    ),
    "CoherenceMatrixDisplay": lambda: (
        skperco.CoherenceMatrixDisplay.from_representations([TEACHER, STUDENT]).matrix
    ),
    "PerceptionCoherenceLoss": loss,
    "PerceptionCoherenceLoss local": lambda: loss(n_neighbors=5, rank_power=0.5),
    "PerceptionCoherenceScorer": lambda: skperco.PerceptionCoherenceScorer()(
        small(max_iter=0).fit(X), X
    ),
    "coherence_curve": lambda: (
        skperco.coherence_curve(TEACHER, STUDENT, sample_weight=WEIGHTS).coherences
    ),
    "neighbor_recall_score": lambda: skperco.neighbor_recall_score(TEACHER, STUDENT),
    "pairwise_dissimilarity": lambda: [
        of_tensors(skperco.pairwise_dissimilarity, TEACHER, TEACHER, metric=metric)
        for metric in (*METRICS, euclidean)
    ],
    "pairwise_perception_coherence": lambda: skperco.pairwise_perception_coherence(
        [TEACHER, STUDENT, X]
    ),
    "percentile_rank": lambda: of_tensors(skperco.percentile_rank, X),
    "perception_coherence_interval": lambda: skperco.perception_coherence_interval(
        TEACHER, STUDENT
    ),
    "perception_coherence_samples": lambda: skperco.perception_coherence_samples(TEACHER, STUDENT),
    "perception_coherence_score": lambda: [
        skperco.perception_coherence_score(
            TEACHER, STUDENT, metric=metric, sample_weight=WEIGHTS, n_jobs=2
        )
        for metric in (*METRICS, euclidean)
    ],
    "perception_coherence_test": lambda: skperco.perception_coherence_test(TEACHER, STUDENT, X),
    "show_versions": lambda: skperco.show_versions() or 0.0,
    "soft_percentile_rank": lambda: of_tensors(skperco.soft_percentile_rank, X),
    "load_wordnet_glosses": lambda: datasets.load_wordnet_glosses().data[:3],
}


@contextmanager
def using(setter, value, before):
    setter(value)
    try:
        yield
    finally:
        setter(before)


@contextmanager
def warnings_as_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


class ForwardingMode(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


def default_dtype(dtype):
    return using(torch.set_default_dtype, dtype, torch.float32)


SETTINGS = {
    "default dtype float64": lambda: default_dtype(torch.float64),
    "default dtype bfloat16": lambda: default_dtype(torch.bfloat16),
    # Tensors on the meta device have no values, so those created there by default would be lost.
    "default device": lambda: torch.device("meta"),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast to bfloat16": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "autocast to float16": lambda: torch.autocast("cpu", dtype=torch.float16),
    "deterministic algorithms": lambda: using(torch.use_deterministic_algorithms, True, False),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "saved tensors on the CPU": lambda: torch.autograd.graph.save_on_cpu(),
    "one autograd thread": lambda: torch.autograd.set_multithreading_enabled(False),
    "sparse invariants": lambda: torch.sparse.check_sparse_tensor_invariants(True),
    "torch function mode": ForwardingMode,
    "warn always": lambda: using(torch.set_warn_always, True, False),
    "NumPy errors raise": lambda: np.errstate(all="raise"),
    "warnings are errors": warnings_as_errors,
    "scikit-learn assumes finite": lambda: sklearn.config_context(assume_finite=True),
    "scikit-learn skips validation": lambda: sklearn.config_context(skip_parameter_validation=True),
    "scikit-learn outputs pandas": lambda: sklearn.config_context(transform_output="pandas"),
    "scikit-learn outputs polars": lambda: sklearn.config_context(transform_output="polars"),
    "scikit-learn routes metadata": lambda: sklearn.config_context(enable_metadata_routing=True),
    "scikit-learn works in little memory": lambda: sklearn.config_context(working_memory=1),
}


def numbers(result):
    """All values that a call returns, as arrays."""
    parts = result if isinstance(result, (list, tuple)) else [result]
    return [
        part.detach().to(torch.float64).cpu().numpy()
        if isinstance(part, torch.Tensor)
        else np.asarray(part, dtype=float)
        for part in parts
    ]


def called(name, tmp_path):
    call = CALLS[name]
    return numbers(call(tmp_path) if "tmp_path" in inspect.signature(call).parameters else call())


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Results under the defaults, each computed once."""
    known = {}

    def result(name):
        if name not in known:
            known[name] = called(name, tmp_path_factory.mktemp("expected"))
        return known[name]

    return result


def assert_equal(found, wanted):
    # Without gradients the loss returns its value only.
    assert found
    for one, other in zip(found, wanted, strict=False):
        np.testing.assert_array_equal(one, other)


def state():
    """Global settings and random states, to compare."""
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_num_threads(),
        np.geterr(),
        sklearn.get_config(),
        references.global_random_states(),
    )


# An export takes seconds, nearly all of them in PyTorch, so most exports are slow tests.
EXPORTED_UNDER = ("default dtype float64", "inference_mode", "autocast to bfloat16")
MATRIX = [
    pytest.param(
        name,
        setting,
        marks=pytest.mark.slow if "onnx" in name and setting not in EXPORTED_UNDER else (),
    )
    for name in CALLS
    for setting in SETTINGS
]


@pytest.mark.parametrize(("name", "setting"), MATRIX)
def test_global_settings_change_no_result_and_are_not_changed(name, setting, expected, tmp_path):
    wanted = expected(name)
    with SETTINGS[setting]():
        before = state()
        found = called(name, tmp_path)
        assert state() == before
    assert_equal(found, wanted)


@pytest.mark.parametrize("name", CALLS)
def test_results_in_two_concurrent_threads_equal_those_of_one(name, expected, tmp_path):
    wanted = expected(name)
    before = references.global_random_states()
    found, barrier = {}, threading.Barrier(2)

    def work(thread):
        folder = tmp_path / str(thread)
        folder.mkdir()
        barrier.wait()
        found[thread] = called(name, folder)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert references.global_random_states() == before
    for i in range(2):
        assert_equal(found[i], wanted)


def test_every_public_name_is_tested():
    public = {*skperco.__all__, *datasets.__all__}
    assert {name.split()[0].split(".")[0] for name in CALLS} == public


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("student", ["linear", "mlp"])
def test_an_exported_module_in_half_precision_stays_in_half_precision(dtype, student):
    module = small(student=student, max_iter=4).fit(X).to_torch()
    exact = module(torch.from_numpy(X))
    half = module.to(dtype)
    for rows in (torch.from_numpy(X), torch.from_numpy(X).to(dtype)):
        found = half(rows)
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), exact, atol=0.03, rtol=0)
