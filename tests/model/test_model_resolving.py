"""Names in a blueprint become the things they name."""

from __future__ import annotations

import pytest

from divertor.conditions import CookiePresent
from divertor.errors import InputError
from divertor.model.artifacts import Artifact, Library
from divertor.model.reading import read_artifacts, read_blueprint
from divertor.model.resolving import resolve

LIBRARY_TEXT = """
{kind: breeds, name: web:1, deployable: image, ports: {http: 80}}
---
{kind: breeds, name: db:1, deployable: image, ports: {sql: 5432/tcp}}
---
{kind: scales, name: small, instances: 2}
---
{kind: conditions, name: beta, condition: has cookie beta}
"""
BLUEPRINT = """
name: x
gateways: {8080: c/http}
clusters:
  c:
    services: [{breed: web:1, scale: small}]
    gateways: {http: {routes: {web:1: {condition: beta}}}}
"""


def library() -> Library:
    return {(artifact.kind, artifact.name): artifact for artifact in read_artifacts(LIBRARY_TEXT, "library")}


def test_every_reference_is_replaced_by_its_artifact() -> None:
    inline = read_blueprint(
        BLUEPRINT.replace("breed: web:1", "breed: {name: web:1, deployable: image, ports: {http: 80}}")
        .replace("scale: small", "scale: {instances: 2}")
        .replace("condition: beta", "condition: has cookie beta"),
        "x",
    )
    assert resolve(read_blueprint(BLUEPRINT, "x"), library()) == inline


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "web:1",
            "web:2",
            "x.yaml:6:24: nothing called 'web:2' among the breeds; expected 'web:1'",
        ),
        (
            "scale: small",
            "scale: smal",
            "x.yaml:6:38: nothing called 'smal' among the scales; expected 'small'",
        ),
        ("condition: beta", "condition: bta", "x.yaml:7:51: nothing called 'bta' among the conditions"),
        ("c/http", "c/web", "x.yaml:3:18: no port 'web'"),
        ("{http: {routes", "{sql: {routes", "x.yaml:7:21: no port 'sql'; expected http"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_place(old: str, new: str, message: str) -> None:
    blueprint = read_blueprint(BLUEPRINT.replace(old, new), "x.yaml")
    with pytest.raises(InputError, match=message):
        resolve(blueprint, library())


def test_a_condition_on_a_tcp_port_is_refused_once_the_port_is_known() -> None:
    text = BLUEPRINT.replace("web:1", "db:1").replace("http", "sql").replace("8080:", "8080/tcp:")
    with pytest.raises(InputError, match="port 'sql' is tcp"):
        resolve(read_blueprint(text, "x.yaml"), library())


def test_an_artifact_of_another_kind_under_the_name_is_refused() -> None:
    wrong = dict(library()) | {("breeds", "web:1"): Artifact("breeds", "web:1", CookiePresent("a"))}
    with pytest.raises(InputError, match="'web:1' is none of breeds"):
        resolve(read_blueprint(BLUEPRINT, "x"), wrong)
