r"""Regular expressions of conditions: the part of RE2's syntax that can be judged the same everywhere.

A pattern is read into a tree of `divertor.automaton`, over bytes (one character per byte, latin-1), and
written back as RE2 from that tree alone; so Envoy and the predicate cannot read a pattern differently. It
covers a whole value: there are no anchors. What would need a memory, looks around or depends on the matcher
(`\1`, `(?=`, `\b`, `*?`) is refused. Nothing here knows requests.
"""

from __future__ import annotations

from dataclasses import dataclass

from divertor.automaton import Chars, Either, Repeat, Row, Tree

MAX_PATTERN = 1024
#: Characters once the repetitions are written out. RE2 gives up at about a hundred thousand instructions; a
#: character in all its percent-encodings takes up to fifty.
MAX_SIZE = 500
#: What RE2 allows, also for repetitions inside each other, multiplied.
MAX_REPEAT = 1000
MAX_DEPTH = 32

ANY = Chars((("\0", "\xff"),))
NOTHING = Chars(())
_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_SPECIAL = frozenset("|*+?{}[]().\\^$")
_DIGIT = (("0", "9"),)
_WORD = (("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z"))
_SPACE = (("\t", "\n"), ("\f", "\r"), (" ", " "))
_SETS = {"d": _DIGIT, "w": _WORD, "s": _SPACE}


@dataclass(frozen=True, slots=True)
class Capture(Row):
    """A group whose text is wanted: the `number`-th that opens. To whoever does not ask, a row like any."""

    number: int = 0


def read_pattern(pattern: str, *, captures: bool = False) -> Tree:
    """The tree of a pattern; with `captures` its groups (but `(?:…)`) are `Capture`.

    :raises ValueError: the pattern is none of ours; the message says why and at which character.
    """
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"a pattern longer than {MAX_PATTERN} characters")
    tree = _Reader(pattern, captures).read()
    if _size(tree) > MAX_SIZE:
        raise ValueError(f"a pattern larger than {MAX_SIZE} characters once its repetitions are written out")
    return tree


def literal(text: str) -> Tree:
    """The bytes of `text`, one after the other, in UTF-8."""
    return row(*(one(chr(byte)) for byte in text.encode("utf-8")))


def one(character: str) -> Chars:
    """That byte and no other."""
    return Chars(((character, character),))


def row(*parts: Tree) -> Tree:
    """One after the other."""
    return parts[0] if len(parts) == 1 else Row(parts)


def maybe(*parts: Tree) -> Tree:
    """The row, or nothing."""
    return Repeat(row(*parts), 0, 1)


def many(part: Tree) -> Tree:
    """Any number of times, also none."""
    return Repeat(part, 0, None)


def to_re2(tree: Tree) -> str:
    """The tree in RE2's syntax, for a matcher that covers the whole value and reads bytes."""
    match tree:
        case Chars():
            return _chars(tree)
        case Row(parts):
            return "".join(
                f"(?:{to_re2(part)})" if isinstance(part, Either) else to_re2(part) for part in parts
            )
        case Either(parts):
            return "|".join(to_re2(part) for part in parts)
        case Repeat(part, least, most):
            return f"{_single(part)}{_count(least, most)}"


def bytes_of(chars: Chars) -> list[int]:
    """The bytes that `chars` stands for, in order."""
    return [byte for byte in range(256) if chars.holds(chr(byte), False)]


def chars_of(found: list[int]) -> Chars:
    """The other way: `found` is in order."""
    ranges: list[tuple[int, int]] = []
    for byte in found:
        if ranges and ranges[-1][1] == byte - 1:
            ranges[-1] = (ranges[-1][0], byte)
        else:
            ranges.append((byte, byte))
    return Chars(tuple((chr(low), chr(high)) for low, high in ranges))


def _size(tree: Tree) -> int:
    match tree:
        case Chars():
            return 1
        case Row(parts) | Either(parts):
            return sum(map(_size, parts))
        case Repeat(part, least, most):
            return _size(part) * max(least if most is None else most, 1)


def _single(tree: Tree) -> str:
    text = to_re2(tree)
    return text if isinstance(tree, Chars) else f"(?:{text})"


def _count(least: int, most: int | None) -> str:
    known = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((least, most))
    return known or f"{{{least},{'' if most is None else most}}}"


def _chars(chars: Chars) -> str:
    ranges = chars.ranges
    if ranges == ANY.ranges and not chars.negated:
        return "(?s:.)"
    if not ranges:
        return "(?s:.)" if chars.negated else r"[^\x00-\xff]"
    if not chars.negated and len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        return _byte(ranges[0][0])
    inside = "".join(_byte(low) if low == high else f"{_byte(low)}-{_byte(high)}" for low, high in ranges)
    return f"[{'^' if chars.negated else ''}{inside}]"


def _byte(character: str) -> str:
    return character if character.isascii() and character.isalnum() else f"\\x{ord(character):02x}"


class _Reader:
    """Recursive descent over a pattern."""

    def __init__(self, pattern: str, captures: bool = False) -> None:
        self._pattern = pattern
        self._captures = captures
        self._groups = 0
        self._ignore_case = pattern.startswith("(?i)")
        self._at = 4 if self._ignore_case else 0
        self._depth = 0

    def read(self) -> Tree:
        tree, _ = self._either()
        if self._peek():
            raise self._wrong("a ) too many")
        return tree

    def _wrong(self, message: str, at: int | None = None) -> ValueError:
        place = self._at if at is None else at
        return ValueError(f"{message} (character {place + 1} of the pattern)")

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _accept(self, text: str) -> bool:
        if not self._pattern.startswith(text, self._at):
            return False
        self._at += len(text)
        return True

    def _take(self, what: str) -> str:
        if not self._peek():
            raise self._wrong(f"{what} without an end")
        self._at += 1
        return self._pattern[self._at - 1]

    def _either(self) -> tuple[Tree, int]:
        """A tree, and how often its most repeated part is repeated."""
        parts = [self._row()]
        while self._accept("|"):
            parts.append(self._row())
        most = max(times for _, times in parts)
        trees = tuple(tree for tree, _ in parts)
        return (trees[0] if len(trees) == 1 else Either(trees)), most

    def _row(self) -> tuple[Tree, int]:
        trees: list[Tree] = []
        most = 1
        while self._peek() not in ("", "|", ")"):
            tree, times = self._repeated(*self._atom())
            trees.append(tree)
            most = max(most, times)
        return row(*trees), most

    def _repeated(self, tree: Tree, times: int) -> tuple[Tree, int]:
        at = self._at
        found = self._repetition()
        if found is None:
            return tree, times
        least, most = found
        times *= max(least if most is None else most, 1)
        if times > MAX_REPEAT:
            raise self._wrong(f"more than {MAX_REPEAT} repetitions, those inside each other multiplied", at)
        if self._peek() in ("*", "+", "?", "{"):
            raise self._wrong("a repetition of a repetition; write a group, or escape with \\")
        return Repeat(tree, least, most), times

    def _repetition(self) -> tuple[int, int | None] | None:
        for sign, counts in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._accept(sign):
                return counts
        return self._counts() if self._accept("{") else None

    def _counts(self) -> tuple[int, int | None]:
        at = self._at
        least = self._number()
        most: int | None = least
        if self._accept(","):
            most = self._number() if self._peek() != "}" else None
        if not self._accept("}"):
            raise self._wrong("{ without an end; \\{ for the character", at)
        if least > MAX_REPEAT or (most is not None and not least <= most <= MAX_REPEAT):
            raise self._wrong(f"a repetition that is not within 0 to {MAX_REPEAT}", at)
        return least, most

    def _number(self) -> int:
        start = self._at
        while self._peek() and self._peek() in "0123456789":
            self._at += 1
        if not 0 < self._at - start <= 4:
            raise self._wrong("a repetition without a number; \\{ for the character", start)
        return int(self._pattern[start : self._at])

    def _atom(self) -> tuple[Tree, int]:
        at = self._at
        character = self._take("a pattern")
        if character == "(":
            return self._group()
        if character == "[":
            return self._class(), 1
        if character == ".":
            return ANY, 1
        if character == "\\":
            return self._escaped(), 1
        if character in "^$":
            raise self._wrong(f"no {character} is needed: a pattern covers the whole value", at)
        if character in _SPECIAL:
            raise self._wrong(f"{character} in an unexpected place; \\{character} for the character", at)
        return (self._cased(character) if character.isascii() else literal(character)), 1

    def _group(self) -> tuple[Tree, int]:
        at = self._at - 1
        captured = self._peek() != "?" and self._captures
        if self._peek() == "?" and not self._accept("?:"):
            raise self._wrong("only (?: is supported, and (?i) at the very beginning")
        self._groups += captured
        number = self._groups
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._wrong(f"groups nested more than {MAX_DEPTH} deep")
        found = self._either()
        if not self._accept(")"):
            raise self._wrong("( without an end", at)
        self._depth -= 1
        return (Capture((found[0],), number), found[1]) if captured else found

    def _escaped(self) -> Chars:
        at = self._at
        character = self._take("a backslash")
        if character.lower() in _SETS and character.isascii():
            return Chars(_SETS[character.lower()], negated=character.isupper())
        self._at = at
        return self._cased(self._escaped_character())

    def _escaped_character(self) -> str:
        at = self._at
        character = self._take("a backslash")
        if character == "x":
            digits = self._pattern[self._at : self._at + 2]
            if len(digits) == 2 and all(digit in "0123456789abcdefABCDEF" for digit in digits):
                self._at += 2
                return chr(int(digits, 16))
            raise self._wrong("\\x takes two hexadecimal digits", at)
        if character not in _PUNCTUATION:
            raise self._wrong(f"\\{character} is not supported", at)
        return character

    def _cased(self, character: str) -> Chars:
        return self._folded(((character, character),))

    def _folded(self, ranges: tuple[tuple[str, str], ...]) -> Chars:
        """With the other case of its ASCII letters, when case does not count."""
        if not self._ignore_case:
            return Chars(ranges)
        found = set(bytes_of(Chars(ranges)))
        letters = {byte for byte in found if chr(byte).isascii() and chr(byte).isalpha()}
        return chars_of(sorted(found | {byte ^ 0x20 for byte in letters}))

    def _class(self) -> Chars:
        negated = self._accept("^")
        ranges: list[tuple[str, str]] = []
        at = self._at
        while not self._accept("]"):
            ranges.extend(self._class_part())
        if not ranges:
            raise self._wrong("[] holds nothing; \\] for the character", at)
        return Chars(self._folded(tuple(ranges)).ranges, negated)

    def _class_part(self) -> tuple[tuple[str, str], ...]:
        if self._peek() == "\\" and (known := _SETS.get(self._pattern[self._at + 1 : self._at + 2])):
            self._at += 2
            return known
        at = self._at
        low = high = self._class_character()
        if self._peek() == "-" and self._pattern[self._at + 1 : self._at + 2] not in ("]", ""):
            self._at += 1
            high = self._class_character()
        if high < low:
            raise self._wrong(f"the range {low}-{high} is backwards", at)
        return ((low, high),)

    def _class_character(self) -> str:
        at = self._at
        character = self._take("[")
        if character == "\\":
            return self._escaped_character()
        if character == "[":
            raise self._wrong("[ inside a class; \\[ for the character", at)
        if not character.isascii():
            raise self._wrong("a class holds ASCII characters only; write (ä|ö)", at)
        return character
