"""The generated stubs of the public API: `control_pb2`, `data_pb2` and their services."""
