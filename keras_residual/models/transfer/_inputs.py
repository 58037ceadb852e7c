"""The data of `fit`, `evaluate` and `predict`: images, or features of images."""

from keras_residual.models.transfer._cached_features import CachedFeatures, opened
from keras_residual.models.transfer._first_batch import checked


def prepared(model, kind: str, x, y=None, sample_weight=None) -> dict:
    """Arguments of the method; raises if they do not suit the model.

    Args:
        model: The transfer model.
        kind: `"train"`, `"test"` or `"predict"`.
        x: Images or a data set of them, or `CachedFeatures`.
        y: Labels or None.
        sample_weight: Weights or None.
    """
    cached = isinstance(x, CachedFeatures)
    if model._read_cache.get(kind, False) != cached:
        # TensorFlow would relax a function that it traced for images to any rank.
        setattr(model, f"{kind}_function", None)
    model._read_cache[kind] = cached
    if cached:
        return opened(model, x, y, sample_weight)
    return {"x": checked(model, x, y)}


def prepared_validation(model, data):
    """`validation_data` of `fit`, likewise."""
    if isinstance(data, CachedFeatures):
        # Features, labels and weights, in this order.
        return tuple(opened(model, data).values())
    if isinstance(data, (tuple, list)):
        checked(model, *data[:2])
        return data
    return checked(model, data)
