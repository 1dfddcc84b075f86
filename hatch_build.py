"""Builds the native part of the gateway (src/divertor/envoy/filter) when Divertor is installed or packaged.

The compiler is `$CC`, else `cc`, else the one in the `ziglang` package, so that a machine with nothing but
Python can build it too. The object depends on libc alone: it is the same for every Python version.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FLAGS = [
    "-std=c11", "-D_GNU_SOURCE", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror",
    "-fstack-protector-strong", "-Wl,-z,relro",
]  # fmt: skip


def compiler() -> list[str]:
    """The command that compiles C.

    :raises RuntimeError: this machine has none.
    """
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    if shutil.which("cc"):
        return ["cc"]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    raise RuntimeError("no C compiler: install gcc or clang, or `pip install ziglang`, or set CC")


class NativeFilter(BuildHookInterface):  # type: ignore[type-arg]
    """Compiles libdivertor.so beside its source and packs it into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        folder = Path(self.root) / "src/divertor/envoy/filter"
        target = folder / "libdivertor.so"
        draft = target.with_suffix(".new")
        sources = sorted(str(source) for source in folder.glob("*.c"))
        subprocess.run([*compiler(), *FLAGS, "-o", str(draft), *sources], check=True)
        # An Envoy that has the old object mapped keeps it: never write into a mapped file.
        draft.replace(target)
        build_data["artifacts"].append("src/divertor/envoy/filter/libdivertor.so")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{self._platform()}"

    @staticmethod
    def _platform() -> str:
        import sysconfig

        return sysconfig.get_platform().replace("-", "_").replace(".", "_")
