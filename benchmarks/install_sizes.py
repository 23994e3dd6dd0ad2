"""What an installation of each extra takes on disk: ``python benchmarks/install_sizes.py [EXTRAS ...]``.

Each is installed into an environment of its own: the wheel of this checkout, PyTorch's CPU build, and the versions of
``requirements/cpu.lock``. Needs uv (``make lock`` installs it), which writes no bytecode; pip does, so both sizes are
given. ``gpu`` is left out: CUDA's libraries are several GB.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = ("", "report", "ray", "serve", "search", "llm", "tune", "ann", "tracking", "wandb", "cpu", "all", "all,cpu")
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu/torch/"


def main(extras: tuple[str, ...]) -> None:
    """Print a table of Markdown: packages and sizes per extra."""
    print("| extra | packages | GB | GB with bytecode |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        dist = Path(folder, "dist")
        run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(dist), cwd=ROOT)
        [wheel] = dist.glob("*.whl")
        constraints = Path(folder, "constraints.txt")
        constraints.write_text("\n".join(versions()))
        for number, extra in enumerate(extras):
            place = Path(folder, str(number))
            install(f"{wheel}[{extra}]" if extra else str(wheel), constraints, place)
            packages, plain = len([*place.glob("*.dist-info")]), size(place)
            run(sys.executable, "-m", "compileall", "-q", str(place), check=False)  # some packages ship templates
            print(f"| {extra or '(the core)'} | {packages} | {plain / 1e9:.2f} | {size(place) / 1e9:.2f} |", flush=True)


def versions() -> list[str]:
    """Each package of the product's lock in its version, and PyTorch's CPU build."""
    lock = (ROOT / "requirements" / "cpu.lock").read_text().splitlines()
    pinned = [line.removesuffix(" \\") for line in lock if "==" in line and not line.startswith(" ")]
    return [*pinned, (ROOT / "requirements" / "torch.txt").read_text().strip()]


def install(what: str, constraints: Path, place: Path) -> None:
    """Install a requirement and what it needs into a folder."""
    links = os.environ.get("PIP_FIND_LINKS", TORCH_CPU_INDEX).split()
    uv = str(Path(sys.executable).with_name("uv"))
    command = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--target", str(place)]
    command += ["--constraints", str(constraints), "--excludes", str(ROOT / "requirements" / "excluded.txt")]
    run(*command, *(part for link in links for part in ("--find-links", link)), what)


def size(place: Path) -> int:
    """Bytes on disk of all files below a folder."""
    return sum(path.lstat().st_blocks * 512 for path in place.rglob("*"))


def run(*command: str, cwd: Path | None = None, check: bool = True) -> None:
    subprocess.run(command, check=check, cwd=cwd, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or EXTRAS)
