"""Scores of the agreement between two representations, for NumPy people."""

import warnings

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils import check_random_state

from skperco._rows import chunks
from skperco._validation import (
    check_count,
    check_device,
    check_embeddings,
    check_same_rows,
    check_sample_weight,
)
from skperco.concordance import concordance
from skperco.dissimilarity import check_metric, pairwise_dissimilarity
from skperco.sparse import sparse_dissimilarity

# Up to so many samples every anchor and every reference is used, unless numbers are given.
EXACT_SAMPLES = 4000
_SAMPLED_ANCHORS = 1000
_SAMPLED_REFERENCES = 2000
_ENTRIES_PER_BLOCK = 2**22
_ROWS_PER_CHUNK = 2**14
# Distances that differ by no more than this share of the largest are tied: rounding may have
# told them apart.
_TIE_RTOL = 1e-12
_SQUARED_METRICS = {"cosine", "correlation", "sqeuclidean"}


def perception_coherence_score(
    teacher,
    student,
    *,
    metric="cosine",
    teacher_metric=None,
    sample_weight=None,
    n_anchors=None,
    n_references=None,
    random_state=0,
    device="cpu",
):
    r"""Probability that the student puts two things, seen from a third, in the teacher's order.

    .. math:: \Gamma = \operatorname{E}_x \bigl( P_{y,z}[\delta_g(x,y) < \delta_g(x,z)] +
              \tfrac12 P_{y,z}[\delta_g(x,y) = \delta_g(x,z)] \bigr)
              \quad\text{given}\quad \delta_f(x,y) < \delta_f(x,z)

    with the dissimilarities :math:`\delta_f` of the teacher and :math:`\delta_g` of the
    student. 1 is perfect, 1/2 is chance (a constant student has exactly that), 0 is reversed.
    Only the order of dissimilarities counts, never their size.

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
    random_state : int, RandomState instance or None, default=0
        Draws the anchors and references; repeatable by default.
    device : str or torch.device, default="cpu"
        Where to compute: "cpu", "cuda", ..., or "auto" for a GPU if there is one.

    Returns
    -------
    score : float
        In [0, 1]. nan, with an `UndefinedMetricWarning`, if the teacher sees only ties.

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
    Pairs that the teacher ties say nothing and are left out, as is an anchor that sees only
    ties; an anchor is never its own reference. Embeddings are compared in float64, and
    distances that differ by less than 1e-12 of the largest that the anchor sees count as tied,
    so that rounding does not break ties; tables and callables are taken at their word.

    Without ties the score is :math:`(1 + \tau) / 2` with the mean over anchors of Kendall's
    :math:`\tau`. The definition is this project's reading of "perception coherence" [1]_.

    Time is O(n_anchors n_references (n_features + log^2 n_references)); memory is bounded, no
    table of all samples is ever made.

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
    pair = _Pair(teacher, student, metric, teacher_metric, sample_weight, device)
    pair.require(3, "an anchor and two references")
    rng = check_random_state(random_state)
    anchors = _draw(pair.n_samples, n_anchors, _SAMPLED_ANCHORS, rng, "n_anchors", least=1)
    references = _draw(
        pair.n_samples, n_references, _SAMPLED_REFERENCES, rng, "n_references", least=3
    )
    scores = _coherences(pair, anchors, references)
    seeing = ~np.isnan(scores)
    if not seeing.any():
        warnings.warn(
            "The teacher ties all dissimilarities: the score is undefined and set to nan.",
            UndefinedMetricWarning,
            stacklevel=2,
        )
        return float("nan")
    return float(np.average(scores[seeing], weights=pair.weights[anchors][seeing]))


def perception_coherence_samples(
    teacher,
    student,
    *,
    metric="cosine",
    teacher_metric=None,
    sample_weight=None,
    n_references=None,
    random_state=0,
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
    pair = _Pair(teacher, student, metric, teacher_metric, sample_weight, device)
    pair.require(3, "an anchor and two references")
    rng = check_random_state(random_state)
    references = _draw(
        pair.n_samples, n_references, _SAMPLED_REFERENCES, rng, "n_references", least=3
    )
    scores = np.full(pair.n_given, np.nan)
    scores[pair.kept] = _coherences(pair, np.arange(pair.n_samples), references)
    return scores


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
    device="cpu",
):
    """Share of the teacher's nearest neighbours that are also among the student's nearest.

    Parameters
    ----------
    teacher, student : {array-like, sparse matrix} of shape (n_samples, n_features)
        As in :func:`perception_coherence_score`.
    n_neighbors : int, default=10
        Number of neighbours k, from 1 to n_samples - 1.
    metric, teacher_metric : str or callable
        As in :func:`perception_coherence_score`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each sample as an anchor; a sample of weight zero is left out.
    n_anchors : int, default=None
        How many samples to look from, drawn without replacement; each of them looks at all
        others. If None, all up to 4,000 samples, 1,000 beyond that.
    random_state : int, RandomState instance or None, default=0
        Draws the anchors; repeatable by default.
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
    pair = _Pair(teacher, student, metric, teacher_metric, sample_weight, device)
    pair.require(2, "an anchor and a neighbour")
    n_neighbors = check_count(n_neighbors, "n_neighbors", least=1, most=pair.n_samples - 1)
    rng = check_random_state(random_state)
    anchors = _draw(pair.n_samples, n_anchors, _SAMPLED_ANCHORS, rng, "n_anchors", least=1)
    recalls = _recalls(pair, anchors, n_neighbors)
    return float(np.average(recalls, weights=pair.weights[anchors]))


class _Pair:
    """Two representations of the same samples, checked; without the samples of weight zero."""

    def __init__(self, teacher, student, metric, teacher_metric, sample_weight, device):
        teacher_metric = metric if teacher_metric is None else teacher_metric
        check_metric(metric)
        check_metric(teacher_metric, "teacher_metric")
        teacher = check_embeddings(teacher, "teacher", metric=teacher_metric, accept_sparse=True)
        student = check_embeddings(student, "student", metric=metric, accept_sparse=True)
        check_same_rows(teacher, student, "teacher", "student")
        weights = check_sample_weight(sample_weight, teacher.shape[0])
        self.device = check_device(device)
        self.kept = np.flatnonzero(weights)
        self.weights = weights[self.kept]
        self.n_samples = len(self.kept)
        self.n_given = len(weights)
        self._sides = ((teacher, teacher_metric), (student, metric))

    def require(self, n_samples, for_what):
        if self.n_samples < n_samples:
            raise ValueError(
                f"teacher and student need at least {n_samples} samples of positive weight "
                f"({for_what}), got {self.n_samples}."
            )

    def blocks(self, anchors, references):
        """Yield blocks of anchors: their places, and what teacher and student see from them.

        Yields
        ------
        places : ndarray of shape (n_block,)
            Positions in `anchors`.
        teacher, student : torch.Tensor of shape (n_block, n_references), float64
        """
        size = max(1, _ENTRIES_PER_BLOCK // len(references))
        for rows in chunks(len(anchors), size):
            places = np.arange(rows.start, rows.stop)
            yield (
                places,
                *(
                    self._dissimilarities(*side, self.kept[anchors[places]], self.kept[references])
                    for side in self._sides
                ),
            )

    def _dissimilarities(self, representation, metric, anchors, references):
        if metric == "precomputed":
            return self._doubles(representation[np.ix_(anchors, references)])
        seen = self._seen(representation, metric, anchors, references)
        # Rounding errors are even on the scale of distances, and the order is the same there.
        return seen.sqrt() if metric in _SQUARED_METRICS else seen

    def _seen(self, representation, metric, anchors, references):
        looking = representation[anchors]
        if sp.issparse(representation):
            return self._doubles(sparse_dissimilarity(looking, representation[references], metric))
        looking = self._doubles(looking)
        seen = [
            pairwise_dissimilarity(
                looking, self._doubles(representation[references[rows]]), metric=metric
            )
            for rows in chunks(len(references), _ROWS_PER_CHUNK)
        ]
        return torch.cat(seen, dim=1)

    def _doubles(self, array):
        return torch.from_numpy(array).to(self.device, torch.float64)

    def tie_rtols(self):
        return [_TIE_RTOL if _has_rounding(metric) else 0.0 for _, metric in self._sides]


def _has_rounding(metric):
    return isinstance(metric, str) and metric != "precomputed"


def _draw(n_samples, n_drawn, n_default, rng, name, *, least):
    """Numbers of the samples that look or are looked at."""
    if n_drawn is None:
        n_drawn = n_samples if n_samples <= EXACT_SAMPLES else n_default
    n_drawn = min(check_count(n_drawn, name, least=least), n_samples)
    if n_drawn == n_samples:
        return np.arange(n_samples)
    return rng.permutation(n_samples)[:n_drawn]


def _coherences(pair, anchors, references):
    """Coherence at each anchor, which is never its own reference; nan where all is tied."""
    scores = np.empty(len(anchors))
    place_of = np.full(pair.n_samples, -1)
    place_of[references] = np.arange(len(references))
    own_place = place_of[anchors]
    for group in (np.flatnonzero(own_place >= 0), np.flatnonzero(own_place < 0)):
        for places, *seen in pair.blocks(anchors[group], references):
            places = group[places]
            others = _other_places(own_place[places], len(references))
            scores[places] = _block_coherences(pair, seen, others, references)
    return scores


def _other_places(own_place, n_references):
    """Places among the references of all but the anchor itself, for each anchor of a block."""
    places = np.broadcast_to(np.arange(n_references), (len(own_place), n_references))
    if own_place[0] < 0:
        return torch.from_numpy(places.copy())
    return torch.from_numpy(places[places != own_place[:, None]].reshape(len(own_place), -1))


def _block_coherences(pair, seen, others, references):
    others = others.to(pair.device)
    weights = None
    if not np.all(pair.weights == pair.weights[0]):
        weights = torch.from_numpy(pair.weights[references]).to(pair.device)[others]
    teacher, student = (dissimilarities.gather(1, others) for dissimilarities in seen)
    teacher_rtol, student_rtol = pair.tie_rtols()
    return concordance(
        teacher, student, weights=weights, teacher_rtol=teacher_rtol, student_rtol=student_rtol
    ).cpu()


def _recalls(pair, anchors, n_neighbors):
    recalls = np.empty(len(anchors))
    for places, *seen in pair.blocks(anchors, np.arange(pair.n_samples)):
        rows = torch.arange(len(places))
        shares = []
        for dissimilarities, rtol in zip(seen, pair.tie_rtols(), strict=True):
            dissimilarities[rows, torch.from_numpy(anchors[places])] = torch.inf
            shares.append(neighbor_shares(dissimilarities, n_neighbors, rtol))
        recalls[places] = (torch.minimum(*shares).sum(1) / n_neighbors).cpu()
    return recalls


def neighbor_shares(dissimilarities, n_neighbors, rtol=0.0):
    """1 for the k nearest of each row, 0 for the others; ties at the k-th place share it."""
    farthest = dissimilarities.kthvalue(n_neighbors, dim=1, keepdim=True).values
    inside = dissimilarities < farthest * (1 - rtol)
    tied = (dissimilarities <= farthest * (1 + rtol)) & ~inside
    left = n_neighbors - inside.sum(1, keepdim=True)
    return inside + tied * (left / tied.sum(1, keepdim=True).double())
