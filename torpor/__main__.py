"""The command line: `torpor serve`, the commands of `torpor.cli`, and a few more."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

_PACKAGE = Path(__file__).parent
# The server's packages lie under `_server` in a wheel, beside `torpor` in a checkout.
_SERVER = _PACKAGE / "_server"
sys.path.insert(0, str(_SERVER if _SERVER.is_dir() else _PACKAGE.parent))

_USAGE = """\
usage: torpor COMMAND [OPTION ...]

a server:
  serve       serve the indexes of a data folder over gRPC
  key         make, list and delete the API keys of a server
  verify      check every checksum in a data folder
  demo        see an index fall asleep and wake, in under a minute
  version     print the version

its indexes:
  index       create, list, describe, configure, delete, wake, put to sleep
  collection  keep what an index holds now; list, describe, delete what was kept
  namespaces  list, describe, create, delete the parts of an index
  stats       count the records of an index

their records:
  upsert      load a file: JSON lines, Parquet or .npy
  query       find the nearest neighbours
  fetch       show records by ids or by a filter
  list        print the ids of a namespace
  update      change records
  delete      delete records

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
        "key": _key,
        "verify": _verify,
        "version": _version,
        "zygote": _zygote,
        "index": _index,
        "collection": _collection,
        "namespaces": _namespaces,
        "stats": _stats,
        "upsert": _upsert,
        "query": _query,
        "fetch": _fetch,
        "list": _list,
        "update": _update,
        "delete": _delete,
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


def _key(arguments: Sequence[str]) -> int:
    from router.key_command import main

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


def _index(arguments: Sequence[str]) -> int:
    from torpor.cli.index_command import main

    return main(arguments)


def _collection(arguments: Sequence[str]) -> int:
    from torpor.cli.collection_command import main

    return main(arguments)


def _namespaces(arguments: Sequence[str]) -> int:
    from torpor.cli.namespaces_command import namespaces

    return namespaces(arguments)


def _stats(arguments: Sequence[str]) -> int:
    from torpor.cli.namespaces_command import stats

    return stats(arguments)


def _upsert(arguments: Sequence[str]) -> int:
    from torpor.cli.upsert_command import main

    return main(arguments)


def _query(arguments: Sequence[str]) -> int:
    from torpor.cli.query_command import main

    return main(arguments)


def _fetch(arguments: Sequence[str]) -> int:
    from torpor.cli.fetch_command import fetch

    return fetch(arguments)


def _list(arguments: Sequence[str]) -> int:
    from torpor.cli.fetch_command import list_ids

    return list_ids(arguments)


def _update(arguments: Sequence[str]) -> int:
    from torpor.cli.change_command import update

    return update(arguments)


def _delete(arguments: Sequence[str]) -> int:
    from torpor.cli.change_command import delete

    return delete(arguments)


if __name__ == "__main__":
    sys.exit(main())
