"""Who is apart from whom, by the nodes' own words: also where no node lists a partition."""

from __future__ import annotations

import pytest

from appstack_operator.assess.partition import all_speak, sides_of
from appstack_operator.observed import RabbitmqNode


def nodes(*words: str | None, lists: dict[int, str] | None = None) -> tuple[RabbitmqNode, ...]:
    """Nodes 0, 1, …: whom each counts in ("01"; None: it does not answer), and whom it lists as partitioned."""
    return tuple(
        RabbitmqNode(
            f"rabbit@{number}",
            f"shop-rabbitmq-{number}",
            is_running=word is not None,
            partitions=tuple(f"rabbit@{other}" for other in (lists or {}).get(number, "")),
            counts=None if word is None else tuple(f"rabbit@{other}" for other in word),
        )
        for number, word in enumerate(words)
    )


def sides(members: tuple[RabbitmqNode, ...]) -> list[str]:
    return ["".join(node.pod[-1] for node in side) for side in sides_of(members)]


@pytest.mark.parametrize(
    ("members", "found"),
    [
        pytest.param(nodes("012", "012", "012"), ["012"], id="whole"),
        pytest.param(nodes("01", "01", "2"), ["01", "2"], id="two and one, and no list"),
        pytest.param(nodes("0", "12", "12"), ["12", "0"], id="the first node is the smaller side"),
        pytest.param(nodes("0", "1", "2"), ["0", "1", "2"], id="nobody sees anybody"),
        pytest.param(nodes("012", "012", "02"), ["01", "2"], id="one-sided: the last does not count the second in"),
        pytest.param(nodes("01", "012", "12"), ["01", "2"], id="the middle one sees both"),
        pytest.param(nodes("012", "012", "012", lists={0: "2", 1: "2"}), ["01", "2"], id="all run, two list the last"),
        pytest.param(nodes("012", "012", "012", lists={2: "01"}), ["01", "2"], id="all run, the last lists both"),
        pytest.param(nodes("01", "01", None), ["01"], id="one does not answer"),
        pytest.param(nodes("01", "01", "234", "234", "234"), ["234", "01"], id="of five"),
        pytest.param((), [], id="none"),
    ],
)
def test_nodes_are_on_one_side_that_all_count_each_other_in(
    members: tuple[RabbitmqNode, ...], found: list[str]
) -> None:
    assert sides(members) == found


def test_a_node_that_does_not_answer_may_still_be_cut_off() -> None:
    assert all_speak(nodes("01", "01", "2"))
    assert not all_speak(nodes("01", "01", None))
    assert not all_speak(())
