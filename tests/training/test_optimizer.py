import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skperco.training._optimizer import NormalizedSGD


def reference_steps(start, gradients, *, lr, momentum, scale):
    """Normalized gradient descent with momentum, written as in the paper."""
    value, average = start.clone(), torch.zeros_like(start)
    for gradient in gradients:
        norm = gradient.norm()
        unit = gradient / norm if norm > 0 else gradient
        average = momentum * average + (1 - momentum) * unit
        value = value - lr * scale * average
    return value


def gradients_of(seed, n_steps, size=3.0):
    generator = torch.Generator().manual_seed(seed)
    return [size * torch.randn(4, 3, generator=generator) for _ in range(n_steps)]


@given(st.integers(0, 2**16), st.integers(1, 5), st.floats(0.01, 1), st.floats(0, 0.99))
def test_steps_agree_with_the_reference(seed, n_steps, lr, momentum):
    start = torch.ones(4, 3)
    parameter = torch.nn.Parameter(start.clone())
    optimizer = NormalizedSGD([(parameter, 2.0)], lr, momentum)
    gradients = gradients_of(seed, n_steps)
    for gradient in gradients:
        optimizer.step([gradient])
    expected = reference_steps(start, gradients, lr=lr, momentum=momentum, scale=2.0)
    torch.testing.assert_close(parameter.detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e12])
def test_steps_do_not_depend_on_the_size_of_the_gradient(size):
    parameter = torch.nn.Parameter(torch.ones(4, 3))
    expected = reference_steps(torch.ones(4, 3), gradients_of(0, 1), lr=0.1, momentum=0.9, scale=1)
    NormalizedSGD([(parameter, 1.0)], 0.1).step(gradients_of(0, 1, size=size))
    torch.testing.assert_close(parameter.detach(), expected)


def test_a_zero_gradient_and_a_zero_scale_leave_parameters_unchanged():
    first, second = (torch.nn.Parameter(torch.ones(4, 3)) for _ in range(2))
    optimizer = NormalizedSGD([(first, 1.0), (second, 0.0)], 0.1)
    optimizer.step([torch.zeros(4, 3), torch.ones(4, 3)])
    assert torch.equal(first, torch.ones(4, 3))
    assert torch.equal(second, torch.ones(4, 3))


def test_the_decay_multiplies_the_learning_rate():
    parameters = [torch.nn.Parameter(torch.ones(4, 3)) for _ in range(2)]
    (gradient,) = gradients_of(0, 1)
    NormalizedSGD([(parameters[0], 1.0)], 0.1).step([gradient], decay=0.5)
    NormalizedSGD([(parameters[1], 1.0)], 0.05).step([gradient])
    assert torch.equal(*parameters)


def test_a_loaded_state_continues_like_the_saved_one():
    gradients = gradients_of(0, 4)
    parameters = [torch.nn.Parameter(torch.ones(4, 3)) for _ in range(2)]
    saved, loaded = (NormalizedSGD([(one, 1.0)], 0.1) for one in parameters)
    for gradient in gradients[:2]:
        saved.step([gradient])
    state = saved.state_dict()
    saved.step([gradients[3]])
    loaded.load_state_dict(state)
    loaded.step([gradients[3]])
    assert torch.equal(*parameters)
