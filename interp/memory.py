"""How much memory there is."""

import psutil
import torch


def free_bytes(device: torch.device) -> int:
    """The memory that is free on the device now."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
