"""Weighted truncated SVD and PCA of rows, and the sums that they need."""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, svds
from sklearn.utils.extmath import svd_flip

from skperco.dissimilarity._sparse import sparse_squared_norms
from skperco.utils._chunking import AnyRows, MappedRows, blocks

# Up to this number of columns the Gram matrix is cheaper than iterations.
GRAM_COLUMNS = 2048
_ROWS_PER_BLOCK = 2**13
_COMPLETION_SEED = 0


class LinearMap(NamedTuple):
    """rows @ weight.T + bias."""

    weight: NDArray[np.floating]
    bias: NDArray[np.floating]

    def __call__(self, rows: Any) -> NDArray[np.floating]:
        """Apply the map to rows."""
        return rows @ self.weight.T + self.bias

    def lazily(self, rows: AnyRows) -> MappedRows:
        """Apply the map to rows whenever they are accessed."""
        # mypy does not know that a NamedTuple with __call__ is callable.
        return MappedRows(rows, self.__call__, len(self.weight))


def top_singular_vectors(
    X: AnyRows,
    n_components: int,
    *,
    center: bool,
    sample_weight: NDArray[np.float64],
    random_state: np.random.RandomState,
) -> LinearMap:
    """Projection on the top right singular vectors of the rows.

    Unlike `sklearn.decomposition.PCA` and `TruncatedSVD`, it takes sample weights, reads
    memory-mapped rows by blocks, and makes centering optional for dense and sparse rows.

    Parameters
    ----------
    X : ndarray, CSR or MappedRows of shape (n_samples, n_features)
    n_components : int
        At most n_features. If it exceeds the rank of the rows, random directions orthogonal to
        the singular vectors are added. They map these rows to zero, and new rows to a random
        projection (Johnson-Lindenstrauss) of their part outside the span of these rows. Hence the
        number of components does not depend on the number of rows.
    center : bool
        Whether to subtract the mean first (as PCA does) or not (as truncated SVD does).
        Centering leaves Euclidean dissimilarities unchanged, and the projection then keeps more
        of their variance. It changes cosine dissimilarities, which are relative to the origin.
    sample_weight : ndarray of shape (n_samples,)
    random_state : RandomState

    Returns
    -------
    projection : LinearMap
    """
    n_features = X.shape[1]
    mean = weighted_sum(X, sample_weight) / sample_weight.sum() if center else np.zeros(n_features)
    if n_features <= GRAM_COLUMNS:
        vectors = _vectors_by_gram_matrix(X, mean, n_components, sample_weight)
    elif n_components < min(X.shape):
        vectors = _vectors_by_iteration(X, mean, n_components, sample_weight, random_state)
    else:
        vectors = _vectors_by_dense_svd(X, mean, sample_weight)
    vectors = _complete(vectors, n_components)
    _, vectors = svd_flip(None, vectors, u_based_decision=False)
    vectors = np.array(vectors, dtype=np.float64, order="C")
    return LinearMap(vectors, -vectors @ mean)


def _vectors_by_gram_matrix(
    X: AnyRows, mean: NDArray[np.float64], n_components: int, sample_weight: NDArray[np.float64]
) -> NDArray[np.floating]:
    gram = gram_matrix(X, sample_weight)
    gram -= sample_weight.sum() * np.outer(mean, mean)
    # Not scipy.linalg.eigh: NumPy and SciPy bundle separate BLAS thread pools, and that of NumPy is
    # already active after the product.
    values, vectors = np.linalg.eigh(gram)
    top = slice(None, -n_components - 1, -1)
    return _of_nonzero(values[top], vectors[:, top].T, len(gram))


def _vectors_by_dense_svd(
    X: AnyRows, mean: NDArray[np.float64], sample_weight: NDArray[np.float64]
) -> NDArray[np.floating]:
    """All singular vectors, for at most as many rows as components."""
    rows: Any = X[:]
    rows = rows.toarray() if sp.issparse(rows) else rows
    centered = np.sqrt(sample_weight)[:, None] * (rows - mean)
    _, values, vectors = np.linalg.svd(centered, full_matrices=False)
    return _of_nonzero(values, vectors, max(X.shape))


def _of_nonzero(
    values: NDArray[np.floating], vectors: NDArray[np.floating], size: int
) -> NDArray[np.floating]:
    """The vectors whose singular values or eigenvalues are not zero up to rounding."""
    threshold = values.max(initial=0) * size * np.finfo(values.dtype).eps
    return vectors[values > threshold]


def _complete(vectors: NDArray[np.floating], n_components: int) -> NDArray[np.floating]:
    """Append random vectors, so that all `n_components` vectors are orthonormal."""
    n_missing = n_components - len(vectors)
    if n_missing == 0:
        return vectors
    # A fixed seed, so that integer weights and repeated rows give the same vectors.
    generator = np.random.RandomState(_COMPLETION_SEED)
    drawn = generator.standard_normal((n_missing, vectors.shape[1]))
    # Orthogonalized twice, since the normalization magnifies the rounding error of the first time.
    for _ in range(2):
        drawn -= drawn @ vectors.T @ vectors
        drawn = np.linalg.qr(drawn.T)[0].T
    return np.vstack([vectors, drawn])


def _vectors_by_iteration(
    X: AnyRows,
    mean: NDArray[np.float64],
    n_components: int,
    sample_weight: NDArray[np.float64],
    random_state: np.random.RandomState,
) -> NDArray[np.floating]:
    X = X[:] if isinstance(X, MappedRows) else X
    # In the dtype of X, since the singular vectors of wide rows need much memory. The weights of
    # the shortest rows are clipped so that their products do not overflow.
    root = np.sqrt(sample_weight).clip(max=np.finfo(X.dtype).max ** 0.5)
    root = root.astype(X.dtype)[:, None]
    mean = mean.astype(X.dtype)[:, None]

    def forward(columns: NDArray[np.floating]) -> NDArray[np.floating]:
        return root * (X @ columns - mean.T @ columns)

    def backward(columns: NDArray[np.floating]) -> NDArray[np.floating]:
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
    _, values, vectors = svds(operator, k=n_components, v0=guess.ravel())
    return _of_nonzero(values[::-1], vectors[::-1], max(X.shape))


def root_mean_square_norm(X: AnyRows, sample_weight: NDArray[np.float64]) -> float:
    """Weighted root mean square of the norms of the rows; 1 if all rows are zero."""
    norm = np.sqrt(sample_weight @ squared_norms(X) / sample_weight.sum())
    return norm if norm > 0 else 1.0


def squared_norms(X: AnyRows) -> NDArray[np.float64]:
    """Squared norms of the rows, float64 of shape (n_samples,)."""
    if sp.issparse(X):
        return sparse_squared_norms(X)
    norms = np.empty(X.shape[0])
    for rows, block in blocks(X, _ROWS_PER_BLOCK):
        np.einsum("ij,ij->i", block, block, dtype=np.float64, out=norms[rows])
    return norms


def unit_norm_rows(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    """Dense rows scaled to unit norm; zero rows stay zero."""
    # sklearn.preprocessing.normalize does not scale float32 rows with norms below 1e-6.
    norms = np.sqrt(squared_norms(rows))[:, None].astype(rows.dtype)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


def weighted_sum(X: AnyRows, sample_weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted sum of the rows, float64 of shape (n_features,)."""
    return sum(sample_weight[rows] @ block for rows, block in blocks(X, _ROWS_PER_BLOCK))


def gram_matrix(X: AnyRows, sample_weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted Gram matrix X.T W X, in double precision but without a double copy of X."""
    total = np.zeros((X.shape[1], X.shape[1]))
    roots = np.sqrt(sample_weight)
    for rows, block in blocks(X, _ROWS_PER_BLOCK):
        # NumPy computes the product of a matrix with its own transpose in half the time.
        weighted = sp.diags_array(roots[rows]) @ block.astype(np.float64)
        product = weighted.T @ weighted
        total += product.toarray() if sp.issparse(product) else product
    return total


def cross_product(
    X: AnyRows, Y: AnyRows, sample_weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weighted cross-product X.T W Y, in double precision; Y is dense."""
    total = np.zeros((X.shape[1], Y.shape[1]))
    for (rows, block), (_, others) in zip(
        blocks(X, _ROWS_PER_BLOCK), blocks(Y, _ROWS_PER_BLOCK), strict=True
    ):
        total += block.T @ (sample_weight[rows, None] * others)
    return total
