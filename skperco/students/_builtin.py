"""Linear, projection and MLP students, each initialized as a linear map."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from skperco.closed_form._truncated_svd import LinearMap
from skperco.dissimilarity._dense import row_norms
from skperco.utils._global_settings import without_autocast

_SHIFT_SCALE = 0.4
_SMALLEST_SCALE = 0.01


class LinearStudent(torch.nn.Module):
    """Linear map: rows @ weight.T + bias.

    Parameters
    ----------
    weight : torch.Tensor of shape (n_components, n_features)
    bias : torch.Tensor of shape (n_components,)

    Attributes
    ----------
    is_homogeneous : bool
        Whether scaling a row by a positive factor scales its embedding by the same factor. The
        forward pass then needs the norms of the rows.
    """

    is_homogeneous = False

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        # Contiguous, as a file stores them: the rounding of a matrix product depends on strides.
        self.weight = torch.nn.Parameter(weight.clone(memory_format=torch.contiguous_format))
        self.bias = torch.nn.Parameter(bias.clone(memory_format=torch.contiguous_format))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Embeddings of the rows, dense or in CSR layout: (n_rows, n_components)."""
        return torch.addmm(self.bias, rows, self.weight.T)

    def scaled_parameters(self) -> list[tuple[torch.Tensor, float]]:
        """Each parameter with its scale, to which the lengths of its steps are relative."""
        # The bias is not trained: measurements showed no gain.
        return [(self.weight, _norm(self.weight)), (self.bias, 0.0)]

    def linear_map(self) -> LinearMap:
        """The map as a LinearMap, in double precision."""
        parts = (self.weight, self.bias)
        return LinearMap(*(part.detach().double().cpu().numpy() for part in parts))

    @torch.no_grad()
    def set_linear(self, linear_map: LinearMap) -> None:
        """Set the weight and the bias to those of a LinearMap."""
        self.weight.copy_(torch.from_numpy(linear_map.weight))
        self.bias.copy_(torch.from_numpy(linear_map.bias))


class ProjectionStudent(LinearStudent):
    """Linear projection with a learned correction proportional to the relative residual norm.

    The cosine depends only on the direction of an embedding, which does not contain the norm of
    the residual, the part of the row that is projected out. With the embedding y of a row x and
    the relative loss of norm, residual = 1 - |y|/|x|, the student returns
    y + residual * (stretch * y + |x| * shift). Both vectors are initialized with zeros, so that
    the student is linear at first; it stays linear for rows without a residual.

    Parameters
    ----------
    weight : torch.Tensor of shape (n_components, n_features)
        With orthonormal rows.
    bias : torch.Tensor of shape (n_components,)
    """

    is_homogeneous = True

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__(weight, bias)
        self.stretch = torch.nn.Parameter(torch.zeros_like(bias))
        self.shift = torch.nn.Parameter(torch.zeros_like(bias))

    def forward(self, rows: torch.Tensor, row_norms: torch.Tensor | None = None) -> torch.Tensor:
        """Embeddings of the rows, dense or in CSR layout: (n_rows, n_components).

        Their norms, of shape (n_rows, 1), are computed if they are not given.
        """
        if row_norms is None:
            row_norms = norms_of(rows)
        return _ResidualNormCorrection.apply(
            super().forward(rows), row_norms, self.stretch, self.shift
        )

    def scaled_parameters(self) -> list[tuple[torch.Tensor, float]]:
        """Each parameter with its scale, to which the lengths of its steps are relative."""
        scale = len(self.bias) ** 0.5
        added = [(self.stretch, scale), (self.shift, _SHIFT_SCALE * scale)]
        return super().scaled_parameters() + added


class _ResidualNormCorrection(torch.autograd.Function):
    """The correction of :class:`ProjectionStudent`, with a fused backward pass.

    Autograd would need three times as many passes over matrices of the size of the embeddings.
    """

    @staticmethod
    def forward(
        ctx: Any,
        embeddings: torch.Tensor,
        row_norms: torch.Tensor,
        stretch: torch.Tensor,
        shift: torch.Tensor,
    ) -> torch.Tensor:
        norms = norms_of(embeddings)
        residual = 1 - norms / _or_one(row_norms)
        ctx.save_for_backward(embeddings, norms, row_norms, residual, stretch, shift)
        corrected = _stretch_factors(residual, stretch).mul_(embeddings)
        return corrected.addmm_(residual * row_norms, shift[None])

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(
        ctx: Any, grad: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Tensor]:
        embeddings, norms, row_norms, residual, stretch, shift = ctx.saved_tensors
        products = grad * embeddings
        grad_stretch, grad_shift = residual.T @ products, (residual * row_norms).T @ grad
        grad_along_shift = grad @ shift[:, None]
        grad_residual = products @ stretch[:, None] + row_norms * grad_along_shift
        # Quotients of norms, not products, which would underflow for short rows.
        directions = embeddings / _or_one(norms)
        relative = grad_residual / _or_one(row_norms)
        grad_embeddings = _stretch_factors(residual, stretch).mul_(grad)
        grad_embeddings.addcmul_(directions, relative, value=-1)
        grad_row_norms = None
        if ctx.needs_input_grad[1]:
            grad_row_norms = residual * grad_along_shift + relative * (norms / _or_one(row_norms))
        return grad_embeddings, grad_row_norms, grad_stretch[0], grad_shift[0]


def _or_one(norms: torch.Tensor) -> torch.Tensor:
    """Replace zeros by ones."""
    return torch.where(norms > 0, norms, 1)


def _stretch_factors(residual: torch.Tensor, stretch: torch.Tensor) -> torch.Tensor:
    """1 + residual * stretch, (n_rows, n_components), by addmm, which is faster."""
    return torch.addmm(residual.new_ones(()), residual, stretch[None])


class MLPStudent(torch.nn.Module):
    """Sum of a linear student and a multi-layer perceptron, whose last layer is initially zero.

    If the linear part is a :class:`ProjectionStudent`, the perceptron is homogeneous of degree one
    as well: it takes rows scaled to unit norm, and its output is scaled by their norms. Then the
    direction of an embedding does not depend on the scale of the row.

    Parameters
    ----------
    linear : LinearStudent
    hidden_layer_sizes : sequence of int
        Number of units of each hidden layer.
    row_norm : float
        Root mean square norm of the input rows, so that activations have unit variance.
    generator : torch.Generator
        Draws the weights of the hidden layers, on the CPU.
    """

    output_scale: torch.Tensor

    def __init__(
        self,
        linear: LinearStudent,
        hidden_layer_sizes: Sequence[int],
        row_norm: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.linear = linear
        self.is_homogeneous = linear.is_homogeneous
        norms = [
            1.0 if self.is_homogeneous else row_norm,
            *(size**0.5 for size in hidden_layer_sizes),
        ]
        sizes = [linear.weight.shape[1], *hidden_layer_sizes]
        weight = linear.weight.detach()
        drawn = [
            torch.randn(n_out, n_in, generator=generator, dtype=weight.dtype) * 2**0.5 / norm
            for n_in, n_out, norm in zip(sizes, sizes[1:], norms, strict=False)
        ]
        self.hidden = torch.nn.ParameterList(layer.to(weight) for layer in drawn)
        self.output = torch.nn.Parameter(weight.new_zeros(len(weight), sizes[-1]))
        # The norm of an output layer whose contribution is as large as that of the linear part.
        scale = _norm(weight) * norms[0] / weight.shape[1] ** 0.5
        self.register_buffer("output_scale", torch.tensor(scale, dtype=weight.dtype))

    def forward(self, rows: torch.Tensor, row_norms: torch.Tensor | None = None) -> torch.Tensor:
        """Embeddings of the rows, dense or in CSR layout: (n_rows, n_components).

        Their norms, of shape (n_rows, 1), are computed if they are needed and not given.
        """
        if not self.is_homogeneous:
            return self.linear(rows) + self._perceptron(rows @ self.hidden[0].T)
        if row_norms is None:
            row_norms = norms_of(rows)
        perceptron = self._perceptron(rows @ self.hidden[0].T / _or_one(row_norms))
        return self.linear(rows, row_norms) + row_norms * perceptron

    def _perceptron(self, first_products: torch.Tensor) -> torch.Tensor:
        activations = functional.gelu(first_products)
        for weight in self.hidden[1:]:
            activations = functional.gelu(activations @ weight.T)
        return activations @ self.output.T

    def scaled_parameters(self) -> list[tuple[torch.Tensor, float]]:
        """Each parameter with its scale, to which the lengths of its steps are relative."""
        hidden = [(weight, _norm(weight)) for weight in self.hidden]
        return [*self.linear.scaled_parameters(), *hidden, (self.output, self.output_scale.item())]

    def linear_map(self) -> LinearMap:
        """The linear part as a LinearMap, in double precision."""
        return self.linear.linear_map()

    def set_linear(self, linear_map: LinearMap) -> None:
        """Set the linear part to a LinearMap."""
        self.linear.set_linear(linear_map)


def store_by_feature(student: torch.nn.Module) -> None:
    """Store the weight of a built-in student's linear map in column-major order, by feature.

    Its products with sparse rows, and their gradients, then need no copies in another layout,
    which for wide rows would take most of the time and memory of a step.
    """
    linear = student.linear if isinstance(student, MLPStudent) else student
    if isinstance(linear, LinearStudent):
        linear.weight.data = linear.weight.data.T.contiguous().T


def embeddings_of(student: torch.nn.Module, rows: torch.Tensor) -> Callable[[], torch.Tensor]:
    """A function that computes the student's current embeddings of fixed rows."""
    if getattr(student, "is_homogeneous", False):
        return partial(student, rows, norms_of(rows))
    return partial(student, rows)


def scaled_parameters(student: torch.nn.Module) -> list[tuple[torch.Tensor, float]]:
    """Each parameter with its scale, to which the lengths of its steps are relative.

    For a user-defined module this is the norm of the parameter, but at least a small value for
    parameters that are initially zero, as biases often are.
    """
    if isinstance(student, (LinearStudent, MLPStudent)):
        return student.scaled_parameters()
    return [
        (parameter, max(_norm(parameter), _SMALLEST_SCALE * parameter.numel() ** 0.5))
        for parameter in student.parameters()
        if parameter.requires_grad
    ]


def student_of_state(state: Mapping[str, torch.Tensor]) -> LinearStudent | MLPStudent:
    """Restore a built-in student from its state dict.

    Parameters
    ----------
    state : dict of str to torch.Tensor

    Returns
    -------
    student : LinearStudent, ProjectionStudent or MLPStudent

    Raises
    ------
    KeyError, RuntimeError
        If it is not the state dict of a built-in student.
    """
    if "output" not in state:
        return _linear_student_of_state(state)
    prefix = "linear."
    linear_state = {
        name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)
    }
    sizes = [len(state[name]) for name in state if name.startswith("hidden.")]
    linear = _linear_student_of_state(linear_state)
    student = MLPStudent(linear, sizes, 1.0, torch.Generator())
    student.load_state_dict(state)
    return student


def _linear_student_of_state(state: Mapping[str, torch.Tensor]) -> LinearStudent:
    kind = ProjectionStudent if "stretch" in state else LinearStudent
    student = kind(state["weight"], state["bias"])
    student.load_state_dict(state)
    return student


def is_built_in(student: torch.nn.Module) -> bool:
    """Whether a student is one of this module's classes, not a user-defined module."""
    return isinstance(student, (LinearStudent, MLPStudent))


def kind_of(student: torch.nn.Module, n_components: int) -> dict[str, Any]:
    """Parameters of the distiller that describe the kind of a student."""
    if isinstance(student, MLPStudent):
        return {
            "n_components": len(student.linear.weight),
            "student": "mlp",
            "hidden_layer_sizes": tuple(map(len, student.hidden)),
        }
    if isinstance(student, LinearStudent):
        return {
            "n_components": len(student.weight),
            "student": "linear",
            "hidden_layer_sizes": (),
        }
    return {"n_components": n_components, "student": "module"}


def norms_of(rows: torch.Tensor) -> torch.Tensor:
    """Norms of rows, dense or in CSR layout, of shape (n_rows, 1)."""
    if rows.layout != torch.sparse_csr:
        return row_norms(rows)
    # In double precision the squares of single-precision entries neither underflow nor overflow.
    squares = torch.sparse_csr_tensor(
        rows.crow_indices(), rows.col_indices(), rows.values().double().square(), size=rows.shape
    )
    ones = torch.ones(rows.shape[1], 1, dtype=torch.float64, device=rows.device)
    return (squares @ ones).sqrt().to(rows.dtype)


def _norm(parameter: torch.Tensor) -> float:
    return parameter.detach().norm().item()
