"""Imports Keras and its backend without the page that they log, unless it fails.

TensorFlow writes there before it reads its own log level.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Holds back what is written to standard error, unless the block fails."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The first process on an accelerator would take all of its memory.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
with quiet():
    import keras_residual  # noqa: F401

    # On every backend Keras imports an installed TensorFlow at the first fit.
    with contextlib.suppress(ModuleNotFoundError):
        import tensorflow  # noqa: F401
