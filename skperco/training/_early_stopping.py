"""Early stopping: validation fits, whose scores on held-out samples determine the final fit."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch

from skperco.closed_form._truncated_svd import LinearMap
from skperco.dissimilarity._table import dissimilarity_table
from skperco.training._holdout import HoldoutScorer, HoldoutScores, last_acceptable
from skperco.training._plan import Plan
from skperco.training._samples import Samples

FRACTIONS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
# Neighbors for validation recall. With a few hundred validation rows, one or two neighbors span the
# radius of ten neighbors among thousands; two are less noisy. Selecting alpha needs a smoother
# criterion, hence ten.
_NEIGHBORS = 2
_NEIGHBORS_FOR_ALPHA = 10
# A validation fit that stops at this fraction or before is repeated with a larger weight of the
# global loss, multiplied by this factor.
_RETRY_BELOW = 0.5
_RETRY_GLOBAL_WEIGHT = 2.5


class EarlyStoppingResult(NamedTuple):
    """Choices for the fit to all samples, made by scores on held-out samples.

    Attributes
    ----------
    plan : Plan
        Of the validation fit that was chosen.
    alpha : float or None
        Strength of the ridge regression of a transfer.
    scores : sequence of HoldoutScores
        Of the students at `FRACTIONS`; empty if there was no training.
    fraction : float
        The chosen interpolation between the closed form (0) and the trained student (1).
    student : torch.nn.Module or None
        The student of the validation fit at `fraction`; None if there was no validation fit.
    snapshot : dict or None
        State of the validation fit, from which the final one can resume.
    interrupted : bool
        Whether the user interrupted a validation fit.
    """

    plan: Plan
    alpha: float | None = None
    scores: Sequence[HoldoutScores] = ()
    fraction: float = 0.0
    student: torch.nn.Module | None = None
    snapshot: dict[str, Any] | None = None
    interrupted: bool = False


def select_fraction(
    new_fit: Callable[[Plan], Any], held_out: Samples, plan: Plan, tol: float
) -> EarlyStoppingResult:
    """Fit without the held-out samples and evaluate the students on them.

    Parameters
    ----------
    new_fit : callable
        Makes the StudentFit of a plan, to the other samples.
    held_out : Samples
    plan : Plan
    tol : float
        Largest loss of coherence that is accepted, as in :func:`last_acceptable`.

    Returns
    -------
    result : EarlyStoppingResult
    """
    dissimilarities = dissimilarity_table(
        held_out.representation, held_out.teacher_metric, device=plan.device
    )

    @cache
    def scorer(n_neighbors: int) -> HoldoutScorer:
        return HoldoutScorer(dissimilarities, plan.settings.metric, held_out.weight, n_neighbors)

    def criterion(start: LinearMap) -> float:
        scores = scorer(_NEIGHBORS_FOR_ALPHA)(start(held_out.X))
        return scores.criterion(plan.settings.rank_power)

    def validate(plan: Plan, criterion: Callable | None = None) -> EarlyStoppingResult:
        fit = new_fit(plan).initialize(criterion)
        fit.train()
        return _evaluate(fit, held_out.X, scorer(_NEIGHBORS), tol)

    result = validate(plan, criterion)
    if not _needs_retry(result):
        return result
    again = validate(_retry_plan(result))
    chosen = max(result, again, key=lambda one: one.fraction)
    return chosen._replace(interrupted=again.interrupted)


def _needs_retry(result: EarlyStoppingResult) -> bool:
    """Whether coherence stopped the fit early, so that a larger global weight may help."""
    has_two_losses = 0.5 <= result.plan.settings.rank_power < 1
    has_scores = len(result.scores) > 0 and not result.interrupted
    return has_scores and has_two_losses and result.fraction <= _RETRY_BELOW


def _retry_plan(result: EarlyStoppingResult) -> Plan:
    """The plan with a larger weight of the global loss and the chosen ridge strength."""
    plan = result.plan
    settings = plan.settings._replace(
        global_weight=_RETRY_GLOBAL_WEIGHT * plan.settings.global_weight
    )
    return plan._replace(settings=settings).with_alpha(result.alpha)


def _evaluate(
    fit: Any, X: Any, scorer: Callable[..., HoldoutScores], tol: float
) -> EarlyStoppingResult:
    """The result of a validation fit, a StudentFit."""
    scores = []
    for fraction in FRACTIONS if fit.losses else ():
        fit.interpolate(fraction)
        scores.append(scorer(fit.embed(X)))
    scores = fit.plan.processes.broadcast_object(scores)
    fraction = 0.0
    if scores:
        fraction = FRACTIONS[last_acceptable(scores, fit.plan.settings.rank_power, tol)]
    fit.interpolate(fraction)
    return EarlyStoppingResult(
        fit.plan, fit.alpha, scores, fraction, fit.student, fit.snapshot, fit.interrupted
    )
