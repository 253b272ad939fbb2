"""What is written about the server: the API reference and the decisions.

The one module here, `render_api.py`, writes `api.md` from the protos; it imports protobuf only.
"""
