"""Selectors as text: Vamp's examples, what is refused and where, and the way back to text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divertor.errors import InputError
from divertor.model.reading_selectors import parse_selector, selector_text
from divertor.model.selectors import Always, Both, Either, Not, Operand, Tree


def name(pattern: str) -> Operand:
    return Operand("name", (pattern,))


#: Vamp's own examples, and its other names for the same things.
EXAMPLES: list[tuple[str, Tree]] = [
    ("name(sava:1.0)", name("sava:1.0")),
    ("id(sava:1.0)", name("sava:1.0")),
    ("kind(pod)", Operand("kind", ("pod",))),
    ("type(pod)", Operand("kind", ("pod",))),
    ("namespace(default)", Operand("namespace", ("default",))),
    ("group(default)", Operand("namespace", ("default",))),
    ("namespace($namespace)", Operand("namespace", ("$namespace",))),
    ("image(magneticio/sava:1.0.*)", Operand("image", ("magneticio/sava:1.0.*",))),
    ("label(io.vamp.*)(sava:1.1.*)", Operand("label", ("io.vamp.*", "sava:1.1.*"))),
    ("ip(172.17.0.1)", Operand("ip", ("172.17.0.1",))),
    ("host(172.17.0.1)", Operand("ip", ("172.17.0.1",))),
    ("port(8080)", Operand("port", ("8080",))),
    ("port_index(0)", Operand("index", ("0",))),
    ("index(0)", Operand("index", ("0",))),
    ("true", Always(True)),
    ("false", Always(False)),
    ("port(8080) or ip(172.17.0.2)", Either((Operand("port", ("8080",)), Operand("ip", ("172.17.0.2",))))),
    ("port(8080) and ip(172.17.0.2)", Both((Operand("port", ("8080",)), Operand("ip", ("172.17.0.2",))))),
    (
        "label(io.vamp.*)(sava:1.(.*)) and index(0)",
        Both((Operand("label", ("io.vamp.*", "sava:1.(.*)")), Operand("index", ("0",)))),
    ),
    (
        "!(port(8080) || ip(172.17.0.2)) && true",
        Both((Not(Either((Operand("port", ("8080",)), Operand("ip", ("172.17.0.2",))))), Always(True))),
    ),
    (
        "label(app)(foo) && label(version)((.*))",
        Both((Operand("label", ("app", "foo")), Operand("label", ("version", "(.*)")))),
    ),
    ("label(winter)(cold) and id(cold)", Both((Operand("label", ("winter", "cold")), name("cold")))),
]


@pytest.mark.parametrize(("text", "tree"), EXAMPLES)
def test_vamps_examples_are_read(text: str, tree: Tree) -> None:
    assert parse_selector(text).tree == tree


def test_all_examples_ran() -> None:
    assert len(EXAMPLES) == 22


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("NAME(a) OR Name(b) And NOT name(c)", Either((name("a"), Both((name("b"), Not(name("c"))))))),
        ("name(a)&name(b)|name(c)", Either((Both((name("a"), name("b"))), name("c")))),
        ("not(name(a))", Not(name("a"))),
        (" name ( [)] ) ", name(" [)] ")),
        (r"name(\))", name(r"\)")),
    ],
)
def test_operators_bind_as_in_conditions_and_values_end_where_they_are_balanced(
    text: str, tree: Tree
) -> None:
    assert parse_selector(text).tree == tree


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 1, "unexpected 'end of the selector'"),
        ("nam(a)", 1, "unexpected 'nam'"),
        ("name a", 6, "unexpected 'a'"),
        ("name(a", 5, "does not end"),
        ("name()", 6, "empty name"),
        ("name(a) name(b)", 9, "unexpected 'name'"),
        ("label(a) and true", 10, "unexpected 'and'"),
        ("port(http)", 6, "no port"),
        ("port(65536)", 6, "no port"),
        ("true and name(a{2,1})", 15, "no pattern of name"),
        ("(name(a) or true", 17, "unexpected 'end"),
        ("name(^a)", 6, "no ^ is needed"),
        ("!" * 40 + "true", 33, "nested too deeply"),
        ("name(" + "a" * 5000 + ")", 1, "a selector of 5006 characters"),
    ],
)
def test_what_is_no_selector_is_refused_at_its_column(text: str, column: int, message: str) -> None:
    with pytest.raises(InputError, match=".") as refused:
        parse_selector(text)
    assert (refused.value.position.column, message in str(refused.value)) == (column, True)


PATTERNS = st.sampled_from(["a", "a.*", "(x|y)", "[)(]", r"\(", "$namespace", "é"])
LEAVES = st.one_of(
    st.builds(Always, st.booleans()),
    st.builds(lambda a: Operand("namespace", (a,)), PATTERNS),
    st.builds(lambda a, b: Operand("label", (a.strip("$"), b.strip("$"))), PATTERNS, PATTERNS),
    st.builds(lambda n: Operand("port", (str(n),)), st.integers(0, 65535)),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(Both, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Either, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(TREES)
def test_a_selector_that_is_written_reads_back_the_same(tree: Tree) -> None:
    assert parse_selector(selector_text(tree)).tree == tree


@settings(max_examples=300, deadline=None)
@given(st.text("namelbiport()!&|.*[]\\ 01$tru{,}", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        tree = parse_selector(text).tree
    except InputError:
        return
    assert parse_selector(selector_text(tree)).tree == tree
