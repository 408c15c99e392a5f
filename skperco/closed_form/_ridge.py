"""Ridge regression of many targets, of any strength, in bounded memory."""

from typing import NamedTuple

import numpy as np

from skperco.closed_form._truncated_svd import (
    GRAM_COLUMNS,
    LinearMap,
    cross_product,
    gram_matrix,
    root_mean_square_norm,
    weighted_sum,
)
from skperco.utils._chunking import MappedRows, chunks

_CG_TOLERANCE = 1e-2
_CG_STEPS = 100
# Outputs that are solved for at once: at most so many, and so many coefficients, to bound the
# memory of wide inputs.
_OUTPUTS = 128
_COEFFICIENTS = 2**22


class Ridge:
    """Ridge regressions on the same rows.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    intercept : float
        Value of a constant column that joins X, in units of the root mean squared norm of the
        rows. Its coefficient is penalized like the others, so that a row without information
        is mapped near the mean, and other rows are not.
    sample_weight : ndarray of shape (n_samples,)
    """

    def __init__(self, X, *, intercept, sample_weight):
        self._scale = root_mean_square_norm(X, sample_weight)
        self._design = _Design(X, intercept * self._scale, _of_mean_one(sample_weight))
        self._has_few_columns = X.shape[1] <= GRAM_COLUMNS
        solver = _GramSolver if self._has_few_columns else _GradientSolver
        self._solver = solver(self._design)

    def path(self, targets, alphas):
        """Regressions of all strengths.

        Parameters
        ----------
        targets : ndarray or MappedRows of shape (n_samples, n_outputs)
        alphas : sequence of float
            Strengths, in units of the mean squared norm of the rows, strongest first.

        Yields
        ------
        regression : LinearMap
        """
        solve = self._solver(targets)
        for alpha in alphas:
            coefficients = solve(alpha * self._scale**2)
            yield LinearMap(coefficients[:-1].T, coefficients[-1] * self._design.constant)

    def fit(self, targets, alpha):
        """The regression of one strength; a LinearMap."""
        return next(self.path(targets, [alpha]))

    def predict(self, X, targets, alpha):
        """Predictions for the rows of X.

        Parameters
        ----------
        X : ndarray or CSR of shape (n_rows, n_features)
        targets : ndarray or MappedRows of shape (n_samples, n_outputs)
        alpha : float

        Returns
        -------
        predictions : ndarray or MappedRows of shape (n_rows, n_outputs)
            Of few columns the regression is stored, and of many columns its predictions, whichever
            is smaller.
        """
        if self._has_few_columns:
            return MappedRows(X, self.fit(targets, alpha), targets.shape[1])
        targets = targets[:]
        pieces = chunks(targets.shape[1], _outputs_at_once(self._design))
        return np.hstack([self.fit(targets[:, outputs], alpha)(X) for outputs in pieces])


def _of_mean_one(sample_weight):
    """Weights whose mean is 1, but for those that are zero."""
    return sample_weight * (np.count_nonzero(sample_weight) / sample_weight.sum())


class _Design(NamedTuple):
    """X with a constant column, its rows weighted."""

    X: np.ndarray
    constant: float
    sample_weight: np.ndarray

    @property
    def n_columns(self):
        return self.X.shape[1] + 1

    def forward(self, coefficients):
        return (
            self.X @ coefficients[:-1] + coefficients.dtype.type(self.constant) * coefficients[-1]
        )

    def backward(self, residuals):
        weighted = self.sample_weight[:, None].astype(residuals.dtype) * residuals
        return np.vstack(
            [self.X.T @ weighted, weighted.dtype.type(self.constant) * weighted.sum(0)]
        )


class _GramSolver:
    """Solves for any strength by the eigenvectors of the Gram matrix."""

    def __init__(self, design):
        self.design = design
        sums = weighted_sum(design.X, design.sample_weight)
        corner = design.constant * sums[:, None]
        total = design.constant**2 * design.sample_weight.sum()
        squares = gram_matrix(design.X, design.sample_weight)
        values, self.vectors = np.linalg.eigh(np.block([[squares, corner], [corner.T, total]]))
        self.values = values.clip(0)[:, None]

    def __call__(self, targets):
        """From strengths to coefficients of shape (n_features + 1, n_outputs)."""
        design = self.design
        right = cross_product(design.X, targets, design.sample_weight)
        constant = design.constant * weighted_sum(targets, design.sample_weight)
        rotated = self.vectors.T @ np.vstack([right, constant])
        return lambda alpha: self.vectors @ (rotated / (self.values + alpha))


class _GradientSolver:
    """Solves by conjugate gradients, each strength from the solution for the one before."""

    def __init__(self, design):
        self.design = design

    def __call__(self, targets):
        """From strengths to coefficients of shape (n_features + 1, n_outputs)."""
        targets = targets[:].astype(self.design.X.dtype)
        solution = np.zeros((self.design.n_columns, targets.shape[1]), dtype=targets.dtype)

        def solve(alpha):
            for outputs in chunks(targets.shape[1], _outputs_at_once(self.design)):
                solution[:, outputs] = self._solve(targets[:, outputs], alpha, solution[:, outputs])
            return solution.copy()

        return solve

    def _solve(self, targets, alpha, guess):
        design = self.design
        return _conjugate_gradients(
            lambda v: design.backward(design.forward(v)) + v.dtype.type(alpha) * v,
            design.backward(targets),
            guess,
        )


def _outputs_at_once(design):
    return max(1, min(_OUTPUTS, _COEFFICIENTS // design.n_columns))


def _conjugate_gradients(matrix, right, guess):
    """Solve matrix(x) = right for each column of `right`, to a relative residual."""
    solution = guess.copy()
    residual = right - matrix(solution)
    direction = residual.copy()
    power = np.square(residual).sum(0)
    enough = _CG_TOLERANCE**2 * np.square(right).sum(0)
    for _ in range(_CG_STEPS):
        if (power <= enough).all():
            break
        image = matrix(direction)
        curvature = (direction * image).sum(0)
        step = np.divide(power, curvature, out=np.zeros_like(power), where=curvature > 0)
        solution += step * direction
        residual -= step * image
        power, previous = np.square(residual).sum(0), power
        ratio = np.divide(power, previous, out=np.zeros_like(power), where=previous > 0)
        direction = residual + ratio * direction
    return solution
