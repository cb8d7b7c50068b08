"""The guard of private addresses: every connection is checked by the address it really goes to.

A name is resolved once, each of its addresses is checked, and the connection is made to a checked address, so a
name that resolves differently the next time (DNS rebinding) gains nothing. Redirects are never followed.
"""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

import httpcore

from appstack_backend.webhooks.names import Names

NAT64 = ipaddress.ip_network("64:ff9b::/32")  # both well-known prefixes hide an IPv4 address
LONGEST_URL = 2_000
NAMES = Names()


class AddressRefused(Exception):
    """The target is no address that webhooks may reach. The text may be shown to the subscriber."""


def is_public(address: str) -> bool:
    """Whether anybody on the internet could reach this address too."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip.sixtofour is not None or ip.teredo is not None or ip in NAT64:
            return False
        if ip.is_site_local:  # withdrawn, and still somebody's private network
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback)


def check_url(url: str) -> None:
    """Raise AddressRefused unless this is the URL of an HTTP server."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise AddressRefused("the URL is not valid") from None
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or any(c in url for c in ' "<>\\^`{|}'):
        raise AddressRefused(f"the URL must have at most {LONGEST_URL} printable ASCII characters")
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise AddressRefused("the URL must begin with https:// or http:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("the URL must not carry a user name or password")
    if len(parts.hostname) > 253:
        raise AddressRefused("the host's name is too long")


def origin(url: str) -> str:
    """What a breaker stands for: scheme, host and port."""
    parts = urlsplit(url)
    default = 443 if parts.scheme == "https" else 80
    return f"{parts.scheme}://{parts.hostname}:{parts.port or default}"


async def public_addresses(host: str, port: int, allow_private: bool) -> list[str]:
    """The addresses of a host, all public unless others are allowed. Raises AddressRefused, OSError, NamesBusy."""
    addresses = await NAMES.resolve(host, port)
    if not allow_private and not all(map(is_public, addresses)):
        raise AddressRefused("the host has an address that is not public")
    return addresses


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Makes connections to checked addresses only; TLS still proves the name that was asked for."""

    def __init__(self, allow_private: bool) -> None:
        self._inner, self._allow_private = httpcore.AnyIOBackend(), allow_private

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception = OSError("the host has no address")
        for address in await public_addresses(host, port, self._allow_private):
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise AddressRefused("no socket of this machine is a target")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)
