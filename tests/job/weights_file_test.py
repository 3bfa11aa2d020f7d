import numpy as np
import pytest

from tf_earlyticket.job.weights_file import load_weights, save_weights

WEIGHTS = {
    "block/conv/kernel": np.arange(6, dtype=np.float32).reshape(1, 2, 3),
    "norm/beta:0": np.array([np.float32(1e-45), -0.0], np.float32),
    "empty": np.zeros((0, 3), np.float32),
}


def test_weights_come_back_bit_for_bit_and_in_order(tmp_path):
    save_weights(tmp_path / "new" / "weights.npz", WEIGHTS)
    loaded = load_weights(tmp_path / "new" / "weights.npz")
    assert list(loaded) == list(WEIGHTS)
    for name, value in WEIGHTS.items():
        assert loaded[name].dtype == value.dtype and loaded[name].shape == value.shape
        assert loaded[name].tobytes() == value.tobytes()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["weights.npz"]


def test_a_write_that_fails_leaves_the_file_before_it(tmp_path, monkeypatch):
    path = tmp_path / "weights.npz"
    save_weights(path, WEIGHTS)
    before = path.read_bytes()

    def half(file, **arrays):
        file.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", half)
    with pytest.raises(OSError, match="no space"):
        save_weights(path, {})
    assert path.read_bytes() == before
