"""Requests that arrive together are scored together, and each answers for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.serving.http.batcher import Batcher
from hnlm_ray.serving.recommend.options import RankingOptions
from hnlm_ray.serving.recommend.recommender import Recommender
from hnlm_ray.serving.recommend.results import Ranking

FIVE, SEVEN = RankingOptions(k=5), RankingOptions(k=7)


class Spy(Recommender):
    """Notes what it is asked, and answers with the number in the user's id."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[tuple[list[str], RankingOptions]] = []
        self.error = error

    def rank(self, user_ids: Sequence[str], options: RankingOptions) -> list[Ranking]:
        self.calls.append((list(user_ids), options))
        if self.error is not None:
            raise self.error
        scores = [np.array([float(user_id[1:]), options.k], np.float32) for user_id in user_ids]
        return [Ranking(np.array([0, 1]), one, "personal") for one in scores]


def together(*asked: Coroutine[Any, Any, Ranking]) -> list[Any]:
    """What requests of one turn of the loop get: rankings and errors."""

    async def play() -> list[Any]:
        return await asyncio.gather(*asked, return_exceptions=True)

    return asyncio.run(asyncio.wait_for(play(), 30))


def numbers(rankings: list[Any]) -> list[list[float]]:
    return [one.scores.tolist() for one in rankings]


def test_requests_of_one_turn_are_scored_in_one_call_and_each_gets_its_own() -> None:
    spy, sizes = Spy(), list[int]()
    batcher = Batcher(sizes.append)
    answers = together(*(batcher.rank(spy, f"u{number}", RankingOptions(k=5)) for number in range(50)))
    assert spy.calls == [([f"u{number}" for number in range(50)], FIVE)]
    assert numbers(answers) == [[number, 5] for number in range(50)]
    assert sizes == [50]


def test_other_wishes_and_other_recommenders_are_other_calls() -> None:
    one, two, sizes = Spy(), Spy(), list[int]()
    batcher = Batcher(sizes.append)
    answers = together(
        batcher.rank(one, "u1", FIVE),
        batcher.rank(two, "u2", FIVE),
        batcher.rank(one, "u3", SEVEN),
        batcher.rank(one, "u4", FIVE),
        batcher.rank(one, "u5", RankingOptions(k=5, exclude_items=("i1",))),
        batcher.rank(one, "u6", SEVEN),
    )
    assert one.calls == [
        (["u1", "u4"], FIVE),
        (["u3", "u6"], SEVEN),
        (["u5"], RankingOptions(k=5, exclude_items=("i1",))),
    ]
    assert two.calls == [(["u2"], FIVE)]
    assert numbers(answers) == [[1, 5], [2, 5], [3, 7], [4, 5], [5, 5], [6, 7]]
    assert sorted(sizes) == [1, 1, 2, 2]


def test_a_lone_request_is_answered_at_the_next_turn() -> None:
    async def play() -> None:
        spy, batcher = Spy(), Batcher()
        asked = asyncio.create_task(batcher.rank(spy, "u9", FIVE))
        await asyncio.sleep(0)  # the request comes
        assert spy.calls == []
        await asyncio.sleep(0)  # the next turn
        assert spy.calls == [(["u9"], FIVE)]
        assert (await asked).scores.tolist() == [9, 5]

    asyncio.run(asyncio.wait_for(play(), 30))


def test_a_later_turn_is_another_batch() -> None:
    async def play() -> None:
        spy, batcher = Spy(), Batcher()
        for turn in range(3):
            users = [f"u{turn}", f"u{turn + 10}"]
            answers = await asyncio.gather(*(batcher.rank(spy, user_id, FIVE) for user_id in users))
            assert numbers(answers) == [[turn, 5], [turn + 10, 5]]
        assert [call for call, _ in spy.calls] == [["u0", "u10"], ["u1", "u11"], ["u2", "u12"]]

    asyncio.run(asyncio.wait_for(play(), 30))


def test_an_error_reaches_everybody_who_waits_for_it_and_nobody_else() -> None:
    error = ZeroDivisionError("out of order")
    broken, sound = Spy(error), Spy()
    batcher = Batcher()
    answers = together(
        *(batcher.rank(broken, f"u{number}", FIVE) for number in range(3)),
        batcher.rank(sound, "u3", FIVE),
        batcher.rank(broken, "u4", SEVEN),
    )
    assert answers[:3] == [error] * 3
    assert answers[3].scores.tolist() == [3, 5]
    assert answers[4] is error
    broken.error = None
    assert numbers(together(batcher.rank(broken, "u8", FIVE))) == [[8, 5]]


@pytest.mark.parametrize("error", [None, ZeroDivisionError()], ids=["answered", "failed"])
def test_whoever_goes_does_not_harm_the_others(error: Exception | None) -> None:
    complaints: list[Any] = []

    async def play() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        spy, batcher = Spy(error), Batcher()
        tasks = [asyncio.create_task(batcher.rank(spy, f"u{number}", FIVE)) for number in range(4)]
        await asyncio.sleep(0)  # all of them wait now
        tasks[0].cancel()
        tasks[2].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(one, asyncio.CancelledError) for one in answers] == [True, False, True, False]
        if error is None:
            assert numbers([answers[1], answers[3]]) == [[1, 5], [3, 5]]
        else:
            assert [answers[1], answers[3]] == [error, error]
        spy.error = None
        assert (await batcher.rank(spy, "u7", FIVE)).scores.tolist() == [7, 5]

    asyncio.run(asyncio.wait_for(play(), 30))
    assert complaints == []


@pytest.fixture(scope="module")
def recommender(bundle_path: Path) -> Recommender:
    return Recommender.load(str(bundle_path))


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 45),
            st.sampled_from([RankingOptions(k=3), RankingOptions(k=60), RankingOptions(exclude_seen=False)]),
        )
    )
)
def test_whatever_comes_together_is_answered_as_if_it_came_alone(
    recommender: Recommender, asked: list[tuple[int, RankingOptions]]
) -> None:
    batcher = Batcher()
    answers = together(*(batcher.rank(recommender, f"u{number}", options) for number, options in asked))
    for (number, options), answer in zip(asked, answers, strict=True):
        alone = recommender.rank([f"u{number}"], options)[0]
        assert answer.items.tolist() == alone.items.tolist()
        assert answer.source == alone.source
        np.testing.assert_allclose(answer.scores, alone.scores, rtol=1e-5, atol=1e-6)
