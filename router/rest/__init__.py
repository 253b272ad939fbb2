"""REST: HTTP and JSON in, the messages of gRPC out, to the same handlers by their gRPC path, and back.

It may import the stubs, `storage.limits` and `storage.metadata`, and of the router the seam, the errors,
the limits and the validation; never a service, so that nothing is decided here that gRPC would not
decide the same. Read `app.py` first, then `vectors.py` for what an endpoint looks like.
"""
