"""``hnlm data``: the list, the licence, the folder and the next command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from hnlm_ray.cli import main as cli
from hnlm_ray.exchange import sets
from hnlm_ray.exchange.obtain import LOCK, MIRROR
from tests.cli.small_run import write_small_run
from tests.exchange.conftest import files, nobody
from tests.exchange.file_server import FileServer
from tests.exchange.made_up import MADE

__all__ = ["files", "nobody"]

Run = Callable[..., tuple[object, str]]


@pytest.fixture
def hnlm(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs a command in an empty folder; its exit code and everything that it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["hnlm", "data", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        return caught.value.code or 0, err + out

    return run


@pytest.fixture
def steam(files: FileServer, monkeypatch: pytest.MonkeyPatch) -> FileServer:
    files.files = {f"/steam/{name}": content for name, content in MADE["steam"]().items()}
    monkeypatch.setenv(MIRROR, files.address)
    return files


def test_the_list_names_every_set_and_what_it_is_checked_against(hnlm: Run) -> None:
    code, said = hnlm("list")
    assert code == 0
    for name in (*sets.SETS, "amazon2018/CATEGORY", "amazon2023/CATEGORY"):
        line = next(line for line in said.splitlines() if f" {name} " in line)
        assert ("its digest" in line) == (name in sets.SETS and sets.SETS[name].is_pinned)


def test_one_set_is_described_with_licence_citation_and_addresses(hnlm: Run) -> None:
    said = hnlm("list", "ml-1m")[1]
    chosen = sets.SETS["ml-1m"]
    for part in (chosen.licence, chosen.link, chosen.citation, chosen.files[0].addresses[0], "5,917,549 bytes", "md5:"):
        assert part in said
    assert "Video_Games" in hnlm("list", "amazon2018")[1]
    code, said = hnlm("list", "ml-2m")
    assert (code, "there is no data set 'ml-2m'; give ml-" in said) == (2, True)


def test_a_set_is_fetched_and_the_next_command_is_given(hnlm: Run, steam: FileServer) -> None:
    code, said = hnlm("get", "steam", "--accept-licence")
    assert code == 0, said
    assert sets.SETS["steam"].licence in said
    assert "steam_reviews.json.gz and steam_games.json.gz: trusted on first use" in said
    assert "next: hnlm run -c steam data.path=data/steam run=runs/steam" in said
    assert (Path("data/steam") / LOCK).is_file()
    assert hnlm("get", "steam")[0] == 0  # accepted before
    assert len(steam.asked) == 2


def test_without_a_yes_to_the_licence_nothing_is_fetched(
    hnlm: Run, steam: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = hnlm("get", "steam")
    assert code == 2
    assert said.endswith("hnlm: the licence of steam has not been accepted; read it, and add --accept-licence.\n")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    for answer in (False, True):
        monkeypatch.setattr(typer, "confirm", lambda *words, answer=answer, **options: answer)
        assert (hnlm("get", "steam")[0] == 0) == answer
        assert bool(steam.asked) == answer


def test_without_a_network_it_is_one_sentence(hnlm: Run, nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRROR, nobody)
    code, said = hnlm("get", "ml-1m", "here", "--accept-license")
    assert code == 2
    (line,) = [line for line in said.splitlines() if line.startswith("hnlm: ")]
    assert line.startswith(f"hnlm: ml-1m.zip could not be fetched: {nobody}/ml-1m/ml-1m.zip cannot be reached")
    assert line.endswith("where there is no network, put the file into here and give the same command.")


@pytest.mark.parametrize("form", ["recbole", "rectools"])
def test_the_data_of_a_run_is_exported(form: str, hnlm: Run, tmp_path: Path) -> None:
    write_small_run(tmp_path / "run")
    code, said = hnlm("export", tmp_path / "run", "out/toy", "--format", form)
    assert code == 0, said
    assert "the run has no hard negatives" in said
    assert (tmp_path / "out" / "toy" / {"recbole": "toy.train.inter", "rectools": "train.parquet"}[form]).is_file()
    assert hnlm("export", tmp_path / "run", "out/toy", "--format", form)[0] == 2
