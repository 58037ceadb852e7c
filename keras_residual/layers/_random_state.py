"""The one rule by which random layers save the state of their draws.

Keras does not save the state of its seed generators. With it, training that is resumed
from a file draws what it would have drawn. A layer that was given another `seed` than
the one in the file keeps its own: the user asked for other draws.
"""

from collections.abc import MutableMapping
from typing import Any

import keras
import numpy as np

from keras_residual.layers._checks import check_seed

KEY = "random_state"


def seed_generator(seed: int | None) -> keras.random.SeedGenerator:
    """A generator whose state is `(seed, number of draws)`; None draws the seed."""
    if seed is not None:
        check_seed(seed)
    return keras.random.SeedGenerator(seed)


def save_random_state(layer: Any, store: MutableMapping[str, Any]) -> None:
    """Writes the state of `layer.seed_generator`."""
    store[KEY] = keras.ops.convert_to_numpy(layer.seed_generator.state)


def load_random_state(layer: Any, store: MutableMapping[str, Any]) -> None:
    """Continues the draws of the file if they have the layer's `seed`."""
    if KEY not in store:
        return
    state = layer.seed_generator.state
    saved = np.asarray(store[KEY])
    if layer.seed is None or saved[0] == keras.ops.convert_to_numpy(state)[0]:
        state.assign(saved)
