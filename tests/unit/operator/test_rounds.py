"""Which nodes rounds of questions find lost: only those that most others can tell from a loss of the operator's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appstack_operator.rounds import Rounds, Word

WORDS = {"+": Word.ANSWER, "-": Word.SILENCE, "?": Word.UNASKED}
Round = dict[str, Word]


def a_round(words: str) -> Round:
    """One letter for each node, a space for one that was not asked: `++-` is a silent c."""
    return {node: WORDS[word] for node, word in zip("abcdefg", words, strict=False) if word != " "}


def lost_after(*rounds: str) -> str:
    judged = Rounds()
    for words in rounds:
        judged.judge(a_round(words))
    return "".join(sorted(judged.lost))


@pytest.mark.parametrize(
    ("rounds", "lost"),
    [
        pytest.param(["+++", "++-"], "", id="one silence is none yet"),
        pytest.param(["+++", "++-", "++-"], "c", id="two in a row are"),
        pytest.param(["+++", "++-", "+++", "++-"], "", id="not in a row"),
        pytest.param(["+++", "++-", "++?", "++-"], "", id="a question that could not be put is no silence"),
        pytest.param(["++-", "++-", "++-"], "", id="who never answered"),
        pytest.param(["+++", "++-", "++-", "+++"], "", id="it answers again"),
        pytest.param(["+++", "++-", "++-", "++?"], "c", id="lost until it answers"),
        pytest.param(["+++", "+--", "+--"], "", id="most are silent: the operator is cut off"),
        pytest.param(["++++", "++--", "++--"], "", id="as many answer as are silent"),
        pytest.param(["+++++", "+++--", "+++--"], "de", id="two of five"),
        pytest.param(["+++", "++-", "++-", "+--"], "", id="cut off now, and no longer sure of what it said"),
        pytest.param(["+++", "+--", "++-", "++-"], "c", id="rounds of one who is cut off do not count"),
        pytest.param(["+++", "+--", "++-"], "", id="nor as the first of two"),
        pytest.param(["+++", "++-", "++-", "+ -"], "", id="of two nodes nobody can tell"),
        pytest.param(["++", "+-", "+-"], "", id="two nodes"),
        pytest.param(["+++", "++-", "++-", "++ "], "", id="it has no pods any more"),
        pytest.param(["+++", "++ ", "++-", "++-"], "", id="a node of that name that is new has not answered yet"),
    ],
)
def test_a_node_is_lost_if_most_others_answer(rounds: list[str], lost: str) -> None:
    assert lost_after(*rounds) == lost


def test_a_successor_goes_by_what_its_predecessor_has_heard() -> None:
    rounds = Rounds(heard="bc")
    for words in ("", "+  ", "++-", "++-"):  # it gets to know the nodes one by one
        rounds.judge(a_round(words))
    assert rounds.lost == {"c"}
    assert rounds.heard == {"a", "b", "c"}


def test_an_answer_of_another_pod_is_one_of_the_node() -> None:
    rounds = Rounds()
    for words in ("+++", "++-", "++-"):
        rounds.judge(a_round(words))
    rounds.hear("c")
    assert not rounds.lost
    rounds.judge(a_round("++-"))
    assert not rounds.lost, "its silences are counted anew"
    rounds.judge(a_round("++-"))
    assert rounds.lost == {"c"}


@pytest.mark.parametrize(
    ("words", "is_cut_off"),
    [("", False), ("+", False), ("-", False), ("+-", False), ("++-", False), ("+--", True), ("???", False)],
)
def test_only_silence_of_most_nodes_tells_that_the_operator_is_cut_off(words: str, is_cut_off: bool) -> None:
    rounds = Rounds()
    rounds.judge(a_round(words))
    assert rounds.is_cut_off is is_cut_off


def says_much(words: Round) -> bool:
    """Whether a round is one from which anything follows."""
    said = list(words.values())
    return len(said) >= 3 and said.count(Word.ANSWER) > said.count(Word.SILENCE)


@given(st.lists(st.text("+-? ", min_size=5, max_size=5), min_size=2, max_size=12))
def test_whatever_comes_the_lost_are_those_that_fell_silent_among_others(history: list[str]) -> None:
    rounds, said = Rounds(), [a_round(words) for words in history]
    for number, words in enumerate(said):
        before = rounds.lost
        rounds.judge(words)
        last_two = said[max(number - 1, 0) : number + 1]
        for node in "abcde":
            earlier = [each.get(node) for each in said[:number]]
            since_it_is_known = earlier[len(earlier) - earlier[::-1].index(None) :] if None in earlier else earlier
            fell_silent = (
                len(last_two) == 2
                and all(each.get(node) is Word.SILENCE and says_much(each) for each in last_two)
                and Word.ANSWER in since_it_is_known
            )
            stays = node in before and words.get(node) in (Word.SILENCE, Word.UNASKED) and says_much(words)
            assert (node in rounds.lost) is (fell_silent or stays)
