"""Only a first bootstrap forms a RabbitMQ cluster."""

from __future__ import annotations

import socket

import guard
import pytest
from guard import Peer, nodes_to_form_with, own_configuration

ONE, TWO = "rabbit@shop-rabbitmq-1", "rabbit@shop-rabbitmq-2"
ZERO = "rabbit@shop-rabbitmq-0"


def test_node_0_forms_the_cluster_when_all_others_are_empty_too() -> None:
    assert nodes_to_form_with(0, ZERO, {ONE: Peer.EMPTY, TWO: Peer.EMPTY}) == [ZERO]


@pytest.mark.parametrize("other", [Peer.SILENT, Peer.EMPTY])
def test_an_empty_node_0_waits_for_a_silent_peer(other: Peer) -> None:
    # The bug of others: its volume lost and its peers out of reach, node 0 formed a second cluster.
    assert nodes_to_form_with(0, ZERO, {ONE: Peer.SILENT, TWO: other}) is None


def test_an_empty_node_0_joins_the_cluster_that_runs() -> None:
    assert nodes_to_form_with(0, ZERO, {ONE: Peer.SILENT, TWO: Peer.RUNS}) == [ZERO, TWO]


@pytest.mark.parametrize("peers", [{ZERO: Peer.EMPTY, TWO: Peer.EMPTY}, {ZERO: Peer.SILENT, TWO: Peer.SILENT}])
def test_no_other_node_ever_forms_a_cluster(peers: dict[str, Peer]) -> None:
    assert nodes_to_form_with(1, ONE, peers) is None


def test_a_single_node_forms_its_cluster_at_once() -> None:
    assert nodes_to_form_with(0, ZERO, {}) == [ZERO]


def test_the_first_user_is_never_guest() -> None:
    text = own_configuration([ZERO, ONE], "app", "secret")
    assert "default_user = app\n" in text
    assert f"cluster_formation.classic_config.nodes.2 = {ONE}\n" in text


def test_a_peer_that_dies_while_it_answers_is_silent(
    torn_http_port: int, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "AMQP_PORT", closed_port)
    monkeypatch.setattr(guard, "GUARD_PORT", torn_http_port)
    assert guard.look("127.0.0.1") is Peer.SILENT


def test_a_frozen_peer_that_still_takes_connections_does_not_run(
    torn_http_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "GUARD_PORT", torn_http_port)
    monkeypatch.setattr(guard, "TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as frozen:  # nobody ever accepts
        monkeypatch.setattr(guard, "AMQP_PORT", frozen.getsockname()[1])
        assert guard.look("127.0.0.1") is Peer.SILENT


def test_a_peer_that_dies_while_it_answers_may_still_count_this_node_in(
    torn_http_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "MANAGEMENT_PORT", torn_http_port)
    assert guard.lists_me("127.0.0.1", ZERO, "app", "secret")
