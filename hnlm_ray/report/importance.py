"""How much each searched option of a variant mattered, by Optuna's PED-ANOVA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hnlm_ray.config.search import Domain
from hnlm_ray.run.proposals import Told, has_optuna, optuna_study

__all__ = ["LEAST_TRIALS", "Importance", "importance"]

LEAST_TRIALS = 10
"""Trials of a variant below which its options are not weighed."""

_LEAST_BEST = 5
"""Optuna asks for as many trials at least among those whose options are compared with all."""


@dataclass(frozen=True)
class Importance:
    """What mattered for a variant.

    Attributes:
        shares: of each option by path, the largest first; they add up to 1.
        best: the number of best trials that were compared with all.
        trials: their number.
    """

    shares: Mapping[str, float]
    best: int
    trials: int


def importance(space: Mapping[str, Domain], trials: Sequence[tuple[Mapping[str, Any], float]]) -> Importance | None:
    """Weigh options by how differently they are spread in the best trials and in all (PED-ANOVA, IJCAI 2023).

    Args:
        space: what each option is drawn from, by path.
        trials: options and validation NDCG@20 of every trial that did not fail.

    Returns:
        None if Optuna is not installed, or there are fewer than :data:`LEAST_TRIALS` trials or two options.
    """
    if not has_optuna() or len(space) < 2:
        return None
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    study = optuna_study(space, [Told(values, "complete", figure) for values, figure in trials])
    told = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    if told < LEAST_TRIALS:
        return None
    quantile = max(0.1, _LEAST_BEST / told)
    shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=quantile))
    return Importance(shares, round(quantile * told), told)
