"""Where a network looked: Grad-CAM."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike, NDArray

from keras_residual._calls import replaced_calls
from keras_residual._functions import with_gradients
from keras_residual._model_loss import tensors
from keras_residual.analysis._layers import (
    find_layer,
    is_channels_first,
    last_map_layer,
    logits,
    output_and_maps,
    recorded,
    spatial,
)
from keras_residual.layers._checks import check_positive_integer


def grad_cam(
    model: keras.Model,
    images: Any,
    class_index: int | ArrayLike | None = None,
    layer: str | keras.layers.Layer | None = None,
    *,
    batch_size: int = 32,
) -> NDArray[np.float32]:
    """Computes heat maps of the places in images that speak for a class.

    `map = relu(sum over channels of w_c A_c)`, with the feature maps `A` of a layer.
    `w_c` is the mean, over all places, of the gradient of the class's score with
    respect to `A_c`. The score is taken before a last softmax or sigmoid. The network
    runs in inference mode and does not change.

    Args:
        model: A classifier with one output `(batch, classes)`.
        images: Images as the model takes them, `(n, height, width, channels)`, or with
            the channels first where the model has them first.
        class_index: The class to explain: an integer, or one for each image. None: the
            class that the model predicts for the image.
        layer: The layer of the feature maps, or its name or path, also inside nested
            models and blocks. None: the last one with a height and a width, in a
            [`TransferModel`][keras_residual.TransferModel] the output of the backbone.
        batch_size: Positive integer. Images at a time.

    Returns:
        Heat maps `(n, height, width)`, float32, resized bilinearly from the size of the
        feature maps to that of the images. Each map is scaled to a maximum of 1. A map
        of zeros means that nothing at this layer speaks for the class.

    Raises:
        ValueError: If a shape, a class or the layer does not fit the model, or
            `batch_size` is not a positive integer.

    Example:
        ```python
        import numpy as np
        from keras_residual import ResNet
        from keras_residual.analysis import grad_cam

        model = ResNet(8, num_classes=10, variant="cifar")
        images = np.random.default_rng(0).normal(size=(2, 32, 32, 3))
        print(grad_cam(model, images).shape)  # (2, 32, 32)
        ```

    Reference:
        Selvaraju, Cogswell, Das, Vedantam, Parikh and Batra, "Grad-CAM: Visual
        Explanations from Deep Networks via Gradient-based Localization", ICCV 2017.
        <https://arxiv.org/abs/1610.02391>
    """
    check_positive_integer("batch_size", batch_size)
    images = np.asarray(images)
    if images.ndim != 4 or len(images) == 0:
        raise ValueError(
            "`images` must have the shape (n, height, width, channels), with at least "
            f"one image. Received: shape {images.shape}"
        )
    target = last_map_layer(model) if layer is None else find_layer(model, layer)
    before_softmax = logits(model)
    channels_first = is_channels_first(model)
    axes = (2, 3) if channels_first else (1, 2)
    outputs, maps = output_and_maps(model, target, images[:1])
    if len(getattr(outputs, "shape", ())) != 2:
        raise ValueError(
            "`model` must have one output of the shape (batch, classes). "
            f"Received: {getattr(outputs, 'shape', type(outputs))}"
        )
    classes = outputs.shape[1]
    dtype = keras.backend.standardize_dtype(maps.dtype)
    chosen = _classes(class_index, len(images), classes)

    def score(added: list[Any], images: Any, chosen: Any) -> Any:
        def with_added(call: Any) -> Any:
            return lambda *args, **kwargs: call(*args, **kwargs) + added[0]

        seen: list[Any] = []
        # The gradient with respect to the added zeros is that of the maps.
        calls = [(target, with_added), (target, recorded(seen)), *before_softmax]
        with keras.StatelessScope(), replaced_calls(calls):
            outputs = model(images, training=False)
        is_chosen = ops.one_hot(chosen, classes)
        predicted = ops.one_hot(ops.argmax(outputs, axis=-1), classes)
        which = ops.where(chosen[:, None] < 0, predicted, is_chosen)
        return ops.sum(ops.cast(outputs, "float32") * which), seen[-1]

    compute = with_gradients(score)
    results = []
    for start in range(0, len(images), batch_size):
        part = images[start : start + batch_size]
        zeros = ops.zeros((len(part), *maps.shape[1:]), dtype)
        _, feature, (gradient,) = compute(
            [zeros],
            tensors(part),
            ops.convert_to_tensor(chosen[start : start + batch_size]),
        )
        feature, gradient = (ops.cast(t, "float32") for t in (feature, gradient))
        weights = ops.mean(gradient, axis=axes, keepdims=True)
        heat = ops.relu(ops.sum(weights * feature, axis=1 if channels_first else -1))
        resized = ops.image.resize(
            heat[..., None],
            spatial(part.shape, channels_first),
            data_format="channels_last",
        )
        results.append(ops.convert_to_numpy(resized)[..., 0])
    heat = np.concatenate(results)
    largest = heat.max(axis=(1, 2), keepdims=True)
    return np.divide(heat, largest, out=np.zeros_like(heat), where=largest > 0)


def _classes(class_index: Any, number: int, classes: int) -> NDArray[np.int32]:
    """The class of each image; -1 stands for the predicted one."""
    if class_index is None:
        return np.full(number, -1, "int32")
    chosen = np.asarray(class_index)
    if (
        chosen.dtype.kind not in "iu"
        or chosen.shape not in ((), (number,))
        or not ((chosen >= 0) & (chosen < classes)).all()
    ):
        raise ValueError(
            f"`class_index` must be None, an integer from 0 to {classes - 1}, or "
            f"{number} of them. Received: class_index={class_index!r}"
        )
    return np.broadcast_to(chosen, (number,)).astype("int32")
