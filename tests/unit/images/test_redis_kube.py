"""The label agent's door to the API server: whatever breaks is an OSError, which it tries again after."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
from appstack_redis import kube

if TYPE_CHECKING:
    from pathlib import Path


def test_an_api_server_that_dies_while_it_answers_is_tried_again(
    torn_http_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("secret")
    monkeypatch.setattr(kube, "ACCOUNT", tmp_path)
    monkeypatch.setattr(kube, "server", lambda: f"http://127.0.0.1:{torn_http_port}")
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    with pytest.raises(OSError, match="no whole answer"):
        kube.call("GET", "/api/v1/pods")
