"""Stand-ins for what only a running cluster knows: addresses of Services, passwords. Pure."""

from appstack_operator.desired.context import Credentials


class AnyAddress(dict[str, str]):
    """The known addresses, and a placeholder for every other Service that a builder asks for."""

    def __missing__(self, name: str) -> str:
        """Say whose address it stands for."""
        return f"address-of-{name}"

    def __contains__(self, name: object) -> bool:
        """Every Service has an address."""
        return True

    def get(self, name: str, default: object = None) -> str:
        """Never the default."""
        return self[name]


def placeholder_credentials() -> Credentials:
    """Words in the place of passwords."""
    return Credentials(**{name: f"password-{name}" for name in Credentials.__dataclass_fields__})
