"""The table at the end of the demo, before a service that answers from a dict."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from rich.console import Console

from hnlm_ray.demo import showcase
from hnlm_ray.errors import ResourceError
from hnlm_ray.run.store import Artifact, RunStore

TITLES = ["Lamp [bold]A[/]", "Lamp B", "Rug C", "Rug D", "Cup E", "Cup F", "Cup G"]


def artifact(folder: Path, stage: str, **tables: list[dict[str, Any]]) -> Artifact:
    made = RunStore(str(folder)).artifact(stage, "abc")
    made.create()
    for name, rows in tables.items():
        made.write(name, pa.Table.from_pylist(rows))
    return made


@pytest.fixture
def prepared(tmp_path: Path) -> dict[str, Artifact]:
    """Four users: user 0 bought six items and has one held out, the others bought one each."""
    blank = {"brand": "", "categories": ["Home"], "description": ""}
    pairs = [
        *((0, item, "train") for item in range(6)),
        (0, 6, "test"),
        (1, 1, "train"),
        (2, 2, "train"),
        (3, 3, "train"),
    ]
    made = artifact(
        tmp_path,
        "prepare",
        users=[{"user": user, "user_id": f"u[{user}]"} for user in range(4)],
        items=[{"item": item, "item_id": f"i{item}", "title": title, **blank} for item, title in enumerate(TITLES)],
        interactions=[
            {"user": user, "item": item, "split": split, "rating": 5.0, "timestamp": place, "review": ""}
            for place, (user, item, split) in enumerate(pairs)
        ],
    )
    return {"prepare": made}


@pytest.fixture
def told(tmp_path: Path, prepared: dict[str, Artifact]) -> dict[str, Artifact]:
    """With the language model's stages: profiles of users 0 and 1 (that of 1 was rejected), a match for 0 alone."""
    answer = {"status": "ok", "reason": "", "excerpt": "", "attempts": 1, "prompt_tokens": 1, "output_tokens": 1}
    profiles = [
        {"user": 0, "summary": "Enjoys [red]lamps", "reasoning": "", **answer},
        {"user": 1, "summary": "", "reasoning": "", **answer, "status": "invalid"},
    ]
    matched = {"item": 0, "answer": "Neon Rug", "status": "matched", "step": "exact", "similarity": 1.0, "negative": 3}
    other = matched | {"status": "none", "step": "", "similarity": None, "negative": None}
    grounded = [{"pair": 0, "user": 0, **matched}, {"pair": 1, "user": 1, **other}]
    return prepared | {
        "user_profiles": artifact(tmp_path, "user_profiles", user_profiles=profiles),
        "ground": artifact(tmp_path, "ground", grounded=grounded),
    }


def answering(request: httpx.Request) -> httpx.Response:
    wish = json.loads(request.content)
    assert request.url.path == "/v1/recommend"
    items = [{"title": f"Best of {wish['user_id']} [/]", "score": 0.5}]
    return httpx.Response(200, json={"items": items * min(1, wish["k"])})


def shown(artifacts: dict[str, Artifact], answer: Any = answering) -> tuple[list[str], str]:
    """Headers and everything that a terminal shows."""
    with httpx.Client(base_url="http://service", transport=httpx.MockTransport(answer)) as client:
        table = showcase.recommendations(artifacts, client, seed=0)
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return [str(column.header) for column in table.columns], console.file.getvalue()


def test_a_user_is_shown_with_what_led_to_the_recommendation(told: dict[str, Artifact]) -> None:
    headers, text = shown(told)
    assert len(headers) == 5
    for cell in ("u[0]", "Enjoys [red]lamps", "Neon Rug", "→ Rug D", "(exact, 1.00; near Lamp [bold]A[/])"):
        assert cell in text
    assert "Best of u[0] [/]  0.50" in text
    assert "u[1]" not in text  # nothing was matched for them


def test_purchases_are_those_of_training_and_the_latest(told: dict[str, Artifact]) -> None:
    _, text = shown(told)
    assert "Lamp B" in text
    assert "Cup F" in text
    assert "… 1 more" in text
    assert "Cup G" not in text  # held out
    assert text.count("Lamp [bold]A[/]") == 1  # the oldest of six; once more beside its negative


def test_a_run_without_the_language_model_shows_what_there_is(prepared: dict[str, Artifact]) -> None:
    headers, text = shown(prepared)
    assert headers == ["user", "bought", "recommended"]
    assert sum(f"u[{user}]" in text for user in range(4)) == 3
    assert "Best of u[" in text


def test_without_any_match_users_are_shown_all_the_same(told: dict[str, Artifact], tmp_path: Path) -> None:
    none = [row | {"status": "none", "negative": None} for row in told["ground"].read("grounded").to_pylist()]
    told["ground"] = artifact(tmp_path / "other", "ground", grounded=none)
    headers, text = shown(told)
    assert len(headers) == 5
    assert "Neon Rug" not in text
    assert "Best of u[" in text


@pytest.mark.parametrize("status", [401, 503])
def test_a_service_that_refuses_is_an_error_of_the_user(prepared: dict[str, Artifact], status: int) -> None:
    with pytest.raises(ResourceError, match=f"did not answer for .*{status}"):
        shown(prepared, lambda request: httpx.Response(status))


def test_a_service_that_is_gone_is_an_error_of_the_user(prepared: dict[str, Artifact]) -> None:
    def gone(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(ResourceError, match="refused"):
        shown(prepared, gone)
