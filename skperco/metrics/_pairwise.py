"""The agreement of many representations of the same samples, each with each."""

from collections.abc import Mapping

import numpy as np
import torch
from sklearn.utils import check_random_state

from skperco.dissimilarity._dense import check_metric
from skperco.metrics._anchor_blocks import Views
from skperco.metrics._common import gather, mean_of_defined
from skperco.metrics._concordance import compare, rank, row_chunks
from skperco.utils._global_settings import default_settings


@default_settings()
def pairwise_perception_coherence(
    representations,
    *,
    metric="cosine",
    sample_weight=None,
    n_anchors=None,
    n_references=None,
    random_state=0,
    n_jobs=None,
    device="cpu",
):
    """Perception coherence of every two of several representations of the same samples.

    Parameters
    ----------
    representations : dict or sequence of {array-like, sparse matrix}
        Each of shape (n_samples, n_features), with features of its own; a dict gives them names.
    metric : str, callable, dict or sequence, default="cosine"
        One dissimilarity for all, or one for each, as the representations are given.
    sample_weight : array-like of shape (n_samples,), default=None
        As in :func:`perception_coherence_score`.
    n_anchors, n_references : int, default=None
        As in :func:`perception_coherence_score`.
    random_state : int, RandomState instance or None, default=0
        Draws the anchors and references, the same for all; repeatable by default.
    n_jobs : int, default=None
        As in :func:`perception_coherence_score`.
    device : str or torch.device, default="cpu"
        Where to compute.

    Returns
    -------
    matrix : ndarray of shape (n_representations, n_representations)
        Entry (i, j) is the score of j as the student of i; nan where i has only ties.

    Raises
    ------
    ValueError
        If there are fewer than two representations, they do not describe the same samples, or
        there is not one metric for each.

    See Also
    --------
    CoherenceMatrixDisplay : Draws the matrix, in the order of a clustering.

    Notes
    -----
    Without ties the matrix is symmetric and one less its entries are a metric: of three
    representations, no two disagree more than both do with the third. Every representation is
    ranked once, so that many cost little more than their comparisons.

    Examples
    --------
    >>> import numpy as np
    >>> from skperco import pairwise_perception_coherence
    >>> rows = np.random.default_rng(0).normal(size=(100, 6))
    >>> pairwise_perception_coherence([rows, 2 * rows, rows[:, :3]]).round(1)
    array([[1. , 1. , 0.7],
           [1. , 1. , 0.7],
           [0.7, 0.7, 1. ]])
    """
    representations, metrics = _named(representations, metric)
    views = Views(
        {name: (rows, metrics[name]) for name, rows in representations.items()},
        sample_weight,
        device,
    )
    views.require(3, "an anchor and two references")
    anchors, references = views.draw(n_anchors, n_references, check_random_state(random_state))

    def measure(block):
        parts = [
            _table(chunk, weights, views.rtols)
            for *chunk, weights in row_chunks(*block.dissimilarities, weights=block.weights)
        ]
        return block.positions, torch.cat(parts)

    tables = gather(views.look(measure, anchors, references, n_jobs))
    weights = views.weights[anchors]
    n = len(representations)
    return np.array(
        [[mean_of_defined(tables[:, i, j], weights) for j in range(n)] for i in range(n)]
    )


def _named(representations, metric):
    """Representations and their metrics by name."""
    if not isinstance(representations, Mapping):
        representations = {f"representations[{i}]": rows for i, rows in enumerate(representations)}
        if isinstance(metric, (list, tuple)) and len(metric) == len(representations):
            metric = dict(zip(representations, metric, strict=True))
    if len(representations) < 2:
        raise ValueError(f"expected at least 2 representations, got {len(representations)}.")
    if isinstance(metric, (list, tuple, Mapping)):
        if not isinstance(metric, Mapping) or set(metric) != set(representations):
            raise ValueError(
                "metric must be one dissimilarity, or one for each of the representations "
                f"{list(representations)}, got {metric!r}."
            )
    else:
        metric = dict.fromkeys(representations, metric)
    for one in metric.values():
        check_metric(one)
    return representations, metric


def _table(seen, weights, rtols):
    """Concordance of every two, of shape (n_anchors, n_representations, n_representations)."""
    rankings = [rank(one, weights, rtol) for one, rtol in zip(seen, rtols, strict=True)]
    found = {}
    for i, teacher in enumerate(rankings):
        for j, student in enumerate(rankings):
            # Without ties it is the same in both directions.
            both_ways = (j, i) in found and not (teacher.has_ties or student.has_ties)
            found[i, j] = found[j, i] if both_ways else compare(teacher, student, weights)
    n = len(rankings)
    return torch.stack(
        [torch.stack([found[i, j] for j in range(n)], dim=1) for i in range(n)], dim=1
    )
