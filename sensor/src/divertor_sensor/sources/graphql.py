"""GraphQL as a source: the strings that stand in the text of a query (GraphQL specification, section 2.9.4).

Pure. Variables come as JSON and are read as such; here are the arguments written into the text itself, in
quotes or as block strings. Numbers, names and enumeration values can change no statement and are left out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from divertor_sensor.sources.derived import json_unescaped

if TYPE_CHECKING:
    from divertor_sensor.sources.inputs import Inputs

_OPERATION = re.compile(
    r"""(?:[\s,\ufeff]|\#[^\n]*+)*+(?:\{(?!\s*")|(?:query|mutation|subscription|fragment)\b)"""
)
#: A string that is not closed is taken up to the end, so that no part of the text is looked at again.
_STRING = re.compile(
    r'(?:(?<!\w)(?P<name>\w++)\s*+:\s*+)?(?:"""(?P<block>(?:[^"\\]++|\\.|"(?!""))*+)(?:""")?'
    r'|"(?P<plain>(?:[^"\\\n]++|\\.)*+)"?)|\#[^\n]*+',
    re.DOTALL,
)


def is_graphql(text: str) -> bool:
    """Whether `text` could be a query that holds strings."""
    return '"' in text and "{" in text and _OPERATION.match(text) is not None


def read_graphql(into: Inputs, text: str) -> None:
    """Take the strings of a query under the names of their arguments."""
    for match in _STRING.finditer(text):
        name = match["name"] or ""
        if match["plain"] is not None:
            into.add("graphql", name, json_unescaped(match["plain"]))
        elif match["block"] is not None:
            block = match["block"].replace('\\"""', '"""')
            into.add_all("graphql", name, dict.fromkeys([block, _block_value(block)]))
        if into.is_full():
            return


def _block_value(block: str) -> str:
    """A block string without the indentation its lines have in common, and without blank lines around it."""
    lines = block.splitlines() or [""]
    indents = [len(line) - len(line.lstrip(" \t")) for line in lines[1:] if line.strip(" \t")]
    common = min(indents, default=0)
    return "\n".join([lines[0], *(line[common:] for line in lines[1:])]).strip("\n \t")
