"""Attack strings made up at random from the pieces of SQL, for what no collection has. The same ones every
time."""

from __future__ import annotations

import random

from bench.detection.corpora import Corpus

_SEED = 4
#: Words and signs of all three dialects, more of those that end a literal, join conditions or comment.
_PIECES = (
    *(
        "'",
        "'",
        "''",
        '"',
        '""',
        "`",
        "``",
        "[",
        "]",
        "\\",
        "\\'",
        '\\"',
        "$$",
        "$a$",
        "$A$",
        "e'",
        "E'\\",
        "n'",
        "x'31'",
    ),
    *(
        "--",
        "-- ",
        "--\n",
        "#",
        "/*",
        "*/",
        "/**/",
        "/*!",
        "/*!50000",
        "/* /*",
        "\n",
        "\r",
        "\t",
        "\x0b",
        ";",
    ),
    *(
        "(",
        ")",
        "((",
        "))",
        ",",
        ".",
        "+",
        "-",
        "*",
        "/",
        "%",
        "|",
        "||",
        "&",
        "&&",
        "^",
        "~",
        "!",
        "=",
        "<>",
        "<=>",
    ),
    *(
        ":=",
        "::text",
        "@a",
        "@@version",
        "?",
        ":a",
        "$1",
        "{",
        "}",
        "1",
        "0",
        "1e0",
        ".1",
        "0x31",
        "a",
        "id",
        "name",
    ),
    *(
        " or ",
        " and ",
        " not ",
        " is ",
        " is not ",
        " null ",
        " isnull",
        " notnull",
        " in ",
        " like ",
        " ilike ",
    ),
    *(
        " between ",
        " div ",
        " mod ",
        " xor ",
        " regexp ",
        " rlike ",
        " glob ",
        " collate ",
        " binary ",
        " escape ",
    ),
    *(
        " union ",
        " union all ",
        "select ",
        " from ",
        " where ",
        " limit ",
        " offset ",
        " order by ",
        " group by ",
    ),
    *(
        " desc",
        " asc",
        "case when ",
        " then ",
        " else ",
        " end",
        " exists ",
        " cast(",
        " as ",
        "users",
        "true",
        "or",
    ),
    *(
        "sleep(1)",
        " foo ",
        "foo",
        " at time zone ",
        " day ",
        "count(*)",
        "random()",
        "name",
        " ",
        " ",
        "x",
        "or 1",
        "'or'",
        "' or '",
        "1=1",
        "'='",
        "'a'",
    ),
)
_MOST = 7


def corpus(count: int) -> Corpus:
    """`count` strings of one to seven pieces."""
    chance = random.Random(_SEED)
    made = {_string(chance): None for _ in range(count)}
    return Corpus("generated", tuple(value for value in made if value.strip()))


def _string(chance: random.Random) -> str:
    return "".join(chance.choices(_PIECES, k=chance.randint(1, _MOST)))
