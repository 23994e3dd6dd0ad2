from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from hnlm_ray.config.load import load_config, shipped_configs
from hnlm_ray.config.samplers import DNSOptions, UniformOptions
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import ConfigError

STUDY = ("demo", "study", "demo_study")
OVER_STUDY = ("study_few", "study_controls", "study_tuned")
"""Configurations that belong together: the last says only what it changes of the others."""


def files(folder: Path, *contents: str) -> list[Path]:
    paths = [folder / f"{number}.yaml" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_text(content)
    return paths


def refusal(*contents: str, folder: Path, overrides: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(files(folder, *contents), overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- the configurations that are shipped


@pytest.mark.parametrize("name", sorted(set(shipped_configs()) - {"demo_study", *OVER_STUDY}))
def test_every_shipped_configuration_is_valid(name: str) -> None:
    assert isinstance(load_config([Path(name)], [] if name == "demo" else ["data.path=somewhere"]), Config)


def test_the_study_on_the_demo_is_the_study_with_other_sizes() -> None:
    demo, study, both = (load_config([Path(name) for name in names]) for names in (STUDY[:1], STUDY[:2], STUDY))
    assert (both.data, both.llm, both.tune) == (demo.data, demo.llm, demo.tune)
    assert both.train.seeds == study.train.seeds
    assert {(one.epochs, one.batch_size, one.patience) for one in both.train.variants.values()} == {(60, 1024, 4)}
    assert both.train.variants["ours"].sampler == DNSOptions(candidates=16)
    assert study.train.variants["ours"].sampler == DNSOptions(candidates=32)
    assert both.train.variants["as_released"].loss == study.train.variants["as_released"].loss
    assert set(demo.train.variants) - set(both.train.variants) == {"hnlm", "tuned", "unguarded"}


@pytest.mark.parametrize("name", OVER_STUDY)
def test_what_is_laid_over_the_study_trains_its_variants_as_the_study_does(name: str) -> None:
    study, both = (load_config([Path(one) for one in names], ["data.path=x"]) for names in (["study"], ["study", name]))
    own = set(both.train.variants) - set(study.train.variants)
    assert own

    def how(config: Config, variant: str) -> tuple[object, ...]:
        options = config.train.variants[variant]
        return options.epochs, options.batch_size, options.learning_rate, options.patience

    assert {how(both, variant) for variant in own} == {how(study, "ours")}
    for variant in set(both.train.variants) - own:
        assert how(both, variant) == how(study, variant)


@pytest.mark.parametrize("name", ["demo", "demo.yaml", "configs/demo.yaml"])
def test_a_shipped_configuration_is_found_from_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()  # a folder of that name is not a configuration
    assert load_config([Path(name)]).llm.model == "demo"


def test_a_file_of_the_working_directory_comes_before_a_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo.yaml").write_text("seed: 17")
    assert load_config([Path("demo.yaml")]).seed == 17


@pytest.mark.parametrize("name", ["none", "elsewhere/demo.yaml", "demo.yml"])
def test_a_missing_file_is_named_and_so_are_the_shipped_ones(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=rf"no configuration file {name}; .*demo, .*yelp"):
        load_config([Path(name)])


def test_a_pipe_and_a_home_folder_are_places_of_a_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=("seed: 5",))
    writer.start()
    assert load_config([tmp_path / "pipe"]).seed == 5
    writer.join()
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("seed: 6")
    assert load_config([Path("~/mine.yaml")]).seed == 6


# ---- several files


def test_sections_merge_and_values_replace(tmp_path: Path) -> None:
    config = load_config(
        files(
            tmp_path,
            "seed: 1\ntrain: {workers: 2, seeds: [0, 1, 2]}\ndata: {split: {valid: 0.2}}",
            "train: {seeds: [7]}\ndata: {split: {test: 0.3}}",
            "seed: 2",
        )
    )
    assert (config.seed, config.train.workers, config.train.seeds) == (2, 2, (7,))
    assert (config.data.split.valid, config.data.split.test) == (0.2, 0.3)


def test_a_section_merges_with_one_of_its_own_name_and_replaces_another(tmp_path: Path) -> None:
    first = (
        "train: {variants: {uniform: {}, hnlm: {sampler: {name: dns, candidates: 8, top: 2}}, short: {sampler: dns}}}"
    )
    same = "train: {variants: {hnlm: {sampler: {candidates: 5}}, short: {sampler: {candidates: 5}}}}"
    other = "train: {variants: {hnlm: {sampler: {name: uniform, negatives: 3}}}}"
    variants = load_config(files(tmp_path, first, same)).train.variants
    assert variants["hnlm"].sampler == DNSOptions(candidates=5, top=2)
    assert variants["short"].sampler == DNSOptions(candidates=5)
    assert load_config(files(tmp_path, first, other)).train.variants["hnlm"].sampler == UniformOptions(negatives=3)


VARIANTS = "serve: {variant: a}\ntrain: {variants: {'*': {epochs: 3, dim: 8}, a: {}, b: {dim: 16}}}"


def test_a_later_file_changes_adds_and_leaves_out_variants(tmp_path: Path) -> None:
    later = "train: {variants: {a: {dim: 4}, b: null, c: {}}}"
    variants = load_config(files(tmp_path, VARIANTS, later)).train.variants
    assert {name: (one.epochs, one.dim) for name, one in variants.items()} == {"a": (3, 4), "c": (3, 8)}


def test_a_star_stands_for_every_variant_those_of_later_files_too(tmp_path: Path) -> None:
    variants = load_config(files(tmp_path, VARIANTS)).train.variants
    assert {name: (one.epochs, one.dim) for name, one in variants.items()} == {"a": (3, 8), "b": (3, 16)}
    later = "train: {variants: {'*': {dim: 32}, a: {dim: 4}, c: {epochs: 9}}}"
    variants = load_config(files(tmp_path, VARIANTS, later)).train.variants
    assert {name: (one.epochs, one.dim) for name, one in variants.items()} == {"a": (3, 4), "b": (3, 32), "c": (9, 32)}


def test_a_file_that_speaks_of_every_variant_keeps_the_default_ones(tmp_path: Path) -> None:
    config = load_config(files(tmp_path, "train: {variants: {'*': {epochs: 3}}}"))
    assert config.train.variants.keys() == load_config().train.variants.keys()
    assert {one.epochs for one in config.train.variants.values()} == {3}
    assert config.train.variants["hnlm"].semantic == load_config().train.variants["hnlm"].semantic


def test_a_variant_that_is_not_there_cannot_be_left_out(tmp_path: Path) -> None:
    text = refusal(VARIANTS, "train: {variants: {d: null}}", folder=tmp_path)
    assert "train.variants.d is null" in text
    assert "there are a, b" in text


# ---- overrides


def test_an_override_changes_every_variant_or_leaves_one_out(tmp_path: Path) -> None:
    paths = files(tmp_path, VARIANTS)
    config = load_config(paths, ["train.variants.*.sampler={name: dns}", "train.variants.b.sampler.candidates=2"])
    assert config.train.variants["a"].sampler == DNSOptions()
    assert config.train.variants["b"].sampler == DNSOptions(candidates=2)
    assert set(load_config(paths, ["train.variants.b=null"]).train.variants) == {"a"}
    with pytest.raises(ConfigError, match=r"train.variants.c is null"):
        load_config(paths, ["train.variants.c=null"])


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("train.workers", "2"), "write train.workers=2"),
        (("--train.workers", "2"), "write train.workers=2"),
        (("--train.workers=3",), "write train.workers=3"),
        (("train.workers", "seed=1"), "write train.workers=VALUE"),
        (("workers",), "write for example train.workers=2"),
        (("=3",), "write for example train.workers=2"),
    ],
)
def test_an_override_without_its_form_is_shown_with_it(
    overrides: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    text = refusal(folder=tmp_path, overrides=overrides)
    assert f"override {overrides[0]!r} is not key.path=value; {expected}." in text


@pytest.mark.parametrize("value", ["[1", "{a: 1, a: 2}", "2024-13-45"])
def test_a_value_that_is_not_yaml_is_named_with_its_override(value: str, tmp_path: Path) -> None:
    assert "the value of override data.path is not valid YAML" in refusal(
        folder=tmp_path, overrides=(f"data.path={value}",)
    )


def test_an_error_names_the_file_or_the_override_that_it_is_in(tmp_path: Path) -> None:
    text = refusal(
        "train: {workers: 1, seeds: [0]}\nllm: {modle: x}",
        "train: {workers: two}\ndata: {split: {valid: 0.9}}",
        folder=tmp_path,
        overrides=("serve.prot=1", "data.split.test=0.5", "train.variants.*.epochs=0"),
    )
    problems = {source: text.split(source, 1)[1] for source in (f"{tmp_path}/0.yaml: ", f"{tmp_path}/1.yaml: ")}
    assert problems[f"{tmp_path}/0.yaml: "].startswith("unknown key 'llm.modle'")
    assert problems[f"{tmp_path}/1.yaml: "].startswith("train.workers")
    assert f"{tmp_path}/1.yaml and override data.split.test: data.split: valid + test" in text
    assert "override serve.prot: unknown key 'serve.prot'" in text
    assert "override train.variants.*.epochs: train.variants.uniform.epochs" in text


@pytest.mark.parametrize(
    "option",
    [
        "run=s3://{}@bucket/run",
        "data.path=s3://{}@bucket/raw?region=x",
        "tune.keep=gs://{}@bucket/run",
        "embed.model=https://{}@host/model",
        "cluster.address=ray://{}@host:10001",
        "llm.http.url=https://{}@host/v1",
        "train.variants.ours.semantic=s3://{}@host",
    ],
)
@pytest.mark.parametrize("keys", ["KEY:SECRET", "KEY:SEC/RET"])
def test_an_address_with_keys_in_it_is_refused_without_repeating_them(option: str, keys: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config([Path("demo")], [option.format(keys)])
    assert option.partition("=")[0].split(".")[-1] in str(caught.value)
    assert "KEY:" not in str(caught.value)
    assert "RET@" not in str(caught.value)


def test_an_address_may_have_an_at_sign_and_a_user(tmp_path: Path) -> None:
    for run in ("gs://anonymous@bucket/run", "s3://bucket/a:b@c", str(tmp_path / "a:b@c")):
        assert load_config([], [f"run={run}"]).run == run


def test_a_file_that_is_given_again_counts_again(tmp_path: Path) -> None:
    first, second = files(tmp_path, "seed: 1", "seed: 2")
    assert load_config([first, second, first]).seed == 1


def test_sections_that_are_values_are_refused(tmp_path: Path) -> None:
    assert "'train' is a value" in refusal("train: 3", folder=tmp_path, overrides=("train.variants.uniform.epochs=1",))
    assert "train" in refusal("train: {workers: 2}", "train:", folder=tmp_path)


# ---- YAML that would be lost in silence or never end


def bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 10)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("seed: 1\ntrain: {workers: 2}\nseed: 2", "in line 3: the key 'seed' is given twice"),
        ("data:\n  split: {valid: 0.1, test: 0.1, valid: 0.2}", "in line 2: the key 'valid' is given twice"),
        ("data: &data {columns: *data}", "an alias contains itself"),
        (bomb(), "aliases stand for more than 100,000 values"),
        ("data: " + "[" * 3000, "nests deeper than 50 levels"),
        ("data: " + "{a: " * 3000, "nests deeper than 50 levels"),
        ("data: {date_from: 2024-13-45}", "month must be in 1..12"),
        ("data: {date_from: 2024-01-01", "in line 1"),
        ("data: !!python/name:os.system", "in line 1"),
        ("data: \x07", "not valid YAML"),
    ],
    ids=["section", "key", "cycle", "bomb", "lists", "maps", "date", "open", "python", "control"],
)
def test_yaml_that_cannot_be_meant_is_one_sentence(content: str, expected: str, tmp_path: Path) -> None:
    text = refusal(content, folder=tmp_path)
    assert f"{tmp_path}/0.yaml is not valid YAML" in text
    assert expected in text


def test_anchors_and_merge_keys_may_be_used(tmp_path: Path) -> None:
    config = load_config(
        files(
            tmp_path,
            "train: {variants: {uniform: &base {epochs: 3, dim: 4}, hnlm: &more {<<: *base, dim: 8},"
            " third: {<<: *more, epochs: 5}}}",
        )
    )
    assert [(one.epochs, one.dim) for one in config.train.variants.values()] == [(3, 4), (3, 8), (5, 8)]


def test_an_option_of_a_variant_with_a_typo_makes_no_variant() -> None:
    variants = "train.variants={dns: {sampler: dns}, uniform: {}}"
    with pytest.raises(ConfigError) as caught:
        load_config([], [variants, "train.variants.dsn.epochs=3"])
    assert str(caught.value) == (
        "override train.variants.dsn.epochs: there is no variant 'dsn', did you mean 'dns';"
        " write train.variants.dsn={...} for a new one."
    )
    assert set(load_config([], [variants, "train.variants.dsn={epochs: 3}"]).train.variants) == {
        "dns",
        "uniform",
        "dsn",
    }
    assert "mine" in load_config([], [variants, "train.variants.mine.backbone=mf"]).train.variants
