"""What a process finds in its environment."""

from __future__ import annotations

import pytest

from divertor.errors import InputError
from divertor.model.artifacts import EnvironmentVariable
from divertor.model.deploying import deploy
from divertor.model.reading import read_blueprint


def environment(breed: str = "{}", blueprint: str = "{}", service: str = "{}") -> dict[str, str | None]:
    text = f"""
name: x
environment_variables: {blueprint}
clusters:
  c:
    breed: {{name: b, deployable: i, env: {breed}}}
    env: {service}
  d: {{breed: {{name: b, deployable: i}}}}
"""
    deployed = deploy(read_blueprint(text, "x.yaml"), "x")
    return {variable.name: variable.value for variable in deployed.clusters[0].services[0].environment}


def test_the_blueprint_overrides_the_breed_and_the_service_both() -> None:
    found = environment(
        "{A: breed, B: breed, C: breed}", "{c.B: print, c.C: print, d.A: other}", "{C: service}"
    )
    assert found == {"A": "breed", "B": "print", "C": "service"}


def test_a_reference_takes_the_blueprints_value() -> None:
    assert environment("{A: 'x-$d.V-${d.V}'}", "{d.V: 1}") == {"A": "x-1-1"}


def test_dollars_that_refer_to_nothing_stay() -> None:
    assert environment("{A: 'p$$d.V $ $x 5$'}") == {"A": "p$d.V $ $x 5$"}


@pytest.mark.parametrize(
    ("breed", "blueprint", "message"),
    [
        ("{A: ~}", "{}", "the variable 'A' has no value"),
        ("{A: $d.host}", "{}", "'A' refers to 'd.host', which this blueprint does not give"),
        ("{A: '${}'}", "{}", "'A' refers to ''"),
        ("{A: $d.V}", "{d.V: $c.A}", "refers to a value with a reference"),
    ],
)
def test_a_value_that_cannot_be_known_is_refused(breed: str, blueprint: str, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("$", r"\$")):
        environment(breed, blueprint)


def test_an_alias_survives_an_override() -> None:
    breed = "{name: b, deployable: i, env: {'A[Z]': ~}}"
    text = f"{{name: x, environment_variables: {{c.A: 1}}, clusters: {{c: {{breed: {breed}}}}}}}"
    (variable,) = deploy(read_blueprint(text, "x"), "x").clusters[0].services[0].environment
    assert variable == EnvironmentVariable("A", "1", "Z")
