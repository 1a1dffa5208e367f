"""What the shapes of masks say, without a network."""

import numpy as np
from skimage.measure import label, regionprops

from stages.pairs.layout import IGNORED


def shapes_of(masks: np.ndarray) -> np.ndarray:
    """Measure the objects of masks, which are the regions of pixels of one class that touch each other.

    Parameters
    ----------
    masks : ndarray of uint8, shape (n, h, w, 1)
        1 in the foreground, or classes.

    Returns
    -------
    ndarray of float64, shape (n, 2)
        Pixels of the foreground; and the sum over objects of perimeter / (2 √(π · area)), 1 for a circle and more for
        any other shape: the scale-invariant shape complexity of Dai et al., *Training-Free Dataset Pruning for Instance
        Segmentation*, 2025.
    """
    found = [regionprops(label(np.where(mask == IGNORED, 0, mask)[:, :, 0])) for mask in masks]
    return np.array(
        [
            (
                sum(region.area for region in regions),
                sum(region.perimeter / (2 * np.sqrt(np.pi * region.area)) for region in regions),
            )
            for regions in found
        ],
        np.float64,
    ).reshape(-1, 2)
