"""The keeper of one Redis: asks before it starts, records how new the data is, hands over before it stops."""

import json
import logging
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from appstack_redis import record as records
from appstack_redis.ask import ask_failover, ask_member, ask_members, ask_sentinels, ask_until_agreed
from appstack_redis.decide import (
    PATIENCE_SECONDS,
    Answer,
    Decision,
    Member,
    Step,
    has_waited_in_vain,
    may_be_followed,
    may_be_given_up,
    may_be_promoted,
    named_master,
    next_step,
    undisputed_master,
)
from appstack_redis.disk import Disk
from appstack_redis.hand_over import disk_works, ends_at_once, hand_over, replication_of, wait_until
from appstack_redis.record import Record
from appstack_redis.resp import Connection, RedisError, info
from appstack_redis.settings import REDIS_PORT, Group, Settings

log = logging.getLogger("keeper")

SILENCE_SECONDS = 20.0  # a server that has not answered for so long is not alive
NEW_MASTER_SECONDS = 5.0  # for so long the other Sentinels may not have heard of a promotion
AGREED_SECONDS = 3.0  # after that, Sentinels tell a master that it was replaced
SHUTDOWN_SECONDS = 12.0
# For so long a pod whose server was replaced stays: who still comes to its address is refused, and asks again at once.
# An address that is gone swallows the attempt, and costs a client its whole time limit.
REFUSE_SECONDS = 2.0
NEVER_PROMOTE, PROMOTE = 0, 100  # replica-priority


class Keeper:
    """One Redis server as a child process, and what this pod knows about its data."""

    def __init__(self, settings: Settings) -> None:
        """Load the record of the volume; start nothing yet."""
        self.settings = settings
        self.record_path = settings.data_dir / "appstack-record.json"
        kept = records.load(self.record_path)
        self.member = Member(settings.pod, kept.generation, kept.offset, kept.was_master)
        self.server: subprocess.Popen[bytes] | None = None
        self.stop = threading.Event()
        self._connection: Connection | None = None
        self._answered = time.monotonic()
        self._promoted = 0.0
        self._linked = 0.0  # when the server was last seen to lead, or to be linked to its master
        self._lineage = ""  # the master_replid whose generation we hold
        self._announced = ""  # the address that others know us by
        self._min_replicas = 0  # what the server was told
        self._disk = Disk()

    def live(self) -> bool:
        """Whether the pod should be left alone: it waits on purpose, or its server answers."""
        return self.server is None or time.monotonic() - self._answered < SILENCE_SECONDS

    def ready(self) -> bool:
        """Whether the server holds the stack's data; stays true while a replica looks for a new master."""
        return self.member.in_sync and time.monotonic() - self._answered < SILENCE_SECONDS / 4

    def state(self) -> str:
        """What other keepers may know."""
        return json.dumps(asdict(self.member))

    def run(self) -> int:
        """Keep the server until the pod is told to stop."""
        while not self.stop.is_set():
            decision = self.decide()
            if decision is None:
                break
            self.start(decision)
            self.watch()
        self.shut_down()
        return 0

    # Before the server starts

    def decide(self) -> Decision | None:
        """Look until this pod may start; None when it is told to stop first."""
        began, said, sure = time.monotonic(), "", False
        while not self.stop.wait(0.5):
            group = self.settings.group()
            if self.settings.pod not in group.redis:
                decision = Decision(Step.WAIT, "this pod has no address in members.json yet")
            else:
                decision = self.look(group, time.monotonic() - began)
            if decision.why != said:
                log.info("%s: %s", decision.step.value, decision.why)
                said = decision.why
            if decision.step is Step.HAND_OVER:
                _, refusal = ask_failover(group, self.settings.password)
                log.info("failover asked for: %s", refusal or "agreed")
            if decision.step is Step.FOLLOW or (decision.step is Step.LEAD and sure):
                return decision
            # A second look before leading: a member with newer data may have appeared meanwhile.
            sure = decision.step is Step.LEAD
        return None

    def look(self, group: Group, waited_seconds: float) -> Decision:
        """Ask everybody and apply the rules."""
        answers = ask_sentinels(group, self.settings.password)
        address = named_master(answers)
        members = {**ask_members(group, without=self.settings.pod), self.settings.pod: self.member}
        return next_step(
            self.settings.pod,
            group.pod_at(address) if address else None,
            members,
            len(group.redis),
            group.min_replicas,
            waited_seconds,
        )

    def start(self, decision: Decision) -> None:
        """Write the configuration and start the server."""
        group = self.settings.group()
        if decision.step is Step.LEAD:
            self.begin_generation(group)
        self.settings.run_dir.mkdir(parents=True, exist_ok=True)
        path = self.settings.run_dir / "redis.conf"
        path.touch(mode=0o600)
        base = (self.settings.config_dir / "redis.conf").read_text()
        path.write_text(base + "\n".join(self.own_lines(group, decision.master)) + "\n")
        self._lineage, self._answered = "", time.monotonic()
        self._announced, self._min_replicas = group.redis[self.settings.pod], group.min_replicas
        self.server = subprocess.Popen(["redis-server", str(path)])

    def own_lines(self, group: Group, master: str) -> list[str]:
        """The part of redis.conf that is this pod's own."""
        password = json.dumps(self.settings.password)
        lines = [
            f"dir {self.settings.data_dir}",
            f"requirepass {password}",
            f"masterauth {password}",
            f"replica-announce-ip {group.redis[self.settings.pod]}",
            f"replica-announce-port {REDIS_PORT}",
            f"min-replicas-to-write {group.min_replicas}",
            # Not to be promoted before it holds what its master holds: an old volume must not win.
            f"replica-priority {NEVER_PROMOTE if master else PROMOTE}",
        ]
        return [*lines, f"replicaof {group.redis[master]} {REDIS_PORT}"] if master else lines

    def begin_generation(self, group: Group) -> None:
        """Mark that from now on this pod's data is the newest: a new master's first act."""
        others = ask_members(group, without=self.settings.pod).values()
        newest = max([self.member.generation, *(other.generation for other in others)])
        self.member = replace(self.member, generation=newest + 1, offset=0, was_master=True)
        self.save(Record(newest + 1, 0, was_master=True))

    # While it runs

    def watch(self) -> None:
        """Look at the server every second until it ends or the pod is told to stop."""
        began = time.monotonic()
        while not self.stop.wait(1.0):
            if self.server is None or self.server.poll() is not None:
                log.warning("the server ended with %s", self.server and self.server.returncode)
                break
            try:
                self.observe(time.monotonic() - began)
            except RedisError as error:  # LOADING and the like: it answers
                self._answered = time.monotonic()
                log.info("the server says: %s", error)
            except OSError as error:
                self.disconnect()
                log.warning("the server does not answer: %s", error)
        else:
            return
        self.disconnect()
        self.server = None
        self.member = replace(self.member, serves="", in_sync=False)

    def connection(self) -> Connection:
        """The connection to our own server."""
        if self._connection is None:
            self._connection = Connection("127.0.0.1", REDIS_PORT, self.settings.password, 2.0)
        return self._connection

    def disconnect(self) -> None:
        """Forget the connection: the next look makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def observe(self, running_seconds: float) -> None:
        """One look: role, link, offset; keeps the record and the promotion rule up to date."""
        facts = info(self.connection(), "replication")
        self._answered = time.monotonic()
        group = self.settings.group()
        self.keep_announcing(group, is_replica=facts["role"] != "master")
        self.keep_min_replicas(group, facts)
        if facts["role"] == "master":
            self._linked = self._answered
            self.observe_master(group, facts)
        elif facts.get("master_link_status") == "up":
            self._linked = self._answered
            self.observe_linked_replica(group, facts)
        else:
            self.observe_lost_replica(group, facts, running_seconds)
        self.observe_disk(group, is_master=facts["role"] == "master")

    def observe_disk(self, group: Group, *, is_master: bool) -> None:
        """A master that refuses writes for its disk's sake makes room; nobody on such a disk is promoted."""
        did_fail = self._disk.failing_since is not None
        if not self._disk.look(info(self.connection(), "persistence"), self._answered):
            if did_fail and self.member.in_sync:
                log.info("the disk takes writes again")
                self.connection().call("CONFIG", "SET", "replica-priority", PROMOTE)
            return
        self.connection().call("CONFIG", "SET", "replica-priority", NEVER_PROMOTE)
        if is_master and self._disk.is_time_to_hand_over(self._answered):
            self.leave(group)

    def leave(self, group: Group) -> None:
        """Let another one lead, where one can: what clients are told meanwhile is an error already."""
        log.warning("the disk takes no writes: handing over")
        try:
            if hand_over(self.settings, self.connection, self._announced, can_lead=disk_works):
                wait_until(lambda: self.yield_to_successor(group), time.monotonic() + AGREED_SECONDS)
        finally:
            self.connection().call("CLIENT", "UNPAUSE")

    def keep_announcing(self, group: Group, *, is_replica: bool) -> None:
        """Announce the address of this pod's Service: one that was deleted and made anew has another.

        A replica tells its master only when it connects. A master at a lost address is replaced by the Sentinels.
        """
        address = group.redis.get(self.settings.pod)
        if address is None or address == self._announced:
            return
        if self._announced:
            log.info("announcing %s, no longer %s", address, self._announced)
            self.connection().call("CONFIG", "SET", "replica-announce-ip", address)
            if is_replica:
                self.connection().call("CLIENT", "KILL", "TYPE", "master")
        self._announced = address

    def keep_min_replicas(self, group: Group, facts: Mapping[str, str]) -> None:
        """Follow a group that grows or shrinks; a master first waits for the replicas that it will need."""
        needed = group.min_replicas
        is_lacking = facts["role"] == "master" and int(facts["connected_slaves"]) < needed
        if needed != self._min_replicas and not (is_lacking and needed > self._min_replicas):
            self.connection().call("CONFIG", "SET", "min-replicas-to-write", needed)
            self._min_replicas = needed

    def observe_master(self, group: Group, facts: dict[str, str]) -> None:
        """A master; it begins a generation where it was a replica until now."""
        if self.member.serves == "replica":
            log.info("promoted to master")
            self._promoted = time.monotonic()
            self.begin_generation(group)
        if not self.member.in_sync:
            self.connection().call("CONFIG", "SET", "replica-priority", PROMOTE)
        self._lineage = facts["master_replid"]
        self.keep(int(facts["master_repl_offset"]), serves="master", was_master=True)
        is_new = time.monotonic() - self._promoted < NEW_MASTER_SECONDS
        if int(facts["connected_slaves"]) < group.min_replicas and not is_new:
            self.yield_to_successor(group)

    def yield_to_successor(self, group: Group) -> bool:
        """Follow the master that most Sentinels name: a master that too many replicas have left may be deposed.

        Sentinels would tell it too, but only after 8 seconds.
        """
        address = ask_until_agreed(group, self.settings.password)
        if address and group.pod_at(address) not in (None, self.settings.pod):
            log.info("most Sentinels name %s: following it", group.pod_at(address))
            self.connection().call("REPLICAOF", address, REDIS_PORT)
            return True
        return False

    def observe_linked_replica(self, group: Group, facts: dict[str, str]) -> None:
        """A replica that holds its master's data: it takes over the master's generation, and may be promoted."""
        if not self.member.in_sync:
            self.connection().call("CONFIG", "SET", "replica-priority", PROMOTE)
            log.info("in sync with %s", facts["master_host"])
        if self._lineage != facts["master_replid"]:
            pod = group.pod_at(facts["master_host"])
            master = ask_member(pod, facts["master_host"]) if pod else None
            if master is None or master.serves != "master":
                self.member = replace(self.member, serves="replica", in_sync=True)
                return  # offset and generation must be of one lineage: keep the old pair for now
            self._lineage = facts["master_replid"]
            self.member = replace(self.member, generation=master.generation)
        self.keep(int(facts["slave_repl_offset"]), serves="replica", was_master=False)

    def keep(self, offset: int, *, serves: str, was_master: bool) -> None:
        """Record how new the data is."""
        self.member = replace(self.member, offset=offset, serves=serves, was_master=was_master, in_sync=True)
        self.save(Record(self.member.generation, offset, was_master))

    def save(self, record: Record) -> None:
        """Keep the record on the volume; a disk that takes no writes keeps no server that answers from serving."""
        try:
            records.save(self.record_path, record)
        except OSError as error:
            log.warning("the record is not kept: %s", error)

    def observe_lost_replica(self, group: Group, facts: dict[str, str], running_seconds: float) -> None:
        """A replica without a link: it turns to a new master, or offers itself if nobody leads and it is the newest."""
        self.member = replace(self.member, serves="replica")
        lost_seconds = self._answered - self._linked
        # The last second before the link broke counts, too.
        if self.member.in_sync and facts.get("master_replid") == self._lineage:
            offset = max(self.member.offset, int(facts["slave_repl_offset"]))
            self.keep(offset, serves="replica", was_master=False)
        answers = ask_sentinels(group, self.settings.password)
        if self.turn_to_master(group, facts, answers):
            return
        if self.member.in_sync and lost_seconds < PATIENCE_SECONDS:
            return  # Sentinels may promote it: it held everything when the link broke
        address = named_master(answers)
        members = {**ask_members(group, without=self.settings.pod), self.settings.pod: self.member}
        named = group.pod_at(address) if address else None
        me, size = self.settings.pod, len(group.redis)
        if self.member.in_sync:
            if self.server and (
                has_waited_in_vain(me, named, members, size, lost_seconds)
                or self.gives_up(group, answers, members, lost_seconds)
            ):
                log.warning("nobody leads and nobody was promoted for %.0f s: starting anew", lost_seconds)
                self.server.terminate()
        elif may_be_promoted(me, named, members, size, group.min_replicas, running_seconds):
            self.connection().call("CONFIG", "SET", "replica-priority", PROMOTE)
            _, refusal = ask_failover(group, self.settings.password)
            log.info("nobody leads and this pod holds the newest data: %s", refusal or "a failover is agreed")

    def gives_up(
        self, group: Group, answers: Sequence[Answer], members: Mapping[str, Member], lost_seconds: float
    ) -> bool:
        """Whether the master that all Sentinels name is silent for good: nobody who answers has a link to it either."""
        address = undisputed_master(answers, group.quorum)
        named = group.pod_at(address) if address else None
        if not may_be_given_up(named, members, len(group.redis), group.min_replicas, lost_seconds):
            return False
        others = [group.redis[pod] for pod, member in members.items() if member.serves and pod != self.settings.pod]
        # A server that does not say whether it is linked may be.
        links = [replication_of(each, self.settings.password).get("master_link_status", "up") for each in others]
        return "up" not in links

    def turn_to_master(self, group: Group, facts: Mapping[str, str], answers: Sequence[Answer]) -> bool:
        """Follow another master than so far, where all Sentinels name it; whether it does.

        Sentinels tell those that they take for up when they fail over. Who has just come back would wait for 10 s, and
        so would the writes of a master that has no other replica.
        """
        address = undisputed_master(answers, group.quorum)
        pod = group.pod_at(address) if address else None
        if address is None or pod in (None, self.settings.pod) or address == facts.get("master_host"):
            return False
        if not may_be_followed(self.member, ask_member(str(pod), address)):
            return False
        if self.connection().call("ROLE")[0] != "slave":
            return False  # promoted since we looked
        log.info("without a link to %s, and all Sentinels name %s: following it", facts.get("master_host"), pod)
        self.connection().call("REPLICAOF", address, REDIS_PORT)
        return True

    # Before it stops

    def shut_down(self) -> None:
        """Hand over, then end the server."""
        self.member = replace(self.member, stopping=True)
        if self.server is None or self.server.poll() is not None:
            return
        handed_over = hand_over(self.settings, self.connection, self._announced)
        if not (handed_over and ends_at_once(self.connection)):
            self.server.terminate()
        try:
            self.server.wait(SHUTDOWN_SECONDS)
        except subprocess.TimeoutExpired:
            self.server.kill()
        self.member = replace(self.member, serves="", in_sync=False)
        if handed_over:
            time.sleep(REFUSE_SECONDS)
