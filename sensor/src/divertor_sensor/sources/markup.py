"""XML as a source: the texts of elements, attributes and CDATA, and what a document type declares.

Pure, and no parser that could load or expand anything: one pass over the text, every entity resolved within
a budget (a bound that was hit is told). What a parser would refuse ends the reading; the rest is one value
then.
External entities stay what they are; `divertor_sensor.detectors.xml` judges those.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from divertor_sensor.sources.inputs import Inputs

_MAX_ELEMENTS = 32 * 1024
#: Characters that entities may stand for, per document.
_MAX_EXPANDED = 256 * 1024
_MAX_NESTING = 16
_MAX_DECLARATION = 512
_MAX_NAME = 200

_TAG = re.compile(r"""<(/?)([^\s<>/="'!?]++)((?:[^<>"']++|"[^"]*+"|'[^']*+')*+)>""")
_ATTRIBUTE = re.compile(r"""(?:\A|(?<=[\s"']))([^\s=<>"'/]++)\s*+=\s*+(?:"([^"]*+)"|'([^']*+)')""")
_REFERENCE = re.compile(r"&(#x[0-9a-fA-F]{1,8}|#[0-9]{1,9}|[^\s&;#]{1,64});")
_DOCTYPE = re.compile(r"""<!DOCTYPE(?:[^\[>"']++|"[^"]*+"|'[^']*+')*+""")
_IN_SUBSET = re.compile(r"""["'\]]|<!--|<\?|<!""")
_ENDS = {"<!--": "-->", "<?": "?>", '"': '"', "'": "'"}
_BREAKS = str.maketrans("\t\n\r", "   ")
_PREDEFINED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}


def read_xml(into: Inputs, source: str, name: str, text: str) -> None:
    """Take the values of an XML document under the paths of their elements, below `name`."""
    _Reader(into, source, name).read(text)


class _Element:
    """An open element: its path, and where its texts begin. `mixed`: it holds elements beside text."""

    __slots__ = ("first", "holds", "mixed", "path")

    def __init__(self, path: str, first: int) -> None:
        self.path = path
        self.first = first
        self.holds = False
        self.mixed = False


class _Reader:
    def __init__(self, into: Inputs, source: str, name: str) -> None:
        self._into = into
        self._source = source
        self._name = name
        self._open = [_Element(name, 0)]
        #: All texts so far; those from `_run` on are not interrupted by a tag.
        self._texts: list[str] = []
        self._run = 0
        self._elements = 0
        self._entities = _Entities(into)
        self._joined = 0

    def read(self, text: str) -> None:
        """One pass over `text`."""
        at = 0
        while at >= 0 and self._elements <= _MAX_ELEMENTS and not self._into.is_full():
            opened = text.find("<", at)
            if opened != at:
                self._take(self._entities.resolved(text[at:] if opened < 0 else text[at:opened]))
            at = -1 if opened < 0 else self._markup(text, opened)
        self._end_run()
        while len(self._open) > 1:
            self._close()

    def _markup(self, text: str, at: int) -> int:
        """What begins with `<` at `at`; returns where to go on, -1 for nowhere."""
        if text.startswith("<![CDATA[", at):
            end = text.find("]]>", at)
            self._take(text[at + 9 :] if end < 0 else text[at + 9 : end])
            return end if end < 0 else end + 3
        if text.startswith(("<!--", "<?"), at):
            closing = "-->" if text[at + 1] == "!" else "?>"
            end = text.find(closing, at + len(closing))
            return end if end < 0 else end + len(closing)
        if text.startswith("<!DOCTYPE", at):
            return self._doctype(text, at)
        tag = _TAG.match(text, at)
        if tag is None:
            self._take(text[at:])
            return -1
        self._tag(tag)
        return tag.end()

    def _tag(self, tag: re.Match[str]) -> None:
        self._end_run()
        self._elements += 1
        if self._elements > _MAX_ELEMENTS:
            self._into.complete = False
            return
        if tag[1]:
            if len(self._open) > 1:
                self._close()
            return
        parent = self._open[-1]
        parent.holds = True
        path = f"{parent.path}.{tag[2]}".lstrip(".")[:_MAX_NAME]
        if "=" in tag[3]:
            self._attributes(path, tag[3])
        if not tag[3].endswith("/"):
            self._open.append(_Element(path, len(self._texts)))

    def _attributes(self, path: str, text: str) -> None:
        for name, double, single in _ATTRIBUTE.findall(text):
            value = self._entities.resolved((double or single).translate(_BREAKS))
            self._into.add(self._source, f"{path}@{name}"[:_MAX_NAME], value)

    def _take(self, text: str) -> None:
        if text:
            self._texts.append(text)

    def _end_run(self) -> None:
        """The text since the last tag: as one, and in pieces where a comment, say, stands between them."""
        pieces = self._texts[self._run :]
        self._run = len(self._texts)
        whole = "".join(pieces)
        if not whole or whole.isspace():
            return
        element = self._open[-1]
        element.mixed = True
        self._into.add(self._source, element.path, whole)
        if len(pieces) > 1:
            self._into.add_all(self._source, element.path, pieces)

    def _close(self) -> None:
        """The end of an element: what it holds in all, where that is text with elements in it."""
        element = self._open.pop()
        if not (element.holds and element.mixed):
            return
        if self._joined > _MAX_EXPANDED:
            self._into.complete = False
            return
        whole = "".join(self._texts[element.first :])
        self._joined += len(whole)
        if self._joined > _MAX_EXPANDED:
            self._into.complete = False
        else:
            self._into.add(self._source, element.path, whole)

    def _doctype(self, text: str, at: int) -> int:
        head = _DOCTYPE.match(text, at)
        end = head.end() if head else -1
        if end >= 0 and text[end : end + 1] == "[":
            end = self._subset(text, end + 1, 0)
            end = end if end < 0 else text.find(">", end)
        return end + 1 if 0 <= end < len(text) else -1

    def _subset(self, text: str, at: int, depth: int) -> int:
        """The declarations from `at` to the closing bracket; returns where that is, -1 when there is none."""
        declared = at
        while found := _IN_SUBSET.search(text, at):
            mark, start = found[0], found.end()
            if mark == "]":
                return start
            if mark == "<!":
                declared, at = found.start(), start
                continue
            end = text.find(_ENDS[mark], start)
            if end < 0 or self._into.is_full():
                return -1
            if mark in "\"'":
                # A declaration of many literals would be copied for each of them.
                is_short = found.start() - declared <= _MAX_DECLARATION
                self._literal(text[declared : found.start()] if is_short else "", text[start:end], depth)
            at = end + len(_ENDS[mark])
        return -1

    def _literal(self, head: str, literal: str, depth: int) -> None:
        """A quoted text of a declaration: an entity, a default of an attribute; `head` precedes it."""
        words = head.split()
        value = self._entities.numeric(literal)
        if len(words) == 2 and words[0] == "<!ENTITY":
            self._entities.declare(words[1], value)
        self._into.add(self._source, f"{self._name}(dtd)", self._entities.resolved(value))
        if "<" not in value:
            return
        if depth >= _MAX_NESTING:
            self._into.complete = False
        elif "<!" in value:
            self._subset(value, 0, depth + 1)
        else:
            inner = _Reader(self._into, self._source, self._name)
            inner._entities = self._entities
            inner.read(value)


class _Entities:
    """The entities of a document, and the budget for what they stand for."""

    def __init__(self, into: Inputs) -> None:
        self._into = into
        self._values: dict[str, str] = {}
        self._left = _MAX_EXPANDED

    def declare(self, name: str, value: str) -> None:
        """The first declaration of a name counts (XML 1.0, section 4.2)."""
        self._values.setdefault(name, value)

    def numeric(self, text: str) -> str:
        """`text` with its character references resolved, as in the value of an entity when it is declared."""
        if "&#" not in text:
            return text
        return _REFERENCE.sub(lambda found: _character(found[1]) if found[1][0] == "#" else found[0], text)

    def resolved(self, text: str, depth: int = 0) -> str:
        """`text` with all references resolved; unknown ones stay."""
        if "&" not in text:
            return text
        return _REFERENCE.sub(lambda found: self._value(found[1], depth) or found[0], text)

    def _value(self, name: str, depth: int) -> str:
        if name[0] == "#":
            return _character(name)
        if name in _PREDEFINED:
            return _PREDEFINED[name]
        value = self._values.get(name, "")
        self._left -= len(value)
        if self._left < 0 or depth > _MAX_NESTING:
            self._into.complete = False
            return ""
        return self.resolved(value, depth + 1)


def _character(reference: str) -> str:
    code = int(reference[2:], 16) if reference[1] in "xX" else int(reference[1:])
    return chr(code) if 0 < code < 0x110000 else ""
