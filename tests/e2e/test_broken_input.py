"""Broken input of every kind: one sentence, exit code 2, no traceback, and nothing that a later run would trust."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnlm_ray.cli import main as cli

Case = Callable[[Path], list[str]]


def data_folder(path: Path, **columns: object) -> Path:
    folder = path / "data"
    folder.mkdir()
    table = {"user_id": ["a", "a", "b", "b"], "item_id": ["x", "y", "x", "y"], **columns}
    pq.write_table(
        pa.table({name: values for name, values in table.items() if values is not None}),
        folder / "interactions.parquet",
    )
    pq.write_table(pa.table({"item_id": ["x", "y"], "title": ["X", "Y"]}), folder / "items.parquet")
    return folder


def table_data(path: Path, *more: str, **columns: object) -> list[str]:
    return ["run", "data.format=table", f"data.path={data_folder(path, **columns)}", "--stage", "prepare", *more]


def missing_file(path: Path) -> list[str]:
    (path / "data").mkdir()
    return ["run", "data.format=table", f"data.path={path / 'data'}", "--stage", "prepare"]


def empty_file(path: Path) -> list[str]:
    folder = data_folder(path)
    (folder / "interactions.parquet").write_bytes(b"")
    return ["run", "data.format=table", f"data.path={folder}", "--stage", "prepare"]


def no_parquet(path: Path) -> list[str]:
    folder = data_folder(path)
    (folder / "interactions.parquet").write_bytes(b"user_id,item_id\n" * 20)
    return ["run", "data.format=table", f"data.path={folder}", "--stage", "prepare"]


def malformed_line(path: Path) -> list[str]:
    folder = path / "data"
    folder.mkdir()
    (folder / "reviews_Toys.json").write_text('{"reviewerID": "a", "asin": "x", "overall": 5.0}\n{"reviewerID": \n')
    (folder / "meta_Toys.json").write_text('{"asin": "x", "title": "X"}\n')
    return ["validate", "data.format=amazon2018", f"data.path={folder}"]


def model_without_tokenizer(path: Path) -> list[str]:
    model = path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama"}')
    return ["validate", f"llm.model={model}"]


def missing_model(path: Path) -> list[str]:
    return ["validate", f"llm.model={path / 'none'}"]


def run_is_a_file(path: Path) -> list[str]:
    (path / "file").write_text("")
    return ["run", f"run={path / 'file'}", "--stage", "prepare"]


def config_is_a_folder(path: Path) -> list[str]:
    return ["run", "--config", str(path)]


def damaged_manifest(path: Path) -> list[str]:
    return ["serve", f"run={path / 'run'}"]


CASES: dict[str, tuple[Case, str]] = {
    "misspelt key": (lambda p: ["run", "train.wrokers=2"], "did you mean 'workers'"),
    "wrong type": (lambda p: ["run", "train.workers=many"], "train.workers"),
    "contradiction": (lambda p: ["run", "data.split.valid=0.6", "data.split.test=0.5"], "leaves nothing"),
    "no such configuration": (lambda p: ["run", "--config", str(p / "none.yaml")], "none.yaml"),
    "configuration is a folder": (config_is_a_folder, "there is no configuration file"),
    "override without value": (lambda p: ["run", "seed"], "key.path=value"),
    "no such stage": (lambda p: ["run", "--stage", "trian"], "there is no stage trian"),
    "no data folder": (lambda p: ["run", "data.format=table", f"data.path={p / 'none'}"], "does not exist"),
    "no interactions file": (missing_file, "interactions"),
    "empty file": (empty_file, "interactions.parquet"),
    "not Parquet": (no_parquet, "interactions.parquet"),
    "missing column": (lambda p: table_data(p, user_id=None), "user_id"),
    "named column absent": (lambda p: table_data(p, "data.columns.rating=stars"), "stars"),
    "malformed line": (malformed_line, "reviews_Toys.json"),
    "filter leaves nothing": (lambda p: table_data(p, "data.k_core=9"), "k_core"),
    "split impossible": (lambda p: table_data(p, "data.split.strategy=global_time"), "timestamps"),
    "split unknown": (
        lambda p: table_data(p, "data.split.strategy=column", split=["train", "tset", "test", "train"]), "tset",
    ),
    "model folder missing": (missing_model, "none"),
    "model without tokenizer": (model_without_tokenizer, "tokenizer"),
    "run folder is a file": (run_is_a_file, "file"),
    "stage before its input": (lambda p: ["run", "--stage", "evaluate"], "run that stage first"),
    "no bundle to serve": (damaged_manifest, "has no bundle"),
    "too few processors": (lambda p: ["validate", "train.workers=64"], "train.workers needs 65 logical CPUs"),
    "no such file system": (lambda p: ["validate", "run=foo://bucket"], "s3:// or gs://"),
    "nobody to recommend to": (lambda p: ["recommend"], "no user is named"),
    "nowhere to write to": (lambda p: ["recommend", "--all-users"], "give --to FOLDER"),
    "options that exclude each other": (lambda p: ["bundles", str(p), "--back", "--use", "1"], "give one of them"),
    "remote code": (lambda p: ["run", "llm.engine_kwargs={trust_remote_code: true}"], "refused"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_broken_input_is_one_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ray_session: None
) -> None:
    make, expected = CASES[name]
    arguments = make(tmp_path)
    if arguments[0] != "bundles" and not any(argument.startswith("run=") for argument in arguments):
        arguments.append(f"run={tmp_path / 'run'}")
    monkeypatch.setattr("sys.argv", ["hnlm", *arguments])
    monkeypatch.setattr("rich.console.Console.width", 2000, raising=False)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    said = capsys.readouterr().err
    assert caught.value.code == 2
    assert expected in said
    assert "Traceback" not in said
    assert not list((tmp_path / "run").glob("*/*/manifest.json"))


def test_a_port_in_use_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from hnlm_ray.config.serving import ServeConfig
    from hnlm_ray.errors import ResourceError
    from hnlm_ray.serving import control

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ResourceError, match=f"{port}"):
            control.require_free("127.0.0.1", ServeConfig(port=port).port)
