"""Makes TF_CPP_MIN_LOG_LEVEL hold while TensorFlow is imported.

TensorFlow 2.21 logs half a page before it reads that variable.
"""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from importlib.machinery import PathFinder, SourceFileLoader

# A line of the log begins with its severity and the date.
_LOGGED = re.compile(rb"WARNING: All log messages before absl|([IWEF])\d{4} ")


def quiet_tensorflow() -> None:
    """Applies to an import of TensorFlow that follows, whoever imports it.

    Keras imports it under every backend, for instance to save a model. Without the
    variable, and once TensorFlow is imported, Python's imports are as ever.
    """
    if _level():
        sys.meta_path.insert(0, _Finder())


class _Finder:
    def find_spec(self, name, path=None, target=None):
        if name != "tensorflow":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def exec_module(self, module):
        # Not before: others only look whether TensorFlow is installed.
        sys.meta_path[:] = [one for one in sys.meta_path if type(one) is not _Finder]
        with _filtered():
            super().exec_module(module)


def _level() -> int:
    level = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "")
    return int(level) if level.isdecimal() else 0


@contextlib.contextmanager
def _filtered() -> Iterator[None]:
    """Drops lines of the log below the level, unless the block fails."""
    if sys.stderr is None:  # a program without a terminal
        yield
        return
    level = _level()
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            level = 0
            raise
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            os.write(2, b"".join(line for line in held if _severity(line) >= level))


def _severity(line: bytes) -> int:
    """0 to 3 for a line of the log; more for any other, such as Python's warnings."""
    found = _LOGGED.match(line)
    return b"IWEF".find(found[1] or b"I") if found else 4
