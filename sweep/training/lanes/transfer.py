"""Numbers on their way to the device and back, so that the host seldom waits for it.

A GPU works through what it was told while the host prepares what comes next. A copy from ordinary memory, or a look at
a single value, makes the host wait until everything before it is done. So numbers are sent from pinned memory, and what
a step has to know of the device is fetched at once.
"""

from collections.abc import Sequence

import torch


def sent(values: Sequence[int] | Sequence[float], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """A vector of these values on the device, without waiting for it."""
    held = torch.tensor(values, dtype=dtype)
    if device.type == "cuda":
        return held.pin_memory().to(device, non_blocking=True)
    return held.to(device)


def joined(vectors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Vectors and single values behind each other in float64, still on the device."""
    return torch.cat([vector.reshape(-1).double() for vector in vectors])


def fetched(values: torch.Tensor) -> list[float]:
    """What the values are: the one place where a step waits for the device."""
    return [float(value) for value in values.tolist()]
