"""Early stopping: validation fits, evaluated on held-out samples, decide about the final fit."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from numpy.random import RandomState

from skperco.dissimilarity._table import dissimilarity_table
from skperco.training._holdout import HoldoutScorer, HoldoutScores, farthest
from skperco.training._student_fit import Fit, Plan

FRACTIONS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
# Neighbors for validation recall. With a few hundred validation rows, one or two neighbors span the
# radius of ten neighbors among thousands; two are less noisy. Selecting alpha needs a smoother
# criterion, hence ten.
_NEIGHBORS = 2
_NEIGHBORS_OF_RIDGE = 10
# A validation fit that stops before this fraction is repeated with a larger weight of the global
# loss, multiplied by this factor.
_RETRY_BELOW = 0.5
_RETRY_GLOBAL_WEIGHT = 2.5


class EarlyStoppingResult(NamedTuple):
    """What held-out samples decide about the fit to all.

    Attributes
    ----------
    plan : Plan
    alpha : float or None
        Strength of the ridge regression of a transfer.
    judgments : list of HoldoutScores
        Of the students at `FRACTIONS`; empty if there was no refinement.
    fit : Fit or None
        The trial, its student at the fraction to take; None if there was none.
    interrupted : bool
        Whether the user has cut a trial short.
    """

    plan: Plan
    alpha: float | None = None
    judgments: Sequence[HoldoutScores] = ()
    fit: Fit | None = None
    interrupted: bool = False

    @property
    def student(self):
        """The trial's; None if there was no trial."""
        return None if self.fit is None else self.fit.student

    @property
    def chosen(self):
        """Number of the fraction to take."""
        return farthest(self.judgments, self.plan.settings.rank_power)

    @property
    def fraction(self):
        """How far to go from the closed form (0) to the refined student (1)."""
        return FRACTIONS[self.chosen] if self.judgments else 0.0


def decide(fitted, pool, held_out, plan, seed):
    """Fit without the held-out samples and evaluate the students on them.

    Parameters
    ----------
    fitted : Samples
    pool : Pool
        Of these.
    held_out : Samples
    plan : Plan
    seed : int

    Returns
    -------
    decision : EarlyStoppingResult
    """
    table = dissimilarity_table(
        held_out.representation, held_out.teacher_metric, device=plan.device
    )

    @cache
    def judge_by(n_neighbors):
        return HoldoutScorer(table, plan.settings.metric, held_out.weight, n_neighbors)

    def worth(start):
        judged = judge_by(_NEIGHBORS_OF_RIDGE)(start(held_out.X))
        return judged.worth(plan.settings.rank_power)

    fit = Fit(fitted, pool, plan, RandomState(seed), worth=worth)
    decision = _try(fit, held_out.X, judge_by(_NEIGHBORS))
    if _is_short(decision):
        settings = plan.settings._replace(
            global_weight=_RETRY_GLOBAL_WEIGHT * plan.settings.global_weight
        )
        firmer = plan._replace(settings=settings)
        fit = Fit(fitted, pool, firmer, RandomState(seed), alpha=decision.alpha)
        again = _try(fit, held_out.X, judge_by(_NEIGHBORS))
        decision = max(decision, again, key=lambda one: one.fraction)
        decision = decision._replace(interrupted=again.interrupted)
    return decision


def _is_short(decision):
    """Whether coherence stopped a trial early, and a larger weight of the far loss may help."""
    has_two_losses = 0.5 <= decision.plan.settings.rank_power < 1
    went = len(decision.judgments) > 0 and not decision.interrupted
    return went and has_two_losses and decision.fraction <= _RETRY_BELOW


def _try(fit, X, judge):
    fit.refine()
    judgments = []
    for fraction in FRACTIONS if fit.losses else ():
        fit.blend(fraction)
        judgments.append(judge(fit.embed(X)))
    judgments = fit.plan.processes.broadcast_object(judgments)
    decision = EarlyStoppingResult(fit.plan, fit.alpha, judgments, fit, fit.interrupted)
    fit.settle(decision.fraction)
    return decision
