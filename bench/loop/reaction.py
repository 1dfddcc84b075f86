"""From the sensor's detection to the isolation being in effect, on the whole stack.

Two ways lead there. A *diverted* request isolates its session inside Envoy, before its answer goes out: it is
checked that the very next request, on another connection, is served by the audited version. A *reported*
attack goes the long way: sensor → ingest → broker → rule → table; its time runs from the moment the sensor
writes into the detection to the moment the shared table, which Envoy reads at every request, holds the
session.
"""

from __future__ import annotations

import mmap
import re
import secrets
import shutil
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from divertor.cli.demo.own_stack import OwnStack
from divertor.cli.demo.setting import shop_directory
from divertor.isolation.layout import CAPACITY, HEADER_WORDS, SLOT_WORDS, fingerprint, scope_key
from divertor.layout import Layout
from divertor.model.events import parse_time
from divertor.model.isolation import KeyKind, KeySelector

ATTACK = "' union all select 1,2 from INFORMATION_SCHEMA.tables -- "
SCOPE = "hackable/hackable"
#: Seconds between two attacks.
PAUSE = 0.05
_DEADLINE = 5.0
#: Seconds between two looks at the table: what the figures are too high by, at most.
_LOOK = 0.0001
#: What tells the stack's processes apart in their command lines.
_LABELS = {
    "divertor.plane": "control plane",
    "divertor.runtime.main": "supervisor",
    "envoy": "envoy",
    "nats-server": "nats-server",
}


@dataclass(frozen=True, slots=True)
class Reaction:
    """Milliseconds of each reported attack; of how many diverted ones the next request was isolated; and the
    resident memory, in MB, of each process of the idle stack."""

    milliseconds: list[float]
    followed: int
    attacks: int
    memory: dict[str, float]


def measure(attacks: int, say: Callable[[str], None]) -> Reaction:
    """Runs two stacks one after the other: one that diverts, one that only reports."""
    shop = shop_directory()
    with tempfile.TemporaryDirectory(prefix="divertor-bench-") as folder:
        say("reaction: diverted attacks")
        with OwnStack(shop, Path(folder) / "divert") as stack:
            time.sleep(2)  # let it become idle
            memory = _memory(stack.pid)
            followed = sum(_is_followed(stack.app) for _ in range(attacks))
        say("reaction: reported attacks")
        with OwnStack(_reporting(shop, Path(folder)), Path(folder) / "report") as stack:
            times = _reported(stack, attacks)
    return Reaction(times, followed, attacks, memory)


def _reporting(shop: Path, folder: Path) -> Path:
    """A copy of the shop whose newest version reports attacks and lets them run."""
    copy = folder / "shop"
    shutil.copytree(shop, copy, ignore=shutil.ignore_patterns("data", "__pycache__"))
    blueprint = copy / "blueprint.yaml"
    breed, _, rest = blueprint.read_text().partition("v1_1_0.app:app\n")
    indent = rest[: len(rest) - len(rest.lstrip(" "))]
    report = f"{indent}environment_variables: {{DIVERTOR_MODE: report}}\n"
    blueprint.write_text(f"{breed}v1_1_0.app:app\n{report}{rest}")
    return copy


def _is_followed(app: str) -> bool:
    cookie = f"session={secrets.token_hex(16)}"
    first = _post(app, cookie)
    with urllib.request.urlopen(urllib.request.Request(f"{app}/", headers={"cookie": cookie})) as answer:
        second = answer.read().decode()
    return "Level: impossible" in first and "Level: impossible" in second


def _post(app: str, cookie: str) -> str:
    form = urllib.parse.urlencode({"username": ATTACK, "password": "x"}).encode()
    request = urllib.request.Request(f"{app}/login", form, {"cookie": cookie})
    try:
        with urllib.request.urlopen(request) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as problem:
        return str(problem.read().decode())


def _reported(stack: OwnStack, attacks: int) -> list[float]:
    selector = KeySelector(KeyKind.COOKIE, "session")
    key = scope_key(bytes.fromhex(stack.layout.read_secrets().isolation), SCOPE, selector)
    seen: dict[str, float] = {}
    with ThreadPoolExecutor(1) as watcher:
        for _ in range(attacks):
            session = secrets.token_hex(16)
            # Watched from before the attack: its answer may take longer than the isolation.
            watched = watcher.submit(_until_in_table, stack.layout, fingerprint(key, session))
            _post(stack.app, f"session={session}")
            seen[session] = watched.result()
            time.sleep(PAUSE)  # what the last attack set off (alerts, commands) is another figure
    detected = _detections(stack, attacks)
    return sorted((seen[session] - detected[session]) * 1e3 for session in seen)


def _until_in_table(layout: Layout, digest: int) -> float:
    """The time of day at which the shared table holds this fingerprint."""
    with layout.table.open("rb") as handle, mmap.mmap(handle.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        with memoryview(mapped) as view, view.cast("Q") as words:
            mask = words[CAPACITY] - 1
            deadline = time.time() + _DEADLINE
            while time.time() < deadline:
                slot = digest & mask
                while (found := words[HEADER_WORDS + slot * SLOT_WORDS]) not in (0, digest):
                    slot = (slot + 1) & mask
                if found == digest:
                    return time.time()
                time.sleep(_LOOK)
    raise RuntimeError("an isolation did not come into effect")


def _detections(stack: OwnStack, wanted: int) -> dict[str, float]:
    """When the sensor saw each session attack, seconds since 1970; the store is a moment behind."""
    deadline = time.time() + _DEADLINE
    while time.time() < deadline:
        with stack.api() as api:
            found = {
                detection["event"]["body"]["session"]["id"]: parse_time(detection["timestamp"]).timestamp()
                for detection in api.get_all("detections")
            }
        if len(found) >= wanted:
            return found
        time.sleep(0.1)
    raise RuntimeError("not every attack was detected")


def _memory(pid: int) -> dict[str, float]:
    """Resident megabytes of the stack's processes, the applications and the Slack stand-in left out."""
    found: dict[str, float] = {}
    family = {pid}
    for process in sorted(int(path.name) for path in Path("/proc").glob("[0-9]*")):
        try:
            status = Path(f"/proc/{process}/status").read_text()
            command = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if process != pid and int(_field(status, "PPid")) not in family:
            continue
        if "gunicorn" in command or "slack_sink" in command:
            continue
        family.add(process)
        label = next((label for word, label in _LABELS.items() if word in command), "guardian")
        found[label] = found.get(label, 0.0) + int(_field(status, "VmRSS")) / 1024
    return found


def _field(status: str, name: str) -> str:
    match = re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE)
    return match[1] if match else "0"
