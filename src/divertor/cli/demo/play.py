"""The play: what a customer and several attackers ask of the shop, and what each was answered.

Everybody is a browser with cookies of its own that follows a 303 after a form and nothing else, so that a 307
that should have stayed inside would be seen. Nothing is judged here; `claims` does that.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType

import httpx

#: The attack that everything began with: into the login form's user name.
ATTACK = "' union all select 1,2 from INFORMATION_SCHEMA.tables -- "
SCRIPT = "<script>alert(document.cookie)</script>"
TRAVERSAL = "../database.py"
INJECTION = "127.0.0.1; id"
APOSTROPHE = "O'Brien"
#: The user agents; those of attackers say who they are, as in real life they never do.
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"
TOOL = "sqlmap/1.9 (https://sqlmap.org)"

_VERSION = re.compile(r"hackable (?P<version>[0-9.]+) · Level: (?P<level>[a-z]+)")
_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One request and its answer. `at` is seconds since the play began, `took` milliseconds.

    `version` and `level` are what the page says about who served it; empty when it is no page. `session` is
    the cookie the request was sent with.
    """

    who: str
    did: str
    at: float
    took: float
    status: int
    version: str
    level: str
    session: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: str
    is_attack: bool = False


@dataclass
class Stage:
    """Where it is played: the shop's address, and everything that was answered, in order."""

    app: str
    answers: list[Answer] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    def of(self, who: str) -> list[Answer]:
        """What `who` was answered."""
        return [answer for answer in self.answers if answer.who == who]


class Player:
    """One browser."""

    def __init__(self, stage: Stage, name: str, user_agent: str = BROWSER) -> None:
        self._stage = stage
        self.name = name
        self._client = httpx.Client(
            base_url=stage.app, headers={"user-agent": user_agent}, timeout=_TIMEOUT, trust_env=False
        )

    def __enter__(self) -> Player:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def open(self, path: str, did: str, *, is_attack: bool = False, **query: str) -> Answer:
        """Opens a page."""
        return self._ask("GET", path, did, is_attack, query, None)

    def send(self, path: str, did: str, *, is_attack: bool = False, **form: str) -> Answer:
        """Sends a form, and opens the page the answer leads to."""
        answer = self._ask("POST", path, did, is_attack, {}, form)
        if answer.status == 303:
            return self.open(dict(answer.headers).get("location", "/"), "… and is led on")
        return answer

    def _ask(
        self,
        method: str,
        path: str,
        did: str,
        is_attack: bool,
        query: Mapping[str, str],
        form: Mapping[str, str] | None,
    ) -> Answer:
        session = self._client.cookies.get("session") or ""
        start = time.perf_counter()
        response = self._client.request(method, path, params=query, data=form)
        took = (time.perf_counter() - start) * 1000
        shown = _VERSION.search(response.text)
        answer = Answer(
            who=self.name,
            did=did,
            at=start - self._stage.began,
            took=took,
            status=response.status_code,
            version=shown["version"] if shown else "",
            level=shown["level"] if shown else "",
            session=session,
            path=path,
            headers=tuple((name.lower(), value) for name, value in response.headers.multi_items()),
            body=response.text,
            is_attack=is_attack,
        )
        self._stage.answers.append(answer)
        return answer


def play(app: str) -> Stage:
    """The whole play, against the shop at `app`.

    :raises httpx.HTTPError: the shop does not answer.
    """
    stage = Stage(app)
    with Player(stage, "alice") as alice, Player(stage, "mallory", TOOL) as mallory:
        shop_a_little(alice)
        attack_the_login(mallory)
        look_around(mallory)
        for scene in (without_cookies(stage), traversal(stage), injection(stage)):
            for _ in scene:
                alice.open("/", "looks at the shop meanwhile")
        shop_some_more(alice)
        mallory.open("/", "comes back")
    return stage


def shop_a_little(alice: Player) -> None:
    """A customer, who has an apostrophe in her search."""
    alice.open("/", "opens the shop")
    alice.send("/login", "logs in", username="alice", password="wonderland")
    alice.open("/search", "searches for lamp", q="lamp")
    alice.open("/search", f"searches for {APOSTROPHE}", q=APOSTROPHE)


def attack_the_login(mallory: Player) -> None:
    """The attack itself."""
    mallory.open("/login", "opens the login form")
    mallory.send("/login", f"logs in as {ATTACK}", is_attack=True, username=ATTACK, password="x")


def look_around(mallory: Player) -> None:
    """An attacker who is isolated and does not know it."""
    mallory.open("/", "opens the shop")
    mallory.open("/search", f"searches for {SCRIPT}", q=SCRIPT)
    mallory.open("/comments", "reads the comments")


def without_cookies(stage: Stage) -> Iterator[None]:
    """An attack as the very first request: nobody has given this attacker a session yet."""
    with Player(stage, "trudy", TOOL) as trudy:
        trudy.send("/login", f"logs in as {ATTACK}", is_attack=True, username=ATTACK, password="x")
        yield
        trudy.open("/", "opens the shop")


def traversal(stage: Stage) -> Iterator[None]:
    """A file that is no brochure."""
    with Player(stage, "eve") as eve:
        eve.open("/", "opens the shop")
        eve.open("/download", f"downloads {TRAVERSAL}", is_attack=True, file=TRAVERSAL)
        yield
        eve.open("/", "opens the shop")


def injection(stage: Stage) -> Iterator[None]:
    """A host that is more than a host."""
    with Player(stage, "oscar") as oscar:
        oscar.open("/tools/ping", "opens the ping tool")
        oscar.send("/tools/ping", f"pings {INJECTION}", is_attack=True, host=INJECTION)
        yield
        oscar.open("/", "opens the shop")


def shop_some_more(alice: Player) -> None:
    """The customer, after all that."""
    alice.open("/search", "searches for lamp", q="lamp")
    alice.open("/", "opens the shop")
