"""Grounding: each step decides what it should, and what the user has is never offered as a negative."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz import fuzz

from hnlm_ray.config.language import GroundConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.language.grounding import Catalogue, Vectors, ground, match_names
from hnlm_ray.language.names import normalised
from hnlm_ray.language.prompts.quoting import neutral
from hnlm_ray.tables import GROUNDED

TITLES = [
    "Café Noir: Coffee Beans",
    "Wooden Train Set",
    "Model Train (H0)",
    "wooden train set!",
    "Star",
    "",
    "Tea Pot 2",
]
WORDS = [
    "amber",
    "birch",
    "cedar",
    "dune",
    "ember",
    "fjord",
    "grove",
    "harbor",
    "iris",
    "jade",
    "kelp",
    "lotus",
    "maple",
    "nectar",
    "opal",
    "pine",
]


def grounded(
    rows: list[tuple[int, str]],
    seen: list[tuple[int, int]] = (),
    vectors: dict[str, list[float]] | None = None,
    titles: list[str] = TITLES,
    **config,
):
    """Ground (user, answer) rows over the titles; items have one-hot vectors."""
    users, seen_items = (np.array([pair[at] for pair in seen], np.int32) for at in (0, 1))
    history = Interactions.from_pairs(users, seen_items, 4, len(titles))
    catalogue = Catalogue.of(titles, history.item_popularity)
    answers = sorted({answer for _, answer in rows if answer})
    matches = match_names(answers, catalogue, GroundConfig(**config).fuzzy)
    items, left = np.eye(len(titles), dtype=np.float32), [answers[row] for row in matches.unmatched]
    of_answers = np.array([(vectors or {}).get(a, [0.0] * len(titles)) for a in left], np.float32).reshape(
        -1, len(titles)
    )
    negatives = pa.table(
        {
            "pair": pa.array(range(len(rows)), pa.int64()),
            "user": pa.array([user for user, _ in rows], pa.int32()),
            "item": pa.array([0] * len(rows), pa.int32()),
            "answer": [answer for _, answer in rows],
        }
    )
    table = ground(negatives, matches, Vectors(items, of_answers), history, GroundConfig(**config))
    assert table.schema == GROUNDED
    assert table.num_rows == len(rows)
    return table.to_pylist()


@pytest.mark.parametrize(
    "answer", ["Café Noir: Coffee Beans", "CAFE\u0301 NOIR coffee-beans", "  café_noir, coffee   beans. "]
)
def test_exact_after_normalising(answer: str) -> None:
    (row,) = grounded([(0, answer)])
    assert (row["status"], row["step"], row["similarity"], row["negative"]) == ("matched", "exact", 1.0, 0)


@pytest.mark.parametrize("answer", ["", "None", "none.", " NONE "])
def test_none_is_none(answer: str) -> None:
    (row,) = grounded([(0, answer)])
    assert (row["status"], row["step"], row["similarity"], row["negative"]) == ("none", "", None, None)


def test_a_misspelt_or_reordered_name_is_matched_by_the_fuzzy_step() -> None:
    typo, reordered = grounded([(0, "Modell Train H0"), (0, "H0 train model")])
    assert (typo["status"], typo["step"], typo["negative"]) == ("matched", "fuzzy", 2)
    assert typo["similarity"] == pytest.approx(fuzz.ratio("modell train h0", "model train h0") / 100)
    assert (reordered["step"], reordered["negative"], reordered["similarity"]) == ("fuzzy", 2, 1.0)


def test_a_short_title_inside_a_long_answer_is_no_match() -> None:
    answer = "Star constellation projector for a child's room"
    assert fuzz.token_set_ratio(normalised(answer), "star") == 100  # what a score of shared words alone would say
    (row,) = grounded([(0, answer)])
    assert row["status"] == "out_of_catalogue"


def test_what_the_user_has_is_interacted_and_only_for_that_user() -> None:
    rows = grounded([(0, "Model Train H0"), (1, "Model Train H0"), (0, "Modell Train H0")], seen=[(0, 2)])
    assert [row["status"] for row in rows] == ["interacted", "matched", "interacted"]
    assert [row["negative"] for row in rows] == [2, 2, 2]


SHARED = ["Lamp", "Star", "Star", "star", "STAR!"]


def test_a_shared_name_is_the_item_that_the_user_has_or_else_the_most_popular_or_else_the_first() -> None:
    rows = grounded([(0, "Star"), (1, "Star")], seen=[(1, 2)], titles=SHARED)
    assert [(row["status"], row["negative"]) for row in rows] == [("matched", 2), ("interacted", 2)]
    rows = grounded([(0, "Star"), (1, "Star")], seen=[(1, 1), (2, 2), (3, 2)], titles=SHARED)
    assert [(row["status"], row["negative"]) for row in rows] == [("matched", 2), ("interacted", 1)]
    (row,) = grounded([(0, "Star")], titles=SHARED)
    assert row["negative"] == 1


@pytest.mark.parametrize(
    ("answer", "negative"), [("star", 3), ("STAR!", 4), (" Star ", 1), ("sTaR", 1), ("star!", 4), ("(Star)", 4)]
)
def test_the_strictest_spelling_that_fits_decides(answer: str, negative: int) -> None:
    """The last is in no title but for punctuation; of all that it may mean, the fourth is the most popular."""
    (row,) = grounded([(0, answer)], seen=[(3, 4)], titles=SHARED)
    assert (row["status"], row["step"], row["negative"]) == ("matched", "exact", negative)


SIGNS = ["C++", "C#", "C", "???", "!!!", "+", "\U0001f600", "三体", "Yes?", "Yes!", "I <3 You", "<>"]


@pytest.mark.parametrize("number", range(len(SIGNS)))
def test_every_title_can_be_named_as_it_is_written(number: int) -> None:
    for answer in (SIGNS[number], f"  {neutral(SIGNS[number])} "):  # as written, and as prompts show it
        (row,) = grounded([(0, answer)], titles=SIGNS)
        assert (row["status"], row["step"], row["negative"]) == ("matched", "exact", number)


@pytest.mark.parametrize("answer", ["C#", "c#", "(C#)", "C #", "F#"])
def test_a_sign_that_ends_a_word_is_part_of_the_name(answer: str) -> None:
    (row,) = grounded([(0, answer)], titles=["C++", "The C++ Language"], fuzzy=0.0)
    assert row["status"] == "out_of_catalogue"


WORDS_FOR_NOTHING = ["N/A", "n/a", "none", "None.", "null", "NULL", "nil", "NaN", "-", "--", "...", "???", "unknown"]
REFUSALS = [
    "no suitable item",
    "No suitable product found.",
    "There is no such item",
    "No hard negative",
    "None of the above",
    "No items found",
    "I cannot name a product.",
    "I can\u2019t help with that.",
    "I'm sorry, but I cannot answer",
    "I am sorry.",
    "Not sure",
    "As an AI language model, I have no preferences",
    "Unable to determine",
    "Not applicable",
    "None, since all of them fit",
    "None (the customer has everything)",
    "N/A - no such product",
    "There isn't any that fits",
    "Could not find one",
]


@pytest.mark.parametrize("answer", [*WORDS_FOR_NOTHING, *REFUSALS])
def test_what_names_nothing_is_none_however_near_it_is(answer: str) -> None:
    titles = ["Wooden Train Set", "Star"]
    (row,) = grounded([(0, answer)], vectors={answer: [1.0, 0.0]}, titles=titles, vector=0.0)
    assert (row["status"], row["step"], row["negative"]) == ("none", "", None)


@pytest.mark.parametrize(
    ("title", "answer", "status"),
    [
        ("N/A", "N/A", "matched"),
        ("N/A", "n/a", "none"),
        ("Unknown", "Unknown", "matched"),
        ("-", "-", "matched"),
        ("None", "None", "none"),
        ("None", "none", "none"),
        ("I Can't Stop", "I can't stop", "matched"),
        ("No Such Thing", "No Such Thing!", "matched"),
        ("Not Sure About This", "Not Sure Abut This", "matched"),
        ("None But the Brave", "None but the Brave", "matched"),
        ("No Country for Old Men", "No Country for Old Men", "matched"),
    ],
)
def test_a_title_that_looks_like_no_name_can_be_named(title: str, answer: str, status: str) -> None:
    """Except for "None", the word that the prompt asks for where there is no name."""
    (row,) = grounded([(0, answer)], titles=["Lamp", title])
    assert (row["status"], row["negative"]) == (status, 1 if status == "matched" else None)


OTHERS = [
    ("The Long Show: The Complete Season 2", "The Long Show: The Complete Season 1"),
    ("The Long Show: The Complete Season Two", "The Long Show: The Complete Season One"),
    ("The Long Show: The Second Season", "The Long Show: The Third Season"),
    ("A Long Saga Part II", "A Long Saga Part III"),
    ("Herbal Shampoo for Dry Hair 500ml", "Herbal Shampoo for Dry Hair 250ml"),
    ("Herbal Shampoo for Dry Hair 500 ml", "Herbal Shampoo for Dry Hair 500 g"),
    ("Herbal Shampoo for Dry Hair 1.5 l", "Herbal Shampoo for Dry Hair 15 l"),
    ("Collected Stories Vol. 3", "Collected Stories Vol. 4"),
    ("Silicone Case for iPhone 12", "Silicone Case for iPhone 13"),
    ("Annual Football Game (2005)", "Annual Football Game (2006)"),
    ("Vitamin C Tablets for Adults", "Vitamin D Tablets for Adults"),
    ("Cotton Shirt for Men Size XL", "Cotton Shirt for Men Size L"),
    ("Learning C# in a Month", "Learning C++ in a Month"),
]


@pytest.mark.parametrize(("answer", "title"), OTHERS)
def test_numbers_units_and_letters_must_agree_in_the_fuzzy_and_the_vector_step(answer: str, title: str) -> None:
    assert fuzz.ratio(normalised(answer), normalised(title)) > 85  # what letters alone would say
    near = {answer: [0.9, 0.1]}
    (row,) = grounded([(0, answer)], titles=[title, "Lamp"], vectors=near, vector=0.5)
    assert row["status"] == "out_of_catalogue"
    right = [title, answer.replace("The", "Teh").replace("Herbal", "Herbel").replace("Collected", "Colected")]
    if right[1] != answer:
        (row,) = grounded([(0, answer)], titles=right, vectors=near, vector=0.5)
        assert (row["step"], row["negative"]) == ("fuzzy", 1)


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        ("Herbel Shampoo 500 ML", "Herbal Shampoo 500ml"),
        ("Puzzel of a Harbor, 1,000 Pieces", "Puzzle of a Harbor, 1000 Pieces"),
        ("The Long Journey of a Small Toy", "The Long Journey of a Small Toy (1995)"),
        ("Mens Cotton Shirt L", "Men's Cotton Shirt L"),
        ("A Long Sagga Part 2", "A Long Saga Part II"),
    ],
)
def test_numbers_that_are_written_in_another_way_agree(answer: str, title: str) -> None:
    (row,) = grounded([(0, answer)], titles=["Lamp", title])
    assert (row["status"], row["step"], row["negative"]) == ("matched", "fuzzy", 1)


def test_the_fuzzy_step_adds_no_number() -> None:
    (row,) = grounded([(0, "Collected Stories")], titles=["Collected Stories 4"])
    assert row["status"] == "out_of_catalogue"


def test_the_vector_step_takes_the_nearest_item_with_the_numbers_of_the_name() -> None:
    titles = ["Saga, Season 1", "Saga, Season 2 (1999)", "Saga, Season 2 of 3", "Lamp"]
    near = {"the second series of that show": [0.9, 0.5, 0.6, 0.1], "that show": [0.9, 0.5, 0.6, 0.1]}
    rows = grounded([(0, name) for name in near], vectors=near, titles=titles, vector=0.4)
    assert [(row["step"], row["negative"]) for row in rows] == [("vector", 2), ("vector", 0)]


def test_the_vector_step_skips_what_the_user_has() -> None:
    near = [0.0, 0.0, 0.8, 0.0, 0.0, 0.0, 0.6]
    rows = grounded(
        [(0, "a locomotive"), (1, "a locomotive")], seen=[(1, 2), (1, 0)], vectors={"a locomotive": near}, vector=0.5
    )
    assert [(row["status"], row["step"], row["negative"]) for row in rows] == [
        ("matched", "vector", 2),
        ("matched", "vector", 6),
    ]
    assert [row["similarity"] for row in rows] == pytest.approx([0.8, 0.6])


def test_below_the_threshold_or_with_nothing_unseen_it_is_out_of_catalogue() -> None:
    near = [0.0, 0.0, 0.8, 0.0, 0.0, 0.0, 0.6]
    everything = [(1, item) for item in range(len(TITLES))]
    rows = grounded([(0, "a locomotive"), (1, "a locomotive")], everything, {"a locomotive": near}, vector=0.9)
    assert [row["status"] for row in rows] == ["out_of_catalogue"] * 2
    assert [row["negative"] for row in rows] == [None, None]
    (row,) = grounded([(1, "a locomotive")], everything, {"a locomotive": near}, vector=0.0)
    assert row["status"] == "out_of_catalogue"


@given(st.lists(st.tuples(st.integers(0, 3), st.text(max_size=30)), max_size=20))
def test_any_text_comes_out_once_with_a_status(rows: list[tuple[int, str]]) -> None:
    table = grounded(rows, seen=[(0, 1), (2, 4)])
    for (_, answer), row in zip(rows, table, strict=True):
        assert row["answer"] == answer
        assert (row["negative"] is not None) == (row["status"] in ("matched", "interacted"))
        assert (row["similarity"] is None) == (row["step"] == "")


@given(st.text(max_size=40))
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)


def test_blocks_agree_with_one_comparison_at_a_time() -> None:
    rng = random.Random(0)
    titles = [" ".join(rng.sample(WORDS, 4)) for _ in range(300)]
    answers = sorted({" ".join(rng.sample(title.split(), 3)) for title in titles * 3})
    catalogue = Catalogue.of(titles)
    matches = match_names(answers, catalogue, 0.8)
    assert len(answers) > 512  # more than one block
    names = list(catalogue.numbers[-1])
    for answer, number, similarity in zip(answers, matches.name, matches.similarity, strict=True):
        name = number - catalogue.numbers[-1][names[0]] if number >= 0 else -1
        scores = [max(fuzz.ratio(answer, other), fuzz.token_sort_ratio(answer, other)) / 100 for other in names]
        if max(scores) < 0.8:
            assert name == -1
        else:
            assert similarity == pytest.approx(max(scores), abs=1e-6)
            assert scores[name] == pytest.approx(max(scores), abs=1e-6)
