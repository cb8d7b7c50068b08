"""A line of the log is one JSON object that says which stack, which pass and which action it is about."""

from __future__ import annotations

import io
import json
import logging

from appstack_operator.logs import PASS, STACK, JsonFormatter


def logged(message: str, **extra: object) -> dict[str, object]:
    sink = io.StringIO()
    handler = logging.StreamHandler(sink)
    handler.setFormatter(JsonFormatter())
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.info(message, extra=extra)
    (line,) = sink.getvalue().splitlines()
    found: dict[str, object] = json.loads(line)
    return found


def test_a_line_names_stack_pass_and_action() -> None:
    stack, number = STACK.set("shop/shop"), PASS.set(7)
    entry = logged("two\nlines", action="apply", target="Deployment shop-api")
    STACK.reset(stack)
    PASS.reset(number)
    wanted = {"stack": "shop/shop", "pass": 7, "action": "apply", "target": "Deployment shop-api", "level": "info"}
    assert {key: entry[key] for key in wanted} == wanted
    assert entry["message"] == "two\nlines"


def test_a_line_outside_of_a_pass_names_none() -> None:
    assert not {"stack", "pass"} & logged("started").keys()
