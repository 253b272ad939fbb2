"""What Torpor computes: exact batched top-k over rows of vectors, arrays in and arrays out.

It may import numpy and nothing else of the project, the network or the disk; a backend finds the rows
that may be in the answer, one scorer in double precision decides. Read `topk.py` first.
"""
