"""Kubernetes quantities as numbers: for limits that a service's configuration must know too. Pure."""

from decimal import Decimal

SUFFIXES = {
    "m": Decimal("0.001"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}
MEBIBYTE = 2**20
# Kubernetes holds nothing larger; it takes 1e999999999 all the same, which has a billion digits when written out.
MOST = Decimal(2**63 - 1)


def amount_of(quantity: str) -> Decimal:
    """The number in 10Gi, 512M, 500m, 1e9, ..."""
    for length in (2, 1):
        if quantity[-length:] in SUFFIXES:
            return min(Decimal(quantity[:-length]) * SUFFIXES[quantity[-length:]], MOST)
    return min(Decimal(quantity), MOST)


def bytes_of(quantity: str) -> int:
    """The number of bytes in 10Gi, 512M, 1e9, ..."""
    return int(amount_of(quantity))


def mebibytes(size_bytes: int) -> str:
    """A size as a quantity: 576Mi."""
    return f"{size_bytes // MEBIBYTE}Mi"
