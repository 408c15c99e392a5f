"""Dissimilarity matrices of samples, in double precision."""

from typing import Any

import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from skperco.dissimilarity._dense import check_no_nan, pairwise_dissimilarity
from skperco.dissimilarity._sparse import sparse_dissimilarity
from skperco.utils._types import Metric, Rows


def dissimilarity_table(
    representation: Rows,
    metric: Metric,
    rows: slice | NDArray[Any] = slice(None),
    columns: slice | NDArray[Any] = slice(None),
    *,
    device: torch.device,
) -> torch.Tensor:
    """Dissimilarity matrix of samples, in double precision.

    Parameters
    ----------
    representation : ndarray or CSR of shape (n_samples, n_features)
        Embeddings, or the (n_samples, n_samples) dissimilarity matrix with
        ``metric="precomputed"``.
    metric : str or callable
    rows, columns : slice or ndarray of int
        The samples of the rows and of the columns of the matrix.
    device : torch.device
        Of the result; dissimilarities of dense rows are also computed on it.

    Returns
    -------
    matrix : torch.Tensor of shape (n_rows, n_columns), float64
    """

    def tensor(array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).to(device, torch.float64)

    if metric == "precomputed":
        return tensor(representation[rows][:, columns])
    if sp.issparse(representation):
        pair = representation[rows], representation[columns]
        return tensor(sparse_dissimilarity(*pair, metric))
    anchors, references = tensor(representation[rows]), tensor(representation[columns])
    dissimilarities = pairwise_dissimilarity(anchors, references, metric=metric)
    return check_no_nan(dissimilarities, metric, "teacher_metric")
