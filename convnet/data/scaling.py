"""Pictures scaled to squares of another side before a net sees them (--picture-size), and their mean alike.

A JPEG is first decoded at 1/2, 1/4 or 1/8 of its sides, by the largest of these that leaves both at least the side wanted:
its decoder then computes fewer pixels. Pillow's bicubic filter does the rest, widened so that every pixel counts. A picture
comes out the same whatever the number of threads.
"""

import numpy as np
from PIL import Image

FILTER = Image.Resampling.BICUBIC


def shrink_in_decoder(picture: Image.Image, side: int) -> None:
    """Let the decoder of a JPEG that was not read yet leave out what ``side`` does not need."""
    if picture.format == "JPEG":
        picture.draft(None, (side, side))


def scale_pictures(pictures: np.ndarray, side: int) -> np.ndarray:
    """Return square pictures (N, H, H, C) of bytes scaled to (N, side, side, C)."""
    if pictures.shape[1] == side:
        return pictures
    scaled = np.empty((len(pictures), side, side, pictures.shape[3]), np.uint8)
    for maps, out in zip(pictures, scaled, strict=True):
        for channel in range(maps.shape[2]):
            whole = Image.fromarray(np.ascontiguousarray(maps[:, :, channel]))
            out[:, :, channel] = np.asarray(whole.resize((side, side), FILTER))
    return scaled


def scale_mean(mean: np.ndarray, channels: int, side: int) -> np.ndarray:
    """Return a mean picture (C*H*H,) scaled to (C*side*side,), float32: the mean of scaled pictures, but for rounding."""
    stored = round((mean.size / channels) ** 0.5)
    maps = mean.reshape(channels, stored, stored).astype(np.float32)
    if stored != side:
        maps = np.stack([np.asarray(Image.fromarray(one).resize((side, side), FILTER)) for one in maps])
    return maps.reshape(-1)
