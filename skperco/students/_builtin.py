"""Linear, projection and MLP students, each beginning as a closed form."""

from functools import partial

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from skperco.closed_form._truncated_svd import LinearMap
from skperco.dissimilarity._dense import row_norms
from skperco.utils._global_settings import without_autocast

_SHIFT_SCALE = 0.4
_SMALLEST_SCALE = 0.01


class LinearStudent(torch.nn.Module):
    """rows @ weight.T + bias.

    Parameters
    ----------
    weight : torch.Tensor of shape (n_components, n_features)
    bias : torch.Tensor of shape (n_components,)

    Attributes
    ----------
    is_homogeneous : bool
        Whether scaling a row scales its embedding; the forward pass needs the norms of rows then.
    """

    is_homogeneous = False

    def __init__(self, weight, bias):
        super().__init__()
        # Contiguous, as a file stores them: the rounding of a matrix product depends on strides.
        self.weight = torch.nn.Parameter(weight.clone(memory_format=torch.contiguous_format))
        self.bias = torch.nn.Parameter(bias.clone(memory_format=torch.contiguous_format))

    def forward(self, rows):
        """Embeddings of the rows, dense or in CSR layout: (n_rows, n_components)."""
        return torch.addmm(self.bias, rows, self.weight.T)

    def scaled_parameters(self):
        """Each parameter with the norm by which its steps are measured."""
        # The bias stays: moving it was measured to gain nothing.
        return [(self.weight, _norm(self.weight)), (self.bias, 0.0)]

    def linear_map(self):
        """The map as a LinearMap, in double precision."""
        parts = (self.weight, self.bias)
        return LinearMap(*(part.detach().double().cpu().numpy() for part in parts))

    @torch.no_grad()
    def set_linear(self, linear_map):
        """Take the values of a LinearMap."""
        self.weight.copy_(torch.from_numpy(linear_map.weight))
        self.bias.copy_(torch.from_numpy(linear_map.bias))


class ProjectionStudent(LinearStudent):
    """Linear projection with a learned correction proportional to the relative residual norm.

    The cosine depends only on the direction of an embedding, which does not contain the share of
    the row outside the dimensions that are kept. With the embedding y of a row x, and the
    share 1 - |y|/|x| of its norm that is lost, the student returns
    y + lost * (stretch * y + |x| * shift). Both vectors are learned from zero: it starts as the
    linear student, and is linear wherever nothing is lost.

    Parameters
    ----------
    weight : torch.Tensor of shape (n_components, n_features)
        With orthonormal rows.
    bias : torch.Tensor of shape (n_components,)
    """

    is_homogeneous = True

    def __init__(self, weight, bias):
        super().__init__(weight, bias)
        self.stretch = torch.nn.Parameter(torch.zeros_like(bias))
        self.shift = torch.nn.Parameter(torch.zeros_like(bias))

    def forward(self, rows, row_norms=None):
        """Embeddings of the rows, dense or in CSR layout: (n_rows, n_components).

        Their norms, of shape (n_rows, 1), are computed if they are not given.
        """
        if row_norms is None:
            row_norms = norms_of(rows)
        return _ResidualNormCorrection.apply(
            super().forward(rows), row_norms, self.stretch, self.shift
        )

    def scaled_parameters(self):
        """Each parameter with the norm by which its steps are measured."""
        scale = len(self.bias) ** 0.5
        added = [(self.stretch, scale), (self.shift, _SHIFT_SCALE * scale)]
        return super().scaled_parameters() + added


class _ResidualNormCorrection(torch.autograd.Function):
    """The correction of :class:`ProjectionStudent`, with a fused backward pass.

    It takes a third of the passes over tables as large as the embeddings that autograd takes.
    """

    @staticmethod
    def forward(ctx, embeddings, row_norms, stretch, shift):
        norms = norms_of(embeddings)
        lost = 1 - norms / _or_one(row_norms)
        ctx.save_for_backward(embeddings, norms, row_norms, lost, stretch, shift)
        told = _stretches(lost, stretch).mul_(embeddings)
        return told.addmm_(lost * row_norms, shift[None])

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx, grad):
        embeddings, norms, row_norms, lost, stretch, shift = ctx.saved_tensors
        along = grad * embeddings
        grad_stretch, grad_shift = lost.T @ along, (lost * row_norms).T @ grad
        shifted = grad @ shift[:, None]
        grad_lost = along @ stretch[:, None] + row_norms * shifted
        # Quotients of norms, not products, which would underflow for short rows.
        directions = embeddings / _or_one(norms)
        share = grad_lost / _or_one(row_norms)
        grad_images = _stretches(lost, stretch).mul_(grad).addcmul_(directions, share, value=-1)
        grad_row_norms = None
        if ctx.needs_input_grad[1]:
            grad_row_norms = lost * shifted + share * (norms / _or_one(row_norms))
        return grad_images, grad_row_norms, grad_stretch[0], grad_shift[0]


def _or_one(norms):
    return torch.where(norms > 0, norms, 1)


def _stretches(lost, stretch):
    """1 + lost * stretch, of shape (n_rows, n_components), as a product: that costs less."""
    return torch.addmm(lost.new_ones(()), lost, stretch[None])


class MLPStudent(torch.nn.Module):
    """A linear student plus a multi-layer perceptron whose last layer starts at zero.

    Next to a :class:`ProjectionStudent` the perceptron is homogeneous of degree one as well: it
    takes rows of unit norm, and its output is scaled by their norms. Then the direction of an
    embedding does not depend on the scale of the row.

    Parameters
    ----------
    linear : LinearStudent
    hidden_layer_sizes : sequence of int
        Number of units of each hidden layer.
    row_norm : float
        Typical norm of the input rows, so that activations are of size 1.
    generator : torch.Generator
        Draws the weights of the hidden layers, on the CPU.
    """

    def __init__(self, linear, hidden_layer_sizes, row_norm, generator):
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
        # Of the size at which it would add as much to the embedding as the linear part gives.
        scale = _norm(weight) * norms[0] / weight.shape[1] ** 0.5
        self.register_buffer("output_scale", torch.tensor(scale, dtype=weight.dtype))

    def forward(self, rows, row_norms=None):
        """Embeddings of the rows, dense or in CSR layout: (n_rows, n_components).

        Their norms, of shape (n_rows, 1), are computed if they are needed and not given.
        """
        if not self.is_homogeneous:
            return self.linear(rows) + self._perceptron(rows @ self.hidden[0].T)
        if row_norms is None:
            row_norms = norms_of(rows)
        perceptron = self._perceptron(rows @ self.hidden[0].T / _or_one(row_norms))
        return self.linear(rows, row_norms) + row_norms * perceptron

    def _perceptron(self, first_products):
        activations = functional.gelu(first_products)
        for weight in self.hidden[1:]:
            activations = functional.gelu(activations @ weight.T)
        return activations @ self.output.T

    def scaled_parameters(self):
        """Each parameter with the norm by which its steps are measured."""
        hidden = [(weight, _norm(weight)) for weight in self.hidden]
        return [*self.linear.scaled_parameters(), *hidden, (self.output, self.output_scale.item())]

    def linear_map(self):
        """The linear part as a LinearMap, in double precision."""
        return self.linear.linear_map()

    def set_linear(self, linear_map):
        """Take the values of a LinearMap for the linear part."""
        self.linear.set_linear(linear_map)


def embeddings_of(student, rows):
    """A function that gives the embeddings of the same rows as the student changes."""
    if getattr(student, "is_homogeneous", False):
        return partial(student, rows, norms_of(rows))
    return partial(student, rows)


def scaled_parameters(student):
    """Each parameter with the norm by which its steps are measured.

    Those of a module of the user's own are measured by what they are, or, where that is nothing,
    as biases are at first, by a small share of what weights are.
    """
    if hasattr(student, "scaled_parameters"):
        return student.scaled_parameters()
    return [
        (parameter, max(_norm(parameter), _SMALLEST_SCALE * parameter.numel() ** 0.5))
        for parameter in student.parameters()
        if parameter.requires_grad
    ]


def student_of_state(state):
    """The linear student, projection or MLP that has this state dict.

    Parameters
    ----------
    state : dict of str to torch.Tensor

    Returns
    -------
    student : LinearStudent, ProjectionStudent or MLPStudent

    Raises
    ------
    KeyError, RuntimeError
        If there is none.
    """
    if "output" not in state:
        kind = ProjectionStudent if "stretch" in state else LinearStudent
        student = kind(state["weight"], state["bias"])
    else:
        prefix = "linear."
        linear = {
            name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)
        }
        sizes = [len(state[name]) for name in state if name.startswith("hidden.")]
        student = MLPStudent(student_of_state(linear), sizes, 1.0, torch.Generator())
    student.load_state_dict(state)
    return student


def is_built_in(student):
    """Whether a student is one of this module's classes, not a module of the user's own."""
    return isinstance(student, (LinearStudent, MLPStudent))


def kind_of(student, n_components):
    """Parameters of the distiller that describe the kind of a student, a dict."""
    if not is_built_in(student):
        return {"n_components": n_components, "student": "module"}
    is_mlp = isinstance(student, MLPStudent)
    linear = student.linear if is_mlp else student
    return {
        "n_components": len(linear.weight),
        "student": "mlp" if is_mlp else "linear",
        "hidden_layer_sizes": tuple(map(len, student.hidden)) if is_mlp else (),
    }


def norms_of(rows):
    """Norms of rows, dense or in CSR layout, of shape (n_rows, 1)."""
    if rows.layout != torch.sparse_csr:
        return row_norms(rows)
    # In double precision the squares of single precision neither underflow nor overflow.
    squares = torch.sparse_csr_tensor(
        rows.crow_indices(), rows.col_indices(), rows.values().double().square(), size=rows.shape
    )
    ones = torch.ones(rows.shape[1], 1, dtype=torch.float64, device=rows.device)
    return (squares @ ones).sqrt().to(rows.dtype)


def _norm(parameter):
    return parameter.detach().norm().item()
