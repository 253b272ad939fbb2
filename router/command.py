"""`torpor serve`: reads the settings, sets up logging, runs the server."""

import logging
import os
import sys
from collections.abc import Sequence

from router.descriptors import raise_descriptor_limit
from router.errors import CannotListen
from router.keys_file import BadKeysFile
from router.memory import limit_heaps
from router.settings import BadSettings, read_settings
from storage.errors import StorageError


def main(arguments: Sequence[str]) -> int:
    """Serves until a signal ends it; returns the exit status."""
    try:
        settings = read_settings(arguments)
    except BadSettings as error:
        print(f"torpor serve: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    # Nothing here forks with grpcio in it, and its fork handlers cost time in every call.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    import uvloop

    from router.server import Server

    limit_heaps()
    raise_descriptor_limit()
    try:
        uvloop.run(Server.serve(settings))
    except (BadKeysFile, CannotListen, StorageError) as error:
        print(f"torpor serve: {error}", file=sys.stderr)
        return 1
    return 0
