"""For how long a node is left alone whose kubelet has put its own word over a mark."""

from __future__ import annotations

from appstack_operator.patience import FIRST_SECONDS, LONGEST_SECONDS, Patience


def test_who_was_never_marked_has_put_nothing_back() -> None:
    patience = Patience()
    patience.see_ready("a", now=0)
    assert not patience.is_resting("1", now=0)


def test_each_word_of_kubelets_against_a_mark_doubles_the_rest_of_its_node_alone() -> None:
    patience, now = Patience(), 0.0
    rests = []
    for _ in range(7):
        patience.mark("a", "1")
        patience.see_ready("a", now)
        rests.append(next(seconds for seconds in range(1000) if not patience.is_resting("1", now + seconds)))
        assert not patience.is_resting("2", now)
        now += rests[-1]
    assert rests == [FIRST_SECONDS, 20, 40, 80, 160, LONGEST_SECONDS, LONGEST_SECONDS]


def test_a_kubelet_that_puts_back_all_pods_of_a_node_has_said_it_once() -> None:
    patience = Patience()
    for uid in "ab":
        patience.mark(uid, "1")
    patience.see_ready("a", now=0)
    patience.see_ready("b", now=9)
    assert not patience.is_resting("1", now=FIRST_SECONDS)
    patience.see_ready("b", now=FIRST_SECONDS)
    assert not patience.is_resting("1", now=FIRST_SECONDS), "it was not marked again"


def test_a_node_that_answers_starts_anew() -> None:
    patience = Patience()
    for uid, node in (("a", "1"), ("b", "2")):
        patience.mark(uid, node)
        patience.see_ready(uid, now=0)
        patience.mark(uid, node)
    patience.keep({"2"})
    assert [patience.is_resting(node, now=1) for node in "12"] == [False, True]
    patience.see_ready("a", now=1)
    assert not patience.is_resting("1", now=1), "what was marked before it answered is forgotten, too"
