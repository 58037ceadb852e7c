"""Methods of `TransferModel` that freeze and unfreeze its backbone."""

from keras_residual._leaves import leaves
from keras_residual.layers._checks import check_share
from keras_residual.models._recompile import recompile
from keras_residual.models.transfer import _arguments as arguments
from keras_residual.models.transfer import _blocks as parts
from keras_residual.models.transfer._learning_rate_decay import block_multipliers


def unfreeze(
    self,
    count: int | str = 20,
    unit: str = "layer",
    *,
    learning_rate_decay: float = 1.0,
) -> None:
    """Trains the last units of the backbone, and freezes the rest of it.

    A compiled model is compiled again, with the same loss, metrics and settings.
    The optimizer keeps its step count, and its state for what keeps training.

    Args:
        count: Positive integer or `"all"`. How many units train.
        unit: `"layer"`, `"conv"`, `"block"` or `"stage"`, as `unfreeze_unit`.
        learning_rate_decay: Number in `(0, 1]`. The head trains with the learning
            rate, the last block of the backbone with this share of it, the block
            before with the share's square, and so on. Each update is scaled, including
            that of decoupled weight decay. Blocks are those of `trainable_table`.

    Raises:
        ValueError: If the backbone has fewer units, or an argument is outside its
            range.

    Reference:
        Howard and Ruder, "Universal Language Model Fine-tuning for Text
        Classification", ACL 2018, section 3.2. <https://arxiv.org/abs/1801.06146>
    """
    arguments.check_unfreeze(count, unit, names=("count", "unit"))
    check_share("learning_rate_decay", learning_rate_decay)
    layers = parts.tail(self.backbone, count, unit, ("count", "unit"))
    train_only(self, layers, float(learning_rate_decay))


def freeze(self) -> None:
    """Freezes the whole backbone, so that only the head trains.

    A compiled model is compiled again, as in `unfreeze`.
    """
    train_only(self, [])


def trainable_table(self) -> list[dict]:
    """Returns what trains, block by block, with the head last.

    Returns:
        A list of rows for `pandas.DataFrame`, with the keys `"block"`, `"stage"`,
        `"layers"`, `"trainable_layers"`, `"parameters"`, `"trainable_parameters"` and
        `"learning_rate_multiplier"` (0 where nothing trains). Layers without parameters
        count as layers.
    """
    table = []
    for block, multiplier in block_multipliers(self, self._learning_rate_decay):
        row = parts.row(block)
        trains = row["trainable_parameters"] > 0
        row["learning_rate_multiplier"] = multiplier if trains else 0.0
        table.append(row)
    return table


def train_only(model, layers, learning_rate_decay: float = 1.0) -> None:
    """Trains these layers of the backbone, and none of its others."""
    model._learning_rate_decay = learning_rate_decay
    wanted = {id(layer) for layer in layers}
    # The containers of what trains must be trainable, too.
    model.backbone.trainable = True
    for layer in leaves(model.backbone):
        layer.trainable = id(layer) in wanted
    if model.compiled:
        recompile(model, model._compiled_with.arguments, model.optimizer)
