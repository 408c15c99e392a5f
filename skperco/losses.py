"""The coherence loss, for the training here and for any training loop in PyTorch."""

import torch

from skperco.dissimilarity._dense import check_metric, pairwise_dissimilarity, without_diagonal
from skperco.ranking._percentile import percentile_rank, power_of_two, soft_percentile_rank
from skperco.utils._tensors import check_double, check_matrices

_LEAST_NEIGHBORS = 3
# Expected loss of a random student: mean squared difference of two independent uniform ranks.
_CHANCE_LOSS = 1 / 6


class PerceptionCoherenceLoss(torch.nn.Module):
    r"""How far a student's rankings of dissimilarities are from its teacher's.

    .. math:: L = \operatorname{mean}_{x, y}
              \bigl(\varphi_p(\rho_g(x, y)) - \varphi_p(\rho_f(x, y))\bigr)^2, \qquad
              \varphi_p(\rho) = \frac{\rho^p - 1}{p}, \quad \varphi_0 = \log

    over anchors x and references y, with the percentile ranks :math:`\rho_f` of the teacher's
    dissimilarities and :math:`\rho_g` of the student's. L is 0 exactly when all ranks
    agree. Its value counts exact ranks, which have no slope; its gradient is that of the soft
    ranks of :func:`soft_percentile_rank`, taken at the exact ones (a straight-through
    estimator [1]_).

    Among many references few are near, and their order counts little. With `n_neighbors`

    .. math:: \frac{w}{6}\,\operatorname{mean}_x\bigl(1 -
              \operatorname{corr}_{y \in N(x)}(\delta_g(x, y), \log \rho_f(x, y))\bigr)

    is added, with the `near_weight` w, the student's dissimilarities :math:`\delta_g`, and
    the teacher's ranks among the references N(x) that are its nearest to x. (A sixth is the
    mean of L at p = 1 for a student that knows nothing.) This is more than order, and does not
    vanish: dissimilarities of the nearest are to follow the logarithm of their ranks.

    Parameters
    ----------
    metric : str or callable, default="cosine"
        Dissimilarity between the student's embeddings, as in :func:`pairwise_dissimilarity`.
    teacher_metric : str or callable, default=None
        Dissimilarity between the teacher's embeddings; `metric` if None. With
        ``"precomputed"`` the teacher is given as its dissimilarities, anchors x references.
    rank_power : float, default=1.0
        The power p: 1 counts every rank the same and keeps the global order, towards 0 the
        nearest count most.
    bandwidth : float, default=0.1
        Half-width of the soft ranks' window, in standard deviations of the student's
        dissimilarities from one anchor. Positive.
    n_neighbors : int, default=None
        Number of the teacher's nearest references of each anchor, of those that the loss is
        given, whose order counts once more. A tenth of the batch serves neighbors well. None
        counts all alike.
    near_weight : float, default=1.0
        Weight of these. Positive.

    Notes
    -----
    The loss is based on an idea of [2]_, in this project's own definition.

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
        metric="cosine",
        teacher_metric=None,
        rank_power=1.0,
        bandwidth=0.1,
        n_neighbors=None,
        near_weight=1.0,
    ):
        super().__init__()
        check_metric(metric)
        if teacher_metric is not None:
            check_metric(teacher_metric, "teacher_metric")
        if not bandwidth > 0:
            raise ValueError(f"bandwidth must be positive, got {bandwidth!r}.")
        if n_neighbors is not None and n_neighbors < _LEAST_NEIGHBORS:
            raise ValueError(
                f"n_neighbors must be at least {_LEAST_NEIGHBORS}, or None, got {n_neighbors!r}."
            )
        if not near_weight > 0:
            raise ValueError(f"near_weight must be positive, got {near_weight!r}.")
        self.metric = metric
        self.teacher_metric = teacher_metric
        self.rank_power = rank_power
        self.bandwidth = bandwidth
        self.n_neighbors = n_neighbors
        self.near_weight = near_weight

    def forward(self, student, teacher, *, student_references=None, teacher_references=None):
        """Loss of a batch in which every row is an anchor and all other rows its references.

        Parameters
        ----------
        student : torch.Tensor of shape (n_rows, n_components)
            The student's embeddings, with a gradient.
        teacher : torch.Tensor of shape (n_rows, n_teacher_features)
            The teacher's embeddings of the same rows; with ``teacher_metric="precomputed"``
            their (n_rows, n_rows) table of dissimilarities.
        student_references : torch.Tensor of shape (n_more, n_components), default=None
            The student's embeddings of more references, for instance those of earlier batches:
            a rank among many says more. They are no anchors.
        teacher_references : torch.Tensor of shape (n_more, n_teacher_features), default=None
            The teacher's embeddings of these; with ``teacher_metric="precomputed"`` the
            (n_rows, n_more) table from the rows to them.

        Returns
        -------
        loss : torch.Tensor of shape ()
            In single precision at least: under autocast, or from half precision, it is computed
            in float32.

        Raises
        ------
        TypeError
            If an argument is no tensor, or the student's embeddings are integers.
        ValueError
            If an argument is no matrix, student and teacher differ in their device, their number
            of rows or of references, a row has fewer than 2 references, or the device has no
            double precision.
        """
        self._check(student, teacher, student_references, teacher_references)
        with torch.autocast(student.device.type, enabled=False):
            seen = self._seen(student, student_references, self.metric)
            with torch.no_grad():
                wanted = self._seen(teacher, teacher_references, self._metric_of_teacher)
                target = percentile_rank(wanted)
                target += self._zero_unless_finite(teacher, teacher_references)
            losses = rank_loss(seen, target, rank_power=self.rank_power, bandwidth=self.bandwidth)
            if self.n_neighbors is not None:
                losses = losses + _CHANCE_LOSS * self.near_weight * self._near(seen, wanted)
            return losses.mean()

    def _zero_unless_finite(self, teacher, references):
        """0, or NaN if an entry of the teacher's embeddings is not finite."""
        if self._metric_of_teacher == "precomputed":
            return 0.0
        parts = (teacher, references)
        return sum((0 * _at_least_single(part)).sum() for part in parts if part is not None)

    def _near(self, seen, wanted):
        """Losses of each anchor's nearest references."""
        n_neighbors = min(self.n_neighbors, wanted.shape[1])
        nearest, places = wanted.topk(n_neighbors, dim=1, largest=False)
        return rank_correlation_loss(seen.gather(1, places), percentile_rank(nearest).log())

    @property
    def _metric_of_teacher(self):
        return self.metric if self.teacher_metric is None else self.teacher_metric

    def _check(self, student, teacher, student_references, teacher_references):
        given = {
            "student": student,
            "teacher": teacher,
            "student_references": student_references,
            "teacher_references": teacher_references,
        }
        check_matrices({name: value for name, value in given.items() if value is not None})
        for name in ("student", "student_references"):
            if given[name] is not None and not given[name].is_floating_point():
                raise TypeError(
                    f"{name} must hold floating-point numbers, got {given[name].dtype}."
                )
        check_double(student.device, "student")
        if len(student) != len(teacher):
            raise ValueError(
                "student and teacher must have the same rows, "
                f"got {len(student)} and {len(teacher)}."
            )
        table = self._metric_of_teacher == "precomputed"
        more = [
            0 if references is None else references.shape[1 if is_table else 0]
            for references, is_table in ((student_references, False), (teacher_references, table))
        ]
        if more[0] != more[1]:
            raise ValueError(
                "student_references and teacher_references must be of the same rows, "
                f"got {more[0]} and {more[1]}."
            )
        if len(student) - 1 + more[0] < 2:
            raise ValueError(
                f"an anchor needs 2 references: expected at least 3 rows, got {len(student)}"
                + (f" and {more[0]} more references." if more[0] else ".")
            )

    def _seen(self, rows, references, metric):
        """Dissimilarities of each row to the others, and to more references."""
        rows = _at_least_single(rows)
        seen = without_diagonal(pairwise_dissimilarity(rows, rows, metric=metric))
        if references is None:
            return seen
        references = _at_least_single(references).to(rows.dtype)
        if metric == "precomputed":
            return torch.cat([seen, references], dim=1)
        return torch.cat([seen, pairwise_dissimilarity(rows, references, metric=metric)], dim=1)

    def extra_repr(self):
        """Parameters, for the representation of the module."""
        return (
            f"metric={self.metric!r}, teacher_metric={self.teacher_metric!r}, "
            f"rank_power={self.rank_power}, bandwidth={self.bandwidth}, "
            f"n_neighbors={self.n_neighbors}, near_weight={self.near_weight}"
        )


def _at_least_single(rows):
    """Rows in single or double precision; integers in double, which holds more of them exactly."""
    if not rows.is_floating_point():
        return rows.double()
    return rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows


def rank_loss(dissimilarities, target, *, rank_power=1.0, bandwidth=0.1, weights=None, exact=True):
    """Mean squared difference, per anchor, of powers of the student's and the teacher's ranks.

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
        Whether the value is that of the student's exact ranks. The gradient is that of the soft
        ones.

    Returns
    -------
    losses : torch.Tensor of shape (n_anchors,)
    """
    ranks = soft_percentile_rank(
        dissimilarities, bandwidth=bandwidth, weights=weights, straight_through=exact
    )
    squared = (box_cox(ranks, rank_power) - box_cox(target, rank_power)).square()
    if weights is None:
        return squared.mean(1)
    weights = weights.expand_as(squared)
    return (weights * squared).sum(1) / weights.sum(1)


def rank_correlation_loss(dissimilarities, target):
    """One minus the correlation of the student's dissimilarities with powers of ranks.

    Parameters
    ----------
    dissimilarities : torch.Tensor of shape (n_anchors, n_references)
        The student's, with a gradient.
    target : torch.Tensor of shape (n_anchors, n_references)
        Increasing in the teacher's ranks of the same references.

    Returns
    -------
    losses : torch.Tensor of shape (n_anchors,)
        In [0, 2]; 1 where either side is constant.

    Notes
    -----
    It is zero when the student's dissimilarities are linear in the target, which implies that
    the ranks agree. It needs no sort, and asks more of near neighbors than soft ranks do: the
    nearest few are to be as far from each other as their target says, not only in order.
    """
    return 1 - (_standardized(dissimilarities) * _standardized(target)).sum(1)


def _standardized(rows):
    # A correlation does not depend on the scale, but squares of the rows could underflow.
    rows = rows / power_of_two(rows.detach().abs().amax(1, keepdim=True))
    centered = rows - rows.mean(1, keepdim=True)
    norms = torch.linalg.vector_norm(centered, dim=1, keepdim=True)
    least = torch.finfo(rows.dtype).eps * rows.detach().norm(dim=1, keepdim=True)
    varying = norms > least
    return torch.where(varying, centered / torch.where(varying, norms, 1), 0)


def box_cox(ranks, power):
    """(ranks ** power - 1) / power, and its limit log(ranks) at power 0."""
    if power == 0:
        return ranks.log()
    return ranks - 1 if power == 1 else (ranks.pow(power) - 1) / power
