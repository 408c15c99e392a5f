"""The perception coherence loss, for CoherenceDistiller and any training loop in PyTorch."""

import torch

from skperco.dissimilarity._dense import check_metric, pairwise_dissimilarity, without_diagonal
from skperco.ranking._percentile import percentile_rank, soft_percentile_rank
from skperco.ranking._row_spread import power_of_two
from skperco.utils._numbers import check_count, check_number
from skperco.utils._tensors import check_double, check_matrices
from skperco.utils._types import Metric

_LEAST_NEIGHBORS = 3
# Expected loss of a random student: mean squared difference of two independent uniform ranks.
_CHANCE_LOSS = 1 / 6


class PerceptionCoherenceLoss(torch.nn.Module):
    r"""Loss of a student whose rankings of dissimilarities differ from its teacher's.

    .. math:: L = \operatorname{mean}_{x, y}
              \bigl(\varphi_p(\rho_g(x, y)) - \varphi_p(\rho_f(x, y))\bigr)^2, \qquad
              \varphi_p(\rho) = \frac{\rho^p - 1}{p}, \quad \varphi_0 = \log

    over anchors x and references y, with the percentile ranks :math:`\rho_f` of the teacher's
    dissimilarities and :math:`\rho_g` of the student's. L is 0 if and only if all ranks agree. Its
    value is computed from exact ranks, whose gradient is zero; its gradient is that of the soft
    ranks of :func:`soft_percentile_rank`, evaluated at the exact ones (a straight-through
    estimator [1]_).

    Few of many references are near an anchor, so their order has little weight in L. With
    `n_neighbors`, the local loss

    .. math:: \frac{w}{6}\,\operatorname{mean}_x\bigl(1 -
              \operatorname{corr}_{y \in N(x)}(\delta_g(x, y), \log \rho_f(x, y))\bigr)

    is added, with the `near_weight` w, the student's dissimilarities :math:`\delta_g`, and the
    teacher's ranks among the references N(x) that are its nearest to x. The factor 1/6 is the mean
    of L at p = 1 for a random student. The local loss is 0 only if the student's dissimilarities
    are linear in the logarithm of the ranks: the same order is not sufficient.

    Parameters
    ----------
    metric : str or callable, default="cosine"
        Dissimilarity between the student's embeddings, as in :func:`pairwise_dissimilarity`.
    teacher_metric : str or callable, default=None
        Dissimilarity between the teacher's embeddings; `metric` if None. With
        ``"precomputed"`` the teacher is given as its dissimilarities, anchors x references.
    rank_power : float, default=1.0
        The power p. With 1, all ranks have the same weight; the closer to 0, the more weight the
        nearest references have.
    bandwidth : float, default=0.1
        Half-width of the soft ranks' window, in standard deviations of the student's
        dissimilarities from one anchor. Positive.
    n_neighbors : int, default=None
        Number of each anchor's nearest references in the batch, by the teacher, to which the local
        loss applies; at least 3. A tenth of the batch size is a good choice. None omits the local
        loss.
    near_weight : float, default=1.0
        Weight w of the local loss. Positive.

    Raises
    ------
    TypeError
        If a parameter has the wrong type.
    ValueError
        If a parameter is outside its range, or a metric has an unknown name.

    Notes
    -----
    The loss is based on an idea of [2]_, with a definition of this project's own.

    References
    ----------
    .. [1] Bengio, Leonard, Courville, "Estimating or propagating gradients through stochastic
       neurons for conditional computation", 2013. https://arxiv.org/abs/1308.3432
    .. [2] Nguyen, Gamboa, Zhang, Chhaibi, Gratton, Giaccone, "Feature representation
       transferring to lightweight models via perception coherence", TMLR 2026.
       https://arxiv.org/abs/2505.06595

    Examples
    --------
    >>> import torch
    >>> from skperco import PerceptionCoherenceLoss
    >>> teacher = torch.randn(32, 16, generator=torch.Generator().manual_seed(0))
    >>> loss = PerceptionCoherenceLoss()
    >>> loss(5 * teacher, teacher).item()
    0.0
    >>> loss(teacher[:, :4], teacher).item() > 0
    True
    """

    def __init__(
        self,
        *,
        metric: Metric = "cosine",
        teacher_metric: Metric | None = None,
        rank_power: float = 1.0,
        bandwidth: float = 0.1,
        n_neighbors: int | None = None,
        near_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_metric(metric)
        if teacher_metric is not None:
            check_metric(teacher_metric, "teacher_metric")
        check_number(rank_power, "rank_power")
        check_number(bandwidth, "bandwidth", above=0)
        check_number(near_weight, "near_weight", above=0)
        if n_neighbors is not None:
            check_count(n_neighbors, "n_neighbors", least=_LEAST_NEIGHBORS)
        self.metric = metric
        self.teacher_metric = teacher_metric
        self.rank_power = rank_power
        self.bandwidth = bandwidth
        self.n_neighbors = n_neighbors
        self.near_weight = near_weight

    def forward(
        self,
        student: torch.Tensor,
        teacher: torch.Tensor,
        *,
        student_references: torch.Tensor | None = None,
        teacher_references: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Loss of a batch in which every row is an anchor and all other rows its references.

        Parameters
        ----------
        student : torch.Tensor of shape (n_rows, n_components)
            The student's embeddings, with a gradient.
        teacher : torch.Tensor of shape (n_rows, n_teacher_features)
            The teacher's embeddings of the same rows; with ``teacher_metric="precomputed"``
            their (n_rows, n_rows) dissimilarity matrix.
        student_references : torch.Tensor of shape (n_more, n_components), default=None
            The student's embeddings of additional references that are not anchors, for instance
            those of earlier batches. Ranks among more references are more precise.
        teacher_references : torch.Tensor of shape (n_more, n_teacher_features), default=None
            The teacher's embeddings of the additional references; with
            ``teacher_metric="precomputed"`` their (n_rows, n_more) dissimilarities to the rows.

        Returns
        -------
        loss : torch.Tensor of shape ()
            In float32 or float64. Under autocast, and for half precision, it is computed in
            float32.

        Raises
        ------
        TypeError
            If an argument is not a tensor, or the student's embeddings are integers.
        ValueError
            If an argument is not a dense matrix; student and teacher differ in their device, number
            of rows or number of references; a row has fewer than 2 references; or the device has no
            double precision.
        """
        self._check(student, teacher, student_references, teacher_references)
        with torch.autocast(student.device.type, enabled=False):
            of_student = self._dissimilarities(student, student_references, self.metric)
            with torch.no_grad():
                of_teacher = self._dissimilarities(
                    teacher, teacher_references, self._metric_of_teacher
                )
                target = percentile_rank(of_teacher)
                target += self._zero_unless_finite(teacher, teacher_references)
            losses = rank_loss(
                of_student, target, rank_power=self.rank_power, bandwidth=self.bandwidth
            )
            if self.n_neighbors is not None:
                local = self._local_losses(of_student, of_teacher, self.n_neighbors)
                losses = losses + _CHANCE_LOSS * self.near_weight * local
            return losses.mean()

    def _zero_unless_finite(
        self, teacher: torch.Tensor, references: torch.Tensor | None
    ) -> torch.Tensor | float:
        """0, or NaN if an entry of the teacher's embeddings is not finite."""
        if self._metric_of_teacher == "precomputed":
            return 0.0
        parts = (teacher, references)
        return sum((0 * _at_least_single(part)).sum() for part in parts if part is not None)

    def _local_losses(
        self, of_student: torch.Tensor, of_teacher: torch.Tensor, n_neighbors: int
    ) -> torch.Tensor:
        """Losses of each anchor's nearest references."""
        n_neighbors = min(n_neighbors, of_teacher.shape[1])
        nearest, indices = of_teacher.topk(n_neighbors, dim=1, largest=False)
        target = percentile_rank(nearest).log()
        return rank_correlation_loss(of_student.gather(1, indices), target)

    @property
    def _metric_of_teacher(self) -> Metric:
        return self.metric if self.teacher_metric is None else self.teacher_metric

    def _check(
        self,
        student: torch.Tensor,
        teacher: torch.Tensor,
        student_references: torch.Tensor | None,
        teacher_references: torch.Tensor | None,
    ) -> None:
        given = {
            "student": student,
            "teacher": teacher,
            "student_references": student_references,
            "teacher_references": teacher_references,
        }
        check_matrices({name: value for name, value in given.items() if value is not None})
        for name in ("student", "student_references"):
            embeddings = given[name]
            if embeddings is not None and not embeddings.is_floating_point():
                raise TypeError(f"{name} must hold floating-point numbers, got {embeddings.dtype}.")
        check_double(student.device, "student")
        if len(student) != len(teacher):
            raise ValueError(
                "student and teacher must have the same rows, "
                f"got {len(student)} and {len(teacher)}."
            )
        precomputed = self._metric_of_teacher == "precomputed"
        n_more = 0 if student_references is None else len(student_references)
        n_more_of_teacher = (
            0 if teacher_references is None else teacher_references.shape[1 if precomputed else 0]
        )
        if n_more != n_more_of_teacher:
            raise ValueError(
                "student_references and teacher_references must be of the same rows, "
                f"got {n_more} and {n_more_of_teacher}."
            )
        if len(student) - 1 + n_more < 2:
            raise ValueError(
                f"an anchor needs 2 references: expected at least 3 rows, got {len(student)}"
                + (f" and {n_more} more references." if n_more else ".")
            )

    def _dissimilarities(
        self, rows: torch.Tensor, references: torch.Tensor | None, metric: Metric
    ) -> torch.Tensor:
        """Dissimilarities of each row to all other rows, and to the additional references."""
        rows = _at_least_single(rows)
        to_others = without_diagonal(pairwise_dissimilarity(rows, rows, metric=metric))
        if references is None:
            return to_others
        to_more = _at_least_single(references).to(rows.dtype)
        if metric != "precomputed":
            to_more = pairwise_dissimilarity(rows, to_more, metric=metric)
        return torch.cat([to_others, to_more], dim=1)

    def extra_repr(self) -> str:
        """Parameters, for the representation of the module."""
        return (
            f"metric={self.metric!r}, teacher_metric={self.teacher_metric!r}, "
            f"rank_power={self.rank_power}, bandwidth={self.bandwidth}, "
            f"n_neighbors={self.n_neighbors}, near_weight={self.near_weight}"
        )


def _at_least_single(rows: torch.Tensor) -> torch.Tensor:
    """Rows in single or double precision; integers in double, which is exact for more of them."""
    if not rows.is_floating_point():
        return rows.double()
    return rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows


def rank_loss(
    dissimilarities: torch.Tensor,
    target: torch.Tensor,
    *,
    rank_power: float = 1.0,
    bandwidth: float = 0.1,
    weights: torch.Tensor | None = None,
    exact: bool = True,
) -> torch.Tensor:
    """Mean squared difference of Box-Cox powers of the student's and the teacher's ranks.

    Parameters
    ----------
    dissimilarities : torch.Tensor of shape (n_anchors, n_references)
        The student's, with a gradient.
    target : torch.Tensor of shape (n_anchors, n_references)
        The teacher's percentile ranks of the same references.
    rank_power, bandwidth : float
        As in :class:`PerceptionCoherenceLoss`.
    weights : torch.Tensor of shape (n_references,) or (n_anchors, n_references), default=None
        Weights of the references, all equal if None.
    exact : bool, default=True
        Whether to compute the value from the student's exact ranks. The gradient is that of the
        soft ranks in any case.

    Returns
    -------
    losses : torch.Tensor of shape (n_anchors,)
        One for each anchor.
    """
    ranks = soft_percentile_rank(
        dissimilarities, bandwidth=bandwidth, weights=weights, straight_through=exact
    )
    squared = (box_cox(ranks, rank_power) - box_cox(target, rank_power)).square()
    if weights is None:
        return squared.mean(1)
    weights = weights.expand_as(squared)
    return (weights * squared).sum(1) / weights.sum(1)


def rank_correlation_loss(dissimilarities: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """One minus the correlation of the student's dissimilarities with a function of ranks.

    Parameters
    ----------
    dissimilarities : torch.Tensor of shape (n_anchors, n_references)
        The student's, with a gradient.
    target : torch.Tensor of shape (n_anchors, n_references)
        Increasing in the teacher's ranks of the same references.

    Returns
    -------
    losses : torch.Tensor of shape (n_anchors,)
        In [0, 2]; 1 if either side is constant up to rounding errors.

    Notes
    -----
    The loss is zero if the student's dissimilarities are an increasing linear function of the
    target, which implies that the ranks agree. It needs no sort, and is stricter than a loss of
    ranks: the differences between the dissimilarities of neighbors count, not only their order.
    """
    return 1 - (_standardized(dissimilarities) * _standardized(target)).sum(1)


def _standardized(rows: torch.Tensor) -> torch.Tensor:
    # torch.nn.functional.cosine_similarity takes 0.6 times as long, but is wrong for norms near its
    # eps of 1e-8, and has gradients near 1e7 where a row varies by rounding errors only.
    # A correlation does not depend on the scale, but squares of the rows could underflow.
    values = rows.detach()
    least, most = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    rows = rows / power_of_two(torch.maximum(most, -least))
    centered = rows - rows.mean(1, keepdim=True)
    norms = torch.linalg.vector_norm(centered, dim=1, keepdim=True)
    # The mean of a constant row is rounded, so its norm may exceed the threshold.
    threshold = torch.finfo(rows.dtype).eps * rows.detach().norm(dim=1, keepdim=True)
    varying = (norms > threshold) & (most > least)
    return torch.where(varying, centered / torch.where(varying, norms, 1), 0)


def box_cox(ranks: torch.Tensor, power: float) -> torch.Tensor:
    """(ranks ** power - 1) / power, and its limit log(ranks) at power 0."""
    if power == 0:
        return ranks.log()
    return ranks - 1 if power == 1 else (ranks.pow(power) - 1) / power
