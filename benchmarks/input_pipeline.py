"""How fast are training images read, against Keras' own reader and a pool of Pillow?

    python benchmarks/input_pipeline.py [--photos FOLDER] [--rounds 7]

Reads batches of 32 random resized crops of 224 x 224, mirrored or not, as uint8: from
photos (`--photos` is a folder of JPEG files; without it the ImageNet sample of the
tests, where it is there), and from generated pictures of 1600 x 1200. The contestants
take turns, each with a new iterator and some batches that are not counted; the first
round is not counted either:

- `image_batches`, what `ImageNetFolder` reads with, and the same with `Cutout` on it;
- `image_dataset_from_directory` of Keras at 256 x 256 with the same augmentation of
  each batch (`tf.image.crop_and_resize`), and at 224 x 224 without any;
- two threads that decode, crop, scale and mirror with Pillow;
- validation: `image_batches` with the antialiased centre crop;
- the bounds: `libjpeg`, called by TensorFlow, decodes the same parts of files that lie
  in memory, or all of each file, and nothing else is done.

Seconds are those of one image: of the clock, or with `--clock processor` of all threads
together, which other work on the machine hardly changes. TensorFlow reads under every
backend; the backend only decides what Keras itself is.
"""

import argparse
import collections
import concurrent.futures
import functools
import itertools
import os
import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf
from _results import CLOCKS, alternate, report
from PIL import Image

from keras_residual import Cutout
from keras_residual.datasets import _tensorflow_decoding
from keras_residual.datasets._reader_options import ReaderOptions
from keras_residual.datasets._tensorflow_files import batches_of_files

BASELINE = "image_batches"
BICUBIC = Image.Resampling.BICUBIC
BATCH = 32
SIZE = 224
AREA = (0.08, 1.0)
LOG_RATIO = np.log([3 / 4, 4 / 3])
CLASSES = 10
LARGE = (1600, 1200)


def generated_photo(generator, width, height):
    """Noise of every scale, mostly grey, which compresses about as a photo does."""
    picture = np.zeros((3, height, width), np.float32)
    for octave in range(1, 11):
        shape = [max(length * 2**octave // 1024, 2) for length in (height, width)]
        grey, colour = generator.normal(size=shape), generator.normal(size=(3, *shape))
        noise = (60 * grey + 15 * colour) / 2 ** (0.45 * octave)
        for channel, layer in zip(picture, noise.astype(np.float32), strict=True):
            scaled = Image.fromarray(layer).resize((width, height), BICUBIC)
            channel += np.asarray(scaled)
    pixels = np.clip(picture + 128, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels.transpose(1, 2, 0))


def generate(folder, count):
    generator = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        photo = generated_photo(generator, *LARGE)
        photo.save(folder / f"{number:03}.JPEG", quality=90)


def class_tree(photos, folder, count):
    """Links to the photos, again and again, in folders of classes."""
    files = []
    for number, photo in zip(range(count), itertools.cycle(photos), strict=False):
        file = folder / f"class{number % CLASSES}" / f"{number:05}.JPEG"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(photo.resolve())
        files.append(file)
    return files


def keras_reader(root, augmented):
    size = 256 if augmented else SIZE
    dataset = keras.utils.image_dataset_from_directory(
        root, image_size=(size, size), batch_size=BATCH, verbose=False
    )

    def augment(images, labels):
        count = tf.shape(images)[0]
        area = tf.random.uniform([count], *AREA)
        ratio = tf.exp(tf.random.uniform([count], *LOG_RATIO))
        extent = tf.minimum(tf.sqrt(tf.stack([area / ratio, area * ratio])), 1.0)
        top, left = tf.unstack(tf.random.uniform([2, count]) * (1 - extent))
        bottom, right = top + extent[0], left + extent[1]
        mirrored = tf.random.uniform([count]) < 0.5
        left, right = (
            tf.where(mirrored, right, left),
            tf.where(mirrored, left, right),
        )
        boxes = tf.stack([top, left, bottom, right], axis=1)
        crops = tf.image.crop_and_resize(images, boxes, tf.range(count), (SIZE, SIZE))
        return tf.cast(crops + 0.5, tf.uint8), labels

    if augmented:
        dataset = dataset.map(augment, num_parallel_calls=tf.data.AUTOTUNE)
        dataset = dataset.prefetch(tf.data.AUTOTUNE)
    return dataset.repeat()


def pillow_crop(file, generator):
    with Image.open(file) as image:
        photo = image.convert("RGB")
    width, height = photo.size
    for _ in range(10):
        area = width * height * generator.uniform(*AREA)
        ratio = np.exp(generator.uniform(*LOG_RATIO))
        across, down = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if 0 < across <= width and 0 < down <= height:
            break
    else:
        across, down = width, height
    left = generator.integers(width - across + 1)
    top = generator.integers(height - down + 1)
    crop = photo.crop((left, top, left + across, top + down))
    crop = crop.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    if generator.random() < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(crop)


def pillow_reader(files, threads=2):
    """Batches, one of which is always ahead."""
    seeds = np.random.SeedSequence(0)

    def crop(file, seed):
        return pillow_crop(file, np.random.default_rng(seed))

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        ahead: collections.deque = collections.deque()
        source = itertools.cycle(files)
        while True:
            while len(ahead) < 2 * BATCH:
                ahead.append(pool.submit(crop, next(source), seeds.spawn(1)[0]))
            yield np.stack([ahead.popleft().result() for _ in range(BATCH)])


def bare_decoder(files):
    """The parts of the files that `image_batches` may need, decoded and forgotten."""
    crop = _tensorflow_decoding.RandomCrop(SIZE, AREA, flip=True)
    contents, windows = [], []
    for file in files:
        draws = tf.random.uniform((4, _tensorflow_decoding.TRIES))
        contents.append(file.read_bytes())
        windows.append(crop.jpeg_window(contents[-1], draws))
    corner, extent, scale = (tf.stack(part) for part in zip(*windows, strict=True))
    parts = tf.data.Dataset.from_tensor_slices((contents, corner, extent, scale))
    parts = parts.shuffle(len(files), seed=0).repeat()
    sizes = parts.map(
        lambda *part: tf.size(_tensorflow_decoding.decode_jpeg(*part)),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return sizes.batch(BATCH).prefetch(tf.data.AUTOTUNE)


def whole_decoder(files):
    """All of each file, decoded and forgotten."""
    contents = [file.read_bytes() for file in files]
    sizes = tf.data.Dataset.from_tensor_slices(contents).repeat()
    sizes = sizes.map(
        lambda encoded: tf.size(
            tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
        ),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return sizes.batch(BATCH).prefetch(tf.data.AUTOTUNE)


def read(make, clock, steps, warm_up):
    """Seconds for that many batches, once the buffers are full."""
    batches = iter(make())
    for _ in range(warm_up):
        next(batches)
    start = clock()
    for _ in range(steps):
        next(batches)
    seconds = clock() - start
    if hasattr(batches, "close"):
        batches.close()
    return seconds


def measure(name, files, root, arguments):
    photos = [file.resolve() for file in files]
    kilobytes = np.mean([file.stat().st_size for file in set(photos)]) / 1000
    dimensions = np.mean([Image.open(file).size for file in set(photos)], axis=0)
    print(
        f"{name}: {len(set(photos))} files, {kilobytes:.0f} kB and "
        f"{dimensions[0]:.0f} x {dimensions[1]:.0f} pixels on average"
    )
    labels = np.arange(len(files)) % CLASSES
    options = ReaderOptions(SIZE, BATCH, training=True, first_step=0)
    names = list(map(str, files))
    dataset = batches_of_files(names, labels, options)
    validation = ReaderOptions(SIZE, BATCH, first_step=0)
    cutout = Cutout(SIZE // 2, seed=0)
    with_cutout = dataset.map(lambda images, labels: (cutout(images), labels))
    readers = {
        BASELINE: dataset,
        f"{BASELINE}, Cutout": with_cutout.prefetch(tf.data.AUTOTUNE),
        "image_dataset_from_directory": keras_reader(root, augmented=True),
        "image_dataset_from_directory, not augmented": keras_reader(root, False),
        "validation": batches_of_files(names, labels, validation),
        "libjpeg alone": bare_decoder(files),
        "libjpeg alone, whole files": whole_decoder(files),
    }
    makers = {key: functools.partial(lambda x: x, x) for key, x in readers.items()}
    makers["Pillow, 2 threads"] = functools.partial(pillow_reader, files)
    clock = CLOCKS[arguments.clock]
    contestants = {
        key: functools.partial(read, make, clock, arguments.steps, arguments.warm_up)
        for key, make in makers.items()
    }
    load = os.getloadavg()[0]
    seconds = alternate(contestants, arguments.rounds, arguments.steps * BATCH)
    for key, values in seconds.items():
        print(f"{key}: {1 / np.median(values):.0f} images in a second")
    report(
        "input_pipeline",
        seconds,
        BASELINE,
        tensorflow=tf.__version__,
        data=name,
        clock=arguments.clock,
        files=len(set(photos)),
        kilobytes=round(kilobytes),
        steps=arguments.steps,
        warm_up=arguments.warm_up,
        batch=BATCH,
        image_size=SIZE,
        load=f"{load:.1f}",
    )


def sample_folder():
    root = pathlib.Path(__file__).resolve().parents[1]
    data = pathlib.Path(
        os.environ.get("KERAS_RESIDUAL_DATA", root.parent / "shared/data")
    )
    return data / "imagenet_sample"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=pathlib.Path, default=sample_folder())
    parser.add_argument("--files", type=int, default=1000, help="links to the photos")
    parser.add_argument("--large", type=int, default=40, help="pictures to generate")
    parser.add_argument("--steps", type=int, default=30, help="batches in a round")
    parser.add_argument("--warm-up", type=int, default=10, help="batches before them")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        generate(folder / "pictures", arguments.large)
        for data, source in (
            ("photos", arguments.photos),
            (f"generated, {LARGE[0]} x {LARGE[1]}", folder / "pictures"),
        ):
            photos = sorted(source.glob("*.JPEG")) if source.is_dir() else []
            if not photos:
                print(f"{data}: no JPEG files in {source}")
                continue
            root = folder / source.name / "tree"
            files = class_tree(photos, root, arguments.files)
            measure(data, files, root, arguments)


if __name__ == "__main__":
    main()
