"""The filter's pure C, called from Python: what clients send and what the table holds, as Envoy sees it."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from divertor.envoy import resources
from divertor.isolation.layout import MAX_VALUE

FILTER = Path(resources.__file__).parent / "filter"


class View(ctypes.Structure):
    _fields_ = [("at", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def view_of(data: bytes) -> tuple[View, ctypes.Array[ctypes.c_char]]:
    """A view, and the memory it is a view of, which must outlive it."""
    memory = ctypes.create_string_buffer(data, len(data) or 1)
    return View(ctypes.cast(memory, ctypes.c_void_p), len(data)), memory


def text_of(view: View) -> bytes:
    return ctypes.string_at(view.at, view.length) if view.length else b""


class Filter:
    """keys.c and table.c."""

    def __init__(self, library: Path) -> None:
        self.c = ctypes.CDLL(str(library))
        self.c.divertor_fingerprint.restype = ctypes.c_uint64
        self.c.divertor_open.restype = ctypes.c_void_p
        for name in ("next_cookie", "set_cookie", "reading", "is_plain", "any", "in_table", "in_recent"):
            getattr(self.c, f"divertor_{name}").restype = ctypes.c_bool
        self.c.divertor_network.restype = View
        self._store = ctypes.create_string_buffer(MAX_VALUE)

    def fingerprint(self, key: bytes, data: bytes) -> int:
        words = [ctypes.c_uint64(int.from_bytes(key[at : at + 8], "little")) for at in (0, 8)]
        return int(self.c.divertor_fingerprint(*words, data, ctypes.c_size_t(len(data))))

    def cookies(self, header: bytes, name: bytes) -> list[bytes]:
        (line, line_memory), (wanted, name_memory) = view_of(header), view_of(name)
        at, value, found = ctypes.c_size_t(0), View(), []
        while self.c.divertor_next_cookie(line, wanted, ctypes.byref(at), self._store, ctypes.byref(value)):
            found.append(text_of(value))
        del line_memory, name_memory
        return found

    def set_cookie(self, header: bytes) -> tuple[bytes, bytes] | None:
        (line, memory), name, value = view_of(header), View(), View()
        found = self.c.divertor_set_cookie(line, self._store, ctypes.byref(name), ctypes.byref(value))
        told = (text_of(name), text_of(value)) if found else None
        del memory
        return told

    def is_plain(self, value: bytes) -> bool:
        text, memory = view_of(value)
        told = bool(self.c.divertor_is_plain(text))
        del memory
        return told

    def readings(self, value: bytes) -> set[bytes]:
        (text, memory), found, reading = view_of(value), set(), View()
        for which in range(3):
            if self.c.divertor_reading(text, which, self._store, ctypes.byref(reading)):
                found.add(text_of(reading))
        del memory
        return found

    def network(self, data: bytes, four: int, six: int) -> bytes:
        text, memory = view_of(data)
        told = text_of(self.c.divertor_network(text, (ctypes.c_int * 2)(four, six), self._store))
        del memory
        return told

    def file(self, path: Path) -> int:
        name = str(path).encode()
        return int(self.c.divertor_file(name, ctypes.c_size_t(len(name))))

    def has(self, file: int, fingerprint: int, now: int, recent: bool = False) -> bool | None:
        """Whether the reader finds a key; None when it finds no file."""
        words = self.c.divertor_open(file, recent)
        if words is None:
            return None
        look = self.c.divertor_in_recent if recent else self.c.divertor_in_table
        shared = ctypes.c_void_p(words)
        if not self.c.divertor_any(shared):
            return False
        return bool(look(shared, ctypes.c_uint64(fingerprint), ctypes.c_uint64(now)))

    def remember(self, file: int, fingerprint: int, expiry: int, now: int) -> None:
        shared = ctypes.c_void_p(self.c.divertor_open(file, True))
        self.c.divertor_remember(shared, *(ctypes.c_uint64(word) for word in (fingerprint, expiry, now)))


@pytest.fixture(scope="session")
def compiler() -> str:
    found = shutil.which("cc")
    if found is None:
        pytest.skip("no C compiler")
    return found


@pytest.fixture(scope="session")
def library(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("filter") / "keys_and_table.so"
    sources = [str(FILTER / name) for name in ("keys.c", "table.c")]
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-fPIC", "-shared"]
    subprocess.run([compiler, *flags, "-o", str(target), *sources], check=True)
    return target


@pytest.fixture
def native(library: Path, tmp_path: Path) -> Filter:
    """A library of its own for each test: how many files it may know is limited."""
    own = tmp_path / "own.so"
    shutil.copy(library, own)
    return Filter(own)
