"""The command line where nothing but the core is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hnlm_ray.cli.packages import extras_of, lacking, this_command
from hnlm_ray.config.load import load_config
from hnlm_ray.run.specs import planned_kinds
from tests.plain_machine import CORE_ALONE

ROOT = Path(__file__).parents[2]
MF = "train.variants={mf: {backbone: mf}}"
TWO = "train.variants={mf: {backbone: mf}, deep: {backbone: mf, dim: 64}}"

SCRIPT = """
import contextlib, io, json, sys
from hnlm_ray.cli.main import main
endings = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["hnlm", *words]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code
    endings.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(endings))
"""


def endings(commands: list[list[str]]) -> list[list[object]]:
    """Exit code, standard output and standard error of each command, in one process with the core alone."""
    command = [sys.executable, "-c", CORE_ALONE + SCRIPT, json.dumps(commands)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: list[list[object]] = json.loads(done.stdout)
    return found


def test_the_core_alone_explains_itself_and_checks_a_configuration(tmp_path: Path) -> None:
    run = f"run={tmp_path / 'run'}"
    helped, options, small, demo, models, doctor = endings(
        [
            ["--help"],
            ["config", "-c", "demo", run],
            ["validate", MF, run],
            ["validate", "-c", "demo", run],
            ["validate", MF, "llm.model=some/model", "embed.model=other/model", run],
            ["doctor", "-c", "demo", run],
        ]
    )
    assert (helped[0], options[0], demo[0], models[0]) == (0, 0, 0, 0)
    assert "validate" in str(helped[1])
    assert "num_cpus" in str(options[1])
    assert small == [
        0, "✓ nothing else stands in the way of a run\n",
        "! `hnlm run` needs Ray, which is not installed; pip install 'hnlm-ray[ray]'.\n",
    ]  # fmt: skip
    assert "needs Ray, Transformers, vLLM and DeepSpeed, which are not installed" in str(demo[2])
    assert "! port `hnlm serve` needs Ray and FastAPI" in str(doctor[1])
    assert "! models and resources a look at models needs Transformers" in str(doctor[1])
    assert doctor[2] == ""


def test_a_command_that_needs_an_extra_says_so_and_writes_nothing(tmp_path: Path) -> None:
    run = f"run={tmp_path / 'run'}"
    given = {
        "run": ["run", MF, run],
        "search": ["search", MF, run],
        "study": ["study", TWO, run],
        "estimate": ["estimate", MF, run],
        "demo": ["demo", run],
        "serve": ["serve", "--shelf", str(tmp_path / "shelf")],
        "recommend": ["recommend", "--all-users", "--bundle", "x", "--to", str(tmp_path / "out")],
    }
    needed = dict.fromkeys(given, ("Ray, which is", "ray")) | {
        "demo": ("Ray, Transformers, vLLM, DeepSpeed and FastAPI, which are", "ray,llm,cpu,tune,serve"),
        "serve": ("Ray and FastAPI, which are", "ray,serve"),
    }
    for (name, words), (code, out, err) in zip(given.items(), endings([*given.values()]), strict=True):
        what, extras = needed[name]
        cuda = ", or with gpu in place of cpu for CUDA" if "cpu" in extras else ""
        said = f"hnlm: `hnlm {name}` needs {what} not installed; pip install 'hnlm-ray[{extras}]'{cuda}.\n"
        assert (code, out) == (2, ""), words
        assert err.endswith(said), err
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("options", "extras"),
    [
        ([MF], ["ray"]),
        ([MF, "data.format=table", "data.path=x"], ["ray"]),
        (["llm.engine=scripted", "embed.engine=scripted"], ["ray", "llm"]),  # grounding
        (["llm.engine=http", "llm.http.url=http://h/v1", "embed.model=demo"], ["ray", "llm", "cpu"]),
        (["train.variants.t={semantic: {source: tuned}}"], ["ray", "llm", "cpu", "tune"]),
    ],
)
def test_the_extras_of_a_run(options: list[str], extras: list[str]) -> None:
    config = load_config(overrides=options)
    assert extras_of(config, planned_kinds(config)) == extras


def test_nothing_to_run_needs_nothing() -> None:
    assert extras_of(load_config(), ()) == []


def test_stages_on_another_cluster_need_ray_alone_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("vllm", "transformers", "ray"):
        monkeypatch.setitem(sys.modules, module, None)
    config = load_config(overrides=["cluster.address=head:6379"])
    assert str(lacking(config, {"vectors"}, who="x")) == (
        "x needs Ray, which is not installed; pip install 'hnlm-ray[ray]'."
    )
    assert lacking(config, ()) is None


def test_a_job_goes_by_the_name_of_its_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/jobs/tune.py", "-c", "demo"])
    assert this_command() == "`jobs/tune.py`"
    monkeypatch.setattr("sys.argv", ["/bin/hnlm", "run", "-c", "demo"])
    assert this_command() == "`hnlm run`"
