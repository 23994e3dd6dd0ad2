"""A YAML reader that refuses what would be lost in silence or never end."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node

from hnlm_ray.errors import ConfigError

__all__ = ["parse_yaml"]

MAX_DEPTH = 50
"""Levels of nesting; a configuration needs about six."""
MAX_NODES = 100_000
"""Keys and values with every alias written out."""


def parse_yaml(text: str, source: str) -> Any:
    """Parse one YAML document with the safe tags only.

    Args:
        text: the document.
        source: what the document is called in an error.

    Raises:
        ConfigError: if it is not YAML, names a key twice, refers to itself, nests deeper than :data:`MAX_DEPTH`, or
            its aliases stand for more than :data:`MAX_NODES` values.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _count(node, {})
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{source} is not valid YAML{line}: {error.problem}", "correct that line") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or a number that cannot be
        raise ConfigError(f"{source} is not valid YAML: {' '.join(str(error).split())}", "correct it") from error


class _Loader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys, and recurses as deep as the document does."""

    depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"it nests deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if (key.tag, str(key.value)) in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add((key.tag, str(key.value)))
        return node


def _count(node: Node, known: dict[int, int | None]) -> int:
    """The number of values that a node stands for; None in ``known`` marks a node that contains this one."""
    if id(node) not in known:
        known[id(node)] = None
        children: list[Node] = []
        if isinstance(node, CollectionNode):
            children = [one for pair in node.value for one in pair] if isinstance(node, MappingNode) else node.value
        known[id(node)] = 1 + sum(_count(child, known) for child in children)
    size = known[id(node)]
    if size is None:
        raise yaml.MarkedYAMLError(problem="an alias contains itself", problem_mark=node.start_mark)
    if size > MAX_NODES:
        raise yaml.MarkedYAMLError(
            problem=f"aliases stand for more than {MAX_NODES:,} values", problem_mark=node.start_mark
        )
    return size
