"""JSON and TOML from anybody: bounded, or a ``ValueError``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from qmgen.documents import DEEPEST, json_of, table_of, toml_of

DEEP = 100_000


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (json_of, "[" * DEEP + "]" * DEEP),
        (json_of, '{"a":' * DEEP + "1" + "}" * DEEP),
        (json_of, "[" * (DEEPEST + 1) + "1" + "]" * (DEEPEST + 1)),
        (json_of, '["\\ud800"]'),
        (json_of, '{"\\udfff": 1}'),
        (json_of, "[NaN]"),
        (json_of, "[-Infinity]"),
        (json_of, "[1e999]"),
        (json_of, b"\xff\xfe\x00"),
        (json_of, ""),
        (json_of, "1" * 10_000),
        (table_of, "[]"),
        (table_of, "null"),
        (toml_of, "a = " + "[" * DEEP + "]" * DEEP),
        (toml_of, "a = " + "{a = " * DEEP + "1" + "}" * DEEP),
        (toml_of, ".".join(["a"] * DEEP) + " = 1"),
        (toml_of, "[" + ".".join(['"a"'] * DEEP) + "]"),
        (toml_of, "x = {" + " . ".join(["a"] * DEEP) + " = 1}"),
        (toml_of, b"\xff = 1"),
        (toml_of, "a = 1\na = 2"),
    ],
)
def test_what_cannot_be_gone_on_with_is_refused(read: Callable[[Any], Any], text: Any) -> None:
    with pytest.raises(ValueError):
        read(text)


def test_what_is_ordinary_is_read() -> None:
    assert json_of('[1, 2.5, "é", null, {"a": [true]}]') == [1, 2.5, "é", None, {"a": [True]}]
    assert json_of("[" * DEEPEST + "]" * DEEPEST) and table_of(b'{"a": 1}') == {"a": 1}
    assert table_of('{"best": Infinity}', finite=False) == {"best": float("inf")}
    assert toml_of("a.b = 1.5\nx = inf\n[t]\ny = ['1.2.3.4.5']") == {
        "a": {"b": 1.5}, "x": float("inf"), "t": {"y": ["1.2.3.4.5"]}
    }  # fmt: skip
    assert toml_of('x = "' + "a" * 10**6 + '"')["x"] == "a" * 10**6
