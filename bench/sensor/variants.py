"""The sensors that are compared, and how each is started under each server."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: What stands for a token is checked for its form only.
_ZEN_TOKEN = "AIK_RUNTIME_1_1_BENCHMARK_bG9vcGJhY2stc3RhbmQtaW4tb25seQ"


@dataclass(frozen=True, slots=True)
class Variant:
    """A sensor: its name in the tables, the distribution and the module it needs, and what starts it."""

    name: str
    title: str
    distribution: str = ""
    prefix: tuple[str, ...] = ()


VARIANTS = (
    Variant("none", "no sensor"),
    Variant("divertor", "Divertor"),
    Variant("zen", "aikido-zen", "aikido-zen"),
    Variant("ddtrace", "ddtrace AppSec", "ddtrace", ("ddtrace-run",)),
)
SERVERS = {
    "Flask, gunicorn": (
        *("-m", "gunicorn", "--worker-class", "gthread", "--workers", "1", "--threads", "1"),
        *("--log-level", "warning", "--bind", "127.0.0.1:{port}", "bench.sensor.apps:flask()"),
    ),
    "Starlette, uvicorn": (
        *("-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--no-access-log"),
        *("--log-level", "warning", "--factory", "bench.sensor.apps:starlette"),
    ),
}
#: What the benchmark's apps need besides the sensors.
HOSTS = ("flask", "gunicorn", "starlette", "uvicorn", "wrapt")


def command(variant: Variant, python: Path, arguments: tuple[str, ...]) -> list[str]:
    """The command line that runs `arguments` of `python` under a sensor."""
    return [*(str(python.parent / word) for word in variant.prefix), str(python), *arguments]


def environment(variant: Variant, services: str) -> dict[str, str]:
    """What configures a sensor: detection only, all reports to `services`."""
    common = {
        "BENCH_SENSOR": variant.name,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'sensor' / 'src'}",
        "PYTHONDONTWRITEBYTECODE": "",
    }
    if variant.name == "divertor":
        return common | {"DIVERTOR_MODE": "report", "DIVERTOR_ENDPOINT": services}
    if variant.name == "zen":
        return common | {
            "AIKIDO_TOKEN": _ZEN_TOKEN,
            "AIKIDO_ENDPOINT": f"{services}/",
            "AIKIDO_REALTIME_ENDPOINT": f"{services}/",
            "AIKIDO_BLOCK": "false",
        }
    if variant.name == "ddtrace":
        return common | {
            "DD_APPSEC_ENABLED": "true",
            "DD_TRACE_AGENT_URL": services,
            "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
            "DD_REMOTE_CONFIGURATION_ENABLED": "false",
            "DD_TRACE_STARTUP_LOGS": "false",
        }
    return common


def installed(python: Path) -> dict[str, str]:
    """Versions of the distributions of interest in an environment, by name; those it lacks are left out."""
    names = [*HOSTS, *(each.distribution for each in VARIANTS if each.distribution)]
    program = (
        "import importlib.metadata as m, json, sys\n"
        "found = {}\n"
        "for name in sys.argv[1:]:\n"
        "    try: found[name] = m.version(name)\n"
        "    except m.PackageNotFoundError: pass\n"
        "print(json.dumps(found))"
    )
    told = subprocess.run([str(python), "-c", program, *names], capture_output=True, text=True, check=True)
    versions: dict[str, str] = json.loads(told.stdout)
    return versions
