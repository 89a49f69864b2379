#!/usr/bin/env bash
# cel-expr-python (CEL in C++) reads int(" 1") and a 60th second, and writes "0.100s" and "inf".
#
# One would guess: both implementations are Google's, so an expression means in C++ what it means in Go, which the
#   API server has (cel-go converts by strconv and time): int(" 1"), uint("+1"), double("1e400") and a timestamp with
#   second 60 are errors there, duration("1µs") is none, and the texts are "0.1s", "2026-11-30T00:00:00.1Z", "+Inf".
# What it does: blanks around a number and a plus are read, what is too large is infinity, second 60 is the next
#   minute; micro with a Greek letter is refused; fractions are written in groups of three digits. eval() raises
#   nothing for an error: it returns a value of type ERROR.
# So: a rule of a CustomResourceDefinition or of an admission policy that passes a test with cel-expr-python may
#   refuse the same object in the cluster. Compare numbers, times and durations, not their text.
# Seen with: cel-expr-python 0.1.3, November 2026; cel-go by its source (common/types).
source "$(dirname "$0")/common.bash"
python cel-expr-python==0.1.3

seen <<'SCRIPT'
cat > evaluate.py <<'PYTHON'
from cel_expr_python import cel

EXPRESSIONS = [
    'int(" 1")', 'uint("+1")', 'double("1e400")',
    'string(timestamp("2026-11-30T00:00:60Z"))', 'duration("1µs")',
    'string(duration("100ms"))', 'string(timestamp("2026-11-30T00:00:00.100Z"))',
    'string(1.0 / 0.0)', 'int("one")',
]
environment = cel.NewEnv(variables={})
for expression in EXPRESSIONS:
    result = environment.compile(expression).eval()
    is_error = result.type() == cel.Type.ERROR
    print(f"{expression} -> {'a value of type ERROR' if is_error else repr(result.value())}")
PYTHON
python evaluate.py
SCRIPT
expect <<'TEXT'
int(" 1") -> 1
uint("+1") -> 1
double("1e400") -> inf
string(timestamp("2026-11-30T00:00:60Z")) -> '2026-11-30T00:01:00Z'
duration("1µs") -> a value of type ERROR
string(duration("100ms")) -> '0.100s'
string(timestamp("2026-11-30T00:00:00.100Z")) -> '2026-11-30T00:00:00.100Z'
string(1.0 / 0.0) -> 'inf'
int("one") -> a value of type ERROR
TEXT
