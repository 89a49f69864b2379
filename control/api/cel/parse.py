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
_LITERAL = "'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES"
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
        if not self._is("!", "-") or self._is_signed():
            return self._member()
        sign, times = self._take(), 1
        while self._skip(sign.text):
            times += 1
        node = self._member()
        name = "!_" if sign.text == "!" else "-_"
        return Call(sign.at, name, None, (node,)) if times % 2 else node

    def _is_signed(self) -> bool:
        """Return True before a literal with its minus."""
        return self._is("-") and self._tokens[self._at + 1].value.__class__ in (int, float)

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
        if token.sort == "name" and (token.text in _LITERALS or token.text == "in"):
            self._at -= 1
            raise self.unexpected("IDENTIFIER")
        if token.sort == "name" and not optional and self._is("("):
            return self._method(node, token)
        return Select(at, node, token.text, optional)

    def _method(self, target: Node, name: Token) -> Node:
        at = self._take().at
        args = self._arguments()
        for names, further in _MACROS.get(name.text, ()):
            if len(args) == names + further:
                return self._macro(at, target, name, args, names)
        return Call(at, name.text, target, args)

    def _macro(
        self, at: int, target: Node, name: Token, args: tuple[Node, ...], count: int
    ) -> Node:
        names = []
        for each in args[:count]:
            if not isinstance(each, Ident) or each.rooted:
                raise CelSyntaxError(each.at, "argument must be a simple name")
            if each.name in names:
                raise CelSyntaxError(each.at, f"duplicate variable name: {each.name}")
            names.append(each.name)
        return Macro(at, name.text, target, tuple(names), args[count:])

    def _arguments(self) -> tuple[Node, ...]:
        """Parse what is in brackets: unlike items and entries without a comma at the end."""
        found: list[Node] = []
        if self._skip(")"):
            return ()
        while not found or self._skip(","):
            found.append(self.expression())
        self._want(")")
        return tuple(found)

    def _primary(self) -> Node:
        if self._is_signed():
            return Const(self._take().at, -self._take().value)
        token = self._take()
        if token.sort == "int" and token.value == 2**63 and type(token.value) is int:
            raise CelSyntaxError(token.at, "invalid int literal")
        if token.sort in ("int", "float", "text"):
            return Const(token.at, token.value)
        if token.sort == "name":
            return self._name(token)
        if token.sort == "sign" and token.text in ("(", "[", "{"):
            return self._bracketed(token)
        if token.sort == "sign" and token.text == ".":
            if self.next.sort != "name" or self.next.text in _LITERALS:
                raise self.unexpected("IDENTIFIER")
            return self._name(self._take(), rooted=True)
        self._at -= 1
        raise self.unexpected(f"{{'[', '{{', '(', '.', '-', '!', {_LITERAL}, IDENTIFIER}}")

    def _bracketed(self, token: Token) -> Node:
        if token.text == "[":
            return self._list(token.at)
        if token.text == "{":
            return Entries(token.at, self._entries(of_names=False))
        node = self.expression()
        self._want(")")
        return node

    def _name(self, token: Token, *, rooted: bool = False) -> Node:
        if token.text in _LITERALS:
            return Const(token.at, _LITERALS[token.text])
        if token.text == "in":
            self._at -= 1
            raise self.unexpected("IDENTIFIER")
        if not self._is("(") and (made := self._made(token)) is not None:
            return made
        if token.text in RESERVED:
            raise CelSyntaxError(token.at, f"reserved identifier: {token.text}")
        if not self._is("("):
            return Ident(token.at, token.text, rooted)
        at = self._take().at
        args = self._arguments()
        if token.text == "has" and len(args) == 1 and not rooted:
            field = args[0]
            if not isinstance(field, Select) or field.optional:
                raise CelSyntaxError(field.at, "invalid argument to has() macro")
            return Select(field.at, field.operand, field.name, test=True)
        return Call(at, token.text, None, args)

    def _made(self, token: Token) -> Node | None:
        """Parse an object whose type has a name with dots: ``Object.spec{…}``."""
        start, parts = self._at, [token.text]
        while self._is(".") and self._tokens[self._at + 1].sort == "name":
            parts.append(self._tokens[self._at + 1].text)
            self._at += 2
        if self._is("{"):
            at = self._take().at
            return Entries(at, self._entries(of_names=True), ".".join(parts))
        self._at = start
        return None

    def _list(self, at: int) -> Node:
        items: list[Node] = []
        optional = set()
        while self._another("]", first=not items):
            if self._skip("?"):
                optional.add(len(items))
            items.append(self.expression())
        return Items(at, tuple(items), frozenset(optional))

    def _entries(self, *, of_names: bool) -> tuple[tuple[Node, Node, bool], ...]:
        found: list[tuple[Node, Node, bool]] = []
        while self._another("}", first=not found):
            optional = self._skip("?")
            if of_names:
                name = self._identifier().text
                key: Node = Const(self._want(":").at, name)  # where upstream sees its errors
            else:
                key = self.expression()
                self._want(":")
            found.append((key, self.expression(), optional))
        return tuple(found)

    def _another(self, closing: str, *, first: bool) -> bool:
        """Return False after the last item or entry, which may have a comma."""
        if self._skip(closing):
            return False
        if first and self._skip(","):
            self._want(closing)
            return False
        if first:
            return True
        if not self._skip(","):
            raise self.unexpected(f"'{closing}'")
        return not self._skip(closing)

    def _identifier(self) -> Token:
        token = self._take()
        if token.sort not in ("name", "quoted"):
            self._at -= 1
            raise self.unexpected("IDENTIFIER")
        return token
