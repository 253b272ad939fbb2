"""The always-on front: it answers gRPC, writes the logs, and owns the life of every index.

It may import `storage` (the parts without numpy) and the generated stubs; never numpy, `kernels` or
`worker`, and it never computes a distance. Read `lifecycle.py` first, then `supervisor.py`.
"""
