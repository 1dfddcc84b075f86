"""What Divertor hands to every instance it starts: the sensor's settings and its directories."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path

from divertor.gateway.planning import divert_token
from divertor.layout import Layout, Secrets, Settings
from divertor.model.artifacts import IsolationPolicy, Mode
from divertor.model.isolation import KeyKind, KeySelector
from divertor.runtime.instances import PlannedInstance

log = logging.getLogger("divertor")


class Modes:
    """What the sensors of each scope do with an attack, in a file that they read when they have found one: so
    that a policy's `mode` can be changed without starting its instances again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: dict[str, str] = {}

    def path(self, scope: str) -> Path:
        return self._folder / f"{blake2b(scope.encode(), digest_size=8).hexdigest()}.mode"

    def restrain(self, policies: Mapping[str, IsolationPolicy]) -> None:
        """Sensors where attackers are only watched divert no more; called before the gateway changes."""
        for scope, policy in policies.items():
            if policy.mode is Mode.SIMULATE:
                self._write(scope, "report")

    def release(self, policies: Mapping[str, IsolationPolicy]) -> None:
        """All others divert; called when the gateway has changed."""
        for scope, policy in policies.items():
            if policy.mode is not Mode.SIMULATE:
                self._write(scope, "divert")

    def _write(self, scope: str, mode: str) -> None:
        if self._written.get(scope) == mode:
            return
        path = self.path(scope)
        draft = path.with_suffix(".new")
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft.write_text(mode, encoding="ascii")
            draft.chmod(0o600)
            draft.replace(path)
        except OSError as problem:  # the next change tries again
            log.error("the sensors of %s are not told to %s: %s", scope, mode, problem)
            return
        self._written[scope] = mode


def instance_environment(
    layout: Layout,
    settings: Settings,
    secrets: Secrets,
    ingest_token: str,
    policies: Callable[[], Mapping[str, IsolationPolicy]],
    modes: Modes,
) -> Callable[[PlannedInstance], Mapping[str, str]]:
    """The variables of one instance. The same instance always gets the same: a difference would restart it.

    The newest versions divert; the audited one reports, because there the attacker is to be watched.
    """

    def provide(instance: PlannedInstance) -> Mapping[str, str]:
        scope = f"{instance.deployment}/{instance.cluster}"
        policy = policies().get(scope)
        diverts = policy is not None and settings.isolate and instance.service.name != policy.to
        shared = layout.data / _folder(instance.deployment)
        own = shared / _folder(instance.cluster) / _folder(instance.service.name)
        for folder in (shared, own):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        variables = {
            "DIVERTOR_SENSOR": "1",
            "DIVERTOR_ENDPOINT": f"http://127.0.0.1:{settings.api_port}",
            "DIVERTOR_INGEST_TOKEN": ingest_token,
            "DIVERTOR_MODE": "divert" if diverts else "report",
            "DIVERTOR_SERVICE": instance.cluster,
            "DIVERTOR_VERSION": instance.service.name,
            "DIVERTOR_INSTANCE": instance.name,
            "DIVERTOR_TRUSTED_HOPS": "1",
            "DIVERTOR_DATA": str(own),
            "DIVERTOR_SHARED": str(shared),
        }
        if diverts:
            secret = bytes.fromhex(secrets.divert)
            variables["DIVERTOR_DIVERT_TOKEN"] = divert_token(secret, instance.deployment)
            variables["DIVERTOR_MODE_FILE"] = str(modes.path(scope))
        return variables | _sessions(() if policy is None else policy.keys)

    return provide


def _sessions(keys: tuple[KeySelector, ...]) -> dict[str, str]:
    """By what the sensor tells one client from another."""
    cookies = [key.name for key in keys if key.kind is KeyKind.COOKIE]
    headers = [key.name for key in keys if key.kind is KeyKind.HEADER]
    headers += ["authorization" for key in keys if key.kind is KeyKind.BEARER]
    told = {"DIVERTOR_SESSION_COOKIE": cookies, "DIVERTOR_SESSION_HEADER": headers}
    return {name: ",".join(names) for name, names in told.items() if names}


def _folder(name: str) -> str:
    """A name as one directory: names hold neither `/` nor control characters, but may be `..`."""
    return f"_{name}" if name.startswith(".") else str(Path(name))
