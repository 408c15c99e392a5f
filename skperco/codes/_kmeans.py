"""Weighted k-means, by FAISS if it is installed, else by scikit-learn."""

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from skperco.closed_form._truncated_svd import gram_matrix
from skperco.utils._optional_imports import has_module, import_extra

# Iterations in the first dimensions, and after each doubling.
_FIRST_ITER = 10
_N_ITER = 10
# Progressive k-means begins with this number of principal dimensions, and then doubles it.
_FIRST_DIMENSIONS = 2


def kmeans_centers(
    rows: NDArray[np.float32],
    n_clusters: int,
    *,
    sample_weight: NDArray[np.floating],
    random_state: np.random.RandomState,
) -> NDArray[np.float32]:
    """Centers of clusters of the rows, by k-means with progressively more dimensions.

    The rows are clustered in their first principal dimensions, and each solution is the
    initialization in twice as many. Random rows as initial centers are far from the best solution
    in many dimensions.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_dimensions), float32
    n_clusters : int
    sample_weight : ndarray of shape (n_rows,)
        Positive.
    random_state : RandomState

    Returns
    -------
    centers : ndarray of shape (n_clusters, n_dimensions), float32
        If there are fewer distinct rows than clusters, all distinct rows, followed by copies of
        the first one.
    """
    # Distinct rows are counted among the first ones, and among all only if these are few.
    if len(rows) <= n_clusters or len(np.unique(rows[: 4 * n_clusters], axis=0)) <= n_clusters:
        distinct = np.unique(rows, axis=0)
        if len(distinct) <= n_clusters:
            copies = np.repeat(distinct[:1], n_clusters - len(distinct), axis=0)
            return np.concatenate([distinct, copies])
    seed = int(random_state.randint(2**31 - 1))
    cluster = _by_faiss if has_module("faiss") else _by_scikit_learn
    n_dimensions = rows.shape[1]
    _, _, vectors = np.linalg.svd(gram_matrix(rows, sample_weight.astype(np.float64)))
    rotation = vectors.T.astype(np.float32)
    rotated = rows @ rotation
    drawn = random_state.choice(len(rows), n_clusters, replace=False)
    width = min(_FIRST_DIMENSIONS, n_dimensions)
    centers = rotated[drawn, :width]
    centers = cluster(rotated[:, :width], centers, sample_weight, _FIRST_ITER, seed)
    while width < n_dimensions:
        added = min(width, n_dimensions - width)
        width += added
        centers = np.pad(centers, ((0, 0), (0, added)))
        centers = cluster(rotated[:, :width], centers, sample_weight, _N_ITER, seed)
    return centers @ rotation.T


def _by_faiss(
    rows: NDArray[np.float32],
    centers: NDArray[np.float32],
    sample_weight: NDArray[np.floating],
    n_iter: int,
    seed: int,
) -> NDArray[np.float32]:
    faiss = import_extra("faiss", "faiss", "to train codes")
    kmeans = faiss.Kmeans(
        rows.shape[1],
        len(centers),
        niter=n_iter,
        seed=seed,
        # All rows are used, without a warning if they are few.
        min_points_per_centroid=1,
        max_points_per_centroid=len(rows),
    )
    uniform = (sample_weight == sample_weight[0]).all()
    kmeans.train(
        np.ascontiguousarray(rows),
        weights=None if uniform else sample_weight.astype(np.float32),
        init_centroids=np.ascontiguousarray(centers),
    )
    return kmeans.centroids


def _by_scikit_learn(
    rows: NDArray[np.float32],
    centers: NDArray[np.float32],
    sample_weight: NDArray[np.floating],
    n_iter: int,
    seed: int,
) -> NDArray[np.float32]:
    kmeans = KMeans(len(centers), init=centers, n_init=1, max_iter=n_iter, tol=0, random_state=seed)
    return kmeans.fit(rows, sample_weight=sample_weight).cluster_centers_.astype(np.float32)
