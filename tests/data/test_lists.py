from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.data.lists import list_texts, names, paragraphs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("['Clothing', 'Men']", ["Clothing", "Men"]),
        ('["a","b"]', ["a", "b"]),
        ("['a' 'b']", ["a", "b"]),
        ("['a' 'b'\n 'c']", ["a", "b", "c"]),
        ("array(['a', 'b'], dtype=object)", ["a", "b"]),
        ("[['a', 'b'], ['c']]", ["a", "b", "c"]),
        ("('a', 'b')", ["a", "b"]),
        ("('a',)", ["a"]),
        ("{'a', 'b'}", ["a", "b"]),
        ("[u'a', u'b']", ["a", "b"]),
        ("'a', 'b'", ["a", "b"]),
        ("[1, 2]", ["1", "2"]),
        ("[Clothing, Men]", ["Clothing", "Men"]),
        ("[Sci-Fi (Classic), Drama]", ["Sci-Fi (Classic)", "Drama"]),
        ("Home|Kitchen", ["Home", "Kitchen"]),
        ("Arts, Crafts & Sewing", ["Arts, Crafts & Sewing"]),
        ("['Men's Shoes']", ["Men's Shoes"]),
        ("['Men's Shoes', 'Girls' Shoes', \"Boys' Shoes\"]", ["Men's Shoes", "Girls' Shoes", "Boys' Shoes"]),
        ("['Rock 'n' Roll']", ["Rock 'n' Roll"]),
        ("['a\\'s', 'b\\\\']", ["a's", "b\\"]),
        ('["\\u00e9\\ud83d\\ude00 \\"q\\""]', ['é😀 "q"']),
        ("['\\ud83d']", ["\ufffd"]),
        ("['a', None, nan, '']", ["a"]),
        ("[]", []),
        ("[Untitled]", ["Untitled"]),
        ("{'Indie': 22, 'Role-Playing': 7}", ["Indie", "Role-Playing"]),
        ("(Sub)Urban (x)", ["(Sub)Urban (x)"]),
        ("[New] Arrivals [2018]", ["[New] Arrivals [2018]"]),
        ("['a'] and more", ["['a'] and more"]),
        ("", [""]),
        (None, None),
    ],
)
def test_every_spelling_of_a_list(text: str | None, expected: list[str] | None) -> None:
    assert names(pa.array([text], pa.string())).to_pylist() == [expected]


def test_names_between_commas_where_the_format_has_them() -> None:
    values = pa.array(["Restaurants, Mexican", '["Books, Mags & Music", "Food"]'])
    assert names(values, ",").to_pylist() == [["Restaurants", " Mexican"], ["Books, Mags & Music", "Food"]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([["A", None, "B"], None, []]), [["A", "B"], None, []]),
        (pa.array([["A", "B"], None], pa.list_(pa.string(), 2)), [["A", "B"], None]),
        (pa.array([["A"], ["B"]], pa.large_list(pa.large_string())).slice(1), [["B"]]),
        (pa.array([[["A", "B"], ["C"]], [None, []], None]), [["A", "B", "C"], [], None]),
        (pa.array([[1, 2]]), [["1", "2"]]),
        (pa.array([["['A', 'B']", "x|y"], ["[Untitled]"]]), [["A", "B", "x|y"], ["[Untitled]"]]),
        (pa.array([["A|B"], None, ["C"]]), [["A", "B"], None, ["C"]]),
        (pa.array(["A|B", None]).dictionary_encode(), [["A", "B"], None]),
        (pa.chunked_array([["A|B"], ["['C']"]]), [["A", "B"], ["C"]]),
        (pa.nulls(1), [None]),
        (pa.array([], pa.string()), []),
    ],
)
def test_lists_of_arrow(values: pa.Array, expected: list[list[str] | None]) -> None:
    assert names(values).to_pylist() == expected


def test_what_is_no_name() -> None:
    with pytest.raises(pa.ArrowNotImplementedError):
        names(pa.array([[{"a": 1}]]))


def test_paragraphs_are_joined_and_a_text_in_brackets_is_none() -> None:
    texts = pa.array(["['First.', 'Second.']", "[Untitled]", "[New] 'a'", "(see 'a')", "[]", None])
    assert paragraphs(texts).to_pylist() == ["First. Second.", "[Untitled]", "[New] 'a'", "(see 'a')", "", None]
    assert paragraphs(pa.array([["a", None, "b"], None, []])).to_pylist() == ["a b", None, ""]


NAME = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip)


@settings(max_examples=200)
@given(st.lists(NAME, max_size=5))
def test_json_and_python_give_back_what_was_written(values: list[str]) -> None:
    assert list_texts(json.dumps(values)) == values
    if not any("'" in value or '"' in value for value in values):
        assert list_texts(repr(values)) == values


@pytest.mark.timeout(20)
@pytest.mark.parametrize("part", ["'a", "\\' ", "\\',", "(", "[", "\\", "' '"])
def test_hostile_texts_take_no_time(part: str) -> None:
    list_texts("['" + part * 100_000 + "]")
