"""What a piece of SQL can do: nothing (it orders, lists, pages), nothing good for its writer, or harm.

Pure judgements about a short text that stands as code in a statement, for `divertor_sensor.detectors.sql`.
They hold for SQLite, PostgreSQL and MySQL alike: a word that is special in one of them is special. What a
text means in its place is not looked at; in doubt it does harm.
"""

from __future__ import annotations

import re

#: The grammar of harmless fragments is for short ones; its patterns may look at white space twice.
_MAX_FRAGMENT = 256
_MAX_REST = 64

#: Every keyword of SQLite, and those of PostgreSQL and MySQL that go on with an expression or a statement:
#: what makes a word more than a name.
_KEYWORDS = frozenset(
    """
    abort action add after all alter always analyze and any as asc attach autoincrement before begin
    between binary by call cascade case cast check collate column commit conflict constraint copy create
    cross current current_date current_time current_timestamp database default deferrable deferred delete
    desc detach distinct distinctrow div do drop dumpfile each else end escape except exclude exclusive
    exec execute exists explain fail false fetch filter first following for foreign from full generated
    glob grant group groups handler having if ignore ilike immediate in index indexed initially inner
    insert instead intersect interval into is isnull join key last lateral left like limit load lock match
    materialized member mod natural no not nothing notnull null nulls of offset on operator or order
    others outer outfile over overlaps partition plan pragma preceding primary procedure query raise range
    recursive references regexp reindex release rename replace restrict returning revoke right rlike
    rollback row rows savepoint select set similar some sounds straight_join symmetric table tablesample
    temp temporary then ties to transaction trigger true truncate unbounded union unique unknown update
    using vacuum values view virtual waitfor when where window with within without xor
    """.split()
)
#: A word as the lexers see it: one may follow a number without a space (`1or 1`, `0x31or 1`).
_WORD = re.compile(r"0x[0-9a-f]++|\d++(?:\.\d*+)?(?:e\d++)?|[^\W\d]\w*+")
#: What begins another part of a query, or a join: what can come later, when a literal was given a name.
_CLAUSES = frozenset(
    """
    except fetch for from group having intersect into join limit lock offset on order procedure returning
    union using values where window
    """.split()
)
#: What may follow a literal beside keywords: units of an interval, options of a role, a file or a time.
_AFTER_A_LITERAL = frozenset(
    """
    admin at bypassrls character charset columns connection createdb createrole csv day day_hour
    day_microsecond day_minute day_second delimiter delimiters empty enclosed encoding encrypted error
    escaped fields format freeze header hour hour_microsecond hour_minute hour_second identified keep
    level lines login microsecond minute minute_microsecond minute_second month nested omit optionally
    passing password path placing preserve quarter quote replication require role second
    second_microsecond separator sql_tsi_day sql_tsi_hour sql_tsi_minute sql_tsi_month sql_tsi_quarter
    sql_tsi_second sql_tsi_week sql_tsi_year standalone starting strip superuser sysid terminated uescape
    valid value week year year_month
    """.split()
)
#: Keywords that nothing which was given a name goes on with, and that prose is full of; and what some
#: databases know beside the keywords of all.
_NEVER_AFTER_A_NAME = frozenset(
    "all and any as by do if in is like no null of or then to update when".split()
)
_AFTER_A_NAME_AT_TIMES = frozenset("bulk connect force minus qualify start use".split())
_MAY_FOLLOW_A_NAME = (_KEYWORDS | _CLAUSES | _AFTER_A_LITERAL | _AFTER_A_NAME_AT_TIMES) - _NEVER_AFTER_A_NAME
#: A very short word, as in `don't` and `we're`, and another, with blanks (all databases' blanks) between
#: them; and the next one if it follows likewise. Longer ones may be keywords that are not known here.
_TWO_WORDS = re.compile(r"[ \t\n\r]*+([a-z]{1,2})[ \t\n\r]++(\w++)(?=(?:[ \t\n\r]++(\w++))?+[^\w$])")
#: A single statement of these kinds.
_ONE_QUESTION = re.compile(r"\s*+(?:select|insert|update|delete|replace)\b[^;]*+\Z")
_COMPARED = re.compile(r"(?:(?<![=-])>|(?<!:)=|<|\bi?like)\s*+\Z")
_CONDITION = re.compile(r"\b(?:where|having|on|set)\b")
_CALL = re.compile(r"\b\w++\([^()]*+\)")
_LIST_BEGINS = re.compile(r"\b(?:in|values)\s*+\Z")
_MAX_CALLS = 3
#: The rest of a name after an apostrophe that was not escaped: words first, so that two operands meet, which
#: no expression allows. Further apostrophes only within one word (`Ng'ang'a`).
_REST_OF_NAME = re.compile(
    r"\s?[^\W\d][\w\s]*+(?:[.&][\w\s]*+){0,3}|\s*|[^\W\d]\w*+(?:'[^\W\d]\w*+){1,3}[\w\s]*+"
)
#: Words that follow each other without any sign.
_PROSE = re.compile(r"\s*\w+(?:\s+\w+)*+[\s.]*")

_QUOTED_NAME = r"""(?:"[\w $-]+"|`[\w $-]+`|\[[\w $-]+\])"""
_NAME = rf"(?:(?:\w+|{_QUOTED_NAME})(?:\.(?:\w+|{_QUOTED_NAME})){{0,2}})"
_COLUMN = (
    r"(?:(?:count|sum|avg|min|max|lower|upper|length|date|abs)"
    rf"\(\s*(?:\*|(?:distinct\s+)?{_NAME})\s*\)|random\(\)|(?:{_NAME}\.)?\*|{_NAME})"
)
_ORDERED = rf"{_COLUMN}(?:\s+collate\s+{_NAME})?(?:\s+(?:asc|desc))?(?:\s+nulls\s+(?:first|last))?"
_LISTED = rf"(?:{_ORDERED}|{_COLUMN}\s+as\s+{_NAME})"
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?"
# No backslash: whether it escapes the quote after it is for the dialect to say.
_LITERAL = rf"(?:{_NUMBER}|'[^'\\]*+'|\"[^\"\\]*+\")"
#: As long as a list may be.
_LIST = rf"\s*+{_LITERAL}(?:\s*+,\s*+{_LITERAL})*+\s*+"
# Half a pair of brackets could regroup the program's conditions.
_LITERALS = re.compile(rf"(?:\({_LIST}\)|{_LIST})\s*+,?\s*+")
_HARMLESS = re.compile(
    rf"\s*,?\s*(?:(?:distinct\s+)?{_LISTED}(?:\s*,\s*{_LISTED})*"
    r"|(?:asc|desc)?(?:\s*nulls\s+(?:first|last))?"
    r"|(?:limit\s+)?\d+(?:\s*,\s*\d+|\s+offset\s+\d+)?"
    r"|offset\s+\d+|\d{4}-\d\d-\d\d)\s*,?\s*"
)
_NOT_NAMES = re.compile(
    r"\b(?:select|union|from|where|and|or|not|in|like|case|null|exists|between|is|glob|limit|offset|join)\b"
)
_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|`[^`]*`|\[[^\]]*\]""")
#: What ends things, and reads nothing.
_UNDOING = re.compile(
    r"""\s*+(?:rollback|abort)(?:\s++(?:work|transaction))?+
        (?:\s++to(?:\s++savepoint)?+\s++["`]?\w++["`]?)?+\s*+;?+\s*+""",
    re.IGNORECASE | re.VERBOSE,
)
_PAGING = re.compile(r"\b(?:limit|offset)\b(?=\s+\d)")


def unquoted_severity(fragment: str) -> bool | None:
    """What an input may do that stands as code: None, nothing; False, it breaks the statement and no more
    (words of prose); True, harm. `fragment` is in lower case.
    """
    if _is_harmless(fragment):
        return None
    return _holds_keyword(fragment) or not _PROSE.fullmatch(fragment)


def goes_on(rest: str) -> bool:
    """Whether text after a broken literal could go on as SQL. In doubt it does: only the short rest of a
    name (`O'Brien`, `D'Arcy & Co.`) does not. `rest` is in lower case.

    A word after a literal that is no keyword can only be the name the literal is given: only a further part
    of the query may follow then, and none of an expression.
    """
    if len(rest) > _MAX_REST or not _REST_OF_NAME.fullmatch(rest):
        return True
    words = _WORD.findall(rest)
    if not words:
        return False
    return words[0] in _KEYWORDS or words[0] in _AFTER_A_LITERAL or not _CLAUSES.isdisjoint(words)


def is_prose(rest: str) -> bool:
    """Whether the `rest` of a broken literal, in lower case, begins with a word that could only be a name,
    and then another that nothing named goes on with (`don't worry`).
    """
    words = _TWO_WORDS.match(rest)
    if words is None or words[1] in _KEYWORDS or words[1] in _AFTER_A_LITERAL:
        return False
    return words[2] not in _MAY_FOLLOW_A_NAME or (words[2] == "order" and words[3] not in (None, "by"))


def takes_no_name(before: str) -> bool:
    """Whether a literal is an operand of a condition, an assignment or a list: no database reads a statement
    in which a name follows there, whatever comes later, and what cannot be read does nothing.

    `before` is the statement's code up to the literal, in lower case, with `''` for literals and blanks for
    comments.
    """
    return _ONE_QUESTION.match(before) is not None and (_is_compared(before) or _is_listed(before))


def _is_compared(before: str) -> bool:
    """Whether the code ends where a condition or an assignment goes on with what is compared or assigned."""
    if not _COMPARED.search(before):
        return False
    return _CONDITION.search(before, max(0, before.rfind("select"))) is not None


def _is_listed(before: str) -> bool:
    """Whether the code ends in a row of values, or in the list of an `in`, where another item begins."""
    for _ in range(_MAX_CALLS):
        before = _CALL.sub("0", before)
    head, _, items = before.rpartition("(")
    if ")" in items or not (items.isspace() or not items or items.rstrip().endswith(",")):
        return False
    if _LIST_BEGINS.search(head):
        return True
    return head.rstrip().endswith("),") and "values" in head and "select" not in head


def is_undoing(statement: str) -> bool:
    """Whether a statement does nothing but end a transaction, or take it back to a savepoint."""
    return _UNDOING.fullmatch(statement) is not None


def _holds_keyword(text: str) -> bool:
    return not _KEYWORDS.isdisjoint(_WORD.findall(text))


def _is_harmless(fragment: str) -> bool:
    if _LITERALS.fullmatch(fragment):
        return True
    if len(fragment) > _MAX_FRAGMENT or not _HARMLESS.fullmatch(fragment):
        return False
    return not _NOT_NAMES.search(_PAGING.sub("", _QUOTED.sub("", fragment)))
