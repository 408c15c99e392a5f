import json
import os
import pickle
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skperco import Checkpoint, CoherenceDistiller
from skperco.io._safetensors import read_file, write_file
from skperco.io._serialization import pack

pytest.importorskip("safetensors")

ROWS = np.random.default_rng(0).normal(size=(300, 12))
TEACHER = np.random.default_rng(1).normal(size=(300, 20))
N_MUTANTS = 2000
N_KILLS = 50


def a_module():
    return torch.nn.Sequential(
        torch.nn.Linear(12, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 4)
    )


def a_metric(anchors, references):
    return (anchors[..., :, None, :] - references[..., None, :, :]).abs().sum(-1)


def distiller(**parameters):
    return CoherenceDistiller(
        **{"n_components": 4, "max_iter": 8, "batch_size": 64, "random_state": 0} | parameters
    )


def round_trip(fitted, path, **parameters):
    fitted.save(path)
    return type(fitted).load(path, **parameters)


def assert_same(found, expected, names=()):
    """The same parameters, attributes and embeddings."""
    for name, value in expected.get_params().items():
        if name not in names:
            assert repr(found.get_params()[name]) == repr(value)
    for name in (
        *("loss_curve_", "validation_scores_", "fraction_", "alpha_"),
        *("n_iter_", "n_samples_seen_", "metric_", "teacher_metric_"),
    ):
        assert getattr(found, name) == getattr(expected, name)
    np.testing.assert_array_equal(found.transform(ROWS), expected.transform(ROWS))


@pytest.mark.parametrize(
    ("parameters", "teacher"),
    [
        ({}, None),
        ({}, TEACHER),
        ({"metric": "euclidean"}, None),
        ({"student": "mlp", "hidden_layer_sizes": (7, 5)}, None),
        ({"student": "mlp", "hidden_layer_sizes": [6]}, TEACHER),
        ({"max_iter": 0, "n_components": None}, None),
        ({"random_state": np.random.RandomState(3)}, None),
        ({"n_components": np.int64(3), "device": torch.device("cpu")}, None),
    ],
)
def test_a_loaded_distiller_equals_the_saved_one(tmp_path, parameters, teacher):
    fitted = distiller(**parameters).fit(ROWS, teacher)
    loaded = round_trip(fitted, tmp_path / "file", **{})
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "file").read_bytes()
    assert_same(loaded, fitted, names=("random_state", "device", "n_components"))
    assert loaded.n_components == fitted.n_components
    # A continued fit gives the same result as that of the saved distiller.
    if teacher is None and fitted.max_iter:
        again = [one.set_params(warm_start=True).fit(ROWS) for one in (loaded, fitted)]
        assert_same(*again, names=("random_state", "device", "n_components"))


@pytest.mark.parametrize("given_as", [lambda: a_module(), lambda: lambda *_: a_module()])
def test_loading_a_user_defined_module_requires_it_as_an_argument(tmp_path, given_as):
    fitted = distiller(student=given_as()).fit(ROWS, TEACHER)
    module = given_as()
    loaded = round_trip(fitted, tmp_path / "file", student=module)
    assert_same(loaded, fitted, names=("student",))
    if isinstance(module, torch.nn.Module):
        assert loaded.student_ is not module
    with pytest.raises(ValueError, match="student must be passed, since a file contains no code"):
        CoherenceDistiller.load(tmp_path / "file")
    with pytest.raises(ValueError, match="student is not the module that was fitted"):
        CoherenceDistiller.load(tmp_path / "file", student=torch.nn.Linear(12, 4))


def test_loading_a_callable_metric_requires_it_as_an_argument(tmp_path):
    fitted = distiller(metric=a_metric, batch_size=16, n_references=8, max_iter=2).fit(ROWS)
    loaded = round_trip(fitted, tmp_path / "file", metric=a_metric)
    assert_same(loaded, fitted)
    with pytest.raises(ValueError, match="metric must be passed, since a file contains no code"):
        CoherenceDistiller.load(tmp_path / "file")


def test_load_replaces_parameters_except_the_student(tmp_path):
    distiller().fit(ROWS).save(tmp_path / "file")
    assert CoherenceDistiller.load(tmp_path / "file", warm_start=True).warm_start
    with pytest.raises(ValueError, match="student= cannot replace"):
        CoherenceDistiller.load(tmp_path / "file", student="mlp")
    with pytest.raises(ValueError, match="'depth' is not a parameter"):
        CoherenceDistiller.load(tmp_path / "file", depth=3)
    with pytest.raises(ValueError, match="'max_iter' parameter"):
        CoherenceDistiller.load(tmp_path / "file", max_iter=-1)


def test_feature_names_and_output_container_are_saved(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(ROWS, columns=[f"feature {i}" for i in range(12)])
    loaded = round_trip(distiller().set_output(transform="pandas").fit(frame), tmp_path / "file")
    assert list(loaded.feature_names_in_) == list(frame.columns)
    assert isinstance(loaded.transform(frame), pd.DataFrame)


def test_a_device_that_this_machine_does_not_have_becomes_auto(tmp_path):
    fitted = distiller().fit(ROWS)
    expected = fitted.transform(ROWS)
    loaded = round_trip(fitted.set_params(device="cuda:77"), tmp_path / "file")
    assert loaded.device == "auto"
    np.testing.assert_array_equal(loaded.transform(ROWS), expected)


@pytest.mark.parametrize("seed", [0, np.random.RandomState(0)])
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("teacher", [None, TEACHER])
def test_partial_fit_continues_a_loaded_stream(tmp_path, seed, kind, teacher):
    teacher = TEACHER if kind is sp.csr_array else teacher
    parts = [slice(0, 120), slice(120, 200), slice(200, 300)]

    def learn(one, part):
        return one.partial_fit(kind(ROWS[part]), None if teacher is None else teacher[part])

    stayed = distiller(max_samples=150, random_state=seed)
    learn(learn(stayed, parts[0]), parts[1])
    moved = round_trip(stayed, tmp_path / "file")
    assert_same(learn(moved, parts[2]), learn(stayed, parts[2]), names=("random_state",))


def test_a_loaded_stream_keeps_its_initial_student(tmp_path):
    stayed = distiller().fit(ROWS[:100]).partial_fit(ROWS[100:200])
    moved = round_trip(stayed, tmp_path / "file")
    assert_same(moved.partial_fit(ROWS[200:]), stayed.partial_fit(ROWS[200:]))


def test_saving_an_unfitted_distiller_raises_an_error(tmp_path):
    with pytest.raises(ValueError, match="not fitted"):
        distiller().save(tmp_path / "file")


def test_loading_with_another_class_raises_an_error(tmp_path):
    class Other(CoherenceDistiller):
        pass

    distiller().fit(ROWS).save(tmp_path / "file")
    with pytest.raises(ValueError, match="holds a 'CoherenceDistiller', not a Other"):
        Other.load(tmp_path / "file")


def test_saving_a_module_whose_state_is_not_a_tensor_raises_an_error(tmp_path):
    class WithExtraState(torch.nn.Linear):
        def get_extra_state(self):
            return "a word"

        def set_extra_state(self, state):
            pass

    fitted = distiller(student=WithExtraState(12, 4)).fit(ROWS)
    with pytest.raises(
        ValueError, match=r"student \(WithExtraState\) has a state that is not a tensor"
    ):
        fitted.save(tmp_path / "file")
    assert not list(tmp_path.iterdir())


class Saved:
    """The contents of a file, and the distiller that was saved."""

    def __init__(self, path):
        self.fitted = distiller(student="mlp", hidden_layer_sizes=(5,)).fit(ROWS)
        self.fitted.partial_fit(ROWS[:90]).save(path)
        self.contents = path.read_bytes()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return Saved(tmp_path_factory.mktemp("saved") / "file")


def mutant(contents, rng):
    """Contents that are truncated, or in which bits, ranges or sizes are changed."""
    contents = bytearray(contents)
    header = 8 + int.from_bytes(contents[:8], "little")
    kind = rng.integers(6)
    if kind == 0:  # a bit, anywhere
        contents[rng.integers(len(contents))] ^= 1 << int(rng.integers(8))
    elif kind == 1:  # bits of the header
        for position in rng.integers(header, size=rng.integers(1, 4)):
            contents[position] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        contents = contents[: rng.integers(len(contents))]
    elif kind == 3:  # two ranges swapped
        start, other = np.sort(rng.choice(header - 20, 2, replace=False))
        size = min(int(rng.integers(1, 12)), other - start)
        part = contents[start : start + size]
        contents[start : start + size] = contents[other : other + size]
        contents[other : other + size] = part
    elif kind == 4:  # a digit of the header replaced: sizes, shapes, offsets
        digits = [i for i in range(8, header) if chr(contents[i]).isdigit()]
        position = rng.choice(digits)
        contents[position : position + 1] = b"9" * int(rng.integers(1, 15))
    else:  # a wrong length of the header
        contents[:8] = int(rng.integers(2**62)).to_bytes(8, "little")
    return bytes(contents)


def load_or_none(path):
    """Load a distiller; None after one of the documented errors, which must name the file."""
    try:
        return CoherenceDistiller.load(path)
    except (OSError, ValueError) as error:
        if str(path) not in str(error):
            raise
        return None


def state_of(distiller):
    """All that a file holds about a distiller, for comparison; without the versions."""
    document, tensors = pack(distiller)
    del document["versions"]
    return document, tensors


def assert_same_state(found, expected):
    """The same parameters, attributes, weights and stream, and the same types of them."""
    (document, tensors), (expected_document, expected_tensors) = found, expected
    assert json.dumps(document, sort_keys=True) == json.dumps(expected_document, sort_keys=True)
    assert tensors.keys() == expected_tensors.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == expected_tensors[name].dtype
        np.testing.assert_array_equal(tensor, expected_tensors[name])


def load_mutants(saved, path, rng, n_mutants):
    """Load corrupted files, each of which must raise an error or give the distiller saved."""
    expected, embeddings = state_of(saved.fitted), saved.fitted.transform(ROWS)
    for _ in range(n_mutants):
        path.write_bytes(mutant(saved.contents, rng))
        loaded = load_or_none(path)
        if loaded is not None:
            assert_same_state(state_of(loaded), expected)
            np.testing.assert_array_equal(loaded.transform(ROWS), embeddings)


def test_a_corrupted_file_raises_an_error_or_loads_what_was_saved(saved, tmp_path):
    load_mutants(saved, tmp_path / "mutant", np.random.default_rng(0), N_MUTANTS)


@pytest.mark.slow
def test_loading_a_corrupted_file_takes_little_time_and_memory(saved, tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rng = np.random.default_rng(1)
    for _ in range(300):
        begun = time.perf_counter()
        load_mutants(saved, tmp_path / "mutant", rng, 1)
        assert time.perf_counter() - begun < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def paths_in(value, path=()):
    """Paths to all values of a document."""
    yield path
    if isinstance(value, list):
        value = dict(enumerate(value[:9]))
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths_in(inner, (*path, key))


def to_forge(saved, tmp_path_factory):
    """A copy of the file, and its contents."""
    path = tmp_path_factory.mktemp("forged") / "file"
    path.write_bytes(saved.contents)
    return path, *read_file(path)


@settings(max_examples=300)
@given(st.data())
def test_a_forged_document_raises_an_error_or_is_loaded_as_it_is(saved, tmp_path_factory, data):
    path, document, tensors = to_forge(saved, tmp_path_factory)
    *keys, last = data.draw(st.sampled_from([keys for keys in paths_in(document) if keys]))
    inner = document
    for key in keys:
        inner = inner[key]
    inner[last] = data.draw(JSON)
    write_file(path, document, tensors)
    loaded = load_or_none(path)
    if loaded is not None:
        del document["versions"]
        # A device that this machine does not have becomes "auto".
        document["parameters"]["device"] = loaded.device
        assert_same_state(state_of(loaded), (document, tensors))
        np.testing.assert_array_equal(loaded.transform(ROWS), saved.fitted.transform(ROWS))


def test_an_integer_that_overflows_raises_an_error_that_names_the_file(saved, tmp_path_factory):
    path, document, tensors = to_forge(saved, tmp_path_factory)
    document["stream"]["random_state"]["RandomState"][2] = 10**30
    write_file(path, document, tensors)
    with pytest.raises(ValueError, match="does not contain what a CoherenceDistiller needs"):
        CoherenceDistiller.load(path)


@settings(max_examples=50)
@given(st.data())
def test_forged_tensors_raise_an_error_or_are_loaded_as_they_are(saved, tmp_path_factory, data):
    path, document, tensors = to_forge(saved, tmp_path_factory)
    name = data.draw(st.sampled_from(sorted(tensors)))
    how = data.draw(st.sampled_from(["drop", "nan", "cut", "other type", "other name"]))
    tensor = tensors.pop(name)
    if how == "nan":
        tensors[name] = torch.full_like(tensor.double(), torch.nan).to(tensor.dtype)
    elif how == "cut":
        tensors[name] = tensor.flatten()[:1].clone()
    elif how == "other type":
        tensors[name] = tensor.to(torch.int16)
    elif how == "other name":
        tensors[data.draw(st.text(max_size=5))] = tensor
    write_file(path, document, tensors)
    loaded = load_or_none(path)
    if loaded is not None:
        del document["versions"]
        assert_same_state(state_of(loaded), (document, tensors))
        np.testing.assert_array_equal(loaded.transform(ROWS), saved.fitted.transform(ROWS))


def test_files_of_other_formats_raise_an_error_and_run_no_code(tmp_path):
    path = tmp_path / "file"

    class Code:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "has run"),)

    path.write_bytes(pickle.dumps(Code()))
    with pytest.raises(ValueError, match="not a safetensors file"):
        CoherenceDistiller.load(path)
    torch.save(Code(), path)
    with pytest.raises(ValueError, match="not a safetensors file"):
        CoherenceDistiller.load(path)
    assert not (tmp_path / "has run").exists()
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="not a safetensors file"):
        CoherenceDistiller.load(path)
    from safetensors.torch import save_file

    save_file({"weight": torch.ones(3)}, path)
    with pytest.raises(ValueError, match="was not saved by skperco"):
        CoherenceDistiller.load(path)
    for absent in (tmp_path / "nothing", tmp_path):
        with pytest.raises(OSError, match=str(absent)):
            CoherenceDistiller.load(absent)


def test_files_of_the_first_format_load():
    path = Path(__file__).parent / "data" / "format_1.safetensors"
    document, tensors = read_file(path)
    assert document["class"] == "CoherenceDistiller"
    weight, stretch, shift = (
        tensors[f"student/{name}"].double().numpy() for name in ("weight", "stretch", "shift")
    )
    embeddings, norms = ROWS @ weight.T, np.linalg.norm(ROWS, axis=1, keepdims=True)
    lost = 1 - np.linalg.norm(embeddings, axis=1, keepdims=True) / norms
    embeddings = embeddings + lost * (stretch * embeddings + norms * shift)
    expected = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    loaded = CoherenceDistiller.load(path)
    np.testing.assert_allclose(loaded.transform(ROWS), expected, atol=1e-12)


def test_a_file_of_a_later_format_raises_an_error(saved, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(saved.contents.replace(b'"skperco":"1 ', b'"skperco":"2 '))
    with pytest.raises(ValueError, match=r"is of format '2', and this version .* up to 1"):
        CoherenceDistiller.load(path)


def test_a_document_nested_too_deeply_raises_an_error(tmp_path):
    path = tmp_path / "file"
    deep = []
    for _ in range(500):
        deep = [deep]
    write_file(path, {"class": "CoherenceDistiller", "missing": deep}, {})
    with pytest.raises(ValueError, match=str(path)):
        CoherenceDistiller.load(path)


def test_a_failed_save_leaves_the_existing_file_unchanged(tmp_path, monkeypatch):
    fitted = distiller().fit(ROWS)
    fitted.save(tmp_path / "file")
    before = (tmp_path / "file").read_bytes()

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        fitted.save(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == before


SAVE_FOREVER = """
import sys
from skperco import CoherenceDistiller
both = [CoherenceDistiller.load(f"{sys.argv[1]}/{name}") for name in ("old", "new")]
print("ready", flush=True)
while True:
    for one in both:
        one.save(f"{sys.argv[1]}/file")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_file_is_complete_if_the_process_is_killed_while_saving(tmp_path):
    rng = np.random.default_rng(0)
    both = []
    for name, seed in (("old", 0), ("new", 1)):
        one = distiller(random_state=seed, student="mlp").fit(ROWS)
        one.save(tmp_path / name)
        both.append((tmp_path / name).read_bytes())
    (tmp_path / "file").write_bytes(both[0])
    for _ in range(N_KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVE_FOREVER, str(tmp_path)], stdout=subprocess.PIPE
        )
        process.stdout.readline()
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.wait()
        process.stdout.close()
        assert (tmp_path / "file").read_bytes() in both
    assert len({path.name for path in tmp_path.iterdir()} - {"file", "old", "new"}) <= N_KILLS


def test_a_fit_continues_from_its_checkpoint(tmp_path):
    class Interrupting(Checkpoint):
        left = 4

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            super().on_fit_task_end(estimator, context, fitted_estimator=fitted_estimator)
            self.left -= 1
            if not self.left:
                raise RuntimeError("interrupted")

    path = tmp_path / "checkpoint"
    fitting = distiller(max_iter=20, early_stopping=False).set_callbacks(
        Interrupting(path, every=0)
    )
    with pytest.raises(RuntimeError, match="interrupted"):
        fitting.fit(ROWS)
    closed = distiller(max_iter=0).fit(ROWS)
    loaded = CoherenceDistiller.load(path, warm_start=True, max_iter=0)
    assert not np.array_equal(loaded.transform(ROWS), closed.transform(ROWS))
    expected = loaded.transform(ROWS)
    np.testing.assert_array_equal(loaded.fit(ROWS).transform(ROWS), expected)


def test_a_checkpoint_is_not_written_before_its_interval(tmp_path):
    distiller().set_callbacks(Checkpoint(tmp_path / "checkpoint", every=1e6)).fit(ROWS)
    assert not list(tmp_path.iterdir())


def test_a_file_contains_json_with_versions(saved, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(saved.contents)
    document, _ = read_file(path)
    # Not torch.__version__, which may have a local part, such as "+cu126".
    assert document["versions"]["torch"] == metadata.version("torch")
    assert document == json.loads(json.dumps(document))
