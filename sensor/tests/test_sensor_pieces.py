"""Attacks of which the app leaves a piece only: what it splits off, cuts or squeezes does harm by itself."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from posixpath import normpath

import pytest

from divertor_sensor.detectors import (
    Candidate,
    Detector,
    ldap,
    path,
    redirect,
    shell,
    sql,
    ssrf,
    template,
    xss,
)
from divertor_sensor.sources.inputs import Input
from divertor_sensor.work import Work

Takes = Callable[[str], str]

QUOTED = "SELECT id FROM users WHERE name = '{}' AND active = 1"
NUMBER = "SELECT id FROM users WHERE price > {}"
SORTED = "SELECT id FROM users ORDER BY {}"
SPLIT = "SELECT id FROM users WHERE name LIKE '%{}%' OR title LIKE '%{}%'"
OR = "x' or '1'='1"


def is_attack(detector: Detector, statement: str, value: str) -> bool:
    origin = Input("query", "q", value)
    candidates = [Candidate(text, origin) for text in detector.select(value)]
    finding = detector.judge(statement, candidates, Work()).finding
    return finding is not None and finding.hostile


#: What an app makes of a value, the statement it puts that into, and the value.
SQL: dict[str, tuple[Takes, str, str]] = {
    "last name": (lambda value: value.split(" ", 1)[1], QUOTED, f"ann {OR}"),
    "last word": (lambda value: value.split()[-1], QUOTED, "o'n ann x'or'1'='1"),
    "day of a date": (lambda value: value.split("-")[2], QUOTED, f"2024-01-{OR}"),
    "file's suffix": (lambda value: value.rsplit(".", 1)[1], QUOTED, f"a.{OR}"),
    "behind an underscore": (lambda value: value.split("__")[1], QUOTED, f"a__{OR}"),
    "without the first sign": (lambda value: value.lstrip("#"), QUOTED, f"#{OR}"),
    "a slice": (lambda value: value[3:-2], QUOTED, f"abc{OR}zz"),
    "a field of a line": (lambda value: value.split(";")[1].strip('"'), QUOTED, f'a;"{OR}";b'),
    "a comment": (lambda value: value.split(" ")[1], QUOTED, "ann admin'--"),
    "a comment, cut short": (lambda value: value[2:10], QUOTED, "o'admin'--zzzzzzzz"),
    "behind other apostrophes": (lambda value: value.split(",")[9], QUOTED, f"{'a,' * 9}{OR}"),
    "an ampersand for all": (lambda value: value.replace("*", "%"), SPLIT, "a*' or '1'='1"),
    "a wide blank": (lambda value: value.split("|")[1], QUOTED, f"a|x'{' ' * 3000}or '1'='1"),
    "without blanks": (lambda value: value.replace(" ", ""), QUOTED, "+49 1'or '1' = '1"),
    "without hyphens": (lambda value: value.replace("-", ""), QUOTED, "49-1' or '1' = '-1"),
    "blanks for underscores": (lambda value: value.replace("_", " "), QUOTED, "x'_or_'1'='1"),
    "plain apostrophes": (
        lambda value: value.replace("\u2019", "'"),
        QUOTED,
        "x\u2019 or \u20191\u2019=\u20191",
    ),
    "upper end of a range": (lambda value: value.split("-")[1], NUMBER, "10-20 or 1=1"),
    "upper end behind dots": (lambda value: value.split("..")[1], NUMBER, "10..20 or price=5"),
    "behind a comparison": (lambda value: value[2:], NUMBER, "gt20 or(1)"),
    "a union": (lambda value: value.split()[-1], NUMBER, "10 5/**/union/**/select(name)from/**/users"),
    "a later statement": (lambda value: value.split("-")[1], NUMBER, "10-20; drop table users"),
    "a function": (lambda value: value.split("_")[1], NUMBER, "10_20-sleep(5)"),
    "both ends off": (lambda value: value.split("-")[1], NUMBER, "10-20 or 1=1-9"),
    "direction of an order": (
        lambda value: value.replace(".", " ", 1),
        SORTED,
        "id.limit (select 1 from users)",
    ),
    "key of an order": (lambda value: value.split(":")[0][1:], SORTED, "-case when 1 then 2 end:x"),
}
#: Honest values and statements that have something in common.
HONEST: dict[str, tuple[str, str]] = {
    "escaped": ("SELECT 1 FROM t WHERE a = 'it''s ''quoted'' or so' AND b = 'c'", "it's 'quoted' or so"),
    "what the program says": (
        "SELECT 1 FROM t WHERE a = 'users' and status = 'open'",
        "the users' and students' day",
    ),
    "a range in words": (
        "SELECT 1 FROM t WHERE a BETWEEN 2 and 5 AND b = 'x'",
        "toys for ages between 2 and 5",
    ),
    "a page": ("SELECT 1 FROM t WHERE a = 1 ORDER BY b limit 10 offset 20", "show me: limit 10 offset 20"),
    "a list": ("SELECT 1 FROM t WHERE a IN ('first name', 'id')", "['name', 'id']"),
    "a concatenation": ("SELECT 'a' || name || 'b', 'it''s' FROM t", "it's a || b"),
    "the end of a statement": ("INSERT INTO t VALUES (?, 'x'); ", "alert('x');"),
    "two literals": ("SELECT 1 FROM t WHERE a = 'it''s x' AND b = 'y'", "it's x' AND"),
}


#: The same of the others.
OTHERS: dict[str, tuple[Detector, Takes, str, str]] = {
    "shell, last name": (shell.DETECTOR, lambda value: value.split(" ", 1)[1], "echo {}", "ann b;id"),
    "shell, last word": (shell.DETECTOR, lambda value: value.split()[-1], "echo {} | sort", "a & b & $(id)"),
    "shell, a word": (shell.DETECTOR, lambda value: value.split()[1], "echo {} | sort", "ann b;id c"),
    "shell, suffix": (shell.DETECTOR, lambda value: value.rsplit(".", 1)[1], "mv x x.{}", "a.b|id"),
    "shell, slice": (shell.DETECTOR, lambda value: value[2:], "echo {}", "xxa`id`"),
    "shell, cut": (shell.DETECTOR, lambda value: value[:30], "echo {} > x", f"{'a' * 20};id;{'z' * 20}"),
    "shell, both": (shell.DETECTOR, lambda value: value[2:16], "echo {} > x", f"xxa;cat /etc/x;{'z' * 20}"),
    "path, last word": (path.DETECTOR, lambda value: value.split()[1], "/srv/files/{}", "ann ../secret.txt"),
    "path, behind a sign": (
        path.DETECTOR,
        lambda value: value.split("=")[1],
        "/srv/files/{}",
        "f=../secret.txt",
    ),
    "path, slice": (path.DETECTOR, lambda value: value[2:-1], "/srv/files/{}", "zz../secret.txt]"),
    "path, language": (path.DETECTOR, lambda value: value.split("-")[0], "/srv/files/{}.txt", "../secret-DE"),
    "path, of a URL": (path.DETECTOR, lambda value: value[8:], "/srv/files{}", "http://h/../secret.txt"),
    "path, of a query": (
        path.DETECTOR,
        lambda value: value[12:],
        "/srv/files/{}",
        "http://h/?f=../secret.txt",
    ),
    "path, home": (path.DETECTOR, lambda value: f"/root{value[1:]}", "{}", "~/.bashrc"),
    "path, home of somebody": (path.DETECTOR, lambda value: f"/home/{value[1:]}", "{}", "~ann/.bashrc"),
    "path, home elsewhere": (
        path.DETECTOR,
        lambda value: f"/var/www{value[9:]}",
        "{}",
        "~www-data/html/config.php",
    ),
    "path, tidied": (path.DETECTOR, lambda value: f"/srv/{value[3:]}", "{}.txt", "../secret"),
    "path, tidied and in quotes": (
        path.DETECTOR,
        lambda value: normpath(f"/srv/{value[1:-1]}"),
        "{}",
        '"../../etc/passwd"',
    ),
    "template, last name": (template.DETECTOR, lambda value: value[4:], "Hello {}", "ann {{7*7}}"),
    "template, cut": (template.DETECTOR, lambda value: value[:20], "Hello {}", f"{{{{7*7}}}}{'z' * 40}"),
    "template, both": (
        template.DETECTOR,
        lambda value: value[4:20],
        "Hi {}",
        f"ann {{%print(7)%}}{'z' * 40}",
    ),
    "page, last name": (xss.DETECTOR, lambda value: value[4:], "<p>{}</p>", "ann <script>alert(1)</script>"),
    "page, cut": (xss.DETECTOR, lambda value: value[:30], "<p>{}</p>", f"<svg onload=alert(1)>{'z' * 40}"),
    "page, attribute": (xss.DETECTOR, lambda value: value[4:], '<p id="{}">x', 'ann " onclick=alert(1) x="'),
    "page, one tag": (xss.DETECTOR, lambda value: value[4:-4], "<p>{}</p>", "ann <img/onerror=f(1)> bob"),
    "page, capitals": (xss.DETECTOR, str.upper, "<p>{}</p>", "<svg onload=&#97;lert(1)>"),
    "page, a title": (xss.DETECTOR, str.title, "<p>{}</p>", "<svg onload=&#97;&#108;&#101;&#114;&#116;(1)>"),
    "redirect, a state": (redirect.DETECTOR, lambda value: value[2:], "{}", "a|https://evil.example/"),
    "redirect, last word": (redirect.DETECTOR, lambda value: value[2:], "{}", "a //evil.example"),
    "filter, of an address": (ldap.DETECTOR, lambda value: value[:9], "(uid={})", "*)(uid=*)@example.org"),
    "filter, of a domain": (ldap.DETECTOR, lambda value: value[4:], "(&(uid={})(pw=x))", "DOM\\x)(|(uid=*"),
    "filter, first name": (ldap.DETECTOR, lambda value: value[:4], "(&(cn={})(pw=x))", "*)(& smith"),
    "URL in brackets": (ssrf.DETECTOR, lambda value: value[5:-1], "{}", "<URL:file:///etc/passwd>"),
}
#: Honest ones, as above.
OTHERS_HONEST: dict[str, tuple[Detector, str, str]] = {
    "shell, a company": (shell.DETECTOR, "echo 'Tom & Jerry' && sort x 2>&1", "Tom & Jerry"),
    "shell, a redirection": (shell.DETECTOR, "sort x > /dev/null 2>&1", "run it with > /dev/null 2>&1"),
    "shell, quoted and cut": (shell.DETECTOR, "echo 'abcdefgh; id' | sort", "abcdefgh; id & more"),
    "path, a link": (path.DETECTOR, "/srv/static/img/a.png", "![i](../img/a.png) text"),
    "path, somebody's page": (path.DETECTOR, "/srv/app/templates/profile.html", "~ann/profile.html"),
    "path, inside": (path.DETECTOR, "/srv/files/x/../a.txt", "see x/../a.txt"),
    "template, half a tag": (template.DETECTOR, "Hello {{ name }}", "what is {{"),
    "filter, in words": (ldap.DETECTOR, "(cn=Bob (the builder))", "Bob (the builder) at (x)"),
    "page, escaped": (xss.DETECTOR, "<p>a &lt;b onclick=x&gt;</p>", "a <b onclick=x>"),
    "page, a tag": (xss.DETECTOR, '<form method="post"><p>x', 'why does <form method="post"> fail'),
    "page, feet": (xss.DETECTOR, '<script>var a = "6\' 2\\" tall";</script>', "6' 2\" tall"),
    "redirect, of a client": (
        redirect.DETECTOR,
        "https://c.example/cb",
        "/auth?redirect_uri=https://c.example/cb",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_piece_that_does_harm_elsewhere_is_an_attack(name: str) -> None:
    detector, take, statement, value = OTHERS[name]
    assert is_attack(detector, statement.replace("{}", take(value)), value)


@pytest.mark.parametrize("name", OTHERS_HONEST)
def test_a_piece_that_means_nothing_elsewhere_is_no_attack(name: str) -> None:
    assert not is_attack(*OTHERS_HONEST[name])


@pytest.mark.parametrize("name", SQL)
def test_a_piece_that_changes_a_statement_is_an_attack(name: str) -> None:
    take, statement, value = SQL[name]
    assert is_attack(sql.DETECTOR, statement.replace("{}", take(value)), value)


@pytest.mark.parametrize("name", HONEST)
def test_what_a_value_and_a_statement_have_in_common_is_no_attack_by_itself(name: str) -> None:
    statement, value = HONEST[name]
    assert not is_attack(sql.DETECTOR, statement, value)


@pytest.mark.parametrize(
    "part",
    ["' or ", "1", "1 or ", "' or 'a'='", "'", "(", "or or", "1.1", "; ", "' ", "and 5", "or/*", "or "],
    ids=repr,
)
def test_many_pieces_take_time_in_proportion_to_their_length(part: str) -> None:
    taken = []
    for length in (8_000, 32_000):
        value = part * (length // len(part))
        statement = QUOTED.replace("{}", value[:-1])
        started = time.process_time()
        is_attack(sql.DETECTOR, statement, f"x {value}")
        taken.append(time.process_time() - started)
    assert taken[1] < 16 * taken[0] + 0.2


@pytest.mark.parametrize(
    ("select", "before", "part"),
    [(sql.select, "", "or."), (sql.select, "", "and."), (ssrf.select, "<", " ")],
)
def test_what_begins_at_many_places_is_not_read_to_its_end_at_each(
    select: Callable[[str], object], before: str, part: str
) -> None:
    taken = []
    for length in (500, 4_000, 16_000):
        started = time.process_time()
        select(before + part * (length // len(part)) + "x")
        taken.append(time.process_time() - started)
        assert taken[-1] < 16 * taken[0] + 0.1


def test_a_table_that_is_read_line_by_line_costs_little_for_each_line() -> None:
    lines = [f"{number};O'Brien and 'sons' or so {number}" for number in range(4_000)]
    origin = Input("form", "f", "\n".join(lines))
    candidates = [Candidate(text, origin) for text in sql.select(origin.value)]
    work = Work()
    for line in lines[:500]:
        statement = QUOTED.replace("{}", line.partition(";")[2].replace("'", "''"))
        work.earn(len(statement))
        assert sql.judge(statement, candidates, work).finding is None


def test_the_examples_are_all_there() -> None:
    assert (len(OTHERS), len(OTHERS_HONEST)) == (33, 12)
    assert (len(SQL), len(HONEST)) == (26, 8) and all(re.search(r"\{\}", each[1]) for each in SQL.values())
