"""Runs one statement through psycopg inside a request, in a process of its own: which implementation psycopg
takes is settled when it is imported. Arguments: the server's directory and port, the request's input, the
statement. Prints the implementation and the number of users once the statement was interrupted.
"""

from __future__ import annotations

import sys
from typing import Any

from divertor_sensor import AttackInterrupted, context, sinks
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor
from divertor_sensor.settings import Mode, Settings


class Unheard:
    def submit(self, report: Any) -> None:
        pass


def main(directory: str, port: str, value: str, statement: str) -> None:
    sinks.instrument()
    import psycopg

    sensor = Sensor(Settings(mode=Mode.BLOCK, strict=True), Unheard())
    request = Request(sensor, lambda: Head("GET", "/", "", {}, ""))
    request.body.record(value.encode())
    with psycopg.connect(host=directory, port=int(port), user="tests", dbname="postgres") as db:
        try:
            context.run_in(request, lambda: db.execute(statement.encode()))
        except AttackInterrupted:
            print(psycopg.pq.__impl__, len(db.execute("select name from users").fetchall()))


if __name__ == "__main__":
    main(*sys.argv[1:])
