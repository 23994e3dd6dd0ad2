from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import pyarrow as pa
import pytest

from hnlm_ray.evaluation.metrics import METRICS
from hnlm_ray.evaluation.significance import Interval
from hnlm_ray.report.comparison import Cell, Difference, VariantResult
from hnlm_ray.report.figures import FalseNegatives, LearningCurves, StrataFigures
from hnlm_ray.report.parts import PartGain
from hnlm_ray.report.report import Report, StageLine, StatusShare, render
from hnlm_ray.report.samples import ItemSample, NegativeSample, UserSample
from hnlm_ray.tables import HISTORY, STRATA

ATTACK = '<script>alert("x")</script>'
VOID = {"meta", "br", "hr", "img", "link", "input", "wbr"}


class Page(HTMLParser):
    """Collects tags and text, and checks that every tag is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def result(name: str, seeds: int, valid: float, relative: float | None, sd: float | None = None) -> VariantResult:
    cells = {
        (metric, k): Cell(0.1234, sd, relative) for metric in (*METRICS, "coverage", "popularity") for k in (10, 20)
    }
    return VariantResult(name, seeds, valid, cells)


def strata_table() -> pa.Table:
    """Two variants, two seeds, three strata; the last item stratum of ``hnlm`` has no value."""
    rows = [
        {"variant": variant, "seed": seed, "kind": kind, "stratum": stratum, "low": low, "high": high, "size": 9,
         "metric": metric, "k": 20, "value": float("nan") if (kind, stratum, variant) == blank else 0.1 * stratum}
        for variant in ("uniform", "hnlm")
        for seed in (0, 1)
        for kind in ("user_activity", "item_popularity")
        for stratum, (low, high) in enumerate([(5, 7), (8, 8), (1200, 3000)])
        for metric in ("recall", "ndcg")
        for blank in [("item_popularity", 2, "hnlm")]
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=STRATA)


@pytest.fixture
def report() -> Report:
    history = pa.Table.from_pylist(
        [{"epoch": e, "seconds": e + 0.5, "loss": 1 / (e + 1), "valid_ndcg": 0.1 if e % 2 else None} for e in range(6)],
        schema=HISTORY,
    )
    return Report(
        run="runs/x",
        facts=[("users", "1,000")],
        stages=[StageLine("prepare", {"users": 1000}, 75.0, {"duplicate_pairs": 3})],
        results=[
            result("uniform", 2, 0.1, None, 0.01),
            result("hnlm", 2, 0.2, 0.043, 0.01),
            result("random", 0, 0.9, -0.8),
        ],
        cutoffs=[10, 20],
        baseline="uniform",
        settings={"uniform": {"alpha": "0.0"}, "hnlm": {"alpha": "0.1"}},
        differences=[Difference("hnlm", "ndcg", 0.1, Interval(0.0043, 0.001, 0.008, 0.004), 0.0002, 0.012, 0.0001)],
        curves=LearningCurves(["uniform", "hnlm"], [(0, history), (1, history)]),
    )


@pytest.fixture
def full(report: Report) -> Report:
    return dataclasses.replace(
        report,
        statuses=[StatusShare("Item profiles", (("ok", 95), ("invalid", 5)), 1000, 200, (("summary is empty", 5),))],
        items=[ItemSample("A kettle", ("Home", "Kitchen"), "ok", "for tea drinkers")],
        users=[UserSample("u1", ("A kettle", "A pot"), 3, "ok", "drinks tea")],
        negatives=[NegativeSample("u1", "drinks tea", "A kettle", "A mug", "matched", "fuzzy", 0.91, "The mug")],
        false_negatives=FalseNegatives([("uniform", 0.2, 10, None), ("language model", 0.05, 7, 1.5)]),
        parts=[PartGain("semantic", "hnlm", "uniform", None, 0.1, Interval(0.0043, 0.001, 0.008, 0.004), 0.0123)],
        guard_likes=[{"guard": "behaviour", "first": 10, "pairs": 1234, "liked": 0.375, "unseen": None}],
        strata=StrataFigures(["uniform", "hnlm"], strata_table()),
        absent=["Something was not run."],
        versions={"Python": "3"},
    )


def test_the_page_is_whole_and_stands_alone(full: Report) -> None:
    html = render(full)
    page = Page(html)
    assert page.open == []
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    names = {name for name, _ in page.attributes}
    assert not {"src", "srcset", "background", "action"} & names
    assert not any(name.startswith("on") for name in names)
    links = [value or "" for name, value in page.attributes if name in ("href", "xlink:href")]
    assert all(link.startswith("#") for link in links)
    assert "@import" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))


def test_the_page_shows_what_the_run_found(full: Report) -> None:
    text = " ".join(Page(render(full)).text.split())
    assert "hnlm is best on validation, with test NDCG@20 of 0.1234, +4.3% against uniform" in text
    assert "95% interval of the difference, bootstrapped over paired users: +1.0% to +8.0% (better)" in text
    for words in ("A mug", "The mug (fuzzy, 0.91)", "drinks tea", "and 3 more", "for tea drinkers"):
        assert words in text
    for words in ("ok 95.0%", "summary is empty", "1,000 tokens read, 200 written", "Something was not run."):
        assert words in text
    for words in ("prepare", "users 1,000", "duplicate pairs 3", "1 min 15 s", "False negatives per sampler"):
        assert words in text


def test_what_each_part_gave_and_what_a_guard_protects(full: Report, report: Report) -> None:
    text = " ".join(Page(render(full)).text.split())
    assert "semantic" in (gave := text[text.index("What each part gave, NDCG@20") :])
    assert gave.index("+4.3%") < gave.index("Variants that differ in one part")
    guards = text[text.index("What the guards protect") :]
    assert "behaviour" in guards
    assert "1,234" in guards
    assert "37.5%" in guards
    bare = Page(render(report)).text
    assert "What each part gave" not in bare
    assert "What the guards protect" not in bare


def test_measures_beyond_accuracy_are_shown_where_the_run_has_them(full: Report) -> None:
    text = " ".join(Page(render(full)).text.split())
    beyond = text[text.index("Beyond accuracy") : text.index("Accuracy by users and items")]
    assert "variantCoveragePopularity hnlm" in beyond.replace("uniform 0.1234 0.1 ", "")
    assert "Intra-list" not in beyond
    assert "hnlm 0.1234+4.3% 0.1+4.3%" in beyond  # popularity has one decimal place


def test_samplers_are_bars_from_the_highest_rate_to_the_lowest() -> None:
    rates = FalseNegatives([("uniform", 0.1, 10, None), ("dns", 0.4, 20, 1.0), ("language model", 0.2, 7, 1.5)])
    assert [(bar.sampler, bar.length, bar.is_model) for bar in rates.bars()] == [
        ("dns", 1.0, False), ("language model", 0.5, True), ("uniform", 0.25, False),
    ]  # fmt: skip
    assert [bar.length for bar in FalseNegatives([("uniform", 0.0, 10, None)]).bars()] == [0.0]


def test_of_many_cutoffs_all_but_that_of_the_selection_are_folded_up(full: Report) -> None:
    cutoffs = [1, 5, 10, 20]
    cells = {(metric, k): Cell(0.1, None, None) for metric in (*METRICS, "coverage") for k in cutoffs}
    results = [dataclasses.replace(result, cells=cells) for result in full.results]
    html = render(dataclasses.replace(full, results=results, cutoffs=cutoffs))
    folded = re.findall(r"<details>.*?</details>", html, re.DOTALL)
    assert len(folded) == 2
    for part in folded:
        assert re.findall(r"At (\d+)</caption>", part) == ["1", "5", "10"]
    assert len(re.findall(r"At 20</caption>", html)) == 2
    assert "<details>" not in render(full)


def test_warnings_of_stages_stand_before_the_results(full: Report) -> None:
    line = StageLine("prepare", {}, 1.0, {}, ["15 of 15 items are unknown; compare the ids."])
    text = " ".join(Page(render(dataclasses.replace(full, stages=[line]))).text.split())
    warned = text.index("prepare: 15 of 15 items are unknown; compare the ids.")
    assert text.index("Look at this first") < warned < text.index("Results on the test split")
    assert "Look at this first" not in render(full)


def test_p_values_and_what_they_were_adjusted_for_are_shown(full: Report) -> None:
    text = " ".join(Page(render(full)).text.split())
    assert "< 0.0010.012 better" in text
    assert "Holm" in text


def test_strata_are_drawn_with_their_bounds_and_without_what_has_no_value() -> None:
    users, items = StrataFigures(["uniform", "hnlm"], strata_table()).figures()
    for svg in (users, items):
        assert {"5–7", "8", "1,200–3,000"} <= {tick.strip() for tick in Page(svg).text.split("\n")}  # noqa: RUF001
    assert users.count("<use") == items.count("<use") + 1


def test_an_untrained_ranker_is_never_the_chosen_one(report: Report) -> None:
    assert report.chosen is not None
    assert report.chosen.name == "hnlm"


def test_without_a_validation_figure_nothing_is_chosen(report: Report) -> None:
    unknown = [dataclasses.replace(result, valid_ndcg=float("nan")) for result in report.results]
    blind = dataclasses.replace(report, results=unknown)
    assert blind.chosen is None
    assert "is best on validation" not in Page(render(blind)).text


def test_text_of_users_and_models_is_escaped(full: Report) -> None:
    attacked = dataclasses.replace(
        full,
        run=ATTACK,
        facts=[(ATTACK, ATTACK)],
        stages=[StageLine(ATTACK, {ATTACK: 1}, 1.0, {ATTACK: 1})],
        results=[dataclasses.replace(result, name=ATTACK) for result in full.results],
        baseline=ATTACK,
        settings={ATTACK: {ATTACK: ATTACK}},
        differences=[dataclasses.replace(full.differences[0], variant=ATTACK)],
        curves=dataclasses.replace(full.curves, names=[ATTACK, '"><img src=x>']),
        statuses=[StatusShare(ATTACK, ((ATTACK, 1),), 1, 1, ((ATTACK, 1),))],
        items=[ItemSample(ATTACK, (ATTACK,), ATTACK, ATTACK)],
        users=[UserSample(ATTACK, (ATTACK,), 0, ATTACK, ATTACK)],
        negatives=[NegativeSample(*[ATTACK] * 6, 0.5, ATTACK)],
        false_negatives=FalseNegatives([(ATTACK, 0.2, 10, None)]),
        absent=[ATTACK],
        versions={ATTACK: ATTACK},
    )
    page = Page(render(attacked))
    assert not {"script", "img"} & set(page.tags)
    assert page.text.count(ATTACK) > 30


@pytest.mark.parametrize("sign", ["\x1b[31m", "\x00", "\x07", "\x9b", "\u202e", "\u2066", "\ud800"], ids=ascii)
def test_signs_that_cannot_be_seen_are_replaced(full: Report, sign: str) -> None:
    odd = f"bad{sign}id"
    page = render(
        dataclasses.replace(
            full,
            run=odd,
            stages=[StageLine(odd, {odd: 1}, 1.0, {odd: 1}, [odd])],
            results=[dataclasses.replace(result, name=odd) for result in full.results],
            settings={odd: {odd: odd}},
            users=[UserSample(odd, (odd,), 0, "ok", odd)],
            statuses=[StatusShare(odd, (("ok", 1),), 1, 1, ((odd, 1),))],
        )
    )
    assert sign[0] not in page
    assert page.count("bad\N{REPLACEMENT CHARACTER}") >= 14
    page.encode()


def test_a_run_without_language_model_leaves_its_sections_out(report: Report) -> None:
    text = Page(render(report)).text
    for heading in (
        "What the language model wrote",
        "Hard negatives",
        "User profiles",
        "Item profiles",
        "False negatives",
    ):
        assert heading not in text
    assert "Learning curves" in text


def test_a_run_without_baseline_or_cutoff_20_is_shown_too(report: Report) -> None:
    results = [VariantResult("mine", 1, 0.2, {(metric, 5): Cell(0.5, None, None) for metric in (*METRICS, "coverage")})]
    alone = dataclasses.replace(report, results=results, cutoffs=[5], baseline=None, differences=[])
    text = " ".join(Page(render(alone)).text.split())
    assert "mine is best on validation" in text
    assert "against" not in text
    assert "At 5" in text


def test_status_shares_count_the_usable_first_and_say_why_not() -> None:
    table = pa.table(
        {
            "status": ["invalid", "invalid", "invalid", "ok", "failed"],
            "reason": ["empty", "too long", "empty", "", "engine"],
            "prompt_tokens": [1, 2, 3, 4, None],
            "output_tokens": pa.array([1, 1, 1, 1, None], pa.int32()),
        }
    )
    share = StatusShare.of("t", table, "ok")
    assert share.parts == (("ok", 1), ("invalid", 3), ("failed", 1))
    assert share.total == 5
    assert (share.prompt_tokens, share.output_tokens) == (10, 4)
    assert share.reasons[0] == ("empty", 2)
    bare = StatusShare.of("t", table.select(["status"]), "ok")
    assert bare.prompt_tokens is None


def test_an_interval_is_drawn_to_the_scale_of_the_widest_one(full: Report) -> None:
    narrow = Difference("hnlm", "recall", 0.0, Interval(-0.004, -0.008, 0.0, 0.2), 0.3, 0.4, 0.1)
    html = render(dataclasses.replace(full, differences=[*full.differences, narrow]))
    starts = [float(left) for left in re.findall(r'<b style="left: ([\d.]+)%', html)]
    widths = [float(width) for width in re.findall(r'<b style="left: [\d.]+%; width: ([\d.]+)%', html)]
    assert starts == pytest.approx([50 + 45 / 8, 5.0], abs=0.01)
    assert widths == pytest.approx([45 * 7 / 8, 45.0], abs=0.01)
    assert narrow.relative_interval is None  # there is no share of a baseline of 0
