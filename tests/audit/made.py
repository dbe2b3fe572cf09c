"""Images with the spectrum of photographs: detail at all scales, in color."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image


def photograph(seed: int, width: int = 160, height: int = 120) -> Image.Image:
    random = np.random.Generator(np.random.Philox(key=seed))
    down, across = np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij")
    falling = 1 / np.maximum(np.hypot(down, across), 1 / max(width, height))
    noise = random.normal(size=(3, height, width))
    bands = np.fft.ifft2(np.fft.fft2(noise) * falling).real
    bands = 0.75 * bands[:1] + 0.25 * bands
    bands = 128 + 45 * bands / bands.std()
    return Image.fromarray(np.clip(bands, 0, 255).astype(np.uint8).transpose(1, 2, 0))


def encoded(image: Image.Image, quality: int = 90) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def pixels_of(image: Image.Image) -> npt.NDArray[Any]:
    return np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR))
