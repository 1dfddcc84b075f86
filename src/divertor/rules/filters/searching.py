"""Regular expressions in the syntax of most languages, found anywhere in a text: what Sigma's `re` means.

RE2 decides them: linear in the text, bounded memory, no look-around and no back-references. The library
comes with pySigma and is loaded when a rule needs it.
"""

from __future__ import annotations

from collections.abc import Callable

MAX_PATTERN = 4096
#: Bytes that one compiled pattern may take.
_MEMORY = 2 * 1024 * 1024


def compile_search(pattern: str, flags: str = "") -> Callable[[str], bool]:
    """Whether a pattern is found in a text. `flags`: `i` any case, `m` lines, `s` dot takes line ends too.

    :raises ValueError: no such expression, or too large; the message says why.
    """
    import re2  # type: ignore[import-untyped]

    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"a pattern longer than {MAX_PATTERN} characters")
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    try:
        search = re2.compile(f"(?{flags}){pattern}" if flags else pattern, options).search
    except (re2.error, UnicodeEncodeError) as problem:
        raise ValueError(_reason(problem)) from None

    def found(text: str) -> bool:
        try:
            return search(text) is not None
        except UnicodeEncodeError:
            # Half a surrogate pair, which JSON can hold and UTF-8 cannot.
            return search(text.encode("utf-8", "replace").decode("utf-8")) is not None

    return found


def _reason(problem: Exception) -> str:
    said = problem.args[0] if problem.args else ""
    return (said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said))[:200]
