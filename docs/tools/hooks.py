"""What MkDocs does beside reading pages: files that lie elsewhere, drawings, and links out of the folder."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path

import nbformat
from flowchart import as_svg
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from notebooks import page_of

__all__ = ["on_files", "on_page_markdown"]

ROOT = Path(__file__).resolve().parents[2]
MERMAID = re.compile(r"^```mermaid\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s:]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README as the first page, the changelog, and a page for each notebook."""
    for name, file in {"index.md": "README.md", "changelog.md": "CHANGELOG.md"}.items():
        text = (ROOT / file).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=of_the_root(text)))
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        text = page_of(nbformat.read(notebook.abs_src_path, as_version=4))
        files.append(File.generated(config, notebook.src_uri.replace(".ipynb", ".md"), content=text))
        files.remove(notebook)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Draw the flowcharts, and lead links to files of the package to their pages of the reference."""
    markdown = MERMAID.sub(lambda found: drawn(found[1], page.title or "Flowchart"), markdown)
    return outside_fences(markdown, lambda text: with_links(text, page.file.src_uri))


def of_the_root(text: str) -> str:
    """A page of the root of the repository as one of ``docs``."""
    return re.sub(r"(\]\(|src=\")docs/", r"\1", re.sub(r"\]\((?!docs/|#|\w+:)", "](../", text))


def drawn(mermaid: str, title: str) -> str:
    """A flowchart as an element that scrolls sideways where it is too wide."""
    return f'<div class="flow">\n{as_svg(mermaid, f"{title}: a drawing")}\n</div>'


def with_links(text: str, page: str) -> str:
    """The text of a page, whose links to notebooks, and to files outside of ``docs``, lead to something on the site.

    A module of the package is described in the reference; of any other file the name stays.
    """

    def led(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page), found[2]))
        if target.endswith(".ipynb"):
            return f"[{found[1]}]({found[2].removesuffix('.ipynb')}.md)"
        if not target.startswith("../"):
            return found[0]
        target = target.removeprefix("../")
        if target == "CHANGELOG.md":
            return f"[{found[1]}](changelog.md)"
        if target.startswith("hnlm_ray/") and target.endswith(".py"):
            module = target.removesuffix(".py").replace("/", ".")
            return f'<autoref identifier="{module}" optional>{found[1].replace("`", "")}</autoref>'
        return found[1]

    return LINK.sub(led, text)


def outside_fences(text: str, change: Callable[[str], str]) -> str:
    """The text with everything changed but its blocks of code."""
    parts, end = [], 0
    for block in FENCED.finditer(text):
        parts += [change(text[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*parts, change(text[end:])])
