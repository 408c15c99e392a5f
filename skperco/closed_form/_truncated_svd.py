"""Linear maps, and those that keep the leading directions of rows."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, svds
from sklearn.utils.extmath import svd_flip

from skperco.dissimilarity._sparse import sparse_squared_norms
from skperco.utils._chunking import MappedRows, blocks

# Up to so many columns the Gram matrix is cheaper than iterations.
GRAM_COLUMNS = 2048
_ROWS_PER_BLOCK = 2**13
_COMPLETION_SEED = 0


class LinearMap(NamedTuple):
    """rows @ weight.T + bias, float64."""

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, rows):
        """Images of the rows."""
        return rows @ self.weight.T + self.bias


def leading_directions(X, n_components, *, center, sample_weight, random_state):
    """Project on the leading right singular vectors of the rows.

    Parameters
    ----------
    X : ndarray, CSR or MappedRows of shape (n_samples, n_features)
    n_components : int
        At most n_features. Where the rank of the rows is lower, the projection is completed by
        random directions, which are orthogonal to the singular vectors: they are zero for these
        rows, and keep the distances of others better than none would (Johnson and Lindenstrauss).
        Hence the number of components need not depend on the number of rows.
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
    mean = weighted_sum(X, sample_weight) / sample_weight.sum() if center else np.zeros(n_features)
    if n_features <= GRAM_COLUMNS:
        directions = _gram_directions(X, mean, n_components, sample_weight)
    elif n_components < min(X.shape):
        directions = _iterated_directions(X, mean, n_components, sample_weight, random_state)
    else:
        directions = _all_directions(X, mean, sample_weight)
    directions = _completed(directions, n_components)
    _, directions = svd_flip(None, directions, u_based_decision=False)
    directions = np.array(directions, dtype=np.float64, order="C")
    return LinearMap(directions, -directions @ mean)


def _gram_directions(X, mean, n_components, sample_weight):
    squares = gram_matrix(X, sample_weight)
    squares -= sample_weight.sum() * np.outer(mean, mean)
    # NumPy and SciPy bundle separate BLAS thread pools, and that of NumPy is active after the
    # product.
    values, vectors = np.linalg.eigh(squares)
    leading = slice(None, -n_components - 1, -1)
    return _of_nonzero(values[leading], vectors[:, leading].T, len(squares))


def _all_directions(X, mean, sample_weight):
    """The singular vectors of fewer rows than there are components, by a dense decomposition."""
    rows = X.toarray() if sp.issparse(X) else X[:]
    centered = np.sqrt(sample_weight)[:, None] * (rows - mean)
    _, values, directions = np.linalg.svd(centered, full_matrices=False)
    return _of_nonzero(values, directions, max(X.shape))


def _of_nonzero(values, directions, size):
    """The directions whose values, largest first, are not zero up to rounding."""
    smallest = values.max(initial=0) * size * np.finfo(values.dtype).eps
    return directions[values > smallest]


def _completed(directions, n_components):
    """Orthonormal directions and as many random ones, orthogonal to them, as are missing."""
    n_missing = n_components - len(directions)
    if n_missing == 0:
        return directions
    # A fixed seed: repeated rows and their weights must give the same directions.
    generator = np.random.RandomState(_COMPLETION_SEED)
    drawn = generator.standard_normal((n_missing, directions.shape[1]))
    # Once more, since a projection leaves a rounding error that normalization would enlarge.
    for _ in range(2):
        drawn -= drawn @ directions.T @ directions
        drawn = np.linalg.qr(drawn.T)[0].T
    return np.vstack([directions, drawn])


def _iterated_directions(X, mean, n_components, sample_weight, random_state):
    X = X[:] if isinstance(X, MappedRows) else X
    # In the dtype of X, since the singular vectors of wide rows take much memory. The weights of
    # the shortest rows are clipped so that their products do not overflow.
    root = np.sqrt(sample_weight).clip(max=np.finfo(X.dtype).max ** 0.5)
    root = root.astype(X.dtype)[:, None]
    mean = mean.astype(X.dtype)[:, None]

    def forward(columns):
        return root * (X @ columns - mean.T @ columns)

    def backward(columns):
        weighted = root * columns
        product = X.T @ weighted
        return product - mean * weighted.sum(0) if mean.any() else product

    operator = LinearOperator(
        X.shape,
        dtype=X.dtype,
        matvec=lambda v: forward(v.reshape(-1, 1)),
        rmatvec=lambda u: backward(u.reshape(-1, 1)),
        matmat=forward,
        rmatmat=backward,
    )
    guess = random_state.standard_normal((X.shape[1], 1)).astype(X.dtype)
    image = forward(guess)
    if not image.any():
        return np.empty((0, X.shape[1]))
    guess = image if X.shape[0] < X.shape[1] else guess
    _, values, directions = svds(operator, k=n_components, v0=guess.ravel())
    return _of_nonzero(values[::-1], directions[::-1], max(X.shape))


def root_mean_square_norm(X, sample_weight):
    """Typical norm of a row; 1 if all rows are zero."""
    norm = np.sqrt(sample_weight @ squared_norms(X) / sample_weight.sum())
    return norm if norm > 0 else 1.0


def squared_norms(X):
    """Squared norms of the rows, float64 of shape (n_samples,)."""
    if sp.issparse(X):
        return sparse_squared_norms(X)
    norms = np.empty(X.shape[0])
    for rows, block in blocks(X, _ROWS_PER_BLOCK):
        np.einsum("ij,ij->i", block, block, dtype=np.float64, out=norms[rows])
    return norms


def unit_norm_rows(rows):
    """Dense rows scaled to unit norm; zero rows stay zero."""
    norms = np.sqrt(squared_norms(rows))[:, None].astype(rows.dtype)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


def weighted_sum(X, sample_weight):
    """Weighted sum of the rows, float64 of shape (n_features,)."""
    return sum(sample_weight[rows] @ block for rows, block in blocks(X, _ROWS_PER_BLOCK))


def gram_matrix(X, sample_weight):
    """Weighted Gram matrix X.T X, in double precision but without a double copy of X."""
    total = np.zeros((X.shape[1], X.shape[1]))
    roots = np.sqrt(sample_weight)
    for rows, block in blocks(X, _ROWS_PER_BLOCK):
        # The product of a matrix with its own transpose takes NumPy half the time of others.
        weighted = sp.diags_array(roots[rows]) @ block.astype(np.float64)
        product = weighted.T @ weighted
        total += product.toarray() if sp.issparse(product) else product
    return total


def cross_product(X, Y, sample_weight):
    """X.T Y, weighted, in double precision; Y is dense."""
    total = np.zeros((X.shape[1], Y.shape[1]))
    for (rows, block), (_, others) in zip(
        blocks(X, _ROWS_PER_BLOCK), blocks(Y, _ROWS_PER_BLOCK), strict=True
    ):
        total += block.T @ (sample_weight[rows, None] * others)
    return total
