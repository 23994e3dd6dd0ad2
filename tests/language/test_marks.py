"""What sets names apart whose letters are similar."""

from __future__ import annotations

import numpy as np
import pytest

from hnlm_ray.language.marks import Agreement, Marks, marks_of
from hnlm_ray.language.names import folded


def read(name: str) -> Marks:
    return marks_of(folded(name))


@pytest.mark.parametrize(
    ("name", "marks", "years"),
    [
        ("Season 2", ["2"], []),
        ("season two, the second", ["2", "2"], []),
        ("Part XIV", ["14"], []),
        ("500ml", ["500 ml"], []),
        ("0.50 Litres", ["0.5 l"], []),
        ("0,5 l", ["0.5 l"], []),
        ("1,000 Pieces", ["1000"], []),
        ("Agent 007", ["7"], []),
        ("5 m cable, 5 m", ["5 m", "5 m"], []),
        ("Old Film (1995)", [], ["1995"]),
        ("1995 ml", ["1995 ml"], []),
        ("Men's Shirt XL", ["xl"], []),
        ("Plan B", ["b"], []),
        ("A Plan", [], []),
        ("C#, C++ and A+B", ["b", "c#", "c++"], []),
        ("mix of civil words", [], []),
        ("???", [], []),
        ("", [], []),
    ],
)
def test_marks(name: str, marks: list[str], years: list[str]) -> None:
    assert read(name) == Marks(tuple(marks), tuple(years))


def test_names_with_exactly_the_marks_stand_in_the_block_of_an_answer() -> None:
    answers = ["Show 1", "Show", "Show 2", "Show 1 (1999)", "Show 9"]
    names = ["Show 2", "Show 1 (2001)", "Show 1 of 2", "Show", "Show 1"]
    blocks = list(Agreement([*map(read, answers)], [*map(read, names)]).blocks(8))
    found = {}
    for rows, columns, agree in blocks:
        for place, row in enumerate(rows):
            found[answers[row]] = [names[c] for at, c in enumerate(columns) if agree is None or agree[place, at]]
    assert found == {
        "Show": ["Show"],
        "Show 1": ["Show 1 (2001)", "Show 1"],
        "Show 2": ["Show 2"],
        "Show 1 (1999)": ["Show 1"],
    }


def test_blocks_hold_every_answer_once() -> None:
    marks = [read(f"Show {number % 3}") for number in range(20)]
    rows = [row for block, _, _ in Agreement(marks, marks).blocks(4) for row in block]
    assert sorted(rows) == list(range(20))
    assert max(len(block) for block, _, _ in Agreement(marks, marks).blocks(4)) == 4


def test_a_name_may_have_more_marks_than_the_answer() -> None:
    answers = [read(text) for text in ("Show", "Show 1", "Show (1999)")]
    names = [read(text) for text in ("Show 2", "Show 1 of 2 (2001)", "Show")]
    expected = [[True, True, True], [False, True, False], [True, False, True]]
    assert Agreement(answers, names).including(np.arange(3)).tolist() == expected
