"""Whether this machine has a graphics card that workers may compute on."""

import logging
from collections.abc import Callable
from glob import glob
from importlib.util import find_spec

from router.settings import Settings

log = logging.getLogger("torpor.gpu")


def gpu_workers(
    settings: Settings,
    cards: Callable[[], list[str]] = lambda: glob("/dev/nvidia[0-9]*"),
    is_installed: Callable[[], bool] = lambda: find_spec("cupy") is not None,
) -> int:
    """How many workers may use the card at the same time. Looks at files; nothing is started."""
    if settings.gpu == "off" or not settings.gpu_workers_max or not cards():
        return 0
    if not is_installed():
        log.warning(
            "gpu_unused There is a graphics card, and CuPy is not installed: install "
            "torpor[gpu-cuda12] or torpor[gpu-cuda13], or set gpu to off."
        )
        return 0
    log.info("gpu workers_max=%d", settings.gpu_workers_max)
    return settings.gpu_workers_max
