#!/usr/bin/env bash
# cel-python's string(true) is "True", string(duration("500ms")) is "0s", and 1 < 1.5 is an error.
#
# One would guess: an expression of CEL means the same as in the API server (cel-go): "true", "0.5s", true.
# What it does: conversions to text are Python's, or cut what is below a second, although the duration itself has
#   it. Numbers of two types can be compared if the double comes first: 1.5 > 1 is true, 1 < 1.5 raises "no
#   matching overload", and so does dyn(1) == 1.0, which CEL's specification calls true.
# So: a rule of a CustomResourceDefinition or of an admission policy that is tested with cel-python may decide
#   otherwise in the cluster. Convert types explicitly, and compare durations, not their text.
# Seen with: cel-python 0.5.0, November 2026.
source "$(dirname "$0")/common.bash"
python cel-python==0.5.0

seen <<'SCRIPT'
cat > evaluate.py <<'PYTHON'
import celpy

EXPRESSIONS = [
    'string(true)', 'string(duration("500ms"))', 'duration("500ms") > duration("0s")',
    'string(timestamp("2026-11-29T00:00:00.5Z"))', 'string(2.0)',
    '1.5 > 1', '1 < 1.5', 'dyn(1) == 1.0',
]
environment = celpy.Environment()
for expression in EXPRESSIONS:
    try:
        result = environment.program(environment.compile(expression)).evaluate({})
        shown = f'"{result}"' if isinstance(result, str) else bool(result)
    except celpy.CELEvalError:
        shown = "CELEvalError"
    print(f"{expression} -> {shown}")
PYTHON
python evaluate.py
SCRIPT
expect <<'TEXT'
string(true) -> "True"
string(duration("500ms")) -> "0s"
duration("500ms") > duration("0s") -> True
string(timestamp("2026-11-29T00:00:00.5Z")) -> "2026-11-29T00:00:00Z"
string(2.0) -> "2.0"
1.5 > 1 -> True
1 < 1.5 -> CELEvalError
dyn(1) == 1.0 -> CELEvalError
TEXT
