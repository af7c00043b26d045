"""What is asked of a GPU, which torch plays here."""

import devices
import pytest
import torch

GPU, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.fixture
def a100(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "NVIDIA A100-SXM4-40GB")


def test_the_share_is_of_the_peak_in_the_precision_of_the_row(a100, monkeypatch):
    # The data sheet has 19.5 and 312 TFLOP/s; TF32's 156 are no row's peak.
    assert devices.share_of_peak(9.75, "fp32", GPU) == pytest.approx(0.5)
    assert devices.share_of_peak(78, "bf16", GPU) == pytest.approx(0.25)
    monkeypatch.setattr(devices, "world_size", lambda: 2)
    assert devices.share_of_peak(78, "bf16", GPU) == pytest.approx(0.125)


def test_no_share_without_a_peak_or_a_count(a100, monkeypatch):
    assert devices.share_of_peak(None, "fp32", GPU) is None
    assert devices.share_of_peak(1.0, "fp32", CPU) is None
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "Tesla T4")
    assert devices.share_of_peak(1.0, "bf16", GPU) is None


def test_a_gpu_is_waited_for_and_its_memory_counted(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: calls.append("wait"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: calls.append("forget"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**29)
    for device in (GPU, CPU):
        devices.wait_for(device)
        devices.forget_peak(device)
    assert calls == ["wait", "forget"]
    assert (devices.peak_gib(GPU), devices.peak_gib(CPU)) == (1.5, None)
