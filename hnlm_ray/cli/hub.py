"""``hnlm push`` and ``hnlm pull``: bundles and tuned encoders on the hub of Hugging Face."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hnlm_ray.cli import console
from hnlm_ray.cli.options import is_run

__all__ = ["pull", "push"]


def push(
    path: Annotated[str, typer.Argument(help="A bundle, a shelf or a run, or the folder of a tuned encoder.")],
    repo: Annotated[str, typer.Argument(help="Name on the hub, for example somebody/shop; made if it does not exist.")],
    private: Annotated[bool, typer.Option("--private", help="Make a repository that only its owner can read.")] = False,
    licence: Annotated[
        str | None, typer.Option("--licence", "--license", help="Identifier on the hub, for example cc-by-nc-4.0.")
    ] = None,
    users: Annotated[
        bool | None,
        typer.Option("--with-users/--without-users", help="Whether a bundle keeps ids and histories of its users."),
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="The run that made the bundle, whose figures have intervals for the model card.")
    ] = None,
) -> None:
    """Publish a bundle or a tuned encoder on the hub of Hugging Face, with a model card.

    Every file is verified first. A bundle holds the ids and the histories of its users: say whether they are published,
    too. Without them it recommends to whoever gives a history. The token is that of HF_TOKEN or of [cyan]hf auth
    login[/], and HF_ENDPOINT names another hub.

    Example: [cyan]hnlm push runs/mine somebody/shop --without-users --licence cc-by-nc-4.0[/]
    """
    from hnlm_ray.exchange import hub
    from hnlm_ray.exchange.card import model_card
    from hnlm_ray.exchange.figures import figures_of
    from hnlm_ray.exchange.shipment import open_shipment

    with open_shipment(path, users=users) as shipment:
        figures = []
        if shipment.bundle is not None:
            figures = figures_of(shipment.bundle.about, run or (path if is_run(path) else None))
            kept = f"{shipment.bundle.users:,} users with their histories" if shipment.bundle.users else "no users"
            console.errors.print(f"bundle {shipment.bundle.version}: {shipment.bundle.items:,} items, {kept}")
        elif Path(model := str((shipment.encoder or {}).get("model"))).expanduser().exists():
            said = f"encoder.json names the folder {model}, which others do not have; it will be readable there"
            console.print_marked("warn", said, to=console.errors)
        card = model_card(shipment, repo, licence, figures)
        url = hub.push(shipment, repo, card, private=private, say=_say)
    if licence is None:
        console.print_marked("warn", "the model card names no licence; push again with --licence to add one")
    console.print_marked("ok", f"pushed to {url}")


def pull(
    repo: Annotated[str, typer.Argument(help="Name on the hub, for example somebody/shop.")],
    folder: Annotated[
        Path | None, typer.Argument(help="Where to, by default bundles/NAME; must not exist.", show_default=False)
    ] = None,
    revision: Annotated[str | None, typer.Option(help="A branch, a tag or a commit, instead of the newest.")] = None,
) -> None:
    """Fetch a bundle or a tuned encoder that [cyan]hnlm push[/] has published, and verify every file.

    Files that could hold code, and files that the bundle does not list, are refused.

    Example: [cyan]hnlm pull somebody/shop bundles/shop[/]
    """
    from hnlm_ray.exchange import hub

    target = folder or Path("bundles") / repo.rpartition("/")[2]
    shipment = hub.pull(repo, target, revision, say=_say)
    if shipment.bundle is None:
        console.print_marked("ok", f"a tuned encoder is in {target}")
        console.output.print(f"next: hnlm run ... tune.start={target}")
        return
    console.print_marked("ok", f"bundle {shipment.bundle.version} is in {target}")
    console.output.print(f"next: hnlm serve --shelf {target}")


def _say(line: str) -> None:
    console.errors.print(line, style="dim")
