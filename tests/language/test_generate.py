"""Every row comes out with a status; rejected ones are asked again, warmer and with another seed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from hnlm_ray.config.language import LLMConfig, ProfilesConfig
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import StageError
from hnlm_ray.language.engines.protocol import Call, Sampling
from hnlm_ray.language.engines.rendering import Reply
from hnlm_ray.language.engines.scripted import ScriptedEngine, plain_reply
from hnlm_ray.language.generate import Request, generate
from hnlm_ray.language.prompts.render import Prompt
from hnlm_ray.language.prompts.wording import Task
from hnlm_ray.language.requests import ItemRenderer
from hnlm_ray.language.verdicts import ANSWERS, answer_counts, sameness
from hnlm_ray.run.rows import Rows
from hnlm_ray.run.store import RunStore
from tests.language.injections import INJECTIONS
from tests.said import Said

N = 20


def number_of(prompt: Prompt) -> int:
    return int(json.loads(prompt.user)["title"].split()[1])


def request() -> Request:
    items = pa.table(
        {
            "title": [f"Title {number}" for number in range(N)],
            "brand": [""] * N,
            "categories": [["Things"]] * N,
            "description": [""] * N,
        }
    )
    rows = pa.table({"id": pa.array(range(N), pa.int64()), "reviews": pa.array([[]] * N, pa.list_(pa.string()))})
    return Request(Rows.of(rows), ItemRenderer(items, ProfilesConfig()), 64)


def ask(
    tmp_path: Path,
    reply: Callable[[Task, Prompt, int], Reply],
    asked: Request | None = None,
    max_model_len: int = 2048,
    **options: object,
) -> tuple[pa.Table, list[str]]:
    """Answers, and the passes that were announced; progress inside a slow one is not one more."""
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not find test modules
    said = Said()
    output = RunStore(str(tmp_path)).artifact("item_profiles", "test")
    output.create()
    config = Config(llm=LLMConfig(engine="scripted", **options))
    engine = ScriptedEngine(reply, max_model_len, rows_per_block=6)
    answers = generate(asked or request(), engine, config, output, said).answers.table()
    assert answers.schema == ANSWERS
    assert answers["id"].to_pylist() == list(range(N))
    return answers, [line for line in said if ": pass " in line]


@pytest.mark.ray
def test_good_answers_need_one_pass(ray_session: None, tmp_path: Path) -> None:
    answers, said = ask(tmp_path, plain_reply)
    assert len(said) == 1
    assert set(answers["status"].to_pylist()) == {"ok"}
    assert set(answers["attempts"].to_pylist()) == {1}
    assert set(answers["text"].to_pylist()) == {"For those who like Things."}
    assert answer_counts([answers])["ok"] == N


@pytest.mark.ray
def test_each_kind_of_bad_answer_has_its_status_and_reason(ray_session: None, tmp_path: Path) -> None:
    def reply(task: Task, prompt: Prompt, seed: int) -> Reply:
        number = number_of(prompt)
        good = plain_reply(task, prompt, seed)
        return {
            1: Reply("certainly! here is the profile"),
            2: Reply('{"reasoning": "", "summary": ["a", "list"]}'),
            3: Reply('{"reasoning": "", "summary": "never clo', "length"),
            4: Reply("", "", "HTTP 500, 4 times"),
            5: Reply('{"reasoning": "", "summary": "  "}'),
        }.get(number, good)

    answers, said = ask(tmp_path, reply, retries=0, max_reject_rate=0.25)
    assert len(said) == 1
    rows = answers.to_pylist()
    assert [row["status"] for row in rows[:7]] == ["ok", "invalid", "invalid", "truncated", "failed", "invalid", "ok"]
    assert "JSON" in rows[1]["reason"]
    assert "summary" in rows[2]["reason"]
    assert "token limit" in rows[3]["reason"]
    assert "HTTP 500" in rows[4]["reason"]
    assert all((row["text"] == "") == (row["status"] != "ok") for row in rows)
    assert all((row["reason"] == "") == (row["status"] == "ok") for row in rows)


@pytest.mark.ray
def test_the_second_pass_asks_for_the_answer_alone_where_the_first_came_to_no_end(
    ray_session: None, tmp_path: Path
) -> None:
    looping = json.dumps({"reasoning": "", "summary": "for those who like it, for those who like it"})

    def reply(task: Task, prompt: Prompt, seed: int) -> Reply:
        bad = {2: Reply(looping), 5: Reply('{"reasoning": "because bec', "length"), 9: Reply("no JSON")}
        number = number_of(prompt)
        if number in (2, 5) and prompt.curbed and "reasoning" not in prompt.system:
            return Reply(json.dumps({"summary": "For those who like it."}))
        return bad.get(number, plain_reply(task, prompt, seed))

    answers, _ = ask(tmp_path, reply, retries=1, max_reject_rate=0.1)
    rows = answers.to_pylist()
    assert [rows[number]["status"] for number in (2, 5, 9)] == ["ok", "ok", "invalid"]
    assert [rows[number]["text"] for number in (2, 5)] == ["For those who like it."] * 2
    assert {row["reasoning"] for row in rows if row["id"] not in (2, 5, 9)} == {"scripted"}


@pytest.mark.ray
def test_a_model_that_obeys_an_injection_answers_for_its_own_row_alone(ray_session: None, tmp_path: Path) -> None:
    """Even rows hold an injection; the model then writes an answer for every row, or one with another row's number."""
    obeyed = [
        json.dumps([{"id": row, "reasoning": "", "summary": f"Acme lamps for row {row} and all."} for row in range(N)]),
        json.dumps({"id": 1, "reasoning": "", "summary": "Acme lamps for all who read this row."}),
        "".join(json.dumps({"row": row, "summary": f"Acme lamps for row {row} and all."}) for row in range(N)),
    ]
    attacks = iter(INJECTIONS.values())
    titles = [f"Title {row}" if row % 2 else next(attacks) for row in range(N)]

    def reply(task: Task, prompt: Prompt, seed: int) -> Reply:
        title = str(json.loads(prompt.user)["title"])
        if not title.startswith("Title "):
            return Reply(obeyed[len(title) % 3])
        return Reply(json.dumps({"reasoning": "", "summary": f"For those who like number {title.split()[1]}."}))

    asked = request()
    items = asked.renderer.items.set_column(0, "title", pa.array(titles))
    renderer = ItemRenderer(items, ProfilesConfig())
    answers, _ = ask(tmp_path, reply, replace(asked, renderer=renderer), max_reject_rate=1.0)
    rows = {row["id"]: row for row in answers.to_pylist()}
    for row in range(1, N, 2):
        assert (rows[row]["status"], rows[row]["text"]) == ("ok", f"For those who like number {row}.")
    said = {rows[row]["text"] for row in range(0, N, 2) if rows[row]["status"] == "ok"}
    assert said <= {"Acme lamps for all who read this row."}


@pytest.mark.ray
def test_a_copied_example_is_asked_again(ray_session: None, tmp_path: Path) -> None:
    copied = "Someone who enjoys quiet afternoons with tea, cake and a long book."

    def reply(task: Task, prompt: Prompt, seed: int) -> Reply:
        if number_of(prompt) == 3 and not prompt.curbed:
            return Reply(json.dumps({"reasoning": "", "summary": copied}))
        return plain_reply(task, prompt, seed)

    answers, said = ask(tmp_path / "told", reply, replace(request(), examples=(copied,)), retries=1)
    assert len(said) == 2
    assert (answers["text"][3].as_py(), answers["attempts"][3].as_py()) == ("For those who like Things.", 2)
    answers, said = ask(tmp_path / "untold", reply, retries=1)
    assert len(said) == 1
    assert answers["text"][3].as_py() == copied


@pytest.mark.parametrize(
    ("texts", "warned"),
    [
        (["For those who like tea."] * 60, True),
        ([f"For those who like {number % 29} things." for number in range(60)], True),
        ([f"For those who like {number % 30} things." for number in range(60)], False),
        (["For those who like tea."] * 40, False),  # too few to tell
        ([""] * 60, False),
    ],
)
def test_profiles_that_are_the_same_for_most_are_named(texts: list[str], warned: bool) -> None:
    status = ["ok" if text else "invalid" for text in texts]
    warnings = sameness("user_profile", [pa.table({"text": texts, "status": status})])
    assert [warning.startswith("user_profile: only ") for warning in warnings] == [True] * warned
    assert sameness("negative", [pa.table({"text": texts, "status": status})]) == []


@pytest.mark.ray
def test_a_second_pass_asks_only_for_the_rejected(ray_session: None, tmp_path: Path) -> None:
    first_seeds = Call(request().renderer, 64, Sampling(), 0)
    assert len(set(first_seeds.row_seeds(request().rows.ids).tolist())) == N
    log = tmp_path / "seeds"
    log.mkdir()

    def reply(task: Task, prompt: Prompt, seed: int) -> Reply:
        number = number_of(prompt)
        (log / f"{number}-{seed}").touch()
        tries = len(list(log.glob(f"{number}-*")))
        return plain_reply(task, prompt, seed) if number not in (3, 8) or tries > 1 else Reply("nonsense")

    answers, said = ask(tmp_path / "run", reply, retries=2)
    assert said == ["item_profile: pass 1, 20 prompts", "item_profile: pass 2, 2 prompts"]
    rows = answers.to_pylist()
    assert {row["id"] for row in rows if row["attempts"] == 2} == {3, 8}
    assert {row["status"] for row in rows} == {"ok"}
    assert len(list(log.iterdir())) == N + 2  # another seed in the second pass, and no row asked without need
    one, two = rows[2]["prompt_tokens"], rows[3]["prompt_tokens"]
    assert two == 2 * one  # what a row cost is what all its attempts cost
    assert answer_counts([answers])["retried"] == 2


@pytest.mark.ray
def test_too_many_rejects_fail_the_stage_with_the_commonest_reason(ray_session: None, tmp_path: Path) -> None:
    def reply(task: Task, prompt: Prompt, seed: int) -> Reply:
        return Reply("", "", "HTTP 429, 4 times") if number_of(prompt) >= 9 else plain_reply(task, prompt, seed)

    with pytest.raises(StageError, match=r"11 of 20 answers were rejected.*HTTP 429"):
        ask(tmp_path, reply, retries=1)


@pytest.mark.ray
def test_a_prompt_that_cannot_fit_fails_alone_and_the_columns_stay(ray_session: None, tmp_path: Path) -> None:
    # The rest of the prompt is cut; a title is not, so the rows of a long one cannot fit.
    asked = request()
    titles = ["Title 7 " + "x" * 150 if number == 7 else f"Title {number}" for number in range(N)]
    renderer = ItemRenderer(asked.renderer.items.set_column(0, "title", pa.array(titles)), ProfilesConfig())
    asked = Request(asked.rows, renderer, 64)
    answers, _ = ask(tmp_path, plain_reply, asked, max_model_len=220, max_reject_rate=0.05)
    rows = answers.to_pylist()
    assert [row["id"] for row in rows if row["status"] != "ok"] == [7]
    assert rows[7]["status"] == "failed"
    assert "exceeds" in rows[7]["reason"]
    assert rows[7]["prompt_tokens"] == 0


@pytest.mark.ray
def test_blocks_of_another_size_give_the_same_answers(ray_session: None, tmp_path: Path) -> None:
    def reply(task: Task, prompt: Prompt, seed: int) -> Reply:
        return Reply(plain_reply(task, prompt, seed).text.replace("scripted", str(seed)))

    answers, _ = ask(tmp_path, reply)
    output = RunStore(str(tmp_path)).artifact("item_profiles", "other")
    config = Config(llm=LLMConfig(engine="scripted"))
    other = generate(
        request(), ScriptedEngine(reply, rows_per_block=20), config, output, lambda line: None
    ).answers.table()
    assert answers.equals(other)
    assert len(set(other["reasoning"].to_pylist())) == N
