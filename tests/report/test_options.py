"""What is shown of the options of variants."""

from __future__ import annotations

from typing import Any

from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.report.options import differing_options, shown_value


def dumped(**options: Any) -> dict[str, Any]:
    return VariantConfig.model_validate(options).model_dump(mode="json")


def test_only_what_differs_among_trained_variants_is_shown() -> None:
    trained = {"long": dumped(epochs=9), "short": dumped(epochs=3)}
    shown = differing_options({**trained, "ease": dumped(backbone={"name": "ease", "ridge": 200})})
    assert shown["long"].keys() == {"backbone", "epochs"}
    assert [shown[name]["epochs"] for name in shown] == ["9", "3", "\N{EN DASH}"]
    assert "200" in shown["ease"]["backbone"]


def test_baselines_alone_show_their_backbones() -> None:
    shown = differing_options({name: dumped(backbone=name) for name in ("popularity", "item_knn")})
    assert [list(options) for options in shown.values()] == [["backbone"], ["backbone"]]


def test_a_section_without_a_name_shows_its_options_and_a_named_one_what_differs() -> None:
    variant = VariantConfig.model_validate({"item_graph": {"source": "text"}, "sampler": "dns", "item_text": True})
    assert shown_value(variant.item_graph) == "(source=text, neighbours=10, layers=1, place=before)"
    assert (shown_value(variant.sampler), shown_value(variant.dim)) == ("dns", "64")
    assert (shown_value(variant.item_text), shown_value(None)) == ("yes", "\N{EN DASH}")
