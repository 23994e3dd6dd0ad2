from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hnlm_ray.config.tracking import TrackingConfig
from hnlm_ray.config.tree import TrainConfig
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.evaluation.metrics import METRICS
from hnlm_ray.evaluation.strata import Stratum
from hnlm_ray.run.store import RunStore
from hnlm_ray.run.tracked import TrackingRecord
from hnlm_ray.stages.report import run
from hnlm_ray.tables import FALSE_NEGATIVES, STRATA
from hnlm_ray.tables import METRICS as METRICS_TABLE
from tests.stages.finished_run import N_USERS, FinishedRun

ATTACK = "<script>alert(1)</script>"


def evaluated(finished: FinishedRun, false_negatives: bool = True) -> FinishedRun:
    """Add what ``evaluate`` would have written."""
    artifact = finished.artifact("evaluate")
    fits = [(name, seed) for name in finished.config.train.variants for seed in finished.config.train.seeds]
    rows = [
        {
            "variant": variant,
            "seed": seed,
            "split": split,
            "metric": metric,
            "k": k,
            "value": 0.1 + 0.01 * (variant == "hnlm"),
        }
        for variant, seed in [*fits, ("popularity", None), ("random", None)]
        for split in ("valid", "test")
        for metric in (*METRICS, "coverage")
        for k in (*finished.config.evaluate.cutoffs, 20)
    ]
    artifact.write("metrics", pa.Table.from_pylist(rows, schema=METRICS_TABLE))
    rng = np.random.default_rng(0)
    base = rng.random(N_USERS)
    tables = []
    for variant, seed in fits:
        values = base + 0.01 * (variant == "hnlm")
        keys = {"variant": [variant] * N_USERS, "seed": [seed] * N_USERS, "user": np.arange(N_USERS)}
        tables.append(pa.table({**keys, "recall": values, "ndcg": values}))
    artifact.write("user_metrics", pa.concat_tables(tables))
    groups = [
        {**asdict(Stratum(kind, stratum, stratum, stratum + 1, 9, metric, 20, 0.1)), "variant": variant, "seed": seed}
        for variant, seed in fits
        for kind in ("user_activity", "item_popularity")
        for stratum in range(2)
        for metric in ("recall", "ndcg")
    ]
    artifact.write("strata", pa.Table.from_pylist(groups, schema=STRATA))
    if false_negatives:
        rates = [{"sampler": "uniform", "rate": 0.25, "pairs": 9}, {"sampler": "dns-8", "rate": None, "pairs": 0}]
        artifact.write("false_negatives", pa.Table.from_pylist(rates, schema=FALSE_NEGATIVES))
    finished.commit(artifact, {"metrics": len(rows)})
    return finished


def page(finished: FinishedRun) -> str:
    context = finished.context("report")
    summary = run(context)
    content = context.output.read_bytes("report.html")
    assert summary.counts["bytes"] == len(content)
    return " ".join(content.decode().split())


def test_a_full_run_is_told_in_one_page(tmp_path: Path) -> None:
    finished = FinishedRun(tmp_path)
    finished.prepare()
    finished.fits()
    finished.language_model()
    html = page(evaluated(finished))
    for words in ("validation NDCG@20", "False negatives per sampler", "What the language model wrote", "empty answer"):
        assert words in html
    assert html.count('<svg role="img"') == 5  # the others belong to legends
    assert "At 10" in html
    assert "At 20" not in html  # computed for the choice of the model, not asked for
    assert html.count("the model's hard negative") == 6
    assert "duplicate pairs 3" in html
    assert "</span> better" in html or ">better<" in html  # a constant gain for every user
    assert "dns-8" not in html  # a rate without pairs is left out
    # 40 item profiles, 60 user profiles and 60 answers, each 10 tokens in and 10 out
    assert "<dt>LLM tokens</dt><dd>3,200</dd>" in html


def test_text_from_data_and_model_is_escaped(tmp_path: Path) -> None:
    finished = FinishedRun(tmp_path)
    finished.prepare(title=ATTACK)
    finished.fits()
    finished.language_model(summary=ATTACK, answer=ATTACK)
    html = page(evaluated(finished))
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 20


def test_a_run_on_interactions_alone_says_so(tmp_path: Path) -> None:
    finished = FinishedRun(tmp_path)
    finished.config = finished.config.model_copy(update={"train": TrainConfig(variants={"mine": VariantConfig()})})
    finished.prepare(truth=False)
    finished.fits()
    html = page(evaluated(finished, false_negatives=False))
    assert "no stage of the language model ran" in html
    assert "No variant is called &#39;uniform&#39;" in html
    for words in ("What the language model wrote", "False negatives per sampler", "LLM tokens", "Difference to"):
        assert words not in html


def test_a_run_with_some_stages_of_the_language_model_names_the_others(tmp_path: Path) -> None:
    finished = FinishedRun(tmp_path)
    finished.prepare()
    finished.fits()
    finished.language_model()
    del finished.inputs["user_profiles"], finished.inputs["ground"]
    html = page(evaluated(finished))
    assert "left out: user_profiles, ground." in html
    assert "Item profiles, drawn at random" in html
    assert "Hard negatives, drawn at random" not in html


@pytest.mark.parametrize("same", [True, False])
def test_the_seed_decides_what_is_shown(tmp_path: Path, same: bool) -> None:
    pages = []
    for seed in (0, 0 if same else 1):
        finished = FinishedRun(tmp_path)
        finished.config = finished.config.model_copy(update={"seed": seed})
        finished.prepare()
        finished.fits()
        finished.language_model()
        pages.append(page(evaluated(finished)).split("drawn at random")[1])
    assert (pages[0] == pages[1]) is same


def test_a_tracked_run_says_where_and_one_that_is_not_tracked_now_does_not(tmp_path: Path) -> None:
    finished = FinishedRun(tmp_path)
    finished.prepare()
    finished.fits()
    evaluated(finished)
    TrackingRecord(RunStore(str(tmp_path))).note_link("MLflow", "http://host:5000/#/experiments/1/runs/2")
    assert "Tracked with" not in page(finished)
    tracking = TrackingConfig.model_validate({"mlflow": {}})
    finished.config = finished.config.model_copy(update={"tracking": tracking})
    assert '<a href="http://host:5000/#/experiments/1/runs/2"' in page(finished)
