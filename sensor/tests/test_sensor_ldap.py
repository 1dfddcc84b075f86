"""Filters and names put together from input: ldap3 with its own stand-in for a server."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from divertor_sensor import AttackInterrupted, context
from divertor_sensor.reports.detection import Detection
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor
from divertor_sensor.sinks import ldap as sink

with warnings.catch_warnings():
    # ldap3 asks pyasn1 for what that has renamed.
    warnings.simplefilter("ignore", DeprecationWarning)
    import ldap3  # type: ignore[import-untyped, unused-ignore]
    from ldap3.utils.conv import escape_filter_chars  # type: ignore[import-untyped, unused-ignore]

MakeSensor = Callable[..., Sensor]
EVIL = "*)(uid=*))(|(uid=*"
BASE = "ou=people,dc=example,dc=org"


@pytest.fixture
def directory() -> Iterator[Any]:
    connection = ldap3.Connection(ldap3.Server("directory"), client_strategy=ldap3.MOCK_SYNC)
    for name in ("ann", "bob"):
        entry = {"objectClass": "person", "uid": name, "userPassword": "x", "cn": f"{name} (the builder)"}
        connection.strategy.add_entry(f"uid={name},{BASE}", entry)
    connection.bind()
    yield connection
    connection.unbind()


def asking(sensor: Sensor, value: str) -> Request:
    made = Request(sensor, lambda: Head("POST", "/", "", {"content-type": "text/plain"}, ""))
    made.body.record(value.encode())
    return made


FILTERS: dict[str, Callable[[Any, str], Any]] = {
    "search": lambda directory, text: directory.search(BASE, text),
    "search by name": lambda directory, text: directory.search(search_filter=text, search_base=BASE),
    "paged search": lambda directory, text: directory.extend.standard.paged_search(
        BASE, text, generator=False, paged_size=5
    ),
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_that_an_input_changed_is_stopped(
    name: str, directory: Any, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    with pytest.raises(AttackInterrupted):
        context.run_in(asking(make_sensor(), EVIL), FILTERS[name], directory, f"(&(uid={EVIL})(cn=x))")
    assert [(found.type, found.statement) for found in kept] == [("ldap_injection", f"(&(uid={EVIL})(cn=x))")]


@pytest.mark.parametrize("value", ["ann", "bob (the builder)", EVIL, "*", "a*"])
def test_an_escaped_value_goes_on(
    value: str, directory: Any, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    text = f"(&(objectClass=*)(cn={escape_filter_chars(value)}))"
    context.run_in(asking(make_sensor(), value), directory.search, BASE, text)
    assert kept == []


def test_a_wildcard_matches_nobody_else(directory: Any, make_sensor: MakeSensor) -> None:
    with pytest.raises(AttackInterrupted):
        context.run_in(asking(make_sensor(), "*"), directory.search, BASE, "(uid={})".format("*"))


def test_a_search_with_wildcards_of_the_app_takes_them(
    directory: Any, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    context.run_in(asking(make_sensor(), "*"), directory.search, BASE, "(uid=*{}*)".format("*"))
    assert kept == []


NAMES: dict[str, Callable[[Any, str], Any]] = {
    "search": lambda directory, name: directory.search(name, "(objectClass=*)"),
    "add": lambda directory, name: directory.add(name, "person"),
    "compare": lambda directory, name: directory.compare(name, "uid", "x"),
    "delete": lambda directory, name: directory.delete(name),
    "modify": lambda directory, name: directory.modify(name, {"cn": [(ldap3.MODIFY_REPLACE, ["x"])]}),
    "modify_dn": lambda directory, name: directory.modify_dn(dn=name, relative_dn="uid=x"),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_an_input_moved_is_stopped(
    name: str, directory: Any, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    value = "bob,ou=admins"
    with pytest.raises(AttackInterrupted):
        context.run_in(asking(make_sensor(), value), NAMES[name], directory, f"uid={value},{BASE}")
    assert [found.statement for found in kept] == [f"dn: uid={value},{BASE}"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_with_a_value_of_the_request_goes_on(
    name: str, directory: Any, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    context.run_in(asking(make_sensor(), "bob"), NAMES[name], directory, f"uid=bob,{BASE}")
    assert kept == []


def test_outside_a_request_nothing_is_judged(directory: Any, kept: list[Detection]) -> None:
    assert directory.search(BASE, "(uid=*)") and kept == []


class SimpleLDAPObject:
    """python-ldap's methods with its own signatures; the library needs a C toolchain and is not here."""

    def search_ext(self, base: str, scope: int, filterstr: str | None = None, *rest: Any) -> str:
        return f"{base} {filterstr}"

    def delete_ext(self, dn: str, serverctrls: Any = None, clientctrls: Any = None) -> str:
        return dn


def test_python_ldap_is_patched_by_its_own_names(
    make_sensor: MakeSensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("ldap.ldapobject")
    vars(module)["SimpleLDAPObject"] = SimpleLDAPObject
    monkeypatch.setitem(sys.modules, "ldap.ldapobject", module)
    sink._patching("SimpleLDAPObject", "ldap", sink._PYTHON_LDAP)(module)
    made = asking(make_sensor(), EVIL)
    assert context.run_in(made, SimpleLDAPObject().search_ext, BASE, 2) == f"{BASE} None"
    with pytest.raises(AttackInterrupted):
        context.run_in(made, SimpleLDAPObject().search_ext, BASE, 2, filterstr=f"(uid={EVIL})")
    with pytest.raises(AttackInterrupted):
        context.run_in(asking(make_sensor(), "x,ou=y"), SimpleLDAPObject().delete_ext, f"uid=x,ou=y,{BASE}")


def test_every_way_is_tried() -> None:
    assert len(FILTERS) == 3 and set(NAMES) == set(sink._LDAP3)
