"""h2load as a source of load, and what a server spends under it."""

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.errors import NotInstalled
from bench.processes import cpu_seconds


@dataclass(frozen=True)
class Load:
    """What came of one run."""

    requests_per_second: float
    cpu_us: float


def run(
    url: str,
    body: bytes,
    *,
    server: int,
    count: int,
    in_flight: int,
    fields: dict[str, str],
    http1: bool = False,
) -> Load:
    """Sends the same request over and over, all of which must succeed.

    `server` is the process whose CPU is counted; over HTTP/1.1 there are as many connections as requests
    in flight, over HTTP/2 one. Raises NotInstalled.
    """
    if shutil.which("h2load") is None:
        raise NotInstalled("This needs h2load: apt-get install nghttp2-client.")
    shape = ["-c", str(in_flight), "--h1"] if http1 else ["-c", "1", "-m", str(in_flight)]
    headers = [part for name, value in fields.items() for part in ("-H", f"{name}: {value}")]
    with tempfile.NamedTemporaryFile(prefix="torpor-bench-") as file:
        Path(file.name).write_bytes(body)
        command = ["h2load", "-n", str(count), *shape, "-d", file.name, *headers, url]
        before = cpu_seconds(server)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        spent = cpu_seconds(server) - before
    if f"{count} succeeded" not in done.stdout or f"{count} 2xx" not in done.stdout:
        raise RuntimeError(f"Not every request succeeded:\n{done.stdout}")
    found = re.search(r"([\d.]+) req/s", done.stdout)
    assert found is not None, done.stdout
    return Load(float(found[1]), spent / count * 1e6)
