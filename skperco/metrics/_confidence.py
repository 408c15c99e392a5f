"""How sure a score is, and whether one student is more coherent than another."""

from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import expit, logit
from sklearn.utils import check_random_state

from skperco.dissimilarity._dense import check_metric
from skperco.metrics._anchor_blocks import EXACT_SAMPLES, Views
from skperco.metrics._common import pair_of_views
from skperco.metrics._jackknife import estimate, estimate_within
from skperco.utils._global_settings import default_settings
from skperco.utils._validation import check_share, check_tol

_ALTERNATIVES = ("two-sided", "less", "greater")


class CoherenceInterval(NamedTuple):
    """A score and the interval that covers it; see :func:`perception_coherence_interval`."""

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
    teacher,
    student,
    *,
    confidence_level=0.95,
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
    r"""Perception coherence, and where it lies in the population that the samples are from.

    Parameters
    ----------
    teacher, student : {array-like, sparse matrix} of shape (n_samples, n_features)
        As in :func:`perception_coherence_score`; the samples are taken to be drawn from a
        population, independently.
    confidence_level : float, default=0.95
        How often such intervals are to hold the population's coherence.
    metric, teacher_metric : str or callable
        As in :func:`perception_coherence_score`.
    sample_weight : array-like of shape (n_samples,), default=None
        As in :func:`perception_coherence_score`. Weights say how much of the population a
        sample stands for, not how often it was drawn: a sample of weight 2 is not two samples.
    n_anchors, n_references : int, default=None
        As in :func:`perception_coherence_score`. The interval covers what drawing them adds.
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
        ``high``, and ``standard_error``. All nan if the teacher sees only ties.

    Raises
    ------
    ValueError
        If the input is not what :func:`perception_coherence_score` takes, or the level is not
        between 0 and 1.

    See Also
    --------
    perception_coherence_test : Whether one student is more coherent than another.

    Notes
    -----
    Three samples meet in every comparison, an anchor and two references, and every sample is
    in many comparisons: they are far from independent, and the standard error of the mean over
    anchors is too small, often by half. The score is a U-statistic of order three [1]_, or a
    mean of ratios of such where there are ties. Its standard error is the delete-one
    jackknife's [2]_: the score is computed without each sample, as anchor and as reference,
    which the counts of discordant pairs by reference give all at once. The interval is
    symmetric on the scale of log-odds, so that it stays between 0 and 1:

    .. math:: \operatorname{logit} \Gamma \pm t\, \frac{s}{\Gamma (1 - \Gamma)}

    with Student's t of as many degrees of freedom as samples were drawn, less one.

    A score of exactly 0 or 1 shows no variation, and its interval is that point, however few
    the samples are. Neither is there more than a rough interval from a few dozen samples.

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
    views = pair_of_views(teacher, student, metric, teacher_metric, sample_weight, device)
    estimates = _estimate(
        views, [1], n_anchors, n_references, tol, check_random_state(random_state), n_jobs
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
    teacher,
    student,
    other,
    *,
    alternative="two-sided",
    confidence_level=0.95,
    metric="cosine",
    teacher_metric=None,
    other_metric=None,
    sample_weight=None,
    n_anchors=None,
    n_references=None,
    tol=None,
    random_state=0,
    n_jobs=None,
    device="cpu",
):
    """Test whether one student is more coherent with the teacher than another.

    Both are compared on the same samples, so that what is hard for both cancels.

    Parameters
    ----------
    teacher, student, other : {array-like, sparse matrix} of shape (n_samples, n_features)
        The teacher and two students, of the same samples, drawn from a population.
    alternative : {"two-sided", "less", "greater"}, default="two-sided"
        What is to be shown: that the coherence of `student` is not that of `other`, is less, or
        is greater.
    confidence_level : float, default=0.95
        How often the interval is to hold the population's difference. It is two-sided, whatever
        the alternative.
    metric, teacher_metric, other_metric : str or callable
        Dissimilarities of the student ("cosine" by default), of the teacher and of the other
        student, which are the student's if they are None.
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
        A named tuple of ``difference``, the coherence of `student` less that of `other`,
        ``low``, ``high``, ``standard_error`` and ``pvalue``.

    See Also
    --------
    perception_coherence_interval : How sure one score is, and how that is known.

    Notes
    -----
    The difference over its standard error, the delete-one jackknife's, is compared with
    Student's t of as many degrees of freedom as samples were drawn, less one. Students that
    make the same mistakes everywhere have no difference and p-value 1.

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
    metrics = {name: metric if own is None else own for name, own in given.items()}
    for name, own in metrics.items():
        check_metric(own, "metric" if name == "student" else f"{name}_metric")
    rows = {"teacher": teacher, "student": student, "other": other}
    views = Views({name: (rows[name], metrics[name]) for name in rows}, sample_weight, device)
    estimates = _estimate(
        views, [1, -1], n_anchors, n_references, tol, check_random_state(random_state), n_jobs
    )
    difference = float(estimates.scores[0] - estimates.scores[1])
    error = estimates.standard_error([1, -1])
    half = _quantile(estimates, (1 + confidence_level) / 2) * error
    pvalue = _pvalue(difference, error, estimates.degrees_of_freedom, alternative)
    return CoherenceDifference(difference, difference - half, difference + half, error, pvalue)


def _estimate(views, contrast, n_anchors, n_references, tol, rng, n_jobs):
    views.require(4, "an anchor, two references and one to leave out")
    check_tol(tol, n_anchors=n_anchors, n_references=n_references)
    if tol is not None and views.n_samples > EXACT_SAMPLES:
        return estimate_within(views, tol, contrast, rng, n_jobs)
    return estimate(views, *views.draw(n_anchors, n_references, rng), n_jobs)


def _quantile(estimates, probability):
    return float(stats.t.ppf(probability, estimates.degrees_of_freedom))


def _pvalue(difference, error, degrees_of_freedom, alternative):
    if np.isnan(error) or error == 0:
        return np.nan if np.isnan(difference) or difference else 1.0
    student = stats.t(degrees_of_freedom)
    statistic = difference / error
    tails = {"less": student.cdf(statistic), "greater": student.sf(statistic)}
    return float(tails.get(alternative, 2 * student.sf(abs(statistic))))
