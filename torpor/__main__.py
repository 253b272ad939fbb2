"""The command line: `torpor serve`, `torpor demo`, `torpor verify`."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

_PACKAGE = Path(__file__).parent
# The server's packages lie under `_server` in a wheel, beside `torpor` in a checkout.
_SERVER = _PACKAGE / "_server"
sys.path.insert(0, str(_SERVER if _SERVER.is_dir() else _PACKAGE.parent))

_USAGE = """\
usage: torpor COMMAND [OPTION ...]

commands:
  serve    serve the indexes of a data folder over gRPC
  demo     see an index fall asleep and wake, in under a minute
  verify   check every checksum in a data folder
  version  print the version

`torpor COMMAND --help` says what a command takes.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    name, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if name in ("", "-h", "--help", "help"):
        print(_USAGE, end="")
        return 0 if name else 2
    commands: dict[str, Callable[[Sequence[str]], int]] = {
        "serve": _serve,
        "demo": _demo,
        "verify": _verify,
        "version": _version,
        "zygote": _zygote,
    }
    if name not in commands:
        print(
            f"torpor: there is no command {name!r}.\n\n{_USAGE}",
            end="",
            file=sys.stderr,
        )
        return 2
    return commands[name](rest)


# Each command imports only what it needs: the router must not have numpy, the zygote must not have grpc.


def _serve(arguments: Sequence[str]) -> int:
    from router.command import main

    return main(arguments)


def _demo(arguments: Sequence[str]) -> int:
    from torpor.demo import main

    return main(arguments)


def _verify(arguments: Sequence[str]) -> int:
    from worker.verify import main

    return main(arguments)


def _zygote(arguments: Sequence[str]) -> int:
    from worker.zygote import main

    return main(arguments)


def _version(arguments: Sequence[str]) -> int:
    from importlib.metadata import version

    print(version("torpor"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
