"""What honest requests bring: text in literals and parameters, fragments that programs pass through on
purpose, pieces of a program's own statements met by chance, and names with apostrophes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

_SEED = 4
_MOST_WORDS = 4
_PER_STATEMENT = 40


class Case(NamedTuple):
    """An input and the statement a program made with it."""

    statement: str
    value: str


#: Programs that put text into a literal as the dialect's manual says.
_ESCAPES: dict[str, dict[str, str | int | None]] = {
    "sqlite": {"'": "''"},
    "postgresql": {"'": "''"},
    "mysql": {"\\": "\\\\", "'": "\\'", '"': '\\"', "\n": "\\n", "\r": "\\r", "\x1a": "\\Z"},
}
_MARKS = {"sqlite": "?", "postgresql": "$1", "mysql": "%s"}
_QUOTES = {"sqlite": '"', "postgresql": '"', "mysql": "`"}


def escaped(dialect: str, value: str) -> str:
    """`value` as the inside of a literal."""
    return value.translate(str.maketrans(_ESCAPES[dialect]))


def in_literals(dialect: str, values: tuple[str, ...]) -> Iterator[Case]:
    for value in values:
        yield Case(
            f"SELECT * FROM users WHERE name = '{escaped(dialect, value)}' ORDER BY id LIMIT 20", value
        )


def in_parameters(dialect: str, values: tuple[str, ...]) -> Iterator[Case]:
    statement = f"SELECT * FROM users WHERE name = {_MARKS[dialect]} ORDER BY id LIMIT 20"
    return (Case(statement, value) for value in values)


def fragments(dialect: str) -> list[Case]:
    """For sorting, paging, choosing columns, and lists of values: unquoted, and meant to be."""
    return [
        Case(template.replace("{}", value), value)
        for template, values in _fragments(_QUOTES[dialect]).items()
        for value in dict.fromkeys(values)
    ]


_NAMES = ("id", "name", "email", "created_at", "users.name", "u.total", "shop.users.id")
_WAYS = ("", " asc", " desc", " ASC", " DESC", " desc nulls last", " ASC NULLS FIRST")


def _fragments(quote: str) -> dict[str, list[str]]:
    quoted = [f"{quote}{name}{quote}" for name in ("name", "created at", "total-net")]
    sorts = [f"{name}{way}" for name in (*_NAMES, *quoted, f"users.{quoted[0]}") for way in _WAYS]
    pairs = [f"{one}, {other}" for one in sorts[1::5] for other in sorts[2::9]]
    computed = [
        "lower(name)",
        "COUNT(*) DESC",
        "max(total) desc, id",
        "2",
        "2 desc, 1",
        "random()",
        "length(name)",
    ]
    collated = ["name COLLATE NOCASE", "name collate nocase desc", f"name COLLATE {quote}C{quote}"]
    numbers = ["1,2,3", "1, 2, 3", "7", "-1, 2.5, 1e3", ",".join(map(str, range(1000, 1120)))]
    words = [
        "'new'",
        "'new','paid'",
        "'new', 'in transit', 'paid'",
        "'2026-01-01', '2026-02-01'",
        "'a-b_c.d@e.org'",
    ]
    keys = [",".join(f"'{number:08x}-7c4a-4d1e-9b2f-0123456789ab'" for number in range(20))]
    columns = [
        "*",
        "users.*",
        "id, name",
        "id,name,email",
        "users.id, users.name",
        "name AS label, id",
        "count(*)",
    ]
    columns += [
        "DISTINCT name",
        "count(distinct name) as names",
        ", ".join(quoted),
        f"users.{quoted[0]}, email",
    ]
    return {
        "SELECT * FROM users ORDER BY {}": [*sorts, *pairs, *computed, *collated],
        "SELECT * FROM users ORDER BY name {}": [
            "asc",
            "desc",
            "DESC",
            "ASC",
            "desc nulls last",
            ", id",
            "desc, id",
        ],
        "SELECT * FROM users LIMIT {}": ["10", "10 OFFSET 20", "20, 10", "0,50", "10 offset 0"],
        "SELECT * FROM users {}": ["LIMIT 10", "limit 10 offset 20", "LIMIT 20, 10", "OFFSET 5"],
        "SELECT * FROM users WHERE id IN ({})": [*numbers, *words, *keys],
        "SELECT * FROM users WHERE status IN {}": [f"({value})" for value in (*numbers, *words, *keys)],
        "SELECT {} FROM users": [*columns, *_NAMES, *quoted],
        "SELECT count(*), {0} FROM users GROUP BY {0}".replace("{0}", "{}"): [
            *_NAMES,
            *quoted,
            "name, email",
        ],
        "SELECT * FROM users WHERE total > {}": ["5", "-5", "2.50", ".5", "1e3", "'2026-01-01'"],
    }


def pieces(statement: str) -> list[str]:
    """Inputs that equal a piece of a statement: runs of one to four of its words, in some of them in lower
    case."""
    words = statement.split()
    runs = [
        " ".join(words[start : start + length])
        for length in range(1, _MOST_WORDS + 1)
        for start in range(len(words) - length + 1)
    ]
    found = list(dict.fromkeys(run.lower() if place % 3 == 0 else run for place, run in enumerate(runs)))
    return random.Random(_SEED).sample(found, min(len(found), _PER_STATEMENT))


#: Built by hand from a value, escaped: the statement is another one on each request.
CONCATENATED = (
    "SELECT id, name FROM users WHERE name = '{}' AND active = 1 ORDER BY created_at DESC, id LIMIT 20",
    "SELECT count(*) FROM orders JOIN users ON users.id = user_id WHERE users.name = '{}' GROUP BY status",
    "INSERT INTO searches (words, found_at, user_id) VALUES ('{}', CURRENT_TIMESTAMP, 7)",
    "UPDATE users SET last_search = '{}', searches = searches + 1 WHERE id = 7 AND (active = 1 OR admin = 1)",
)

_SURNAMES = """
    O'Brien O'Connor O'Neill O'Reilly O'Sullivan O'Hara O'Toole O'Keefe O'Leary O'Malley O'Rourke O'Shea
    O'Donnell D'Angelo D'Arcy D'Souza D'Amico D'Agostino D'Artagnan L'Hospital L'Oréal M'Gregor N'Djamena
    Dell'Anna Dall'Olio Sant'Anna De'Ath Xi'an Ma'ayan Ba'ath T'Challa Ng'ang'a Ta'izz Ya'akov Qur'an
    Hawai'i
    """.split()
_POSSESSIVES = (
    *(
        "Jack's house",
        "the dogs' house",
        "mother's day",
        "St. John's",
        "McDonald's",
        "women's shoes",
        "Levi's",
    ),
    *(
        "it's",
        "don't",
        "can't",
        "we'll",
        "I'm here",
        "rock'n roll",
        "five o'clock",
        "'tis the season",
        "d'accord",
    ),
    *("l'amour et la mort", "aujourd'hui", "c'est la vie", "vin d'Alsace", "Côte d'Ivoire", "King's Cross 2"),
    *("O'Reilly & sons", "D'Arcy & Co.", "Sainsbury's plc", "Lloyd's", "Hotel Dell'Arte", "Sotheby's London"),
)


def with_apostrophe() -> list[Case]:
    """Names and short terms, concatenated without care: the code is vulnerable and nobody attacks it."""
    return [
        Case(f"SELECT * FROM users WHERE name = '{value}'", value) for value in (*_SURNAMES, *_POSSESSIVES)
    ]


_PROSE = (
    *("I'd like two of them, please", "Don't select from the menu; ask", "What's union square like?"),
    *(
        "we're open 9-5",
        "Jack's and Jill's",
        "rock 'n' roll",
        "It's 5 or 6 (or so) o'clock",
        "that's all, folks!",
    ),
    *("The customer's order wasn't delivered", "I can't log in since yesterday", "he said 'no' and left"),
    *("it's not in the list", "the table's top is scratched", "where's my order?", "what's in the box"),
    *(
        "Can't update my address - help",
        "I've had it with this shop!!!",
        "they're better than others, aren't they",
    ),
    *(
        "the 90's were great",
        "it's like new; hardly used",
        "Today's offer: 3 for 2",
        "a 6' tall man",
        "12\" x 8' frame",
    ),
    *(
        "you're welcome",
        "she's the best",
        "it isn't what I ordered",
        "let's see",
        "my wife's birthday is in May",
    ),
)


def prose() -> list[Case]:
    """Whole sentences with apostrophes, concatenated without care."""
    return [Case(f"INSERT INTO reviews (body) VALUES ('{value}')", value) for value in _PROSE]
