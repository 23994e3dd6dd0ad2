"""The documentation as a site: it builds strictly, needs nothing from elsewhere, and describes what is public."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from flowchart import Flowchart, as_svg
from roles import linked

from hnlm_ray.config.backbones import Backbone
from hnlm_ray.config.samplers import Sampler
from hnlm_ray.config.section import kinds

ROOT = Path(__file__).resolve().parents[2]

MKDOCS = [sys.executable, "-m", "mkdocs", "build", "--strict"]
ENVIRONMENT = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
FETCHED = re.compile(r"<(?:script|link|img|iframe|source|video)\b[^>]*?\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
MERMAID = re.compile(r"^```mermaid\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The pages by their addresses. A link, an anchor or a page of the navigation that is not there ends the build."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [*MKDOCS, "--site-dir", str(folder)], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {str(path.parent.relative_to(folder)): path.read_text() for path in folder.rglob("index.html")}


def test_every_page_and_notebook_is_there(site: dict[str, str]) -> None:
    sources = [path for kind in ("md", "ipynb") for path in (ROOT / "docs").rglob(f"*.{kind}")]
    expected = {str(path.relative_to(ROOT / "docs").with_suffix("")) for path in sources}
    assert expected | {".", "changelog"} == set(site)
    assert len(expected) > 30


def test_a_reader_fetches_nothing_from_elsewhere(site: dict[str, str]) -> None:
    for name, text in site.items():
        found = [tag for tag in FETCHED.findall(text) if 'rel="canonical"' not in tag]
        assert not found, (name, found)
        assert "unpkg.com" not in text
        assert "mermaid" not in re.sub(r"<p>.*?</p>", "", text, flags=re.DOTALL) or name == "changelog"


def test_a_page_that_fetches_would_be_seen() -> None:
    assert FETCHED.findall('<script src="https://unpkg.com/mermaid"></script>')
    assert FETCHED.findall('<link rel=stylesheet href="//fonts.googleapis.com/css">')
    assert not FETCHED.findall('<script src="../assets/a.js"></script><a href="https://ray.io">Ray</a>')


def test_what_is_public_is_described(site: dict[str, str]) -> None:
    for path in ("frames.fitting.fit", "frames.measuring.split", "frames.recommender.FrameRecommender.save"):
        assert f'id="hnlm_ray.{path}"' in site["api/frames"]
    assert 'id="hnlm_ray.serving.recommend.recommender.Recommender.recommend"' in site["api/recommender"]
    for page, union in (("samplers", Sampler), ("models", Backbone)):
        for name, section in kinds(union).items():
            place = section.model_fields["name"].default if name == "custom" else name
            if place != "custom":
                assert f'id="hnlm_ray.{page}.{place}"' in site[f"api/{page}"], name


def test_roles_of_docstrings_are_links(site: dict[str, str]) -> None:
    assert not [name for name, text in site.items() if re.search(r":(?:class|func|data|mod|meth):\s*<code>", text)]
    assert linked("see :func:`folded <a.b.folded>` and :data:`a.TABLE`") == (
        'see <autoref identifier="a.b.folded" optional><code>folded</code></autoref>'
        ' and <autoref identifier="a.TABLE" optional><code>TABLE</code></autoref>'
    )
    assert re.search(r'<a[^>]*href="[^"]*hnlm_ray.tables[^"]*"', site["api/data"])


@pytest.mark.parametrize("page", ["concepts", "architecture"])
def test_flowcharts_are_drawn(site: dict[str, str], page: str) -> None:
    sources = MERMAID.findall((ROOT / "docs" / f"{page}.md").read_text())
    drawings = re.findall(r'<div class="flow">(.*?)</div>', site[page], re.DOTALL)
    assert len(sources) == len(drawings) == 2
    for source, drawing in zip(sources, drawings, strict=True):
        labels = [html.unescape(label) for label in re.findall(r"<text[^>]*>(.*?)</text>", drawing)]
        assert sorted(labels) == sorted(Flowchart.read(source).labels.values())


def test_nodes_of_a_flowchart_do_not_touch_and_arrows_go_forwards() -> None:
    for page in ("concepts", "architecture"):
        for source in MERMAID.findall((ROOT / "docs" / f"{page}.md").read_text()):
            chart, drawing = Flowchart.read(source), as_svg(source, "drawing")
            boxes = [
                [float(value) for value in box]
                for box in re.findall(r'<rect class="\w+" x="(\S+)" y="(\S+)" width="(\S+)" height="(\S+)"', drawing)
            ]
            assert len(boxes) == len(chart.labels)
            for place, (x, y, width, height) in enumerate(boxes):
                for to_x, to_y, to_width, to_height in boxes[place + 1 :]:
                    apart = x + width <= to_x or to_x + to_width <= x or y + height <= to_y or to_y + to_height <= y
                    assert apart, page
            middle = dict(zip(chart.labels, boxes, strict=True))
            for a, b in chart.edges:
                forward = middle[b][0] - middle[a][0] if chart.direction == "LR" else middle[b][1] - middle[a][1]
                assert forward * (-1 if chart.direction == "BT" else 1) > 0, (a, b)


@pytest.mark.parametrize(
    "text", ["graph TD\n  a --> b", "flowchart LR\n  a -- yes --> b", "flowchart LR\n  a{rhombus}"]
)
def test_a_flowchart_that_cannot_be_drawn_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="flowchart"):
        as_svg(text, "drawing")
