"""Every reason has its page, and no page is left of a reason that is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from appstack_operator.assess.verdict import Reason

RUNBOOKS = Path(__file__).resolve().parents[3] / "docs" / "runbooks"


def test_there_is_a_page_for_each_reason_and_no_other() -> None:
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == {reason.value for reason in Reason}


@pytest.mark.parametrize("reason", list(Reason))
def test_a_page_says_what_it_means_how_to_look_and_what_to_do(reason: Reason) -> None:
    page = (RUNBOOKS / f"{reason.value}.md").read_text()
    assert page.startswith(f"# {reason.value}\n{reason.meaning}\n")
    for part in ("## What it means\n", "## How to look\n```sh\nkubectl ", "## What to do\n"):
        assert part in page


def test_the_log_is_read_of_all_pods_of_the_operator() -> None:
    """One of them works, the others wait: of a Deployment kubectl would choose any."""
    pages = [page.name for page in RUNBOOKS.glob("*.md") if "deploy/appstack-operator" in page.read_text()]
    assert pages == []
