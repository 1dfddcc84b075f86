"""Template sinks: source that becomes a template at run time, in Jinja, Mako, Django, Tornado and Bottle.

Judged is source that was handed over as text. A template that a loader brought from a file or a table has a
name, and is the program's own.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from divertor_sensor import context
from divertor_sensor.detectors.template import BOTTLE, BRACES, MAKO, Syntax, detector_for
from divertor_sensor.guard import check
from divertor_sensor.patching import Wrapper, integrate, wrap

#: Jinja's settings for its tags, opening and closing.
_JINJA_TAGS = (
    ("variable_start_string", "variable_end_string"),
    ("block_start_string", "block_end_string"),
    ("comment_start_string", "comment_end_string"),
)


def instrument() -> None:
    """Patch what makes a template of each engine."""
    integrate("sink", "Jinja", "jinja2.environment", _patch_jinja)
    integrate("sink", "Mako", "mako.template", _patcher(_made("Mako", MAKO, ("text",), ("uri", "filename"))))
    django = _made("Django", BRACES, ("template_string",), ("origin", "name"))
    integrate("sink", "Django templates", "django.template.base", _patcher(django))
    tornado = _made("Tornado", BRACES, ("template_string",), ("loader",))
    integrate("sink", "Tornado templates", "tornado.template", _patcher(tornado))
    bottle = _made("Bottle", BOTTLE, ("source",), ("name",))
    integrate("sink", "Bottle templates", "bottle", lambda m: wrap(m, "BaseTemplate.__init__", bottle))


def _patcher(wrapper: Wrapper) -> Callable[[ModuleType], None]:
    return lambda module: wrap(module, "Template.__init__", wrapper)


#: Where the parameters stand in each engine's constructor, `self` not counted.
_PLACES = {
    "Mako": {"text": 0, "filename": 1, "uri": 2},
    "Django": {"template_string": 0, "origin": 1, "name": 2},
    "Tornado": {"template_string": 0, "loader": 2},
    "Bottle": {"source": 0, "name": 1},
}


def _made(engine: str, syntax: Syntax, text: tuple[str], named_by: tuple[str, ...]) -> Wrapper:
    """A wrapper of the constructor that judges its text, when none of `named_by` says where it is from."""
    places, detector, sink = _PLACES[engine], detector_for(syntax), f"{engine} template"

    def wrapper(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        request = context.current.get()
        if request is not None:
            source = _argument(places[text[0]], text[0], args, kwargs)
            if isinstance(source, bytes):
                source = source.decode("utf-8", "replace")
            named = any(_argument(places[name], name, args, kwargs) for name in named_by)
            if isinstance(source, str) and not named:
                check(request, detector, sink, str(source))
        return wrapped(*args, **kwargs)

    return wrapper


def _argument(place: int, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[place] if len(args) > place else kwargs.get(name)


def _patch_jinja(module: ModuleType) -> None:
    wrap(module, "Environment.compile", _jinja_compile)
    wrap(module, "Environment.compile_expression", _jinja_expression)


def _jinja_compile(
    wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    request = context.current.get()
    if request is not None:
        source = _argument(0, "source", args, kwargs)
        if isinstance(source, str) and not _argument(1, "name", args, kwargs):
            check(request, detector_for(_jinja_syntax(instance)), "Jinja template", str(source))
    return wrapped(*args, **kwargs)


def _jinja_expression(
    wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    request = context.current.get()
    if request is not None:
        source = _argument(0, "source", args, kwargs)
        if isinstance(source, str):
            check(request, detector_for(BRACES), "Jinja expression", "{{" + source + "}}")
    return wrapped(*args, **kwargs)


def _jinja_syntax(environment: Any) -> Syntax:
    """The tags as this environment is set; its defaults when they are no texts."""
    tags = tuple(
        (getattr(environment, one, ""), getattr(environment, other, "")) for one, other in _JINJA_TAGS
    )
    line = getattr(environment, "line_statement_prefix", None) or ""
    usable = all(isinstance(text, str) and text for tag in tags for text in tag)
    return Syntax(tags, str(line)) if usable else BRACES
