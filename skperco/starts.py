"""Closed forms that the students start from: leading directions, and ridge regression."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.linalg import eigh
from scipy.sparse.linalg import LinearOperator, svds
from sklearn.utils.extmath import svd_flip

from skperco._rows import chunks
from skperco.dissimilarity import METRICS
from skperco.sparse import sparse_squared_norms
from skperco.teacher import dissimilarity_table

ANGULAR_METRICS = {"cosine", "correlation"}
# Ridge strengths to choose from, in units of the mean squared norm of the rows, and the one to
# take unchosen.
_ALPHAS = (3.2, 1.6, 0.8, 0.4, 0.2, 0.1, 0.05, 0.01, 0.001)
_ALPHA = 0.4
# Value of the constant column: where the origin matters, the mean is shrunk to it like all
# else; where it does not, the mean is free.
_INTERCEPT = 0.3
_FREE_INTERCEPT = 10.0
_JUDGED_TARGETS = 64
_FOLDS = 3
# How much the true targets weigh beside their predictions when directions are refined.
_TARGETS_BESIDE_PREDICTIONS = 0.7
_SCALING_DIMENSIONS = 256
# Up to so many columns their (columns x columns) moments are cheaper than iterations.
_MOMENT_COLUMNS = 2048
_ROWS_PER_CHUNK = 2**13
_COLUMNS_PER_CHUNK = 2**15
_LANDMARKS = 1000
_CG_TOLERANCE = 1e-2
_CG_STEPS = 100
# Outputs that are solved for at once: at most so many, and so many coefficients, to bound the
# memory of wide inputs.
_CG_OUTPUTS = 128
_CG_COEFFICIENTS = 2**22


class LinearMap(NamedTuple):
    """rows @ weight.T + bias, float64."""

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, rows):
        """Images of the rows."""
        return rows @ self.weight.T + self.bias

    def after(self, first):
        """The map `first` followed by this one."""
        # In pieces, as a product makes a copy of a wide map in double precision.
        weight = [
            self.weight @ first.weight[:, columns]
            for columns in chunks(first.weight.shape[1], _COLUMNS_PER_CHUNK)
        ]
        return LinearMap(np.hstack(weight), self.weight @ first.bias + self.bias)


def compression_start(X, n_components, *, metric, sample_weight, random_state):
    """Leading directions of X, which is its own teacher.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    n_components : int
        At most min(n_samples, n_features).
    metric : str or callable
        The student's dissimilarity. Cosine ones look at rows of unit norm from the origin:
        centering, as PCA does it, would harm them. Others do not change with it.
    sample_weight : ndarray of shape (n_samples,)
    random_state : RandomState

    Returns
    -------
    start : LinearMap
    """
    angular = metric in ANGULAR_METRICS
    if angular:
        norms = squared_norms(X)
        sample_weight = np.divide(sample_weight, norms, out=np.zeros_like(norms), where=norms > 0)
    return leading_directions(
        X, n_components, center=not angular, sample_weight=sample_weight, random_state=random_state
    )


class Transfer:
    """Ridge regression of the teacher's coordinates on X, and its leading directions.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    targets : ndarray of shape (n_samples, n_targets)
        As from :func:`teacher_coordinates`.
    n_components : int
        At most min(n_samples, n_features, n_targets).
    metric : str or callable
        The student's dissimilarity.
    sample_weight : ndarray of shape (n_samples,)
    random_state : RandomState
    alpha : float, default=None
        Ridge strength.
    worth : callable, default=None
        What held-out rows say of a LinearMap: without `alpha`, the strength with the largest
        worth is taken. Without either, a fixed one.

    Attributes
    ----------
    alpha : float
    regression : LinearMap
        From X to the targets.
    directions : LinearMap
        From the targets to the components.
    """

    def __init__(
        self,
        X,
        targets,
        n_components,
        *,
        metric,
        sample_weight,
        random_state,
        alpha=None,
        worth=None,
    ):
        self.angular = metric in ANGULAR_METRICS
        self.intercept = _INTERCEPT if self.angular else _FREE_INTERCEPT
        self.random_state = random_state
        self.alpha = _ALPHA if alpha is None else alpha
        if alpha is None and worth is not None:
            self.alpha = self._best_alpha(X, targets, sample_weight, worth)
        self.regression = self.regress(X, targets, sample_weight)
        self.directions = leading_directions(
            self.regression(X),
            n_components,
            center=not self.angular,
            sample_weight=sample_weight,
            random_state=random_state,
        )

    def start(self):
        """From X to the components, in closed form; a LinearMap."""
        return self.directions.after(self.regression)

    def cross_predictions(self, X, targets, sample_weight):
        """Predictions of rows by regressions that have not seen them, and a teacher.

        The teacher is the predictions beside the targets: what can be predicted at all counts
        more than what cannot.

        Returns
        -------
        predictions : ndarray of shape (n_rows, n_targets)
        teacher : ndarray of shape (n_rows, 2 * n_targets)
        metric : str
            The teacher's.
        """
        n_rows = X.shape[0]
        predictions = np.empty(targets.shape)
        for fold in np.array_split(self.random_state.permutation(n_rows), _FOLDS):
            others = np.setdiff1d(np.arange(n_rows), fold)
            # Without a name, or the coefficients of wide rows are kept while the next are computed.
            predictions[fold] = self.regress(X[others], targets[others], sample_weight[others])(
                X[fold]
            )
        known = _unit_rows(predictions) if self.angular else predictions
        teacher = np.hstack([known, _TARGETS_BESIDE_PREDICTIONS * targets])
        return predictions, teacher, "cosine" if self.angular else "euclidean"

    def regress(self, X, targets, sample_weight):
        """Ridge regression of the targets on X, of the chosen strength; a LinearMap."""
        (regression,) = ridge(
            X, targets, [self.alpha], intercept=self.intercept, sample_weight=sample_weight
        )
        return regression

    def _best_alpha(self, X, targets, sample_weight, worth):
        # The leading directions of the targets decide as well as all of them do, and sooner.
        project = leading_directions(
            targets,
            min(_JUDGED_TARGETS, *targets.shape),
            center=False,
            sample_weight=sample_weight,
            random_state=self.random_state,
        )
        regressions = ridge(
            X,
            project(targets),
            _ALPHAS,
            intercept=self.intercept,
            sample_weight=sample_weight,
        )
        worths = dict(zip(_ALPHAS, map(worth, regressions), strict=True))
        return max(worths, key=worths.get)


def teacher_coordinates(teacher, metric, random_state):
    """Coordinates of the rows whose euclidean order resembles the teacher's.

    Unit rows under cosine, centered rows under the metrics of a norm, and landmark
    multidimensional scaling under any other.

    Parameters
    ----------
    teacher : ndarray of shape (n_samples, n_features)
        Embeddings, or the (n_samples, n_samples) table with ``metric="precomputed"``.
    metric : str or callable
    random_state : RandomState

    Returns
    -------
    coordinates : ndarray of shape (n_samples, n_coordinates)
    """
    if metric in ANGULAR_METRICS:
        rows = teacher - teacher.mean(1, keepdims=True) if metric == "correlation" else teacher
        return _unit_rows(rows)
    if metric in METRICS and metric != "precomputed":
        return teacher - teacher.mean(0)

    def dissimilarities(rows, columns):
        return dissimilarity_table(teacher, metric, rows, columns).numpy()

    return classical_scaling(dissimilarities, len(teacher), _SCALING_DIMENSIONS, random_state)


def _unit_rows(rows):
    norms = np.sqrt(squared_norms(rows))[:, None].astype(rows.dtype)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


def leading_directions(X, n_components, *, center, sample_weight, random_state):
    """Project on the leading right singular vectors of the rows.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    n_components : int
        At most min(n_samples, n_features).
    center : bool
        Whether to subtract the mean first (as PCA does) or not (as truncated SVD does).
        Centering serves euclidean dissimilarities, to which it changes nothing, and harms
        cosine ones, which look from the origin.
    sample_weight : ndarray of shape (n_samples,)
    random_state : RandomState

    Returns
    -------
    start : LinearMap
    """
    n_features = X.shape[1]
    mean = sample_weight @ X / sample_weight.sum() if center else np.zeros(n_features)
    if n_features <= _MOMENT_COLUMNS or n_components == min(X.shape):
        directions = _moment_directions(X, mean, n_components, sample_weight)
    else:
        directions = _iterated_directions(X, mean, n_components, sample_weight, random_state)
    _, directions = svd_flip(None, directions, u_based_decision=False)
    return LinearMap(directions.copy(), -directions @ mean)


def _moment_directions(X, mean, n_components, sample_weight):
    moments = _moments(X, sample_weight)
    moments -= sample_weight.sum() * np.outer(mean, mean)
    last = len(moments) - 1
    _, vectors = eigh(moments, subset_by_index=[last - n_components + 1, last])
    return vectors[:, ::-1].T


def _iterated_directions(X, mean, n_components, sample_weight, random_state):
    root = np.sqrt(sample_weight)
    operator = LinearOperator(
        X.shape,
        dtype=X.dtype,
        matvec=lambda v: root * (X @ v.ravel() - mean @ v.ravel()),
        rmatvec=lambda u: X.T @ (root * u.ravel()) - mean * (root @ u.ravel()),
    )
    guess = random_state.standard_normal(min(X.shape)).astype(X.dtype)
    _, _, directions = svds(operator, k=n_components, v0=guess)
    return directions[::-1].astype(np.float64)


def ridge(X, targets, alphas, *, intercept, sample_weight):
    """Ridge regressions of `targets` on `X`, one for each strength.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    targets : ndarray of shape (n_samples, n_outputs)
    alphas : sequence of float
        Strengths, in units of the mean squared norm of the rows, strongest first.
    intercept : float
        Value of a constant column that joins X, in units of the root mean squared norm of the
        rows. Its coefficient is penalised like the others: a row that tells nothing is mapped
        near the mean, and the others are not drawn to it.
    sample_weight : ndarray of shape (n_samples,)

    Yields
    ------
    start : LinearMap
    """
    scale = root_mean_square_norm(X, sample_weight)
    design = _Design(X, intercept * scale, sample_weight / sample_weight.mean())
    solver = _moment_solver if X.shape[1] <= _MOMENT_COLUMNS else _gradient_solver
    solve = solver(design, targets)
    for alpha in alphas:
        coefficients = solve(alpha * scale**2)
        yield LinearMap(coefficients[:-1].T, coefficients[-1] * design.constant)


def root_mean_square_norm(X, sample_weight):
    """Typical norm of a row; 1 if all rows are zero."""
    norm = np.sqrt(sample_weight @ squared_norms(X) / sample_weight.sum())
    return norm if norm > 0 else 1.0


def squared_norms(X):
    """Squared norms of the rows, float64 of shape (n_samples,)."""
    if sp.issparse(X):
        return sparse_squared_norms(X)
    return np.einsum("ij,ij->i", X, X, dtype=np.float64)


class _Design(NamedTuple):
    """X with a constant column, its rows weighted."""

    X: np.ndarray
    constant: float
    sample_weight: np.ndarray

    def forward(self, coefficients):
        return (
            self.X @ coefficients[:-1] + coefficients.dtype.type(self.constant) * coefficients[-1]
        )

    def backward(self, residuals):
        weighted = self.sample_weight[:, None].astype(residuals.dtype) * residuals
        return np.vstack(
            [self.X.T @ weighted, weighted.dtype.type(self.constant) * weighted.sum(0)]
        )


def _moment_solver(design, targets):
    """Solve for any strength by the eigenvectors of the moments."""
    moments = _moments(design.X, design.sample_weight)
    cross = design.X.T @ (design.sample_weight[:, None] * targets)
    sums = design.sample_weight @ design.X
    corner = design.constant * sums
    total = design.constant**2 * design.sample_weight.sum()
    values, vectors = eigh(np.block([[moments, corner[:, None]], [corner, total]]))
    target_sums = design.constant * (design.sample_weight @ targets)
    rotated = vectors.T @ np.vstack([cross, target_sums])
    return lambda alpha: vectors @ (rotated / (values.clip(0) + alpha)[:, None])


def _gradient_solver(design, targets):
    """Solve by conjugate gradients, each strength from the solution for the one before."""
    targets = targets.astype(design.X.dtype)
    n_columns = design.X.shape[1] + 1
    size = max(1, min(_CG_OUTPUTS, _CG_COEFFICIENTS // n_columns))
    before = None

    def solve(alpha):
        nonlocal before
        solution = np.empty((n_columns, targets.shape[1]), dtype=targets.dtype)
        for outputs in chunks(targets.shape[1], size):
            right = design.backward(targets[:, outputs])
            solution[:, outputs] = _conjugate_gradients(
                lambda v: design.backward(design.forward(v)) + v.dtype.type(alpha) * v,
                right,
                np.zeros_like(right) if before is None else before[:, outputs],
            )
        before = solution
        return solution

    return solve


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


def _moments(X, sample_weight):
    """X.T X, weighted, in double precision but without a double copy of X."""
    moments = np.zeros((X.shape[1], X.shape[1]))
    for rows in chunks(X.shape[0], _ROWS_PER_CHUNK):
        doubled = X[rows].astype(np.float64)
        product = doubled.T @ (sp.diags_array(sample_weight[rows]) @ doubled)
        moments += product.toarray() if sp.issparse(product) else product
    return moments


def classical_scaling(dissimilarities, n_rows, n_dimensions, random_state):
    """Coordinates whose squared distances resemble squared dissimilarities.

    Landmark multidimensional scaling [1]_: eigenvectors of the doubly centred table of a few
    landmarks, and every row placed by its dissimilarities to them.

    Parameters
    ----------
    dissimilarities : callable
        Numbers of rows, twice, to the table between them, an ndarray.
    n_rows : int
    n_dimensions : int
        At most so many coordinates.
    random_state : RandomState
        Draws the landmarks.

    Returns
    -------
    coordinates : ndarray of shape (n_rows, n_dimensions or fewer), float64

    References
    ----------
    .. [1] de Silva, Tenenbaum, "Sparse multidimensional scaling using landmark points",
       Stanford University technical report, 2004.
    """
    landmarks = random_state.permutation(n_rows)[:_LANDMARKS]
    squared = np.square(dissimilarities(landmarks, landmarks), dtype=np.float64)
    squared = (squared + squared.T) / 2
    means = squared.mean(0)
    centered = -(squared - means - means[:, None] + means.mean()) / 2
    last = len(landmarks) - 1
    values, vectors = eigh(centered, subset_by_index=[max(0, last - n_dimensions + 1), last])
    real = values > 1e-9 * max(values[-1], 0)
    if not real.any():
        return np.zeros((n_rows, 1))
    placing = vectors[:, real][:, ::-1] / np.sqrt(values[real][::-1])
    coordinates = [
        -(np.square(dissimilarities(rows, landmarks), dtype=np.float64) - means) @ placing / 2
        for rows in np.array_split(np.arange(n_rows), -(-n_rows // _ROWS_PER_CHUNK))
    ]
    return np.concatenate(coordinates)
