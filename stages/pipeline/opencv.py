"""OpenCV, set up for worker processes."""

from typing import Any


def open_cv() -> Any:
    """OpenCV, without threads of its own, since those of the worker processes are enough."""
    import cv2

    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # an error's one line says as much
    return cv2
