"""Confidence intervals and tests of perception coherence."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import stats
from scipy.special import expit, logit
from sklearn.utils import check_random_state

from skperco.dissimilarity._dense import check_metric
from skperco.metrics._jackknife import Estimates, estimate, estimate_within
from skperco.metrics._representations import EXACT_SAMPLES, Representations, teacher_and_student
from skperco.utils._global_settings import default_settings
from skperco.utils._numbers import check_share, check_tol
from skperco.utils._types import Metric

_ALTERNATIVES = ("two-sided", "less", "greater")


class CoherenceInterval(NamedTuple):
    """A score and its confidence interval; see :func:`perception_coherence_interval`."""

    score: float
    low: float
    high: float
    standard_error: float


class CoherenceDifference(NamedTuple):
    """A difference of two scores and its test; see :func:`perception_coherence_test`."""

    difference: float
    low: float
    high: float
    standard_error: float
    pvalue: float


@default_settings()
def perception_coherence_interval(
    teacher: Any,
    student: Any,
    *,
    confidence_level: float = 0.95,
    metric: Metric = "cosine",
    teacher_metric: Metric | None = None,
    sample_weight: ArrayLike | None = None,
    n_anchors: int | None = None,
    n_references: int | None = None,
    tol: float | None = None,
    random_state: int | np.random.RandomState | None = 0,
    n_jobs: int | None = None,
    device: str | torch.device = "cpu",
) -> CoherenceInterval:
    r"""Perception coherence with a confidence interval for its value in the population.

    Parameters
    ----------
    teacher, student : {array-like, sparse matrix} of shape (n_samples, n_features)
        As in :func:`perception_coherence_score`; the samples are assumed to be drawn
        independently from a population.
    confidence_level : float, default=0.95
        Probability that such an interval covers the population's coherence.
    metric, teacher_metric : str or callable
        As in :func:`perception_coherence_score`.
    sample_weight : array-like of shape (n_samples,), default=None
        As in :func:`perception_coherence_score`. These are sampling weights, not frequencies: a
        sample of weight 2 is not two samples.
    n_anchors, n_references : int, default=None
        As in :func:`perception_coherence_score`. The interval includes the error of drawing them.
    tol : float, default=None
        As in :func:`perception_coherence_score`: draw until the standard error is at most this.
    random_state : int, RandomState instance or None, default=0
        Draws the anchors and references; repeatable by default.
    n_jobs : int, default=None
        As in :func:`perception_coherence_score`.
    device : str or torch.device, default="cpu"
        Where to compute.

    Returns
    -------
    interval : CoherenceInterval
        A named tuple of ``score``, as of :func:`perception_coherence_score`, ``low`` and
        ``high``, and ``standard_error``. All nan if the teacher has only ties.

    Raises
    ------
    ValueError
        As in :func:`perception_coherence_score`, or if `confidence_level` is not between 0 and 1,
        or fewer than 4 samples have positive weight.
    TypeError
        As in :func:`perception_coherence_score`, or if `confidence_level` is not a number.

    See Also
    --------
    perception_coherence_test : Test whether one student is more coherent than another.

    Notes
    -----
    Each comparison has three samples, an anchor and two references, and each sample is in many
    comparisons. They are therefore not independent, and the standard error of the mean over
    anchors is too small, often by half. The score is a U-statistic of order three [1]_, or a mean
    of ratios of such statistics where there are ties. Its standard error is estimated by the
    delete-one jackknife [2]_: the score is computed without each sample, both as anchor and as
    reference, in one pass from the discordant pairs of each reference. The interval is symmetric
    in the log-odds, so that it stays between 0 and 1:

    .. math:: \operatorname{logit} \Gamma \pm t\, \frac{s}{\Gamma (1 - \Gamma)}

    with the quantile t of Student's distribution, whose degrees of freedom are the number of
    samples drawn minus one.

    A score of exactly 0 or 1 has no variation, and its interval is that point, however few
    the samples are. With a few dozen samples the interval is only approximate.

    References
    ----------
    .. [1] W. Hoeffding, "A class of statistics with asymptotically normal distribution",
       Annals of Mathematical Statistics 19 (1948), 293-325.
    .. [2] J. N. Arvesen, "Jackknifing U-statistics", Annals of Mathematical Statistics 40
       (1969), 2076-2100.

    Examples
    --------
    >>> import numpy as np
    >>> from skperco import perception_coherence_interval
    >>> teacher = np.random.default_rng(0).normal(size=(200, 8))
    >>> interval = perception_coherence_interval(teacher, teacher[:, :4])
    >>> interval.low < interval.score < interval.high
    True
    """
    check_share(confidence_level, "confidence_level")
    pair = teacher_and_student(teacher, student, metric, teacher_metric, sample_weight, device)
    estimates = _estimate(
        pair, [1], n_anchors, n_references, tol, check_random_state(random_state), n_jobs
    )
    score = float(estimates.scores[0])
    error = estimates.standard_error([1])
    if not 0 < score < 1 or not error > 0:
        return CoherenceInterval(score, score, score, error)
    half = _quantile(estimates, (1 + confidence_level) / 2) * error / (score * (1 - score))
    low, high = expit(logit(score) + np.array([-half, half])).tolist()
    return CoherenceInterval(score, low, high, error)


@default_settings()
def perception_coherence_test(
    teacher: Any,
    student: Any,
    other: Any,
    *,
    alternative: str = "two-sided",
    confidence_level: float = 0.95,
    metric: Metric = "cosine",
    teacher_metric: Metric | None = None,
    other_metric: Metric | None = None,
    sample_weight: ArrayLike | None = None,
    n_anchors: int | None = None,
    n_references: int | None = None,
    tol: float | None = None,
    random_state: int | np.random.RandomState | None = 0,
    n_jobs: int | None = None,
    device: str | torch.device = "cpu",
) -> CoherenceDifference:
    """Test whether one student is more coherent with the teacher than another.

    The comparison is paired: errors that both students make on the same samples cancel.

    Parameters
    ----------
    teacher, student, other : {array-like, sparse matrix} of shape (n_samples, n_features)
        The teacher and two students, of the same samples, drawn from a population.
    alternative : {"two-sided", "less", "greater"}, default="two-sided"
        The alternative hypothesis: the coherence of `student` differs from that of `other`, is
        less, or is greater.
    confidence_level : float, default=0.95
        Probability that such an interval covers the population's difference. It is two-sided for
        every alternative.
    metric, teacher_metric, other_metric : str or callable
        Dissimilarities of the student ("cosine" by default), of the teacher and of the other
        student. If None, the latter two are `metric`.
    sample_weight : array-like of shape (n_samples,), default=None
        As in :func:`perception_coherence_interval`.
    n_anchors, n_references : int, default=None
        As in :func:`perception_coherence_score`.
    tol : float, default=None
        Draw until the standard error of the difference is at most this.
    random_state : int, RandomState instance or None, default=0
        Draws the anchors and references; repeatable by default.
    n_jobs : int, default=None
        As in :func:`perception_coherence_score`.
    device : str or torch.device, default="cpu"
        Where to compute.

    Returns
    -------
    result : CoherenceDifference
        A named tuple of ``difference``, the coherence of `student` minus that of `other`,
        ``low``, ``high``, ``standard_error`` and ``pvalue``. All nan if the teacher has only ties.

    Raises
    ------
    ValueError
        As in :func:`perception_coherence_interval`, or if `alternative` is unknown.
    TypeError
        As in :func:`perception_coherence_interval`.

    See Also
    --------
    perception_coherence_interval : Confidence interval of one score, with its derivation.

    Notes
    -----
    This is a t-test: the statistic is the difference divided by its delete-one jackknife standard
    error, and the degrees of freedom are the number of samples drawn minus one, without those that
    leave the teacher only ties. Students that make the same errors everywhere have difference 0 and
    p-value 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skperco import perception_coherence_test
    >>> teacher = np.random.default_rng(0).normal(size=(200, 8))
    >>> more, less = teacher[:, :6], teacher[:, :3]
    >>> perception_coherence_test(teacher, more, less, alternative="greater").pvalue < 0.01
    True
    """
    check_share(confidence_level, "confidence_level")
    if alternative not in _ALTERNATIVES:
        raise ValueError(f"alternative must be one of {_ALTERNATIVES}, got {alternative!r}.")
    given = {"teacher": teacher_metric, "student": metric, "other": other_metric}
    metrics = {name: metric if one is None else one for name, one in given.items()}
    for name, one in metrics.items():
        check_metric(one, "metric" if name == "student" else f"{name}_metric")
    rows = {"teacher": teacher, "student": student, "other": other}
    representations = Representations(
        {name: (rows[name], metrics[name]) for name in rows}, sample_weight, device
    )
    estimates = _estimate(
        representations,
        [1, -1],
        n_anchors,
        n_references,
        tol,
        check_random_state(random_state),
        n_jobs,
    )
    difference = float(estimates.scores[0] - estimates.scores[1])
    error = estimates.standard_error([1, -1])
    half = _quantile(estimates, (1 + confidence_level) / 2) * error
    pvalue = _pvalue(difference, error, estimates.degrees_of_freedom, alternative)
    return CoherenceDifference(difference, difference - half, difference + half, error, pvalue)


def _estimate(
    representations: Representations,
    contrast: list[int],
    n_anchors: int | None,
    n_references: int | None,
    tol: float | None,
    rng: np.random.RandomState,
    n_jobs: int | None,
) -> Estimates:
    representations.require(4, "an anchor, two references and one to leave out")
    check_tol(tol, n_anchors=n_anchors, n_references=n_references)
    if tol is not None and representations.n_samples > EXACT_SAMPLES:
        return estimate_within(representations, tol, contrast, rng, n_jobs)
    anchors, references = representations.draw(n_anchors, n_references, rng)
    return estimate(representations, anchors, references, n_jobs)


def _quantile(estimates: Estimates, probability: float) -> float:
    return float(stats.t.ppf(probability, estimates.degrees_of_freedom))


def _pvalue(difference: float, error: float, degrees_of_freedom: int, alternative: str) -> float:
    if np.isnan(error) or error == 0:
        return np.nan if np.isnan(difference) or difference else 1.0
    student = stats.t(degrees_of_freedom)
    statistic = difference / error
    tails = {"less": student.cdf(statistic), "greater": student.sf(statistic)}
    return float(tails.get(alternative, 2 * student.sf(abs(statistic))))
