"""The same search on a graphics card: products there, selection by kernels of our own, float64 decides.

It may import what `kernels` may, and CuPy in `cupy_device.py` alone; `device.py` is the seam between the
logic, which runs and is tested anywhere, and a card. Read `backend.py` first, then `bounds.py`.
"""
