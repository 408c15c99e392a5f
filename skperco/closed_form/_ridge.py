"""Ridge regression of many targets for several regularization strengths, in bounded memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skperco.closed_form._truncated_svd import (
    GRAM_COLUMNS,
    LinearMap,
    cross_product,
    gram_matrix,
    root_mean_square_norm,
    weighted_sum,
)
from skperco.utils._chunking import AnyRows, chunks
from skperco.utils._types import Rows

_CG_TOLERANCE = 1e-2
_CG_STEPS = 100
# Largest numbers of outputs and of coefficients to solve for at once, to bound the memory of wide
# inputs.
_OUTPUTS = 128
_COEFFICIENTS = 2**22


class Ridge:
    """Ridge regressions on the same rows.

    `sklearn.linear_model.Ridge(solver="sparse_cg")` solves for one output at a time, and `RidgeCV`
    needs a full decomposition. Here blocks of outputs are solved at once, each strength starts
    from the solution of the previous one, weights need no copy of X, and the memory is bounded.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    intercept : float
        Value of a constant column appended to X, in units of the root mean squared norm of the
        rows. Its coefficient is penalized like the others, so that a smaller value shrinks the
        intercept more.
    sample_weight : ndarray of shape (n_samples,)
    """

    def __init__(self, X: Rows, *, intercept: float, sample_weight: NDArray[np.float64]) -> None:
        self._scale = root_mean_square_norm(X, sample_weight)
        self._design = _Design(X, intercept * self._scale, _normalize_weights(sample_weight))
        self._has_few_columns = X.shape[1] <= GRAM_COLUMNS
        solver = _GramSolver if self._has_few_columns else _GradientSolver
        self._solver = solver(self._design)

    def path(self, targets: AnyRows, alphas: Sequence[float]) -> Iterator[LinearMap]:
        """Regressions of several regularization strengths.

        Parameters
        ----------
        targets : ndarray or MappedRows of shape (n_samples, n_outputs)
        alphas : sequence of float
            Strengths, in units of the mean squared norm of the rows, in descending order.

        Yields
        ------
        regression : LinearMap
        """
        solve = self._solver(targets)
        for alpha in alphas:
            coefficients = solve(alpha * self._scale**2)
            yield LinearMap(coefficients[:-1].T, coefficients[-1] * self._design.constant)

    def fit(self, targets: AnyRows, alpha: float) -> LinearMap:
        """Regression of one strength."""
        return next(self.path(targets, [alpha]))

    def predict(self, X: Rows, targets: AnyRows, alpha: float) -> AnyRows:
        """Predictions for the rows of X.

        Parameters
        ----------
        X : ndarray or CSR of shape (n_rows, n_features)
        targets : ndarray or MappedRows of shape (n_samples, n_outputs)
        alpha : float

        Returns
        -------
        predictions : ndarray or MappedRows of shape (n_rows, n_outputs)
            The predictions if X has many columns, else a map that computes them, to save memory.
        """
        if self._has_few_columns:
            return self.fit(targets, alpha).lazily(X)
        targets = targets[:]
        pieces = chunks(targets.shape[1], _outputs_at_once(self._design))
        return np.hstack([self.fit(targets[:, outputs], alpha)(X) for outputs in pieces])


def _normalize_weights(sample_weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights scaled so that the mean of the positive ones is 1."""
    return sample_weight * (np.count_nonzero(sample_weight) / sample_weight.sum())


class _Design(NamedTuple):
    """X with a constant column, and the weights of its rows."""

    X: Rows
    constant: float
    sample_weight: NDArray[np.float64]

    @property
    def n_columns(self) -> int:
        return self.X.shape[1] + 1

    def forward(self, coefficients: NDArray[np.floating]) -> NDArray[np.floating]:
        return (
            self.X @ coefficients[:-1] + coefficients.dtype.type(self.constant) * coefficients[-1]
        )

    def backward(self, residuals: NDArray[np.floating]) -> NDArray[np.floating]:
        weighted = self.sample_weight[:, None].astype(residuals.dtype) * residuals
        return np.vstack(
            [self.X.T @ weighted, weighted.dtype.type(self.constant) * weighted.sum(0)]
        )


class _GramSolver:
    """Solves for any strength with one eigendecomposition of the Gram matrix."""

    def __init__(self, design: _Design) -> None:
        self.design = design
        sums = weighted_sum(design.X, design.sample_weight)
        corner = design.constant * sums[:, None]
        total = design.constant**2 * design.sample_weight.sum()
        gram = gram_matrix(design.X, design.sample_weight)
        values, self.vectors = np.linalg.eigh(np.block([[gram, corner], [corner.T, total]]))
        self.values = values.clip(0)[:, None]

    def __call__(self, targets: AnyRows) -> Callable[[float], NDArray[np.floating]]:
        """A function from strengths to coefficients of shape (n_features + 1, n_outputs)."""
        design = self.design
        right = cross_product(design.X, targets, design.sample_weight)
        constant = design.constant * weighted_sum(targets, design.sample_weight)
        rotated = self.vectors.T @ np.vstack([right, constant])
        return lambda alpha: self.vectors @ (rotated / (self.values + alpha))


class _GradientSolver:
    """Solves by conjugate gradients, starting from the solution of the previous strength."""

    def __init__(self, design: _Design) -> None:
        self.design = design

    def __call__(self, targets: AnyRows) -> Callable[[float], NDArray[np.floating]]:
        """A function from strengths to coefficients of shape (n_features + 1, n_outputs)."""
        targets = targets[:].astype(self.design.X.dtype)
        solution = np.zeros((self.design.n_columns, targets.shape[1]), dtype=targets.dtype)

        def solve(alpha: float) -> NDArray[np.floating]:
            for outputs in chunks(targets.shape[1], _outputs_at_once(self.design)):
                solution[:, outputs] = self._solve(targets[:, outputs], alpha, solution[:, outputs])
            return solution.copy()

        return solve

    def _solve(
        self, targets: NDArray[np.floating], alpha: float, guess: NDArray[np.floating]
    ) -> NDArray[np.floating]:
        design = self.design
        return _conjugate_gradients(
            lambda v: design.backward(design.forward(v)) + v.dtype.type(alpha) * v,
            design.backward(targets),
            guess,
        )


def _outputs_at_once(design: _Design) -> int:
    return max(1, min(_OUTPUTS, _COEFFICIENTS // design.n_columns))


def _conjugate_gradients(
    matrix: Callable[[NDArray[np.floating]], NDArray[np.floating]],
    right: NDArray[np.floating],
    guess: NDArray[np.floating],
) -> NDArray[np.floating]:
    """Solve matrix(x) = right for all columns of `right` at once, up to `_CG_TOLERANCE`."""
    solution = guess.copy()
    residual = right - matrix(solution)
    direction = residual.copy()
    power = np.square(residual).sum(0)
    threshold = _CG_TOLERANCE**2 * np.square(right).sum(0)
    for _ in range(_CG_STEPS):
        if (power <= threshold).all():
            break
        product = matrix(direction)
        curvature = (direction * product).sum(0)
        step = np.divide(power, curvature, out=np.zeros_like(power), where=curvature > 0)
        solution += step * direction
        residual -= step * product
        power, previous = np.square(residual).sum(0), power
        ratio = np.divide(power, previous, out=np.zeros_like(power), where=previous > 0)
        direction = residual + ratio * direction
    return solution
