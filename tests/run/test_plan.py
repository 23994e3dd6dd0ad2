from __future__ import annotations

from pathlib import Path

import pytest

from hnlm_ray.config.defaults import DEFAULT_VARIANTS
from hnlm_ray.config.load import load_config
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import DataError
from hnlm_ray.run.plan import plan
from hnlm_ray.run.trials import draw_trials

LLM_STAGES = ("item_profiles", "user_profiles", "vectors", "negatives", "ground")
GUARD_STAGES = ("neighbours", "guard")
CF_ONLY = ["train.variants={a: {}, b: {backbone: mf}}", "serve.variant=a", "train.seeds=[0,1]"]


def prints(*overrides: str) -> dict[str, str]:
    return {name: artifact.fingerprint for name, artifact in plan(load_config([], overrides)).artifacts().items()}


def changed(*overrides: str) -> set[str]:
    before, after = prints(), prints(*overrides)
    return {name.split(".")[0] for name in before if before[name] != after.get(name)}


def test_profiles_of_everybody_do_not_depend_on_the_pairs() -> None:
    before, after = prints("profiles.scope=all"), prints("profiles.scope=all", "negatives.per_user=5", "seed=0")
    assert before["user_profiles"] == after["user_profiles"]
    assert before["negatives"] != after["negatives"]


def test_inputs_come_before_what_reads_them() -> None:
    seen: set[str] = set()
    for stage in plan(Config()).stages:
        assert set(stage.inputs.values()) <= seen
        seen.add(stage.name)


def test_without_a_semantic_variant_no_language_model_runs() -> None:
    names = prints(*CF_ONLY)
    assert not set(names) & set(LLM_STAGES)
    assert {"train.a.s0", "train.a.s1", "train.b.s0", "train.b.s1"} <= set(names)


@pytest.mark.parametrize(
    ("override", "stages"),
    [
        ("llm.replicas=2", set()),
        ("llm.batch_size=7", set()),
        ("llm.http.timeout_s=5", set()),
        ("train.workers=4", set()),
        ("serve.port=9000", set()),
        ("ground.fuzzy=0.5", {"ground", "train", "evaluate", "report", "bundle"}),
        ("negatives.per_user=5", {*LLM_STAGES, "train", "evaluate", "report", "bundle"} - {"vectors"}),
        ("negatives.budget=5", {"negatives", "ground", "train", "evaluate", "report", "bundle"}),
        ("evaluate.cutoffs=[5]", {"evaluate", "report", "bundle"}),
        ("seed=1", {"prepare", *LLM_STAGES, *GUARD_STAGES, "train", "evaluate", "report", "bundle"}),
        ("data.min_rating=4", {"prepare", *LLM_STAGES, *GUARD_STAGES, "train", "evaluate", "report", "bundle"}),
        ("train.variants.graph.epochs=3", {"guard", "train", "evaluate", "report", "bundle"}),
    ],
)
def test_an_option_invalidates_what_depends_on_it_and_nothing_else(override: str, stages: set[str]) -> None:
    assert changed(override) == stages


def test_a_new_variant_leaves_the_others_alone() -> None:
    before = prints()
    after = prints("train.variants.third={backbone: mf}")
    assert {name for name in before if name.startswith("train") and before[name] == after[name]} == {
        *(f"train.{name}.s0" for name in DEFAULT_VARIANTS),
        "train.graph.s1",
    }


def test_trials_run_again_what_depends_on_their_options_where_a_run_with_them_would_look() -> None:
    options = [
        "train.variants={uniform: {}, tuned: {semantic: {source: tuned, mixing: {share: 0.1}}}}",
        "serve.variant=uniform",
        "search={trials: 3, space: {tune.temperature: {choice: [0.01, 0.5]},"
        " train.variants.*.learning_rate: {choice: [0.1, 0.2]}}}",
    ]
    config = load_config([], options)
    planned = plan(config, search=True)
    again = [stage for stage in planned.stages if "@" in stage.name]
    drawn = {trial.number: trial.upstream for trial in draw_trials(config) if trial.upstream}
    assert set(drawn) == {1, 2}
    distinct = {upstream["tune.temperature"] for upstream in drawn.values()}
    assert {stage.name for stage in again} == {
        f"{kind}@{n}" for kind in ("tune", "encode") for n in range(1, len(distinct) + 1)
    }
    for stage in again:
        kind, number = stage.name.split("@")
        run = plan(load_config([], [*options, f"tune.temperature={drawn[int(number)]['tune.temperature']}"]))
        assert run[kind].artifact == stage.artifact
        assert run[kind].config.tune == stage.config.tune
    assert planned["encode@1"].inputs["tune"] == "tune@1"
    assert planned["encode@1"].inputs["tokens"] == "tokens"
    assert planned["search"].inputs["encode@1"] == "encode@1"
    assert {"tune@1", "encode@1", "tune", "supervise", "train.uniform.s0"} <= set(planned.before("search"))
    assert "train.tuned.s0" not in planned.before("search")


def test_variants_of_one_trial_share_all_that_was_drawn_outside_them() -> None:
    """The last variant depends on fewer of the options than the one before."""
    config = load_config(
        [],
        [
            "train.variants={uniform: {}, tuned: {semantic: {source: tuned, mixing: {share: 0.1}}},"
            " text: {item_text: true}}",
            "serve.variant=uniform",
            "search={trials: 2, variants: [tuned, text], space: {embed.pooling: {choice: [cls]},"
            " tune.temperature: {choice: [0.5]}}}",
        ],
    )
    planned = plan(config, search=True)
    assert planned["tune@1"].config.tune.temperature == 0.5
    assert planned["vectors@1"].config.embed.pooling == "cls"
    assert planned["encode@1"].inputs["vectors"] == "vectors@1"
    assert {planned["search"].inputs[name] for name in ("vectors@1", "encode@1")} == {"vectors@1", "encode@1"}


def test_other_weights_or_raw_files_are_not_reused(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    options = [f"llm.model={model}"]
    before = prints(*options)
    (model / "config.json").write_text('{"x": 1}')
    assert before["item_profiles"] != prints(*options)["item_profiles"]
    data = tmp_path / "data"
    data.mkdir()
    (data / "interactions.csv").write_text("a")
    options = ["data.format=table", f"data.path={data}"]
    before = prints(*options)
    (data / "interactions.csv").write_text("ab")
    assert before["prepare"] != prints(*options)["prepare"]


def test_missing_raw_data_is_a_sentence() -> None:
    with pytest.raises(DataError, match="does not exist"):
        prints("data.format=table", "data.path=/no/such/folder")


def test_a_stage_can_be_run_with_what_it_needs_alone() -> None:
    tuned = "train.variants={uniform: {}, dns: {sampler: dns}, hnlm: {semantic: {source: tuned}}}"
    run = plan(load_config([], [tuned, "tune.texts=catalogue"]))
    needed = ("prepare", "vectors", "train.uniform.s0", "tokens", "supervise", "tune")
    assert run.before("encode") == needed
    assert run.before("train.hnlm.s0") == (*needed, "encode")
    names = [stage.name for stage in run.stages]
    assert names.index("train.uniform.s0") < names.index("supervise") < names.index("train.hnlm.s0")
    assert "negatives" not in names
    assert "item_profiles" not in names


def test_a_kind_stands_for_all_its_stages_and_a_name_in_what_a_stage_needs_for_itself() -> None:
    described = "train.variants={a: {item_graph: {source: text}}, b: {item_graph: {source: described}}}"
    run = plan(load_config([], [described, "embed.model=x"]))
    assert run.names_of(["vectors"]) == ("vectors", "vectors.described")
    assert run.names_of([]) == tuple(stage.name for stage in run.stages)
    assert run.before("train.a.s0") == ("prepare", "vectors", "neighbours.text")


def test_the_strategy_and_the_texts_decide_what_the_language_model_writes() -> None:
    tuned = "train.variants={uniform: {}, hnlm: {semantic: {source: retrieved}}}"
    with_profiles = {stage.name for stage in plan(load_config([], [tuned])).stages}
    assert {"item_profiles", "user_profiles"} <= with_profiles
    assert "ground" not in with_profiles
    answers = {stage.name for stage in plan(load_config([], [tuned, "tune.supervision.strategy=answer"])).stages}
    assert {"negatives", "ground"} <= answers


def test_options_of_place_and_speed_repeat_no_tuning() -> None:
    tuned = "train.variants={uniform: {}, hnlm: {semantic: {source: tuned}}}"
    prints = [
        {stage.name: stage.artifact.fingerprint for stage in plan(load_config([], [tuned, *more])).stages}
        for more in ([], ["tune.workers=2", "tune.zero=3", "tune.accumulation=4", "encode.replicas=3"])
    ]
    assert prints[0] == prints[1]
    changed = {
        stage.name: stage.artifact.fingerprint for stage in plan(load_config([], [tuned, "tune.epochs=9"])).stages
    }
    assert {name for name in changed if changed[name] != prints[0][name]} == {
        "tune", "encode", "train.hnlm.s0", "evaluate", "report", "bundle.best",
    }  # fmt: skip


def test_the_bundle_of_the_best_depends_on_every_fit_that_can_be_served() -> None:
    options = ["train.variants={a: {}, b: {backbone: mf}, c: {backbone: ease}}", "train.seeds=[0,1]"]
    fits = {name for name in plan(load_config([], options))["bundle.best"].inputs if name.startswith("train.")}
    assert fits == {"train.a.s0", "train.a.s1", "train.b.s0", "train.b.s1"}
    before, after = prints(*options), prints(*options, "train.variants.b.epochs=7")
    assert before["bundle.best"] != after["bundle.best"]
    assert before["train.a.s0"] == after["train.a.s0"]


def test_a_run_of_nothing_that_can_be_served_has_no_bundle() -> None:
    names = prints("train.variants={close: {backbone: ease}}")
    assert "report" in names
    assert not [name for name in names if name.startswith("bundle")]


def test_one_variant_needs_no_serve_variant() -> None:
    assert "bundle.best" in prints("train.variants={mf: {backbone: mf}}")


def test_an_ensemble_reads_the_fits_of_its_members_and_changes_with_them() -> None:
    given = [
        "train.variants={a: {}, b: {backbone: mf}, c: {}, both: {backbone: {name: ensemble, members: []}}}",
        "train.variants.both.backbone.members=[{variant: a, seeds: [0, 7]}, {variant: b, weight: 0.5}]",
        "train.seeds=[0,1]",
    ]
    run = plan(load_config([], given))
    fits = ["train.a.s0", "train.a.s7", "train.b.s0"]
    assert set(run["train.both.s0"].inputs) == {"prepare", *fits}
    assert not {"train.both.s1", "train.b.s7"} & set(run.artifacts())
    assert "train.a.s7" not in run["evaluate"].inputs
    before = prints(*given)["train.both.s0"]
    for one in ("a.dim=8", "b.epochs=3", "both.backbone.members=[{variant: a, seeds: [0, 7]}, {variant: b}]"):
        assert prints(*given, f"train.variants.{one}")["train.both.s0"] != before
    assert prints(*given, "train.variants.c.dim=8", "train.seeds=[0]")["train.both.s0"] == before
