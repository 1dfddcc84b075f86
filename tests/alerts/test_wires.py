"""Alerters that do not speak HTTP, with real servers on loopback: SMTP, GELF by TCP and UDP, Zabbix, STOMP;
what is signed for Amazon and Tencent; Apprise; alerters of the user's own.
"""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import json
import queue
import random
import re
import socket
import socketserver
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from tests.alerts.test_messengers import deliver, found

from divertor.alerts import Alerters, DeliveryError, aws
from divertor.alerts.contract import Delivery
from divertor.alerts.custom import Custom
from divertor.alerts.email import _mail, envelope_of
from divertor.alerts.gelf import CHUNK, MAX_CHUNKS, datagrams
from divertor.alerts.http import Request
from divertor.alerts.mail import recipients
from divertor.alerts.stomp import frame
from divertor.alerts.tencent_sms import authorization
from divertor.rules import Match, Notification

Matches = Callable[..., Match]


class Nowhere:
    """For alerters that do not use HTTP."""

    url = "http://127.0.0.1:1"


@contextmanager
def serving(handle: Callable[[Any, Any], None]) -> Iterator[int]:
    """A TCP server that treats one connection after the other so; its port."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            handle(self.rfile, self.wfile)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


class Mailbox:
    """An SMTP server: `answers` by command replace the usual ones."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.senders: list[str] = []
        self.recipients: list[str] = []
        self.logins: list[str] = []
        self.mails: list[EmailMessage] = []

    def handle(self, rfile: Any, wfile: Any) -> None:
        wfile.write(b"220 here\r\n")
        for line in iter(rfile.readline, b""):
            command = line.decode().strip()
            verb = command.split(" ")[0].upper()
            wfile.write(self._answer(verb, command, rfile, wfile).encode() + b"\r\n")
            if verb == "QUIT":
                return

    def _answer(self, verb: str, command: str, rfile: Any, wfile: Any) -> str:
        if verb in self.answers:
            return self.answers[verb]
        if verb == "EHLO":
            return "250-here\r\n250 AUTH PLAIN"
        if verb == "AUTH":
            self.logins.append(base64.b64decode(command.split(" ")[2]).decode())
            return "235 fine"
        if verb == "MAIL":
            self.senders.append(command)
        if verb == "RCPT":
            self.recipients.append(re.findall(r"<(.*)>", command)[0])
        if verb == "DATA":
            wfile.write(b"354 go\r\n")
            lines = iter(rfile.readline, b".\r\n")
            content = b"".join(line.removeprefix(b".") if line.startswith(b"..") else line for line in lines)
            made = email.message_from_bytes(content, policy=email.policy.default)
            assert isinstance(made, EmailMessage)
            self.mails.append(made)
        return "221 bye" if verb == "QUIT" else "250 fine"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()
    with serving(box.handle) as port:
        yield box, port


def mail(port: int, **more: Any) -> dict[str, Any]:
    least = {"email": ["a@example.org"], "smtp_host": "127.0.0.1", "smtp_port": port}
    return {**least, "from_addr": "Divertor <d@example.org>", **more}


def test_a_mail_reaches_everybody_once(match: Matches, mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox
    more = mail(
        port, cc="c@example.org", bcc=["b@example.org", "a@example.org"], email_headers={"X-Team": "red"}
    )
    deliver(found(match, "email", **more), Nowhere())
    (made,) = box.mails
    assert box.recipients == ["a@example.org", "c@example.org", "b@example.org"]
    assert (made["to"], made["cc"], made["bcc"]) == ("a@example.org", "c@example.org", None)
    assert (made["subject"], made["reply-to"], made["x-team"]) == ("r", "a@example.org", "red")
    assert "user: eve" in made.get_content()


def test_the_mails_of_an_alarm_are_one_thread(match: Matches, mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox
    (receipt,) = deliver(found(match, "email", **mail(port)), Nowhere())
    deliver(found(match, "email", over=True, **mail(port)), Nowhere(), receipt)
    first, last = box.mails
    assert last["in-reply-to"] == first["message-id"] == last["references"]
    assert last["subject"] == "Resolved: r"


def test_a_repeated_attempt_has_the_same_message_id(match: Matches, mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox
    made = found(match, "email", **mail(port))
    deliver(made, Nowhere())
    deliver(made, Nowhere())
    assert len({one["message-id"] for one in box.mails}) == 1


def test_nothing_in_a_match_adds_a_header_or_a_recipient(
    match: Matches, mailbox: tuple[Mailbox, int]
) -> None:
    box, port = mailbox
    more = mail(port, alert_subject="about {}", alert_subject_args=["evil"], email_from_field="evil")
    evil = "x\r\nBcc: z@example.org\r\n\r\nbody\0\u2028"
    made = match({"evil": evil, "user": "eve"}, alert="email", **more)
    deliver(made, Nowhere())
    (sent,) = box.mails
    assert sent["bcc"] is None and box.recipients == ["a@example.org"]
    assert sent["subject"] == "about x Bcc: z@example.org body"


RECIPIENTS: list[tuple[Any, str, tuple[str, ...]]] = [
    ("eve@example.org", "", ("eve@example.org",)),
    ("eve", "example.org", ("eve@example.org",)),
    ("eve", "@example.org", ("eve@example.org",)),
    ("eve", "", ("w@example.org",)),
    (["a", "b@example.com"], "example.org", ("a@example.org", "b@example.com")),
    ("a@b.org, c@d.org", "", ("w@example.org",)),
    ("a@b.org\nBcc: c", "", ("w@example.org",)),
    ("<a@b.org>", "", ("w@example.org",)),
    (5, "example.org", ("w@example.org",)),
    (None, "example.org", ("w@example.org",)),
]


@pytest.mark.parametrize(("value", "domain", "expected"), RECIPIENTS, ids=range(len(RECIPIENTS)))
def test_a_field_names_plain_addresses_only(
    match: Matches, value: Any, domain: str, expected: tuple[str, ...]
) -> None:
    notification = Notification.of(match({"who": value}))
    assert recipients(notification, ("w@example.org",), "who", domain) == expected


def test_recipients_are_all_there() -> None:
    assert len(RECIPIENTS) == 10


def test_an_html_mail_escapes_values_and_brings_images(
    match: Matches, mailbox: tuple[Mailbox, int], tmp_path: Path
) -> None:
    box, port = mailbox
    (tmp_path / "logo.png").write_bytes(b"\x89PNG")
    images: dict[str, Any] = {
        "email_image_keys": ["logo"],
        "email_image_values": ["logo.png"],
        "assets_dir": str(tmp_path),
    }
    deliver(found(match, "email", **mail(port, email_format="html", **images)), Nowhere())
    (made,) = box.mails
    text, image = made.iter_parts()
    assert "&lt;b&gt;" in text.get_content() and "<b>" not in text.get_content()
    assert (image["content-id"], image.get_content()) == ("<logo>", b"\x89PNG")


def test_a_mail_links_to_the_ticket(match: Matches, mailbox: tuple[Mailbox, int]) -> None:
    _box, port = mailbox
    made = found(match, "email", **mail(port))
    others = {"jira": {"url": "https://jira.example/browse/SEC-7"}}
    delivery = Delivery(Notification.of(made), made.rule.alerts[0].options, "k", None, others)
    sent = _mail(delivery, envelope_of(delivery), datetime(2026, 1, 1, tzinfo=UTC))
    assert "Jira ticket: https://jira.example/browse/SEC-7" in sent.get_content()


def test_an_account_signs_in(match: Matches, mailbox: tuple[Mailbox, int], tmp_path: Path) -> None:
    box, port = mailbox
    account = tmp_path / "account.yaml"
    account.write_text("user: me\npassword: S3CRET\n")
    more = mail(port, smtp_auth_file=str(account))
    deliver(found(match, "email", **more), Nowhere())
    assert box.logins == ["\0me\0S3CRET"]
    box.answers["AUTH"] = "535 no S3CRET"
    with pytest.raises(DeliveryError, match="smtp_auth_file") as caught:
        deliver(found(match, "email", **more), Nowhere())
    assert not caught.value.again and "S3CRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("verb", "answer", "again"),
    [
        ("MAIL", "451 later", True),
        ("MAIL", "553 never", False),
        ("RCPT", "450 busy", True),
        ("RCPT", "550 unknown", False),
        ("DATA", "554 spam", False),
    ],
)
def test_a_server_says_whether_to_try_again(
    match: Matches, mailbox: tuple[Mailbox, int], verb: str, answer: str, again: bool
) -> None:
    box, port = mailbox
    box.answers[verb] = answer
    with pytest.raises(DeliveryError) as caught:
        deliver(found(match, "email", **mail(port)), Nowhere())
    assert caught.value.again is again


def test_encryption_that_must_be_and_is_not_there_is_an_error(
    match: Matches, mailbox: tuple[Mailbox, int]
) -> None:
    box, port = mailbox
    with pytest.raises(DeliveryError):
        deliver(found(match, "email", **mail(port, smtp_starttls="always")), Nowhere())
    assert box.mails == []


def test_gelf_by_tcp_ends_with_a_zero_byte(match: Matches) -> None:
    seen: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    with serving(lambda rfile, _wfile: seen.put(rfile.read())) as port:
        more: dict[str, Any] = {
            "gelf_type": "tcp",
            "gelf_host": "127.0.0.1",
            "gelf_port": port,
            "gelf_endpoint": None,
        }
        deliver(found(match, "gelf", **more), Nowhere())
        told = seen.get(timeout=30)  # the sender waits for no answer, not even for being let in
    assert told.endswith(b"\0") and json.loads(told[:-1])["_who"] == "eve"


def test_gelf_by_udp_arrives(match: Matches) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        more: dict[str, Any] = {
            "gelf_type": "udp",
            "gelf_host": "127.0.0.1",
            "gelf_port": server.getsockname()[1],
        }
        deliver(found(match, "gelf", gelf_endpoint=None, **more), Nowhere())
        assert json.loads(zlib.decompress(server.recv(65536)))["_who"] == "eve"


def test_gelf_chunks_make_the_message() -> None:
    content = b"".join(bytes((byte * 31 % 251,)) * (byte % 7) for byte in range(9000))
    content = zlib.compress(content)[::-1] * 3
    parts = datagrams(content, "key")
    assert len(parts) > 1 and all(len(part) <= CHUNK and part[:2] == b"\x1e\x0f" for part in parts)
    assert [part[10:12] for part in parts] == [bytes((at, len(parts))) for at in range(len(parts))]
    assert zlib.decompress(b"".join(part[12:] for part in parts)) == content
    assert parts == datagrams(content, "key")


def test_gelf_refuses_what_does_not_fit_into_its_chunks() -> None:
    with pytest.raises(DeliveryError, match="too long for GELF"):
        datagrams(random.Random(1).randbytes(CHUNK * MAX_CHUNKS), "key")


def test_gelf_needs_an_address(match: Matches) -> None:
    with pytest.raises(Exception, match="gelf_host"):
        match(alert="gelf", gelf_type="tcp")


def zabbix(seen: list[Any], info: str, response: str = "success") -> Callable[[Any, Any], None]:
    def handle(rfile: Any, wfile: Any) -> None:
        _magic, _flags, length, _reserved = struct.unpack("<4sBII", rfile.read(13))
        seen.append(json.loads(rfile.read(length)))
        said = json.dumps({"response": response, "info": info}).encode()
        wfile.write(struct.pack("<4sBII", b"ZBXD", 1, len(said), 0) + said)

    return handle


def test_zabbix_gets_one_and_then_zero(match: Matches) -> None:
    seen: list[Any] = []
    with serving(zabbix(seen, "processed: 1; failed: 0; total: 1")) as port:
        more: dict[str, Any] = {
            "zbx_sender_host": "127.0.0.1",
            "zbx_sender_port": port,
            "zbx_host": "web",
            "zbx_key": "attack",
        }
        deliver(found(match, "zabbix", **more), Nowhere())
        deliver(found(match, "zabbix", over=True, **more), Nowhere())
    values = [(one["data"][0]["host"], one["data"][0]["value"]) for one in seen]
    assert values == [("web", "1"), ("web", "0")] and seen[0]["request"] == "sender data"


def test_zabbix_says_when_it_does_not_know_the_item(match: Matches) -> None:
    with serving(zabbix([], "processed: 0; failed: 1; total: 1")) as port:
        more: dict[str, Any] = {
            "zbx_sender_host": "127.0.0.1",
            "zbx_sender_port": port,
            "zbx_host": "user",
            "zbx_key": "k",
        }
        with pytest.raises(DeliveryError, match="does not know") as caught:
            deliver(found(match, "zabbix", zbx_host_from_field=True, **more), Nowhere())
    assert caught.value.again


def broker(seen: list[bytes], receipt: bytes) -> Callable[[Any, Any], None]:
    def read(rfile: Any) -> bytes:
        return b"".join(iter(lambda: rfile.read(1), b"\0"))

    def handle(rfile: Any, wfile: Any) -> None:
        seen.append(read(rfile))
        wfile.write(b"CONNECTED\nversion:1.2\n\n\0\n")
        seen.append(read(rfile))
        wfile.write(receipt + b"\n\n\0")
        rfile.read()

    return handle


def stomp(port: int) -> dict[str, Any]:
    login = {"stomp_login": "me", "stomp_password": "S3CRET"}
    return {"stomp_hostname": "127.0.0.1", "stomp_hostport": str(port), **login}


def test_stomp_waits_for_the_receipt(match: Matches) -> None:
    seen: list[bytes] = []
    with serving(broker(seen, b"RECEIPT\nreceipt-id:sent")) as port:
        deliver(found(match, "stomp", **stomp(port)), Nowhere())
    head, _, content = seen[1].partition(b"\n\n")
    assert b"passcode:S3CRET" in seen[0] and b"destination:/queue/ALERT" in head
    said = json.loads(content)
    assert (said["rule"], said["status"], said["matches"][0]["user"]) == ("r", "firing", "eve")


def test_stomp_tells_a_refusal_without_the_brokers_words(match: Matches) -> None:
    with serving(broker([], b"ERROR\nmessage:S3CRET")) as port, pytest.raises(DeliveryError) as caught:
        deliver(found(match, "stomp", **stomp(port)), Nowhere())
    assert "S3CRET" not in str(caught.value)


def test_a_stomp_header_cannot_end_early() -> None:
    assert frame("SEND", {"destination": "/q\nx:y"}) == b"SEND\ndestination:/q\\nx\\cy\n\n\0"


@pytest.mark.parametrize("name", ["zabbix", "stomp", "gelf", "email"])
def test_a_server_that_is_not_there_is_tried_again(match: Matches, name: str) -> None:
    port = 1
    options: dict[str, dict[str, Any]] = {
        "zabbix": {"zbx_sender_host": "127.0.0.1", "zbx_sender_port": port, "zbx_host": "h", "zbx_key": "k"},
        "stomp": stomp(port),
        "gelf": {"gelf_type": "tcp", "gelf_host": "127.0.0.1", "gelf_port": port, "gelf_endpoint": None},
        "email": mail(port),
    }
    with pytest.raises(DeliveryError) as caught:
        deliver(found(match, name, **options[name]), Nowhere())
    assert caught.value.again


THEN = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
KEYS = aws.Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")

#: Amazon's published examples: service, request, signature.
SIGNED: list[tuple[str, Request, str]] = [
    (
        "service",
        Request("https://example.amazonaws.com/", method="GET"),
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    (
        "service",
        Request("https://example.amazonaws.com/"),
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    (
        "iam",
        Request(
            "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08",
            method="GET",
            headers={"content-type": "application/x-www-form-urlencoded; charset=utf-8"},
        ),
        "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
    ),
]


@pytest.mark.parametrize(("service", "request_", "signature"), SIGNED, ids=range(len(SIGNED)))
def test_requests_are_signed_as_amazon_publishes(service: str, request_: Request, signature: str) -> None:
    made = aws.Signer(KEYS, "us-east-1", service, lambda: THEN).signed(request_)
    assert (made.headers or {})["authorization"].endswith(f"Signature={signature}")
    assert len(SIGNED) == 3


def options_of_aws(**more: str) -> dict[str, str]:
    none = dict.fromkeys(("sns_aws_access_key_id", "sns_aws_secret_access_key", "sns_aws_profile"), "")
    return {**none, **more}


def test_credentials_are_looked_for_where_amazons_tools_do(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("[work]\naws_access_key_id = A\naws_secret_access_key = B\naws_session_token = T\n")
    environment = {"AWS_SHARED_CREDENTIALS_FILE": str(file), "AWS_ACCESS_KEY_ID": "E"}
    environment["AWS_SECRET_ACCESS_KEY"] = "F"
    own = options_of_aws(sns_aws_access_key_id="O", sns_aws_secret_access_key="P")
    assert aws.credentials(own, "sns", environment) == aws.Credentials("O", "P")
    assert aws.credentials(options_of_aws(), "sns", environment) == aws.Credentials("E", "F")
    profile = options_of_aws(sns_aws_profile="work")
    assert aws.credentials(profile, "sns", environment) == aws.Credentials("A", "B", "T")
    with pytest.raises(DeliveryError, match="no credentials"):
        aws.credentials(options_of_aws(sns_aws_profile="other"), "sns", environment)


def test_a_tencent_signature_depends_on_day_key_and_content() -> None:
    made = authorization("id", "key", b"{}", THEN)
    assert made.startswith("TC3-HMAC-SHA256 Credential=id/2015-08-30/sms/tc3_request, SignedHeaders=")
    others = {authorization("id", "key", b"{ }", THEN), authorization("id", "other", b"{}", THEN)}
    assert len({made, *others}) == 3


#: Of a standard module that Apprise imports.
APPRISES = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


@APPRISES
def test_apprise_opens_every_service_it_knows(match: Matches, webhook: Any) -> None:
    address = webhook.url.replace("http://", "json://")
    deliver(found(match, "apprise", apprise=[address, address]), Nowhere())
    assert [one["title"] for one in webhook.payloads] == ["r", "r"]
    assert "user: eve" in webhook.payloads[0]["message"] and webhook.payloads[0]["type"] == "failure"


@APPRISES
def test_apprise_keeps_addresses_to_itself(match: Matches, webhook: Any) -> None:
    webhook.answers = [500]
    made = found(match, "apprise", apprise=webhook.url.replace("http://", "json://me:S3CRET@"))
    with pytest.raises(DeliveryError) as caught:
        deliver(made, Nowhere())
    assert caught.value.again and "S3CRET" not in str(caught.value)
    with pytest.raises(Exception, match="no address of a service") as refused:
        match(alert="apprise", apprise="S3CRET")
    assert "S3CRET" not in str(refused.value)


@APPRISES
def test_apprise_says_when_it_does_not_know_a_service(match: Matches) -> None:
    with pytest.raises(DeliveryError, match="does not know") as caught:
        deliver(found(match, "apprise", apprise="nosuchservice://x"), Nowhere())
    assert not caught.value.again


class Own:
    """An alerter of a user's, with ElastAlert's interface."""

    required_options = frozenset({"own_file"})

    def __init__(self, rule: dict[str, Any]) -> None:
        self.rule = rule
        self.pipeline: Any = None

    def alert(self, matches: list[dict[str, Any]]) -> None:
        if self.rule.get("own_fails"):
            raise RuntimeError("S3CRET")
        said = {"matches": matches, "name": self.rule["name"], "title": self.create_title(matches)}  # type: ignore[attr-defined]
        Path(self.rule["own_file"]).write_text(json.dumps(said))

    def get_info(self) -> dict[str, Any]:
        return {"type": "own"}


PATH = f"{__name__}.Own"


def send_own(found: Match) -> Any:
    alerter = Alerters()[PATH]
    assert isinstance(alerter, Custom)
    return asyncio.run(alerter.deliver(Delivery(Notification.of(found), found.rule.alerts[0].options, "k")))


def test_an_alerter_of_ones_own_gets_the_rule_and_the_matches(match: Matches, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = match({"user": "eve"}, alert=PATH, own_file=str(out))
    assert send_own(made) == {"type": "own"}
    said = json.loads(out.read_text())
    assert (said["name"], said["title"], said["matches"][0]["user"]) == ("r", "r", "eve")


def test_an_alerter_of_ones_own_is_contained(match: Matches, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    with pytest.raises(DeliveryError, match="needs own_file"):
        send_own(match(alert=PATH))
    with pytest.raises(DeliveryError, match="RuntimeError") as caught:
        send_own(match(alert=[{PATH: {"own_file": out, "own_fails": True}}]))
    assert caught.value.again and "S3CRET" not in str(caught.value)
    gone = match(alert="no.such.Alerter")
    with pytest.raises(DeliveryError, match="cannot be imported"):
        asyncio.run(Custom("no.such.Alerter").deliver(Delivery(Notification.of(gone), {}, "k")))


WRITTEN = """
from elastalert.alerts import Alerter, BasicMatchString

class Theirs(Alerter):
    required_options = set(["output_file_path"])

    def alert(self, matches):
        for match in matches:
            with open(self.rule["output_file_path"], "a") as file:
                file.write(self.create_title(matches) + str(BasicMatchString(self.rule, match)))

    def get_info(self):
        return {"type": "theirs"}
"""


def test_an_alerter_that_was_written_for_elastalert_runs(
    match: Matches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "written_for_it.py").write_text(WRITTEN)
    monkeypatch.syspath_prepend(tmp_path)
    out = tmp_path / "out"
    made = match({"user": "eve"}, alert="written_for_it.Theirs", output_file_path=str(out))
    delivery = Delivery(Notification.of(made), made.rule.alerts[0].options, "k")
    assert asyncio.run(Custom("written_for_it.Theirs").deliver(delivery)) == {"type": "theirs"}
    assert "user: eve\n" in out.read_text()


def test_jira_goes_first_whatever_the_order(match: Matches) -> None:
    jira = {"jira_server": "http://j", "jira_account_file": "a", "jira_project": "P", "jira_issuetype": "T"}
    made = match(alert=["debug", {"jira": jira}, {"post": {"http_post_url": "http://p"}}])
    assert [alert.name for alert in made.rule.alerts] == ["jira", "debug", "post"]
