"""Operators brought into pymongo's documents: the real driver, which gets no server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pymongo
import pytest
from bson import SON, Code, ObjectId
from pymongo import AsyncMongoClient, DeleteOne, MongoClient, UpdateOne
from pymongo.errors import ServerSelectionTimeoutError

from divertor_sensor import AttackInterrupted, context
from divertor_sensor.reports.detection import Detection
from divertor_sensor.request import Head, Request
from divertor_sensor.sensor import Sensor

MakeSensor = Callable[..., Sensor]
#: Nobody listens there, and nobody waits for it.
URL = "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=1&directConnection=true"
EVIL: dict[str, Any] = {"$ne": ""}


@pytest.fixture
def users() -> Iterator[Any]:
    with MongoClient[Any](URL, connect=False) as client:
        yield client["shop"]["users"]


def asking(sensor: Sensor, body: str, content_type: str = "application/json", query: str = "") -> Request:
    head = Head("POST", "/", query, {"content-type": content_type}, "")
    made = Request(sensor, lambda: head)
    made.body.record(body.encode())
    return made


def login(sensor: Sensor) -> Request:
    return asking(sensor, json.dumps({"user": "admin", "password": EVIL}))


FILTER = {"user": "admin", "password": EVIL}
CALLS: dict[str, Callable[[Any], Any]] = {
    "find": lambda users: users.find(FILTER),
    "find by name": lambda users: users.find(filter=FILTER),
    "find_one": lambda users: users.find_one(FILTER),
    "find_raw_batches": lambda users: users.find_raw_batches(FILTER),
    "find_one_and_delete": lambda users: users.find_one_and_delete(FILTER),
    "find_one_and_replace": lambda users: users.find_one_and_replace(FILTER, {"a": 1}),
    "find_one_and_update": lambda users: users.find_one_and_update(FILTER, {"$set": {"a": 1}}),
    "count_documents": lambda users: users.count_documents(FILTER),
    "distinct": lambda users: users.distinct("name", FILTER),
    "distinct by name": lambda users: users.distinct(filter=FILTER, key="name"),
    "update_one": lambda users: users.update_one(FILTER, {"$set": {"a": 1}}),
    "update_many": lambda users: users.update_many({"a": 1}, {"$set": {"a": EVIL}}),
    "replace_one": lambda users: users.replace_one(FILTER, {"a": 1}),
    "delete_one": lambda users: users.delete_one(FILTER),
    "delete_many": lambda users: users.delete_many(filter=FILTER),
    "aggregate": lambda users: users.aggregate([{"$match": FILTER}]),
    "aggregate_raw_batches": lambda users: users.aggregate_raw_batches(pipeline=[{"$match": FILTER}]),
    "watch": lambda users: users.watch([{"$match": FILTER}]),
    "bulk_write": lambda users: users.bulk_write([DeleteOne({"a": 1}), DeleteOne(FILTER)]),
    "bulk_write update": lambda users: users.bulk_write([UpdateOne({"a": 1}, {"$set": {"a": EVIL}})]),
    "command": lambda users: users.database.command({"find": "users", "filter": FILTER}),
    "an ordered document": lambda users: users.find_one(SON([("user", ObjectId()), ("password", EVIL)])),
    "beside the app's own": lambda users: users.find({"$or": [FILTER, {"age": {"$gt": 3}}]}),
    "within the app's own": lambda users: users.find({"password": {**EVIL, "$exists": True}}),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_operator_from_a_request_is_stopped(
    name: str, users: Any, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    with pytest.raises(AttackInterrupted):
        context.run_in(login(make_sensor()), CALLS[name], users)
    assert [found.type for found in kept] == ["nosql_injection"] and '"$ne":""' in kept[0].statement


REQUESTS: dict[str, Callable[[Sensor], Request]] = {
    "json": login,
    "brackets in a form": lambda sensor: asking(
        sensor, "user=admin&password[$ne]=", "application/x-www-form-urlencoded"
    ),
    "encoded brackets": lambda sensor: asking(
        sensor, "user=admin&password%5B%24ne%5D=", "application/x-www-form-urlencoded"
    ),
    "brackets in the query": lambda sensor: asking(sensor, "", query="password[$ne]="),
    "json in a parameter": lambda sensor: asking(sensor, "", query="password=%7B%22%24ne%22%3A%22%22%7D"),
    "json in json": lambda sensor: asking(sensor, json.dumps({"password": json.dumps(EVIL)})),
    "spaced json": lambda sensor: asking(sensor, '{ "password" : {\n "\\u0024ne" : "" } }'),
    "json in a list": lambda sensor: asking(sensor, json.dumps([[{"x": [EVIL]}]])),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_it_does_not_matter_how_the_operator_was_written(
    name: str, users: Any, make_sensor: MakeSensor
) -> None:
    with pytest.raises(AttackInterrupted):
        context.run_in(REQUESTS[name](make_sensor()), users.find_one, FILTER)


BENIGN: dict[str, Any] = {
    "an equality": {"user": "admin", "password": "secret"},
    "the app's own operator": {"user": "admin", "age": {"$gt": 18}},
    "a text that looks like an operator": {"user": json.dumps(EVIL), "age": {"$gt": 18}},
    "nothing": None,
    "an id": ObjectId(),
}


@pytest.mark.parametrize("name", BENIGN)
def test_what_holds_no_operator_of_the_request_goes_on(
    name: str, users: Any, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    with pytest.raises(ServerSelectionTimeoutError):
        context.run_in(login(make_sensor()), users.find_one, BENIGN[name])
    assert kept == []


def test_a_value_of_an_operator_is_the_requests_to_fill(
    users: Any, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    made = asking(make_sensor(), json.dumps({"min": 18, "names": ["a", "$gt"]}))
    with pytest.raises(ServerSelectionTimeoutError):
        context.run_in(made, users.find_one, {"age": {"$gte": 18}, "name": {"$in": ["a", "$gt"]}})
    assert kept == []


def test_outside_a_request_an_operator_is_left_alone(users: Any, kept: list[Detection]) -> None:
    with pytest.raises(ServerSelectionTimeoutError):
        users.find_one(FILTER)
    assert kept == []


SCRIPTS: dict[str, Callable[[Any, str], Any]] = {
    "where": lambda users, code: users.find({"$where": code}),
    "where of a cursor": lambda users, code: users.find().where(code),
    "Code": lambda users, code: users.find({"$where": Code(code)}),
    "function": lambda users, code: users.aggregate(
        [{"$project": {"x": {"$function": {"body": code, "args": [], "lang": "js"}}}}]
    ),
    "mapReduce": lambda users, code: users.database.command(
        {"mapReduce": "users", "map": code, "reduce": "f"}
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_that_an_input_goes_on_in_is_stopped(
    name: str, users: Any, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    value = "' || '1'=='1"
    with pytest.raises(AttackInterrupted):
        made = asking(make_sensor(), value, "text/plain")
        context.run_in(made, SCRIPTS[name], users, f"this.name == '{value}'")
    assert [found.statement for found in kept] == [f"this.name == '{value}'"]


def test_a_text_in_a_script_of_the_app_stays_text(
    users: Any, make_sensor: MakeSensor, kept: list[Detection]
) -> None:
    made = asking(make_sensor(), json.dumps({"name": "a || b", "body": "x'; y"}))
    context.run_in(made, users.find, {"$where": "this.name == 'a || b'", "body": "x'; y"})
    assert kept == []


def test_the_async_client_is_guarded(make_sensor: MakeSensor, kept: list[Detection]) -> None:
    async def ask() -> None:
        async with AsyncMongoClient[Any](URL, connect=False) as client:
            await client["shop"]["users"].find_one(FILTER)

    with pytest.raises(AttackInterrupted):
        context.run_in(login(make_sensor()), asyncio.run, ask())
    assert [found.sink for found in kept] == ["pymongo.AsyncCollection.find_one"]


@pytest.mark.parametrize("call", ["find_one", "count_documents", "delete_many"])
def test_motor_is_guarded(call: str, make_sensor: MakeSensor, kept: list[Detection]) -> None:
    # Imported here, as it takes pymongo's methods for its own when it is: the sensor comes first.
    import motor.motor_asyncio  # type: ignore[import-untyped, unused-ignore]

    async def ask() -> None:
        client: Any = motor.motor_asyncio.AsyncIOMotorClient(URL, connect=False)
        try:
            await getattr(client["shop"]["users"], call)(FILTER)
        finally:
            client.close()

    with pytest.raises(AttackInterrupted):
        context.run_in(login(make_sensor()), asyncio.run, ask())
    assert [found.type for found in kept] == ["nosql_injection"]


def test_every_method_of_a_collection_that_takes_a_filter_is_tried() -> None:
    assert len(CALLS) == 24 and len(REQUESTS) == 8 and len(BENIGN) == 5 and len(SCRIPTS) == 5
    assert pymongo.version_tuple[:2] >= (4, 9)
