"""HTTP/2 for servers, as one asyncio Protocol per connection: frames, header blocks, streams, windows.

It may import `router.limits` and `router.connections`, and the hpack package; it knows nothing of gRPC,
of services or of indexes. Read `connection.py` first, then `stream.py` for what a service sees.
"""
