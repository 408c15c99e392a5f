import json
import os
import pickle
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skperco import Checkpoint, CoherenceDistiller
from skperco.io._safetensors import read_file, write_file

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
    for name in ("loss_curve_", "validation_scores_", "fraction_", "n_iter_", "n_samples_seen_"):
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
def test_what_is_loaded_is_what_was_saved(tmp_path, parameters, teacher):
    fitted = distiller(**parameters).fit(ROWS, teacher)
    loaded = round_trip(fitted, tmp_path / "file", **{})
    assert_same(loaded, fitted, names=("random_state", "device", "n_components"))
    assert loaded.n_components == fitted.n_components
    # It also learns on as the other does.
    if teacher is None and fitted.max_iter:
        again = [one.set_params(warm_start=True).fit(ROWS) for one in (loaded, fitted)]
        assert_same(*again, names=("random_state", "device", "n_components"))


@pytest.mark.parametrize("given_as", [lambda: a_module(), lambda: lambda *_: a_module()])
def test_a_module_is_asked_for(tmp_path, given_as):
    fitted = distiller(student=given_as()).fit(ROWS, TEACHER)
    module = given_as()
    loaded = round_trip(fitted, tmp_path / "file", student=module)
    assert_same(loaded, fitted, names=("student",))
    if isinstance(module, torch.nn.Module):
        assert loaded.student_ is not module
    with pytest.raises(ValueError, match="student could not be saved: give"):
        CoherenceDistiller.load(tmp_path / "file")
    with pytest.raises(ValueError, match="student is not the module that was fitted"):
        CoherenceDistiller.load(tmp_path / "file", student=torch.nn.Linear(12, 4))


def test_a_function_is_asked_for(tmp_path):
    fitted = distiller(metric=a_metric, batch_size=16, n_references=8, max_iter=2).fit(ROWS)
    loaded = round_trip(fitted, tmp_path / "file", metric=a_metric)
    assert_same(loaded, fitted)
    with pytest.raises(ValueError, match="metric could not be saved: give"):
        CoherenceDistiller.load(tmp_path / "file")


def test_parameters_can_be_replaced_but_for_the_student(tmp_path):
    distiller().fit(ROWS).save(tmp_path / "file")
    assert CoherenceDistiller.load(tmp_path / "file", warm_start=True).warm_start
    with pytest.raises(ValueError, match="student= cannot replace"):
        CoherenceDistiller.load(tmp_path / "file", student="mlp")
    with pytest.raises(ValueError, match="'depth' is no parameter"):
        CoherenceDistiller.load(tmp_path / "file", depth=3)
    with pytest.raises(ValueError, match="'max_iter' parameter"):
        CoherenceDistiller.load(tmp_path / "file", max_iter=-1)


def test_names_and_output_are_kept(tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(ROWS, columns=[f"feature {number}" for number in range(12)])
    loaded = round_trip(distiller().set_output(transform="pandas").fit(frame), tmp_path / "file")
    assert list(loaded.feature_names_in_) == list(frame.columns)
    assert isinstance(loaded.transform(frame), pd.DataFrame)


def test_a_device_that_is_not_here_becomes_automatic(tmp_path):
    fitted = distiller().fit(ROWS)
    expected = fitted.transform(ROWS)
    loaded = round_trip(fitted.set_params(device="cuda:77"), tmp_path / "file")
    assert loaded.device == "auto"
    np.testing.assert_array_equal(loaded.transform(ROWS), expected)


@pytest.mark.parametrize("seed", [0, np.random.RandomState(0)])
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("teacher", [None, TEACHER])
def test_a_stream_goes_on_in_another_process(tmp_path, seed, kind, teacher):
    teacher = TEACHER if kind is sp.csr_array else teacher
    of = [slice(0, 120), slice(120, 200), slice(200, 300)]

    def learn(one, part):
        return one.partial_fit(kind(ROWS[part]), None if teacher is None else teacher[part])

    stayed = distiller(max_samples=150, random_state=seed)
    learn(learn(stayed, of[0]), of[1])
    moved = round_trip(stayed, tmp_path / "file")
    assert_same(learn(moved, of[2]), learn(stayed, of[2]), names=("random_state",))


def test_a_stream_keeps_the_student_that_it_began_with(tmp_path):
    stayed = distiller().fit(ROWS[:100]).partial_fit(ROWS[100:200])
    moved = round_trip(stayed, tmp_path / "file")
    assert_same(moved.partial_fit(ROWS[200:]), stayed.partial_fit(ROWS[200:]))


def test_nothing_to_save(tmp_path):
    with pytest.raises(ValueError, match="not fitted"):
        distiller().save(tmp_path / "file")


def test_a_class_loads_its_own(tmp_path):
    class Other(CoherenceDistiller):
        pass

    distiller().fit(ROWS).save(tmp_path / "file")
    with pytest.raises(ValueError, match="holds a 'CoherenceDistiller', not a Other"):
        Other.load(tmp_path / "file")


def test_a_state_that_is_no_tensor(tmp_path):
    class Told(torch.nn.Linear):
        def get_extra_state(self):
            return "a word"

        def set_extra_state(self, state):
            pass

    fitted = distiller(student=Told(12, 4)).fit(ROWS)
    with pytest.raises(ValueError, match=r"student \(Told\) has a state that is no tensor"):
        fitted.save(tmp_path / "file")
    assert not list(tmp_path.iterdir())


class Saved:
    """A file's contents, and what it transforms to."""

    def __init__(self, path):
        fitted = distiller(student="mlp", hidden_layer_sizes=(5,)).fit(ROWS)
        fitted.partial_fit(ROWS[:90]).save(path)
        self.contents, self.embeddings = path.read_bytes(), fitted.transform(ROWS)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return Saved(tmp_path_factory.mktemp("saved") / "file")


def mutant(contents, rng):
    """Contents with bits flipped, cut, swapped or inflated."""
    contents = bytearray(contents)
    header = 8 + int.from_bytes(contents[:8], "little")
    kind = rng.integers(6)
    if kind == 0:  # a bit, anywhere
        contents[rng.integers(len(contents))] ^= 1 << int(rng.integers(8))
    elif kind == 1:  # bits of the header
        for place in rng.integers(header, size=rng.integers(1, 4)):
            contents[place] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        contents = contents[: rng.integers(len(contents))]
    elif kind == 3:  # two stretches swapped
        start, other = np.sort(rng.choice(header - 20, 2, replace=False))
        size = min(int(rng.integers(1, 12)), other - start)
        stretch = contents[start : start + size]
        contents[start : start + size] = contents[other : other + size]
        contents[other : other + size] = stretch
    elif kind == 4:  # a digit of the header becomes others: sizes, shapes, places
        digits = [place for place in range(8, header) if chr(contents[place]).isdigit()]
        place = rng.choice(digits)
        contents[place : place + 1] = b"9" * int(rng.integers(1, 15))
    else:  # longer
        contents[:8] = int(rng.integers(2**62)).to_bytes(8, "little")
    return bytes(contents)


@contextmanager
def saying_so(path):
    """An error, if any, is one of those that are documented, and names the file."""
    try:
        yield
    except (OSError, ValueError) as error:
        if str(path) not in str(error):
            raise


def assert_loads_the_same_or_says_so(path, expected):
    with saying_so(path):
        np.testing.assert_array_equal(CoherenceDistiller.load(path).transform(ROWS), expected)


def test_mutants_load_the_same_or_say_so(saved, tmp_path):
    path, rng = tmp_path / "mutant", np.random.default_rng(0)
    for _ in range(N_MUTANTS):
        path.write_bytes(mutant(saved.contents, rng))
        assert_loads_the_same_or_says_so(path, saved.embeddings)


@pytest.mark.slow
def test_damaged_files_are_read_fast_and_with_little_memory(saved, tmp_path):
    resource = pytest.importorskip("resource")
    path, rng = tmp_path / "mutant", np.random.default_rng(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(300):
        path.write_bytes(mutant(saved.contents, rng))
        begun = time.perf_counter()
        assert_loads_the_same_or_says_so(path, saved.embeddings)
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


def places(value, path=()):
    """All places of a document."""
    yield path
    if isinstance(value, list):
        value = dict(enumerate(value[:9]))
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))


def to_forge(saved, tmp_path_factory):
    """A file of its own, and what it holds."""
    path = tmp_path_factory.mktemp("forged") / "file"
    path.write_bytes(saved.contents)
    return path, *read_file(path)


@settings(max_examples=300)
@given(st.data())
def test_documents_with_a_checksum_of_their_own_load_or_say_so(saved, tmp_path_factory, data):
    path, document, tensors = to_forge(saved, tmp_path_factory)
    *keys, last = data.draw(st.sampled_from([place for place in places(document) if place]))
    inner = document
    for key in keys:
        inner = inner[key]
    inner[last] = data.draw(JSON)
    write_file(path, document, tensors)
    with saying_so(path):
        CoherenceDistiller.load(path)


def test_numbers_that_are_too_large_for_their_place(saved, tmp_path_factory):
    path, document, tensors = to_forge(saved, tmp_path_factory)
    document["stream"]["random_state"]["RandomState"][2] = 10**30
    write_file(path, document, tensors)
    with pytest.raises(ValueError, match="does not hold what a CoherenceDistiller needs"):
        CoherenceDistiller.load(path)


@settings(max_examples=50)
@given(st.data())
def test_tensors_with_a_checksum_of_their_own_load_or_say_so(saved, tmp_path_factory, data):
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
    with saying_so(path):
        CoherenceDistiller.load(path).transform(ROWS)


def test_foreign_files(tmp_path):
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
    with pytest.raises(ValueError, match="no file that skperco has saved"):
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
    images, norms = ROWS @ weight.T, np.linalg.norm(ROWS, axis=1, keepdims=True)
    lost = 1 - np.linalg.norm(images, axis=1, keepdims=True) / norms
    images = images + lost * (stretch * images + norms * shift)
    expected = images / np.linalg.norm(images, axis=1, keepdims=True)
    loaded = CoherenceDistiller.load(path)
    np.testing.assert_allclose(loaded.transform(ROWS), expected, atol=1e-12)


def test_a_later_format(saved, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(saved.contents.replace(b'"skperco":"1 ', b'"skperco":"2 '))
    with pytest.raises(ValueError, match=r"is of format '2', and this version .* up to 1"):
        CoherenceDistiller.load(path)


def test_a_document_too_deep(tmp_path):
    path = tmp_path / "file"
    deep = []
    for _ in range(500):
        deep = [deep]
    write_file(path, {"class": "CoherenceDistiller", "missing": deep}, {})
    with pytest.raises(ValueError, match=str(path)):
        CoherenceDistiller.load(path)


def test_the_disk_is_full_or_forbidden(tmp_path, monkeypatch):
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


SAVE_FOR_EVER = """
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
def test_killed_at_any_moment_the_file_is_whole(tmp_path):
    rng = np.random.default_rng(0)
    both = []
    for name, seed in (("old", 0), ("new", 1)):
        one = distiller(random_state=seed, student="mlp").fit(ROWS)
        one.save(tmp_path / name)
        both.append((tmp_path / name).read_bytes())
    (tmp_path / "file").write_bytes(both[0])
    for _ in range(N_KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVE_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE
        )
        process.stdout.readline()
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.wait()
        process.stdout.close()
        assert (tmp_path / "file").read_bytes() in both
    assert len({path.name for path in tmp_path.iterdir()} - {"file", "old", "new"}) <= N_KILLS


def test_a_fit_goes_on_from_its_checkpoint(tmp_path):
    class Dies(Checkpoint):
        left = 4

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            super().on_fit_task_end(estimator, context, fitted_estimator=fitted_estimator)
            self.left -= 1
            if not self.left:
                raise RuntimeError("dies")

    path = tmp_path / "checkpoint"
    fitting = distiller(max_iter=20, early_stopping=False).set_callbacks(Dies(path, every=0))
    with pytest.raises(RuntimeError, match="dies"):
        fitting.fit(ROWS)
    closed = distiller(max_iter=0).fit(ROWS)
    loaded = CoherenceDistiller.load(path, warm_start=True, max_iter=0)
    assert not np.array_equal(loaded.transform(ROWS), closed.transform(ROWS))
    expected = loaded.transform(ROWS)
    np.testing.assert_array_equal(loaded.fit(ROWS).transform(ROWS), expected)


def test_checkpoints_wait(tmp_path):
    distiller().set_callbacks(Checkpoint(tmp_path / "checkpoint", every=1e6)).fit(ROWS)
    assert not list(tmp_path.iterdir())


def test_the_document_is_json_that_tells_versions(saved, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(saved.contents)
    document, _ = read_file(path)
    assert document["versions"]["torch"] == torch.__version__
    assert document == json.loads(json.dumps(document))
