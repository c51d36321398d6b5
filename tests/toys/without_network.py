"""`sweep`, inside a network namespace that has no interface but a dead loopback.

Exit code 77: this machine forbids unprivileged user namespaces.
"""

import sys

from no_network import leave_the_network


def main() -> int:
    leave_the_network()
    from sweep import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
