"""The operations of ONNX that a backbone may consist of, as operations of TensorFlow.

Whatever is not in :data:`OPERATIONS` is refused, and a translated network counts only if it agrees
with the original (:mod:`headstart.keras.networks.network_file`).
"""

from __future__ import annotations

from headstart.keras.networks.onnx_arithmetic import ARITHMETIC
from headstart.keras.networks.onnx_shapes import SHAPES
from headstart.keras.networks.onnx_values import Translation
from headstart.keras.networks.onnx_windows import WINDOWS

#: The translation of each operation, by its name in ONNX.
OPERATIONS: dict[str, Translation] = {**ARITHMETIC, **SHAPES, **WINDOWS}
