"""What a supervised process is, as values: its description, its condition, and when it is started again.

Everything here is pure: no process is started, no clock is read (`now` is an argument, in seconds on any
steady clock). The supervisor performs what these values say; its client sends and receives them as JSON.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

#: Longer lists, names and texts than these are refused: a description comes in over a socket.
MAX_ARGUMENTS = 1024
MAX_VARIABLES = 1024
MAX_TEXT = 128 * 1024

_NAME = re.compile(r"[^\s\x00-\x1f\x7f]{1,300}")


class ReadyKind(StrEnum):
    """How a process shows that it can be used."""

    TCP = "tcp"
    FILE = "file"
    HTTP = "http"


@dataclass(frozen=True, slots=True)
class ReadyCheck:
    """When a started process counts as running.

    `tcp`: `host:port` accepts a connection. `file`: `path` exists. `http`: a GET of `path` at `host:port`,
    or at the Unix socket `socket` when that is given, answers 200. `timeout` is in seconds; a process that is
    not ready by then is killed and counts as a failed start.
    """

    kind: ReadyKind
    host: str = "127.0.0.1"
    port: int = 0
    path: str = "/"
    socket: str = ""
    timeout: float = 30.0

    def __str__(self) -> str:
        if self.kind is ReadyKind.FILE:
            return f"{self.path} exists"
        if self.kind is ReadyKind.TCP:
            return f"{self.host}:{self.port} accepts connections"
        return f"GET {self.path} on {self.socket or f'{self.host}:{self.port}'} answers 200"

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind.value,
            "host": self.host,
            "port": self.port,
            "path": self.path,
            "socket": self.socket,
            "timeout": self.timeout,
        }

    @classmethod
    def from_json(cls, data: Any) -> ReadyCheck:
        """The inverse of `to_json`.

        :raises ValueError: a field is missing, unknown or of the wrong kind.
        """
        fields = _Fields(data, "ready check", set(cls.__slots__))
        return cls(
            kind=ReadyKind(fields.text("kind")),
            host=fields.text("host", "127.0.0.1"),
            port=fields.whole("port", 0, 0, 65535),
            path=fields.text("path", "/"),
            socket=fields.text("socket", ""),
            timeout=fields.seconds("timeout", 30.0),
        )


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How long to wait before a process that ended is started again, in seconds.

    The first restart is immediate: a process that was killed is missed by somebody. One that keeps ending
    waits `initial`, then twice as long each time, at most `maximum`. A run of at least `reset_after` clears
    the count.
    """

    initial: float = 0.2
    maximum: float = 30.0
    reset_after: float = 10.0

    def delay(self, failures: int) -> float:
        """The wait before the restart that follows `failures` short runs in a row (0 for the first)."""
        if failures <= 0:
            return 0.0
        return min(self.maximum, self.initial * 2.0 ** min(failures - 1, 64))

    def to_json(self) -> dict[str, Any]:
        return {"initial": self.initial, "maximum": self.maximum, "reset_after": self.reset_after}

    @classmethod
    def from_json(cls, data: Any) -> RestartPolicy:
        """The inverse of `to_json`.

        :raises ValueError: a field is unknown or of the wrong kind.
        """
        fields = _Fields(data, "restart policy", set(cls.__slots__))
        return cls(
            fields.seconds("initial", 0.2),
            fields.seconds("maximum", 30.0),
            fields.seconds("reset_after", 10.0),
        )


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process that is to run until it is asked not to. Equal specs mean: leave it alone.

    `env` is the complete environment; the supervisor adds nothing but the mark it finds strays by.
    `cwd` and `log` are absolute paths; an empty `log` means the supervisor's own output. `log` receives
    standard output and error; beyond `log_limit` bytes it is moved to `LOG.1` once, replacing an older one.
    `listens` are the loopback ports that must be free before it starts. A `umask` of 0o077 makes its files
    private; -1 is the supervisor's own. Stopping sends `stop_signal` to the process group and, `stop_grace`
    seconds later, SIGKILL.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    log: str = ""
    log_limit: int = 10 * 1024 * 1024
    stop_signal: int = signal.SIGTERM
    stop_grace: float = 10.0
    restart: RestartPolicy = RestartPolicy()
    ready: ReadyCheck | None = None
    listens: tuple[int, ...] = ()
    umask: int = -1

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"{self.name!r} is no process name: letters, digits and ._:@+/- only, at most 200"
            )
        if not self.argv or not self.argv[0]:
            raise ValueError(f"process {self.name}: the command is empty")
        texts = (*self.argv, *self.env, *self.env.values(), self.cwd, self.log)
        if not all(map(_can_be_passed, texts)):
            raise ValueError(f"process {self.name}: a text holds a NUL or half a character")
        if any(not name or "=" in name for name in self.env):
            raise ValueError(f"process {self.name}: an environment variable's name is empty or holds `=`")
        if self.stop_signal not in signal.valid_signals():
            raise ValueError(f"process {self.name}: {self.stop_signal} is no signal")

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "argv": list(self.argv),
            "env": dict(self.env),
            "cwd": self.cwd,
            "log": self.log,
            "log_limit": self.log_limit,
            "stop_signal": int(self.stop_signal),
            "stop_grace": self.stop_grace,
            "restart": self.restart.to_json(),
            "ready": None if self.ready is None else self.ready.to_json(),
            "listens": list(self.listens),
            "umask": self.umask,
        }

    @classmethod
    def from_json(cls, data: Any) -> ProcessSpec:
        """The inverse of `to_json`; only `name` and `argv` are required.

        :raises ValueError: a field is missing, unknown, too long or of the wrong kind.
        """
        fields = _Fields(data, "process", set(cls.__slots__))
        return cls(
            name=fields.text("name"),
            argv=fields.texts("argv", MAX_ARGUMENTS),
            env=fields.text_map("env", MAX_VARIABLES),
            cwd=fields.text("cwd", "/"),
            log=fields.text("log", ""),
            log_limit=fields.whole("log_limit", 10 * 1024 * 1024, 4096, 1 << 40),
            stop_signal=fields.whole("stop_signal", int(signal.SIGTERM), 1, 64),
            stop_grace=fields.seconds("stop_grace", 10.0),
            restart=RestartPolicy.from_json(fields.get("restart", {})),
            ready=None if fields.get("ready") is None else ReadyCheck.from_json(fields.get("ready")),
            listens=fields.ports("listens"),
            umask=fields.whole("umask", -1, -1, 0o777),
        )


class ProcessState(StrEnum):
    """`starting`: runs, not ready yet. `failed`: could not be executed at all; tried again like
    `backing-off`.
    """

    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "backing-off"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """What is known of one process now.

    `pid` is 0 when none runs. `started` and `next_retry` are seconds since the epoch, or None. `exit_code`
    and `exit_signal` tell how the last run ended (one of them is None; both before the first end). `error`
    says in words why it does not run. `listens` is the spec's.
    """

    name: str
    group: str
    state: ProcessState
    pid: int = 0
    restarts: int = 0
    started: float | None = None
    exit_code: int | None = None
    exit_signal: int | None = None
    next_retry: float | None = None
    error: str = ""
    listens: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in self.__slots__}
        return fields | {"state": self.state.value, "listens": list(self.listens)}

    @classmethod
    def from_json(cls, data: Any) -> ProcessStatus:
        """The inverse of `to_json`.

        :raises ValueError: a field is missing, unknown or of the wrong kind.
        """
        fields = _Fields(data, "process status", set(cls.__slots__))
        return cls(
            name=fields.text("name"),
            group=fields.text("group"),
            state=ProcessState(fields.text("state")),
            pid=fields.whole("pid", 0, 0, 1 << 31),
            restarts=fields.whole("restarts", 0, 0, 1 << 62),
            started=fields.number_or_none("started"),
            exit_code=fields.whole_or_none("exit_code"),
            exit_signal=fields.whole_or_none("exit_signal"),
            next_retry=fields.number_or_none("next_retry"),
            error=fields.text("error", ""),
            listens=fields.ports("listens"),
        )


@dataclass(frozen=True, slots=True)
class RestartTracker:
    """The life of one process as a state machine; each method is one thing that happened and gives what
    follows.

    `failures` counts short runs in a row; `restarts` every start after the first; `since` is when the present
    run began and `retry_at` when the next is due, both on the caller's steady clock.
    """

    policy: RestartPolicy
    state: ProcessState = ProcessState.STOPPED
    failures: int = 0
    restarts: int = 0
    starts: int = 0
    since: float | None = None
    retry_at: float | None = None

    def spawned(self, now: float, *, awaits_ready: bool) -> RestartTracker:
        """A process was executed."""
        return replace(
            self,
            state=ProcessState.STARTING if awaits_ready else ProcessState.RUNNING,
            restarts=self.starts,
            starts=self.starts + 1,
            since=now,
            retry_at=None,
        )

    def became_ready(self) -> RestartTracker:
        """Its ready check passed. Too late, after its end, it changes nothing."""
        return replace(self, state=ProcessState.RUNNING) if self.state is ProcessState.STARTING else self

    def ended(self, now: float) -> RestartTracker:
        """It ended without being asked to."""
        lived = 0.0 if self.since is None else now - self.since
        failures = 0 if lived >= self.policy.reset_after else self.failures
        return self._wait(ProcessState.BACKING_OFF, failures, now)

    def refused(self, now: float) -> RestartTracker:
        """It could not be executed. Never retried at once: a moment brings back nothing that was missing."""
        return self._wait(ProcessState.FAILED, max(1, self.failures), now)

    def stopped(self) -> RestartTracker:
        """It ended because it was asked to; whatever starts next starts with a clean record."""
        return replace(self, state=ProcessState.STOPPED, failures=0, since=None, retry_at=None)

    def _wait(self, state: ProcessState, failures: int, now: float) -> RestartTracker:
        retry_at = now + self.policy.delay(failures)
        return replace(self, state=state, failures=failures + 1, since=None, retry_at=retry_at)


class _Fields:
    """Typed access to one JSON object that somebody else wrote."""

    def __init__(self, data: Any, what: str, known: set[str]) -> None:
        if not isinstance(data, Mapping):
            raise ValueError(f"a {what} must be a JSON object")
        if unknown := sorted(str(key) for key in set(data) - known):
            raise ValueError(f"a {what} has no field {unknown[0]!r}")
        self._data = data
        self._what = what

    def get(self, key: str, default: Any = None) -> Any:
        return self._data.get(key, default)

    def _refuse(self, key: str, expected: str) -> ValueError:
        return ValueError(f"the field {key!r} of a {self._what} must be {expected}")

    def text(self, key: str, default: str | None = None) -> str:
        value = self._data.get(key, default)
        if not isinstance(value, str) or len(value) > MAX_TEXT:
            raise self._refuse(key, f"a text of at most {MAX_TEXT} characters")
        return value

    def texts(self, key: str, most: int) -> tuple[str, ...]:
        value = self._data.get(key)
        if not isinstance(value, list) or len(value) > most or not all(_is_text(item) for item in value):
            raise self._refuse(key, f"a list of at most {most} texts")
        return tuple(value)

    def text_map(self, key: str, most: int) -> dict[str, str]:
        value = self._data.get(key, {})
        if not isinstance(value, Mapping) or len(value) > most:
            raise self._refuse(key, f"an object of at most {most} texts")
        if not all(_is_text(item) for pair in value.items() for item in pair):
            raise self._refuse(key, "an object of texts")
        return dict(value)

    def whole(self, key: str, default: int, low: int, high: int) -> int:
        value = self._data.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self._refuse(key, f"a whole number from {low} to {high}")
        return value

    def whole_or_none(self, key: str) -> int | None:
        return None if self._data.get(key) is None else self.whole(key, 0, -(1 << 31), 1 << 31)

    def seconds(self, key: str, default: float) -> float:
        value = self._data.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 86400 * 365:
            raise self._refuse(key, "a number of seconds")
        return float(value)

    def number_or_none(self, key: str) -> float | None:
        value = self._data.get(key)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
            raise self._refuse(key, "a number")
        return float(value)

    def ports(self, key: str) -> tuple[int, ...]:
        value = self._data.get(key, [])
        if not isinstance(value, list) or len(value) > 64:
            raise self._refuse(key, "a list of at most 64 ports")
        if not all(
            isinstance(port, int) and not isinstance(port, bool) and 0 < port < 65536 for port in value
        ):
            raise self._refuse(key, "a list of ports from 1 to 65535")
        return tuple(value)


def _can_be_passed(text: str) -> bool:
    """Whether the kernel can be given `text`: it takes bytes that end with the first NUL."""
    try:
        return b"\0" not in text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT
