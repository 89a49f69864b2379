"""Parse an expression into its tree, with the macros of CEL and of Kubernetes.

Source: the grammar in github.com/google/cel-go/parser/gen/CEL.g4.
"""

from control.api.cel.errors import CelSyntaxError
from control.api.cel.lex import RESERVED, Token, tokens
from control.api.cel.nodes import Call, Const, Entries, Ident, Items, Macro, Node, Select, below

# Characters: upstream's limit.
LONGEST = 100_000
# Levels of brackets, and of the tree: each takes some frames of the interpreter's stack.
DEEPEST = 60
_DEEPEST_TREE = 120
_RELATIONS = ("==", "!=", "<", "<=", ">", ">=", "in")
# The operators of two operands, from the weakest.
_LEVELS: tuple[tuple[str, ...], ...] = (_RELATIONS, ("+", "-"), ("*", "/", "%"))
_LITERALS = {"true": True, "false": False, "null": None}
# Macros on a target: their variables, and their further arguments.
_MACROS: dict[str, tuple[tuple[int, int], ...]] = {
    "all": ((1, 1), (2, 1)),
    "exists": ((1, 1), (2, 1)),
    "exists_one": ((1, 1),),
    "existsOne": ((1, 1), (2, 1)),
    "filter": ((1, 1),),
    "map": ((1, 1), (1, 2)),
    "optMap": ((1, 1),),
    "optFlatMap": ((1, 1),),
    "sortBy": ((1, 1),),
    "transformList": ((2, 1), (2, 2)),
    "transformMap": ((2, 1), (2, 2)),
    "transformMapEntry": ((2, 1), (2, 2)),
}


def parse(source: str) -> Node:
    """Return the tree of an expression; raises CelSyntaxError."""
    if len(source) > LONGEST:
        why = f"expression code point size exceeds limit: size: {len(source)}, limit {LONGEST}"
        raise CelSyntaxError(0, why)
    parser = _Parser(tokens(source))
    node = parser.expression()
    if parser.next.sort != "end":
        raise parser.unexpected()
    _check_depth(node)
    return node


def _check_depth(root: Node) -> None:
    level, deep = [root], 0
    while level:
        deep += 1
        if deep > _DEEPEST_TREE:
            raise CelSyntaxError(0, f"expression recursion limit exceeded: {_DEEPEST_TREE}")
        level = [each for node in level for each in below(node)]


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._at = 0
        self._depth = 0

    @property
    def next(self) -> Token:
        return self._tokens[self._at]

    def unexpected(self, expecting: str = "") -> CelSyntaxError:
        token = self.next
        if token.sort == "end":
            why = "Syntax error: mismatched input '<EOF>'"
        else:
            why = f"Syntax error: extraneous input '{token.text}'"
        return CelSyntaxError(token.at, f"{why} expecting {expecting or '<EOF>'}")

    def _take(self) -> Token:
        token = self.next
        self._at += 1
        return token

    def _is(self, *signs: str) -> bool:
        return self.next.sort in ("sign", "name") and self.next.text in signs

    def _skip(self, sign: str) -> bool:
        if self.next.sort == "sign" and self.next.text == sign:
            self._at += 1
            return True
        return False

    def _want(self, sign: str) -> Token:
        if not (self.next.sort == "sign" and self.next.text == sign):
            raise self.unexpected(f"'{sign}'")
        return self._take()

    def expression(self) -> Node:
        """Parse an expression with the operators that bind least."""
        self._depth += 1
        if self._depth > DEEPEST:
            why = f"expression recursion limit exceeded: {DEEPEST}"
            raise CelSyntaxError(self.next.at, why)
        node = self._junction("||", "&&")
        if self._is("?"):
            at = self._take().at
            yes = self._junction("||", "&&")
            self._want(":")
            node = Call(at, "_?_:_", None, (node, yes, self.expression()))
        self._depth -= 1
        return node

    def _junction(self, sign: str, inner: str) -> Node:
        """Parse operands of ``||``, or of ``&&``; a chain is one node."""

        def operand() -> Node:
            return self._junction(inner, "") if inner else self._binary(0)

        node = operand()
        if not self._is(sign):
            return node
        at, parts = self.next.at, [node]
        while self._skip(sign):
            parts.append(operand())
        return Call(at, f"_{sign}_", None, tuple(parts))

    def _binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self._unary()
        node = self._binary(level + 1)
        while self._is(*_LEVELS[level]):
            sign = self._take()
            name = "@in" if sign.text == "in" else f"_{sign.text}_"
            node = Call(sign.at, name, None, (node, self._binary(level + 1)))
        return node

    def _unary(self) -> Node:
        if not self._is("!", "-"):
            return self._member()
        sign, times = self._take(), 1
        if sign.text == "-" and self.next.sort in ("int", "float"):
            return self._members(self._negative(sign.at))
        while self._skip(sign.text):
            times += 1
        node = self._member()
        name = "!_" if sign.text == "!" else "-_"
        return Call(sign.at, name, None, (node,)) if times % 2 else node

    def _negative(self, at: int) -> Const:
        value = self._take().value
        if type(value) is not int and type(value) is not float:
            raise CelSyntaxError(at, "invalid int literal")
        return Const(at, -value)

    def _member(self) -> Node:
        return self._members(self._primary())

    def _members(self, node: Node) -> Node:
        while self._is(".", "["):
            sign = self._take()
            optional = self._skip("?")
            if sign.text == "[":
                name = "_[?_]" if optional else "_[_]"
                node = Call(sign.at, name, None, (node, self.expression()))
                self._want("]")
                continue
            node = self._field(node, sign.at, optional=optional)
        return node

    def _field(self, node: Node, at: int, *, optional: bool) -> Node:
        token = self._identifier()
        if token.sort == "name" and not optional and self._is("("):
            return self._method(node, token)
        if token.text in _LITERALS or token.text == "in":
            self._at -= 1
            raise self.unexpected("IDENTIFIER")
        return Select(at, node, token.text, optional)

    def _method(self, target: Node, name: Token) -> Node:
        at = self._take().at
        args = self._arguments(")")
        for names, further in _MACROS.get(name.text, ()):
            if len(args) == names + further:
                return self._macro(at, target, name, args, names)
        return Call(at, name.text, target, args)

    def _macro(
        self, at: int, target: Node, name: Token, args: tuple[Node, ...], count: int
    ) -> Node:
        names = []
        for each in args[:count]:
            if not isinstance(each, Ident):
                raise CelSyntaxError(each.at, "argument must be a simple name")
            if each.name in names:
                raise CelSyntaxError(each.at, f"duplicate variable name: {each.name}")
            names.append(each.name)
        return Macro(at, name.text, target, tuple(names), args[count:])

    def _arguments(self, closing: str) -> tuple[Node, ...]:
        found: list[Node] = []
        while not self._skip(closing):
            found.append(self.expression())
            if not self._skip(",") and not self._is(closing):
                raise self.unexpected(f"'{closing}'")
        return tuple(found)

    def _primary(self) -> Node:
        token = self._take()
        if token.sort == "int" and token.value == 2**63 and type(token.value) is int:
            raise CelSyntaxError(token.at, "invalid int literal")
        if token.sort in ("int", "float", "text"):
            return Const(token.at, token.value)
        if token.sort == "name":
            return self._name(token)
        if token.sort == "sign" and token.text == "(":
            node = self.expression()
            self._want(")")
            return node
        if token.sort == "sign" and token.text == "[":
            return self._list(token.at)
        if token.sort == "sign" and token.text == "{":
            return Entries(token.at, self._entries(of_names=False))
        if token.sort == "sign" and token.text == "." and self.next.sort == "name":
            return self._name(self._take())
        self._at -= 1
        raise self.unexpected("{'[', '{', '(', '.', '-', '!', literal, IDENTIFIER}")

    def _name(self, token: Token) -> Node:
        if token.text in _LITERALS:
            return Const(token.at, _LITERALS[token.text])
        if token.text in RESERVED:
            raise CelSyntaxError(token.at, f"reserved identifier: {token.text}")
        if token.text == "in":
            self._at -= 1
            raise self.unexpected("IDENTIFIER")
        if not self._is("("):
            return self._typed(token)
        at = self._take().at
        args = self._arguments(")")
        if token.text == "has" and len(args) == 1:
            field = args[0]
            if not isinstance(field, Select) or field.optional:
                raise CelSyntaxError(at, "invalid argument to has() macro")
            return Select(field.at, field.operand, field.name, test=True)
        return Call(at, token.text, None, args)

    def _typed(self, token: Token) -> Node:
        """Parse a variable, or an object whose type has a name with dots: ``Object.spec{…}``."""
        start, parts = self._at, [token.text]
        while self._is(".") and self._tokens[self._at + 1].sort == "name":
            parts.append(self._tokens[self._at + 1].text)
            self._at += 2
        if self._is("{"):
            at = self._take().at
            return Entries(at, self._entries(of_names=True), ".".join(parts))
        self._at = start
        return Ident(token.at, token.text)

    def _list(self, at: int) -> Node:
        items: list[Node] = []
        optional = set()
        while not self._skip("]"):
            if self._skip("?"):
                optional.add(len(items))
            items.append(self.expression())
            if not self._skip(",") and not self._is("]"):
                raise self.unexpected("']'")
        return Items(at, tuple(items), frozenset(optional))

    def _entries(self, *, of_names: bool) -> tuple[tuple[Node, Node, bool], ...]:
        found: list[tuple[Node, Node, bool]] = []
        while not self._skip("}"):
            optional = self._skip("?")
            key = self._field_name() if of_names else self.expression()
            self._want(":")
            found.append((key, self.expression(), optional))
            if not self._skip(",") and not self._is("}"):
                raise self.unexpected("'}'")
        return tuple(found)

    def _field_name(self) -> Node:
        token = self._identifier()
        return Const(token.at, token.text)

    def _identifier(self) -> Token:
        token = self._take()
        if token.sort not in ("name", "quoted"):
            self._at -= 1
            raise self.unexpected("IDENTIFIER")
        return token
