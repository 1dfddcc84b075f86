"""Ports: picked below the ephemeral range, and a taken one names its holder."""

from __future__ import annotations

import os
import socket

import pytest

from divertor.errors import ConflictError, UnavailableError
from divertor.runtime.ports import HIGHEST, LOWEST, holder, is_free, pick_port, require_free


def _taken() -> socket.socket:
    return socket.create_server(("127.0.0.1", pick_port(low=26000 + os.getpid() % 3000)))


def test_a_picked_port_can_be_bound_and_is_in_the_range() -> None:
    port = pick_port()
    assert LOWEST <= port <= HIGHEST
    assert is_free(port)


def test_a_taken_port_is_passed_over() -> None:
    with _taken() as server:
        port = server.getsockname()[1]
        assert pick_port(low=port) > port


def test_an_excluded_port_is_passed_over() -> None:
    low = pick_port(high=29_998)
    assert {pick_port({low}, low, low + 40) for _ in range(20)}.isdisjoint({low})


def test_none_left_is_an_error() -> None:
    with pytest.raises(UnavailableError, match="no free port from 25000 to 25001"):
        pick_port({25000, 25001}, 25000, 25001)


def test_a_taken_port_names_its_holder() -> None:
    with _taken() as server:
        port = server.getsockname()[1]
        with pytest.raises(ConflictError, match=rf"port {port} .* in use by .* \(pid {os.getpid()}\)"):
            require_free(port)


def test_a_free_port_has_no_holder() -> None:
    assert holder(pick_port()) == ""


def test_an_address_of_another_machine_cannot_be_tried() -> None:
    with pytest.raises(UnavailableError, match="cannot listen on 192.0.2.1:"):
        is_free(20000, "192.0.2.1")
