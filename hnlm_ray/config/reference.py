"""Every option with its type, default and help, as a page and as a commented configuration.

The sections describe themselves: types and defaults are in their code, and the string under a field is its help.
"""

from __future__ import annotations

import re
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hnlm_ray.config.tree import Config
from hnlm_ray.config.variants import VariantConfig

__all__ = ["Option", "as_markdown", "as_yaml", "differences", "sections"]

_WIDTH = 110
_ROLE = re.compile(r":\w+:`~?([^`]*)`")
_KINDS = {bool: "true or false", int: "integer", float: "number", str: "text", date: "date"}
_BOUNDS = (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below"))


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        path: by which a file or an override sets it; ``<name>`` stands for a key of one's own and
            ``<number>`` for the place in a list, which is set as a whole.
        kind: what it accepts, in words.
        default: as YAML.
        help: what it means, in one paragraph; names of code are between single backquotes.
    """

    path: str
    kind: str
    default: str
    help: str


def sections() -> Iterator[tuple[str, str, list[Option]]]:
    """Path, first sentence and options of each section, each before the sections in it; first those of no section."""
    yield from _sections("", Config)


def as_markdown() -> str:
    """The page of all options."""
    parts = [_HEAD]
    for path, about, options in sections():
        parts.append(f"## {f'`{path}`' if path else 'Of the run'}\n\n{about}\n")
        if options:
            rows = [f"| `{one.path}` | {one.kind} | `{one.default}` | {one.help} |" for one in options]
            parts.append("\n".join(["| option | accepts | default | |", "|---|---|---|---|", *rows]) + "\n")
    return "\n".join(parts)


_HEAD = """# Options

Every option, section by section, as `hnlm config --markdown` writes this page. A file sets `section: {option: value}`,
an override `section.option=value`; [operations.md](operations.md#configuration-files) says how they lie on each other.
`hnlm config -c mine.yaml` prints all of them with the values that a configuration gives them, `--diff` those that are
not the defaults, `--schema` a JSON schema for editors.
"""


def as_yaml(config: Config) -> str:
    """A configuration with every option, under comments that say what it means; a file for ``-c``."""
    return "\n".join(_lines(config, config.model_dump(mode="json"), "")) + "\n"


def differences(config: Config) -> list[tuple[str, str, str]]:
    """Path, value and default, as YAML, of every option that has another value than in the default configuration."""
    given, default = config.model_dump(mode="json"), Config().model_dump(mode="json")
    variants, known = given["train"]["variants"], default["train"]["variants"]
    added = [(f"train.variants.{name}", "{}", "null") for name in variants if name not in known]
    known |= {name: VariantConfig().model_dump(mode="json") for name in variants if name not in known}
    return added + [(path, _yaml(here), _yaml(there)) for path, here, there in _changed(given, default, "")]


def _changed(here: Any, there: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    both = isinstance(here, Mapping) and isinstance(there, Mapping) and here.get("name") == there.get("name")
    if not both:
        if here != there:
            yield path, here, there
        return
    for key in {**there, **here}:
        yield from _changed(here.get(key), there.get(key), f"{path}.{key}" if path else key)


def _sections(path: str, section: type[BaseModel]) -> Iterator[tuple[str, str, list[Option]]]:
    options, below = [], []
    for name, field in section.model_fields.items():
        place = f"{path}.{name}" if path else name
        inner = list(_inner(place, field.annotation))
        below += inner
        if name == "name" and typing.get_origin(field.annotation) is typing.Literal:
            continue  # of a section that is chosen by its name, which its heading has
        if not inner or len(inner) > 1 or not _is_section(field.annotation):
            options.append(Option(place, _kind(field), _default(field), _plain(field.description or "")))
    yield path, _plain(str(section.__doc__ or "").strip().split("\n\n")[0]), options
    for inner_path, kind in below:
        yield from _sections(inner_path, kind)


def _inner(path: str, annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """Sections that an option holds: itself, each that can be chosen by its name, or those of a mapping or a list."""
    if _is_section(annotation):
        yield path, annotation
        return
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is dict:
        yield from _inner(f"{path}.<name>", arguments[-1])
    elif origin is tuple:
        yield from _inner(f"{path}.<number>", arguments[0])
    elif origin in (typing.Union, types.UnionType):
        members = [one for one in arguments if _is_section(one)]
        for one in members:
            name = one.model_fields.get("name")
            yield (f"{path}: {name.default}" if name is not None and len(members) > 1 else path), one
    elif origin is typing.Annotated:
        yield from _inner(path, arguments[0])


def _is_section(annotation: Any) -> typing.TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _kind(field: FieldInfo) -> str:
    bounds = [f"{word} {_number(getattr(one, name))}" for one in field.metadata for name, word in _BOUNDS
              if getattr(one, name, None) is not None]  # fmt: skip
    return ", ".join([_of(field.annotation), *bounds])


def _of(annotation: Any) -> str:  # noqa: PLR0911 (one answer for each form of an annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is None or annotation is type(None):
        return "null"
    if origin is typing.Literal:
        return ", ".join(f"`{one}`" for one in arguments)
    if origin is typing.Annotated:
        return _of(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_of(one) for one in arguments))
    if origin in (tuple, list):
        return f"list of {_of(arguments[0])}"
    if origin is dict:
        return f"mapping to {_of(arguments[-1])}"
    if _is_section(annotation):
        name = annotation.model_fields.get("name")
        return f"`{name.default}`" if name is not None else "a section"
    return _KINDS.get(annotation, "any value")


def _number(bound: Any) -> str:
    return f"{bound:g}" if isinstance(bound, int | float) else str(bound)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return str(getattr(value, "name", "{...}"))
    if isinstance(value, Mapping) and any(isinstance(one, BaseModel) for one in value.values()):
        return ", ".join(value)
    return _yaml(list(value) if isinstance(value, tuple) else value)


def _yaml(value: Any) -> str:
    return (
        yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True).removesuffix("\n...\n").strip()
    )


def _plain(text: str) -> str:
    return _ROLE.sub(r"`\1`", " ".join(text.split())).replace("``", "`").replace("|", "\\|")


def _lines(section: BaseModel, values: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        for line in textwrap.wrap(_plain(field.description or _about(value)), _WIDTH - len(indent)):
            yield f"{indent}# {line}"
        if isinstance(value, BaseModel):
            yield f"{indent}{name}:"
            yield from _lines(value, values[name], f"{indent}  ")
        elif isinstance(value, Mapping) and any(isinstance(one, BaseModel) for one in value.values()):
            yield f"{indent}{name}:"
            for key, one in value.items():
                yield f"{indent}  {_yaml(key)}:"
                yield from _lines(one, values[name][key], f"{indent}    ")
        else:
            yield f"{indent}{name}: {_yaml(values[name])}"


def _about(value: Any) -> str:
    return str(type(value).__doc__ or "").strip().split("\n\n")[0] if isinstance(value, BaseModel) else ""
