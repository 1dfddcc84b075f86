"""Archives from a client: a member that leaves the directory is stopped, whatever opens the archive."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from divertor_sensor import AttackInterrupted, context
from divertor_sensor.detectors import archive
from divertor_sensor.reports.detection import Detection
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor
from divertor_sensor.work import Work

MakeSensor = Callable[..., Sensor]
#: From 3.14 on, and where asked for, tarfile refuses by itself; here it must not.
TRUSTING: dict[str, Any] = {"filter": "fully_trusted"} if hasattr(tarfile, "data_filter") else {}


def a_request(sensor: Sensor, content: bytes = b"") -> Request:
    """One that uploads `content` as a file."""
    made = Request(
        sensor, lambda: Head("POST", "/", "", {"content-type": "multipart/form-data; boundary=b"}, "")
    )
    head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.zip"\r\n\r\n'
    made.body.record(head + content + b"\r\n--b--\r\n")
    return made


def tar(*members: tuple[str, bytes, str], compression: str = "") -> bytes:
    """An archive of (name, type, target of the link)."""
    raw = io.BytesIO()
    mode: Any = f"w:{compression}"
    with tarfile.open(fileobj=raw, mode=mode) as made:
        for name, kind, link in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link
            member.size = 4 if kind == tarfile.REGTYPE else 0
            made.addfile(member, io.BytesIO(b"text") if member.size else None)
    return raw.getvalue()


def extract_all(raw: bytes, to: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(raw)) as opened:
        opened.extractall(to, **TRUSTING)


def extract_each(raw: bytes, to: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(raw)) as opened:
        for member in opened:
            opened.extract(member, path=to, **TRUSTING)


def extract_stream(raw: bytes, to: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r|*") as opened:
        opened.extractall(path=str(to), **TRUSTING)


def unpack(raw: bytes, to: Path) -> None:
    file = to.parent / "upload.tar"
    file.write_bytes(raw)
    shutil.unpack_archive(file, to, **TRUSTING)


WAYS = {"extractall": extract_all, "extract": extract_each, "stream": extract_stream, "unpack": unpack}
FILE, LINK, HARD = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
ATTACKS: dict[str, tuple[tuple[str, bytes, str], ...]] = {
    "a step up": (("ok", FILE, ""), ("../evil", FILE, "")),
    "two steps up from below": (("a/../../evil", FILE, ""),),
    "an absolute name": (("/nonexistent/evil", FILE, ""),),
    "a hard link to something outside": (("passwd", HARD, "../../etc/passwd"),),
    "through a link": (("out", LINK, "/nonexistent"), ("out/evil", FILE, "")),
    "through two links": (("a", LINK, "/nonexistent"), ("b", LINK, "a"), ("b/evil", FILE, "")),
    "with our own marks in it": (("ok -> a/../../evil", FILE, ""),),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ATTACKS)
def test_a_member_that_leaves_is_stopped(
    way: str, name: str, make_sensor: MakeSensor, kept: list[Detection], tmp_path: Path
) -> None:
    raw, to = tar(*ATTACKS[name]), tmp_path / "in" / "here"
    to.mkdir(parents=True)
    with pytest.raises(AttackInterrupted):
        context.run_in(a_request(make_sensor()), WAYS[way], raw, to)
    assert kept[-1].type == "path_traversal" and kept[-1].signal == "attack"
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("compression", ["", "gz", "xz"])
def test_an_honest_archive_is_extracted(
    way: str, compression: str, make_sensor: MakeSensor, kept: list[Detection], tmp_path: Path
) -> None:
    members = (("a/b", FILE, ""), ("a/c", LINK, "b"), ("d", HARD, "a/b"), ("..x", FILE, ""))
    to = tmp_path / "here"
    to.mkdir()
    context.run_in(a_request(make_sensor()), WAYS[way], tar(*members, compression=compression), to)
    assert (to / "a" / "c").read_text() == "text" and (to / "..x").exists() and kept == []


def test_a_link_that_leads_out_is_reported(
    make_sensor: MakeSensor, kept: list[Detection], tmp_path: Path
) -> None:
    context.run_in(a_request(make_sensor()), extract_all, tar(("out", LINK, "/nonexistent")), tmp_path)
    assert [found.signal for found in kept] == ["vulnerability"] and (tmp_path / "out").is_symlink()


def test_outside_a_request_nothing_is_judged(kept: list[Detection], tmp_path: Path) -> None:
    to = tmp_path / "here"
    to.mkdir()
    extract_all(tar(("../evil", FILE, "")), to)
    assert (tmp_path / "evil").exists() and kept == []


@pytest.mark.skipif(not hasattr(tarfile, "data_filter"), reason="this Python has no filters")
def test_what_a_filter_refuses_or_makes_safe_is_left_alone(
    make_sensor: MakeSensor, kept: list[Detection], tmp_path: Path
) -> None:
    def filtered(raw: bytes) -> None:
        with tarfile.open(fileobj=io.BytesIO(raw)) as opened:
            opened.extractall(tmp_path / "here", filter="data")

    context.run_in(a_request(make_sensor()), filtered, tar(("/inside", FILE, "")))
    with pytest.raises(tarfile.OutsideDestinationError):
        context.run_in(a_request(make_sensor()), filtered, tar(("../evil", FILE, "")))
    assert kept == [] and (tmp_path / "here" / "inside").exists()


def zipped(name: str) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("ok.txt", "text")
        made.writestr(name, "text")
    return raw.getvalue()


def extract_by_hand(raw: bytes, to: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(raw)) as opened:
        for name in opened.namelist():
            with open(f"{to}/{name}", "wb") as file:
                file.write(opened.read(name))


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "../../evil"])
def test_a_zip_archive_extracted_by_hand_is_stopped(
    name: str, make_sensor: MakeSensor, kept: list[Detection], tmp_path: Path
) -> None:
    raw, to = zipped(name), tmp_path / "in" / "here"
    to.mkdir(parents=True)
    with pytest.raises(AttackInterrupted):
        context.run_in(a_request(make_sensor(), raw), extract_by_hand, raw, to)
    assert [found.type for found in kept] == ["path_traversal"]


def test_zipfile_makes_names_safe_by_itself(
    make_sensor: MakeSensor, kept: list[Detection], tmp_path: Path
) -> None:
    def extract(raw: bytes) -> None:
        with zipfile.ZipFile(io.BytesIO(raw)) as opened:
            opened.extractall(tmp_path / "here")

    raw = zipped("../evil")
    context.run_in(a_request(make_sensor(), raw), extract, raw)
    assert (tmp_path / "here" / "evil").exists() and kept == []


def test_an_honest_zip_archive_extracted_by_hand_is_left_alone(
    make_sensor: MakeSensor, kept: list[Detection], tmp_path: Path
) -> None:
    raw = zipped("notes.txt")
    context.run_in(a_request(make_sensor(), raw), extract_by_hand, raw, tmp_path)
    assert (tmp_path / "notes.txt").exists() and kept == []


def test_a_long_name_takes_linear_time() -> None:
    for piece in ("../", "a/", " -> ", " <- "):
        statement = archive.statement_of("/srv", piece * 50_000, piece * 50_000)
        assert archive.judge(statement, [], Work()) is not None
