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
from hnlm_ray.language.grounding import Catalogue, Vectors, ground, is_none, match_names, normalised
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
    **config,
):
    """Ground (user, answer) rows over TITLES; items have one-hot vectors."""
    catalogue = Catalogue.of(TITLES)
    answers = sorted({answer for _, answer in rows if not is_none(answer)})
    matches = match_names(answers, catalogue, GroundConfig(**config).fuzzy)
    items = np.eye(len(TITLES), dtype=np.float32)
    of_answers = np.array([(vectors or {}).get(a, [0.0] * len(TITLES)) for a in answers], np.float32).reshape(
        -1, len(TITLES)
    )
    negatives = pa.table(
        {
            "pair": pa.array(range(len(rows)), pa.int64()),
            "user": pa.array([user for user, _ in rows], pa.int32()),
            "item": pa.array([0] * len(rows), pa.int32()),
            "answer": [answer for _, answer in rows],
        }
    )
    users, seen_items = (np.array([pair[at] for pair in seen], np.int32) for at in (0, 1))
    history = Interactions.from_pairs(users, seen_items, 4, len(TITLES))
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


def test_a_shared_name_is_the_first_item_unless_the_user_has_another() -> None:
    first, other = grounded([(0, "Wooden Train Set"), (1, "Wooden Train Set")], seen=[(1, 3)])
    assert (first["status"], first["negative"]) == ("matched", 1)
    assert (other["status"], other["negative"]) == ("interacted", 3)


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
    for answer, name, similarity in zip(answers, matches.name, matches.similarity, strict=True):
        scores = [
            max(fuzz.ratio(answer, other), fuzz.token_sort_ratio(answer, other)) / 100 for other in catalogue.names
        ]
        if max(scores) < 0.8:
            assert name == -1
        else:
            assert similarity == pytest.approx(max(scores), abs=1e-6)
            assert scores[name] == pytest.approx(max(scores), abs=1e-6)
