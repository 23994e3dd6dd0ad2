"""Requests that arrive together are scored together, by one matrix product instead of one each.

No request waits for others to arrive. Those of one turn of the event loop are collected and scored in its next turn, or
in a later one as long as each turn brings more: a single request is not delayed, and batches grow with the load. Ray
Serve's ``serve.batch`` waits for a fixed time instead, which it adds to every answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from hnlm_ray.serving.recommend.options import RankingOptions
from hnlm_ray.serving.recommend.recommender import Recommender
from hnlm_ray.serving.recommend.results import Ranking

__all__ = ["Batcher"]


_MOST_TURNS, _LARGE_ENOUGH = 8, 64


class _Waiting(NamedTuple):
    recommender: Recommender
    options: RankingOptions
    user_id: str
    answer: asyncio.Future[Ranking]


class Batcher:
    """Collects the requests of one event loop."""

    def __init__(self, on_batch: Callable[[int], None] = lambda size: None) -> None:
        self._waiting: list[_Waiting] = []
        self._on_batch = on_batch

    async def rank(self, recommender: Recommender, user_id: str, options: RankingOptions) -> Ranking:
        """:meth:`Recommender.rank` for one user, together with concurrent requests that have the same options."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Ranking] = loop.create_future()
        self._waiting.append(_Waiting(recommender, options, user_id, answer))
        if len(self._waiting) == 1:
            loop.call_soon(self._look, loop, 1, _MOST_TURNS)
        return await answer

    def _look(self, loop: asyncio.AbstractEventLoop, before: int, turns: int) -> None:
        """Score, unless more requests have arrived since the last turn."""
        now = len(self._waiting)
        if now > before and turns and now < _LARGE_ENOUGH:
            loop.call_soon(self._look, loop, now, turns - 1)
        else:
            self._score()

    def _score(self) -> None:
        groups: dict[tuple[int, RankingOptions], list[_Waiting]] = {}
        for one in self._waiting:
            groups.setdefault((id(one.recommender), one.options), []).append(one)
        self._waiting = []
        for group in groups.values():
            self._on_batch(len(group))
            try:
                rankings = group[0].recommender.rank([one.user_id for one in group], group[0].options)
            except Exception as error:  # each request gets it and answers for itself
                for one in group:
                    if not one.answer.done():
                        one.answer.set_exception(error)
                continue
            for one, ranking in zip(group, rankings, strict=True):
                if not one.answer.done():  # its client may have disconnected
                    one.answer.set_result(ranking)
