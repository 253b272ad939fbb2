"""Other engines behind one small adapter each, so that any of them does the same work as Torpor.

A module imports its engine only when it is used, numpy and the modules beside it, and nothing of
Torpor. Read `engine.py` first.
"""
