"""Results depend on random_state and on nothing else."""

import subprocess
import sys

import numpy as np
import pytest
from builders import small
from references import global_random_states

STUDENTS = pytest.mark.parametrize("student", ["linear", "mlp"])


PRINT_TRANSFORM = """
import hashlib
from skperco import CoherenceDistiller
from skperco.datasets import load_wordnet_glosses
rows = load_wordnet_glosses().data[:300]
distiller = CoherenceDistiller(
    8, student="mlp", batch_size=32, n_references=64, max_iter=8, random_state=3, device="cpu"
)
for teacher in (None, rows[:, :100]):
    print(hashlib.sha256(distiller.fit(rows, teacher).transform(rows).tobytes()).hexdigest())
"""


def test_results_are_bit_for_bit_the_same_in_another_process():
    command = [sys.executable, "-c", PRINT_TRANSFORM]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (process.communicate()[0].split() for process in processes)
    assert [len(digest) for digest in first] == [64, 64]
    assert first == second


@STUDENTS
def test_results_depend_only_on_random_state(rows, student):
    first, again, other = (
        small(student=student, random_state=seed, early_stopping=False).fit(rows).transform(rows)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_random_state_instance_is_advanced_by_fit(rows):
    states = [np.random.RandomState(0) for _ in range(2)]
    first, again = (small(random_state=state).fit_transform(rows) for state in states)
    np.testing.assert_array_equal(first, again)
    assert states[0].randint(2**31) == states[1].randint(2**31)
    assert states[0].randint(2**31) != np.random.RandomState(0).randint(2**31)


@STUDENTS
def test_global_random_states_are_unchanged(rows, texts, student):
    states = global_random_states()
    small(student=student).fit(rows).transform(rows)
    distiller = small(student=student).fit(texts[:300], rows)
    distiller.score(texts[:300], rows)
    assert global_random_states() == states
