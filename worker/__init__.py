"""The awake index: a process that answers for one index, and the short-lived one that folds its log.

It may import `storage`, `kernels`, numpy, protobuf and the standard library; never grpc or asyncio, and
never `router`. Read `serve.py` first, then `engine.py` and `view.py`.
"""
