"""Whose request it is: addresses behind proxies, through the PROXY protocol, and what nobody can claim."""

from __future__ import annotations

import ctypes
import socket
import struct
import subprocess
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.conftest import ADDRESS, App, Gateway, Reply, isolated, listener, over, upstream
from tests.isolation.conftest import FILTER

from divertor.envoy.plan import Route, Snapshot

Apps = Callable[..., App]
PROXY, STRANGER = "127.0.0.2", "127.0.0.1"
TRUSTED = ("127.0.0.2/32", "10.0.0.0/8", "2001:db8:1::/48")


def request(**headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(["GET / HTTP/1.1", "Host: shop.example", *lines, "", ""]).encode()


def sent(port: int, data: bytes, by: str = STRANGER, first: bytes = b"") -> Reply:
    """One answer to a request that comes from an address of this machine, after `first`."""
    with socket.create_connection(("127.0.0.1", port), 10, (by, 0)) as connection:
        connection.sendall(first)
        return over(connection, data)


def front(gateway: Gateway, apps: Apps, port: int, **more: object) -> None:
    gateway.apply(Snapshot((listener(port, Route("r", "a", 100), **more),), (upstream("a", apps("a")),)))


@pytest.fixture
def behind(gateway: Gateway, apps: Apps, port: int) -> int:
    """A gateway that trusts some proxies."""
    front(gateway, apps, port, trusted_proxies=TRUSTED)
    return port


# Trusted proxies

CHAINS = [
    (STRANGER, "203.0.113.9", STRANGER, "a stranger cannot name somebody else"),
    (STRANGER, "203.0.113.9, 10.0.0.1", STRANGER, "nor by naming a proxy, too"),
    (PROXY, "203.0.113.9", "203.0.113.9", "a proxy names its client"),
    (PROXY, "198.51.100.1, 203.0.113.9", "203.0.113.9", "what the client told the proxy does not count"),
    (PROXY, "198.51.100.1, 203.0.113.9, 10.1.2.3", "203.0.113.9", "proxies behind proxies are passed over"),
    (PROXY, "203.0.113.9,10.1.2.3,10.4.5.6", "203.0.113.9", "also without blanks"),
    (PROXY, "203.0.113.9:4711", "203.0.113.9", "some proxies add the port"),
    (PROXY, "[2001:db8::7]:4711, 10.0.0.1:80", "2001:db8::7", "and brackets"),
    (PROXY, "2001:db8::7, 2001:db8:1::5", "2001:db8::7", "IPv6 is passed over as well"),
    (PROXY, "::ffff:203.0.113.9", "203.0.113.9", "a mapped address is what it maps"),
    (PROXY, "10.0.0.7", "10.0.0.7", "without anybody else it is the farthest proxy"),
    (PROXY, "10.0.0.7, 10.0.0.8", "10.0.0.7", "however many there are"),
    (PROXY, "203.0.113.9, unknown", PROXY, "behind what is no address nobody is known"),
    (PROXY, "203.0.113.9, unknown, 10.0.0.1", "10.0.0.1", "and the nearest known one counts"),
    (PROXY, "", PROXY, "a proxy that names nobody is the client"),
    (PROXY, ", ,", PROXY, "nor is nothing anybody"),
    (PROXY, "203.0.113.9, 10.0.0.1" + ", 10.0.0.1" * 70, "10.0.0.1", "nobody passes seventy proxies"),
]


@pytest.mark.parametrize(("by", "told", "client", "why"), CHAINS)
def test_the_client_is_the_last_one_that_is_no_proxy(
    behind: int, by: str, told: str, client: str, why: str
) -> None:
    seen = sent(behind, request(x_forwarded_for=told), by).seen
    assert seen["x-envoy-external-address"] == client, why
    assert seen["x-forwarded-for"].rpartition(", ")[2] == client, why


def test_every_chain_was_tried() -> None:
    assert len(CHAINS) == len({chain[:2] for chain in CHAINS}) == 17


def test_a_header_in_two_lines_is_one_list(behind: int) -> None:
    data = request(x_forwarded_for="203.0.113.9").replace(
        b"\r\n\r\n", b"\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n"
    )
    assert sent(behind, data, PROXY).seen["x-envoy-external-address"] == "203.0.113.9"


def test_a_client_without_the_header_is_himself(behind: int) -> None:
    assert sent(behind, request()).seen["x-envoy-external-address"] == STRANGER


@pytest.mark.parametrize("by", [STRANGER, PROXY])
@pytest.mark.parametrize(
    "name", ["x-envoy-external-address", "X_Envoy_External_Address", "x-envoy-external_address"]
)
def test_nobody_can_claim_an_address(behind: int, name: str, by: str) -> None:
    seen = sent(behind, request(**{name: "198.51.100.66"}), by).seen
    assert seen["x-envoy-external-address"] == by and "198.51.100.66" not in str(seen)


FORGED = {
    "x-request-id": "11111111-1111-4111-8111-111111111111",
    "x-envoy-internal": "true",
    "x-envoy-max-retries": "9",
    "x-envoy-retry-on": "5xx",
    "x-envoy-upstream-rq-timeout-ms": "1",
    "x-envoy-original-url": "http://elsewhere/",
    "x-divertor-token": "token",
    "x-divertor-isolated": "1",
    "x-divertor-origin": "http://elsewhere/",
    "x-divertor-client": "203.0.113.9",
    "x-divertor-ja3": "forged",
    "x-divertor-ja4": "forged",
    "x-forwarded-client-cert": "Subject=the boss",
}


@pytest.mark.parametrize("by", [STRANGER, PROXY])
@pytest.mark.parametrize("name", FORGED)
def test_what_only_the_gateway_says_comes_from_nobody_else(behind: int, name: str, by: str) -> None:
    """A proxy passes on what its client sends, so its word counts for the address and the scheme alone."""
    assert sent(behind, request(**{name: FORGED[name]}), by).seen.get(name) != FORGED[name]


@pytest.mark.parametrize(
    ("by", "told", "scheme"),
    [
        (PROXY, "https", "https"),
        (PROXY, "http", "http"),
        (PROXY, "gopher", "http"),
        (PROXY, None, "http"),
        (STRANGER, "https", "http"),
        (STRANGER, None, "http"),
    ],
)
def test_the_scheme_is_what_a_proxy_says_and_nobody_else(
    behind: int, by: str, told: str | None, scheme: str
) -> None:
    seen = sent(behind, request(**({"x-forwarded-proto": told} if told else {})), by).seen
    assert (seen["x-forwarded-proto"], seen["x-divertor-origin"]) == (scheme, f"{scheme}://shop.example/")


def test_isolation_goes_by_the_client_and_not_by_the_proxy(gateway: Gateway, apps: Apps, port: int) -> None:
    gateway.release()
    versions = upstream("live", apps("live")), upstream("audited", apps("audited"))
    shop = listener(
        port, Route("r", "live", 100), isolated=isolated("audited", ADDRESS), trusted_proxies=TRUSTED
    )
    gateway.apply(Snapshot((shop,), versions))
    gateway.isolate(ADDRESS, "203.0.113.9")
    asked = [("203.0.113.9", PROXY), ("203.0.113.8", PROXY), ("203.0.113.9", STRANGER)]
    found = [sent(port, request(x_forwarded_for=told), by).by for told, by in asked]
    assert found == ["audited", "live", "live"]


def test_without_trusted_proxies_nobody_is_believed(gateway: Gateway, apps: Apps, port: int) -> None:
    front(gateway, apps, port)
    seen = sent(port, request(x_forwarded_for="203.0.113.9", x_forwarded_proto="https"), PROXY).seen
    assert (seen["x-envoy-external-address"], seen["x-forwarded-proto"]) == (PROXY, "http")


# The search, against a plain one in Python


#: Envoy's part, which the search does not need.
ENVOY = """
#include "abi.h"
bool envoy_dynamic_module_callback_early_header_mutation_get_header_value(
    void *request, text name, view *value, size_t index, size_t *count) {
  return request && name.at && value && index && count;
}
bool envoy_dynamic_module_callback_early_header_mutation_set_header(void *request, text name, text value) {
  return request && name.at && value.at;
}
"""


class View(ctypes.Structure):
    _fields_ = [("at", ctypes.c_char_p), ("length", ctypes.c_size_t)]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("proxies")
    (folder / "envoy.c").write_text(ENVOY)
    sources = str(FILTER / "proxies.c"), str(folder / "envoy.c")
    flags = "-std=c11", "-D_GNU_SOURCE", "-O1", "-shared", "-fPIC", f"-I{FILTER}"
    subprocess.run(["cc", *flags, "-o", str(folder / "proxies.so"), *sources], check=True)
    loaded = ctypes.CDLL(str(folder / "proxies.so"))
    loaded.divertor_proxies.restype = ctypes.c_void_p
    loaded.divertor_proxies.argtypes = [View]
    loaded.divertor_forwarded.restype = View
    loaded.divertor_forwarded.argtypes = [ctypes.c_void_p, View, View, ctypes.c_char_p]
    return loaded


def view(text: str) -> View:
    return View(text.encode(), len(text.encode()))


def searched(peer: str, told: str) -> str:
    """The same in a few lines: what the C code must find."""
    networks = [ip_network(network) for network in TRUSTED]
    client, entries = ip_address(peer), told.split(",") if told else []
    while entries and any(client in network for network in networks):
        try:
            client = ip_address(entries.pop().strip(" \t"))
        except ValueError:
            break
    return str(client)


ADDRESSES = st.sampled_from(["127.0.0.2", "10.9.8.7", "10.0.0.1", "2001:db8:1::5"]) | st.ip_addresses().map(
    str
).filter(lambda text: "." not in text or ":" not in text)
ENTRIES = st.sampled_from(["", " ", "unknown", "_hidden", "10.0.0.256", "10.0.0", "::1::", "\x00", "%"])
CHAIN = st.lists(ADDRESSES | ENTRIES, max_size=8).flatmap(
    lambda found: st.sampled_from([",", ", ", " ,\t"]).map(lambda comma: comma.join(found))
)


@given(peer=ADDRESSES, told=CHAIN)
@settings(max_examples=400, deadline=None)
def test_any_chain_is_searched_as_a_plain_reading_would(library: ctypes.CDLL, peer: str, told: str) -> None:
    proxies = library.divertor_proxies(view("\n".join(("http", *TRUSTED))))
    store = ctypes.create_string_buffer(64 << 10)
    found = library.divertor_forwarded(proxies, view(peer), view(told), store)
    last = store.raw[: found.length].decode().rpartition(", ")[2]
    assert ip_address(last) == normal(searched(peer, told))


def normal(text: str) -> object:
    address = ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "gopher",
        "http\n10.0.0.0",
        "http\n10.0.0.0/33",
        "http\n::/129",
        "http\n/8",
        "http\nx/8",
        "https\n10.0.0.0/",
    ],
)
def test_networks_that_are_none_are_refused(library: ctypes.CDLL, lines: str) -> None:
    assert library.divertor_proxies(view(lines)) is None


DRIVER = r"""
#include "proxies.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>
static const char *const pieces[] = {"10.0.0.1", "203.0.113.9", ":80", "[", "]", "2001:db8::7",
  "::ffff:1.2.3.4", ",", ",", ", ", " ", "\t", "unknown", "/", "8", "128",
  "\n", "http", "https", "%", "999", "::", ".", "1"};
/* Memory of exactly the text's size, so that one byte too far is seen. */
static view any_text(void) {
  char draft[4096];
  size_t length = 0;
  for (int count = rand() % 20; count; count--)
    for (int times = rand() % 200 ? 1 : 100; times && length < 3900; times--) {
      const char *piece = pieces[rand() % (sizeof pieces / sizeof *pieces)];
      memcpy(draft + length, piece, strlen(piece));
      length += strlen(piece);
    }
  char *own = malloc(length ? length : 1);
  memcpy(own, draft, length);
  return (view){own, length};
}
int main(void) {
  static const char networks[] = "http\n10.0.0.0/8\n2001:db8::/32";
  struct proxies *known = divertor_proxies((view){networks, sizeof networks - 1});
  char *store = malloc(MAX_FORWARDED);
  if (!known) return 1;
  for (time_t end = time(NULL) + 3; time(NULL) < end;)
    for (int turn = 0; turn < 1000; turn++) {
      view lines = any_text(), told = any_text(), other = any_text();
      view peer = rand() % 3 ? (view){"10.0.0.1", 8} : other;
      free(divertor_proxies(lines));
      if (divertor_forwarded(known, peer, told, store).length > MAX_FORWARDED) return 2;
      free((void *)lines.at), free((void *)told.at), free((void *)other.at);
    }
  free(known);
  free(store);
  return 0;
}
"""


def test_no_header_makes_the_search_leave_its_memory(tmp_path: Path) -> None:
    """Under AddressSanitizer and UndefinedBehaviorSanitizer."""
    (tmp_path / "envoy.c").write_text(ENVOY)
    (tmp_path / "driver.c").write_text(DRIVER)
    sources = [str(path) for path in (FILTER / "proxies.c", tmp_path / "envoy.c", tmp_path / "driver.c")]
    flags = (
        "-std=c11",
        "-D_GNU_SOURCE",
        "-g",
        "-O1",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
    )
    driver = str(tmp_path / "driver")
    subprocess.run(["cc", *flags, f"-I{FILTER}", "-o", driver, *sources], check=True)
    subprocess.run([driver], check=True)


# The PROXY protocol


def version_1(client: str) -> bytes:
    return f"PROXY TCP4 {client} 127.0.0.1 4711 80\r\n".encode()


def version_2(client: str) -> bytes:
    addresses = socket.inet_aton(client) + socket.inet_aton("127.0.0.1") + struct.pack(">HH", 4711, 80)
    return b"\r\n\r\n\x00\r\nQUIT\n\x21\x11" + struct.pack(">H", len(addresses)) + addresses


@pytest.mark.parametrize("version", [version_1, version_2])
def test_the_proxy_protocol_names_the_client(
    gateway: Gateway, apps: Apps, port: int, version: Callable[[str], bytes]
) -> None:
    front(gateway, apps, port, proxy_protocol=True)
    seen = sent(port, request(x_forwarded_for="198.51.100.1"), first=version("203.0.113.9")).seen
    assert seen["x-envoy-external-address"] == "203.0.113.9"


@pytest.mark.parametrize(
    "beginning",
    [b"", b"PROXY TCP4 nobody nowhere 1 2\r\n", b"PROXY TCP4 203.0.113.9\r\n", b"PROXY " + b"x" * 200],
)
def test_a_connection_without_that_header_is_refused(
    gateway: Gateway, apps: Apps, port: int, beginning: bytes
) -> None:
    app = apps("a")
    shop = listener(port, Route("r", "a", 100), proxy_protocol=True)
    gateway.apply(Snapshot((shop,), (upstream("a", app),)))
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(beginning + request())
        assert received(connection) == b""
    assert app.asked == []


def received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(100)
    except ConnectionResetError:
        return b""


def test_a_tcp_gateway_takes_that_header_off(gateway: Gateway, apps: Apps, port: int) -> None:
    front(gateway, apps, port, protocol="tcp", proxy_protocol=True)
    assert sent(port, request(), first=version_2("203.0.113.9")).by == "a"


def test_a_load_balancer_may_be_followed_by_trusted_proxies(gateway: Gateway, apps: Apps, port: int) -> None:
    front(gateway, apps, port, proxy_protocol=True, trusted_proxies=TRUSTED)
    told = request(x_forwarded_for="198.51.100.7")
    found = [
        sent(port, told, first=version_1(by)).seen["x-envoy-external-address"]
        for by in ("10.0.0.9", "192.0.2.9")
    ]
    assert found == ["198.51.100.7", "192.0.2.9"]


def test_isolation_goes_by_the_client_that_the_load_balancer_names(
    gateway: Gateway, apps: Apps, port: int
) -> None:
    gateway.release()
    versions = upstream("live", apps("live")), upstream("audited", apps("audited"))
    shop = listener(port, Route("r", "live", 100), isolated=isolated("audited", ADDRESS), proxy_protocol=True)
    gateway.apply(Snapshot((shop,), versions))
    gateway.isolate(ADDRESS, "203.0.113.9")
    found = [sent(port, request(), first=version_1(client)).by for client in ("203.0.113.9", "203.0.113.8")]
    assert found == ["audited", "live"]
