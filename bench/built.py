"""One fold or merge in a process of its own: `python -m bench.built FOLDER DIMENSION ORDER`.

It says `ready` when all is imported, builds when a line comes, and prints {"seconds", "cpu_seconds"}.
It is niced as the zygote's builders are. What it built is the folder's then.
"""

import json
import os
import sys
import time
from pathlib import Path

from storage import manifest as manifests
from storage.files import Files
from worker import builder

_NICE = 10


def main() -> None:
    """Builds, and says what that took."""
    folder, dimension, order = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    os.nice(_NICE)
    print("ready", flush=True)
    sys.stdin.readline()
    began, cpu = time.perf_counter(), time.process_time()
    manifest, _ = builder.run(Files(), folder, dimension, order)
    found = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
    manifests.store(Files(), folder, manifest)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
