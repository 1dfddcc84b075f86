"""`simple_query_string`: a query language without errors, as text → the syntax tree of query strings.

`+` joins clauses that are both required, `|` alternatives, `-` excludes the next one, quotes make phrases,
`*` at the end of a word prefixes, `~2` fuzziness or slop, parentheses groups. What makes no sense there is
passed over, as its authors meant it; only size is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from divertor.errors import InputError, Position
from divertor.rules.filters.fuzzy import MAX_EDITS
from divertor.rules.filters.lucene import MAX_DEPTH, MAX_LENGTH, MAX_SLOP
from divertor.rules.filters.matching import Wild
from divertor.rules.filters.query_tree import Clause, Everything, Fuzzy, Group, Node, Occur, Text, Wildcard

_TOKEN = re.compile(
    r"""\s+|(?P<sign>[+|()])|(?P<minus>-)|"(?P<phrase>(?:[^"\\]|\\.)*)"(?:~(?P<slop>[0-9]{1,9}))?|"""
    r"""(?P<word>(?:[^\s+|()"\\]|\\.)+)|(?P<other>.)""",
    re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def parse_simple_query(text: str, position: Position, *, default_and: bool = False) -> Node | None:
    """The syntax tree; None when the text asks for nothing, which nothing matches.

    :raises InputError: the text is too long, or its parentheses are too deep.
    """
    if len(text) > MAX_LENGTH:
        raise InputError("query too long", position, f"at most {MAX_LENGTH} characters")
    parser = _Parser(list(_TOKEN.finditer(text)), position, "+" if default_and else "|")
    return parser.group(0)


@dataclass(slots=True)
class _Parser:
    """Clauses are joined from left to right; another operator than the last one begins a new level."""

    tokens: list[re.Match[str]]
    position: Position
    default: str
    at: int = 0

    def group(self, depth: int) -> Node | None:
        if depth > MAX_DEPTH:
            raise InputError("parentheses nested too deeply", self.position, f"at most {MAX_DEPTH} levels")
        joined: list[Clause] = []
        joined_by, operator, negated = "", "", False
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            self.at += 1
            if token["sign"] == ")":
                if depth:
                    break
            elif token["sign"] in ("+", "|"):
                operator = operator or token["sign"]
            elif token["minus"]:
                negated = not negated
            elif (node := self._node(token, depth)) is not None:
                chosen = operator or self.default
                if joined and joined_by and chosen != joined_by:
                    joined = [_clause("+", _grouped(joined), "")]
                if joined:
                    joined = [_clause(chosen, clause.node, clause.written) for clause in joined]
                    joined_by = chosen
                joined.append(_clause(chosen, _excluded(node) if negated else node, token[0]))
                operator, negated = "", False
        return _grouped(joined) if joined else None

    def _node(self, token: re.Match[str], depth: int) -> Node | None:
        if token["sign"] == "(":
            return self.group(depth + 1)
        if token["phrase"] is not None:
            return _phrase(token)
        return _word(token["word"]) if token["word"] else None


def _clause(operator: str, node: Node, written: str) -> Clause:
    return Clause(Occur.MUST if operator == "+" else Occur.SHOULD, node, written)


def _grouped(clauses: list[Clause]) -> Node:
    return clauses[0].node if len(clauses) == 1 else Group(tuple(clauses))


def _excluded(node: Node) -> Node:
    return Group((Clause(Occur.MUST_NOT, node, "-"),))


def _phrase(token: re.Match[str]) -> Node | None:
    text = _ESCAPED.sub(r"\1", token["phrase"])
    return Text(None, text, min(int(token["slop"] or 0), MAX_SLOP)) if text else None


def _word(word: str) -> Node | None:
    if word == "*":
        return Everything()
    fuzzy = re.fullmatch(r"(.+)~([0-9]{0,3})", word, re.DOTALL)
    if fuzzy is not None:
        edits = min(int(fuzzy[2]), MAX_EDITS) if fuzzy[2] else None
        return Fuzzy(None, _ESCAPED.sub(r"\1", fuzzy[1]), edits)
    if word.endswith("*") and not word.endswith("\\*"):
        return Wildcard(None, (_ESCAPED.sub(r"\1", word[:-1]), Wild.MANY))
    return Text(None, _ESCAPED.sub(r"\1", word))
