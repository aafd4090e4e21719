"""The final weights as plain files: whole, and of use to programs that do not know evener."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from evener.training.weights import save_weights


class Speaking(nn.Module):
    """Says more of itself than tensors, and has one tensor under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3)
        self.b = nn.Linear(3, 3)
        self.b.weight = self.a.weight

    def get_extra_state(self) -> Any:
        return {"words": 2}

    def set_extra_state(self, state: Any) -> None:
        assert state == {"words": 2}


def test_a_plain_state_dict(tmp_path: Path) -> None:
    """Views of one flat buffer are written alone, not with all of the buffer."""
    model = nn.Linear(2, 1, bias=False)
    model.weight = nn.Parameter(torch.zeros(1_000_000)[:2].view(1, 2))
    save_weights(model, tmp_path)
    code = (
        "import sys, torch; found = torch.load(sys.argv[1], weights_only=True);"
        "assert 'evener' not in sys.modules; print(list(found), found['weight'].tolist())"
    )
    path = tmp_path / "final.pt"
    told = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert told.stdout == "['weight'] [[0.0, 0.0]]\n"
    assert path.stat().st_size < 10_000


def test_what_modules_say_beyond_tensors(tmp_path: Path) -> None:
    model = Speaking()
    save_weights(model, tmp_path)
    Speaking().load_state_dict(torch.load(tmp_path / "final.pt", weights_only=True))


def test_safetensors_has_each_tensor(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    model = Speaking()
    save_weights(model, tmp_path)
    found = safetensors.load_file(tmp_path / "final.safetensors")
    expected = {name: entry for name, entry in model.state_dict().items() if isinstance(entry, torch.Tensor)}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_disk_that_takes_nothing_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        save_weights(nn.Linear(2, 1), tmp_path)
    assert not list(tmp_path.iterdir())
