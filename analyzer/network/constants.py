"""Other constants for a network whose structure stays as it is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from . import flatbuffer as fb


def replace_constants(data: bytes, values: Mapping[int, np.ndarray]) -> bytes:
    """The network with new values for some of its constants.

    Constants that shared a buffer go on doing so where all of them get equal bytes; else those that were given values
    get a buffer each, and the others keep theirs.

    Args:
      data: The flatbuffer.
      values: By tensor index of the first subgraph: an array of the tensor's shape and dtype.
    """
    model = fb.read(data)
    tensors = model.subgraphs[0].tensors
    sharing: dict[int, list[int]] = {}
    for index, tensor in enumerate(tensors):
        sharing.setdefault(int(tensor.buffer), []).append(index)
    for index, array in sorted(values.items()):
        tensor = tensors[index]
        before = fb.constant(model, tensor)
        if before is None or before.shape != array.shape or before.dtype != array.dtype:
            raise ValueError(f"tensor {index} is no {array.dtype} constant of shape {array.shape}")
        together = sharing[int(tensor.buffer)]
        contents = array.tobytes()
        if all(other in values and values[other].tobytes() == contents for other in together):
            model.buffers[tensor.buffer].data = np.frombuffer(contents, np.uint8)
        else:
            fb.set_constant(model, tensor, array)
    return fb.write(model)
