import copy

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from builders import small
from hypothesis import given, settings
from hypothesis import strategies as st

from skperco.students._builtin import LinearStudent, MLPStudent, ProjectionStudent, embeddings_of
from skperco.students._embed import embed
from skperco.utils._chunking import as_tensor

CPU = torch.device("cpu")
N_FEATURES, N_COMPONENTS = 9, 3


def rows_of(seed, n=20, d=N_FEATURES, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(dtype)


def linear(seed=0):
    weight = torch.from_numpy(rows_of(seed, n=N_COMPONENTS, dtype=np.float32))
    return LinearStudent(weight, torch.arange(1.0, 1 + N_COMPONENTS))


def mlp(seed=0, hidden_layer_sizes=(16, 8), trained=True):
    """An MLP; unless `trained`, its last layer is zero, as initially."""
    generator = torch.Generator().manual_seed(seed)
    student = MLPStudent(linear(seed), hidden_layer_sizes, 3.0, generator)
    if trained:
        torch.nn.init.normal_(student.output, generator=generator)
    return student


def projection(seed=0, trained=True):
    """A projection; unless `trained`, it is linear, as initially."""
    weight = np.linalg.qr(rows_of(seed, d=N_COMPONENTS, n=N_FEATURES))[0].T
    student = ProjectionStudent(torch.from_numpy(weight).float(), torch.zeros(N_COMPONENTS))
    if trained:
        generator = torch.Generator().manual_seed(seed)
        for vector in (student.stretch, student.shift):
            torch.nn.init.normal_(vector, generator=generator)
    return student


STUDENTS = pytest.mark.parametrize(
    "student", [linear(), projection(), mlp()], ids=["linear", "projection", "mlp"]
)


@given(st.integers(0, 100))
def test_linear_student_multiplies_by_its_weight_and_adds_its_bias(seed):
    student, rows = linear(seed), rows_of(seed + 1, dtype=np.float32)
    expected = rows @ student.weight.detach().numpy().T + student.bias.detach().numpy()
    np.testing.assert_allclose(student(torch.from_numpy(rows)).detach(), expected, atol=1e-5)


@given(st.integers(0, 100))
def test_projection_agrees_with_its_formula(seed):
    student, rows = projection(seed).double(), rows_of(seed + 1)
    weight, stretch, shift = (
        part.detach().numpy() for part in (student.weight, student.stretch, student.shift)
    )
    for row, embedding in zip(rows, student(torch.from_numpy(rows)).detach(), strict=True):
        projected, norm = weight @ row, np.linalg.norm(row)
        residual = 1 - np.linalg.norm(projected) / norm
        expected = projected + residual * (stretch * projected + norm * shift)
        np.testing.assert_allclose(embedding, expected, atol=1e-12)


@given(st.integers(0, 100), st.floats(0.01, 100))
def test_projection_is_homogeneous(seed, factor):
    student, rows = projection(seed).double(), torch.from_numpy(rows_of(seed + 1))
    np.testing.assert_allclose(
        student(factor * rows).detach(), factor * student(rows).detach(), rtol=1e-9, atol=1e-12
    )


def test_projection_is_linear_initially_and_for_rows_without_residual():
    trained, initial = projection(), projection(trained=False)
    coordinates = torch.from_numpy(rows_of(1, d=N_COMPONENTS, dtype=np.float32))
    in_row_space = coordinates @ trained.weight.detach()
    assert torch.allclose(trained(in_row_space), in_row_space @ trained.weight.T, atol=1e-5)
    rows = torch.from_numpy(rows_of(2, dtype=np.float32))
    assert torch.equal(initial(rows), rows @ initial.weight.T + initial.bias)
    assert not torch.allclose(trained(rows), initial(rows), atol=0.1)


@settings(max_examples=20)
@given(st.integers(0, 100))
def test_gradient_of_a_projection_agrees_with_finite_differences(seed):
    student = projection(seed).double()
    rows = torch.from_numpy(rows_of(seed + 1, n=5)).requires_grad_()
    names, values = zip(*student.named_parameters(), strict=True)

    def embed_rows(rows, *values):
        return torch.func.functional_call(student, dict(zip(names, values, strict=True)), (rows,))

    assert torch.autograd.gradcheck(embed_rows, (rows, *values))


def test_projection_of_zero_rows_is_zero_with_a_finite_gradient():
    student = projection()
    embeddings = student(torch.zeros(2, N_FEATURES))
    embeddings.sum().backward()
    assert (embeddings == 0).all()
    assert all(parameter.grad.isfinite().all() for parameter in student.parameters())


@given(st.integers(0, 100), st.lists(st.integers(1, 20), min_size=1, max_size=3))
def test_mlp_is_initially_its_linear_part(seed, hidden_layer_sizes):
    rows = torch.from_numpy(rows_of(seed + 1, dtype=np.float32))
    found = mlp(seed, hidden_layer_sizes, trained=False)(rows)
    assert torch.equal(found, linear(seed)(rows))


@pytest.mark.parametrize("kind", [LinearStudent, ProjectionStudent])
def test_embeddings_of_fixed_rows_use_the_current_parameters(kind):
    generator = torch.Generator().manual_seed(0)
    student = kind(torch.randn(2, 3, generator=generator), torch.zeros(2))
    rows = torch.randn(5, 3, generator=generator)
    current_embeddings = embeddings_of(student, rows)
    for _ in range(2):
        with torch.no_grad():
            for parameter in student.parameters():
                parameter.add_(0.1)
        torch.testing.assert_close(current_embeddings(), student(rows))


def test_trained_mlp_is_not_linear():
    student, rows = mlp(), torch.from_numpy(rows_of(1, dtype=np.float32))
    zero = student(torch.zeros_like(rows))
    assert not torch.allclose(student(2 * rows) - zero, 2 * (student(rows) - zero), rtol=0.1)


def test_activations_of_an_mlp_have_unit_scale():
    rows = 100 * rows_of(0, n=400, d=50, dtype=np.float32)
    norm = float(np.linalg.norm(rows, axis=1).mean())
    generator = torch.Generator().manual_seed(0)
    linear_part = LinearStudent(torch.ones(2, 50), torch.zeros(2))
    student = MLPStudent(linear_part, (300,), norm, generator)
    activations = torch.nn.functional.gelu(torch.from_numpy(rows) @ student.hidden[0].T)
    assert 0.5 < activations.square().mean() < 2


@STUDENTS
def test_embeddings_of_sparse_and_dense_rows_agree(student):
    rows = np.where(rows_of(1) > 0.5, rows_of(1), 0)
    embeddings = [
        student(as_tensor(layout(rows), device=CPU, dtype=torch.float32))
        for layout in (np.asarray, sp.csr_array)
    ]
    assert torch.allclose(*embeddings, atol=1e-5)


@pytest.mark.parametrize("kind", [LinearStudent, ProjectionStudent])
def test_parameters_are_stored_contiguously(kind):
    student = kind(torch.ones(3, 5).T, torch.ones(10)[::2])
    assert all(one.is_contiguous() for one in student.parameters())


@pytest.mark.parametrize("parameters", [{}, {"student": "mlp"}, {"metric": "euclidean"}])
@pytest.mark.parametrize("teacher", [None, rows_of(1, n=60, d=6)])
def test_parameters_of_a_fitted_student_are_stored_contiguously(parameters, teacher):
    student = small(**parameters).fit(rows_of(0, n=60), teacher).student_
    assert all(one.is_contiguous() for one in student.state_dict().values())


def test_parameters_of_a_user_defined_module_are_stored_contiguously():
    module = torch.nn.Linear(N_FEATURES, N_COMPONENTS)
    module.weight.data = module.weight.data.T.contiguous().T
    student = small(N_COMPONENTS, student=module).fit(rows_of(0, n=60)).student_
    assert student.weight.is_contiguous()
    assert not module.weight.is_contiguous()


@STUDENTS
def test_every_parameter_but_the_bias_has_a_positive_scale(student):
    values, scales = zip(*student.scaled_parameters(), strict=True)
    assert {id(value) for value in values} == {id(value) for value in student.parameters()}
    assert [value.ndim for value, scale in zip(values, scales, strict=True) if not scale] == [1]


@STUDENTS
@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
def test_embeddings_do_not_depend_on_the_size_of_chunks(student, layout, monkeypatch):
    rows = layout(rows_of(1))
    whole = embed(student, rows, device=CPU, unit_norm=False)
    monkeypatch.setattr("skperco.students._embed._ROWS_PER_CHUNK", 7)
    chunked = embed(student, rows, device=CPU, unit_norm=False)
    np.testing.assert_allclose(chunked, whole, atol=1e-12)


@STUDENTS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_embed_computes_in_the_dtype_of_the_rows(student, dtype):
    before = copy.deepcopy(student.state_dict())
    rows = rows_of(1, dtype=dtype)
    found = embed(student, rows, device=CPU, unit_norm=False)
    assert found.dtype == dtype
    exact = copy.deepcopy(student).double()(torch.from_numpy(rows).double()).detach()
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-12 if dtype == np.float64 else 1e-4)
    after = student.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@STUDENTS
def test_unit_norm_scales_embeddings_and_keeps_their_directions(student):
    rows = rows_of(1)
    free, unit = (embed(student, rows, device=CPU, unit_norm=norm) for norm in (False, True))
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1)
    np.testing.assert_allclose(unit * np.linalg.norm(free, axis=1, keepdims=True), free)


def test_zero_embeddings_stay_zero_under_unit_norm():
    student = LinearStudent(torch.eye(2), torch.zeros(2))
    found = embed(student, np.zeros((1, 2)), device=CPU, unit_norm=True)
    assert (found == 0).all()
