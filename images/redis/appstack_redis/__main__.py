"""The commands of the image: server, sentinel, roles."""

import logging
import sys

from appstack_redis import roles, sentinel, server
from appstack_redis.settings import Settings

COMMANDS = {"server": server.run, "sentinel": sentinel.run, "roles": roles.run}


def main() -> int:
    """Run one command until it ends."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stdout)
    if len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:
        print(f"usage: appstack_redis {'|'.join(COMMANDS)}", file=sys.stderr)
        return 2
    return COMMANDS[sys.argv[1]](Settings.from_environment())


if __name__ == "__main__":
    sys.exit(main())
