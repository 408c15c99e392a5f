"""Students that are user-defined PyTorch modules."""

import copy
import pickle
from functools import partial

import builders
import numpy as np
import pytest
import references
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skperco import CoherenceDistiller, perception_coherence_score
from skperco.training._student_fit import StudentFit

N_ROWS = 300
N_WORDS = 64


class Dense(torch.nn.Module):
    """Two layers."""

    def __init__(self, n_features, n_components, hidden=16):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(n_features, hidden),
            torch.nn.Tanh(),
            torch.nn.Linear(hidden, n_components),
        )

    def forward(self, rows):
        return self.layers(rows.to(self.layers[0].weight.dtype))


class Convolutional(torch.nn.Module):
    """For images, with a dropout and a normalization that differ in training."""

    def __init__(self, n_channels, n_components, width=4):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(n_channels, width, 3),
            torch.nn.BatchNorm2d(width),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Dropout(0.1),
            torch.nn.Linear(36 * width, n_components),
        )

    def forward(self, images):
        return self.layers(images)


class Recurrent(torch.nn.Module):
    """For sequences of vectors."""

    def __init__(self, n_steps, n_components, n_features=8):
        super().__init__()
        self.recurrent = torch.nn.GRU(n_features, 12, batch_first=True)
        self.output = torch.nn.Linear(12, n_components)

    def forward(self, sequences):
        return self.output(self.recurrent(sequences)[0][:, -1])


class Bag(torch.nn.Module):
    """For token ids."""

    def __init__(self, n_tokens, n_components):
        super().__init__()
        self.words = torch.nn.EmbeddingBag(N_WORDS, n_components)

    def forward(self, tokens):
        return self.words(tokens)


class SparseWords(torch.nn.Module):
    """For sparse counts of words."""

    def __init__(self, n_features, n_components):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(n_features, n_components))

    def forward(self, counts):
        return counts @ self.weight


@pytest.fixture(scope="module")
def teacher():
    return load_digits().data[:N_ROWS]


@pytest.fixture(scope="module")
def inputs(teacher):
    """The same digits, as each kind of student takes them."""
    return {
        Dense: teacher,
        Convolutional: teacher.astype(np.float32).reshape(-1, 1, 8, 8) / 16,
        Recurrent: teacher.reshape(-1, 8, 8) / 16,
        # The tokens of a digit are the positions of its brightest pixels.
        Bag: np.argsort(-teacher, axis=1)[:, :12],
        SparseWords: sp.csr_array(teacher),
    }


KINDS = pytest.mark.parametrize(
    "kind", [Dense, Convolutional, Recurrent, Bag, SparseWords], ids=lambda kind: kind.__name__
)


def small(student, **parameters):
    return builders.small(
        **({"n_components": 4, "student": student, "teacher_metric": "euclidean"} | parameters)
    )


@KINDS
def test_module_is_fitted_scored_and_pickled(kind, inputs, teacher):
    X = inputs[kind]
    distiller = small(kind, max_iter=15).fit(X[:250], teacher[:250])
    embeddings = distiller.transform(X[250:])
    assert embeddings.shape == (50, 4)
    assert embeddings.dtype == (np.float64 if X.dtype == np.float64 else np.float32)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)
    expected = perception_coherence_score(teacher[250:], embeddings, teacher_metric="euclidean")
    assert distiller.score(X[250:], teacher[250:]) == expected > 0.55
    loaded = pickle.loads(pickle.dumps(distiller))
    np.testing.assert_array_equal(loaded.transform(X[250:]), embeddings)
    assert isinstance(distiller.student_, kind)


@KINDS
def test_grid_search_finds_the_better_number_of_components(kind, inputs, teacher):
    search = GridSearchCV(small(kind, max_iter=2), {"n_components": [1, 4]}, cv=2)
    search.fit(inputs[kind], teacher)
    assert search.best_params_ == {"n_components": 4}


def test_grid_search_over_callables_finds_the_larger_module(inputs, teacher):
    callables = [partial(Dense, hidden=hidden) for hidden in (1, 16)]
    search = GridSearchCV(small(None, max_iter=4), {"student": callables}, cv=2, n_jobs=2)
    search.fit(inputs[Dense], teacher)
    assert search.best_params_["student"].keywords == {"hidden": 16}


@pytest.mark.parametrize("early_stopping", [True, False])
def test_random_state_makes_a_fit_reproducible_and_keeps_global_states(
    early_stopping, inputs, teacher
):
    distiller = small(Convolutional, early_stopping=early_stopping)
    before = references.global_random_states()
    first = distiller.fit(inputs[Convolutional], teacher).transform(inputs[Convolutional])
    assert references.global_random_states() == before
    torch.manual_seed(7)
    second = distiller.fit(inputs[Convolutional], teacher).transform(inputs[Convolutional])
    np.testing.assert_array_equal(first, second)


def test_fit_copies_a_module_and_does_not_change_it(inputs, teacher):
    module = Dense(64, 4)
    before = copy.deepcopy(module.state_dict())
    distiller = small(module).fit(inputs[Dense], teacher)
    assert distiller.student is module
    assert distiller.student_ is not module
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert isinstance(clone(distiller).student, Dense)


def test_rows_are_not_changed_by_a_module_that_works_in_place(inputs, teacher):
    class InPlace(Dense):
        def forward(self, rows):
            return super().forward(rows.mul_(2))

    X = inputs[Dense].copy()
    distiller = small(InPlace).fit(X, teacher)
    distiller.transform(X)
    np.testing.assert_array_equal(X, inputs[Dense])


def test_the_final_fit_starts_from_the_module_as_it_was_given(inputs, teacher, monkeypatch):
    """Not from the module that the validation fit has trained."""
    module = Dense(64, 4)
    starts = []
    initialize = StudentFit.initialize

    def spy(fit, *arguments):
        starts.append(copy.deepcopy(fit.plan.student.state_dict()))
        return initialize(fit, *arguments)

    monkeypatch.setattr(StudentFit, "initialize", spy)
    small(module, early_stopping=True).fit(inputs[Dense], teacher)
    assert len(starts) > 1
    for name, value in module.state_dict().items():
        assert all(torch.equal(start[name], value) for start in starts)


def test_modules_are_in_training_mode_only_during_training(inputs, teacher):
    modes = []

    class Spy(Dense):
        def forward(self, rows):
            modes.append(self.training)
            return super().forward(rows)

    module = Spy(64, 4).eval()
    distiller = small(module, early_stopping=False, max_iter=3).fit(inputs[Dense], teacher)
    # One check in evaluation mode, then the steps of the regression and of the optimization.
    assert modes[0] is False
    assert all(modes[1:])
    assert len(modes) > 4 * 3
    del modes[:]
    distiller.transform(inputs[Dense])
    assert not any(modes)


def test_number_of_components_is_that_of_the_output_of_a_module(inputs, teacher):
    distiller = small(Dense(64, 7), n_components=None).fit(inputs[Dense], teacher)
    assert distiller.n_components_ == 7
    assert distiller.get_feature_names_out()[-1] == "coherencedistiller6"


def test_module_is_unchanged_without_training_steps(inputs, teacher):
    module = Dense(64, 4)
    distiller = small(module, max_iter=0, metric="euclidean").fit(inputs[Dense], teacher)
    with torch.no_grad():
        expected = module.double()(torch.from_numpy(inputs[Dense]))
    np.testing.assert_allclose(distiller.transform(inputs[Dense]), expected, rtol=1e-5)


@pytest.mark.parametrize("is_transfer", [False, True])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_optimization_improves_on_the_initial_regression(is_transfer, metric, glosses):
    """On real embeddings, with so few dimensions that it is difficult."""
    rows, new_rows = glosses.data[:1500], glosses.data[1500:2000]
    options = {"metric": metric, "random_state": 0, "device": "cpu", "max_iter": 60}
    distiller = CoherenceDistiller(8, student=partial(Dense, hidden=64), **options)
    distiller.fit(rows[:, :128] if is_transfer else rows, rows if is_transfer else None)
    assert distiller.fraction_ > 0
    assert distiller.validation_scores_[-1] > distiller.validation_scores_[0]
    embeddings = distiller.transform(new_rows[:, :128] if is_transfer else new_rows)
    assert perception_coherence_score(new_rows, embeddings, metric=metric) > 0.6


def test_rows_of_weight_zero_are_left_out(inputs, teacher):
    weights = np.where(np.arange(N_ROWS) < 200, 1.0, 0.0)
    corrupted = inputs[Dense].copy()
    corrupted[200:] = 1e6
    distiller = small(Dense)
    found = distiller.fit(corrupted, teacher, sample_weight=weights).transform(inputs[Dense])
    without = distiller.fit(inputs[Dense][:200], teacher[:200]).transform(inputs[Dense])
    np.testing.assert_array_equal(found, without)


def test_unused_and_frozen_parameters_do_not_change(inputs, teacher):
    class Frozen(Dense):
        def __init__(self, n_features, n_components):
            super().__init__(n_features, n_components)
            self.unused = torch.nn.Parameter(torch.ones(3))
            self.layers[0].weight.requires_grad_(False)

    module = Frozen(64, 4)
    distiller = small(module).fit(inputs[Dense], teacher)
    assert torch.equal(distiller.student_.unused, module.unused)
    assert torch.equal(distiller.student_.layers[0].weight, module.layers[0].weight)
    assert not torch.equal(distiller.student_.layers[2].weight, module.layers[2].weight)


def test_warm_start_continues_from_the_fitted_student(inputs, teacher):
    distiller = small(Dense, warm_start=True)
    first = distiller.fit(inputs[Dense], teacher).transform(inputs[Dense])
    again = distiller.set_params(max_iter=0).fit(inputs[Dense], teacher)
    np.testing.assert_array_equal(again.transform(inputs[Dense]), first)
    with pytest.raises(ValueError, match="student cannot change from 'module' to 'linear'"):
        distiller.set_params(student="linear").fit(inputs[Dense], teacher)


def test_modules_work_with_partial_fit_and_in_pipelines(inputs, teacher):
    distiller = small(Convolutional)
    for rows in (slice(150), slice(150, None)):
        distiller.partial_fit(inputs[Convolutional][rows], teacher[rows])
    assert distiller.n_samples_seen_ == N_ROWS
    pipeline = make_pipeline(small(Dense), LogisticRegression())
    labels = load_digits().target[:N_ROWS]
    assert cross_validate(pipeline, inputs[Dense], labels, cv=2)["test_score"].min() > 0.3


# Without training steps, since the checks compare weighted with repeated rows, whose random draws
# differ.
@parametrize_with_checks([CoherenceDistiller(1, student=Dense, max_iter=0)])
def test_estimator_with_a_module_passes_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


class Fails(Dense):
    """Raises an error."""

    def forward(self, rows):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


class NotFinite(Dense):
    def forward(self, rows):
        return super().forward(rows) / 0


class OneVector(Dense):
    def forward(self, rows):
        return super().forward(rows).sum(0)


class SeveralOutputs(Dense):
    def forward(self, rows):
        return super().forward(rows), rows


class NothingToLearn(torch.nn.Module):
    def forward(self, rows):
        return rows[:, :4]


class Elsewhere(Dense):
    """Has a tensor that does not move with the module."""

    def __init__(self, n_features, n_components):
        super().__init__(n_features, n_components)
        self.elsewhere = torch.ones(n_components, device="meta")

    def forward(self, rows):
        return super().forward(rows) + self.elsewhere


class Explodes(Dense):
    """Not finite in training mode."""

    def forward(self, rows):
        return super().forward(rows) / (1 - float(self.training))


class ExplodesLate(Dense):
    """Not finite soon after the regression, which takes four steps for each optimization step."""

    def __init__(self, n_features, n_components):
        super().__init__(n_features, n_components)
        self.n_calls = 0

    def forward(self, rows):
        self.n_calls += self.training
        return super().forward(rows) / float(self.n_calls < 4 * 8 + 5)


class Detached(Dense):
    def forward(self, rows):
        return super().forward(rows).detach()


class WithoutGradient(Dense):
    def forward(self, rows):
        with torch.no_grad():
            return super().forward(rows)


class ByNumPy(Dense):
    def forward(self, rows):
        return torch.from_numpy(super().forward(rows).detach().numpy() + 1)


def scripted(n_features, n_components):
    return torch.jit.script(torch.nn.Linear(n_features, n_components))


def old_weight_norm(n_features, n_components):
    return torch.nn.utils.weight_norm(torch.nn.Linear(n_features, n_components))


BAD_STUDENTS = {
    "detached": (Detached, ValueError, "Detached.* through differentiable operations"),
    "no_grad": (WithoutGradient, ValueError, "WithoutGradient.* differentiable operations"),
    "by NumPy": (ByNumPy, ValueError, "ByNumPy.* through differentiable operations"),
    "scripted": (scripted(64, 4), ValueError, r"^student \(RecursiveScript.* not scripted"),
    "callable for scripted": (scripted, ValueError, r"^student \(RecursiveScript.* not scripted"),
    "old weight_norm": (
        old_weight_norm(64, 4),
        ValueError,
        r"^student \(Linear\) cannot be copied .*parametrizations\.weight_norm",
    ),
    "callable for old weight_norm": (
        old_weight_norm,
        ValueError,
        r"^student \(Linear\) cannot be copied .*parametrizations\.weight_norm",
    ),
    "dimension": (Dense(64, 5), ValueError, "must return n_components=4 dimensions, got 5"),
    "shape of rows": (Dense(63, 4), ValueError, r"failed on a batch of shape \(32, 64\)"),
    "failure": (
        Fails,
        ValueError,
        r"expected to return .* \(32, n_components\).*RuntimeError: mat1",
    ),
    "not finite": (NotFinite, ValueError, "must return finite numbers, got nan or infinity"),
    "one vector": (OneVector, ValueError, r"shape \(32, n_components\) .*got \(4,\)"),
    "several outputs": (SeveralOutputs, ValueError, r"shape \(32, n_components\).*got tuple"),
    "no parameters": (NothingToLearn(), ValueError, "must have trainable parameters"),
    "not a module": (lambda n, k: np.zeros((n, k)), TypeError, "must return a torch.nn.Module"),
    "meta": (Dense(64, 4).to("meta"), ValueError, "must hold its parameters in memory"),
    "elsewhere": (Elsewhere, ValueError, "failed on a batch .* on cpu"),
    "in training": (Explodes, ValueError, "must return finite numbers, got nan or infinity"),
    "unknown name": ("conv", ValueError, "'student' parameter of CoherenceDistiller must be"),
}


@pytest.mark.parametrize("case", BAD_STUDENTS)
def test_invalid_students_raise_errors_that_describe_them(case, inputs, teacher):
    student, error, message = BAD_STUDENTS[case]
    with pytest.raises(error, match=message):
        small(student).fit(inputs[Dense], teacher)


def test_module_with_parametrized_weight_norm_is_fitted(inputs, teacher):
    module = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(64, 4))
    assert small(module).fit(inputs[Dense], teacher).transform(inputs[Dense]).shape[1] == 4


def test_divergence_during_training_raises_an_error(inputs, teacher):
    with pytest.raises(ValueError, match="must return finite numbers"):
        small(ExplodesLate, early_stopping=False, max_iter=8).fit(inputs[Dense], teacher)


def test_error_asks_for_teacher_embeddings_if_rows_are_not_vectors(inputs):
    for kind in (Convolutional, Recurrent):
        with pytest.raises(ValueError, match="teacher_embeddings is required when X is not 2-dim"):
            small(kind, teacher_metric=None).fit(inputs[kind])


def test_linear_student_rejects_rows_that_are_not_vectors(inputs, teacher):
    with pytest.raises(ValueError, match=r"dim <= 2|with 4 dim"):
        small("linear").fit(inputs[Convolutional], teacher)
