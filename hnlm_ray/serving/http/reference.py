"""The page at ``/docs``: the interface as its own OpenAPI document describes it, in one file without scripts."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

__all__ = ["REFERENCE_POLICY", "reference_page"]

REFERENCE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_EXAMPLES = {
    "user_id": "u00017", "user_ids": ["u00017", "u00018"], "item_id": "i00146", "item_ids": ["i00146", "i00292"],
    "text": "Enjoys puzzles, mostly minimal things.", "k": 3,
    "events": [{"user_id": "u00017", "item_id": "i00146", "id": "a-name-of-the-event"}],
}  # fmt: skip
"""Values of the commands that are shown; those of ids are of the demo."""

_BOUNDS = {
    "minimum": "at least {}", "exclusiveMinimum": "more than {}", "maximum": "at most {}",
    "minLength": "at least {} characters", "maxLength": "at most {} characters",
    "minItems": "at least {} of them", "maxItems": "at most {} of them",
}  # fmt: skip

_NOT_EMPTY = (("minLength", 1), ("minItems", 1))


@dataclass(frozen=True)
class _Field:
    """One field of a body or an answer, or one parameter of a path or a query.

    Attributes:
        name: of the field.
        kind: its type as words.
        link: name of the type that these words end with; empty where that is a plain one.
        notes: bounds, default, and whether it must be there.
        help: what it means.
    """

    name: str
    kind: str
    link: str
    notes: str
    help: str

    @classmethod
    def of(cls, name: str, schema: Mapping[str, Any], is_required: bool) -> _Field:
        """From its JSON schema."""
        kind, link = _kind(schema)
        notes = ["required"] if is_required else []
        if schema.get("default") is not None:
            notes.append(f"default {json.dumps(schema['default'])}")
        notes += _bounds(schema)
        return cls(name, kind, link, ", ".join(notes), schema.get("description", ""))


@dataclass(frozen=True)
class _Route:
    """One route: a method and a path, what it takes, and what it answers."""

    method: str
    path: str
    help: str
    fields: Sequence[_Field]
    parameters: Sequence[_Field]
    answer: str
    refusals: Mapping[str, str]
    command: str


def reference_page(document: Mapping[str, Any], token_env: str | None) -> Callable[[str], str]:
    """A function that gives the page for the address under which the service is asked.

    Args:
        document: OpenAPI, of the service.
        token_env: the environment variable with the token in the commands that are shown; None for no token.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

    environment = Environment(
        loader=PackageLoader("hnlm_ray.serving.http"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = lambda text: Markup(re.sub(r"``(.+?)``", r"<code>\1</code>", str(escape(text))))  # noqa: S704
    template = environment.get_template("reference.html.j2")
    style = files("hnlm_ray.serving.http").joinpath("page", "page.css").read_text()
    types = {
        name: (schema.get("description", ""), _fields(schema))
        for name, schema in document["components"]["schemas"].items()
        if "properties" in schema and not name.startswith(("HTTPValidation", "Validation"))
    }

    def render(address: str) -> str:
        base = address.rstrip("/")
        routes = [_route(method, path, one, base, token_env) for method, path, one in _operations(document)]
        about = {"title": document["info"]["title"], "version": document["info"]["version"]}
        return template.render(style=Markup(style), routes=routes, types=types, **about)  # noqa: S704

    return render


def _operations(document: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    return [(method, path, one) for path, methods in document["paths"].items() for method, one in methods.items()]


def _route(method: str, path: str, operation: Mapping[str, Any], base: str, token_env: str | None) -> _Route:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    answer = operation["responses"]["200"].get("content", {}).get("application/json", {}).get("schema", {})
    return _Route(
        method=method.upper(),
        path=path,
        help=operation.get("description", ""),
        fields=_fields(body),
        parameters=[
            _Field.of(one["name"], {**one["schema"], "description": one.get("description", "")}, one["required"])
            for one in operation.get("parameters", ())
        ],
        answer=_kind(answer)[1],
        refusals={
            status: response["description"]
            for status, response in operation["responses"].items()
            if status != "200" and "ErrorAnswer" in json.dumps(response)
        },
        command=_command(method, path, body, base, token_env),
    )


def _fields(schema: Mapping[str, Any]) -> list[_Field]:
    """The fields of an object, those that must be there first."""
    required = schema.get("required", ())
    found = [_Field.of(name, one, name in required) for name, one in schema.get("properties", {}).items()]
    return sorted(found, key=lambda field: field.name not in required)


def _kind(schema: Mapping[str, Any]) -> tuple[str, str]:
    """The type that a schema allows, as words, and the named type that these end with."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return "", name
    if "anyOf" in schema:
        found = [_kind(one) for one in schema["anyOf"] if one.get("type") != "null"]
        words = " or ".join(words for words, _ in found if words)
        is_optional = len(found) < len(schema["anyOf"])
        return f"{'null or ' if is_optional else ''}{words}", next((name for _, name in found if name), "")
    if "enum" in schema or "const" in schema:
        return "one of " + ", ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")])), ""
    if schema.get("type") == "array":
        words, name = _kind(schema.get("items", {}))
        return f"list of {words}", name
    if isinstance(schema.get("additionalProperties"), Mapping):
        words, name = _kind(schema["additionalProperties"])
        return f"object of {words}", name
    return str(schema.get("type", "")), ""


def _bounds(schema: Mapping[str, Any]) -> list[str]:
    inner = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    found = [(key, one[key]) for one in [schema, *inner] for key in _BOUNDS if key in one]
    return ["not empty" if bound in _NOT_EMPTY else _BOUNDS[bound[0]].format(f"{bound[1]:.15g}") for bound in found]


def _command(method: str, path: str, body: Mapping[str, Any], base: str, token_env: str | None) -> str:
    """An example of a request with curl."""
    for name in re.findall(r"{(\w+)}", path):
        path = path.replace(f"{{{name}}}", str(_EXAMPLES[name]))
    words = ["curl", "-s", shlex.quote(f"{base}{path}")]
    if token_env is not None:
        words += ["-H", f'"authorization: Bearer ${token_env}"']
    if method == "post":
        named = [name for name in body["properties"] if name in body.get("required", ()) or name == "k"]
        example = {name: _EXAMPLES[name] for name in sorted(named, key=lambda name: name == "k")}
        words += ["-H", "'content-type: application/json'", "-d", shlex.quote(json.dumps(example))]
    return " ".join(words)
