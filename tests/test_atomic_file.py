import pytest

from keras_residual._atomic_file import atomic_file

pytestmark = pytest.mark.once


def test_two_writers_of_one_file(tmp_path):
    path = tmp_path / "file.txt"
    with atomic_file(path) as one, atomic_file(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"  # whole, and the last that was moved
    assert list(tmp_path.iterdir()) == [path]


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
