from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.serving.recommend import catalogue as catalogue_module
from hnlm_ray.serving.recommend.catalogue import Catalogue, UnknownCategoryError
from hnlm_ray.serving.recommend.options import RankingOptions
from hnlm_ray.tables import ITEMS

CATEGORIES = [["food", "bread"], ["food", "cake"], [], ["tools"], ["food", "bread"], ["tools", "tools"]]
TITLES = ["Rye Loaf", "Plum Cake", "", "HAMMER", "White loaf", "Straße"]
POPULARITY = np.array([5, 9, 1, 9, 7, 0])


def catalogue_of(
    categories: list[list[str]] = CATEGORIES, titles: list[str] = TITLES, popularity: np.ndarray = POPULARITY
) -> Catalogue:
    rows = [
        {"item": row, "item_id": f"i{row}", "title": title, "brand": "b", "categories": own, "description": f"d{row}"}
        for row, (title, own) in enumerate(zip(titles, categories, strict=True))
    ]
    return Catalogue(pa.Table.from_pylist(rows, schema=ITEMS), popularity)


def allowed(catalogue: Catalogue, **options: Any) -> list[int]:
    mask = catalogue.score_mask(RankingOptions(**options))
    if mask is None:
        return list(range(len(catalogue)))
    assert mask.dtype == np.float32
    assert set(mask.tolist()) <= {0.0, -np.inf}
    return np.flatnonzero(mask == 0.0).tolist()


def test_names_and_numbers_belong_together() -> None:
    catalogue = catalogue_of()
    assert (len(catalogue), catalogue.ids[3], catalogue.titles[3], catalogue["i3"]) == (6, "i3", "HAMMER", 3)
    assert "i3" in catalogue
    assert "i6" not in catalogue
    assert catalogue.numbers(["i4", "nothing", "i0", "i4"]).tolist() == [4, 0, 4]
    assert catalogue.numbers([]).tolist() == []
    with pytest.raises(KeyError):
        catalogue["nothing"]
    assert catalogue.row(4) == {
        "item": 4, "item_id": "i4", "title": "White loaf", "brand": "b", "categories": ["food", "bread"],
        "description": "d4",
    }  # fmt: skip


def test_more_names_than_are_numbered_in_one_step() -> None:
    count = 25_000
    catalogue = catalogue_of([[]] * count, [""] * count, np.zeros(count, np.int64))
    assert [catalogue[f"i{row}"] for row in range(0, count, 333)] == list(range(0, count, 333))
    assert "i25000" not in catalogue


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"categories": ("food",)}, [0, 1, 4]),
        ({"categories": ("bread", "tools")}, [0, 3, 4, 5]),
        ({"categories": ("nothing",)}, []),
        ({"categories": ("nothing", "cake")}, [1]),
        ({"include_items": ("i2", "i5", "nothing")}, [2, 5]),
        ({"include_items": ()}, []),
        ({"exclude_items": ("i2", "nothing")}, [0, 1, 3, 4, 5]),
        ({"include_items": ("i2", "i5"), "exclude_items": ("i5",)}, [2]),
        ({"include_items": ("i0", "i3"), "categories": ("food",)}, [0]),
        ({"exclude_items": ("i0",), "categories": ("food",)}, [1, 4]),
    ],
)
def test_what_wishes_allow_with_everything_at_hand_and_without_i1_and_i4(
    options: dict[str, Any], expected: list[int]
) -> None:
    catalogue = catalogue_of()
    for _ in range(2):  # from the second time on out of the cache
        assert allowed(catalogue, **options) == expected
    assert catalogue.set_unavailable(["i4", "nothing", "i1", "i4"]) == 2
    for _ in range(2):
        assert allowed(catalogue, **options) == [item for item in expected if item not in (1, 4)]
        assert allowed(catalogue, available_only=False, **options) == expected
    assert [catalogue.is_available(item) for item in range(6)] == [True, False, True, True, False, True]


def test_a_new_set_of_unavailable_items_replaces_the_old_one_and_its_masks() -> None:
    catalogue = catalogue_of()
    catalogue.set_unavailable(["i0"])
    assert allowed(catalogue, categories=("food",)) == [1, 4]
    catalogue.set_unavailable(["i1"])
    assert allowed(catalogue, categories=("food",)) == [0, 4]
    assert catalogue.set_unavailable([]) == 0
    assert allowed(catalogue, categories=("food",)) == [0, 1, 4]
    assert catalogue.score_mask(RankingOptions()) is None


def test_a_mask_that_is_being_made_when_availability_changes_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = catalogue_of()
    has_begun, may_end = threading.Event(), threading.Event()
    full = np.full

    def slow(*args: Any, **options: Any) -> np.ndarray:
        has_begun.set()
        assert may_end.wait(10)
        return full(*args, **options)

    monkeypatch.setattr(catalogue_module.np, "full", slow)
    thread = threading.Thread(target=allowed, args=(catalogue,), kwargs={"categories": ("food",)})
    thread.start()
    assert has_begun.wait(10)
    catalogue.set_unavailable(["i0"])
    may_end.set()
    thread.join()
    assert allowed(catalogue, categories=("food",)) == [1, 4]


def test_own_masks_leave_the_kept_one_as_it_is() -> None:
    catalogue = catalogue_of()
    allowed(catalogue, categories=("food",), exclude_items=("i0",))
    allowed(catalogue, categories=("food",), include_items=("i1",))
    assert allowed(catalogue, categories=("food",)) == [0, 1, 4]


def test_masks_of_a_large_catalogue_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_module, "_FILTER_BYTES", 4 * 6 * 3)
    catalogue = catalogue_of()
    masks = [catalogue.score_mask(RankingOptions(categories=(f"c{number}",))) for number in range(9)]
    again = [catalogue.score_mask(RankingOptions(categories=(f"c{number}",))) for number in (8, 7, 6, 0)]
    assert [mask is before for mask, before in zip(again, [masks[n] for n in (8, 7, 6, 0)], strict=True)] == [
        True, True, True, False
    ]  # fmt: skip


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[list[str]], list[bool], RankingOptions]:
    n_items = draw(st.integers(1, 12))
    name = st.sampled_from(["a", "b", "c"])
    ids = st.lists(st.integers(0, 14).map("i{}".format), max_size=8).map(tuple)
    options = st.builds(
        RankingOptions,
        include_items=st.none() | ids,
        exclude_items=ids,
        categories=st.lists(name | st.just("d"), max_size=3).map(tuple),
        available_only=st.booleans(),
    )
    sizes = {"min_size": n_items, "max_size": n_items}
    return (
        draw(st.lists(st.lists(name, max_size=3), **sizes)),
        draw(st.lists(st.booleans(), **sizes)),
        draw(options),
    )


@settings(max_examples=300)
@given(world=worlds())
def test_masks_equal_the_wishes_read_item_by_item(world: tuple[list[list[str]], list[bool], RankingOptions]) -> None:
    categories, is_there, options = world
    catalogue = catalogue_of(categories, [""] * len(categories), np.zeros(len(categories), np.int64))
    catalogue.set_unavailable([f"i{row}" for row, there in enumerate(is_there) if not there])

    def may_come(row: int) -> bool:
        return (
            (options.include_items is None or f"i{row}" in options.include_items)
            and f"i{row}" not in options.exclude_items
            and (not options.categories or bool({*options.categories} & {*categories[row]}))
            and (not options.available_only or is_there[row])
        )

    mask = catalogue.score_mask(options)
    found = np.zeros(len(categories)) if mask is None else mask
    np.testing.assert_array_equal(found == 0.0, [may_come(row) for row in range(len(categories))])


@pytest.mark.parametrize(
    ("words", "limit", "expected"),
    [
        ("", 9, [("food", 3), ("bread", 2), ("tools", 2), ("cake", 1)]),  # one of the tools is named twice
        ("", 2, [("food", 3), ("bread", 2)]),
        ("O", 9, [("food", 3), ("tools", 2)]),
        ("none", 9, []),
    ],
)
def test_categories_come_by_their_number_of_items_then_by_name(
    words: str, limit: int, expected: list[tuple[str, int]]
) -> None:
    assert catalogue_of().categories(words, limit) == expected


def _sliced(table: pa.Table) -> pa.Table:
    return table.slice(2, 3)


def _chunked(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table.slice(0, 1), table.slice(1, 4), table.slice(5)])


@pytest.mark.parametrize(
    ("change", "bread", "tools"), [(_sliced, [2], [1]), (_chunked, [0, 4], [3, 5])], ids=["sliced", "chunked"]
)
def test_categories_of_a_table_in_pieces(
    change: Callable[[pa.Table], pa.Table], bread: list[int], tools: list[int]
) -> None:
    table = pa.table({"item_id": [f"i{row}" for row in range(6)], "title": TITLES, "categories": CATEGORIES})
    catalogue = Catalogue(change(table), POPULARITY)
    assert allowed(catalogue, categories=("bread",)) == bread
    assert allowed(catalogue, categories=("tools",)) == tools


def test_a_catalogue_without_categories_or_of_one_item() -> None:
    catalogue = catalogue_of([[]], ["only"], np.array([4]))
    assert catalogue.categories("", 9) == []
    assert allowed(catalogue, categories=("food",)) == []
    assert catalogue.unpopularity.tolist() == [0.0]


@pytest.mark.parametrize(
    ("words", "limit", "expected"),
    [
        ("loaf", 9, [4, 0]),  # the more popular first
        ("LOAF", 9, [4, 0]),
        ("a", 9, [1, 3, 4, 0, 5]),  # those that are as popular as each other in catalogue order
        ("a", 2, [1, 3]),
        ("strasse", 9, [5]),
        ("i4", 9, [4]),
        ("nothing", 9, []),
        ("", 3, [1, 3, 4]),
        ("loaf", 0, []),
    ],
)
def test_search_finds_titles_and_ids_whatever_their_case(words: str, limit: int, expected: list[int]) -> None:
    assert catalogue_of().search(words, limit) == expected


def test_unpopularity_is_minus_the_standardised_log_of_popularity() -> None:
    logs = np.log1p(POPULARITY)
    found = catalogue_of().unpopularity
    np.testing.assert_allclose(found, -(logs - logs.mean()) / logs.std(), rtol=1e-6)
    assert found.dtype == np.float32
    assert catalogue_of(popularity=np.full(6, 3)).unpopularity.tolist() == [0.0] * 6


def test_a_category_is_spelled_as_it_is_or_like_all_that_fold_to_the_same() -> None:
    catalogue = catalogue_of([["Tea"], ["TEA"], ["Green  Tea"]], [""] * 3, np.zeros(3, np.int64))
    assert catalogue.spelled(["Tea"]) == ("Tea",)
    assert catalogue.spelled(["tea", "TEA"]) == ("Tea", "TEA")
    assert catalogue.spelled(["green tea "]) == ("Green  Tea",)
    with pytest.raises(UnknownCategoryError, match="the items have none"):
        catalogue_of([[]], [""], np.zeros(1, np.int64)).spelled(["tea"])


def test_a_text_gets_the_case_of_the_words_of_categories() -> None:
    catalogue = catalogue_of([["Board Games"], ["Board Games"], ["BOARD"], ["eBooks"]], [""] * 4, np.zeros(4, np.int64))
    assert catalogue.in_its_case("Enjoys board GAMES, ebooks\u2026") == "Enjoys Board Games, eBooks\u2026"
    assert catalogue.in_its_case("a boardroom") == "a boardroom"
    assert catalogue.in_its_case("") == ""
    assert catalogue_of([[]], [""], np.zeros(1, np.int64)).in_its_case("Tea") == "Tea"
