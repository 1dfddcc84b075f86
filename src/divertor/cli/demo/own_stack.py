"""A stack of one's own: the demo shop on free ports in a directory of its own, beside whatever else runs.

The shop is copied there, because its blueprint and rules say which ports to use; nothing of the checkout is
changed. The stack ends with the block that uses it.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from divertor.cli.client import Api, api_of
from divertor.cli.demo.setting import MARK, SLACK_PORT, messages_file, sink
from divertor.cli.preparing import Wish, check, facts, plan, write
from divertor.errors import UnavailableError
from divertor.layout import Layout, Settings
from divertor.runtime.main import command_line
from divertor.runtime.ports import pick_port

#: The port of the shop's gateway, as its blueprint says.
SHOP_PORT = 9051
#: Seconds the stack may take to stop before it is asked again, which kills.
STOP_TIMEOUT = 20.0
_NOT_COPIED = shutil.ignore_patterns("__pycache__", "data", "*.pyc")


@dataclass
class OwnStack:
    """The stack in `directory`, which must be new; runs between `with` and its end.

    Entering raises `UnavailableError` or `ConflictError` when it does not come up; nothing is left running.
    """

    shop: Path
    directory: Path
    isolate: bool = True
    facts: dict[str, Any] = field(default_factory=dict)
    _process: subprocess.Popen[str] | None = None

    def __post_init__(self) -> None:
        self.directory = self.directory.absolute()

    @property
    def layout(self) -> Layout:
        return Layout(self.directory / "state")

    @property
    def app(self) -> str:
        """The shop's address."""
        return str(self.facts["apps"][0])

    @property
    def app_directory(self) -> Path:
        """Where the shop that runs is."""
        return self.directory / "hackable"

    @property
    def messages(self) -> Path:
        """What the stand-in for Slack received."""
        return messages_file(self.layout)

    @property
    def pid(self) -> int:
        """The foreground process."""
        return 0 if self._process is None else self._process.pid

    def api(self) -> Api:
        """Its API."""
        return api_of(self.layout)

    def __enter__(self) -> OwnStack:
        ports = free_ports(4)
        self._copy_shop(ports[0], ports[1])
        settings = replace(
            Settings(),
            api_port=ports[2],
            nats_port=ports[3],
            blueprint=str(self.app_directory / "blueprint.yaml"),
            rules=str(self.app_directory / "rules"),
            isolate=self.isolate,
            color=False,
        )
        checked = check(Wish(self.layout, settings))
        (self.layout.root / MARK).touch()
        slack = sink(self.layout, ports[1])
        write(checked)
        announce = json.dumps(facts(checked))
        command = command_line(self.layout.run, plan(checked, announce, quiet=True, beside=[slack]))
        try:
            self._start(*command)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _copy_shop(self, shop_port: int, slack_port: int) -> None:
        shutil.copytree(self.shop, self.app_directory, ignore=_NOT_COPIED)
        blueprint = self.app_directory / "blueprint.yaml"
        _replace_port(blueprint, f"{SHOP_PORT}:", f"{shop_port}:")
        for rule in (self.app_directory / "rules").glob("*.yaml"):
            _replace_port(rule, f"127.0.0.1:{SLACK_PORT}/", f"127.0.0.1:{slack_port}/")

    def _start(self, argv: list[str], descriptor: int) -> None:
        """:raises UnavailableError: it ended before it was ready; the message is its own."""
        errors = self.directory / "errors.txt"
        try:
            with errors.open("w") as complaints:
                self._process = subprocess.Popen(
                    argv, stdout=subprocess.PIPE, stderr=complaints, pass_fds=[descriptor], text=True
                )
        finally:
            os.close(descriptor)
        assert self._process.stdout is not None
        announced = self._process.stdout.readline()
        if not announced:
            self._process.wait()
            reason = errors.read_text(encoding="utf-8", errors="replace").strip()
            raise UnavailableError(reason.removeprefix("divertor: ") or "the stack did not come up")
        self.facts = json.loads(announced)

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_TIMEOUT)
                break
            except subprocess.TimeoutExpired:
                continue
        else:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def free_ports(count: int) -> list[int]:
    """Different free ports, at random, so that two who ask at the same time rarely get the same.

    :raises UnavailableError: there are not so many.
    """
    ports: list[int] = []
    for _ in range(count):
        ports.append(pick_port(ports, low=random.randrange(30_000, 32_000), high=32_700))
    return ports


def _replace_port(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(old, new), encoding="utf-8")
