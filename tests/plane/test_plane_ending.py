"""How long-lived processes end: in order, or within their bound, whatever they wait for."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from divertor.plane import ending

#: What a process of the tests does: %s is its work. It says when it is at work.
PROGRAM = """
import asyncio, logging, sys, threading, time
from divertor.errors import UnavailableError
from divertor.plane import ending
logging.basicConfig(level=logging.INFO, format="%(message)s")

async def work():
    print("at work", flush=True)
{work}

sys.exit(ending.run(work, patience={patience}))
"""
STUBBORN = """
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            print("no", flush=True)
"""
BUSY = """
    while True:
        pass
"""
ORDERLY = """
    try:
        await asyncio.Event().wait()
    finally:
        print("in order", flush=True)
"""
THREAD = """
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    await asyncio.to_thread(threading.Event().wait)
"""
FAULT = """
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
    raise UnavailableError("no broker")
"""
FAILING = """
    try:
        await asyncio.Event().wait()
    finally:
        raise ExceptionGroup("parts", [UnavailableError("no broker")])
"""
FLOOD = """
    import os
    os.set_blocking(2, False)
    try:
        while True:
            os.write(2, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(2, True)
    print("full", flush=True)
"""


@contextmanager
def at_work(work: str, patience: float = 60.0) -> Iterator[subprocess.Popen[str]]:
    program = PROGRAM.replace("{work}", work).replace("{patience}", str(patience))
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "at work\n"
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit status and the last line that it logged."""
    _out, errors = process.communicate(timeout=30)
    return process.returncode, errors.strip().splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_told_to_end_ends_in_order_and_says_so(number: signal.Signals) -> None:
    with at_work(ORDERLY) as process:
        process.send_signal(number)
        assert ended(process) == (0, f"{number.name}: ended in order")


def test_a_second_signal_ends_at_once() -> None:
    with at_work(STUBBORN) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None and process.stdout.readline() == "no\n"
        process.send_signal(signal.SIGINT)
        status, last = ended(process)
    assert status == 128 + signal.SIGINT
    assert last.endswith("SIGINT came a second time: cut short")


@pytest.mark.parametrize("work", [STUBBORN, BUSY], ids=["cancellation", "loop"])
def test_what_does_not_heed_the_signal_is_cut_short_in_time(work: str) -> None:
    with at_work(work, patience=0.2) as process:
        process.send_signal(signal.SIGTERM)
        status, last = ended(process)
    assert status == 128 + signal.SIGTERM
    assert "not ended within 0.2 s" in last and last.endswith("cut short")


def test_what_was_waited_for_is_named_by_its_place() -> None:
    with at_work(STUBBORN, patience=0.2) as process:
        process.send_signal(signal.SIGTERM)
        assert "waiting in " in ended(process)[1]


def test_a_thread_that_hangs_is_not_waited_for() -> None:
    with at_work(THREAD, patience=0.2) as process:
        process.send_signal(signal.SIGTERM)
        status, last = ended(process)
    assert status == 0 and "SIGTERM: ended in order, without waiting" in last


def test_a_thread_that_hangs_does_not_hide_why_the_work_failed() -> None:
    with at_work(FAULT, patience=0.2) as process:
        status, last = ended(process)
    assert status == 1 and "no broker" in last


def test_what_fails_while_it_ends_is_told_and_is_an_error() -> None:
    with at_work(FAILING) as process:
        process.send_signal(signal.SIGTERM)
        assert ended(process) == (1, "divertor: no broker")


def test_a_full_pipe_that_nobody_reads_does_not_delay_the_end() -> None:
    with at_work(FLOOD + STUBBORN, patience=0.2) as process:
        assert process.stdout is not None and process.stdout.readline() == "full\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM


def test_the_handlers_of_whoever_runs_it_are_back_afterwards() -> None:
    async def nothing() -> None:
        """Ends at once."""

    before = signal.getsignal(signal.SIGTERM)
    assert ending.run(nothing) == 0
    assert signal.getsignal(signal.SIGTERM) is before
