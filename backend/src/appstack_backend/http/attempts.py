"""How often an address may present tokens that nobody was given: guessing costs a look into the database each time.

Counted in Redis for all instances, and in the memory of each process: that holds while Redis is away, or forgot.
"""

import ipaddress
import time

from appstack_backend.cache import Cache

MINUTE_SECONDS, MOST_REMEMBERED = 60.0, 10_000


def address_of(peer: str, forwarded_for: str, trusted_proxies: int) -> str:
    """Whom to count: the peer, or who the last `trusted_proxies` proxies say they had before them; IPv6 by its /64."""
    hops = [hop.strip() for hop in forwarded_for.split(",") if hop.strip()]
    told = hops[-trusted_proxies] if 0 < trusted_proxies <= len(hops) else peer
    try:
        address = ipaddress.ip_address(told)
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))


class Attempts:
    """What an address may try at this instance, and at all of them. Who is not asked about pays no round trip."""

    def __init__(self, cache: Cache, per_minute: int) -> None:
        self._cache, self._here = cache, Buckets(per_minute)
        self._is_limited = per_minute > 0

    async def wait_seconds(self, address: str) -> float:
        """Until the address may try again; 0: now."""
        if not self._is_limited:
            return 0.0
        return self._here.wait_seconds(address) or await self._cache.attempts(address)

    async def count(self, address: str) -> None:
        """One that failed."""
        if self._is_limited:
            self._here.count(address)
            await self._cache.attempts(address, failed=True)


class Buckets:
    """A bucket for each address: full at first, refilled evenly within a minute."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._full_at: dict[str, float] = {}  # when the bucket is full again

    def wait_seconds(self, address: str) -> float:
        """Until the address may try again; 0: now."""
        if not self._per_minute:
            return 0.0
        step, now = MINUTE_SECONDS / self._per_minute, time.monotonic()
        return max(0.0, self._full_at.get(address, now) + step - MINUTE_SECONDS - now)

    def count(self, address: str) -> None:
        """One that failed."""
        if self._per_minute:
            now = time.monotonic()
            if len(self._full_at) >= MOST_REMEMBERED:
                self._forget(now)
            full_at = max(self._full_at.get(address, now), now) + MINUTE_SECONDS / self._per_minute
            self._full_at[address] = min(full_at, now + MINUTE_SECONDS)  # it cannot be emptier than empty

    def _forget(self, now: float) -> None:
        """Those whose bucket is full again; if everybody's is not, the half that tried least."""
        kept = sorted((at, address) for address, at in self._full_at.items() if at > now)
        self._full_at = {address: at for at, address in kept[-MOST_REMEMBERED // 2 :]}
