"""Profiles that are none, fragments and repetitions; and profiles of all kinds that are fine."""

from __future__ import annotations

import json

import pytest

from hnlm_ray.demo.corpus import examples
from hnlm_ray.language.prompts.soundness import MOST_CHARS, copy_of, fault_of, runs_on

LONG = " ".join(f"likes thing {number} because of its shape and" for number in range(40))


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("", "is blank"),
        ("customer", "is a fragment of 1 word"),
        ("Board games.", "is a fragment of 2 words"),
        ("...", "is a fragment of 0 words"),
        ("1 2 3 4", "is a fragment of 4 words"),
        ("People who enjoy long walks and", "ends in the middle of a sentence"),
        ("For people who like the", "ends in the middle of a sentence"),
        ("For people who like novels,", "ends in the middle of a sentence"),
        (LONG[:MOST_CHARS], "ends in the middle of a sentence"),
        ("Puzzles puzzles puzzles puzzles.", "repeats 'puzzles' over and over"),
        ("Enjoys tea and cake and cake and cake.", "repeats 'and cake' over and over"),
        ("Enjoys very light things. Enjoys very light things. Enjoys very light things.", "repeats 'enjoys very"),
        ("This person likes quiet evenings. This person likes quiet evenings.", "repeats 'this person likes"),
        ("Enjoys gooooooooooooood food.", "over and over"),
        (
            "Prefers a variety of things, including a variety of things, such as a variety of things, including a"
            " variety of things.",
            "repeats 'a variety of things including a variety of things'",
        ),
        (
            "The label is made of a strong and durable foil. It sticks. The label is made of a strong and durable one.",
            "repeats 'the label is made of a strong and durable'",
        ),
        (
            "likes red, likes blue, likes red things, likes blue things, likes red, likes things, likes blue",
            "different",
        ),
    ],
)
def test_what_is_no_profile(profile: str, expected: str) -> None:
    assert expected in fault_of(profile)


@pytest.mark.parametrize(
    "profile",
    [
        "Likes quiet games",
        "A plain thing for plain people.",
        "Fans of science fiction (hard)",
        "Someone who enjoys Board Games and Board Games, mostly rustic and vintage things.",
        "A very, very loud toy that children love.",
        "For people who like long walks and tea. For people who like long walks and coffee.",
        "Customers who shop for things to travel with",
        "Liebt Krimis und Reiseberichte aus aller Welt",
        "\u559c\u6b22\u79d1\u5e7b\u5c0f\u8bf4\u548c\u684c\u6e38\u7684\u8bfb\u8005",
        "\u0e0a\u0e2d\u0e1a\u0e2d\u0e48\u0e32\u0e19\u0e2b\u0e19\u0e31\u0e07\u0e2a\u0e37\u0e2d",
        "Enjoys long novels and short stories, with a soft spot for first editions; rates quiet, well made things, "
        "comes back to the same few makers, and has little patience for gadgets, noise or whatever needs charging.",
    ],
)
def test_what_is_a_profile(profile: str) -> None:
    assert fault_of(profile) == ""


def test_every_profile_that_the_model_of_the_demo_learns_from_is_one() -> None:
    summaries = {json.loads(one.answer).get("summary") for one in examples(2)} - {None}
    assert len(summaries) > 100
    assert {fault_of(summary) for summary in summaries} == {""}


EXAMPLES = (
    "Prefers Sci-Fi and Horror, such as The Thing and Blade Runner.",
    "Prefers Comedy and Romance, such as When Harry Met Sally and Notting Hill.",
)


@pytest.mark.parametrize("before", ["", "Someone who also likes Westerns. "])
@pytest.mark.parametrize("example", EXAMPLES)
def test_a_worked_example_is_no_profile(before: str, example: str) -> None:
    fault = copy_of(before + example.casefold().replace(",", ""), EXAMPLES)
    assert "of a worked example" in fault
    assert runs_on(fault)  # it is asked again with a higher penalty


@pytest.mark.parametrize(
    "profile",
    [
        "Prefers Sci-Fi and Horror, such as The Fly and Aliens.",
        "Prefers Comedy and Romance, such as When a Man Loves a Woman.",
        "",
    ],
)
def test_the_form_of_an_example_may_be_followed(profile: str) -> None:
    assert copy_of(profile, EXAMPLES) == ""
    assert copy_of(EXAMPLES[0], ()) == ""
