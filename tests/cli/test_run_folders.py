"""Commands that are given the folder of a run instead of its configuration."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hnlm_ray import Recommender
from hnlm_ray.cli import main as cli
from hnlm_ray.cli import serving
from hnlm_ray.cli.console import print_results
from hnlm_ray.cluster import connect
from hnlm_ray.config.load import load_config
from hnlm_ray.errors import BundleError, ConfigError, HnlmError
from hnlm_ray.run.reopened import recorded_run, reopen
from tests.cli.small_run import OPTIONS, write_small_run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """``runs/mine`` in the working directory."""
    monkeypatch.chdir(tmp_path)
    write_small_run(tmp_path / "runs" / "mine")
    return "runs/mine"


def call(*words: str) -> Result:
    return CliRunner().invoke(cli.app, [*words])


def sentence(*words: str) -> str:
    """What a command that fails says."""
    result = call(*words)
    assert isinstance(result.exception, HnlmError), (result.output, result.exception)
    return str(result.exception)


def test_status_is_of_the_run(run: str) -> None:
    done = call("status", run)
    assert done.exit_code == 0, done.output
    assert "train.dns.s0" in done.stdout
    assert "pending" not in done.stdout


def test_the_report_is_of_the_run(run: str, tmp_path: Path) -> None:
    assert call("report", run, "--to", "mine.html").exit_code == 0
    assert Path("mine.html").read_bytes() == b"<html>the report</html>"


@pytest.mark.parametrize(
    "words", [["u3", "RUN"], ["RUN", "u3"], ["u3", "RUN", "serve.port=9000"], ["u3", "--bundle", "RUN"]]
)
def test_a_user_gets_what_the_bundle_of_the_run_recommends(run: str, words: list[str]) -> None:
    done = call("recommend", *(run if word == "RUN" else word for word in words), "--k", "3")
    assert done.exit_code == 0, (done.output, done.exception)
    for item in Recommender.load(run).recommend("u3", k=3).items:
        assert item.item_id in done.stdout


def test_a_run_alone_names_no_user(run: str) -> None:
    assert "no user is named" in sentence("recommend", run)


def test_the_service_gets_the_bundle_of_the_run_by_the_name_of_its_variant(run: str) -> None:
    config = reopen(run, [], ["serve.port=9000"])
    assert list(serving.bundles_of(config, recorded_run(run, config))) == ["dns"]


@pytest.mark.parametrize("words", [["shelf", "RUN"], ["RUN", "shelf"]])
def test_the_bundle_of_a_run_is_exported_in_either_order(run: str, words: list[str]) -> None:
    done = call("export", *(run if word == "RUN" else word for word in words))
    assert done.exit_code == 0, (done.output, done.exception)
    assert Recommender.load("shelf").info == Recommender.load(run).info
    assert call("bundles", "shelf").exit_code == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["bundles", "runs/mine"], "runs/mine is a run, not a shelf"),
        (["export", "runs/mine", "runs/mine"], "runs/mine is a run, not a shelf"),
        (["bundles", "nowhere"], "nowhere has no bundles"),
        (["bundles", "BUNDLE"], "is a bundle, not a shelf"),
        (["serve", "--shelf", "nowhere", "serve.port=65000"], "bundle.json"),
    ],
)
def test_a_folder_of_another_kind_is_one_sentence(words: list[str], expected: str, run: str) -> None:
    bundle = next(str(path.parent) for path in Path(run).glob("bundle.best/*/bundle.json"))
    if words[0] != "serve":
        assert expected in sentence(*(bundle if word == "BUNDLE" else word for word in words))
    else:
        with pytest.raises(BundleError, match=expected):
            Recommender.load(words[2])


@pytest.mark.parametrize("command", ["status", "report", "serve", "validate", "run", "estimate", "search", "doctor"])
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["runs/mine", "data.min_rating=3"], "this run has data.min_rating=4, you gave 3"),
        (["nowhere"], "nowhere is no run folder, it has no run.json"),
        (["runs"], "runs is no run folder, it has no run.json"),
        (["runs/mine", "runs"], "two runs are named, runs/mine and runs"),
        (["train.workers", "2"], "override 'train.workers' is not key.path=value; write train.workers=2"),
        (["seed", "2"], "override 'seed' is not key.path=value"),
        (["trian.workers=2"], "override trian.workers: unknown key 'trian', did you mean 'train'"),
    ],
)
def test_every_command_says_what_is_wrong_with_its_words(
    command: str, words: list[str], expected: str, run: str
) -> None:
    assert expected in sentence(command, *words)


@pytest.mark.parametrize("command", ["recommend", "export"])
def test_a_difference_is_named_by_commands_with_an_argument_before_the_run(command: str, run: str) -> None:
    assert "this run has data.min_rating=4, you gave 3" in sentence(command, "u3", run, "data.min_rating=3")
    assert "elsewhere is no run folder" in sentence(command, "u3", "elsewhere")


def test_a_forgotten_option_is_named(run: str) -> None:
    said = sentence("report", f"run={run}", *OPTIONS[1:])
    assert "this run has data.min_rating=4, you gave null; give runs/mine without these options" in said


def test_raw_data_and_models_need_not_be_there_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "interactions.csv").write_text("user_id,item_id\na,b\n")
    write_small_run(tmp_path / "run", None, "data.format=table", f"data.path={data}")
    shutil.rmtree(data)
    for words in (["status"], ["report", "--to", str(tmp_path / "r.html")], ["recommend", "u3"]):
        done = call(*words, str(tmp_path / "run"))
        assert done.exit_code == 0, (words, done.output, done.exception)


def test_a_run_whose_bundle_is_not_finished_says_so(run: str) -> None:
    shutil.rmtree(next(Path(run).glob("bundle.best")))
    assert "it lacks bundle.best; finish it with `hnlm run runs/mine`" in sentence("recommend", "u3", run)
    with pytest.raises(BundleError, match=r"runs/mine has no bundle yet; finish it with `hnlm run runs/mine`"):
        Recommender.load(run)


def test_a_run_ends_with_figures_the_report_and_what_is_next(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = reopen(run)
    print_results(recorded_run(run, config), config)
    said = capsys.readouterr().out
    rows = {line.split()[1]: line for line in said.splitlines() if line.startswith("│")}
    assert [word for word in rows["dns"].split() if word[0].isalnum()] == [
        "dns",
        "0.4000",
        "0.3000",
        "0.1500",
        "chosen",
    ]
    assert "chosen" not in rows["uniform"]
    assert "chosen" not in rows["popularity"]
    assert Path(said.partition("report: ")[2].splitlines()[0]).read_bytes() == b"<html>the report</html>"
    assert "`hnlm serve runs/mine`" in said
    assert "better on validation" not in said


def test_a_named_variant_that_is_not_the_best_gets_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_small_run(tmp_path / "run", None, "serve.variant=uniform")
    print_results(recorded_run(config.run, config), config)
    assert "serve.variant is uniform, and dns is better on validation (NDCG@20 0.4000 against 0.3000)" in (
        capsys.readouterr().out
    )


def test_the_best_and_the_same_variant_by_name_are_served_once(tmp_path: Path) -> None:
    config = write_small_run(tmp_path / "run", None, "serve.also=[dns, uniform]")
    assert list(serving.bundles_of(config, recorded_run(config.run, config))) == ["dns", "uniform"]


def test_the_configuration_of_the_run_finds_it_like_its_folder(run: str) -> None:
    assert load_config([], [f"run={run}", *OPTIONS]) == reopen(run).model_copy(update={"run": run})


def test_an_unknown_user_is_told_as_such(run: str) -> None:
    done = call("recommend", "nobody", run, "--k", "1")
    assert "! the bundle has no interactions of a user 'nobody': these are popular items" in done.stdout
    count = Recommender.load(run).recommend("nobody", k=1).items[0].score
    assert f"{count:,.0f} │" in done.stdout
    assert "no interactions" not in call("recommend", "u3", run).stdout


def test_scores_are_rounded(run: str) -> None:
    score = Recommender.load(run).recommend("u3", k=1).items[0].score
    assert f" {score:.3f} │" in call("recommend", "u3", run, "--k", "1").stdout


def test_a_folder_that_is_taken_is_refused_before_ray_starts(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "connected", None)
    Path("taken").mkdir()
    Path("taken/_SUCCESS").write_text("{}")
    expected = "taken holds recommendations; give another folder, or add --overwrite"
    assert expected in sentence("recommend", "--all-users", run, "--to", "taken")
    Path("taken/notes.txt").write_text("")
    assert "notes.txt" in sentence("recommend", "--all-users", run, "--to", "taken", "--overwrite")
    assert "go with --all-users" in sentence("recommend", "u3", run, "--to", "taken")


def test_status_says_what_the_run_has_otherwise(run: str) -> None:
    said = call("status", f"run={run}", *OPTIONS[1:]).stdout
    assert "! this run has data.min_rating=4, you gave null: `hnlm status runs/mine` shows what it has" in said
    assert "this run has" not in call("status", f"run={run}", *OPTIONS).stdout
    assert "this run has" not in call("status", "run=runs/not_yet").stdout


def test_another_bundle_does_not_take_the_name_of_the_variant_that_is_served(run: str) -> None:
    config = reopen(run, [], ["serve.bundles={dns: {path: elsewhere}}"])
    with pytest.raises(ConfigError, match=r"serve\.bundles names a bundle 'dns'"):
        serving.bundles_of(config, recorded_run(run, config))
