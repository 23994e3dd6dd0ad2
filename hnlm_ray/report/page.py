"""Renders pages: one style, no scripts, nothing fetched, all text escaped."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from hnlm_ray.report.plots import SERIES_COLOURS

__all__ = ["render_page"]

_JOINT = re.compile(r"([_:/=(]|[.-](?!\d))")
"""Where a name, or options with their values, may be broken before they are broken anywhere."""

_INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


def render_page(template: str, **values: Any) -> str:
    """A page as HTML.

    Args:
        template: a file of ``templates/`` that extends ``page.html.j2``.
        values: the variables of the template.

    Raises:
        jinja2.UndefinedError: the template uses a variable that is not among ``values``.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

    environment = Environment(
        loader=PackageLoader("hnlm_ray.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: _visible(value) if type(value) is str else value,
    )
    filters: dict[str, Callable[..., Any]] = {"number": _number, "signed": _signed, "duration": _duration}
    environment.filters |= {**filters, "svg": Markup}  # only for figures, which hold no text of users or models
    environment.filters["name"] = lambda name: Markup(_JOINT.sub(r"\1<wbr>", str(escape(_visible(name)))))  # noqa: S704
    environment.globals["series_colours"] = SERIES_COLOURS
    return environment.get_template(template).render(**values)


def _visible(text: str) -> str:
    """The text with a sign in place of each control character and of each that turns the direction of writing."""
    return _INVISIBLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"


def _signed(share: float) -> str:
    return f"{share:+.1%}".replace("-", "\N{MINUS SIGN}")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
