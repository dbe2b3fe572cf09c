"""What parameters, commands and the decoder have to agree upon about pictures."""

from __future__ import annotations

#: Pillow takes what has more for a decompression bomb, and opens none of it.
MOST_PIXELS = 89_478_485
