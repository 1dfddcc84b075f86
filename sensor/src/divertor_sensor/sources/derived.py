"""The forms that common code turns an input into before using it, and the ways bytes can be read as text.

Pure. Every form costs time in proportion to the value's length. What is followed is listed at
`derived_values`; any other rewriting hides an input from the detectors.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from urllib.parse import unquote, unquote_plus

from divertor_sensor.work import BUDGET

#: What judging a character of a long text costs when not all of the text is ASCII, in steps.
NOT_ASCII = 3
_DECODINGS = 3
_MAX_PIECES = 8
_MAX_RUNS = 64
#: A shorter run of ASCII between other characters would meet statements by chance.
_MIN_RUN = 4
_MIN_ENCODED = 8
_MIN_ENCODED_TEXT = 4
#: Characters up to which a value's forms are kept.
_KEPT = 256
_MAX_JSON = 64 * 1024

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
#: Encoded text behind something else.
_BEHIND = re.compile(r"[:,;|~ ]([A-Za-z0-9+/_-]{8,}+={0,2})\s*+\Z")
_MAX_BEHIND = 4096
_HEXADECIMAL = re.compile(r"(?:0x)?(?:[0-9a-fA-F]{2}){6,}")
#: Words, numbers, names of files: nothing rewrites them but what undoes an encoding; several do nothing.
_PLAIN = re.compile(r"[\w.-]++(?: [\w.-]++)*+", re.ASCII)
_LISTS = "|,;&\n\t:@"
_SEPARATORS = re.compile(r"[|,;\n\t&]|(?<=\w)-(?=')|:")
#: What a piece of text must hold to change anything in any statement: one of these signs, or what follows.
_SIGNS = ("'", '"', "`", "$", "<", ">", "{", "}", "\\", "\0", "\n", "|", "&", "--", "../", "..\\")
_ACTS = re.compile(
    r"/\*(?![;,])|;\s*+(?!q=)[a-z/]|\w\("
    r"|\b(?:x?or|and|union|select|like|between|not|null|case|is)\b(?! Gecko)",
    re.IGNORECASE,
)
#: A longer piece is taken to act: looking would cost more.
_LONG = 1024
_ESCAPES = re.compile(r"[\\%]u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_TAG = re.compile(r"<[^<>]*+>")
_BLANKS = "\t\n\r\f\v"
_ASCII_RUN = re.compile(rf"[\x00-\x7f]{{{_MIN_RUN},}}")
_UNDECODABLE = re.compile("[\udc80-\udcff]+")
_FEW_RUNS = 256
_REQUOTED = {chr(0xDC00 + byte): f"%{byte:02X}" for byte in range(0x80, 0x100)}
JSON_STRING = re.compile(r'"((?:[^"\\]|\\.)*+)"?', re.DOTALL)


def readings(raw: bytes) -> list[str]:
    """The texts that different decoders make of `raw`: UTF-8 first, with what it cannot decode replaced,
    kept, or left percent-encoded; Latin-1; and the runs of ASCII in between, which every decoder agrees on.

    Of so long a text that the readings made so far are more than a request's budget can judge, no more are
    made: the request is judged by its raw text then (`divertor_sensor.guard`).
    """
    if raw.isascii():
        return [raw.decode("ascii")]
    latin = raw.decode("latin-1")
    if _is_too_long(latin):
        return [latin]
    replaced = raw.decode("utf-8", "replace")
    if _is_too_long(latin, replaced):
        return [replaced, latin]
    kept = raw.decode("utf-8", "surrogateescape")
    texts = [replaced]
    if _UNDECODABLE.search(kept):
        if _is_too_long(latin, replaced, kept):
            return [replaced, kept, latin]
        texts += [kept, _all_requoted(kept)]
    texts.append(latin)
    return list(dict.fromkeys([*texts, *ascii_runs(kept)]))


def _is_too_long(*texts: str) -> bool:
    """Whether no budget pays for judging all of `texts`, none of which is ASCII (`sources.parts`)."""
    return NOT_ASCII * sum(map(len, texts)) > BUDGET


def text_readings(text: str) -> list[str]:
    """The readings of text that a protocol library decoded: as it is, and as the bytes it stands for."""
    if text.isascii():
        return [text]
    try:
        return list(dict.fromkeys([text, *readings(text.encode("latin-1"))]))
    except UnicodeEncodeError:
        return [text, *ascii_runs(text)]


def ascii_runs(text: str) -> list[str]:
    """The longer runs of ASCII in `text` that hold more than a word."""
    if text.isascii():
        return []
    found: list[str] = []
    for match in _ASCII_RUN.finditer(text):
        run = match[0]
        if not run.replace(" ", "").isalnum():
            found.append(run)
            if len(found) >= _MAX_RUNS:
                # Whatever comes later is looked at as one more piece, up to the end.
                found.append(text[match.end() :])
                break
    return found


def _all_requoted(text: str) -> str:
    """`text` with what could not be decoded percent-encoded: run by run, and where there are too many runs
    for that to be quick, character by character.
    """
    text = _UNDECODABLE.sub(_requoted, text, _FEW_RUNS)
    if _UNDECODABLE.search(text):
        text = "".join(map(_REQUOTED.get, text, text))
    return text


def _requoted(match: re.Match[str]) -> str:
    # `hex` writes its separator between the bytes only.
    return "%" + match[0].encode("ascii", "surrogateescape").hex("%").upper()


def derived_values(value: str) -> Sequence[str]:
    """The value (not empty), and the forms common code turns it into before using it. No form is empty.

     - trimmed; white space collapsed; control characters removed; in lower case;
     - percent-decoded up to three times more, with `+` as a blank or as itself; HTML entities resolved;
       `\\u0027`, `\\x27` and `%u0027` resolved; backslashes removed;
     - NFKC; without accents and what is then no ASCII;
     - quotes escaped with a backslash, doubled (after a backslash), removed; tags removed;
     - base64 (both alphabets) and hexadecimal of printable text undone, also behind the last separator, and
       percent-encoding within;
     - the pieces of a list with one separator or several; what follows the first separator; a file's name
       without its suffix or its directory; the strings of JSON.

    The later steps start from the value and from its last decoded form. What can make no difference to any
    statement (pieces without a sign or a word that acts, say) is left out. Other rewriting is not followed:
    compression, encryption, characters exchanged or removed by the app's own tables, values put together.
    """
    if len(value) > _KEPT:
        return tuple(_forms(value))
    return _kept_forms(value)


@lru_cache(maxsize=128)
def _kept_forms(value: str) -> tuple[str, ...]:
    """Every detector asks for the same forms, and most values come again."""
    return tuple(_forms(value))


def _forms(value: str) -> list[str]:
    if _PLAIN.fullmatch(value):
        return [value] if " " in value else [value, *_undone(value)]
    forms = dict.fromkeys([value])
    forms.update(dict.fromkeys(_decoded_forms(value)))
    last = next(reversed(forms))
    for start in {value: None, last: None}:
        forms.update(dict.fromkeys(_rewritten(start)))
    for form in (*_undone(value.strip()), *_undone_behind(value)):
        forms[form] = None
        forms.update(dict.fromkeys(_decoded_forms(form)))
    for form in list(forms):
        stripped = form.strip()
        forms[stripped] = None
        if "  " in stripped or any(map(stripped.__contains__, _BLANKS)):
            forms[" ".join(stripped.split())] = None
    return [form for form in forms if form]


def _decoded_forms(value: str) -> Iterator[str]:
    text = value
    for _ in range(_DECODINGS):
        if "%" not in text:
            break
        decoded = unquote_plus(text)
        yield decoded
        if "+" in text:
            decoded = unquote(text)
            yield decoded
        text = decoded
    if "&" in text:
        text = html.unescape(text)
        yield text
    if ("\\" in text or "%u" in text) and _ESCAPES.search(text):
        text = _ESCAPES.sub(_escaped_character, text)
        yield text
    if not text.isascii():
        yield from _plainer(text)


def _plainer(text: str) -> Iterator[str]:
    text = unicodedata.normalize("NFKC", text)
    yield text
    if not text.isascii():
        yield unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")


def _escaped_character(match: re.Match[str]) -> str:
    return chr(int(match[1] or match[2], 16))


def _rewritten(value: str) -> Iterator[str]:
    """What code makes of text that holds signs."""
    if "'" in value or '"' in value:
        yield from _quoted_forms(value)
    if "<" in value and ">" in value:
        yield _TAG.sub("", value)
    if "\\" in value:
        yield value.replace("\\'", "'").replace('\\"', '"')
        yield value.replace("\\", "")
        # Of `\'` doubling makes an escaped quote and one that ends a literal of MySQL.
        yield value.replace("'", "''")
    if not value.isprintable():
        yield _CONTROLS.sub("", value)
    if _acts(value):
        yield value.lower()
        yield from _pieces(value)


def _quoted_forms(value: str) -> Iterator[str]:
    yield value.replace("\\", "\\\\").replace("'", "\\'").replace('"', '\\"')
    yield value.replace("'", "").replace('"', "")
    yield from _tails(value)
    if value.lstrip()[:1] in {"{", "[", '"'}:
        yield from _json_strings(value)


def _pieces(value: str) -> Iterator[str]:
    """The pieces of a list, of which one acts; with each separator on its own, and with all of them."""
    found = [separator for separator in _LISTS if separator in value]
    for separator in found:
        yield from _acting(value.split(separator, _MAX_PIECES))
    if len(found) > 1 or "-'" in value:
        yield from _acting(_SEPARATORS.split(value, _MAX_PIECES))
    name = value.rpartition("/")[2]
    stem = name.rpartition(".")[0]
    yield from _acting([name, stem])


def _acting(pieces: list[str]) -> Iterator[str]:
    for piece in pieces:
        if _acts(piece):
            yield piece.strip()


def _acts(text: str) -> bool:
    if len(text) > _LONG:
        return True
    for sign in _SIGNS:
        if sign in text:
            return True
    return _ACTS.search(text) is not None


def _tails(value: str) -> Iterator[str]:
    """What follows the first separators: an app that splits once keeps it whole."""
    for separator in ("-", ":", ",", ";", "|", "=", "/", "@"):
        head, found, tail = value.partition(separator)
        if found and "'" not in head and '"' not in head:
            yield tail


def _json_strings(value: str) -> Iterator[str]:
    for count, match in enumerate(JSON_STRING.finditer(value[:_MAX_JSON])):
        if count >= _MAX_PIECES * 2:
            return
        yield json_unescaped(match[1])


def json_unescaped(text: str) -> str:
    """The text that a JSON string's inside stands for; as it is when it stands for none."""
    if "\\" not in text:
        return text
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return text


def _undone(value: str) -> list[str]:
    """The printable texts that a value stands for in base64 or in hexadecimal digits."""
    if len(value) < _MIN_ENCODED:
        return []
    compact = "".join(value.split())
    if _HEXADECIMAL.fullmatch(compact):
        text = _hexadecimal_text(compact)
    elif _BASE64.fullmatch(compact):
        text = base64_text(compact)
    else:
        return []
    return [text] if len(text) >= _MIN_ENCODED_TEXT and not text.isalnum() else []


def _undone_behind(value: str) -> list[str]:
    """The same for what follows the last separator: a kind (`user:…`), a data URL's head, a scheme's name."""
    behind = _BEHIND.search(value[-_MAX_BEHIND:])
    return [] if behind is None else _undone(behind[1])


def _hexadecimal_text(digits: str) -> str:
    try:
        text = bytes.fromhex(digits.removeprefix("0x")).decode("utf-8")
    except ValueError:
        return ""
    return text if "".join(text.split()).isprintable() else ""


def base64_text(value: str) -> str:
    """The printable text that `value` encodes; empty when it does not."""
    padded = value.rstrip("=")
    padded += "=" * (-len(padded) % 4)
    try:
        raw = base64.b64decode(padded, altchars=b"-_" if set("-_") & set(value) else None)
        text = raw.decode("utf-8")
    except (binascii.Error, ValueError):
        return ""
    return text if "".join(text.split()).isprintable() else ""
