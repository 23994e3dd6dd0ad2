"""The encoder: one definition, saved and loaded, with its parts in their places."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from hnlm_ray.config.tuning import Form, LoraOptions, TuneConfig
from hnlm_ray.errors import EngineError, StoreError
from hnlm_ray.testing.tuning import DIM, small_data, small_encoder
from hnlm_ray.tuning.body import load_body, with_adapter
from hnlm_ray.tuning.encoder import Encoder, EncoderSpec, copy_adapters
from hnlm_ray.tuning.forms import FORMS, load_encoder
from hnlm_ray.tuning.pair_encoder import PairEncoder, tensors_of
from hnlm_ray.tuning.tokens import lay_out
from tests.language.tiny_model import pickle_weights, write_tiny_model

OPTIONS = TuneConfig(model="demo", lora=LoraOptions(rank=4))


def vectors_of(encoder: Encoder, rows: slice = slice(0, 9), scale: float = 1.0) -> torch.Tensor:
    data = small_data()
    inputs = encoder.inputs(data.user_tokens, data.item_tokens, data.pairs.users[rows], data.pairs.items[rows])
    teacher = (
        torch.from_numpy(data.teacher.users[inputs.users] * scale),
        torch.from_numpy(data.teacher.items[inputs.items]),
    )
    with torch.no_grad():
        found: torch.Tensor = encoder.eval()(*inputs.tensors, *teacher)
    return found


def stirred(encoder: Encoder) -> Encoder:
    """As if it had been tuned: an adapter starts as the identity."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.2, generator=generator)
    return encoder


def options_of(form: Form) -> TuneConfig:
    return OPTIONS.model_copy(update={"form": form})


@pytest.mark.parametrize("form", FORMS)
def test_vectors_are_of_unit_length_in_the_teachers_space(form: Form) -> None:
    vectors = vectors_of(small_encoder(options_of(form)))
    assert vectors.shape == (9, DIM)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(9))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_padding_and_other_pairs_change_nothing(form: Form, pooling: str) -> None:
    encoder = small_encoder(options_of(form).model_copy(update={"pooling": pooling}))
    together = vectors_of(encoder)
    for row in range(9):
        torch.testing.assert_close(vectors_of(encoder, slice(row, row + 1))[0], together[row], rtol=1e-4, atol=1e-5)


def test_the_last_token_is_that_of_the_items_text() -> None:
    encoder, data = small_encoder(options_of("pair").model_copy(update={"pooling": "last"})).eval(), small_data()
    assert isinstance(encoder, PairEncoder)
    user, item = data.pairs.users[:1], data.pairs.items[:1]
    teacher = torch.from_numpy(data.teacher.users[user]), torch.from_numpy(data.teacher.items[item])
    ids, mask, places = tensors_of(lay_out(data.user_tokens, data.item_tokens, user, item))
    with torch.no_grad():
        embedded = encoder.embed(ids, places, *teacher)
        hidden = encoder.body(inputs_embeds=embedded, attention_mask=mask.long()).last_hidden_state
        torch.testing.assert_close(encoder(ids, mask, places, *teacher), encoder.finish(hidden[:, -1]))
    assert mask.all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_the_teachers_vectors_reach_the_output(form: Form, pooling: str) -> None:
    encoder = small_encoder(options_of(form).model_copy(update={"pooling": pooling}))
    assert (vectors_of(encoder) - vectors_of(encoder, scale=-1.0)).abs().max() > 1e-3


def test_soft_tokens_are_about_as_long_as_words() -> None:
    encoder, data = small_encoder(OPTIONS), small_data()
    words = encoder.body.get_input_embeddings().weight
    soft = encoder.user_projection(torch.from_numpy(data.teacher.users) / encoder.scales[0])
    assert 0.8 < (soft.std() / words.std()).item() < 1.25


@pytest.mark.parametrize(("form", "heads"), [("pair", {"head"}), ("factorised", {"user_head", "item_head", "mixer"})])
def test_what_is_tuned_is_adapter_projections_and_head(form: Form, heads: set[str]) -> None:
    around = heads | {"user_projection", "item_projection"}
    names = {name for name, weight in small_encoder(options_of(form)).named_parameters() if weight.requires_grad}
    assert any("lora_A" in name for name in names)
    assert all("lora_" in name or name.split(".")[0] in around for name in names)
    frozen = small_encoder(TuneConfig(model="demo", form=form, lora=LoraOptions(rank=0)))
    trained = {name.split(".")[0] for name, weight in frozen.named_parameters() if weight.requires_grad}
    assert trained == around


def test_first_values_derive_from_the_seed() -> None:
    one, same, other = (small_encoder(OPTIONS, seed) for seed in (0, 0, 1))
    for (name, weight), twin, stranger in zip(
        one.named_parameters(), same.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(weight, twin), name
        assert not weight.requires_grad or not weight.any() or not torch.equal(weight, stranger), name


@pytest.mark.parametrize("form", FORMS)
def test_what_is_loaded_gives_the_vectors_that_were_saved(tmp_path: Path, form: Form) -> None:
    encoder = stirred(small_encoder(options_of(form)))
    encoder.save(tmp_path, EncoderSpec("demo", DIM, form=form))
    loaded, spec = load_encoder(tmp_path)
    assert spec == EncoderSpec("demo", DIM, form=form)
    assert type(loaded) is FORMS[form]
    torch.testing.assert_close(vectors_of(loaded), vectors_of(encoder), rtol=1e-4, atol=1e-5)


def test_the_adapter_is_peft_safetensors_that_transformers_loads(tmp_path: Path) -> None:
    encoder = stirred(small_encoder(OPTIONS))
    encoder.save(tmp_path, EncoderSpec("demo", DIM))
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"adapter_model.safetensors", "adapter_config.json", "encoder.safetensors", "encoder.json"}
    with safe_open(tmp_path / "adapter" / "adapter_model.safetensors", "np") as file:
        assert all("lora_" in name for name in file.keys())  # noqa: SIM118
    body = load_body("demo")
    body.load_adapter(str(tmp_path / "adapter"))  # transformers' own loader of adapters
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        expected = encoder.eval().body(ids).last_hidden_state
        torch.testing.assert_close(body.eval()(ids).last_hidden_state, expected, rtol=1e-4, atol=1e-4)


def test_pickles_are_refused_as_body_and_as_adapter(tmp_path: Path) -> None:
    body = pickle_weights(write_tiny_model(tmp_path / "body"))
    with pytest.raises(EngineError, match="body has pickled weights only"):
        load_body(str(body))
    stirred(small_encoder(OPTIONS)).save(tmp_path, EncoderSpec("demo", DIM))
    pickle_weights(tmp_path / "adapter")
    with pytest.raises(EngineError, match="adapter has pickled weights only"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_its_pooling_is_saved_with_it(tmp_path: Path, form: Form) -> None:
    encoder = small_encoder(options_of(form).model_copy(update={"pooling": "last"}))
    encoder.save(tmp_path, EncoderSpec("demo", DIM, "last", form=form))
    loaded, spec = load_encoder(tmp_path)
    assert spec.pooling == "last"
    torch.testing.assert_close(vectors_of(loaded), vectors_of(encoder), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_a_tuned_encoder_can_be_begun_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    begun = stirred(small_encoder(options_of(form)))
    begun.save(first, EncoderSpec("demo", DIM, form=form))
    monkeypatch.setenv("HOME", str(first.parent))
    going_on = small_encoder(options_of(form).model_copy(update={"start": f"~/{first.name}"}))
    stirred(going_on).save(second, EncoderSpec("demo", DIM, bases=copy_adapters(first, second), form=form))
    loaded, spec = load_encoder(second)
    assert spec.bases == ("base-0",)
    torch.testing.assert_close(vectors_of(loaded), vectors_of(going_on), rtol=1e-4, atol=1e-4)
    assert (vectors_of(loaded) - vectors_of(begun)).abs().max() > 1e-3


def test_damage_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no tuned encoder"):
        load_encoder(tmp_path)
    small_encoder(OPTIONS).save(tmp_path, EncoderSpec("demo", DIM, form=OPTIONS.form))
    (tmp_path / "encoder.safetensors").write_bytes(b"torn")
    with pytest.raises(StoreError, match="holds no tuned encoder"):
        load_encoder(tmp_path)
    (tmp_path / "encoder.json").write_text(json.dumps({"model": "demo", "dim": 4, "bases": [], "pooling": "max"}))
    with pytest.raises(StoreError, match="pooling is 'max'"):
        load_encoder(tmp_path)
    (tmp_path / "encoder.json").write_text(json.dumps({"model": "demo", "dim": 4, "bases": [], "form": "triple"}))
    with pytest.raises(StoreError, match="form is 'triple'"):
        load_encoder(tmp_path)
    (tmp_path / "encoder.json").write_text(json.dumps({"model": "demo"}))
    with pytest.raises(StoreError, match="holds no tuned encoder"):
        load_encoder(tmp_path)


def test_an_unknown_layer_is_one_sentence() -> None:
    with pytest.raises(EngineError, match=r"tune\.lora\.targets"):
        with_adapter(load_body("demo"), LoraOptions(targets=("no_such_layer",)), 0)


def test_a_missing_model_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot be loaded"):
        load_body(str(tmp_path))


def test_the_projections_see_scaled_vectors() -> None:
    teacher = small_data().teacher
    encoder = small_encoder(OPTIONS)
    assert float(encoder.scales[0]) == pytest.approx(float(np.sqrt((teacher.users**2).mean())), rel=1e-6)
