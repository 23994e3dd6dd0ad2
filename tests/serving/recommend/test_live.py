"""The bundles of a process while their shelves change: what is taken up or refused, and who is answered by which."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import logging
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnlm_ray.config.serving import BundleSource, ServiceOptions
from hnlm_ray.errors import BundleError, ConfigError
from hnlm_ray.serving.bundle.info import INFO
from hnlm_ray.serving.bundle.shelf import AVAILABILITY_FILE, Offer, Shelf
from hnlm_ray.serving.bundle.writing import write_bundle
from hnlm_ray.serving.http.guard import JsonLines
from hnlm_ray.serving.http.meters import Meters
from hnlm_ray.serving.http.web import web_app
from hnlm_ray.serving.recommend.live import Live, UnknownBundleError
from hnlm_ray.serving.recommend.options import RankingOptions
from hnlm_ray.serving.recommend.recommender import Recommender
from tests.serving.conftest import ABOUT, make_contents
from tests.serving.services import LocalClient, running, some_contents, stocked_shelf, until

SOON = 300
"""More looks than pass until something is tried again that was refused."""


@pytest.fixture
def stocked(tmp_path: Path) -> tuple[Shelf, list[str]]:
    return stocked_shelf(tmp_path)


@pytest.fixture
def reloads() -> list[tuple[str, str, bool]]:
    return []


@pytest.fixture
def live(stocked: tuple[Shelf, list[str]], reloads: list[tuple[str, str, bool]]) -> Live:
    """One shelf, ``shop``, and what happens to it in ``reloads``."""
    live = Live.of({"shop": stocked[0].path})
    live.on_reload = lambda *happened: reloads.append(happened)
    return live


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What was said at the level of errors so far."""
    # Another test of the same process may have told the logger to keep its lines to itself.
    logging.getLogger("hnlm_ray.serving").propagate = True
    return lambda: [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that were loaded so far."""
    paths: list[str] = []
    load = Recommender.of

    def noted(offer: Offer) -> Recommender:
        paths.append(offer.address)
        return load(offer)

    monkeypatch.setattr(Recommender, "of", staticmethod(noted))
    return paths


def say_what_can_be_had(shelf: Shelf, **available: bool) -> None:
    table = pa.table({"item_id": list(available), "available": list(available.values())})
    pq.write_table(table, f"{shelf.path}/{AVAILABILITY_FILE}")


def damage(shelf: Shelf, version: str) -> None:
    """One flipped bit in the vectors."""
    path = Path(shelf.path_of(version), "model.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def best(live: Live, user_id: str = "u3", k: int = 5) -> list[str]:
    return [item.item_id for item in live.by_name("shop").recommender.recommend(user_id, k).items]


def best_of(path: str, user_id: str = "u3", k: int = 5) -> list[str]:
    return [item.item_id for item in Recommender.load(path).recommend(user_id, k).items]


# New bundles


def test_a_shelf_is_followed_when_it_is_looked_at(live: Live, stocked: tuple[Shelf, list[str]], reloads: Any) -> None:
    shelf, (one, two, _) = stocked
    assert (live.by_name("shop").version, best(live)) == (one, best_of(shelf.path_of(one)))
    shelf.use(two)
    assert live.by_name("shop").version == one
    live.refresh()
    assert (live.by_name("shop").version, best(live)) == (two, best_of(shelf.path_of(two)))
    assert best_of(shelf.path_of(one)) != best_of(shelf.path_of(two))
    shelf.back()
    live.refresh()
    assert live.by_name("shop").version == one
    assert reloads == [("shop", two, True), ("shop", one, True)]


def test_nothing_is_loaded_where_nothing_is_new(live: Live, loads: list[str]) -> None:
    for _ in range(5):
        live.refresh()
    assert loads == []


def test_a_bundle_that_is_not_on_a_shelf_is_served_for_good(stocked: tuple[Shelf, list[str]], loads: list[str]) -> None:
    shelf, (one, two, _) = stocked
    live = Live.of({"shop": shelf.path_of(one)})
    shelf.use(two)
    live.refresh()
    assert live.by_name("shop").version == one
    assert loads == [shelf.path_of(one)]


def test_whoever_took_a_bundle_keeps_it(live: Live, stocked: tuple[Shelf, list[str]]) -> None:
    shelf, (one, two, _) = stocked
    taken, expected = live.by_name("shop"), best(live)
    shelf.use(two)
    live.refresh()
    shelf.drop(one)
    assert taken.version == one
    assert [item.item_id for item in taken.recommender.recommend("u3", 5).items] == expected


@pytest.mark.parametrize("path", ["recommend", "recommend:batch"])
def test_an_answer_that_is_held_up_while_the_bundle_changes_has_one_version(
    live: Live, stocked: tuple[Shelf, list[str]], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    shelf, (one, two, _) = stocked
    recommender, reached, go = live.by_name("shop").recommender, threading.Event(), threading.Event()
    rank, expected = recommender.rank, best(live)

    def held(*args: Any) -> Any:
        reached.set()
        assert go.wait(60)
        return rank(*args)

    monkeypatch.setattr(recommender, "rank", held)
    answers: list[Any] = []
    body = {"user_ids": ["u3"], "k": 5} if ":" in path else {"user_id": "u3", "k": 5, "diversity": 1e-9}
    with LocalClient(web_app(live, ServiceOptions(watch_s=3600))) as client:
        thread = threading.Thread(target=lambda: answers.append(client.post(f"/v1/{path}", json=body).json()))
        thread.start()
        assert reached.wait(60)
        shelf.use(two)
        live.refresh()
        assert client.get("/v1/version").json()["bundles"] == {"shop": two}
        go.set()
        thread.join()
    answer = answers[0]["answers"][0] if ":" in path else answers[0]
    assert answer["bundle_version"] == one
    assert [item["item_id"] for item in answer["items"]] == expected


def test_many_users_are_answered_by_one_version(
    live: Live, stocked: tuple[Shelf, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, (one, two, _) = stocked

    class Slow:
        def of(self, _: str) -> str:
            """While users are sent to their bundles, a new one comes."""
            shelf.use(two)
            live.refresh()
            return "shop"

    monkeypatch.setattr(live, "_split", Slow())
    assert [served.version for served in live.for_users(["u1", "u2", "u3"])] == [one] * 3
    assert live.by_name("shop").version == two


def test_a_truncated_bundle_is_refused_and_said_once_and_a_good_one_is_taken(
    live: Live, stocked: tuple[Shelf, list[str]], reloads: Any, errors: Callable[[], list[str]]
) -> None:
    shelf, (one, two, three) = stocked
    expected = best(live)
    path = Path(shelf.path_of(two), "items.parquet")
    path.write_bytes(path.read_bytes()[:-100])
    shelf.use(two)
    for _ in range(20):
        live.refresh()
    assert (live.by_name("shop").version, best(live)) == (one, expected)
    assert reloads == [("shop", two, False)]
    assert len(errors()) == 1
    assert f"bundle shop stays at {one}: " in errors()[0]
    assert "items.parquet is damaged" in errors()[0]
    shelf.use(three)
    live.refresh()
    assert live.by_name("shop").version == three
    assert reloads[1:] == [("shop", three, True)]
    assert len(errors()) == 1


def test_a_tampered_bundle_is_refused(live: Live, stocked: tuple[Shelf, list[str]], errors: Any) -> None:
    shelf, (one, two, _) = stocked
    damage(shelf, two)
    shelf.use(two)
    live.refresh()
    assert live.by_name("shop").version == one
    assert "its checksum does not match" in errors()[0]


def test_a_bundle_that_was_repaired_is_taken_up_without_a_new_pointer(
    live: Live, stocked: tuple[Shelf, list[str]], reloads: Any
) -> None:
    shelf, (_, two, _) = stocked
    damage(shelf, two)
    shelf.use(two)
    live.refresh()
    damage(shelf, two)  # the same bit again
    looks = next(look for look in range(SOON) if live.refresh() is None and live.by_name("shop").version == two)
    assert looks < 3
    assert reloads == [("shop", two, False), ("shop", two, True)]


def test_what_stays_damaged_is_loaded_more_and_more_seldom(
    live: Live, stocked: tuple[Shelf, list[str]], loads: list[str], reloads: Any
) -> None:
    shelf, (_, two, _) = stocked
    damage(shelf, two)
    shelf.use(two)
    tried = []
    for look in range(SOON):
        live.refresh()
        tried += [look] * (len(loads) - len(tried))
    assert tried == [0, 2, 6, 14, 30, 62, 126, 190, 254]
    assert reloads == [("shop", two, False)]


def test_another_reason_is_said_too(live: Live, stocked: tuple[Shelf, list[str]], errors: Any) -> None:
    shelf, (_, two, _) = stocked
    damage(shelf, two)
    shelf.use(two)
    live.refresh()
    Path(shelf.path_of(two), INFO).unlink()
    for _ in range(SOON):
        live.refresh()
    assert len(errors()) == 2


def test_a_damaged_pointer_changes_nothing_and_each_damage_is_said_once(
    live: Live, stocked: tuple[Shelf, list[str]], errors: Any
) -> None:
    shelf, (one, two, _) = stocked
    for damages in (1, 2):
        Path(shelf.path, "current").write_text("{")
        for _ in range(10):
            live.refresh()
        assert live.by_name("shop").version == one
        assert len(errors()) == damages
        shelf.use(one)
        live.refresh()
    shelf.use(two)
    live.refresh()
    assert live.by_name("shop").version == two
    Path(shelf.path, "current").unlink()
    live.refresh()
    assert live.by_name("shop").version == two


def test_a_folder_that_holds_another_version_is_refused_and_not_loaded_at_every_look(
    live: Live, stocked: tuple[Shelf, list[str]], loads: list[str], errors: Any
) -> None:
    shelf, (one, two, _) = stocked
    shutil.copytree(shelf.path_of(two), shelf.path_of("a" * 12))
    Path(shelf.path, "current").write_text(json.dumps({"version": "a" * 12, "before": []}))
    for _ in range(10):
        live.refresh()
    assert live.by_name("shop").version == one
    assert f"holds the bundle {two}" in errors()[0]
    assert len(loads) == 3


def test_trouble_with_one_shelf_does_not_keep_another_from_being_followed(
    tmp_path: Path, stocked: tuple[Shelf, list[str]], monkeypatch: pytest.MonkeyPatch, errors: Any
) -> None:
    shelf, (one, two, three) = stocked
    second = Shelf(str(tmp_path / "second"))
    second.add(str(tmp_path / "from-1"))
    second.add(str(tmp_path / "from-2"))
    second.use(one)
    live = Live.of({"shop": shelf.path, "second": second.path})
    load = Recommender.of

    def broken(offer: Offer) -> Recommender:
        if offer.address == shelf.path_of(three):
            raise IndexError("something that nobody thought of")
        return load(offer)

    monkeypatch.setattr(Recommender, "of", staticmethod(broken))
    shelf.use(three)
    second.use(two)
    live.refresh()
    live.refresh()
    assert (live.by_name("shop").version, live.by_name("second").version) == (one, two)
    assert len(errors()) == 1
    assert "IndexError: something that nobody thought of" in errors()[0]


def test_whole_files_with_nonsense_in_them_are_refused(
    tmp_path: Path, live: Live, stocked: tuple[Shelf, list[str]], errors: Any
) -> None:
    """Vectors so long that their products are no numbers any more."""
    shelf, (one, *_) = stocked
    made = some_contents(9)
    seen = [made.seen_items[start:stop].tolist() for start, stop in itertools.pairwise(made.seen_offsets.tolist())]
    with np.errstate(all="ignore"):
        write_bundle(
            str(tmp_path / "nonsense"), make_contents(made.user_vectors * 1e20, made.item_vectors * 1e20, seen), ABOUT
        )
        shelf.use(shelf.add(str(tmp_path / "nonsense")).version)
        live.refresh()
        with pytest.raises(BundleError, match="gives an unsound answer; build the bundle again"):
            Live.of({"shop": shelf.path})
    assert live.by_name("shop").version == one
    assert len(errors()) == 1


def test_a_bundle_that_recommends_what_was_seen_is_refused(
    stocked: tuple[Shelf, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, (one, *_) = stocked
    rank = Recommender.rank
    monkeypatch.setattr(
        Recommender, "rank", lambda self, users, _: rank(self, users, RankingOptions(60, exclude_seen=False))
    )
    with pytest.raises(BundleError, match=f"{one} recommends what was seen"):
        Live.of({"shop": shelf.path})


def test_a_missing_bundle_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"bundle\.json"):
        Live.of({"shop": str(tmp_path)})


def test_a_bundle_without_any_known_user_is_served(tmp_path: Path) -> None:
    write_bundle(str(tmp_path / "b"), make_contents(np.zeros((2, 4)), np.ones((3, 4)), [[], []]), ABOUT)
    live = Live.of({"shop": str(tmp_path / "b")})
    assert live.by_name("shop").recommender.recommend("u0", 3).source == "popular"


# The watcher


def test_the_watcher_follows_the_shelf_and_survives_a_bug(
    live: Live, stocked: tuple[Shelf, list[str]], monkeypatch: pytest.MonkeyPatch, errors: Any
) -> None:
    shelf, (_, two, three) = stocked
    live.watch(0.01)
    try:
        shelf.use(two)
        until(lambda: live.by_name("shop").version == two)
        with monkeypatch.context() as patch:
            patch.setattr(Shelf, "current", lambda _: 1 / 0)
            until(lambda: bool(errors()))
        shelf.use(three)
        until(lambda: live.by_name("shop").version == three)
    finally:
        live.stop()
    shelf.back()
    time.sleep(0.1)
    assert live.by_name("shop").version == three


def test_an_application_that_starts_again_watches_again(live: Live, stocked: tuple[Shelf, list[str]]) -> None:
    shelf, versions = stocked
    app = web_app(live, ServiceOptions(watch_s=0.01))
    for version in versions[1:]:
        with LocalClient(app):
            shelf.use(version)
            until(lambda version=version: live.by_name("shop").version == version)  # type: ignore[misc]


# What can be had


def test_availability_changes_without_a_new_bundle(
    live: Live, stocked: tuple[Shelf, list[str]], loads: list[str]
) -> None:
    shelf, (one, *_) = stocked
    first, second, *_ = best(live)
    say_what_can_be_had(shelf, **{first: False, "none": False})
    live.refresh()
    assert best(live)[0] == second
    assert first not in best(live, k=60)
    say_what_can_be_had(shelf, **{first: True, second: False})
    live.refresh()
    assert best(live)[0] == first
    assert second not in best(live, k=60)
    Path(shelf.path, AVAILABILITY_FILE).unlink()
    live.refresh()
    assert best(live)[:2] == [first, second]
    assert live.by_name("shop").version == one
    assert loads == []


def test_availability_holds_from_the_start_and_for_the_next_bundle(stocked: tuple[Shelf, list[str]]) -> None:
    shelf, (_, two, _) = stocked
    say_what_can_be_had(shelf, i1=False)
    live = Live.of({"shop": shelf.path})
    assert "i1" not in best(live, "nobody", 60)
    anyway = live.by_name("shop").recommender.recommend("nobody", 60, available_only=False)
    assert "i1" in [item.item_id for item in anyway.items]
    shelf.use(two)
    live.refresh()
    assert live.by_name("shop").version == two
    assert "i1" not in best(live, "nobody", 60)


def test_unreadable_availability_is_said_once_and_keeps_no_bundle_out(
    live: Live, stocked: tuple[Shelf, list[str]], errors: Any
) -> None:
    shelf, (_, two, _) = stocked
    say_what_can_be_had(shelf, i1=False)
    live.refresh()
    Path(shelf.path, AVAILABILITY_FILE).write_bytes(b"half of a file")
    shelf.use(two)
    for _ in range(5):
        live.refresh()
    assert len(errors()) == 1
    assert AVAILABILITY_FILE in errors()[0]
    assert live.by_name("shop").version == two
    assert "i1" not in best(live, "nobody", 60)  # as it was last known
    say_what_can_be_had(shelf, i2=False)
    live.refresh()
    assert "i1" in best(live, "nobody", 60)
    assert "i2" not in best(live, "nobody", 60)


def test_a_missing_column_of_availability_is_a_sentence(
    live: Live, stocked: tuple[Shelf, list[str]], errors: Any
) -> None:
    shelf, _ = stocked
    pq.write_table(pa.table({"item_id": ["i1"]}), f"{shelf.path}/{AVAILABILITY_FILE}")
    live.refresh()
    assert "lacks the column 'available'" in errors()[0]
    assert live.by_name("shop").recommender.catalogue.is_available(1)


# Who is answered by which


USERS = [f"user-{number}" for number in range(10_000)]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three bundles."""
    folder = tmp_path_factory.mktemp("split")
    for seed in (1, 2, 3):
        write_bundle(str(folder / str(seed)), some_contents(seed), ABOUT)
    return [str(folder / str(seed)) for seed in (1, 2, 3)]


def split(paths: list[str], *shares: float) -> Live:
    return Live(
        {name: BundleSource(path=path, share=share) for name, path, share in zip("abc", paths, shares, strict=False)}
    )


@pytest.mark.parametrize("shares", [(0.5, 0.3, 0.2), (90, 9, 1), (1, 0, 1), (1.0, 1.0), (1e-9, 1)])
def test_users_are_divided_by_the_shares(paths: list[str], shares: tuple[float, ...]) -> None:
    live, total = split(paths, *shares), sum(shares)
    found = Counter(live.for_user(user_id).name for user_id in USERS)
    for name, share in zip("abc", shares, strict=False):
        assert found[name] / len(USERS) == pytest.approx(share / total, abs=0.03)
        assert live.share_of_users(name) == pytest.approx(share / total)
        assert (found[name] == 0) == (share / total < 1e-6)


CHOSEN = "bccaababcbbbababbbcabbab"
"""Of ``user-0``, ``user-1``... in every process and at every time: a user must not change sides at a restart."""


def test_a_user_has_the_same_bundle_in_every_process(paths: list[str]) -> None:
    live = split(paths, 1, 1, 1)
    assert "".join(live.for_user(user_id).name for user_id in USERS[:24]) == CHOSEN
    script = (
        "import sys; from hnlm_ray.serving.recommend.live import Live; paths = sys.argv[1:]\n"
        "from hnlm_ray.config.serving import BundleSource\n"
        "live = Live({n: BundleSource(path=p, share=s) for n, p, s in zip('abc', paths, (1, 1, 1))})\n"
        "print(''.join(live.for_user(f'user-{i}').name for i in range(24)))"
    )
    done = subprocess.run([sys.executable, "-c", script, *paths], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == CHOSEN


def test_users_stay_where_they_are_when_a_small_share_is_split_off_the_end(paths: list[str]) -> None:
    before, after = split(paths, 0.5, 0.5), split(paths, 0.5, 0.45, 0.05)
    moved = [user_id for user_id in USERS if before.for_user(user_id).name != after.for_user(user_id).name]
    assert 300 < len(moved) < 700
    assert {after.for_user(user_id).name for user_id in moved} == {"c"}


@pytest.mark.parametrize("user_id", ["", "日本", "\ud800", "x" * 100_000, "\x00"], ids=lambda value: ascii(value)[:20])
def test_any_id_has_a_bundle(paths: list[str], user_id: str) -> None:
    live = split(paths, 1, 1, 1)
    assert live.for_user(user_id).name == live.for_user(user_id).name


def test_the_first_bundle_answers_unless_told_otherwise(paths: list[str]) -> None:
    live = Live.of(dict(zip("abc", paths, strict=True)))
    assert {live.for_user(user_id).name for user_id in USERS[:200]} == {"a"}
    assert [live.share_of_users(name) for name in "abc"] == [1.0, 0.0, 0.0]
    assert [served.name for served in live] == ["a", "b", "c"]


def test_a_name_that_is_not_served_is_refused(paths: list[str]) -> None:
    with pytest.raises(UnknownBundleError, match="there are a, b"):
        split(paths, 1, 1).by_name("c")


# Shadows


def test_a_shadow_answers_nobody_whatever_its_place(paths: list[str]) -> None:
    for share in (1.0, 0.0):
        shop = BundleSource(path=paths[1], share=share)
        live = Live({"dark": BundleSource(path=paths[0], shadow=True), "shop": shop})
        assert {live.for_user(user_id).name for user_id in USERS[:500]} == {"shop"}
        assert [live.share_of_users(name) for name in ("dark", "shop")] == [0.0, 1.0]
        assert [one.name for one in live.shadows("shop")] == ["dark"]
        assert live.shadows("dark") == []


def test_shadows_alone_are_refused(paths: list[str]) -> None:
    with pytest.raises(ConfigError, match="every bundle is a shadow"):
        Live({"dark": BundleSource(path=paths[0], shadow=True)})


@pytest.fixture
def log() -> Any:
    """Lines as a replica writes them."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger, before = logging.getLogger("hnlm_ray.serving"), logging.getLogger("hnlm_ray.serving").level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(before)


def shadow_lines(log: io.StringIO) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    return [line for line in lines if line["message"] == "shadow"]


def test_how_a_shadow_differs_is_observed_and_logged_but_never_shown(paths: list[str], log: io.StringIO) -> None:
    sources = {"shop": (paths[0], False), "dark": (paths[1], True), "twin": (paths[0], True)}
    live = Live({name: BundleSource(path=path, shadow=shadow) for name, (path, shadow) in sources.items()})
    meters = Meters()
    mine, other = set(best_of(paths[0], k=20)), set(best_of(paths[1], k=20))
    overlap = len(mine & other) / 20
    assert 0 < overlap < 1
    with LocalClient(web_app(live, meters=meters)) as client:
        answer = client.post("/v1/recommend", json={"user_id": "u3", "k": 20}, headers={"x-request-id": "mine"}).json()
        until(lambda: len(shadow_lines(log)) == 2)
        # What the shadow answers by its name is compared with nothing but the other shadow.
        assert client.post("/v1/recommend?bundle=dark", json={"user_id": "u3", "k": 20}).json()["bundle"] == "dark"
        until(lambda: len(shadow_lines(log)) == 3)
    assert (answer["bundle"], {item["item_id"] for item in answer["items"]}) == ("shop", mine)
    dark, twin = (live.by_name(name).version for name in ("dark", "twin"))
    assert [
        (line["request"], line["bundle"], line["shadow"], line["overlap"], line["source"])
        for line in shadow_lines(log)[:2]
    ] == [
        ("mine", twin, dark, pytest.approx(overlap, abs=1e-3), "personal"),
        ("mine", twin, twin, 1.0, "personal"),
    ]
    assert meters.registry.get_sample_value("hnlm_shadow_overlap_sum", {"name": "dark"}) == pytest.approx(overlap)
    assert meters.registry.get_sample_value("hnlm_shadow_overlap_count", {"name": "twin"}) == 2
    assert "u3" not in log.getvalue()
    counted = meters.registry.get_sample_value("hnlm_recommendations_total", {"bundle": "twin", "source": "personal"})
    assert counted is None


def test_a_shadow_that_fails_or_dawdles_harms_nobody(
    paths: list[str], log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = Live({"shop": BundleSource(path=paths[0]), "dark": BundleSource(path=paths[1], shadow=True)})
    go, asked, expected = threading.Event(), [], best_of(paths[0])

    def dawdle(*_: Any) -> Any:
        asked.append(1)
        assert go.wait(60)
        raise ZeroDivisionError

    monkeypatch.setattr(live.by_name("dark").recommender, "rank", dawdle)
    with LocalClient(web_app(live)) as client:
        for _ in range(20):
            answer = client.post("/v1/recommend", json={"user_id": "u3", "k": 5}).json()
            assert [item["item_id"] for item in answer["items"]] == expected
        until(lambda: len(asked) == 1)
        go.set()
        until(lambda: "the shadow dark failed" in log.getvalue())
        assert len(asked) == 1  # the others were skipped
        client.post("/v1/recommend", json={"user_id": "u3"})
        until(lambda: len(asked) == 2)


# All at once


class Crowd:
    """Asks a service whose bundle changes, and compares each answer with what the version that it names should say."""

    def __init__(self, expected: dict[str, dict[str, list[str]]]) -> None:
        self._expected, self._users = expected, list(next(iter(expected.values())))
        self.done, self.problems, self.answered = threading.Event(), list[str](), Counter[str]()

    def keep_asking(self, number: int, url: str) -> None:
        """For one thread."""
        try:
            with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
                for turn in itertools.count(number * 7):
                    if self.done.is_set():
                        return
                    self._ask(client, self._users[turn % len(self._users)], is_alone=bool(turn % 5))
        except Exception as error:
            self.problems.append(repr(error))

    def _ask(self, client: httpx.Client, user_id: str, is_alone: bool) -> None:
        users = [user_id] if is_alone else [user_id, "u3", "nobody"]
        path, body = ("", {"user_id": user_id}) if is_alone else (":batch", {"user_ids": users})
        content = client.post(f"/v1/recommend{path}", json=body).raise_for_status().json()
        answers = [content] if is_alone else content["answers"]
        if len({answer["bundle_version"] for answer in answers}) > 1:
            self.problems.append("one answer has two versions")
        for answer, asked in zip(answers, users, strict=True):
            if answer["user_id"] != asked:
                self.problems.append(f"{asked} got what is meant for {answer['user_id']}")
            if [item["item_id"] for item in answer["items"]] != self._expected[answer["bundle_version"]][asked]:
                self.problems.append(f"{asked} at {answer['bundle_version']} got {answer['items']}")
            self.answered[answer["bundle_version"]] += 1


def test_many_ask_while_the_bundle_changes_all_the_time(stocked: tuple[Shelf, list[str]]) -> None:
    shelf, versions = stocked
    users = [f"u{number}" for number in range(30)] + ["nobody"]
    crowd = Crowd(
        {version: {user_id: best_of(shelf.path_of(version), user_id, 10) for user_id in users} for version in versions}
    )
    with running(web_app(Live.of({"shop": shelf.path}), ServiceOptions(watch_s=0.1))) as url:
        threads = [threading.Thread(target=crowd.keep_asking, args=(number, url)) for number in range(16)]
        for thread in threads:
            thread.start()
        for flip in range(1, 13):
            time.sleep(0.3)
            shelf.use(versions[flip % 3])
        crowd.done.set()
        for thread in threads:
            thread.join(60)
    assert crowd.problems == []
    assert set(crowd.answered) == set(versions)
    assert crowd.answered.total() > 200


def test_the_loop_of_one_service_may_end_and_another_begin(live: Live) -> None:
    """Batches and limits belong to a loop; nothing of one that has ended may be waited for."""
    app = web_app(live)

    async def ask_many() -> list[int]:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            body = {"user_id": "u3", "diversity": 0.5}
            asked = [client.post("/v1/recommend", json=body) for _ in range(8)]
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    assert asyncio.run(ask_many()) == [200] * 8
    assert asyncio.run(ask_many()) == [200] * 8
