"""Coherence among the nearest references, as a function of their share."""

from typing import NamedTuple

import numpy as np
import torch
from sklearn.utils import check_array, check_random_state

from skperco.metrics._common import gather, mean_of_defined, pair_of_views
from skperco.metrics._concordance import concordance
from skperco.ranking._percentile import prefix_sums
from skperco.ranking._sorting import arrange, sort_rows, tie_bounds
from skperco.utils._arrays import as_array
from skperco.utils._global_settings import default_settings

_POINTS = 16
# Fewer references than these are ordered too much by chance.
_LEAST_REFERENCES = 10
_SMALLEST_SHARE = 1e-9


class CoherenceCurve(NamedTuple):
    """Coherence by share of the nearest references; see :func:`coherence_curve`."""

    percentiles: np.ndarray
    coherences: np.ndarray


@default_settings()
def coherence_curve(
    teacher,
    student,
    *,
    percentiles=None,
    metric="cosine",
    teacher_metric=None,
    sample_weight=None,
    n_anchors=None,
    n_references=None,
    random_state=0,
    n_jobs=None,
    device="cpu",
):
    r"""Perception coherence among the references that are nearest to the anchor for the teacher.

    .. math:: \Gamma(q) = \operatorname{E}_x \bigl(
              P_{y,z}[\delta_g(x,y) < \delta_g(x,z)] + \tfrac12 P_{y,z}[\delta_g(x,y) =
              \delta_g(x,z)] \bigr) \quad\text{given}\quad \delta_f(x,y) < \delta_f(x,z),\;
              \rho_f(x,y), \rho_f(x,z) \le q

    where :math:`\rho_f` is the teacher's percentile rank: at q = 0.01 only the nearest hundredth
    of all references are compared with each other, at q = 1 all of them are, and the curve ends
    at the score.

    Parameters
    ----------
    teacher, student : {array-like, sparse matrix} of shape (n_samples, n_features)
        As in :func:`perception_coherence_score`.
    percentiles : array-like of shape (n_points,), default=None
        Shares q of the references, above 0 and at most 1; if None, up to 16 of them, from the
        nearest ten references to all, each so many times the one before.
    metric, teacher_metric : str or callable
        As in :func:`perception_coherence_score`.
    sample_weight : array-like of shape (n_samples,), default=None
        As in :func:`perception_coherence_score`; shares are shares of the weight.
    n_anchors, n_references : int, default=None
        As in :func:`perception_coherence_score`. The more references, the nearer the curve
        begins: with 2,000 it tells of the nearest 0.5 %, not of the nearest few of a million.
    random_state : int, RandomState instance or None, default=0
        Draws the anchors and references; repeatable by default.
    n_jobs : int, default=None
        As in :func:`perception_coherence_score`.
    device : str or torch.device, default="cpu"
        Where to compute.

    Returns
    -------
    curve : CoherenceCurve
        A named tuple of ``percentiles`` and ``coherences``, two arrays of shape (n_points,).
        A coherence is nan where the teacher ties all that it compares.

    See Also
    --------
    CoherenceCurveDisplay : Draws the curves of several students.
    neighbor_recall_score : How many of the nearest are kept, whatever their order.

    Notes
    -----
    A student can keep the order of the near and lose that of the far, as a neighbor embedding
    such as t-SNE does, or lose that of the near, which a projection to few dimensions does: most
    pairs are far from each other, and the score alone hardly shows it. References that the
    teacher ties at the border count in part, so that their order in the data does not matter.

    Examples
    --------
    >>> import numpy as np
    >>> from skperco import coherence_curve
    >>> teacher = np.random.default_rng(0).normal(size=(300, 8))
    >>> curve = coherence_curve(teacher, teacher[:, :6], percentiles=[0.1, 1])
    >>> curve.coherences[0] < curve.coherences[1]
    np.True_
    """
    views = pair_of_views(teacher, student, metric, teacher_metric, sample_weight, device)
    views.require(3, "an anchor and two references")
    anchors, references = views.draw(n_anchors, n_references, check_random_state(random_state))
    percentiles = _check_percentiles(percentiles, len(references))
    rtols = views.rtols

    def measure(block):
        ordered, order = sort_rows(block.dissimilarities[0])
        student = block.dissimilarities[1].gather(1, order)
        weights = arrange(block.weights, order)
        runs = _runs(ordered, weights, rtols[0])
        coherences = []
        for percentile in percentiles:
            share = _shares(*runs, weights, percentile)
            coherences.append(_nearest_concordance(ordered, student, weights, share, rtols))
        return block.positions, torch.stack(coherences, dim=1)

    coherences = gather(views.look(measure, anchors, references, n_jobs))
    weights = views.weights[anchors]
    return CoherenceCurve(
        percentiles, np.array([mean_of_defined(column, weights) for column in coherences.T])
    )


def _check_percentiles(percentiles, n_references):
    if percentiles is None:
        first = min(1.0, _LEAST_REFERENCES / n_references)
        return np.unique(np.geomspace(first, 1, _POINTS))
    percentiles = check_array(
        as_array(percentiles, "percentiles"),
        dtype=np.float64,
        ensure_2d=False,
        input_name="percentiles",
    )
    if percentiles.ndim != 1 or not ((percentiles > 0) & (percentiles <= 1)).all():
        raise ValueError(
            "percentiles must be a list of shares above 0 and at most 1, got "
            f"{percentiles.tolist()}."
        )
    return percentiles


def _runs(teacher, weights, rtol):
    """Weight of what comes before the run of ties around each entry, and of what ends with it."""
    start, stop = tie_bounds(teacher, rtol=rtol)
    if weights is None:
        return start.double(), stop.double()
    mass = prefix_sums(weights)
    return mass.gather(1, start), mass.gather(1, stop)


def _shares(begin, end, weights, percentile):
    """How much of each reference is among the nearest; those tied at the border share it."""
    if weights is None:
        # Whole references, where nothing is tied.
        border = max(2, round(percentile * begin.shape[1]))
    else:
        border = percentile * end[:, -1:]
    share = ((border - begin) / (end - begin)).clamp(0, 1)
    # A smaller share is a rounding error: the border lies between two references.
    return torch.where(share < _SMALLEST_SHARE, 0, share)


def _nearest_concordance(teacher, student, weights, share, rtols):
    """Concordance among the first references of each row, in the teacher's order."""
    width = max(2, int((share > 0).sum(1).max()))
    share, teacher, student = share[:, :width], teacher[:, :width], student[:, :width]
    alike = weights is None and bool((share == 1).all())
    if weights is not None:
        share = share * weights[:, :width]
    return concordance(
        teacher.contiguous(),
        student.contiguous(),
        weights=None if alike else share,
        teacher_rtol=rtols[0],
        student_rtol=rtols[1],
    )
