import pytest

from keras_residual._atomic_file import atomic_file

pytestmark = pytest.mark.once


def test_whole_or_as_before(tmp_path):
    path = tmp_path / "file.txt"
    with atomic_file(path) as temporary:
        temporary.write_text("one")
        assert temporary.suffix == ".txt"
        assert not path.exists()
    assert path.read_text() == "one"
    with pytest.raises(TypeError), atomic_file(path) as temporary:
        temporary.write_text(2)
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]
