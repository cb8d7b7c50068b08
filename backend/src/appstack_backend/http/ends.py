"""Whoever is told that a job is done shall see what it did, from the cache and from a replica too."""

from collections.abc import Iterable, Mapping
from typing import Any

from appstack_backend.http.context import Call


async def remember_ends(call: Call, jobs: Iterable[Mapping[str, Any]]) -> None:
    """To be called before jobs are shown."""
    ended, cache = [job for job in jobs if job["finished_at"]], call.state.cache
    if ended:
        await call.remember(catalogue=any(cache.is_news(job["id"], job["finished_at"]) for job in ended))
        cache.note_told(job["id"] for job in ended)
