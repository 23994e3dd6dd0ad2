"""What the stages of the language model compute around its engine: rows a second of one core.

    make demo && python benchmarks/around_engine.py run=runs/demo [--repeat 8]

For each task, the requests of a finished run are rendered as prompts, the answers that its model wrote are made into
completions, and these are checked; the engine, its tokens and Ray are left out. Prints one JSON line, with microseconds
of processor a row for the three steps.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from hnlm_ray.config.load import load_config
from hnlm_ray.config.tree import Config
from hnlm_ray.language.engines.protocol import Call, Renderer, Sampling
from hnlm_ray.language.engines.rendering import Reply, completions, render
from hnlm_ray.language.engines.tokens import approximate_budget
from hnlm_ray.language.profiled import items_to_profile, pairs_to_ask, users_to_profile
from hnlm_ray.language.prompts.answers import longest_profile, parse
from hnlm_ray.language.prompts.wording import ANSWER_FIELD
from hnlm_ray.language.requests import ItemRenderer, NegativeRenderer, UserRenderer, negative_requests, profile_texts
from hnlm_ray.run.plan import Run, plan

DEMO = Path(__file__).parents[1] / "configs" / "demo.yaml"
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("options", nargs="*", help="of the run, as for hnlm run")
    parser.add_argument("-c", "--config", type=Path, action="append")
    parser.add_argument("--repeat", type=int, default=8, help="take every request so many times")
    chosen = parser.parse_args()
    config = load_config(chosen.config or [DEMO], chosen.options)
    found = {}
    for task, (rows, renderer, answers) in _tasks(config, plan(config)).items():
        requests = pa.concat_tables([rows] * chosen.repeat)
        found[task] = _best(requests, renderer, answers * chosen.repeat, config)
    print(json.dumps({"benchmark": "around_engine", **found}))


def _tasks(config: Config, run: Run) -> dict[str, tuple[pa.Table, Renderer, list[str]]]:
    """Requests, renderer and the text of an answer to each request."""
    prepared = run["prepare"].artifact
    items, interactions = prepared.read("items"), functools.partial(prepared.parts, "interactions", by="user")
    users, noun = prepared.read("users").num_rows, config.data.noun
    item_profiles, user_profiles, negatives = (
        run[name].artifact.read(name).sort_by(key)
        for name, key in (("item_profiles", "item"), ("user_profiles", "user"), ("negatives", "pair"))
    )
    of_items, _ = profile_texts(item_profiles, "item", items.num_rows)
    of_users, _ = profile_texts(user_profiles, "user", users)
    pairs = pairs_to_ask(config, interactions, len(items))
    asked_pairs = negative_requests(pairs, len(items), of_users.take(pa.array(pairs // len(items))))
    asked_items = items_to_profile(config, interactions, len(items)).table()
    asked_users = users_to_profile(config, interactions, len(items)).table()
    return {
        "item_profile": (asked_items, ItemRenderer(items, config.profiles, noun), _texts(item_profiles, "summary")),
        "user_profile": (
            asked_users,
            UserRenderer(items, of_items, config.profiles, noun),
            _texts(user_profiles, "summary"),
        ),
        "negative": (
            asked_pairs,
            NegativeRenderer(items, of_items, config.negatives, noun),
            _texts(negatives, "answer"),
        ),
    }


def _texts(written: pa.Table, column: str) -> list[str]:
    field = {"summary": ANSWER_FIELD["item_profile"], "answer": ANSWER_FIELD["negative"]}[column]
    rows = zip(written["reasoning"].to_pylist(), written[column].to_pylist(), strict=True)
    return [json.dumps({"reasoning": reasoning, field: text}) for reasoning, text in rows]


def _best(requests: pa.Table, renderer: Renderer, answers: list[str], config: Config) -> dict[str, Any]:
    """Of several rounds, the one that took least."""
    rounds = [_round(requests, renderer, answers, config) for _ in range(ROUNDS)]
    best = min(rounds, key=sum)
    steps = dict(zip(("render_us", "completions_us", "check_us"), (round(1e6 * one, 1) for one in best), strict=True))
    return {"rows": len(requests), "rows_per_s": round(1 / sum(best)), **steps}


def _round(requests: pa.Table, renderer: Renderer, answers: list[str], config: Config) -> tuple[float, float, float]:
    most = config.profiles.max_output_tokens
    call, budget = Call(renderer, most, Sampling(), 0), approximate_budget(config.llm.max_model_len, most)
    times = [time.process_time()]
    rows = render(requests, call, budget)
    times.append(time.process_time())
    replies = completions(requests["id"], [Reply(text) for text in answers])
    times.append(time.process_time())
    texts, longest = replies["text"].to_pylist(), longest_profile(most)
    checked = [parse(renderer.task, text, "stop", "", longest) for text in texts]
    times.append(time.process_time())
    assert len(checked) == len(rows)
    return (times[1] - times[0]) / len(rows), (times[2] - times[1]) / len(rows), (times[3] - times[2]) / len(rows)


if __name__ == "__main__":
    main()
