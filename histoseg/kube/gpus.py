"""How resources of GPUs are named."""

import re

MIG = re.compile(r"nvidia\.com/mig-[0-9]+g\.[0-9]+gb")  # A part of a GPU: nvidia.com/mig-2g.10gb


def is_gpu(resource: str) -> bool:
    """Whether a pod's limit of this name counts GPUs; the chart asks for no other device."""
    return "/" in resource  # Such as nvidia.com/gpu; cpu and memory have no slash


def is_gpu_for_kuberay(resource: str) -> bool:
    """Whether KubeRay passes such a limit on to Ray by itself, where num-gpus is not given (IsGPUResourceKey)."""
    return resource.endswith("gpu") or MIG.fullmatch(resource) is not None
