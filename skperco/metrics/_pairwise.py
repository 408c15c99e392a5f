"""Perception coherence of every pair of several representations of the same samples."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

from skperco.dissimilarity._dense import check_metric
from skperco.metrics._common import gather, mean_of_defined
from skperco.metrics._concordance import compare, rank, row_chunks
from skperco.metrics._representations import AnchorBlock, Representations
from skperco.utils._global_settings import default_settings
from skperco.utils._types import Metric

_Metrics = Metric | Mapping[str, Metric] | list | tuple


@default_settings()
def pairwise_perception_coherence(
    representations: Mapping[str, Any] | Sequence,
    *,
    metric: _Metrics = "cosine",
    sample_weight: ArrayLike | None = None,
    n_anchors: int | None = None,
    n_references: int | None = None,
    random_state: int | np.random.RandomState | None = 0,
    n_jobs: int | None = None,
    device: str | torch.device = "cpu",
) -> NDArray[np.float64]:
    """Perception coherence of every pair of several representations of the same samples.

    Parameters
    ----------
    representations : dict or sequence of {array-like, sparse matrix}
        Each of shape (n_samples, n_features), where n_features may differ; the keys of a dict are
        their names.
    metric : str, callable, dict or sequence, default="cosine"
        One dissimilarity for all, or one for each: a dict for a dict of representations, a
        sequence for a sequence.
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
    matrix : ndarray of shape (n_representations, n_representations), float64
        Entry (i, j) is the score of j as the student of i; nan where i has only ties.

    Raises
    ------
    ValueError
        As in :func:`perception_coherence_score`, or if there are fewer than two representations,
        or `metric` does not have one entry for each of them.
    TypeError
        As in :func:`perception_coherence_score`.

    See Also
    --------
    CoherenceMatrixDisplay : Plot of the matrix, in the order of a clustering.

    Notes
    -----
    Without ties the matrix is symmetric, and one minus coherence satisfies the triangle
    inequality. The dissimilarities of each representation are computed and ranked only once.

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
    named, metrics = _named(representations, metric)
    samples = Representations(
        {name: (rows, metrics[name]) for name, rows in named.items()}, sample_weight, device
    )
    samples.require(3, "an anchor and two references")
    anchors, references = samples.draw(n_anchors, n_references, check_random_state(random_state))

    def measure(block: AnchorBlock) -> tuple[NDArray[np.integer], torch.Tensor]:
        parts = [
            _concordance_matrices(chunk, weights, samples.rtols)
            for *chunk, weights in row_chunks(*block.dissimilarities, weights=block.weights)
        ]
        return block.positions, torch.cat(parts)

    matrices = gather(samples.map_blocks(measure, anchors, references, n_jobs))
    weights = samples.weights[anchors]
    n = len(named)
    return np.array(
        [[mean_of_defined(matrices[:, i, j], weights) for j in range(n)] for i in range(n)]
    )


def _named(
    representations: Mapping[str, Any] | Sequence, metric: _Metrics
) -> tuple[Mapping[str, Any], Mapping[str, Metric]]:
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


def _concordance_matrices(
    dissimilarities: Sequence[torch.Tensor],
    weights: torch.Tensor | None,
    rtols: Sequence[float],
) -> torch.Tensor:
    """Concordance of each pair, of shape (n_anchors, n_representations, n_representations)."""
    rankings = [
        rank(values, weights, rtol) for values, rtol in zip(dissimilarities, rtols, strict=True)
    ]
    found: dict[tuple[int, int], torch.Tensor] = {}
    for i, teacher in enumerate(rankings):
        for j, student in enumerate(rankings):
            # Without ties the concordance is symmetric.
            is_known = (j, i) in found and not (teacher.has_ties or student.has_ties)
            found[i, j] = found[j, i] if is_known else compare(teacher, student, weights)
    n = len(rankings)
    return torch.stack(
        [torch.stack([found[i, j] for j in range(n)], dim=1) for i in range(n)], dim=1
    )
