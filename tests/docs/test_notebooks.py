"""The notebooks run from the first cell to the last, and what is committed is what they put out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from notebooks import FOLDER, executed, page_of

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LONGEST = 150_000
"""Bytes of a notebook with its plots."""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NotebookNode]:
    """All notebooks, run two at a time; each has one thread."""
    with ThreadPoolExecutor(2) as pool:
        done = pool.map(lambda path: executed(path, tmp_path_factory.mktemp(path.stem)), NOTEBOOKS)
        return {path.stem: notebook for path, notebook in zip(NOTEBOOKS, done, strict=True)}


def kinds(notebook: NotebookNode) -> list[list[tuple[str, ...]]]:
    """What kind of things each cell put out."""
    return [
        [(output.output_type, *sorted(output.get("data", {}))) for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def printed(notebook: NotebookNode) -> str:
    """What cells printed."""
    texts = [output.text for cell in notebook.cells for output in cell.get("outputs", []) if output.get("text")]
    return "".join(texts)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_is_committed_with_what_it_puts_out(path: Path, ran: dict[str, NotebookNode]) -> None:
    committed, anew = nbformat.read(path, as_version=4), ran[path.stem]
    assert [set(map(str, one)) for one in kinds(committed)] == [set(map(str, one)) for one in kinds(anew)]
    counts = [cell.execution_count for cell in committed.cells if cell.cell_type == "code"]
    assert counts == [*range(1, len(counts) + 1)]
    assert path.stat().st_size < LONGEST
    assert "image/png" in page_of(committed)


def test_there_are_four() -> None:
    names = {path.stem for path in NOTEBOOKS}
    assert names == {"negative_sampling", "own_data", "own_sampler", "written_negatives"}


def test_the_model_has_written_and_is_judged(ran: dict[str, NotebookNode]) -> None:
    notebook = ran["written_negatives"]
    assert "negative: 96 asked, 9" in printed(notebook)  # at least 90 of them are valid
    (table,) = [
        output.data["text/plain"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "would be liked" in output.get("data", {}).get("text/plain", "")
    ]
    liked = {line[:15].strip(): float(line.split()[-2]) for line in table.splitlines()[1:]}
    assert liked["written"] < liked["same category"] < liked["nearest in text"]


def test_the_suite_tells_a_careless_sampler(ran: dict[str, NotebookNode]) -> None:
    said = printed(ran["own_sampler"])
    assert said.count("passed:") == 6
    assert "failed: check_unseen" in said


def test_a_cell_that_fails_is_an_error(tmp_path: Path) -> None:
    broken = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    nbformat.write(broken, tmp_path / "broken.ipynb")
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        executed(tmp_path / "broken.ipynb", tmp_path)
