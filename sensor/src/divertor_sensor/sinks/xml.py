"""XML sinks: what a parser is about to fetch for a document, and documents that grow.

lxml asks its resolvers just before it fetches anything: while a request that brought a document with
declarations is parsing, one of ours is among them, and decides and declines. Python's own SAX reader calls a
method of its own, and only fetches when the app switched that on. `xml.etree` and minidom fetch nothing; like
the others' `fromstring` they are looked at for entities that expand. Not guarded: lxml's `iterparse` and the
feed interface of its parsers.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from divertor_sensor import context
from divertor_sensor.detectors.xml import DETECTOR, FETCHES, declares
from divertor_sensor.guard import check
from divertor_sensor.patching import Wrapper, integrate, share, wrap
from divertor_sensor.request import Request


def instrument() -> None:
    """Patch the parsers of lxml and of the standard library."""
    integrate("sink", "lxml", "lxml.etree", _patch_lxml)
    integrate("sink", "SAX", "xml.sax.expatreader", _patch_expatreader)
    integrate("sink", "SAX", "xml.sax", _patcher("parseString", "string"))
    integrate("sink", "ElementTree", "xml.etree.ElementTree", _patch_elementtree)
    integrate("sink", "minidom", "xml.dom.minidom", _patcher("parseString", "string"))
    integrate("sink", "pulldom", "xml.dom.pulldom", _patcher("parseString", "string"))


def _patcher(function: str, parameter: str) -> Callable[[ModuleType], None]:
    return lambda module: wrap(module, function, _document(f"{module.__name__}.{function}", parameter))


def _patch_elementtree(module: ModuleType) -> None:
    wrap(module, "XML", _document("xml.etree.ElementTree.fromstring", "text"))
    share(module, "fromstring", module.__dict__["XML"])


def _document(sink: str, parameter: str) -> Wrapper:
    """A wrapper that looks at the document in the first argument, by position or as `parameter`."""

    def wrapper(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        request = context.current.get()
        if request is not None:
            text = _declaring(args[0] if args else kwargs.get(parameter))
            if text is not None:
                check(request, DETECTOR, sink, text)
        return wrapped(*args, **kwargs)

    return wrapper


def _declaring(document: object) -> str | None:
    """A document's text when it declares anything; None for the many that do not."""
    if isinstance(document, (bytes, bytearray)):
        document = bytes(document).replace(b"\0", b"").decode("utf-8", "replace")
    return str(document) if isinstance(document, str) and declares(document) else None


def _patch_expatreader(module: ModuleType) -> None:
    wrap(module, "ExpatParser.external_entity_ref", _external_entity)


def _external_entity(
    wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    request = context.current.get()
    if request is not None and getattr(instance, "_external_ges", False):
        url = args[2] if len(args) > 2 else kwargs.get("sysid")
        if isinstance(url, str):
            check(request, DETECTOR, "xml.sax", FETCHES + url)
    return wrapped(*args, **kwargs)


def _patch_lxml(module: ModuleType) -> None:
    resolver = _resolver_type(module)
    default = module.__dict__["get_default_parser"]
    for name in ("XML", "fromstring"):
        wrap(module, name, _lxml_text(default, resolver, f"lxml.etree.{name}", "text"))
    wrap(module, "parse", _lxml_parse(default, resolver))
    integrate("sink", "lxml.objectify", "lxml.objectify", lambda other: _patch_objectify(other, resolver))


def _patch_objectify(module: ModuleType, resolver: type) -> None:
    for name in ("XML", "fromstring"):
        wrap(module, name, _lxml_text(_no_parser, resolver, f"lxml.objectify.{name}", "xml"))
    wrap(module, "parse", _lxml_parse(_no_parser, resolver))


def _no_parser() -> None:
    """The default parser of `lxml.objectify` is not to be had; it fetches nothing."""


def _lxml_text(default: Callable[[], Any], resolver: type, sink: str, parameter: str) -> Wrapper:
    def wrapper(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        request = context.current.get()
        if request is None:
            return wrapped(*args, **kwargs)
        text = _declaring(args[0] if args else kwargs.get(parameter))
        if text is None:
            return wrapped(*args, **kwargs)
        check(request, DETECTOR, sink, text)
        return _resolved(default, resolver(request), wrapped, args, kwargs)

    return wrapper


def _lxml_parse(default: Callable[[], Any], resolver: type) -> Wrapper:
    def wrapper(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        request = context.current.get()
        if request is None or not _brought_documents(request):
            return wrapped(*args, **kwargs)
        return _resolved(default, resolver(request), wrapped, args, kwargs)

    return wrapper


def _brought_documents(request: Request) -> bool:
    """Whether there is a document with declarations among the inputs, or they were too many to tell."""
    try:
        return bool(request.candidates(DETECTOR)) or not request.is_complete(DETECTOR)
    except Exception:  # what is wrong with the inputs shows, and is counted, when something is fetched
        return True


def _resolved(
    default: Callable[[], Any],
    resolver: Any,
    wrapped: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """The call, with `resolver` among those of the parser for as long as it takes."""
    parser = args[1] if len(args) > 1 else kwargs.get("parser")
    registry = getattr(default() if parser is None else parser, "resolvers", None)
    if registry is None:
        return wrapped(*args, **kwargs)
    registry.add(resolver)
    try:
        return wrapped(*args, **kwargs)
    finally:
        registry.remove(resolver)


def _resolver_type(module: ModuleType) -> type:
    """A resolver that judges what is about to be fetched, and leaves the fetching to others."""
    base: Any = module.__dict__["Resolver"]

    class Judge(base):  # type: ignore[misc]
        def __init__(self, request: Request) -> None:
            self._request = request

        def resolve(self, system_url: Any, public_id: Any, context: Any) -> None:
            if isinstance(system_url, str):
                check(self._request, DETECTOR, "lxml", FETCHES + system_url)

    return Judge
