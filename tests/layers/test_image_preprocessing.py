import keras
import numpy as np
import pytest

from keras_residual import ImagePreprocessing

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def run(layer, images):
    return keras.ops.convert_to_numpy(layer(images))


def photo(height, width):
    """Smooth shapes, edges and noise in uint8."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    waves = 127 + 100 * np.sin(x / 9) * np.cos(y / 7)
    image = np.stack([waves, 255.0 * (x > y), 255 - waves], axis=-1)
    image += generator.normal(0, 10, image.shape)
    return image.clip(0, 255).astype("uint8")


def test_crop_larger_than_an_image_in_a_graph():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the graphs of TensorFlow alone hold images of unknown size")
    import tensorflow as tf

    unknown = tf.TensorSpec((1, None, None, 3), "float32")
    crop = tf.function(ImagePreprocessing(crop=32), input_signature=[unknown])
    with pytest.raises(tf.errors.InvalidArgumentError, match="`crop` must not be larg"):
        crop(np.zeros((1, 20, 40, 3), "float32"))
    assert crop(np.zeros((1, 40, 33, 3), "float32")).shape == (1, 32, 32, 3)


def pil_reference(image, resize, crop, interpolation):
    """torchvision's Resize and CenterCrop on an image of PIL."""
    pil = pytest.importorskip("PIL.Image")
    height, width = image.shape[:2]
    if isinstance(resize, int):
        long = int(resize * max(height, width) / min(height, width))
        size = (long, resize) if width > height else (resize, long)
    else:
        size = resize[::-1]
    resample = {"bilinear": pil.BILINEAR, "bicubic": pil.BICUBIC}[interpolation]
    resized = pil.fromarray(image).resize(size, resample)
    if crop is None:
        return np.asarray(resized)
    top = round((size[1] - crop) / 2.0)
    left = round((size[0] - crop) / 2.0)
    return np.asarray(resized.crop((left, top, left + crop, top + crop)))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_normalization_is_torchvisions(dtype):
    images = photo(20, 30)[None].astype(dtype)
    layer = ImagePreprocessing(mean=MEAN, std=STD, value_range=(0, 1))
    expected = (images.astype("float64") / 255 - MEAN) / STD
    np.testing.assert_allclose(run(layer, images), expected, rtol=0, atol=1e-6)


def test_caffe_is_that_of_keras_applications():
    images = photo(20, 30)[None].astype("float32")
    layer = ImagePreprocessing(mean=(103.939, 116.779, 123.68), channel_order="bgr")
    expected = keras.applications.resnet.preprocess_input(images.copy())
    np.testing.assert_array_equal(run(layer, images), expected)


def test_tf_mode_is_that_of_keras_applications():
    images = photo(20, 30)[None].astype("float32")
    expected = keras.applications.resnet_v2.preprocess_input(images.copy())
    actual = run(ImagePreprocessing(value_range=(-1, 1)), images)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("size", "resize", "crop"),
    [
        ((120, 173), 64, 56),  # smaller, an odd margin
        ((173, 120), 64, 57),
        ((40, 50), 64, 56),  # larger
        ((90, 130), (48, 64), None),
    ],
)
def test_sizes_are_those_of_pil(size, resize, crop, interpolation):
    image = photo(*size)
    layer = ImagePreprocessing(resize=resize, crop=crop, interpolation=interpolation)
    actual = run(layer, image[None])[0]
    expected = pil_reference(image, resize, crop, interpolation)
    assert actual.shape == expected.shape
    difference = np.abs(actual - expected)
    # PIL computes with integers: now and then a value falls to the other side of a half
    # and is another by one level.
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.02


def test_real_photographs(shared_data):
    """Fewer than one value in 200 differs from torchvision's, by one level of 255."""
    pil = pytest.importorskip("PIL.Image")
    files = sorted(shared_data("imagenet_sample").glob("*.JPEG"))[:3]
    layer = ImagePreprocessing(
        mean=MEAN, std=STD, value_range=(0, 1), resize=256, crop=224
    )
    for file in files:
        image = np.asarray(pil.open(file).convert("RGB"))
        pixels = pil_reference(image, 256, 224, "bilinear")
        expected = (pixels.astype("float64") / 255 - MEAN) / STD
        difference = np.abs(run(layer, image[None])[0] - expected)
        assert difference.max() < 1.01 / 255 / min(STD)
        assert (difference > 1e-5).mean() < 0.005


def test_floating_point_images_are_not_rounded():
    images = photo(50, 60)[None].astype("float32")
    actual = run(ImagePreprocessing(resize=31), images)
    assert (actual != np.round(actual)).mean() > 0.5
    expected = pil_reference(photo(50, 60), 31, None, "bilinear")
    assert np.abs(actual[0] - expected).max() < 1.5


def test_channels_first():
    image = photo(40, 60)
    arguments = {
        "mean": MEAN,
        "std": STD,
        "value_range": (0, 1),
        "channel_order": "bgr",
        "resize": 30,
        "crop": (20, 24),
    }
    last = run(ImagePreprocessing(**arguments), image[None])
    first = ImagePreprocessing(**arguments, data_format="channels_first")
    images = image.transpose(2, 0, 1)[None]
    assert first.compute_output_shape((None, 3, 40, 60)) == (None, 3, 20, 24)
    np.testing.assert_allclose(run(first, images).transpose(0, 2, 3, 1), last)


@pytest.mark.parametrize(
    ("arguments", "given", "shape"),
    [
        ({}, (None, None, None, 3), (None, None, None, 3)),
        ({"resize": 32}, (2, 48, 64, 3), (2, 32, 42, 3)),
        ({"resize": 32}, (2, 64, None, 3), (2, None, None, 3)),
        ({"resize": (32, 16)}, (None, None, None, 3), (None, 32, 16, 3)),
        ({"resize": 32, "crop": 24}, (None, None, None, 3), (None, 24, 24, 3)),
        ({"crop": (24, 16)}, (None, 30, 30, 3), (None, 24, 16, 3)),
    ],
)
def test_output_shapes(arguments, given, shape):
    assert ImagePreprocessing(**arguments).compute_output_shape(given) == shape


def test_unknown_size_takes_any_image():
    model = keras.Sequential(
        [keras.Input((None, None, 3), dtype="uint8"), ImagePreprocessing(resize=24)]
    )
    assert model.output_shape == (None, None, None, 3)
    for size in ((30, 40), (60, 25), (24, 24)):
        image = photo(*size)
        expected = pil_reference(image, 24, None, "bilinear")
        actual = model.predict(image[None], verbose=0)[0]
        assert actual.shape == expected.shape
        assert np.abs(actual - expected).max() <= 1


def test_unknown_size_and_channels_first():
    layer = ImagePreprocessing(resize=24, crop=20, data_format="channels_first")
    model = keras.Sequential([keras.Input((3, None, None), dtype="uint8"), layer])
    for size in ((30, 40), (60, 25)):
        image = photo(*size)
        expected = pil_reference(image, 24, 20, "bilinear")
        actual = model.predict(image.transpose(2, 0, 1)[None], verbose=0)[0]
        assert np.abs(actual.transpose(1, 2, 0) - expected).max() <= 1


def test_half_precision_rounds_only_the_result():
    images = photo(20, 30)[None]
    arguments = {"mean": MEAN, "std": STD, "value_range": (0, 1), "resize": 16}
    exact = run(ImagePreprocessing(**arguments), images)
    layer = ImagePreprocessing(**arguments, dtype="mixed_float16")
    assert layer.compute_dtype == "float16"
    actual = layer(images.astype("float32"))
    assert keras.backend.standardize_dtype(actual.dtype) == "float16"
    # The float images are not rounded in between, so that the two differ by a level.
    actual = keras.ops.convert_to_numpy(layer(images)).astype("float32")
    np.testing.assert_array_equal(actual, exact.astype("float16").astype("float32"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mean": 0.5}, r"`mean` must be a sequence of numbers. Received: mean=0.5"),
        ({"mean": "abc"}, r"`mean` must be a sequence .*mean='abc'"),
        ({"mean": ()}, r"`mean` must be a sequence"),
        ({"std": (1, 0, 1)}, r"`std` must be greater than 0 .*std=\(1, 0, 1\)"),
        ({"mean": (1,), "std": (1, 1)}, r"`mean` and `std` must have one number"),
        ({"value_range": None}, r"`value_range` must be a pair .*value_range=None"),
        ({"value_range": (0, 1, 2)}, r"`value_range` must be a pair"),
        ({"channel_order": "grb"}, r"`channel_order` must be one of 'rgb', 'bgr'"),
        ({"resize": 0}, r"`resize` must be a positive integer, a pair .*resize=0"),
        ({"resize": (1, 2, 3)}, r"Received: resize=\(1, 2, 3\)"),
        ({"crop": 1.5}, r"`crop` must be a positive integer, .*crop=1.5"),
        ({"crop": "224"}, r"Received: crop='224'"),
        ({"interpolation": "nearest"}, r"`interpolation` must be one of 'bilinear'"),
        ({"data_format": "NHWC"}, r"`data_format` must be one of"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ImagePreprocessing(**arguments)


@pytest.mark.parametrize(
    ("arguments", "shape", "message"),
    [
        ({}, (8, 8, 3), r"`inputs` of ImagePreprocessing must have rank 4"),
        ({"mean": (1, 2)}, (1, 8, 8, 3), r"`mean` must have one number for each of 3"),
        ({"std": (1, 2)}, (1, 8, 8, 3), r"`std` must have one number for each of 3"),
        ({"channel_order": "bgr"}, (1, 8, 8, 4), r"must have 3 channels"),
        ({"crop": 9}, (1, 8, 20, 3), r"`crop` must not be larger .*crop=9.* 8 x 20"),
        ({"resize": 8, "crop": 9}, (1, 50, 50, 3), r"crop=9, an image of 8 x 8"),
    ],
)
def test_bad_images(arguments, shape, message):
    with pytest.raises(ValueError, match=message):
        ImagePreprocessing(**arguments)(np.zeros(shape, "uint8"))
