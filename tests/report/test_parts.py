from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.report.parts import part_gains

N_USERS = 50
GRAPH, GUARD = {"item_graph": {"source": "text"}}, {"guard": {"table": "behaviour"}}


def gains(variants: dict[str, dict[str, Any]], values: dict[str, float]) -> list[tuple[str, str, str, str | None]]:
    """Part, variant, the one beside and what that has instead, after the differences have been checked."""
    base = np.random.default_rng(0).random(N_USERS)
    tables = [
        pa.table({"variant": [name] * N_USERS, "user": np.arange(N_USERS), "ndcg": base + values[name] + noise})
        for name in variants
        for noise in (-0.01, 0.01)  # two seeds
    ]
    options = {name: VariantConfig.model_validate(one) for name, one in variants.items()}
    found = part_gains(options, pa.concat_tables(tables), 0)
    for gain in found:
        assert gain.interval.mean == pytest.approx(values[gain.variant] - values[gain.beside])
        assert gain.relative == pytest.approx(gain.interval.mean / (base.mean() + values[gain.beside]))
    return [(gain.part, gain.variant, gain.beside, gain.instead) for gain in found]


def test_only_variants_that_differ_in_one_part_are_compared() -> None:
    variants = {
        "both": {**GRAPH, **GUARD},
        "none": {},
        "graph": GRAPH,
        "guard": GUARD,
        "hard": {**GRAPH, "sampler": "dns"},
    }
    values = {"both": 0.3, "none": 0.0, "graph": 0.2, "guard": 0.1, "hard": 0.0}
    assert gains(variants, values) == [
        ("item_graph", "both", "guard", None),
        ("item_graph", "graph", "none", None),
        ("guard", "both", "graph", None),
        ("guard", "guard", "none", None),
    ]


def test_a_part_that_both_have_is_compared_in_the_later_variant() -> None:
    variants = {"text": GRAPH, "profiled": {"item_graph": {"source": "profiled"}}}
    ((part, variant, beside, instead),) = gains(variants, {"text": 0.0, "profiled": 0.1})
    assert (part, variant, beside) == ("item_graph", "profiled", "text")
    assert instead is not None
    assert "text" in instead


def test_p_values_grow_with_the_number_of_comparisons() -> None:
    rng = np.random.default_rng(1)
    base, noise = rng.random(N_USERS), rng.normal(0.05, 0.15, N_USERS)
    values = {"none": base, "graph": base + noise, "guard": base + rng.normal(0.0, 0.15, N_USERS)}
    options = {"none": {}, "graph": GRAPH, "guard": GUARD}
    variants = {name: VariantConfig.model_validate(one) for name, one in options.items()}

    def graph_gain(names: list[str]) -> float:
        tables = [
            pa.table({"variant": [name] * N_USERS, "user": np.arange(N_USERS), "ndcg": values[name]}) for name in names
        ]
        found = part_gains({name: variants[name] for name in names}, pa.concat_tables(tables), 0)
        return next(gain.p_value for gain in found if gain.variant == "graph")

    assert graph_gain(["none", "graph", "guard"]) == pytest.approx(2 * graph_gain(["none", "graph"]))
