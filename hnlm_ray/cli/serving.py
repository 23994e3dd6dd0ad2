"""Commands that recommend, and that release what recommends: ``serve``, ``recommend``, ``export``, ``bundles``."""

from __future__ import annotations

from typing import Annotated

import typer

from hnlm_ray.cli import console
from hnlm_ray.cli.options import ConfigFiles, Overrides
from hnlm_ray.config.load import load_config
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import BundleError, ConfigError

__all__ = ["bundles", "bundles_of", "export", "recommend", "serve"]


def serve(
    overrides: Overrides,
    config: ConfigFiles,
    shelf: Annotated[
        str | None,
        typer.Option(help="Serve the current bundle of this shelf, or this bundle, instead of the run's."),
    ] = None,
) -> None:
    """Serve recommendations over HTTP, with a web page, until interrupted.

    Serves the bundles of the run ([bold]serve.variant[/] and [bold]serve.also[/]), or follows a shelf that
    [cyan]hnlm export[/] fills and takes up a new bundle there without a pause.
    """
    from hnlm_ray.cluster.connect import connected
    from hnlm_ray.run.places import shown
    from hnlm_ray.serving import control

    options = load_config(config, overrides)
    served = {options.serve.variant: shelf} if shelf else bundles_of(options)
    with connected(options.cluster):
        url = control.start(served, options.serve)
        for name, path in served.items():
            console.output.print(f"{name}: {shown(path)}")
        console.output.print(f"The web page is at {url}/, the API is described at {url}/docs. Stop with Ctrl-C.")
        try:
            control.wait()
        finally:
            control.stop()


def recommend(
    *,
    user: Annotated[str | None, typer.Argument(help="The user's id in the raw data; or give --all-users.")] = None,
    overrides: Overrides,
    config: ConfigFiles,
    k: Annotated[int, typer.Option(min=1, help="How many items.")] = 10,
    bundle: Annotated[str | None, typer.Option(help="A bundle or a shelf, instead of the run's bundle.")] = None,
    all_users: Annotated[bool, typer.Option("--all-users", help="Recommend to every user, into --to.")] = False,
    to: Annotated[
        str | None,
        typer.Option(help="Folder for the Parquet files of --all-users, local or s3://."),
    ] = None,
) -> None:
    """Print recommendations for one user, or write those of all users, without a server.

    Example: [cyan]hnlm recommend u17 -c configs/demo.yaml --k 5[/]

    Example: [cyan]hnlm recommend --all-users --k 100 --to recommendations -c configs/demo.yaml[/]
    """
    from hnlm_ray.cluster.connect import connected
    from hnlm_ray.serving.offline import recommend_all
    from hnlm_ray.serving.recommend.recommender import Recommender

    if user is not None and (all_users or _is_override(user)):
        overrides, user = [user, *overrides], None
    options = load_config(config, overrides)
    if not all_users:
        if user is None:
            raise ConfigError("no user is named", "give a user's id, or --all-users with --to FOLDER")
        console.print_recommendation(Recommender.load(_bundle_of(options, bundle)).recommend(user, k=k))
        return
    if to is None:
        raise ConfigError("--all-users needs a place to write to", "give --to FOLDER")
    source = _bundle_of(options, bundle)
    with connected(options.cluster):
        summary = recommend_all(source, to, k, say=console.output.print)
    console.output.print(str(summary))


def _is_override(word: str) -> bool:
    """Whether the first word of a command is not a user but an option of the configuration."""
    key, equals, _ = word.partition("=")
    return bool(equals) and key.partition(".")[0] in Config.model_fields


def export(
    shelf: Annotated[str, typer.Argument(help="Folder of bundles, local or s3://; made if it does not exist.")],
    overrides: Overrides,
    config: ConfigFiles,
    variant: Annotated[
        str | None, typer.Option(help="One of serve.variant and serve.also; by default the first.")
    ] = None,
    bundle: Annotated[str | None, typer.Option(help="A bundle, instead of the run's.")] = None,
    use: Annotated[
        bool, typer.Option(help="Make it the current one, which services that follow the shelf load.")
    ] = True,
) -> None:
    """Copy the run's bundle onto a shelf and make it the current one.

    A service that follows the shelf ([cyan]hnlm serve --shelf SHELF[/], or deploy/serve.yaml) loads the new bundle
    beside the one it serves, tries it, and swaps the two. [cyan]hnlm bundles SHELF --back[/] returns to the one before.

    Example: [cyan]hnlm export bundles/shop -c configs/demo.yaml[/]
    """
    from hnlm_ray.serving.bundle.shelf import Shelf

    place = Shelf(shelf)
    info = place.add(_bundle_of(load_config(config, overrides), bundle, variant))
    if use:
        place.use(info.version)
    console.print_bundles(place)


def bundles(
    shelf: Annotated[str, typer.Argument(help="Folder of bundles, local or s3://.")],
    use: Annotated[str | None, typer.Option(metavar="VERSION", help="Make this one the current one.")] = None,
    back: Annotated[bool, typer.Option("--back", help="Return to the one that was current before.")] = False,
    drop: Annotated[str | None, typer.Option(metavar="VERSION", help="Delete one that is not current.")] = None,
) -> None:
    """List the bundles of a shelf; choose one, go back to the one before, delete one.

    Example: [cyan]hnlm bundles bundles/shop --back[/]
    """
    from hnlm_ray.serving.bundle.shelf import Shelf

    place = Shelf(shelf)
    if sum((use is not None, back, drop is not None)) > 1:
        raise ConfigError("--use, --back and --drop were given together", "give one of them")
    if use is not None:
        place.use(use)
    if back:
        place.back()
    if drop is not None:
        place.drop(drop)
    console.print_bundles(place)


def bundles_of(options: Config) -> dict[str, str]:
    """The addresses of a run's bundles by variant, the main one first.

    Raises:
        BundleError: one has not been made yet.
    """
    from hnlm_ray.run.places import shown
    from hnlm_ray.run.plan import plan
    from hnlm_ray.run.stage import StageKey

    planned, found = plan(options), {}
    for variant in (options.serve.variant, *options.serve.also):
        artifact = planned[StageKey("bundle", variant).name].artifact
        if not artifact.is_complete:
            raise BundleError(
                f"{shown(options.run)} has no bundle for this configuration", "run `hnlm run` with it first"
            )
        found[variant] = artifact.address
    return found


def _bundle_of(options: Config, bundle: str | None, variant: str | None = None) -> str:
    """The bundle that a command names, or that of a variant of the run, by default the main one."""
    if bundle is not None:
        return bundle
    found = bundles_of(options)
    if variant is not None and variant not in found:
        raise ConfigError(f"--variant is {variant!r}, the run has bundles of {', '.join(found)}", "set serve.also")
    return found[variant or options.serve.variant]
