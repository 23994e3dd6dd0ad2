"""What a user's own code is told while a model is fitted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from hnlm_ray.config.callbacks import CallbackOptions
from hnlm_ray.config.plugins import made
from hnlm_ray.errors import ConfigError, HnlmError, StageError
from hnlm_ray.training.progress import Progress

__all__ = ["Callback", "Figures", "Listeners", "build_callbacks"]

Figures: TypeAlias = Mapping[str, int | float]
"""Plain numbers by name."""

_OF_EPOCH = ("seconds", "loss", "ranking_loss", "contrastive_loss")


class Callback(Protocol):
    """Is told of the epochs and the validations of one fit; a class that derives from it may give one method alone.

    On several workers, worker 0 alone calls it, and the others wait for it at their next step. What it raises ends the
    fit.
    """

    def on_epoch(self, epoch: int, figures: Figures) -> None:
        """Called after each epoch, before its validation.

        Args:
            epoch: from 1; a fit that continues from a checkpoint begins with the epoch after it.
            figures: ``seconds`` of training so far, and the means over the pairs of the epoch: ``loss``, and its terms
                ``ranking_loss`` and ``contrastive_loss``.
        """

    def on_validation(self, epoch: int, figures: Figures) -> None:
        """Called after each validation, when the checkpoint is written.

        Args:
            epoch: the last one.
            figures: ``valid_ndcg`` and ``valid_recall`` at 20, and ``best_epoch`` and ``best_ndcg`` so far.
        """


class Listeners:
    """The callbacks of one fit.

    Args:
        callbacks: called in this order.
    """

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        self._callbacks = tuple(callbacks)

    def on_epoch(self, progress: Progress) -> None:
        """Tell them of the last epoch.

        Raises:
            HnlmError: raised by a callback.
            StageError: a callback raised something else.
        """
        record = progress.history[-1]
        self._tell("on_epoch", progress.epoch, {name: getattr(record, name) for name in _OF_EPOCH})

    def on_validation(self, progress: Progress) -> None:
        """Tell them of the last validation; errors as in :meth:`on_epoch`."""
        record = progress.history[-1]
        assert record.valid_ndcg is not None
        assert record.valid_recall is not None
        figures = {
            "valid_ndcg": record.valid_ndcg,
            "valid_recall": record.valid_recall,
            "best_epoch": progress.best_epoch,
            "best_ndcg": progress.best_ndcg,
        }
        self._tell("on_validation", progress.epoch, figures)

    def _tell(self, method: str, epoch: int, figures: Figures) -> None:
        for callback in self._callbacks:
            try:
                getattr(callback, method)(epoch, dict(figures))
            except HnlmError:
                raise
            except Exception as error:
                name, lines = type(callback).__name__, str(error).strip().splitlines() or [""]
                raise StageError(
                    f"the callback {name} failed in {method} of epoch {epoch} with {type(error).__name__}: {lines[0]}",
                    "correct it or leave it out, and run again; a run continues from its last checkpoint",
                ) from error


def build_callbacks(options: Sequence[CallbackOptions], fit: str) -> list[Callback]:
    """The callbacks that a configuration names.

    Args:
        options: ``train.callbacks``.
        fit: the name of the fit, for example ``train.dns.s0``, with which each is made.

    Raises:
        ConfigError: one cannot be loaded, does not take its options, or lacks a method.
    """
    found: list[Callback] = []
    for number, one in enumerate(options):
        callback: Any = made(one, f"train.callbacks.{number}", fit)
        if missing := [name for name in ("on_epoch", "on_validation") if not callable(getattr(callback, name, None))]:
            raise ConfigError(
                f"train.callbacks.{number}.class={one.path} has no method {' and no method '.join(missing)}",
                "derive it from hnlm_ray.training.callbacks.Callback, which has both",
            )
        found.append(callback)
    return found
