"""What a Django app does with a database, in and out of a request. test_sensor_drivers_orms.py runs it as a
program, with a JSON object that tells what to connect to, and reads how each way ended.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from divertor_sensor import AttackInterrupted, context, sinks
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor
from divertor_sensor.settings import Mode, Settings


class Unheard:
    def submit(self, report: Any) -> None:
        pass


def database(task: dict[str, Any]) -> dict[str, Any]:
    if task["driver"].startswith("psycopg"):
        where = {"NAME": "postgres", "USER": "tests", "HOST": task["directory"], "PORT": task["port"]}
        return {"ENGINE": "django.db.backends.postgresql", **where}
    where = {"NAME": "tests", "USER": "root", "OPTIONS": {"unix_socket": task["socket"]}}
    return {"ENGINE": "django.db.backends.mysql", **where}


def choose(name: str) -> None:
    """Django takes the driver that it can import."""
    if name == "psycopg2":
        sys.modules["psycopg"] = None  # type: ignore[assignment]
    if name == "pymysql":
        import pymysql  # type: ignore[import-untyped, unused-ignore]

        pymysql.install_as_MySQLdb()


def main(task: dict[str, Any]) -> dict[str, Any]:
    sinks.instrument()
    choose(task["driver"])
    import django  # type: ignore[import-untyped, unused-ignore]
    from django.conf import settings  # type: ignore[import-untyped, unused-ignore]

    settings.configure(DATABASES={"default": database(task)}, DEFAULT_AUTO_FIELD="django.db.models.AutoField")
    django.setup()
    from django.db import connection, models, transaction  # type: ignore[import-untyped, unused-ignore]

    class User(models.Model):  # type: ignore[misc, unused-ignore]
        name = models.CharField(max_length=400)

        class Meta:
            app_label = "shop"
            db_table = "users"

    attack, honest = task["attack"], task["honest"]
    sensor = Sensor(Settings(mode=Mode.BLOCK, strict=True), Unheard())

    def ending(value: str, call: Callable[[], Any]) -> Any:
        request = Request(sensor, lambda: Head("GET", "/", "", {}, ""))
        request.body.record(value.encode())
        try:
            return context.run_in(request, call)
        except AttackInterrupted:
            return "interrupted"

    def find(value: str) -> str:
        return f"select id, name from users where name = '{value}'"

    def in_cursor() -> Any:
        with connection.cursor() as cursor:
            cursor.execute(find(attack))

    def in_transactions() -> Any:
        with transaction.atomic():
            User.objects.filter(id=1).delete()
            with transaction.atomic():
                list(User.objects.raw(find(attack)))

    return {
        "filter": ending(attack, lambda: list(User.objects.filter(name=attack))),
        "bound raw": ending(
            attack, lambda: list(User.objects.raw("select id, name from users where name = %s", [attack]))
        ),
        "raw": ending(attack, lambda: list(User.objects.raw(find(attack)))),
        "extra": ending(attack, lambda: list(User.objects.extra(where=[f"name = '{attack}'"]))),
        "cursor": ending(attack, in_cursor),
        "in a transaction": ending(attack, in_transactions),
        "afterwards": User.objects.count(),
        "honest raw": ending(honest, lambda: list(User.objects.raw(find(honest)))),
        "outside": len(list(User.objects.raw(find(attack)))),
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
