"""kill -9 of each part, while a customer shops and an attacker is isolated."""

from __future__ import annotations

import subprocess
import time
from uuid import uuid4

import pytest

from divertor.cli.client import Api
from divertor.cli.demo.own_stack import OwnStack

from .conftest import Customer, eventually, kill, pid_of, served_by

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def session(stack: OwnStack, api: Api) -> str:
    """An isolated session."""
    value = uuid4().hex
    key = {"kind": "cookie", "name": "session", "value": value}
    api.send("POST", "/isolations", {"scope": "hackable/hackable", **key, "reason": "a test"})
    eventually(lambda: served_by(stack, session=value) == "1.0.0")
    return value


def isolated(api: Api) -> set[str]:
    return {each["value"] for each in api.get_all("/isolations")}


def test_without_the_control_plane_nobody_notices(stack: OwnStack, api: Api, session: str) -> None:
    before, pid = isolated(api), pid_of(api, "control-plane")
    with Customer(stack) as customer:
        kill(pid)
        assert served_by(stack, session=session) == "1.0.0"
        eventually(lambda: pid_of(api, "control-plane") not in (0, pid))
        customer.wait_for(50)
        assert customer.failed() == []
    assert isolated(api) == before
    assert served_by(stack, session=session) == "1.0.0"


def test_a_killed_envoy_is_back_within_a_second(stack: OwnStack, api: Api, session: str) -> None:
    pid = pid_of(api, "envoy")
    with Customer(stack) as customer:
        killed = time.monotonic()
        kill(pid)
        eventually(lambda: any(at > killed + 0.05 and what == "1.1.0" for at, what in customer.answers))
        back = next(at for at, what in customer.answers if at > killed + 0.05 and what == "1.1.0")
        assert back - killed < 1.0
        assert served_by(stack, session=session) == "1.0.0"
        customer.wait_for(50)
    late = [what for at, what in customer.answers if at > back]
    assert set(late) == {"1.1.0"}


def test_without_the_broker_customers_are_served_and_nothing_acknowledged_is_lost(
    stack: OwnStack, api: Api, session: str
) -> None:
    tag = f"probe:{uuid4().hex}"
    acknowledged = [post(api, tag, number) for number in range(30)]
    pid = pid_of(api, "nats")
    with Customer(stack) as customer:
        kill(pid)
        assert served_by(stack, session=session) == "1.0.0"
        eventually(lambda: pid_of(api, "nats") not in (0, pid))
        acknowledged.append(eventually(lambda: post(api, tag, 99)))
        customer.wait_for(50)
        assert customer.failed() == []
    eventually(lambda: set(acknowledged) <= stored(api, tag))
    assert session in isolated(api)


def post(api: Api, tag: str, number: int) -> int:
    """The number, once its event is acknowledged."""
    api.send("POST", "/events", {"tags": [tag], "type": "probe", "value": {"number": number + 1}})
    return number + 1


def stored(api: Api, tag: str) -> set[int]:
    return {each["value"]["number"] for each in api.get_all("/events", {"tags": tag})}


def test_a_killed_app_is_back(stack: OwnStack, api: Api) -> None:
    name = "hackable/hackable/hackable:1.1.0/0"
    pid = pid_of(api, name)
    kill(pid)
    eventually(lambda: pid_of(api, name) not in (0, pid))
    eventually(lambda: served_by(stack) == "1.1.0")


def test_the_foreground_process_stays_small(stack: OwnStack) -> None:
    done = subprocess.run(["ps", "-o", "rss=", "-p", str(stack.pid)], capture_output=True, text=True)
    assert int(done.stdout) < 30 * 1024
