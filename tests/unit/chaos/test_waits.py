"""Waits of the tests on a cluster: a moment in which the API server does not answer ends none of them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.chaos import site
from tests.cluster.kit import kube

if TYPE_CHECKING:
    from pathlib import Path

Wait = Callable[..., Any]
BOTH = pytest.mark.parametrize(
    ("wait", "unanswered", "given_up"),
    [
        pytest.param(kube.wait_until, kube.KubectlFailed, AssertionError, id="cluster"),
        pytest.param(site.wait_until, site.Unanswered, site.Trouble, id="chaos"),
    ],
)


def saying(*answers: str | Exception) -> Callable[[], str]:
    """A question that is answered so, and goes on with the last answer."""
    left = list(answers)

    def question() -> str:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return question


@BOTH
def test_who_gave_no_answer_is_asked_again(wait: Wait, unanswered: type[Exception], given_up: type[Exception]) -> None:
    assert wait(saying(unanswered("TLS handshake timeout"), "", "yes"), "it is so", 60, 0.01) == "yes"


@BOTH
def test_one_that_never_answers_is_told_in_the_end(
    wait: Wait, unanswered: type[Exception], given_up: type[Exception]
) -> None:
    with pytest.raises(given_up, match=r"not within .*: it is so; last answer: .*connection refused"):
        wait(saying(unanswered("connection refused")), "it is so", 0.05, 0.01)


@BOTH
def test_what_went_wrong_otherwise_is_told_at_once(
    wait: Wait, unanswered: type[Exception], given_up: type[Exception]
) -> None:
    with pytest.raises(given_up, match=r"^two primaries$"):
        wait(saying(given_up("two primaries"), "yes"), "it is so", 60, 0.01)


def test_a_way_to_a_pod_that_is_refused_once_is_made_anew(tmp_path: Path) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(
        f"#!/bin/sh\ncd {tmp_path}\n"
        "[ -e asked ] && echo 'Forwarding from 127.0.0.1:40001 -> 8000' && exec sleep 60\n"
        "touch asked; echo 'error: unable to upgrade connection'; exit 1\n"
    )
    kubectl.chmod(0o755)
    cluster = SimpleNamespace(kubectl_path=kubectl, kubeconfig_path=tmp_path / "kubeconfig")
    with kube.Kube(cluster).port_forward("pod/shop-api-0", 8000, "shop") as port:
        assert port == 40001
