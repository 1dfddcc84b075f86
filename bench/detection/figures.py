"""What is counted: attacks found, honest requests taken for attacks, and time. Nothing is printed here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from urllib.parse import urlencode

from bench.detection import benign, orm, structure, truth
from bench.detection.benign import Case
from bench.detection.corpora import Corpus
from bench.detection.peers import Peer
from divertor_sensor import context
from divertor_sensor.detectors import Candidate
from divertor_sensor.detectors.sql import dialect as detector_for
from divertor_sensor.guard import check
from divertor_sensor.reports.detection import Detection
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor
from divertor_sensor.settings import Mode, Settings
from divertor_sensor.sources.inputs import Input
from divertor_sensor.work import Work

DIALECTS = ("sqlite", "postgresql", "mysql")
OURS = "divertor"
_NAME_QUOTES = {"sqlite": '"', "postgresql": '"', "mysql": "`"}

#: Told what is being done, and how much of it.
Say = Callable[[str, float], None]


@dataclass(slots=True)
class Row:
    """One line of a table: `hits` of `count` by detector, and for each the cases in which it was wrong.

    `vulnerable` are ours that were told as a vulnerability and no attack.
    """

    table: str
    dialect: str
    name: str
    count: int
    hits: dict[str, int] = field(default_factory=dict)
    wrong: dict[str, list[Case]] = field(default_factory=dict)
    vulnerable: int = 0


def contexts(dialect: str) -> dict[str, str]:
    """The places an input is put in, by name; `{}` stands for it."""
    quote = _NAME_QUOTES[dialect]
    found = {
        "quoted": "SELECT * FROM users WHERE name = '{}'",
        "number": "SELECT * FROM users WHERE id = {}",
        "like": "SELECT * FROM users WHERE name LIKE '%{}%' AND active = 1",
        "order": "SELECT * FROM users ORDER BY {}",
        "name": f"SELECT {quote}{{}}{quote} FROM users",
    }
    if dialect == "mysql":
        found["double"] = 'SELECT * FROM users WHERE name = "{}"'
    return found


def verdict(dialect: str, case: Case) -> bool | None:
    """Our detector on its own: True for an attack, False for a vulnerability."""
    detector = detector_for(dialect)
    origin = Input("query", "q", case.value)
    candidates = [Candidate(text, origin) for text in detector.select(case.value)]
    finding = detector.judge(case.statement, candidates, Work()).finding
    return None if finding is None else finding.hostile


def attacks(
    judges: dict[str, truth.Accepts], corpora: Sequence[Corpus], peers: Sequence[Peer], say: Say
) -> Iterator[Row]:
    """Of the inputs that change a statement's structure so that the server accepts it, how many are found."""
    places = [(dialect, corpus) for dialect in judges for corpus in corpora]
    for done, (dialect, corpus) in enumerate(places):
        for place, template in contexts(dialect).items():
            say(f"{dialect}, {corpus.name}, {place}", done / len(places))
            cases = [
                Case(template.replace("{}", value), value)
                for value in corpus.payloads
                if structure.is_broken(dialect, template, value)
                and truth.executes(dialect, judges[dialect], template.replace("{}", value))
            ]
            yield _row("recall", dialect, f"{corpus.name}: {place}", cases, peers, wanted=True)


def honest(dialect: str, texts: tuple[str, ...], peers: Sequence[Peer], say: Say) -> Iterator[Row]:
    """Of inputs that change nothing, or only what the program lets them, how many are taken for attacks."""
    quoted = contexts(dialect)["quoted"]
    inside = (
        Case(quoted.replace("{}", text), text)
        for text in texts
        if not structure.is_broken(dialect, quoted, text)
    )
    sets: dict[str, Iterable[Case]] = {
        "bound parameters": benign.in_parameters(dialect, texts),
        "escaped literals": benign.in_literals(dialect, texts),
        "unescaped, stays inside": inside,
        "harmless fragments": benign.fragments(dialect),
        "O'Brien, unescaped": benign.with_apostrophe(),
        "prose with apostrophes, unescaped": benign.prose(),
    }
    for done, (name, cases) in enumerate(sets.items()):
        say(f"{dialect}, {name}", done / len(sets))
        yield _row("false", dialect, name, list(cases), peers, wanted=False)


def _row(
    table: str, dialect: str, name: str, cases: Sequence[Case], peers: Sequence[Peer], *, wanted: bool
) -> Row:
    row = Row(table, dialect, name, len(cases))
    verdicts = [verdict(dialect, case) for case in cases]
    row.vulnerable = sum(found is False for found in verdicts)
    _count(row, OURS, cases, [found is True for found in verdicts], wanted)
    for peer in peers:
        questions = [(dialect, case.statement, case.value) for case in cases]
        _count(row, peer.name, cases, peer.verdicts(questions), wanted)
    return row


def _count(row: Row, who: str, cases: Sequence[Case], verdicts: Sequence[bool], wanted: bool) -> None:
    row.hits[who] = sum(verdicts)
    row.wrong[who] = [case for case, found in zip(cases, verdicts, strict=True) if found is not wanted]


class _Kept:
    """A reporter that counts."""

    def __init__(self) -> None:
        self.attacks = 0

    def submit(self, report: object) -> None:
        if isinstance(report, Detection) and report.signal == "attack":
            self.attacks += 1


_HEADERS = {
    "host": "shop.example",
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "accept-encoding": "gzip, deflate, br",
    "accept-language": "en-GB,en;q=0.7,nl;q=0.3",
    "referer": "https://shop.example/catalogue?page=2",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
}
#: What people ask for before somebody asks for words of a statement.
_ASKED = (
    *("blue shoes", "17", "umbrella", "kettle 2 l", "Ängström", "garden hose", "tea & cake", "9781234567897"),
)


class App:
    """A program under guard, all of whose statements run at one place, with requests as browsers send
    them."""

    def __init__(self, dialect: str) -> None:
        self._detector = detector_for(dialect)
        self._kept = _Kept()
        self._sensor = Sensor(Settings(mode=Mode.REPORT, strict=True), self._kept)

    def is_accused(self, statement: str, value: str) -> bool:
        """Whether a request with this parameter is told as an attack when the statement runs."""
        before = self._kept.attacks
        query = urlencode({"q": value})
        request = Request(self._sensor, lambda: Head("GET", "/search", query, _HEADERS, "192.0.2.1"))
        context.run_in(request, self._run, request, statement)
        return self._kept.attacks > before

    def _run(self, request: Request, statement: str) -> None:
        check(request, self._detector, "cursor.execute", statement, depth=1)

    def serve(self, statements: Sequence[str]) -> None:
        """Requests of people who want something else."""
        for statement, asked in zip(statements, _ASKED, strict=True):
            self.is_accused(statement, asked)


def coincidences(dialect: str, peers: Sequence[Peer], say: Say) -> Iterator[Row]:
    """Inputs that equal a piece of a program's own statement, which is not of their making: by the detector
    alone, and as a request sees it, once the program has served a few others.
    """
    say(f"{dialect}, coincidences", 0)
    own = {statement: [statement] * len(_ASKED) for statement in orm.statements(dialect)}
    yield from _coincidence(dialect, "ORM statements", own, [], peers)
    templates = {
        template: [template.replace("{}", benign.escaped(dialect, asked)) for asked in _ASKED]
        for template in benign.CONCATENATED
    }
    yield from _coincidence(dialect, "concatenated statements", templates, ["{}"], peers)


def _coincidence(
    dialect: str, name: str, own: dict[str, list[str]], without: list[str], peers: Sequence[Peer]
) -> Iterator[Row]:
    app = App(dialect)
    cases, accused = [], []
    for template, served in own.items():
        app.serve(served)
        for piece in benign.pieces(template):
            if any(mark in piece for mark in without):
                continue
            case = Case(template.replace("{}", benign.escaped(dialect, piece)), piece)
            cases.append(case)
            accused.append(app.is_accused(*case))
    yield _row("coincidence", dialect, f"{name}, detector alone", cases, peers, wanted=False)
    row = Row("coincidence", dialect, f"{name}, whole guard", len(cases))
    _count(row, OURS, cases, accused, False)
    yield row


#: Statements that are the worst for some pattern: openings that never close, repetitions in repetitions.
_HOSTILE = {
    "quotes": "'",
    "doubled quotes": "''",
    "openings": "/*'\"[`$a$e'",
    "nested comments": "/*",
    "comments": "/**/",
    "brackets": "[",
    "backslashes": "\\'",
    "dollars": "$",
    "tags": "$a$b",
    "dashes": "-",
    "lines of a literal": "e'a'\n",
    "names": "a.b,",
    "words": "it's a ",
    "blanks": " ",
    "numbers": "1,",
    "plain": "select name from users where id = 5 and ",
}


@dataclass(frozen=True, slots=True)
class Time:
    """Microseconds of CPU per KB of a statement that repeats `worst`, and how that grows from 8 to 64 KB."""

    dialect: str
    us_per_kb: float
    worst: str
    growth: float


def worst_time(dialect: str, say: Say) -> Time:
    """The hostile statement that takes the detector longest, an input being all of it."""
    say(f"{dialect}, time", 0)
    times = {name: (_time(dialect, unit, 8), _time(dialect, unit, 64)) for name, unit in _HOSTILE.items()}
    name = max(times, key=lambda name: times[name][1])
    growth = max(long / short for short, long in times.values())
    return Time(dialect, round(times[name][1], 1), name, round(growth, 2))


def _time(dialect: str, unit: str, kilobytes: int) -> float:
    text = (unit * (kilobytes * 1024 // len(unit) + 1))[: kilobytes * 1024]
    case = Case(f"SELECT * FROM users WHERE name = '{text}'", text)
    return min(islice(_timed(dialect, case), 3)) / kilobytes


def _timed(dialect: str, case: Case) -> Iterator[float]:
    detector = detector_for(dialect)
    origin = Input("query", "q", case.value)
    while True:
        started = time.process_time()
        detector.judge(case.statement, [Candidate(case.value.lower(), origin)], Work(1 << 60))
        yield (time.process_time() - started) * 1e6
