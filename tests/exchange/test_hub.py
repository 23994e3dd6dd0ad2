"""What is pushed comes back whole, nothing is published by mistake, and nothing odd is taken from a hub."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from huggingface_hub import ModelCard, constants
from safetensors.numpy import save_file

from hnlm_ray.cli import main as cli
from hnlm_ray.exchange import shipment
from hnlm_ray.run.store import RunStore
from hnlm_ray.serving.bundle.info import BundleAbout
from hnlm_ray.serving.bundle.writing import Extras, write_bundle
from hnlm_ray.serving.recommend.recommender import Recommender
from hnlm_ray.tables import ITEM_PROFILES, USER_METRICS, USER_PROFILES
from tests.cli.small_run import write_small_run
from tests.exchange.hub_server import TOKEN, Hub, running
from tests.serving.conftest import make_contents

REPO = "somebody/shop"
Run = Callable[..., tuple[object, str]]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub, and the client pointed at it with the token that it knows."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # a protocol of its own, which the stand-in lacks
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with running() as server:
        point_at(monkeypatch, server.address)
        yield server


def point_at(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def hnlm(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command; its exit code and everything that it prints."""

    def run(*words: object) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["hnlm", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        assert TOKEN not in out + err
        return caught.value.code or 0, err + out

    return run


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of 30 users and 50 items with texts about both."""
    rng = np.random.default_rng(3)
    seen = [sorted(rng.choice(50, size=6, replace=False).tolist()) for _ in range(30)]
    contents = make_contents(rng.normal(size=(30, 4)), rng.normal(size=(50, 4)), seen)
    answer = {"reasoning": "", "status": "ok", "reason": "", "excerpt": "", "attempts": 1}
    answer |= {"prompt_tokens": 1, "output_tokens": 1}
    extras = Extras(
        user_profiles=pa.Table.from_pylist([{"user": 0, "summary": "secret", **answer}], schema=USER_PROFILES),
        item_profiles=pa.Table.from_pylist([{"item": 0, "summary": "for all", **answer}], schema=ITEM_PROFILES),
    )
    metrics = {"test ndcg@20": 0.25, "test recall@20": 0.4, "valid ndcg@20": 0.26}
    about = BundleAbout(
        data="toy (table)", variant="ours", seed=3, config={"dim": 4}, metrics=metrics, code_version="0.1.0"
    )
    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(str(folder), contents, about, extras=extras)
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a stage ``tune``."""
    artifact = RunStore(str(tmp_path_factory.mktemp("run"))).artifact("tune", "abc")
    folder = Path(artifact.path, "encoder", "adapter")
    folder.mkdir(parents=True)
    save_file({"a": np.ones(3, np.float32)}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text("{}")
    save_file({"b": np.ones(2, np.float32)}, folder.parent / "encoder.safetensors")
    spec = {"model": "BAAI/bge-small-en-v1.5", "dim": 4, "pooling": "mean", "bases": [], "form": "pair"}
    (folder.parent / "encoder.json").write_text(json.dumps(spec))
    artifact.commit({"seconds": 1.0, "rows": {}, "counts": {"best_epoch": 2, "hit_10": 0.5, "valid_loss": 0.1}})
    return Path(artifact.path)


def test_a_whole_bundle_comes_back_and_recommends_the_same(hub: Hub, hnlm: Run, bundle: Path, tmp_path: Path) -> None:
    code, said = hnlm("push", bundle, REPO, "--with-users", "--licence", "cc-by-nc-4.0", "--private")
    assert (code, f"pushed to {hub.address}/{REPO}" in said) == (0, True), said
    assert REPO in hub.private
    assert hnlm("pull", REPO, tmp_path / "here")[0] == 0
    mine, theirs = Recommender.load(str(bundle)), Recommender.load(str(tmp_path / "here"))
    assert theirs.info == mine.info
    assert theirs.recommend("u3", k=7) == mine.recommend("u3", k=7)
    assert {path.name for path in tmp_path.iterdir()} == {"here"}
    assert ".cache" not in {path.name for path in (tmp_path / "here").iterdir()}


def test_whether_users_are_published_has_to_be_said(hub: Hub, hnlm: Run, bundle: Path) -> None:
    code, said = hnlm("push", bundle, REPO)
    assert code == 2
    assert "holds the ids, histories and vectors of 30 users; add --without-users" in said
    assert hub.asked == []


def test_without_users_nothing_of_them_is_published(hub: Hub, hnlm: Run, bundle: Path, tmp_path: Path) -> None:
    assert hnlm("push", bundle, REPO, "--with-users")[0] == 0
    assert "user_profiles.parquet" in hub.repos[REPO]
    code, said = hnlm("push", bundle, REPO, "--without-users")
    assert (code, "50 items, no users" in said) == (0, True), said
    published = hub.repos[REPO]
    assert not {"user_profiles.parquet", "negatives.parquet"} & published.keys()
    assert "item_profiles.parquet" in published
    assert not [name for name, content in published.items() if b"secret" in content or b"u17" in content]
    assert hnlm("pull", REPO, tmp_path / "here")[0] == 0
    mine, theirs = Recommender.load(str(bundle)), Recommender.load(str(tmp_path / "here"))
    assert theirs.info.users == 0
    assert theirs.info.version != mine.info.version
    history = ["i3", "i8", "i21"]
    assert theirs.recommend_from_history(history, k=5).items == mine.recommend_from_history(history, k=5).items
    assert theirs.recommend("u3", k=5).source == "popular"
    assert hnlm("push", tmp_path / "here", "somebody/again")[0] == 0  # there is nobody in it to ask about


def test_the_card_says_what_there_is_to_say(hub: Hub, hnlm: Run, bundle: Path) -> None:
    hnlm("push", bundle, REPO, "--without-users", "--licence", "cc-by-nc-4.0")
    card = ModelCard(hub.repos[REPO]["README.md"].decode())
    assert card.data.license == "cc-by-nc-4.0"
    assert {(one.metric_type, one.dataset_split, one.metric_value) for one in card.data.eval_results} == {
        ("ndcg@20", "test", 0.25), ("recall@20", "test", 0.4), ("ndcg@20", "valid", 0.26),
    }  # fmt: skip
    for part in ("toy (table)", "| test | NDCG@20 | 0.2500 |  |", "No intervals are known", "## Limits", "no users"):
        assert part in card.text, part
    assert "30 users" not in card.text
    assert "no licence" in hnlm("push", bundle, REPO, "--with-users")[1]
    card = ModelCard(hub.repos[REPO]["README.md"].decode())
    assert card.data.license is None
    assert "No licence has been chosen" in card.text
    assert "histories of 30 users" in card.text


def test_a_run_gives_the_figures_their_intervals(hub: Hub, hnlm: Run, bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    config = write_small_run(folder)
    code, said = hnlm("push", folder, REPO, "--without-users")
    assert code == 0, said
    assert "No intervals are known" in hub.repos[REPO]["README.md"].decode()
    values = np.linspace(0.1, 0.5, 60)  # their mean is the figure of the run, 0.3
    artifact = RunStore(str(folder)).artifact("evaluate", "abc")
    rows = [{"variant": "dns", "seed": 0, "user": u, "recall": v / 2, "ndcg": v} for u, v in enumerate(values)]
    artifact.write("user_metrics", pa.Table.from_pylist(rows, schema=USER_METRICS))
    artifact.commit({"seconds": 2.0, "rows": {"metrics": 1, "user_metrics": 60}, "counts": {}})
    assert config.train.seeds == (0,)
    assert hnlm("push", folder, REPO, "--without-users")[0] == 0
    card = hub.repos[REPO]["README.md"].decode()
    line = next(line for line in card.splitlines() if line.startswith("| test | NDCG@20"))
    low, high = (float(end) for end in line.split("|")[4].split(" to "))
    error = values.std() / np.sqrt(60)
    assert low == pytest.approx(0.3 - 1.96 * error, abs=0.005)
    assert high == pytest.approx(0.3 + 1.96 * error, abs=0.005)
    code, said = hnlm("push", bundle, REPO, "--without-users", "--run", folder)
    assert (code, "has other figures for ours, seed 3, than the bundle says" in said) == (2, True), said


def test_an_encoder_comes_back(hub: Hub, hnlm: Run, encoder: Path, tmp_path: Path) -> None:
    from hnlm_ray.tuning.encoder import SPEC, EncoderSpec

    assert SPEC == shipment.SPEC
    code, said = hnlm("push", encoder, REPO, "--licence", "mit")
    assert code == 0, said
    card = ModelCard(hub.repos[REPO]["README.md"].decode())
    assert card.data.base_model == "BAAI/bge-small-en-v1.5"
    assert "| share of validation pairs with the supervising item among the ten nearest | 0.5000 |" in card.text
    code, said = hnlm("pull", REPO, tmp_path / "here")
    assert (code, f"tune.start={tmp_path / 'here'}" in said) == (0, True), said
    assert EncoderSpec.read(tmp_path / "here") == EncoderSpec.read(encoder / "encoder")
    for name in ("encoder.safetensors", "adapter/adapter_model.safetensors"):
        assert (tmp_path / "here" / name).read_bytes() == (encoder / "encoder" / name).read_bytes()
    assert hnlm("push", tmp_path / "here", "somebody/again")[0] == 0


def test_what_is_damaged_or_neither_is_not_pushed(
    hub: Hub, hnlm: Run, bundle: Path, encoder: Path, tmp_path: Path
) -> None:
    def copied(source: Path, name: str) -> Path:
        target = tmp_path / name
        for path in source.rglob("*"):
            if path.is_file():
                (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
                (target / path.relative_to(source)).write_bytes(path.read_bytes())
        return target

    damaged = copied(bundle, "damaged")
    content = bytearray((damaged / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (damaged / "model.safetensors").write_bytes(content)
    tuned = copied(encoder, "tuned")
    (tuned / "encoder" / "encoder.json").write_text("{}")
    alone = copied(encoder / "encoder", "alone")
    (tmp_path / "empty").mkdir()
    for path, sentence in (
        (damaged, r"model.safetensors is damaged"),
        (tuned, "encoder.json is damaged"),
        (alone, "is a tuned encoder without checksums"),
        (tmp_path / "empty", "holds no bundle"),
        (tmp_path / "nowhere", "holds no bundle"),
    ):
        code, said = hnlm("push", path, REPO, "--with-users")
        assert (code, sentence in said) == (2, True), said
    assert hub.asked == []


def pushed(hub: Hub, hnlm: Run, bundle: Path) -> dict[str, bytes]:
    assert hnlm("push", bundle, REPO, "--without-users")[0] == 0
    return hub.repos[REPO]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda files: files.update({"model.pkl": b"x"}), "holds model.pkl, which is neither numbers nor text"),
        (lambda files: files.update({"tool.py": b"x"}), "holds tool.py, which is neither"),
        (lambda files: files.update({"more.json": b"{}"}), "holds more.json, which bundle.json does not list"),
        (lambda files: files.pop("items.parquet"), "lacks items.parquet, which bundle.json lists"),
        (lambda files: files.update({"items.parquet": b"x"}), "items.parquet is damaged"),
        (lambda files: files.update({"bundle.json": b"{}"}), "bundle.json cannot be understood"),
        (lambda files: files.pop("bundle.json"), "holds no bundle and no tuned encoder"),
    ],
)
def test_what_a_hub_holds_besides_is_refused(
    change: Callable[[dict[str, bytes]], object], sentence: str, hub: Hub, hnlm: Run, bundle: Path, tmp_path: Path
) -> None:
    change(pushed(hub, hnlm, bundle))
    code, said = hnlm("pull", REPO, tmp_path / "here")
    assert (code, sentence in said) == (2, True), said
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("encoder.safetensors", b"x", "encoder.safetensors is damaged"),
        ("files.json", b"{}", "files.json cannot be understood"),
        ("files.json", b'{"figures": {}, "files": {"../up.json": {"bytes": 1, "sha256": ""}}}', "does not list"),
        ("adapter/adapter_model.bin", b"x", "holds adapter/adapter_model.bin, which is neither"),
    ],
)
def test_an_encoder_that_was_changed_is_refused(
    name: str, content: bytes, sentence: str, hub: Hub, hnlm: Run, encoder: Path, tmp_path: Path
) -> None:
    assert hnlm("push", encoder, REPO)[0] == 0
    hub.repos[REPO][name] = content
    code, said = hnlm("pull", REPO, tmp_path / "here")
    assert (code, sentence in said) == (2, True), said
    assert [*tmp_path.iterdir()] == []


def test_a_model_that_only_this_machine_has_is_mentioned(hub: Hub, hnlm: Run, encoder: Path, tmp_path: Path) -> None:
    assert hnlm("push", encoder, REPO)[0] == 0
    assert hnlm("pull", REPO, tmp_path / "here")[0] == 0
    spec = json.loads((tmp_path / "here" / "encoder.json").read_text()) | {"model": str(tmp_path)}
    artifact = RunStore(str(tmp_path / "run")).artifact("tune", "abc")
    (Path(artifact.path) / "encoder").mkdir(parents=True)
    (Path(artifact.path) / "encoder" / "encoder.json").write_text(json.dumps(spec))
    artifact.commit({"seconds": 1.0, "rows": {}, "counts": {}})
    said = hnlm("push", artifact.path, "somebody/local")[1]
    assert f"encoder.json names the folder {tmp_path}, which others do not have" in said
    card = ModelCard(hub.repos["somebody/local"]["README.md"].decode())
    assert card.data.base_model is None
    assert "None are known" in card.text


def test_offline_is_one_sentence(hub: Hub, hnlm: Run, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    code, said = hnlm("push", bundle, REPO, "--without-users")
    assert (code, "unset HF_HUB_OFFLINE" in said) == (2, True), said
    assert hub.asked == []


def test_a_pickle_that_a_bundle_lists_is_refused(hub: Hub, hnlm: Run, bundle: Path, tmp_path: Path) -> None:
    files = pushed(hub, hnlm, bundle)
    from hnlm_ray.serving.bundle.info import BundleInfo

    info = BundleInfo.model_validate_json(files["bundle.json"])
    files["evil.bin"] = files["items.parquet"]
    info = info.model_copy(update={"files": {**info.files, "evil.bin": info.files["items.parquet"]}})
    info = info.model_copy(update={"version": info.content_version()})
    files["bundle.json"] = info.model_dump_json().encode()
    assert "holds evil.bin, which is neither" in hnlm("pull", REPO, tmp_path / "here")[1]


def test_a_repository_of_something_else_is_not_written_over(hub: Hub, hnlm: Run, bundle: Path) -> None:
    hub.repos[REPO] = {".gitattributes": b"", "README.md": b"# mine", "weights.bin": b"x"}
    code, said = hnlm("push", bundle, REPO, "--without-users")
    assert (code, "holds weights.bin and no bundle or encoder" in said) == (2, True), said
    assert hub.repos[REPO]["README.md"] == b"# mine"


@pytest.mark.parametrize("command", ["push", "pull"])
def test_refusals_are_sentences(
    command: str, hub: Hub, hnlm: Run, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sentence(repo: str = REPO) -> str:
        words = [bundle, repo, "--without-users"] if command == "push" else [repo, tmp_path / "here"]
        code, said = hnlm(command, *words)
        assert code == 2
        lines = [line for line in said.splitlines() if line.startswith("hnlm: ")]
        assert len(lines) == 1
        assert "Traceback" not in said
        return lines[0]

    assert "is no name of a repository" in sentence("a/b/c")
    if command == "pull":
        assert f"has no {REPO} that you may read (404)" in sentence()
    pushed(hub, hnlm, bundle)
    part = "/repos/create" if command == "push" else "/api/models"
    hub.refuse = {part: 403, "/api/models": 403}
    assert "does not let you" in sentence()
    hub.refuse = {part: 0}
    assert "cannot be reached, or the connection was lost" in sentence()
    hub.refuse = {}
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    hub.private.add(REPO)
    assert "(401)" in sentence()
    point_at(monkeypatch, "http://127.0.0.1:9")
    assert "cannot be reached" in sentence()
    assert not (tmp_path / "here").exists()


def test_a_connection_that_is_lost_at_the_commit_leaves_the_repository_as_it_was(
    hub: Hub, hnlm: Run, bundle: Path
) -> None:
    before = dict(pushed(hub, hnlm, bundle))
    hub.refuse = {"/commit/": 0}
    code, said = hnlm("push", bundle, REPO, "--with-users")
    assert (code, "the connection was lost" in said) == (2, True), said
    assert hub.repos[REPO] == before


def test_a_revision_can_be_named(hub: Hub, hnlm: Run, bundle: Path, tmp_path: Path) -> None:
    pushed(hub, hnlm, bundle)
    assert hnlm("pull", REPO, tmp_path / "a", "--revision", hub.commit_of(REPO))[0] == 0
    assert "has no such revision" in hnlm("pull", REPO, tmp_path / "b", "--revision", "v9")[1]
    assert "holds files" in hnlm("pull", REPO, tmp_path / "a")[1]
