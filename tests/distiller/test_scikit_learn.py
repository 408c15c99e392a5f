"""Copies, names of features, data frames, verbosity and devices."""

import pickle

import numpy as np
import pytest
import torch
from builders import small
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

STUDENTS = pytest.mark.parametrize("student", ["linear", "mlp"])


@STUDENTS
def test_a_pickled_estimator_returns_the_same_embeddings(rows, student):
    distiller = small(student=student).fit(rows)
    again = pickle.loads(pickle.dumps(distiller))
    np.testing.assert_array_equal(again.transform(rows), distiller.transform(rows))


def test_a_clone_has_the_parameters_but_not_the_fit(rows):
    parameters = {"student": "mlp", "metric": "euclidean", "hidden_layer_sizes": [4], "max_iter": 2}
    distiller = small(3, **parameters).fit(rows)
    cloned = clone(distiller)
    assert cloned.get_params() == distiller.get_params()
    assert parameters.items() <= cloned.get_params().items()
    with pytest.raises(NotFittedError):
        cloned.transform(rows)


def test_names_of_output_features(rows):
    distiller = small(3).fit(rows)
    expected = [f"coherencedistiller{i}" for i in range(3)]
    assert distiller.get_feature_names_out().tolist() == expected
    assert distiller.n_features_in_ == rows.shape[1]
    assert not hasattr(distiller, "feature_names_in_")


def test_set_output_pandas_keeps_the_index_and_names_columns(rows):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(rows[:, :5], columns=list("abcde"), index=np.arange(300) + 7)
    distiller = small(3).set_output(transform="pandas").fit(frame)
    found = distiller.transform(frame)
    assert distiller.feature_names_in_.tolist() == list("abcde")
    assert found.columns.tolist() == distiller.get_feature_names_out().tolist()
    assert (found.index == frame.index).all()
    expected = small(3).fit(rows[:, :5]).transform(rows[:, :5])
    np.testing.assert_array_equal(found, expected)
    teacher = pandas.DataFrame(rows[:, 5:15])
    by_frame = small(3).fit(frame, teacher).transform(frame)
    np.testing.assert_array_equal(
        by_frame, small(3).fit(frame, teacher.to_numpy()).transform(frame)
    )


def test_progress_is_printed_only_if_verbose(rows, capsys):
    small().fit(rows)
    assert capsys.readouterr() == ("", "")
    small(verbose=True).fit(rows)
    printed = capsys.readouterr().out
    assert "step 8/8" in printed
    assert "held-out rows: coherence" in printed
    assert all(line.startswith("[CoherenceDistiller]") for line in printed.splitlines())


@pytest.mark.parametrize("device", ["auto", "cpu", torch.device("cpu")])
def test_device_can_be_auto_a_name_or_a_torch_device(rows, device):
    distiller = small(device=device).fit(rows)
    assert next(distiller.student_.parameters()).device.type == "cpu"
    found, expected = distiller.transform(rows), small().fit(rows).transform(rows)
    np.testing.assert_allclose(found, expected, atol=1e-3)
