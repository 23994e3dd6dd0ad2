"""Commands that recommend, and that release what recommends: ``serve``, ``recommend``, ``export``, ``bundles``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hnlm_ray.cli import console
from hnlm_ray.cli.completion import variants
from hnlm_ray.cli.options import ConfigFiles, Words, configured, is_override, is_run, opened
from hnlm_ray.cli.packages import this_command
from hnlm_ray.config.serving import BEST
from hnlm_ray.config.tree import Config
from hnlm_ray.errors import BundleError, ConfigError, require

if TYPE_CHECKING:
    from hnlm_ray.run.plan import Run
    from hnlm_ray.serving.bundle.shelf import Shelf

__all__ = ["bundles", "bundles_of", "export", "recommend", "serve"]


def serve(
    words: Words,
    config: ConfigFiles,
    shelf: Annotated[
        str | None,
        typer.Option(help="Serve the current bundle of this shelf, or this bundle, instead of the run's."),
    ] = None,
) -> None:
    """Serve recommendations over HTTP, with a web page, until interrupted.

    Serves the bundles of the run ([bold]serve.variant[/] and [bold]serve.also[/]), or follows a shelf that
    [cyan]hnlm export[/] fills and takes up a new bundle there without a pause.

    Example: [cyan]hnlm serve runs/mine serve.port=9000[/]
    """
    require(this_command(), "ray", "serve")
    from hnlm_ray.cluster.connect import connected
    from hnlm_ray.run.places import shown
    from hnlm_ray.serving import control

    if shelf:
        options = configured(words, config)
        served = {"shelf" if options.serve.variant == BEST else options.serve.variant: shelf}
    else:
        options, found = opened(words, config)
        served = bundles_of(options, found)
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
    words: Words,
    config: ConfigFiles,
    k: Annotated[int, typer.Option(min=1, help="How many items.")] = 10,
    bundle: Annotated[str | None, typer.Option(help="A bundle or a shelf, instead of the run's bundle.")] = None,
    all_users: Annotated[bool, typer.Option("--all-users", help="Recommend to every user, into --to.")] = False,
    to: Annotated[
        str | None,
        typer.Option(help="Folder for the Parquet files of --all-users, local or s3://."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the recommendations in --to.")] = False,
) -> None:
    """Print recommendations for one user, or write those of all users, without a server.

    Example: [cyan]hnlm recommend u17 runs/mine --k 5[/]

    Example: [cyan]hnlm recommend --all-users --k 100 --to recommendations runs/mine[/]
    """
    from hnlm_ray.cli.progress import saying
    from hnlm_ray.cluster.connect import connected
    from hnlm_ray.serving.offline import recommend_all
    from hnlm_ray.serving.output_folder import OutputFolder
    from hnlm_ray.serving.recommend.recommender import Recommender

    user, words = (None, [user, *words] if user else words) if all_users else _user_and_rest(user, words)
    if not all_users:
        if user is None:
            raise ConfigError("no user is named", "give a user's id, or --all-users with --to FOLDER")
        if to is not None or overwrite:
            raise ConfigError("--to and --overwrite go with --all-users", "leave them out, or name no user")
        source = _bundle_of(words, config, bundle)[1]
        console.print_recommendation(Recommender.load(source).recommend(user, k=k), user)
        return
    if to is None:
        raise ConfigError("--all-users needs a place to write to", "give --to FOLDER")
    options, source = _bundle_of(words, config, bundle)
    require(this_command(), "ray")
    OutputFolder(to, overwrite=overwrite).check_free()  # before Ray starts
    with connected(options.cluster), saying(console.output.print) as say:
        summary = recommend_all(source, to, k, say=say, overwrite=overwrite)
    console.output.print(str(summary))


def _user_and_rest(first: str | None, words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The user's id and the other words: a run may stand before or behind it."""
    if first is None or is_override(first):
        return None, [*([first] if first else []), *words]
    if not is_run(first):
        return first, [*words]
    second = next((word for word in words if not is_override(word)), None)
    return second, [first, *(word for word in words if word is not second)]


def export(
    shelf: Annotated[str, typer.Argument(help="Folder of bundles, local or s3://; made if it does not exist.")],
    words: Words,
    config: ConfigFiles,
    variant: Annotated[
        str | None,
        typer.Option(help="One of serve.variant and serve.also; by default the first.", autocompletion=variants),
    ] = None,
    bundle: Annotated[str | None, typer.Option(help="A bundle, instead of the run's.")] = None,
    use: Annotated[
        bool, typer.Option(help="Make it the current one, which services that follow the shelf load.")
    ] = True,
) -> None:
    """Copy the run's bundle onto a shelf and make it the current one.

    A service that follows the shelf ([cyan]hnlm serve --shelf SHELF[/], or deploy/serve.yaml) loads the new bundle
    beside the one it serves, tries it, and swaps the two. [cyan]hnlm bundles SHELF --back[/] returns to the one before.

    Example: [cyan]hnlm export bundles/shop runs/mine[/]
    """
    others = [word for word in words if not is_override(word)]
    if len(others) == 1 and is_run(shelf) and not is_run(others[0]):  # the other way round
        shelf, words = others[0], [shelf, *(word for word in words if word not in others)]
    place = _shelf(shelf)
    info = place.add(_bundle_of(words, config, bundle, variant)[1])
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
    place = _shelf(shelf)
    if sum((use is not None, back, drop is not None)) > 1:
        raise ConfigError("--use, --back and --drop were given together", "give one of them")
    if use is not None:
        place.use(use)
    if back:
        place.back()
    if drop is not None:
        place.drop(drop)
    if not place.bundles():
        raise BundleError(f"{place.shown} has no bundles", "fill a shelf with `hnlm export SHELF RUN`")
    console.print_bundles(place)


def _shelf(address: str) -> Shelf:
    """A shelf by its address.

    Raises:
        BundleError: the address leads to a run or to a bundle.
    """
    from hnlm_ray.run.record import RECORD
    from hnlm_ray.serving.bundle.info import INFO
    from hnlm_ray.serving.bundle.shelf import Shelf

    place = Shelf(address)
    for name, kind in ((RECORD, "a run"), (INFO, "a bundle")):
        if place.has(name):
            raise BundleError(f"{place.shown} is {kind}, not a shelf", "give a folder that `hnlm export` fills")
    return place


def bundles_of(options: Config, run: Run) -> dict[str, str]:
    """The addresses of a run's bundles by variant, the main one first; ``best`` goes by the name of its variant.

    Raises:
        ConfigError: no variant can be served, or a bundle of ``serve.bundles`` has the name of one that is.
        StoreError: a bundle has not been made yet.
        BundleError: a bundle is damaged.
    """
    from hnlm_ray.run.reopened import finished
    from hnlm_ray.run.stage import StageKey
    from hnlm_ray.serving.bundle.info import read_info

    if not options.served:
        raise ConfigError("no variant of the run has vectors of users to serve", "add one to train.variants")
    found: dict[str, str] = {}
    for name in options.served:
        address = finished(run, options, StageKey("bundle", name)).address
        found.setdefault(read_info(address).about.variant, address)
    if twice := next((name for name in found if name in options.serve.bundles), None):
        what = f"serve.bundles names a bundle {twice!r}, as does the run with the variant that it serves"
        raise ConfigError(what, "give the other bundle another name")
    return found


def _bundle_of(
    words: Sequence[str], files: Sequence[Path], bundle: str | None, variant: str | None = None
) -> tuple[Config, str]:
    """The configuration, and the bundle that a command names, or that of a variant of the run, by default the main."""
    if bundle is not None:
        return configured(words, files), bundle
    options, run = opened(words, files)
    found = bundles_of(options, run)
    if variant is not None and variant not in found:
        raise ConfigError(f"--variant is {variant!r}, the run has bundles of {', '.join(found)}", "set serve.also")
    return options, found[variant or next(iter(found))]
