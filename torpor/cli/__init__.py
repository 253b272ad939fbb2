"""The command line for people: indexes, loading, asking, changing, from a shell.

It is a client like any other: it may import the stubs, grpc, numpy and rich, and nothing of the
server. Read `command.py` first, which every command runs through, then `query_command.py`.
"""
