from __future__ import annotations

from pathlib import Path

import pytest

from hnlm_ray.config import Config, load_config
from hnlm_ray.errors import ConfigError

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_configuration_is_valid(path: Path) -> None:
    needs_path = [] if path.stem in ("demo",) else ["data.path=somewhere"]
    assert isinstance(load_config(path, needs_path), Config)


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("seed: 3\ntrain: {workers: 2}\n")
    config = load_config(path, ["train.workers=4", "evaluate.cutoffs=[5]"])
    assert (config.seed, config.train.workers, config.evaluate.cutoffs) == (3, 4, (5,))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.wrokers=2", "did you mean 'workers'"),
        ("trian.workers=2", "did you mean 'train'"),
        ("train.variants.hnlm.alfa=0.1", "did you mean 'alpha'"),
        ("data.split.stratgy=random", "did you mean 'strategy'"),
        ("train.workers=two", "train.workers: Input should be a valid integer"),
        ("train.workers=0", "greater than or equal to 1"),
        ("data.format=yelp", "needs data.path"),
        ("data.split.valid=0.9", "data.split"),
        ("serve.variant=none_such", "serve.variant is 'none_such'"),
        ("llm.engine_kwargs.trust_remote_code=true", "refused"),
        ("train.workers", "is not key.path=value"),
        ("seed.x=1", "seed"),
        ("train.variants.uniform.alpha=0.5", "no effect without semantic"),
        ("train.variants.hnlm={backbone: ease}", "serve.variant=hnlm is an item-item baseline (ease)"),
    ],
)
def test_a_wrong_option_is_one_sentence(override: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [override])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_overriding_a_default_variant_keeps_the_others() -> None:
    config = load_config(None, ["train.variants.hnlm.alpha=0.3", "train.variants.third={backbone: mf}"])
    assert set(config.train.variants) == {"uniform", "hnlm", "third"}
    assert config.train.variants["hnlm"].semantic
    assert config.train.variants["hnlm"].alpha == 0.3


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, ["train.workers=0", "llm.modle=x", "evaluate.cutoffs=[0]"])
    for part in ("train.workers", "llm.modle", "evaluate.cutoffs"):
        assert part in str(caught.value)


@pytest.mark.parametrize("content", ["- a\n- b\n", "a: [1\n", "\xff\xfe"])
def test_a_file_that_is_no_configuration(tmp_path: Path, content: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        load_config(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no configuration file .*none\.yaml"):
        load_config(tmp_path / "none.yaml")


def test_every_option_has_its_section_documented() -> None:
    for name, field in Config.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and hasattr(section, "model_fields"):
            assert section.__doc__, name
