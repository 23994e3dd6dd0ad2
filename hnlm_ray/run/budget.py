"""The epochs that the trials of one variant may train together."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["EpochBudget"]


class EpochBudget:
    """Hands out epochs to trials before they are trained, so that no variant ever trains more than its share.

    Args:
        limit: epochs of each group of trials; None for no limit.
        spent: epochs that trials of a group trained before.
    """

    def __init__(self, limit: int | None, spent: Mapping[str, int] | None = None) -> None:
        self._limit = limit
        self._spent = dict(spent or {})
        self._promised: dict[str, dict[int, int]] = {}

    def take(self, group: str, trial: int, epochs: int) -> bool:
        """Promise a trial that it may train until it has trained some epochs in all, unless that is too much.

        Args:
            group: the trial's group.
            trial: its number.
            epochs: since its start, those that it has trained already included.

        Returns:
            Whether it may; if not, what it was promised before stands.
        """
        promised = self._promised.setdefault(group, {})
        others = self._spent.get(group, 0) + sum(promised.values()) - promised.get(trial, 0)
        if self._limit is not None and others + epochs > self._limit:
            return False
        promised[trial] = epochs
        return True

    def end(self, group: str, trial: int, epochs: int) -> None:
        """Count what a trial has trained, and give the rest of what it was promised to the others of its group."""
        self._promised.get(group, {}).pop(trial, None)
        self._spent[group] = self._spent.get(group, 0) + epochs
