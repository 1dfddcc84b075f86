"""Blueprints and gateways as text, planned as the control plane plans them, in front of small apps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tests.gateway.conftest import SECRET, Answer, App, Asked, Gateway, Reply, raw

from divertor.envoy.plan import Snapshot
from divertor.gateway.planning import Choices, divert_token, snapshot
from divertor.model.artifacts import Gateway as Described
from divertor.model.deploying import deploy
from divertor.model.deployments import DeployedService, Deployment, Instance
from divertor.model.reading import read_blueprint, read_gateway

DIVERT = b"the divert secret"


def cluster(name: str, *versions: str, gateways: str = "") -> str:
    """A cluster of versions `NAME:VERSION`, with one port called `port`; `gateways` in YAML's flow style."""
    services = "".join(
        f"\n    - breed: {{name: '{name}:{version}', ports: {{port: 80}}, "
        "deployable: {type: address, definition: 'localhost:1'}}"
        for version in versions
    )
    routing = f"\n    gateways: {{{gateways}}}" if gateways else ""
    return f"\n  {name}:{routing}\n    services:{services}"


def blueprint(*clusters: str, gateways: str = "", more: str = "") -> str:
    """A blueprint in YAML."""
    return f"name: shop\ngateways: {{{gateways}}}\nclusters:{''.join(clusters)}\n{more}"


@dataclass(slots=True)
class World:
    """One deployment, `shop`, gateways of their own, and an app for each version that is asked for."""

    gateway: Gateway
    make: Callable[..., App]
    choices: Choices = Choices(isolation_secret=SECRET, divert_secret=DIVERT)
    apps: dict[str, App] = field(default_factory=dict)
    behave: dict[str, Callable[[Asked], Answer | None]] = field(default_factory=dict)

    def planned(self, text: str, *standalone: str, instances: Mapping[str, int] | None = None) -> Snapshot:
        deployment = self.running(deploy(read_blueprint(text, "blueprint"), "shop"), instances or {})
        return snapshot([deployment], self.read(standalone), self.choices)

    def serve(self, text: str, *standalone: str) -> Snapshot:
        """Makes Envoy serve it."""
        planned = self.planned(text, *standalone)
        self.gateway.apply(planned)
        return planned

    def read(self, standalone: Sequence[str]) -> list[Described]:
        return [read_gateway(text, "gateway") for text in standalone]

    def running(self, deployment: Deployment, instances: Mapping[str, int]) -> Deployment:
        def of(service: DeployedService) -> DeployedService:
            count = instances.get(service.name, 1)
            found = (self.instance(service.name, number) for number in range(count))
            return replace(service, instances=tuple(found))

        return replace(
            deployment,
            clusters=tuple(
                replace(each, services=tuple(map(of, each.services))) for each in deployment.clusters
            ),
        )

    def instance(self, service: str, number: int) -> Instance:
        name = service if not number else f"{service}#{number}"
        if name not in self.apps:
            self.apps[name] = self.make(name, *[self.behave[service]] if service in self.behave else [])
        return Instance(name, "127.0.0.1", {"port": self.apps[name].port}, True)


def sensor(asked: Asked) -> Answer | None:
    """As the sensor does in the newest version of `shop`: anything with `attack` in it is handed over."""
    if "attack" not in asked.target:
        return None
    origin = asked.get("x-divertor-origin") or ""
    token = divert_token(DIVERT, "shop")
    return Answer(307, [("Location", origin), ("X-Divertor-Token", token)], b"")


def ask_host(port: int, name: str, target: str = "/") -> Reply:
    """One request to a named host."""
    return raw(port, f"GET {target} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())


def pins(reply: Reply, before: str = "") -> str:
    """The cookies a browser would send back after an answer, with those it had."""
    jar = dict(each.split("=", 1) for each in before.split("; ") if each)
    jar |= dict(line.partition(";")[0].split("=", 1) for line in reply.all("set-cookie"))
    return "; ".join(f"{name}={value}" for name, value in jar.items())
