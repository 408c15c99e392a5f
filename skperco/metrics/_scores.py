"""Scores of the agreement between two representations."""

import warnings
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils import check_random_state

from skperco.metrics._common import (
    gather,
    mean_of_defined,
    neighbor_shares,
)
from skperco.metrics._concordance import concordance
from skperco.metrics._jackknife import estimate_within
from skperco.metrics._representations import (
    EXACT_SAMPLES,
    AnchorBlock,
    Representations,
    teacher_and_student,
)
from skperco.utils._global_settings import default_settings
from skperco.utils._numbers import check_count, check_tol
from skperco.utils._types import Metric


@default_settings()
def perception_coherence_score(
    teacher: Any,
    student: Any,
    *,
    metric: Metric = "cosine",
    teacher_metric: Metric | None = None,
    student_queries: Any = None,
    sample_weight: ArrayLike | None = None,
    n_anchors: int | None = None,
    n_references: int | None = None,
    tol: float | None = None,
    random_state: int | np.random.RandomState | None = 0,
    n_jobs: int | None = None,
    device: str | torch.device = "cpu",
) -> float:
    r"""Triplet accuracy: how often the student orders two dissimilarities as the teacher does.

    .. math:: \Gamma = \operatorname{E}_x \bigl( P_{y,z}[\delta_g(x,y) < \delta_g(x,z)] +
              \tfrac12 P_{y,z}[\delta_g(x,y) = \delta_g(x,z)] \bigr)
              \quad\text{given}\quad \delta_f(x,y) < \delta_f(x,z)

    with the dissimilarities :math:`\delta_f` of the teacher and :math:`\delta_g` of the
    student, for an anchor x and references y and z. 1 is perfect, 1/2 is chance (and the score of
    a constant student), 0 is reversed. Only the order of dissimilarities counts, not their size.

    Parameters
    ----------
    teacher : {array-like, sparse matrix} of shape (n_samples, n_teacher_features)
        Reference representation, or its (n_samples, n_samples) dissimilarity matrix when its
        metric is ``"precomputed"``: row i holds the dissimilarities from anchor i.
    student : {array-like, sparse matrix} of shape (n_samples, n_student_features)
        Representation of the same samples that is evaluated, or its dissimilarity matrix.
    metric : str or callable, default="cosine"
        Dissimilarity of the student, and of the teacher if `teacher_metric` is None: one of
        "cosine", "euclidean", "sqeuclidean", "manhattan", "correlation", "precomputed", or a
        callable as in :func:`pairwise_dissimilarity`, which takes float64 tensors.
    teacher_metric : str or callable, default=None
        Dissimilarity of the teacher.
    student_queries : {array-like, sparse matrix}, default=None
        The student's representation of the samples as anchors, if it differs, of the same shape:
        the dissimilarity of anchor x and reference y is then that of row x of `student_queries`
        and row y of `student`, as between exact queries and coded documents.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each sample as an anchor; the weight of a pair of references is the product of
        their weights.
    n_anchors, n_references : int, default=None
        Number of anchors and of references to draw from the samples without replacement. If
        None, all up to 4,000 samples; beyond that 1,000 anchors and 2,000 references.
    tol : float, default=None
        In place of `n_anchors` and `n_references`: with more than 4,000 samples, draw until the
        standard error is at most this, or all samples have been drawn.
    random_state : int, RandomState instance or None, default=0
        Draws the anchors and references; repeatable by default.
    n_jobs : int, default=None
        Number of blocks of anchors to process in parallel, as in joblib: None means 1 unless in a
        ``joblib.parallel_config`` context, -1 all processors. The score does not depend on
        it.
    device : str or torch.device, default="cpu"
        Where to compute: "cpu", "cuda", ..., or "auto" for a GPU if there is one.

    Returns
    -------
    score : float
        In [0, 1]. nan, with an `UndefinedMetricWarning`, if the teacher has only ties.

    Raises
    ------
    ValueError
        If the numbers of rows differ, fewer than 3 samples have positive weight, a value is not
        finite, a metric or device is unknown, or a number is out of its range.
    TypeError
        If a metric is neither a string nor a callable, or a number has the wrong type.

    See Also
    --------
    perception_coherence_samples : The same for every sample.
    neighbor_recall_score : Overlap of the nearest neighbors.

    Notes
    -----
    Pairs that the teacher ties are left out, as are anchors with ties only; an anchor is never
    its own reference. Embeddings are compared in float64, and distances that differ by less than
    1e-12 of the largest of an anchor count as tied, so that rounding does not break ties. No tie
    tolerance is applied to precomputed dissimilarities or callable metrics.

    Without ties the score is :math:`(1 + \tau) / 2`, where :math:`\tau` is the mean over anchors
    of Kendall's rank correlation. It is based on an idea of [1]_; the definition is this
    project's own.

    Time is O(n_anchors n_references (n_features + n_references^0.5)), where the second term has
    a small constant; memory is bounded, since dissimilarities are computed by blocks. Only the
    samples that are drawn are read and checked, for instance from a memory-mapped array.

    References
    ----------
    .. [1] Nguyen, Gamboa, Zhang, Chhaibi, Gratton, Giaccone, "Feature representation
       transferring to lightweight models via perception coherence", TMLR 2026.
       https://arxiv.org/abs/2505.06595

    Examples
    --------
    >>> import numpy as np
    >>> from skperco import perception_coherence_score
    >>> teacher = np.random.default_rng(0).normal(size=(100, 8))
    >>> perception_coherence_score(teacher, 3 * teacher)
    1.0
    >>> 0.5 < perception_coherence_score(teacher, teacher[:, :4]) < 1
    True
    """
    pair = teacher_and_student(
        teacher, student, metric, teacher_metric, sample_weight, device, student_queries
    )
    pair.require(3, "an anchor and two references")
    rng = check_random_state(random_state)
    check_tol(tol, n_anchors=n_anchors, n_references=n_references)
    if tol is not None and pair.n_samples > EXACT_SAMPLES:
        score = estimate_within(pair, tol, [1], rng, n_jobs).scores[0]
    else:
        anchors, references = pair.draw(n_anchors, n_references, rng)
        score = mean_of_defined(
            _coherences(pair, anchors, references, n_jobs), pair.weights[anchors]
        )
    if np.isnan(score):
        warnings.warn(
            "The teacher ties all dissimilarities: the score is undefined and set to nan.",
            UndefinedMetricWarning,
            stacklevel=2,
        )
    return float(score)


@default_settings()
def perception_coherence_samples(
    teacher: Any,
    student: Any,
    *,
    metric: Metric = "cosine",
    teacher_metric: Metric | None = None,
    sample_weight: ArrayLike | None = None,
    n_references: int | None = None,
    random_state: int | np.random.RandomState | None = 0,
    n_jobs: int | None = None,
    device: str | torch.device = "cpu",
) -> NDArray[np.float64]:
    """Coherence at every sample: triplet accuracy with this sample as the anchor.

    The (weighted) mean over the samples is :func:`perception_coherence_score` with all samples as
    anchors. The smallest coherences are those of the samples whose neighborhoods the student
    distorts most.

    Parameters
    ----------
    teacher, student : {array-like, sparse matrix} of shape (n_samples, n_features)
        As in :func:`perception_coherence_score`.
    metric, teacher_metric : str or callable
        As in :func:`perception_coherence_score`.
    sample_weight : array-like of shape (n_samples,), default=None
        The weight of a pair of references is the product of their weights.
    n_references : int, default=None
        As in :func:`perception_coherence_score`.
    random_state : int, RandomState instance or None, default=0
        Draws the references.
    n_jobs : int, default=None
        As in :func:`perception_coherence_score`.
    device : str or torch.device, default="cpu"
        Where to compute.

    Returns
    -------
    coherences : ndarray of shape (n_samples,), float64
        nan where the teacher has only ties, and for samples of weight zero.

    Raises
    ------
    ValueError
        As in :func:`perception_coherence_score`.
    TypeError
        As in :func:`perception_coherence_score`.

    Examples
    --------
    >>> import numpy as np
    >>> from skperco import perception_coherence_samples
    >>> teacher = np.random.default_rng(0).normal(size=(5, 3))
    >>> perception_coherence_samples(teacher, 2 * teacher)
    array([1., 1., 1., 1., 1.])
    """
    pair = teacher_and_student(teacher, student, metric, teacher_metric, sample_weight, device)
    pair.require(3, "an anchor and two references")
    references = pair.draw_references(n_references, check_random_state(random_state))
    scores = np.full(pair.n_given, np.nan)
    scores[pair.kept] = _coherences(pair, np.arange(pair.n_samples), references, n_jobs)
    return scores


@default_settings()
def neighbor_recall_score(
    teacher: Any,
    student: Any,
    *,
    n_neighbors: int = 10,
    metric: Metric = "cosine",
    teacher_metric: Metric | None = None,
    student_queries: Any = None,
    sample_weight: ArrayLike | None = None,
    n_anchors: int | None = None,
    random_state: int | np.random.RandomState | None = 0,
    n_jobs: int | None = None,
    device: str | torch.device = "cpu",
) -> float:
    """Fraction of the teacher's nearest neighbors that are also the student's.

    Parameters
    ----------
    teacher, student : {array-like, sparse matrix} of shape (n_samples, n_features)
        As in :func:`perception_coherence_score`.
    n_neighbors : int, default=10
        Number of neighbors k, from 1 to n_samples - 1.
    metric, teacher_metric : str or callable
        As in :func:`perception_coherence_score`.
    student_queries : {array-like, sparse matrix}, default=None
        The student's representation of the samples as anchors, if it differs, of the same shape:
        the dissimilarity of anchor x and reference y is then that of row x of `student_queries`
        and row y of `student`, as between exact queries and coded documents.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each sample as an anchor; a sample of weight zero is left out.
    n_anchors : int, default=None
        Number of anchors, drawn without replacement; all other samples are their references. If
        None, all up to 4,000 samples, 1,000 beyond that.
    random_state : int, RandomState instance or None, default=0
        Draws the anchors; repeatable by default.
    n_jobs : int, default=None
        As in :func:`perception_coherence_score`.
    device : str or torch.device, default="cpu"
        Where to compute.

    Returns
    -------
    score : float
        In [0, 1]; a constant student has k / (n_samples - 1).

    Raises
    ------
    ValueError
        As in :func:`perception_coherence_score`, or if `n_neighbors` is less than 1 or not less
        than the number of samples of positive weight.
    TypeError
        As in :func:`perception_coherence_score`, or if `n_neighbors` is not an integer.

    See Also
    --------
    perception_coherence_score : Agreement on the whole order.

    Notes
    -----
    References tied at the k-th position share the remaining positions equally, for the teacher
    and for the student; the overlap is the sum of the smaller of the two shares. Without ties
    this is the number of common neighbors.

    Examples
    --------
    >>> import numpy as np
    >>> from skperco import neighbor_recall_score
    >>> teacher = np.random.default_rng(0).normal(size=(100, 8))
    >>> neighbor_recall_score(teacher, teacher, n_neighbors=5)
    1.0
    """
    pair = teacher_and_student(
        teacher, student, metric, teacher_metric, sample_weight, device, student_queries
    )
    pair.require(2, "an anchor and a neighbor")
    n_neighbors = check_count(n_neighbors, "n_neighbors", least=1, most=pair.n_samples - 1)
    anchors = pair.draw_anchors(n_anchors, check_random_state(random_state))
    recalls = _recalls(pair, anchors, n_neighbors, n_jobs)
    return float(np.average(recalls, weights=pair.weights[anchors]))


def _coherences(
    pair: Representations,
    anchors: NDArray[np.integer],
    references: NDArray[np.integer],
    n_jobs: int | None,
) -> NDArray[np.float64]:
    """Coherence at each anchor; nan where the teacher has only ties."""
    measure = partial(_block_coherences, pair.rtols)
    return gather(pair.map_blocks(measure, anchors, references, n_jobs))


def _block_coherences(
    rtols: list[float], block: AnchorBlock
) -> tuple[NDArray[np.integer], torch.Tensor]:
    teacher_rtol, student_rtol = rtols
    return block.positions, concordance(
        *block.dissimilarities,
        weights=block.weights,
        teacher_rtol=teacher_rtol,
        student_rtol=student_rtol,
    )


def _recalls(
    pair: Representations, anchors: NDArray[np.integer], n_neighbors: int, n_jobs: int | None
) -> NDArray[np.float64]:
    """Recall at each anchor."""
    measure = partial(_block_recalls, pair.rtols, n_neighbors)
    return gather(pair.map_blocks(measure, anchors, np.arange(pair.n_samples), n_jobs))


def _block_recalls(
    rtols: list[float], n_neighbors: int, block: AnchorBlock
) -> tuple[NDArray[np.integer], torch.Tensor]:
    shares = [
        neighbor_shares(dissimilarities, n_neighbors, rtol)
        for dissimilarities, rtol in zip(block.dissimilarities, rtols, strict=True)
    ]
    return block.positions, torch.minimum(*shares).sum(1) / n_neighbors
