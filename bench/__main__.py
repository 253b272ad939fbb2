"""`python -m bench QUESTION [OPTION ...]`.

Exit code 0 is an answer, 1 a comparison that found something, 2 a run that could not be made or did not
get to its end: why is one line on stderr.
"""

import importlib
import os
import signal
import sys
from types import FrameType

from bench.errors import known

# Figures beside a benchmark are those of one core, like the server's BLAS.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What grpc has to say is in the errors that it raises.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

QUESTIONS = {
    "cold_start": "what does the first query cost that wakes a sleeping index, or a hundred of them?",
    "warm_latency": "what does a query cost while the index is awake, one at a time and at a set rate?",
    "throughput": "how many queries a second, from 1 to 256 in flight, and where does the time go?",
    "mixed": "what happens to queries while vectors are written, and while they are folded?",
    "duty_cycle": "what does a day of sporadic traffic cost, against workers that are always on?",
    "recovery": "how long does a server take to answer again after kill -9, with a long log?",
    "peers": "what do other engines cost, cold and warm, on the same data?",
    "servers": "how many queries a second on many rows, beside other servers, and where does it go?",
    "kernels": "what does each way to compute an answer cost, beside faiss and usearch?",
    "card": "what does a graphics card bring, and how near is it to what it can do?",
    "fold": "what do folding a log and merging a million rows cost, and those who ask meanwhile?",
    "filtered": "what does a query cost that only some of the records match?",
    "million": "what do filters, fetches, lists and updates cost on a million records?",
    "tenants": "what does an index of many small namespaces cost?",
    "ingest": "how fast are vectors taken in, and what does one durable upsert cost?",
    "front": "what does a call cost in the server's own front, beside grpc.aio's?",
    "sleeping": "what does an index cost while it sleeps?",
}

# Not questions, but what is asked of other servers, and made of the answers.
TASKS = {
    "load": "put load on any server that speaks the protos: --target HOST:PORT, TLS, API key",
    "report": "write bench/results/REPORT.md and its figures from the records; --check compares",
    "readme": "write the measured table of README.md from the records; --check compares",
    "compare": "compare two commits, question by question, by turns; also `make bench-check`",
}


def main() -> int:
    """Runs the benchmark that answers one question."""
    name, arguments = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("", [])
    commands = {**QUESTIONS, **TASKS}
    if name not in commands:
        print("usage: python -m bench QUESTION [OPTION ...]\n")
        for question, text in commands.items():
            print(f"  {question:<14}{text}")
        print(
            "\n`python -m bench QUESTION --help` says how it is measured, and lists its options; "
            "bench/README.md\nsays what each figure leaves out."
        )
        return 0 if name in ("", "-h", "--help") else 2
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return importlib.import_module(f"bench.{name}").main(arguments) or 0
    except BaseException as error:
        reason = known(error)
        if reason is None:
            raise
        print(reason, file=sys.stderr)
    return 2


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
