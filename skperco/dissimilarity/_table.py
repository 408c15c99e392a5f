"""Tables of dissimilarities between samples, in double precision."""

import scipy.sparse as sp
import torch

from skperco.dissimilarity._dense import check_no_nan, pairwise_dissimilarity
from skperco.dissimilarity._sparse import sparse_dissimilarity


def dissimilarity_table(representation, metric, rows=slice(None), columns=slice(None), *, device):
    """Dissimilarities between samples, in double precision.

    Parameters
    ----------
    representation : ndarray or CSR of shape (n_samples, n_features)
        Embeddings, or the (n_samples, n_samples) table with ``metric="precomputed"``.
    metric : str or callable
    rows, columns : slice or ndarray of int
        From which samples to which.
    device : torch.device
        Where the dissimilarities of dense rows are computed, and all are returned.

    Returns
    -------
    table : torch.Tensor of shape (n_rows, n_columns), float64
    """

    def tensor(array):
        return torch.from_numpy(array).to(device, torch.float64)

    if metric == "precomputed":
        return tensor(representation[rows][:, columns])
    if sp.issparse(representation):
        return tensor(sparse_dissimilarity(representation[rows], representation[columns], metric))
    pair = (tensor(representation[part]) for part in (rows, columns))
    return check_no_nan(pairwise_dissimilarity(*pair, metric=metric), metric, "teacher_metric")
