"""MongoDB sinks: the filters, updates and pipelines that pymongo's collections are given, sync and async.

They are looked at where the app hands them over, before a server is chosen. motor goes through the same
methods. Only documents with operators are judged, and the JavaScript in them as well.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

from divertor_sensor import context
from divertor_sensor.detectors.nosql import DETECTOR, DOCUMENT, canonical
from divertor_sensor.guard import check
from divertor_sensor.patching import integrate, wrap
from divertor_sensor.request import Request

#: The methods of a collection, and what of theirs an operator could be brought into: (position, name).
_FILTER, _UPDATE, _PIPELINE = (0, "filter"), (1, "update"), (0, "pipeline")
_METHODS: dict[str, tuple[tuple[int, str], ...]] = {
    "find": (_FILTER,),
    "find_one": (_FILTER,),
    "find_raw_batches": (_FILTER,),
    "find_one_and_delete": (_FILTER,),
    "find_one_and_replace": (_FILTER,),
    "find_one_and_update": (_FILTER, _UPDATE),
    "count_documents": (_FILTER,),
    "distinct": ((1, "filter"),),
    "update_one": (_FILTER, _UPDATE),
    "update_many": (_FILTER, _UPDATE),
    "replace_one": (_FILTER,),
    "delete_one": (_FILTER,),
    "delete_many": (_FILTER,),
    "aggregate": (_PIPELINE,),
    "aggregate_raw_batches": (_PIPELINE,),
    "watch": (_PIPELINE,),
}
#: Which members of an operator (or of a command) are JavaScript.
_CODE_OF = {
    "$function": ("body",),
    "$accumulator": ("init", "accumulate", "merge", "finalize"),
    "mapReduce": ("map", "reduce", "finalize"),
}
_HOLDS_CODE = ('"$where"', '"$function"', '"$accumulator"', '"mapReduce"')
_MAX_NODES = 2048
_MAX_OPERATIONS = 1000


def instrument() -> None:
    """Patch pymongo's collections, databases and cursors once it is imported."""
    integrate("sink", "MongoDB", "pymongo", _patch)


def _patch(package: ModuleType) -> None:
    """The classes are in two flavours from version 4.9 on; before, in the modules that now pass them on."""
    for place, prefix in (("synchronous.", ""), ("asynchronous.", "Async"), ("", "")):
        collections = _module_of(f"{place}collection", f"{prefix}Collection")
        if collections is not None:
            _patch_collections(collections, f"{prefix}Collection")
        databases = _module_of(f"{place}database", f"{prefix}Database")
        if databases is not None:
            _patch_databases(databases, f"{prefix}Database")
        cursors = _module_of(f"{place}cursor", f"{prefix}Cursor")
        if cursors is not None:
            wrap(cursors, f"{prefix}Cursor.where", _judging_where(f"pymongo.{prefix}Cursor.where"))
    shared = _module_of("cursor_shared", "_AgnosticCursor")
    if shared is not None:
        wrap(shared, "_AgnosticCursor.where", _judging_where("pymongo.Cursor.where"))


def _module_of(name: str, owner: str) -> ModuleType | None:
    """The module of that name in which the class `owner` is made, not merely passed on."""
    module = sys.modules.get(f"pymongo.{name}")
    found = getattr(module, owner, None)
    return module if found is not None and found.__module__ == f"pymongo.{name}" else None


def _patch_collections(module: ModuleType, owner: str) -> None:
    for name, places in _METHODS.items():
        wrap(module, f"{owner}.{name}", _judging(f"pymongo.{owner}.{name}", places))
    wrap(module, f"{owner}.bulk_write", _judging_bulk(f"pymongo.{owner}.bulk_write"))


def _patch_databases(module: ModuleType, owner: str) -> None:
    wrap(module, f"{owner}.command", _judging(f"pymongo.{owner}.command", ((0, "command"),)))
    wrap(module, f"{owner}.aggregate", _judging(f"pymongo.{owner}.aggregate", (_PIPELINE,)))


def _judging(sink: str, places: tuple[tuple[int, str], ...]) -> Callable[..., Any]:
    def wrapper(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        request = context.current.get()
        if request is not None:
            for position, name in places:
                document = args[position] if len(args) > position else kwargs.get(name)
                _judge_document(request, sink, document)
        return wrapped(*args, **kwargs)

    return wrapper


def _judging_bulk(sink: str) -> Callable[..., Any]:
    def wrapper(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        request = context.current.get()
        operations = args[0] if args else kwargs.get("requests")
        if request is not None and isinstance(operations, (list, tuple)):
            for operation in operations[:_MAX_OPERATIONS]:
                _judge_document(request, sink, getattr(operation, "_filter", None))
                _judge_document(request, sink, getattr(operation, "_doc", None))
        return wrapped(*args, **kwargs)

    return wrapper


def _judging_where(sink: str) -> Callable[..., Any]:
    def wrapper(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        request = context.current.get()
        code = args[0] if args else kwargs.get("code")
        if request is not None and isinstance(code, str):
            check(request, DETECTOR, sink, code)
        return wrapped(*args, **kwargs)

    return wrapper


def _judge_document(request: Request, sink: str, document: Any) -> None:
    if document is None or isinstance(document, (str, int, float)):
        return
    statement, scripts = "", []
    try:
        statement = canonical(document)
        if any(name in statement for name in _HOLDS_CODE):
            scripts = list(_scripts(document))
    except RecursionError:
        return  # no database takes it either
    except Exception as problem:
        request.sensor.faults.contain("MongoDB documents", problem)
    if '"$' in statement:
        check(request, DETECTOR, sink, DOCUMENT + statement, 4)
    for script in scripts:
        check(request, DETECTOR, sink, script, 4)


def _scripts(document: Any) -> Iterator[str]:
    """The JavaScript in a document."""
    waiting = [document]
    for _ in range(_MAX_NODES):
        if not waiting:
            return
        node = waiting.pop()
        if isinstance(node, Mapping):
            yield from _scripts_of(node)
            waiting += node.values()
        elif isinstance(node, (list, tuple)):
            waiting += node


def _scripts_of(node: Mapping[Any, Any]) -> Iterator[str]:
    if isinstance(node.get("$where"), str):
        yield str(node["$where"])
    for operator, members in _CODE_OF.items():
        holder = node if operator == "mapReduce" else node.get(operator)
        if operator in node and isinstance(holder, Mapping):
            yield from (str(holder[name]) for name in members if isinstance(holder.get(name), str))
