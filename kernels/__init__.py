"""What Torpor computes: batched top-k over rows of vectors, arrays in and arrays out.

It may import numpy, numkong and, in `gpu`, CuPy, and nothing else of the project, the network or the
disk; a backend finds the rows that may be in the answer, one scorer in double precision decides. Read
`topk.py` first, then `code_backend.py` for how they are found, and `probing.py` for where to look.
"""
