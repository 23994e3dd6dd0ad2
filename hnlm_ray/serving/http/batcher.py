"""Requests that arrive together are scored together: one matrix product for all of them, instead of one each.

Nothing waits for others to come. The requests of one turn of the event loop are gathered, and the loop's next turn
scores them, or a later one as long as each brings more: a lone request is not delayed, and the busier the loop, the
larger the batches. Ray Serve's ``serve.batch``
waits for a time instead, which adds that time to every answer.
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
    """For the event loop of one process."""

    def __init__(self, on_batch: Callable[[int], None] = lambda size: None) -> None:
        self._waiting: list[_Waiting] = []
        self._on_batch = on_batch

    async def rank(self, recommender: Recommender, user_id: str, options: RankingOptions) -> Ranking:
        """:meth:`Recommender.rank` for one user, together with others who ask now and wish the same."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Ranking] = loop.create_future()
        self._waiting.append(_Waiting(recommender, options, user_id, answer))
        if len(self._waiting) == 1:
            loop.call_soon(self._look, loop, 1, _MOST_TURNS)
        return await answer

    def _look(self, loop: asyncio.AbstractEventLoop, before: int, turns: int) -> None:
        """Score, unless more requests have come since the turn before."""
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
            except Exception as error:  # each request answers for itself
                for one in group:
                    if not one.answer.done():
                        one.answer.set_exception(error)
                continue
            for one, ranking in zip(group, rankings, strict=True):
                if not one.answer.done():  # the client may have gone
                    one.answer.set_result(ranking)
