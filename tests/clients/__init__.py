"""Programs written for Pinecone's official clients, run unmodified against a server of this checkout.

Each client lives in an environment of its own under `.venv/clients`, made by `environment.py` from what
`pins/` pins; `make test` leaves this folder out, `make test-clients` runs it and prints a table. The
programs are in `seed/` (one short life of an index each) and in `python/`, `typescript/` and `native/`
(every operation that a client offers); they import nothing of this project. Read `test_seed.py` first.
"""
