from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from hnlm_ray.config.backbones import NGCFOptions
from hnlm_ray.config.defaults import DEFAULT_VARIANTS
from hnlm_ray.config.load import load_config
from hnlm_ray.config.losses import SLAtKOptions
from hnlm_ray.config.samplers import DNSOptions, PopularitySamplerOptions
from hnlm_ray.config.semantic import ContrastOptions, MixingOptions, SemanticOptions
from hnlm_ray.config.tree import Config, TrainConfig
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.errors import ConfigError


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("seed: 3\ntrain: {workers: 2}\n")
    config = load_config([path], ["train.workers=4", "evaluate.cutoffs=[5]"])
    assert (config.seed, config.train.workers, config.evaluate.cutoffs) == (3, 4, (5,))


def test_the_number_of_workers_may_be_left_to_the_run() -> None:
    assert load_config([], []).train.workers is load_config([], ["train.workers=auto"]).train.workers is None
    assert load_config([], ["train.workers=3"]).train.workers == 3


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.wrokers=2", "did you mean 'workers'"),
        ("trian.workers=2", "did you mean 'train'"),
        ("train.variants.hnlm.semantic.mixng=0.1", "did you mean 'mixing'"),
        ("train.variants.hnlm.semantic.mixing.shar=0.1", "did you mean 'share'"),
        ("data.split.stratgy=random", "did you mean 'strategy'"),
        ("train.workers=two", "train.workers: Input should be a valid integer"),
        ("train.workers=0", "greater than or equal to 1"),
        ("data.format=yelp", "needs data.path"),
        ("data.split.valid=0.9", "data.split"),
        ("serve.variant=none_such", "serve.variant is 'none_such'"),
        ("llm.engine_kwargs.trust_remote_code=true", "refused"),
        ("train.workers", "is not key.path=value"),
        ("seed.x=1", "seed"),
        ("train.variants.hnlm.semantic=true", "expected a section, for example {source: text, mixing: {share: 0.1}}"),
        ("train.variants.hnlm.semantic=text", "expected a section, for example {source: text"),
        ("serve={variant: uniform, also: [uniform]}", "uniform is named more than once"),
        ("train.variants.both.backbone=ensemble", "train.variants.both.backbone.members: Field required"),
        ("train.variants.both.backbone={name: ensemble, members: []}", "should have at least 1 item"),
        (
            "train.variants.both.backbone={name: ensemble, members: [{variant: dns, sedes: [1]}]}",
            "unknown key 'train.variants.both.backbone.members.0.sedes', did you mean 'seeds'?",
        ),
        (
            "train.variants={dns: {}, both: {backbone: {name: ensemble, members: [{variant: dsn}]}}}",
            "train.variants.both.backbone.members.0.variant is 'dsn', train.variants has dns, both",
        ),
        (
            "train.variants={ease: {backbone: ease}, both: {backbone: {name: ensemble, members: [{variant: ease}]}}}",
            "members.0.variant=ease is computed (ease), an ensemble joins the vectors of trained variants",
        ),
        (
            "train.variants={both: {backbone: {name: ensemble, members: [{variant: both}]}}}",
            "members.0.variant=both is itself an ensemble: name its members instead",
        ),
        ("train.variants.best={backbone: mf}", "'best' stands for whichever variant is best on validation"),
    ],
)
def test_a_wrong_option_is_one_sentence(override: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config([], [override])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def variant_of(text: str) -> VariantConfig:
    return load_config([], [f"train.variants.new={text}"]).train.variants["new"]


def refusal_of(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        variant_of(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_section_is_chosen_by_its_name_alone_or_with_options() -> None:
    short = variant_of("{backbone: ngcf, sampler: popularity, loss: sl_at_k}")
    assert (short.backbone, short.sampler, short.loss) == (NGCFOptions(), PopularitySamplerOptions(), SLAtKOptions())
    long = variant_of("{sampler: {name: dns, candidates: 32, top: 2}}")
    assert long.sampler == DNSOptions(candidates=32, top=2)
    assert str(long.sampler) == "dns(candidates=32, top=2)"
    assert str(short.sampler) == "popularity"
    assert variant_of(long.model_dump_json()) == long


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{backbone: lightgnc}", "train.variants.new.backbone: there is no 'lightgnc', there are 'mf', 'lightgcn'"),
        ("{sampler: {name: hardest}}", "train.variants.new.sampler: there is no 'hardest'"),
        ("{loss: {temperature: 0.2}}", "train.variants.new.loss: has no name"),
        (
            "{sampler: {name: dns, candidats: 3}}",
            "unknown key 'train.variants.new.sampler.candidats', did you mean 'candidates'?",
        ),
        (
            "{sampler: {name: dns, exponent: 3}}",
            "'train.variants.new.sampler.exponent', there are name, candidates, top",
        ),
        ("{backbone: {name: sgl, dorp: 0.1}}", "'train.variants.new.backbone.dorp', did you mean 'drop'?"),
        ("{loss: {name: bsl, power: 0}}", "train.variants.new.loss.power: Input should be greater than 0"),
        ("{backbone: {name: ngcf, layers: 0}}", "train.variants.new.backbone.layers"),
        ("{dim: 0}", "train.variants.new.dim: Input should be greater than or equal to 1"),
        ("{sampler: {name: uniform, negatives: 0}}", "train.variants.new.sampler.negatives"),
        ("{epochs: 0}", "train.variants.new.epochs"),
        ("{batch_size: 0}", "train.variants.new.batch_size"),
    ],
)
def test_a_wrong_part_of_a_variant_is_named_as_the_user_wrote_it(text: str, expected: str) -> None:
    assert expected in refusal_of(text)


REFUSED = [
    ("{sampler: in_batch}", "in_batch goes with a softmax loss (softmax, bsl, sl_at_k)"),
    ("{sampler: in_batch, loss: hinge}", "in_batch goes with a softmax loss"),
    *[
        (f"{{sampler: {sampler}, backbone: {backbone}}}", f"{sampler} goes with the backbones mf and lightgcn")
        for sampler in ("mixgcf", "dens")
        for backbone in ("ngcf", "sgl", "simgcl", "xsimgcl")
    ],
    *[
        (f"{{sampler: {sampler}, loss: {loss}}}", f"{sampler} mixes layers, whose lengths cosines lose: use")
        for sampler in ("mixgcf", "dens")
        for loss in ("softmax", "bsl", "sl_at_k", "pairwise_contrastive")
    ],
    ("{sampler: {name: dns, candidates: 4, top: 5}}", "new.sampler: top is 5, there are 4 candidates"),
    ("{backbone: {name: xsimgcl, layers: 2, contrast_layer: 3}}", "contrast_layer is 3, there are 2 layers"),
    *[
        (f"{{backbone: {backbone}, semantic: {{}}}}", f"{backbone} takes no negatives")
        for backbone in ("directau", "popularity", "item_knn", "ease")
    ],
    ("{sampler: in_batch, loss: softmax, batch_size: 1}", "in_batch compares the pairs of a batch"),
    ("{sampler: in_batch, loss: softmax, positives: user}", "in_batch corrects for uniform interactions"),
    ("{backbone: directau, batch_size: 1}", "directau compares the pairs of a batch, so batch_size must be at least 2"),
    *[
        (f"{{loss: {loss}, semantic: {{mixing: {{share: 0.1}}}}}}", f"no effect with the softmax loss {loss}: use")
        for loss in ("softmax", "bsl", "sl_at_k")
    ],
    *[
        (f"{{loss: {loss}, semantic: {{extra: {{weight: 0.1}}}}}}", f"no effect with {loss}, a loss over pairs: use")
        for loss in ("bpr", "hinge", "pairwise_contrastive")
    ],
]


@pytest.mark.parametrize(("text", "expected"), REFUSED, ids=[text for text, _ in REFUSED])
def test_parts_that_do_not_fit_together_are_refused(text: str, expected: str) -> None:
    assert expected in refusal_of(text)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["popularity"], "'popularity' is the name of a reference ranker of the evaluation"),
        (["random"], "'random' is the name of a reference ranker of the evaluation"),
        *[
            ([name], f"{name!r} cannot name a variant: use up to 64 letters, digits, _ and -")
            for name in ("a/b", "../x", "dns.soft", "", "-x", "_x", "zwei Wörter", "x" * 65, "x\n", "a:b")
        ],
        (["DNS", "dns"], "'dns' differs from another name in upper and lower case only"),
        (["Random"], "'Random' differs from another name in upper and lower case only"),
    ],
)
def test_a_name_that_stages_and_pages_cannot_carry_is_refused(names: list[str], expected: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TrainConfig(variants={name: VariantConfig() for name in names})
    assert expected in caught.value.errors()[0]["msg"]


@pytest.mark.parametrize("name", ["dns", "dns-8", "dns_8", "8", "x" * 64, "train", "s0"])
def test_other_names_of_variants_are_fine(name: str) -> None:
    assert list(TrainConfig(variants={name: VariantConfig()}).variants) == [name]


def test_overriding_a_default_variant_keeps_the_others() -> None:
    config = load_config([], ["train.variants.hnlm.semantic.mixing.share=0.3", "train.variants.third={backbone: mf}"])
    assert set(config.train.variants) == {*DEFAULT_VARIANTS, "third"}
    mixing, contrast = MixingOptions(share=0.3), ContrastOptions(weight=0.001)
    assert config.train.variants["hnlm"].semantic == SemanticOptions(mixing=mixing, contrast=contrast)


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config([], ["train.workers=0", "llm.modle=x", "evaluate.cutoffs=[0]"])
    for part in ("train.workers", "llm.modle", "evaluate.cutoffs"):
        assert part in str(caught.value)


@pytest.mark.parametrize("content", ["- a\n- b\n", "a: [1\n", "\xff\xfe"])
def test_a_file_that_is_no_configuration(tmp_path: Path, content: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        load_config([path])


def test_every_option_has_its_section_documented() -> None:
    for name, field in Config.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and hasattr(section, "model_fields"):
            assert section.__doc__, name


def test_the_teacher_is_a_variant_trained_without_the_language_model() -> None:
    config = load_config()
    assert config.teacher == "uniform"
    with pytest.raises(
        ConfigError, match=r"tune.teacher is 'hnlm', variants trained without the language model: uniform"
    ):
        load_config([], ["tune.teacher=hnlm"])
    with pytest.raises(ConfigError, match="window ends at rank 3, before its first rank 5"):
        load_config([], ["tune.supervision.first=5", "tune.supervision.last=3"])
    alone = load_config([], ["train.variants={hnlm: {semantic: {mixing: {share: 0.1}}}}"])
    assert alone.teacher is None


def test_a_named_variant_that_cannot_be_served_is_refused_and_the_best_is_one_that_can() -> None:
    options = ["train.variants={uniform: {}, close: {backbone: ease}}"]
    with pytest.raises(ConfigError, match=r"serve\.variant=close is an item-item baseline \(ease\)"):
        load_config([], [*options, "serve.variant=close"])
    config = load_config([], options)
    assert (config.serve.variant, config.servable, config.served) == ("best", ("uniform",), ("best",))
    assert load_config([], ["train.variants={close: {backbone: ease}}"]).served == ()


def test_a_guard_takes_the_members_of_an_ensemble_and_not_the_ensemble() -> None:
    """So an ensemble of guarded variants cannot stand behind the guard that they use."""
    options = [
        "train.variants={ours: {guard: {table: likely}}, uniform: {}}",
        "train.variants.both.backbone={name: ensemble, members: [{variant: ours}]}",
        "guards={likely: {sources: [{variant: both}]}}",
    ]
    with pytest.raises(ConfigError, match=r"guards\.likely\.sources\.0\.variant=both is an ensemble: name its members"):
        load_config([], options)


def test_what_reads_tuned_items_needs_an_encoder_that_gives_items_vectors() -> None:
    reader = ["train.variants={u: {}, t: {item_graph: {source: tuned}}}"]
    guard = ["train.variants={u: {}, t: {guard: {table: g}}}", "guards={g: {sources: [{neighbours: tuned}]}}"]
    for options, where in ((reader, r"train\.variants\.t\.item_graph\.source"), (guard, r"guards\.g\.sources\.0\.")):
        with pytest.raises(ConfigError, match=where + r".* is tuned, but tune\.form=pair .* set tune\.form=factorised"):
            load_config([], [*options, "tune.form=pair"])
        load_config([], options)
        load_config([], [*options, "tune.form=pair", "tune.keep=runs/old"])
    for options, where in ((reader, r"train\.variants\.t\.item_graph"), (guard, r"guards\.g\.sources\.0\.neighbours")):
        alone = [options[0].replace("u: {}, ", ""), *options[1:]]
        with pytest.raises(ConfigError, match=where + r".* uses a tuned encoder, which needs a teacher"):
            load_config([], alone)


def test_an_encoder_tuned_on_what_users_like_gives_no_negatives() -> None:
    likes = ["tune.supervision.strategy=history"]
    with pytest.raises(ConfigError, match=r"items that users like, and train\.variants\.t takes what it emits"):
        load_config([], [*likes, "train.variants={u: {}, t: {semantic: {source: tuned, mixing: {share: 0.1}}}}"])
    load_config([], [*likes, "train.variants={u: {}, t: {item_graph: {source: tuned}}}"])
