"""Benchmarks: one file per question, each a table on the terminal and a JSON record with raw samples.

Everything is measured through gRPC from another process than the server's. `python -m bench` lists the
questions.
"""
