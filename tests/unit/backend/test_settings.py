"""Settings: the contract's names, and what is refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from appstack_backend.main import main
from appstack_backend.settings import Settings, load_settings


def some_settings(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    for name, value in {"DATABASE_URL": "postgresql://primary", **environment}.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def test_the_names_of_the_contract_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = some_settings(
        monkeypatch,
        DATABASE_READONLY_URL="postgresql://replica",
        REDIS_SENTINELS="10.0.0.1:26379, sentinel-1:26380",
        REDIS_SENTINEL_MASTER="shop.shop",
        RABBITMQ_URL="amqp://broker",
        POD_NAME="shop-api-1",
    )
    assert settings.has_replica
    assert settings.sentinel_addresses == [("10.0.0.1", 26379), ("sentinel-1", 26380)]
    assert (settings.redis_sentinel_master, settings.pod_name) == ("shop.shop", "shop-api-1")


def test_reads_go_to_the_primary_where_there_is_no_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not some_settings(monkeypatch).has_replica


def test_sentinels_without_their_master_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="REDIS_SENTINELS needs REDIS_SENTINEL_MASTER"):
        some_settings(monkeypatch, REDIS_SENTINELS="a:1")


def test_a_missing_setting_is_named_without_a_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert main(["migrate"]) == 2
    assert "DATABASE_URL" in capsys.readouterr().err


def test_an_unknown_log_level_is_named_without_a_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert some_settings(monkeypatch, LOG_LEVEL="debug").log_level == "DEBUG"
    monkeypatch.setenv("LOG_LEVEL", "loud")
    assert main(["migrate"]) == 2
    assert "LOG_LEVEL" in capsys.readouterr().err


def test_an_unknown_job_is_refused() -> None:
    with pytest.raises(SystemExit) as refused:
        main(["job", "nonsense"])
    assert refused.value.code == 2
