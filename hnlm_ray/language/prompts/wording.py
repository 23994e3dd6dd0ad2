"""The words of a prompt that do not depend on its row: the instructions, and worked examples."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any, Literal

from hnlm_ray.config.language import AnswerOptions, NegativesConfig
from hnlm_ray.language.prompts.quoting import quoted

__all__ = ["ANSWER_FIELD", "TASKS", "Reasoning", "Task", "Wording"]

Task = Literal["item_profile", "user_profile", "negative"]
TASKS: tuple[Task, ...] = ("item_profile", "user_profile", "negative")
Reasoning = Literal["first", "last", "none"]

ANSWER_FIELD: dict[Task, str] = {
    "item_profile": "summary",
    "user_profile": "summary",
    "negative": "hard_negative",
}
"""The field of an answer that is used."""


@dataclass(frozen=True)
class Wording:
    """How a task is put to a model.

    Attributes:
        task: what is asked.
        noun: what an item is called, in the singular.
        reasoning: where the model gives its reason.
        examples: whether the prompt begins with worked examples.
        chooses: whether the name of a hard negative is chosen among candidates.
    """

    task: Task
    noun: str = "product"
    reasoning: Reasoning = "first"
    examples: bool = False
    chooses: bool = False

    @classmethod
    def of(cls, task: Task, options: AnswerOptions, noun: str) -> Wording:
        """The wording that the configuration asks for."""
        chooses = isinstance(options, NegativesConfig) and options.candidates > 0
        return cls(task, noun, options.reasoning, options.examples, chooses)

    def without_reasoning(self) -> Wording:
        """The same for an answer that holds nothing else."""
        return replace(self, reasoning="none")

    @property
    def words(self) -> dict[str, str]:
        """What people, items and interactions are called, by the names that the templates have for them."""
        one, many = self.noun, _plural(self.noun)
        person, event, chose = ("customer", "purchase", "bought") if one == "product" else ("person", one, "liked")
        return {
            "noun": one, "nouns": many, "person": person, "event": event, "events": _plural(event), "chose": chose,
        }  # fmt: skip

    @property
    def system(self) -> str:
        """The instructions: the same for every row."""
        return _system(self)

    @property
    def turns(self) -> tuple[tuple[str, str], ...]:
        """User messages and answers that come before the row's own; () without examples."""
        return _turns(self) if self.examples else ()

    @property
    def answers(self) -> tuple[str, ...]:
        """What the worked examples answer, without their reasons."""
        return tuple(json.loads(answer)[ANSWER_FIELD[self.task]] for _, answer in self.turns)


@functools.cache
def _system(wording: Wording) -> str:
    template = resources.files("hnlm_ray.language.prompts") / "templates" / f"{wording.task}.txt"
    instructions, reasoning, *answers = template.read_text(encoding="utf-8").splitlines()
    answer = answers[-1] if wording.chooses else answers[0]
    fields = {"first": [reasoning, answer], "last": [answer, reasoning], "none": [answer]}[wording.reasoning]
    return f"{instructions} {'; '.join(fields)}.".format_map(wording.words)


@functools.cache
def _turns(wording: Wording) -> tuple[tuple[str, str], ...]:
    file = resources.files("hnlm_ray.language.prompts") / "templates" / "examples.json"
    by_noun = json.loads(file.read_text(encoding="utf-8"))
    examples = by_noun.get(wording.noun, by_noun["product"])[wording.task]
    return tuple((_shown(one["shown"], wording), _answer(one, wording)) for one in examples)


def _shown(lines: list[dict[str, Any]], wording: Wording) -> str:
    keys = {"customer": wording.words["person"], "bought": wording.words["chose"]}
    kept = [line for line in lines if wording.chooses or "candidates" not in line]
    return "\n".join(quoted({keys.get(name, name): value for name, value in line.items()}) for line in kept)


def _answer(example: dict[str, Any], wording: Wording) -> str:
    answer, reasoning = {ANSWER_FIELD[wording.task]: example["answer"]}, {"reasoning": example["reasoning"]}
    return quoted({"first": reasoning | answer, "last": answer | reasoning, "none": answer}[wording.reasoning])


def _plural(noun: str) -> str:
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in tuple("aeiou"):
        return f"{noun[:-1]}ies"
    return f"{noun}s"
