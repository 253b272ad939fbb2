"""The CUDA source is compiled by NVIDIA's own compiler, wherever it is found; that needs no card."""

import ctypes
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from kernels.gpu.kernel_source import KERNELS, source

ARCHITECTURES = ["compute_80", "compute_90"]


def _nvrtc() -> ctypes.CDLL | None:
    """NVRTC: of the wheel that the tests' environment has, or the system's."""
    for path in _candidates():
        try:
            return ctypes.CDLL(path)
        except OSError:
            continue
    return None


def _candidates() -> Iterator[str]:
    wheel = find_spec("nvidia")
    for folder in [] if wheel is None else wheel.submodule_search_locations or []:
        yield from sorted(str(path) for path in Path(folder).rglob("libnvrtc.so.*"))
    yield from ("libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12")


NVRTC = _nvrtc()


def compiled(code: str, architecture: str) -> tuple[str, str]:
    """The PTX, empty if there is none, and what the compiler says."""
    assert NVRTC is not None
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    assert NVRTC.nvrtcCreateProgram(ctypes.byref(program), code.encode(), None, 0, None, None) == 0
    flags = [f"--gpu-architecture={architecture}".encode(), b"--std=c++17"]
    failed = NVRTC.nvrtcCompileProgram(program, len(flags), (ctypes.c_char_p * len(flags))(*flags))
    texts = []
    for kind in ("PTX", "ProgramLog"):
        getattr(NVRTC, f"nvrtcGet{kind}Size")(program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value or 1)
        if size.value:
            getattr(NVRTC, f"nvrtcGet{kind}")(program, text)
        texts.append(text.value.decode())
    NVRTC.nvrtcDestroyProgram(ctypes.byref(program))
    return ("" if failed else texts[0]), texts[1]


@pytest.mark.skipif(NVRTC is None, reason="NVRTC is not here: nvidia-cuda-nvrtc is not installed")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_kernels_compile(architecture: str) -> None:
    ptx, said = compiled(source(), architecture)
    assert all(f".entry {kernel}(" in ptx for kernel in KERNELS), said
    assert not said
    # The threshold is rounded down, by one instruction.
    assert "sub.rm.f32" in ptx


@pytest.mark.skipif(NVRTC is None, reason="NVRTC is not here: nvidia-cuda-nvrtc is not installed")
def test_a_mistake_in_a_kernel_is_found() -> None:
    ptx, said = compiled(source().replace("atomicAdd(&kept, 1)", "atomicAdd(&kept)"), "compute_80")
    assert not ptx and "atomicAdd" in said
