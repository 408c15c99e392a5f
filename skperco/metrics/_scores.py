"""Scores of the agreement between two representations, for NumPy people."""

import warnings

import numpy as np
import torch
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils import check_random_state

from skperco.metrics._anchor_blocks import EXACT_SAMPLES
from skperco.metrics._common import gather, mean_of_defined, neighbor_shares, pair_of_views
from skperco.metrics._concordance import concordance
from skperco.metrics._jackknife import estimate_within
from skperco.utils._global_settings import default_settings
from skperco.utils._validation import check_count, check_tol


@default_settings()
def perception_coherence_score(
    teacher,
    student,
    *,
    metric="cosine",
    teacher_metric=None,
    sample_weight=None,
    n_anchors=None,
    n_references=None,
    tol=None,
    random_state=0,
    n_jobs=None,
    device="cpu",
):
    r"""Triplet accuracy: how often the student orders two samples by dissimilarity as the teacher.

    .. math:: \Gamma = \operatorname{E}_x \bigl( P_{y,z}[\delta_g(x,y) < \delta_g(x,z)] +
              \tfrac12 P_{y,z}[\delta_g(x,y) = \delta_g(x,z)] \bigr)
              \quad\text{given}\quad \delta_f(x,y) < \delta_f(x,z)

    with the dissimilarities :math:`\delta_f` of the teacher and :math:`\delta_g` of the
    student, for an anchor x and references y and z. 1 is perfect, 1/2 is chance (a constant student
    has exactly that), 0 is reversed. Only the order of dissimilarities counts, not their size.

    Parameters
    ----------
    teacher : {array-like, sparse matrix} of shape (n_samples, n_teacher_features)
        Reference representation, or its (n_samples, n_samples) table of dissimilarities when
        its metric is ``"precomputed"``: row i holds what sample i sees.
    student : {array-like, sparse matrix} of shape (n_samples, n_student_features)
        Representation of the same samples that is judged, or its table.
    metric : str or callable, default="cosine"
        Dissimilarity of the student, and of the teacher if `teacher_metric` is None: one of
        "cosine", "euclidean", "sqeuclidean", "manhattan", "correlation", "precomputed", or a
        callable as in :func:`pairwise_dissimilarity`, which is given float64 tensors.
    teacher_metric : str or callable, default=None
        Dissimilarity of the teacher.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each sample as an anchor; a pair weighs the product of its two weights.
    n_anchors, n_references : int, default=None
        How many samples to draw, without replacement, to be anchors and to be references. If
        None, all up to 4,000 samples; beyond that 1,000 anchors and 2,000 references.
    tol : float, default=None
        In place of these numbers: beyond 4,000 samples, draw until the standard error is at
        most this, or everybody has been drawn.
    random_state : int, RandomState instance or None, default=0
        Draws the anchors and references; repeatable by default.
    n_jobs : int, default=None
        How many blocks of anchors to work on at once, as joblib understands it: None is 1, or
        what its context says; -1 is every processor. The score does not depend on it.
    device : str or torch.device, default="cpu"
        Where to compute: "cpu", "cuda", ..., or "auto" for a GPU if there is one.

    Returns
    -------
    score : float
        In [0, 1]. nan, with an `UndefinedMetricWarning`, if the teacher has only ties.

    Raises
    ------
    ValueError
        If the rows do not match, there are fewer than 3 of positive weight, or a value is not
        finite.

    See Also
    --------
    perception_coherence_samples : The same for every sample.
    neighbor_recall_score : Agreement on who is among the nearest.

    Notes
    -----
    Pairs that the teacher ties are left out, as is an anchor with ties only; an anchor is never
    its own reference. Embeddings are compared in float64, and distances that differ by less than
    1e-12 of the largest of an anchor count as tied, so that rounding does not break ties. No tie
    tolerance is applied to precomputed dissimilarities or callable metrics.

    Without ties the score is :math:`(1 + \tau) / 2` with the mean over anchors of Kendall's
    :math:`\tau`. It is based on an idea of [1]_, in this project's own definition.

    Time is O(n_anchors n_references (n_features + n_references^0.5)), where the second term has
    a small constant; memory is bounded, no table of all samples is ever made. Of an array, a
    memory-mapped one for instance, only the samples that are drawn are read and checked.

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
    views = pair_of_views(teacher, student, metric, teacher_metric, sample_weight, device)
    views.require(3, "an anchor and two references")
    rng = check_random_state(random_state)
    check_tol(tol, n_anchors=n_anchors, n_references=n_references)
    if tol is not None and views.n_samples > EXACT_SAMPLES:
        score = estimate_within(views, tol, [1], rng, n_jobs).scores[0]
    else:
        anchors, references = views.draw(n_anchors, n_references, rng)
        score = mean_of_defined(
            _coherences(views, anchors, references, n_jobs), views.weights[anchors]
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
    teacher,
    student,
    *,
    metric="cosine",
    teacher_metric=None,
    sample_weight=None,
    n_references=None,
    random_state=0,
    n_jobs=None,
    device="cpu",
):
    """Coherence at every sample: how well the student orders the others as seen from there.

    Its mean over the samples is :func:`perception_coherence_score`; its smallest entries are
    the samples that the student misperceives.

    Parameters
    ----------
    teacher, student : {array-like, sparse matrix} of shape (n_samples, n_features)
        As in :func:`perception_coherence_score`.
    metric, teacher_metric : str or callable
        As in :func:`perception_coherence_score`.
    sample_weight : array-like of shape (n_samples,), default=None
        A pair of references weighs the product of its two weights.
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
        nan where the teacher sees only ties, and for samples of weight zero.

    Examples
    --------
    >>> import numpy as np
    >>> from skperco import perception_coherence_samples
    >>> teacher = np.random.default_rng(0).normal(size=(5, 3))
    >>> perception_coherence_samples(teacher, 2 * teacher)
    array([1., 1., 1., 1., 1.])
    """
    views = pair_of_views(teacher, student, metric, teacher_metric, sample_weight, device)
    views.require(3, "an anchor and two references")
    references = views.draw_references(n_references, check_random_state(random_state))
    scores = np.full(views.n_given, np.nan)
    scores[views.kept] = _coherences(views, np.arange(views.n_samples), references, n_jobs)
    return scores


@default_settings()
def neighbor_recall_score(
    teacher,
    student,
    *,
    n_neighbors=10,
    metric="cosine",
    teacher_metric=None,
    sample_weight=None,
    n_anchors=None,
    random_state=0,
    n_jobs=None,
    device="cpu",
):
    """Share of the teacher's nearest neighbors that are also among the student's nearest.

    Parameters
    ----------
    teacher, student : {array-like, sparse matrix} of shape (n_samples, n_features)
        As in :func:`perception_coherence_score`.
    n_neighbors : int, default=10
        Number of neighbors k, from 1 to n_samples - 1.
    metric, teacher_metric : str or callable
        As in :func:`perception_coherence_score`.
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
        If the rows do not match, there are no more than `n_neighbors` of positive weight, or
        a value is not finite.

    See Also
    --------
    perception_coherence_score : Agreement on the whole order.

    Notes
    -----
    Samples tied at the k-th place share the places that are left to them, on either side; the
    overlap is the sum of the smaller of the two shares. Without ties this is the plain count.

    Examples
    --------
    >>> import numpy as np
    >>> from skperco import neighbor_recall_score
    >>> teacher = np.random.default_rng(0).normal(size=(100, 8))
    >>> neighbor_recall_score(teacher, teacher, n_neighbors=5)
    1.0
    """
    views = pair_of_views(teacher, student, metric, teacher_metric, sample_weight, device)
    views.require(2, "an anchor and a neighbor")
    n_neighbors = check_count(n_neighbors, "n_neighbors", least=1, most=views.n_samples - 1)
    anchors = views.draw_anchors(n_anchors, check_random_state(random_state))
    recalls = _recalls(views, anchors, n_neighbors, n_jobs)
    return float(np.average(recalls, weights=views.weights[anchors]))


def _coherences(views, anchors, references, n_jobs):
    """Coherence at each anchor; nan where all is tied."""
    teacher_rtol, student_rtol = views.rtols

    def measure(block):
        return block.positions, concordance(
            *block.dissimilarities,
            weights=block.weights,
            teacher_rtol=teacher_rtol,
            student_rtol=student_rtol,
        )

    return gather(views.look(measure, anchors, references, n_jobs))


def _recalls(views, anchors, n_neighbors, n_jobs):
    def measure(block):
        shares = [
            neighbor_shares(dissimilarities, n_neighbors, rtol)
            for dissimilarities, rtol in zip(block.dissimilarities, views.rtols, strict=True)
        ]
        return block.positions, torch.minimum(*shares).sum(1) / n_neighbors

    return gather(views.look(measure, anchors, np.arange(views.n_samples), n_jobs))
