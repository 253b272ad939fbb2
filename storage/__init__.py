"""The durable formats: catalog, log, manifest, segment, and the one door to the disk.

It may import numpy in `segment*` and `masks` only, and never the network, a process or `kernels`; all
blocking, all plain functions and small classes. Read `log_format.py` first, then `manifest.py`.
"""
