"""What Divertor hands to every instance it starts: the sensor's settings and its directories."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from divertor.gateway.planning import divert_token
from divertor.layout import Layout, Secrets, Settings
from divertor.model.artifacts import IsolationPolicy
from divertor.model.isolation import KeyKind, KeySelector
from divertor.runtime.instances import PlannedInstance


def instance_environment(
    layout: Layout,
    settings: Settings,
    secrets: Secrets,
    ingest_token: str,
    policies: Callable[[], Mapping[str, IsolationPolicy]],
) -> Callable[[PlannedInstance], Mapping[str, str]]:
    """The variables of one instance. The same instance always gets the same: a difference would restart it.

    The newest versions divert; the audited one reports, because there the attacker is to be watched.
    """

    def provide(instance: PlannedInstance) -> Mapping[str, str]:
        policy = policies().get(f"{instance.deployment}/{instance.cluster}")
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
        cookies = _cookies(policy.keys) if policy is not None else []
        if cookies:
            variables["DIVERTOR_SESSION_COOKIE"] = ",".join(cookies)
        return variables

    return provide


def _cookies(keys: tuple[KeySelector, ...]) -> list[str]:
    return [key.name for key in keys if key.kind is KeyKind.COOKIE]


def _folder(name: str) -> str:
    """A name as one directory: names hold neither `/` nor control characters, but may be `..`."""
    return f"_{name}" if name.startswith(".") else str(Path(name))
