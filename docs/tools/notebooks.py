"""Run the notebooks, and turn them into pages: ``python docs/tools/notebooks.py`` writes their outputs anew."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

__all__ = ["FOLDER", "executed", "page_of"]

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
_STYLE = re.compile(r"<style.*?</style>", re.DOTALL)
_LONGEST_S = 300
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
"""The fits are so small that threads only wait for each other, and sums of one thread are the same everywhere."""


def executed(path: Path, folder: Path) -> NotebookNode:
    """A notebook with the outputs of its cells, run from the first to the last in a process of its own.

    Args:
        path: of the notebook, which is not written.
        folder: where it runs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=_LONGEST_S, kernel_name="python3", resources=resources)
    client.execute(env=os.environ | _ONE_THREAD)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times, which differ with every run
        if "outputs" in cell:  # what libraries warn of is about the machine
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
    return notebook


def page_of(notebook: NotebookNode) -> str:
    """A notebook as Markdown: its texts, its code, and below each cell what it put out."""
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif cell.cell_type == "code":
            parts.append(f"```python\n{cell.source}\n```")
            parts += [shown for output in cell.outputs if (shown := _shown(output))]
    return "\n\n".join(parts) + "\n"


def _shown(output: Any) -> str:
    if output.output_type == "stream":
        return _text(output.text) if output.name == "stdout" else ""
    data = output.get("data", {})
    if "image/png" in data:
        return f'<img alt="The plot of this cell" src="data:image/png;base64,{"".join(data["image/png"].split())}">'
    if "text/html" in data:
        return f'<div class="frame">{" ".join(_STYLE.sub("", data["text/html"]).split())}</div>'
    return _text(data.get("text/plain", ""))


def _text(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```" if text.strip() else ""


def main() -> None:
    """Run every notebook, or those that are named, and write its outputs."""
    named = [Path(name) for name in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb"))
    for path in named:
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(path, Path(folder))
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
