from __future__ import annotations

import html

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.data.text import clean_text, unescape_html

TEXTS = st.lists(
    st.none() | st.text(st.sampled_from("ab &;<>/#39ampltbr\t\n\x00\u00a0\u202e é"), max_size=30), max_size=8
)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Tom &amp; Jerry&#39;s", "Tom & Jerry's"),
        ("&amp;lt;b&amp;gt;", "&lt;b&gt;"),
        ("<b>big</b>ger<br/>house<p class='x'>now</p>", "bigger house now"),
        ("<!-- hidden --><style>p {}</style>shown<script>if (a < b) {}</script>", "shown"),
        ("1 < 2 and 3 > 2 <3", "1 < 2 and 3 > 2 <3"),
        ("&nbsp;caf&eacute;\u00a0\u2003noir\r\n", "café noir"),
        ("nul\x00l\u202e\ufeff and \x07 bell", "null and bell"),
        ("&unknown; & ;", "&unknown; & ;"),
        (None, ""),
        (" NaN ", ""),
        ("None", ""),
        ("Nan", "Nan"),
    ],
)
def test_rules(raw: str | None, clean: str) -> None:
    assert clean_text(pa.array([raw], pa.string()))[0].to_pylist() == [clean]


def test_every_rule_counts_the_texts_it_changed() -> None:
    column = pa.chunked_array([["a", "<i>b</i>", "c  d"], ["e\x00", "<i>f</i> \x00 g", None]])
    assert clean_text(column)[1] == {
        "texts_missing": 0,
        "texts_with_html": 2,
        "texts_with_control_characters": 2,
        "texts_with_odd_spaces": 2,
    }


@settings(max_examples=50)
@given(TEXTS)
def test_clean_text_is_whole_and_tidy(texts: list[str | None]) -> None:
    cleaned = clean_text(pa.array(texts, pa.large_string()))[0].to_pylist()
    assert len(cleaned) == len(texts)
    for text in cleaned:
        assert text == " ".join(text.split())
        assert not set(text) & {"\x00", "\u202e", "\t", "\n"}


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["&amp;", "&lt;", "&#39;", "&#x41;", "&eacute;", "&nope;", "x", " ", "&"]), max_size=9))
def test_references_are_unescaped_as_the_standard_library_does(parts: list[str]) -> None:
    text = "|".join(parts)
    assert unescape_html(pa.array([text, "plain"])).to_pylist() == [html.unescape(text), "plain"]
