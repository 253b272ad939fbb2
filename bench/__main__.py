"""`python -m bench QUESTION [OPTION ...]`."""

import importlib
import os
import sys

# Figures beside a benchmark are those of one core, like the server's BLAS.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

QUESTIONS = {
    "cold_start": "what does the first query cost that wakes a sleeping index?",
    "warm_latency": "what does a query cost while the index is awake, one at a time?",
    "filtered": "what does a query cost that only some of the records match?",
    "million": "what do filters, fetches, lists and updates cost on a million records?",
    "tenants": "what does an index of many small namespaces cost?",
    "ingest": "how fast are vectors taken in, and what does one durable upsert cost?",
    "front": "what does a call cost in the server's own front, beside grpc.aio's?",
    "sleeping": "what does an index cost while it sleeps?",
}

# Not a question, but what is made of the answers.
TASKS = {"readme": "write the measured table of README.md from the records; --check compares"}


def main() -> int:
    """Runs the benchmark that answers one question."""
    name, arguments = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("", [])
    known = {**QUESTIONS, **TASKS}
    if name not in known:
        print("usage: python -m bench QUESTION [OPTION ...]\n")
        for question, text in known.items():
            print(f"  {question:<14}{text}")
        print("\n`python -m bench QUESTION --help` lists its options.")
        return 0 if name in ("", "-h", "--help") else 2
    importlib.import_module(f"bench.{name}").main(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
