"""Requests slow down together, and recover."""

from __future__ import annotations

import asyncio
import time

from hnlm_ray.language.engines.pace import Pace, backoff


def test_pauses_grow_up_to_a_bound() -> None:
    assert all(0.375 <= backoff(1) <= 0.5 for _ in range(50))
    assert all(1.5 <= backoff(3) <= 2.0 for _ in range(50))
    assert all(6.0 <= backoff(10_000) <= 8.0 for _ in range(50))
    assert len({backoff(3) for _ in range(50)}) > 40


def test_a_pause_holds_everybody_and_halves_the_places() -> None:
    async def race() -> tuple[list[float], int]:
        pace, began = Pace(8), time.monotonic()
        times: list[float] = []
        busy = most = 0

        async def one() -> None:
            nonlocal busy, most
            async with pace.place():
                times.append(time.monotonic() - began)
                busy += 1
                most = max(most, busy)
                await asyncio.sleep(0.02)
                busy -= 1

        pace.hold(0.2)
        pace.hold(0.1)  # refused at the same moment: neither shorter nor halved again
        assert pace.allowed == 4
        await asyncio.gather(*(one() for _ in range(20)))
        return times, most

    times, most = asyncio.run(race())
    assert min(times) >= 0.2
    assert most == 4


def test_the_places_come_back_with_answers_and_never_run_out() -> None:
    pace = Pace(8)
    for _ in range(10):
        pace.hold(0.0)
        time.sleep(0.001)
    assert pace.allowed == 1
    for _ in range(100):
        pace.answered()
    assert pace.allowed == 8


def test_a_place_comes_back_after_an_error() -> None:
    async def fail_twice() -> int:
        pace, failed = Pace(1), 0
        for _ in range(2):
            try:
                async with pace.place():
                    raise ValueError
            except ValueError:
                failed += 1
        return failed

    assert asyncio.run(asyncio.wait_for(fail_twice(), 5)) == 2


def test_a_request_that_comes_back_goes_before_those_that_were_never_sent() -> None:
    async def race() -> list[str]:
        pace, order = Pace(2), list[str]()

        async def one(name: str, comes_back: bool) -> None:
            async with pace.place(comes_back):
                order.append(name)
                await asyncio.sleep(0.005)

        waiting = [asyncio.create_task(one(f"new {number}", comes_back=False)) for number in range(20)]
        await asyncio.sleep(0.001)  # two hold the places
        waiting += [asyncio.create_task(one("back", comes_back=True))]
        await asyncio.gather(*waiting)
        return order

    order = asyncio.run(race())
    assert order.index("back") == 2
    assert len(order) == 21
