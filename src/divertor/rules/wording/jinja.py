"""Jinja templates of rule files, in a sandbox with a budget.

The template is the rule author's, what fills it is an attacker's: values are data, never templates, and no
value decides how long rendering takes. A template that loops, multiplies or pads without end is stopped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, wraps
from types import BuiltinMethodType
from typing import Any

from jinja2 import TemplateError, nodes, pass_context
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

#: Characters of a rendered text; the rest is not made.
MAX_OUTPUT = 64 * 1024
#: Turns of all loops of one rendering together.
MAX_STEPS = 100_000
#: Characters or items of a value in between; digits of a number.
MAX_VALUE = 1_000_000
MAX_DIGITS = 1000

_ESCAPE = "__escape"
_STEP = "__step"
_JOIN = "__join"
_PADDING = frozenset({"center", "expandtabs", "ljust", "rjust", "zfill"})
_WIDE = re.compile(r"[0-9]{5,}|\{[^{}]*:[^{}]*\{|%[^a-zA-Z%]*\*")
#: Filters that pad or repeat by a number, and the position of that number among their arguments.
_SIZED = {"center": 0, "indent": 0, "batch": 0, "slice": 0, "tojson": 1}


class RenderError(ValueError):
    """A template that cannot be filled from this match, or went beyond a bound."""


@dataclass(frozen=True, slots=True)
class JinjaTemplate:
    """A template, checked. `root` names the mapping of everything, for fields with dots in their names."""

    source: str
    root: str = "_data"

    def render(self, values: Mapping[str, Any], escape: Callable[[str], str] = str) -> str:
        """The text; `escape` is applied to what expressions yield, not to the author's text.

        :raises RenderError: it cannot be filled with these values, or not within the bounds.
        """
        budget = _Budget()
        names = {**values, self.root: dict(values)}
        hidden = {_ESCAPE: escape, _STEP: budget.step, _JOIN: _join}
        try:
            return _bounded(_compiled(self.source).generate({**names, **hidden}))
        except (
            TemplateError,
            ArithmeticError,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
        ) as problem:
            raise RenderError(f"{type(problem).__name__}: {problem}"[:300]) from problem
        except RecursionError:
            raise RenderError("a template that calls itself without end") from None


def parse_jinja(source: str, root: str = "_data") -> JinjaTemplate:
    """:raises ValueError: it is no template; the message says what and on which of its lines."""
    try:
        _compiled(source)
    except TemplateError as problem:
        line = getattr(problem, "lineno", None)
        raise ValueError(f"{problem}{f' (line {line} of the text)' if line else ''}"[:300]) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return JinjaTemplate(source, root)


class _Budget:
    def __init__(self) -> None:
        self._steps = 0

    def step(self) -> str:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise SecurityError(f"more than {MAX_STEPS} turns of loops")
        return ""


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, which guards attributes, with bounds for what grows."""

    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and _digits(left) * abs(right) > MAX_DIGITS:
            raise SecurityError("a power with too many digits")
        if operator == "*":
            _check_product(left, right)
        if operator == "%" and isinstance(left, str) and _WIDE.search(left):
            raise SecurityError("a format that is too wide")
        value = super().call_binop(context, operator, left, right)
        if isinstance(value, str | list | tuple) and len(value) > MAX_VALUE:
            raise SecurityError("a value that is too long")
        return value

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is not None and _WIDE.search(str(value.__self__)):
            raise SecurityError("a format that is too wide")
        return wrapped

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(__obj, BuiltinMethodType) and isinstance(__obj.__self__, str):
            _check_text_method(__obj, args)
        return super().call(__context, __obj, *args, **kwargs)


def _check_product(left: Any, right: Any) -> None:
    for many, times in ((left, right), (right, left)):
        if isinstance(many, str | list | tuple) and isinstance(times, int) and len(many) * times > MAX_VALUE:
            raise SecurityError("a value that is too long")
    if isinstance(left, int) and isinstance(right, int) and _digits(left) + _digits(right) > MAX_DIGITS:
        raise SecurityError("a product with too many digits")


def _check_text_method(method: BuiltinMethodType, args: tuple[Any, ...]) -> None:
    name, text = method.__name__, method.__self__
    if name in _PADDING and any(isinstance(arg, int) and arg > MAX_VALUE for arg in args):
        raise SecurityError(f"{name} to more than {MAX_VALUE}")
    if name in ("replace", "join") and len(str(text)) * max(map(_length, args), default=0) > MAX_VALUE * 10:
        raise SecurityError("a value that is too long")


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str | list | tuple | dict) else 1


def _digits(number: Any) -> int:
    return number.bit_length() // 3 + 1 if isinstance(number, int) else 1


def _join(*parts: Any) -> str:
    texts = [str(part) for part in parts]
    if sum(map(len, texts)) > MAX_VALUE:
        raise SecurityError("a value that is too long")
    return "".join(texts)


@pass_context
def _shown(context: Context, value: Any) -> str:
    escape: Callable[[str], str] = context.get(_ESCAPE, str)
    return escape(str(value))


class _Bounding(NodeTransformer):
    """Has every turn of a loop counted, and every `~` done by a function that knows when to stop."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        counted = nodes.ExprStmt(nodes.Call(nodes.Name(_STEP, "load"), [], [], None, None))
        node.body.insert(0, counted.set_lineno(node.lineno))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return nodes.Call(nodes.Name(_JOIN, "load"), node.nodes, [], None, None).set_lineno(node.lineno)


def _sandbox() -> _Sandbox:
    environment = _Sandbox(finalize=_shown, undefined=Undefined, keep_trailing_newline=False)
    del environment.globals["lipsum"]
    for name, position in _SIZED.items():
        environment.filters[name] = _sized(environment.filters[name], position)
    environment.filters["format"] = _format(environment.filters["format"])
    return environment


def _format(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def bounded(value: Any, *args: Any, **named: Any) -> Any:
        if _WIDE.search(str(value)):
            raise SecurityError("a format that is too wide")
        return original(value, *args, **named)

    return bounded


def _sized(original: Callable[..., Any], position: int) -> Callable[..., Any]:
    @wraps(original)  # with the mark of a filter that is given more than a value
    def bounded(value: Any, *args: Any, **named: Any) -> Any:
        for number in (*args[position : position + 1], *named.values()):
            if isinstance(number, int) and number > MAX_VALUE:
                raise SecurityError(f"more than {MAX_VALUE}")
        return original(value, *args, **named)

    return bounded


_ENVIRONMENT = _sandbox()


@lru_cache(maxsize=512)
def _compiled(source: str) -> Any:
    tree = _Bounding().visit(_ENVIRONMENT.parse(source))
    for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        raise TemplateSyntaxError("a template cannot refer to another one", node.lineno)
    nodes.Node.set_environment(tree, _ENVIRONMENT)
    code = _ENVIRONMENT.compile(tree)
    return _ENVIRONMENT.template_class.from_code(_ENVIRONMENT, code, dict(_ENVIRONMENT.globals))


def _bounded(chunks: Any) -> str:
    kept: list[str] = []
    room = MAX_OUTPUT
    for chunk in chunks:
        kept.append(chunk[:room])
        room -= len(chunk)
        if room <= 0:
            break
    return "".join(kept)
