"""Coherence among the nearest references, as a function of their fraction."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, check_random_state

from skperco.metrics._common import gather, mean_of_defined
from skperco.metrics._concordance import concordance
from skperco.metrics._representations import AnchorBlock, teacher_and_student
from skperco.ranking._prefix_sums import prefix_sums
from skperco.ranking._sorting import arrange, sort_rows, tie_bounds
from skperco.utils._arrays import as_array
from skperco.utils._global_settings import default_settings
from skperco.utils._types import Metric

_POINTS = 16
# With fewer references the coherence is too noisy.
_MIN_REFERENCES = 10
_MIN_SHARE = 1e-9


class CoherenceCurve(NamedTuple):
    """Coherence by fraction of the nearest references; see :func:`coherence_curve`."""

    percentiles: NDArray[np.float64]
    coherences: NDArray[np.float64]


@default_settings()
def coherence_curve(
    teacher: Any,
    student: Any,
    *,
    percentiles: ArrayLike | None = None,
    metric: Metric = "cosine",
    teacher_metric: Metric | None = None,
    sample_weight: ArrayLike | None = None,
    n_anchors: int | None = None,
    n_references: int | None = None,
    random_state: int | np.random.RandomState | None = 0,
    n_jobs: int | None = None,
    device: str | torch.device = "cpu",
) -> CoherenceCurve:
    r"""Perception coherence among the references nearest to each anchor in the teacher's space.

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
        Fractions q of the references, above 0 and at most 1; if None, up to 16 of them in
        geometric progression, from the nearest ten references to all.
    metric, teacher_metric : str or callable
        As in :func:`perception_coherence_score`.
    sample_weight : array-like of shape (n_samples,), default=None
        As in :func:`perception_coherence_score`; q is a fraction of the total weight.
    n_anchors, n_references : int, default=None
        As in :func:`perception_coherence_score`. With more references the curve starts at a
        smaller fraction. With 2,000 it starts at 0.5 %, which says nothing about the nearest few
        of a million.
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
        A coherence is nan where the teacher ties all references that are compared.

    Raises
    ------
    ValueError
        As in :func:`perception_coherence_score`, or if a percentile is not above 0 and at most 1.
    TypeError
        As in :func:`perception_coherence_score`.

    See Also
    --------
    CoherenceCurveDisplay : Plot of the curves of several students.
    neighbor_recall_score : Overlap of the nearest neighbors, regardless of their order.

    Notes
    -----
    A neighbor embedding such as t-SNE keeps the local order and loses the global one; a
    projection to few dimensions loses the local order. The score alone hardly shows this, since
    most pairs are far from each other. References that the teacher ties at the boundary count
    fractionally, so that the result does not depend on their order in the data.

    Examples
    --------
    >>> import numpy as np
    >>> from skperco import coherence_curve
    >>> teacher = np.random.default_rng(0).normal(size=(300, 8))
    >>> curve = coherence_curve(teacher, teacher[:, :6], percentiles=[0.1, 1])
    >>> curve.coherences[0] < curve.coherences[1]
    np.True_
    """
    pair = teacher_and_student(teacher, student, metric, teacher_metric, sample_weight, device)
    pair.require(3, "an anchor and two references")
    anchors, references = pair.draw(n_anchors, n_references, check_random_state(random_state))
    checked = _check_percentiles(percentiles, len(references))
    rtols = pair.rtols

    def measure(block: AnchorBlock) -> tuple[NDArray[np.integer], torch.Tensor]:
        ordered, order = sort_rows(block.dissimilarities[0])
        student = block.dissimilarities[1].gather(1, order)
        weights = arrange(block.weights, order)
        bounds = _tie_weights(ordered, weights, rtols[0])
        coherences = []
        for percentile in checked:
            share = _shares(*bounds, weights, percentile)
            coherences.append(_nearest_concordance(ordered, student, weights, share, rtols))
        return block.positions, torch.stack(coherences, dim=1)

    coherences = gather(pair.map_blocks(measure, anchors, references, n_jobs))
    weights = pair.weights[anchors]
    return CoherenceCurve(
        checked, np.array([mean_of_defined(column, weights) for column in coherences.T])
    )


def _check_percentiles(percentiles: ArrayLike | None, n_references: int) -> NDArray[np.float64]:
    if percentiles is None:
        first = min(1.0, _MIN_REFERENCES / n_references)
        return np.unique(np.geomspace(first, 1, _POINTS))
    checked = check_array(
        as_array(percentiles, "percentiles"),
        dtype=np.float64,
        ensure_2d=False,
        input_name="percentiles",
    )
    if checked.ndim != 1 or not ((checked > 0) & (checked <= 1)).all():
        raise ValueError(
            "percentiles must be a list of fractions above 0 and at most 1, got "
            f"{checked.tolist()}."
        )
    return checked


def _tie_weights(
    teacher: torch.Tensor, weights: torch.Tensor | None, rtol: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cumulative weight before the run of ties of each sorted entry, and up to its end."""
    start, stop = tie_bounds(teacher, rtol=rtol)
    if weights is None:
        return start.double(), stop.double()
    sums = prefix_sums(weights)
    return sums.gather(1, start), sums.gather(1, stop)


def _shares(
    before: torch.Tensor, until: torch.Tensor, weights: torch.Tensor | None, percentile: float
) -> torch.Tensor:
    """Fraction of each reference among the nearest; ties at the boundary share what remains."""
    boundary: torch.Tensor | int
    if weights is None:
        # Rounded to an integer, so that only tied references count fractionally.
        boundary = max(2, round(percentile * before.shape[1]))
    else:
        boundary = percentile * until[:, -1:]
    share = ((boundary - before) / (until - before)).clamp(0, 1)
    # A smaller share is a rounding error: the boundary lies between two references.
    return torch.where(share < _MIN_SHARE, 0, share)


def _nearest_concordance(
    teacher: torch.Tensor,
    student: torch.Tensor,
    weights: torch.Tensor | None,
    share: torch.Tensor,
    rtols: list[float],
) -> torch.Tensor:
    """Concordance among the first references of each row, in the teacher's order."""
    width = max(2, int((share > 0).sum(1).max()))
    share, teacher, student = share[:, :width], teacher[:, :width], student[:, :width]
    has_equal_weights = weights is None and bool((share == 1).all())
    if weights is not None:
        share = share * weights[:, :width]
    return concordance(
        teacher.contiguous(),
        student.contiguous(),
        weights=None if has_equal_weights else share,
        teacher_rtol=rtols[0],
        student_rtol=rtols[1],
    )
