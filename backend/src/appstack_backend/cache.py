"""What Redis knows for a request, in one round trip: the rate limit, the caller's last write, and a cached answer.

Of a token that was not seen before, one round trip earlier: how often its address tried tokens that nobody was given.

An entry carries the generation of the catalogue that it was read under; a write makes a new generation after its
commit, so an older entry is never shown again, even if a slow reader stores it late. Generations and callers carry
the position of the write in PostgreSQL's log (LSN), so a replica is read only once it has replayed it. A position
counts for a minute: no replica that is read is older, and a database that was restored may be behind what was told
before it for any time.

A Redis that was away may have missed a generation, or lost one in its own failover: every process makes a new one on
each new connection before it reads there, at the latest position that it knows. A write whose generation Redis did not
acknowledge is told only after that, if Redis comes back at once.
"""

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from appstack_backend.metrics import CACHE
from appstack_backend.redis_link import Call, RedisLink, Script
from appstack_backend.settings import Settings

# An LSN, when that was told (milliseconds of Redis' clock), and 20 random characters.
LSN_CHARACTERS, TOLD_CHARACTERS, RANDOM_CHARACTERS, GENERATION_BYTES = 16, 12, 20, 48
NO_LSN = "0" * LSN_CHARACTERS
is_lsn = re.compile(rb"[0-9A-F]{16}").fullmatch
is_generation = re.compile(rb"[0-9A-F]{16}[0-9a-f]{32}").fullmatch
HITS = CACHE.labels("hit")
NEWS, MOST_TOLD = timedelta(hours=1), 10_000
COUNTS_SECONDS = 60  # at least, of a position that was told: what a replica shows is never as old
YEAR_MILLISECONDS = 1 << 35  # a generation that says it is older, or of the future, was made by older code

# KEYS: limit, session, generation, entry. ARGV: microseconds per request, burst. The limit is a GCRA: it stores
# when the caller's bucket will be full again (under an earlier limit, or by a faster clock, perhaps much later than an
# empty one may be). Answers with Redis' clock in milliseconds as well.
LOOK = Script("""
    local step, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    if step > 0 then
        local known = tonumber(redis.call('GET', KEYS[1]) or 0)
        local full = math.min(math.max(known, now), now + step * burst)
        local wait = full + step - step * burst - now
        if wait <= 0 then full = full + step end
        if wait <= 0 or full < known then
            redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1)
        end
        if wait > 0 then return {wait, {}, 0} end
    end
    return {0, redis.call('MGET', KEYS[2], KEYS[3], KEYS[4]), math.floor(now / 1000)}""")
# KEYS: an address. ARGV: microseconds per attempt, how many at once, 1 to count one. Another GCRA: how long to wait.
# Any number may have been on their way when the bucket was emptied: they make nobody wait longer than for one attempt.
ATTEMPTS = Script("""
    local step, most = tonumber(ARGV[1]), tonumber(ARGV[2])
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    local full = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
    if ARGV[3] == '1' then
        full = math.min(full + step, now + step * most)
        redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1)
    end
    return math.max(0, math.ceil(full + step - step * most - now))""")
# KEYS: session, generation (either may be empty). ARGV: LSN, random part, seconds, a year. Neither goes back while what
# it was told still counts. A session keeps its later position for no longer than it would have without this one.
REMEMBER = Script("""
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    if KEYS[1] ~= '' and (redis.call('GET', KEYS[1]) or '') <= ARGV[1] then
        redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
    end
    if KEYS[2] ~= '' then
        local lsn, told = ARGV[1], string.format('%012x', now)
        local old = redis.call('GET', KEYS[2]) or ''
        local age, most = now - (tonumber(string.sub(old, 17, 28), 16) or 0), ARGV[3] * 1000
        if string.sub(old, 1, 16) > lsn and (age <= most or age > tonumber(ARGV[4])) then
            lsn = string.sub(old, 1, 16)
            if age >= 0 and age <= most then told = string.sub(old, 17, 28) end
        end
        redis.call('SET', KEYS[2], lsn .. told .. ARGV[2])
    end
    return 1""")
# KEYS: entry, generation. ARGV: value, seconds, a first generation or empty.
STORE = Script("""
    if ARGV[3] ~= '' then return redis.call('SET', KEYS[2], ARGV[3], 'NX') end
    return redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])""")


@dataclass(frozen=True, slots=True)
class Look:
    """What one round trip told. Without Redis nothing is limited, cached, or known of earlier writes."""

    is_known: bool = False
    wait_seconds: float = 0.0  # until the rate limit lets the caller in
    session_lsn: str = NO_LSN  # of the caller's last write
    generation: bytes | None = None
    entry: bytes | None = None
    is_recent: bool = True  # the generation's position was told not long ago
    is_settled: bool = True  # Redis has been there for longer than a replica may lag: it missed no write that matters

    @property
    def hit(self) -> bytes | None:
        """The cached value, if it is of the current generation."""
        if self.generation and self.entry and self.entry.startswith(self.generation):
            return self.entry[GENERATION_BYTES:]
        return None

    @property
    def needed_lsn(self) -> str | None:
        """What a replica must have replayed to serve this caller; None: nobody knows, so the primary serves."""
        if not self.is_known or not self.is_settled or not self.generation:
            return None
        return max(self.session_lsn, self.generation[:LSN_CHARACTERS].decode() if self.is_recent else NO_LSN)


UNKNOWN = Look()


class Cache:
    """Hot reads, limits and sessions by key."""

    def __init__(self, settings: Settings) -> None:
        self._link = RedisLink(settings, greeting=self._new_generation)
        self._name = settings.appstack_name
        self._settling_seconds = settings.replica_most_stale_seconds
        self._counts_seconds = max(COUNTS_SECONDS, math.ceil(3 * settings.replica_most_stale_seconds + 2))
        self._generation = f"{self._name}:catalogue:generation"
        self._ttl_seconds = settings.cache_ttl_seconds
        rate = settings.rate_limit_per_second
        self._limit = (1_000_000 / rate if rate else 0, settings.rate_limit_burst)
        per_minute = settings.auth_failures_per_minute
        self._attempts = (60_000_000 / per_minute if per_minute else 0, per_minute)
        self._loading: dict[tuple[str, bytes | int], asyncio.Future[bytes]] = {}
        self._told: dict[UUID, None] = {}  # jobs whose end this process told, the latest last
        self._writes = 0  # of this process
        self._latest_lsn, self._latest_at = NO_LSN, -math.inf  # of these; on the event loop's clock

    async def look(self, caller: str, key: str = "") -> Look:
        """Everything that Redis knows for one request of a caller that may be answered from `key`."""
        keys = (f"{self._name}:limit:{caller}", f"{self._name}:session:{caller}", self._generation, self._entry(key))
        return await self._link.run(LOOK, keys, self._limit, self._as_look) or UNKNOWN

    def _as_look(self, answer: Any) -> Look:
        wait, values, now = answer
        if wait:
            return Look(is_known=True, wait_seconds=wait / 1_000_000)
        session, generation, entry = values
        if session is not None and not is_lsn(session):
            raise ValueError("a session that is no position")
        if entry is not None and not isinstance(entry, bytes):
            raise TypeError("an entry that is no text")
        if generation is not None and not is_generation(generation):
            generation = None
        is_recent = generation is not None and self._is_recent(generation, now)
        is_settled = asyncio.get_running_loop().time() - self._link.greeted_at > self._settling_seconds
        return Look(True, 0.0, session.decode() if session else NO_LSN, generation, entry, is_recent, is_settled)

    def _is_recent(self, generation: bytes, now: int) -> bool:
        """Whether the position of a generation counts; older code does not say when it was told."""
        age = now - int(generation[LSN_CHARACTERS : LSN_CHARACTERS + TOLD_CHARACTERS], 16)
        return not 1_000 * self._counts_seconds < age <= YEAR_MILLISECONDS

    async def attempts(self, address: str, failed: bool = False) -> float:
        """Seconds until an address may try tokens again, by what all instances counted; 0 too where nobody knows."""
        key, args = f"{self._name}:attempts:{address}", (*self._attempts, int(failed))
        return await self._link.run(ATTEMPTS, (key,), args, lambda wait: wait / 1_000_000) or 0.0

    async def get(self, key: str, look: Look, load: Callable[[str | None], Awaitable[bytes]]) -> bytes:
        """The cached bytes, or what `load(needed_lsn)` returns; of simultaneous misses one loads for all."""
        if (hit := look.hit) is not None:
            HITS.inc()
            return hit
        CACHE.labels("miss" if look.is_known else "unreachable").inc()
        # Only those join who may be shown what the first one reads: it began after their last write.
        name = (key, look.generation or self._writes)
        if name not in self._loading:
            self._loading[name] = asyncio.ensure_future(self._load(key, look, load))
            self._loading[name].add_done_callback(lambda _: self._loading.pop(name, None))
        return await asyncio.shield(self._loading[name])

    async def remember(self, lsn: str, caller: str | None = None, catalogue: bool = False) -> None:
        """To be called after a commit: whose it was, and whether it changed the catalogue.

        Without Redis nothing is cached here, and the callers' reads go to the primary. But other processes may still
        reach it: so when it was lost just now, wait a moment for the new generation that a new connection begins with.
        """
        self._writes += 1
        if lsn >= self._latest():
            self._latest_lsn, self._latest_at = lsn, asyncio.get_running_loop().time()
        keys = (f"{self._name}:session:{caller}" if caller else "", self._generation if catalogue else "")
        if await self._link.run(REMEMBER, keys, self._told_now(lsn), bool) is None:
            await self._link.greeted()

    def _latest(self) -> str:
        """The latest position of a write of this process that counts."""
        is_old = asyncio.get_running_loop().time() - self._latest_at > self._counts_seconds
        return NO_LSN if is_old else self._latest_lsn

    def _told_now(self, lsn: str) -> tuple[str, str, int, int]:
        """What REMEMBER is given."""
        return lsn, uuid4().hex[:RANDOM_CHARACTERS], self._counts_seconds, YEAR_MILLISECONDS

    def is_news(self, job_id: UUID, finished_at: datetime) -> bool:
        """Whether this process has not told yet that a job is done, which ended not long ago.

        Its worker makes a new generation, but only after the commit that ended the job: who is told in between would
        be shown what was cached before. One generation more for each job is enough.
        """
        return job_id not in self._told and datetime.now(UTC) - finished_at < NEWS

    def note_told(self, job_ids: Iterable[UUID]) -> None:
        """What `is_news` is no longer."""
        self._told.update(dict.fromkeys(job_ids))
        while len(self._told) > MOST_TOLD:
            del self._told[next(iter(self._told))]

    async def close(self) -> None:
        await self._link.close()

    def _new_generation(self) -> Call:
        return REMEMBER, ("", self._generation), self._told_now(self._latest())

    def _entry(self, key: str) -> str:
        return f"{self._name}:catalogue:{key}"

    async def _load(self, key: str, look: Look, load: Callable[[str | None], Awaitable[bytes]]) -> bytes:
        value = await load(look.needed_lsn)
        if look.is_known:
            first = "" if look.generation else NO_LSN + uuid4().hex
            entry = (look.generation or b"") + value
            keys = (self._entry(key), self._generation)
            await self._link.run(STORE, keys, (entry, math.ceil(self._ttl_seconds), first), bool)
        return value
