"""Asks one pod on each node, once a second, and takes the pods of a node that falls silent out of their Services.

Kubernetes sends requests to the pods of a lost node for 40 seconds and more. Beside passes, which take seconds where
services are silent: one connection a second for each node, however many stacks there are, and not a word to the API
server while all nodes answer.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import copy_context
from dataclasses import replace
from datetime import UTC, datetime

from appstack_operator.api import AppStack
from appstack_operator.apply import apply
from appstack_operator.client import ApiError
from appstack_operator.converge import Operator
from appstack_operator.daemons import STOP_SECONDS, WRITE_SECONDS
from appstack_operator.events import build_silence
from appstack_operator.kinds import BY_NAME
from appstack_operator.logs import STACK as STACK_OF_LOG
from appstack_operator.marks import plan_marks
from appstack_operator.neighbours import Key, Place, places_of, to_take_out
from appstack_operator.objects import STACK_LABEL
from appstack_operator.observe import own_by_name
from appstack_operator.patience import Patience
from appstack_operator.plan import Action
from appstack_operator.rounds import FEWEST_NODES, Rounds, Word
from appstack_operator.services.knock import knock

logger = logging.getLogger(__name__)

EVERY_SECONDS = 1.0
# All pods of a lost node are asked: so many of them together, and of so many stacks together they are taken out.
QUESTIONS_AT_ONCE = 500
STACKS_AT_ONCE = 8
AGAIN_SECONDS = 3.0  # what could not be written is tried again
POD = BY_NAME["Pod"]
Ask = Callable[[str, int], Awaitable[Word]]


class Lookout:
    """Watches the nodes for as long as this process may write."""

    def __init__(self, operator: Operator, ask: Ask = knock, heard: Iterable[str] = ()) -> None:
        """Nobody was asked yet, but by a predecessor: these nodes have answered it."""
        self._operator, self._ask = operator, ask
        self._rounds, self._patience = Rounds(heard), Patience()
        self._silent: dict[str, str] = {}  # uid of a pod -> its node: both were asked, and are silent
        self._told: set[str] = set()  # of whom an event has told, by uid
        self._tried: dict[Key, float] = {}  # what could not be written -> when
        self._is_due = asyncio.Event()
        self._is_stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def heard(self) -> frozenset[str]:
        """The nodes that have answered: for a successor, which may begin because one of them is lost.

        No others than pods are on: it is noted in the Lease, which must not grow with all nodes that ever were.
        """
        return self._rounds.heard.intersection(self._operator.neighbours.nodes())

    def start(self) -> None:
        """Ask from now on, where the settings say so."""
        if self._operator.settings.marks_silent_pods:
            works = {"lookout": self._keep_asking(), "taking out": self._keep_taking_out()}
            self._tasks = [asyncio.create_task(work, name=name, context=copy_context()) for name, work in works.items()]

    async def stop(self) -> None:
        """Ask no more, and mark no more; a write that is under way ends by itself.

        Given up only when none can be under way any more: after the passes' time nobody may begin one.
        """
        self._is_stopping = True
        self._is_due.set()
        if self._tasks:
            self._tasks[0].cancel()
            await asyncio.wait(self._tasks, timeout=STOP_SECONDS + WRITE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def look(self) -> None:
        """One round: who is lost by now, and which of their pods are as silent as they are."""
        before, was_cut_off = self._rounds.lost, self._rounds.is_cut_off
        found = self._operator.neighbours.one_on_each_node()
        places = found if len(found) >= FEWEST_NODES else {}
        # Beside the question that decides: a lost node's pods are marked a second sooner.
        suspects = asyncio.gather(*(self._ask_pods_of(node) for node in self._rounds.suspected & places.keys()))
        words, _ = await asyncio.gather(self._ask_all(list(places.values())), suspects)
        self._rounds.judge(dict(zip(places, words, strict=True)))
        await asyncio.gather(*(self._ask_pods_of(node) for node in self._rounds.lost))
        self._silent = {uid: node for uid, node in self._silent.items() if node in self._rounds.lost}
        self._told &= self._silent.keys()
        self._patience.keep(self._rounds.lost)
        if not self._rounds.lost:
            self._tried.clear()
        for node in sorted(self._rounds.lost - before):
            logger.warning(
                "node %s does not answer, and most others do: pods on it that are as silent leave their Services", node
            )
        for node in sorted(before - self._rounds.lost):
            logger.info("node %s is no longer taken for lost", node)
        if self._rounds.is_cut_off and not was_cut_off:
            logger.warning("most nodes do not answer: the operator itself seems to be cut off, and takes no pod out")
        if self.due():
            self._is_due.set()

    def due(self) -> list[Key]:
        """The stacks of which something is to be taken out, as far as is known."""
        neighbours = self._operator.neighbours
        pods = [each for node in self._rounds.lost for each in neighbours.on_node(node)]
        keys = dict.fromkeys(key for key, place in pods if place.is_ready and place.uid in self._silent)
        late = time.monotonic() - AGAIN_SECONDS
        return [key for key in keys if self._tried.get(key, late) <= late and self._has_work(neighbours.of_stack(key))]

    def _has_work(self, places: list[Place]) -> bool:
        """Whether one of a stack's pods is to be marked now."""
        return any(not self._is_resting(place.node) for place in to_take_out(places, self._silent))

    def _is_resting(self, node: str) -> bool:
        """Whether a node is left to its kubelet for now."""
        return self._patience.is_resting(node, time.monotonic())

    async def take_out(self, key: Key) -> None:
        """Mark the silent pods of one stack, as it is now."""
        self._tried.pop(key, None)
        known = self._operator.known.get(key)
        if known is None or known.is_left_alone:
            self._tried[key] = time.monotonic()
            return
        STACK_OF_LOG.set("/".join(key))
        api, now = self._operator.api, datetime.now(UTC)
        async with api.looks:
            found = await api.list(POD, known.stack.namespace, f"{STACK_LABEL}={known.stack.name}")
        pods = list(own_by_name(known.stack, found).values())
        places, marked = places_of(pods), dict[str, Action]()
        for place in places:
            if place.is_ready:
                self._patience.see_ready(place.uid, time.monotonic())
        for action in plan_marks(pods, self._silent, now):
            node = self._silent.get(action.uid)
            if self._is_stopping or node is None or self._is_resting(node):
                continue
            if await apply(known.stack, [action], api):
                self._tried[key] = time.monotonic()
            else:
                marked[action.uid] = action
                self._patience.mark(action.uid, node)
        if key in self._operator.known:  # else it was deleted meanwhile, and nobody would forget it again
            left = [replace(each, is_ready=each.is_ready and each.uid not in marked) for each in places]
            self._operator.neighbours.note(key, left)
        await self._tell(known.stack, marked, now)

    async def _tell(self, stack: AppStack, marked: Mapping[str, Action], now: datetime) -> None:
        """Once about each pod: a kubelet that has lost only us puts its own word back, and is contradicted again."""
        news: dict[str, list[str]] = {}
        for uid, action in marked.items():
            if uid in self._silent and uid not in self._told:
                news.setdefault(self._silent[uid], []).append(action.target.name)
        self._told |= marked.keys()
        for node, names in news.items():
            try:
                await self._operator.api.create(build_silence(stack, node, names, now))
            except ApiError as error:
                logger.warning("an event could not be written: %s", error.message)

    async def _ask_pods_of(self, node: str) -> None:
        """The ready pods of a lost node that nobody has asked yet; an answer of any of them is the node's."""
        pods = [place for _, place in self._operator.neighbours.on_node(node)]
        asked = [place for place in pods if place.is_ready and place.uid not in self._silent]
        words = await self._ask_all(asked)
        if Word.ANSWER in words:
            self._rounds.hear(node)
            return
        self._silent |= {each.uid: node for each, word in zip(asked, words, strict=True) if word is Word.SILENCE}

    async def _ask_all(self, places: list[Place]) -> list[Word]:
        """What came of a question to each."""
        words: list[Word] = []
        for start in range(0, len(places), QUESTIONS_AT_ONCE):
            part = places[start : start + QUESTIONS_AT_ONCE]
            words += await asyncio.gather(*(self._ask(place.address, place.port) for place in part))
        return words

    async def _keep_asking(self) -> None:
        """Round after round, one a second; a defect ends none but its own."""
        while True:
            begun = time.monotonic()
            try:
                await self.look()
            except Exception:
                logger.exception("a round of questions to the nodes crashed")
            # At once after a round in which somebody was waited for: each second counts now.
            await asyncio.sleep(max(0.1, begun + EVERY_SECONDS - time.monotonic()))

    async def _keep_taking_out(self) -> None:
        """Whenever something is due; questions go on meanwhile, and take back what they said."""
        places = asyncio.Semaphore(STACKS_AT_ONCE)

        async def one(key: Key) -> None:
            async with places:
                if self._is_stopping:
                    return
                try:
                    await self.take_out(key)
                except ApiError as error:
                    self._tried[key] = time.monotonic()
                    logger.warning(
                        "pods of %s could not be taken out of their Services: %s", "/".join(key), error.message
                    )
                except Exception:
                    self._tried[key] = time.monotonic()
                    logger.exception("taking pods out of their Services crashed")

        while not self._is_stopping:
            await self._is_due.wait()
            self._is_due.clear()
            try:
                await asyncio.gather(*(one(key) for key in self.due()))
            except Exception:
                logger.exception("what is to be taken out of Services cannot be told")
