"""From a folder of photos to a model: on a small network, and on real photos."""

import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

from keras_residual.experiments import RefusedError

EXAMPLE = "own_photos.py"
WHOLE_NETWORK = keras.applications.MobileNetV2


@pytest.fixture
def program(load):
    return load("own_photos")


@pytest.fixture
def small_network(monkeypatch, tmp_path_factory):
    """MobileNetV2 means its first blocks; returns a file with weights of them."""

    def build(weights, **arguments):
        network = WHOLE_NETWORK(alpha=0.35, weights=None, **arguments)
        return keras.Model(network.input, network.get_layer("block_1_project").output)

    monkeypatch.setattr(keras.applications, "MobileNetV2", build)
    file = tmp_path_factory.mktemp("weights") / "small.weights.h5"
    build(None, include_top=False, input_shape=(32, 32, 3)).save_weights(file)
    return file


@pytest.fixture
def folder(tmp_path):
    """Dark and bright pictures, two of each series, and a file that is broken."""
    folder = tmp_path / "photos"
    for name, brightness in (("dark", 30), ("bright", 200)):
        (folder / name).mkdir(parents=True)
        for number in range(15):
            noise = np.random.default_rng(number).integers(0, 50, (40, 60, 3))
            file = folder / name / f"series{number // 2}_{number}.png"
            Image.fromarray((noise + brightness).astype("uint8")).save(file)
    (folder / "dark/broken.jpg").write_bytes(b"cut off")
    return folder


def options(program, folder, weights, *others):
    return program.parse_options(
        [
            *map(str, (folder, "--out", folder.parent / "out", "--weights", weights)),
            *("--image-size", "32", "--tuning-epochs", "1", "--unfreeze", "5", *others),
        ]
    )


@pytest.mark.once
@pytest.mark.slow
def test_the_whole_way_killed_in_between(
    program, small_network, folder, monkeypatch, capsys
):
    chosen = options(program, folder, small_network)
    out = chosen.out

    class Killed(Exception):
        pass

    def kill(*_):
        raise Killed

    # The tests of deployment export.
    monkeypatch.setattr(program, "export", lambda *_: "none")
    with monkeypatch.context() as patch:
        patch.setattr(program, "fine_tune", kill)
        with pytest.raises(Killed):
            program.train(chosen)
    assert not (out / "model.keras").exists()
    head = (out / "folds/0/head.keras").stat().st_mtime_ns
    program.train(chosen)
    assert (out / "folds/0/head.keras").stat().st_mtime_ns == head
    said = capsys.readouterr().out
    assert "left out: dark/broken.jpg" in said
    assert "30 photos: bright, dark" in said
    figures = {file.stem for file in (out / "figures").glob("*.png")}
    assert figures - {"most_wrong"} == {  # where any photo is wrong
        *("confusion_matrix", "grad_cam", "inputs", "learning_curve", "learning_rate"),
        "reliability",
    }
    report = (out / "report.md").read_text()
    for heading in ("Each class", "Photos that are most wrong", "Files left out"):
        assert f"## {heading}" in report
    assert (out / "report.html").read_text().count("data:image/png;base64,") == len(
        figures
    )

    # The accuracy of the report is that of the model on the photos that chose nothing.
    photos = program.read_photos(folder, image_size=32)
    test = program.split(photos, chosen)[0][2]
    model = keras.saving.load_model(out / "model.keras")
    assert model.class_names == ["bright", "dark"]
    outputs = model.predict(photos.images[test], verbose=0)
    accuracy = (outputs.argmax(1) == photos.labels[test]).mean()
    assert f"{100 * accuracy:.1f} % (" in report
    choice = json.loads((out / "folds/0/chosen.json").read_text())
    assert choice["fine_tuned"] == (choice["tuned_loss"] < choice["head_loss"])

    program.predict([str(out / "model.keras"), str(folder / "dark/series0_0.png")])
    names = [name for name, _ in model.classify(folder / "dark/series0_0.png")]
    said = capsys.readouterr().out
    assert f"series0_0.png: {names[0]} " in said

    with pytest.raises(RefusedError, match="a training of other photos or options"):
        program.train(options(program, folder, small_network, "--seed", "1"))


@pytest.mark.once
@pytest.mark.slow
def test_every_photo_tests_once_with_folds(program, small_network, folder, monkeypatch):
    others = ("--folds", "3", "--tuning-epochs", "0")
    chosen = options(program, folder, small_network, *others)
    monkeypatch.setattr(program, "export", lambda *_: "none")
    program.train(chosen)
    photos = program.read_photos(folder, image_size=32)
    right = 0
    for number, (_, _, test) in enumerate(program.split(photos, chosen)):
        model = keras.saving.load_model(chosen.out / f"folds/{number}/model.keras")
        outputs = model.predict(photos.images[test], verbose=0)
        right += (outputs.argmax(1) == photos.labels[test]).sum()
    report = (chosen.out / "report.md").read_text()
    assert f"{100 * right / 30:.1f} % (" in report
    assert "of 30 test photos are classified correctly" in report
    assert "in 0 of 3 trainings" in report
    assert "model.keras and its export are the network of the first training" in report


@pytest.mark.once
def test_split(program, folder):
    photos = program.read_photos(folder, image_size=8)

    def split(*others):
        return program.split(photos, options(program, folder, "none", *others))

    (single,) = split()
    assert sorted(np.concatenate(single)) == list(range(30))
    assert [len(part) for part in single] == [18, 6, 6]
    for part in single:
        assert np.bincount(photos.labels[part]).tolist() == [len(part) // 2] * 2
    for one, other in zip(single, split()[0], strict=True):
        np.testing.assert_array_equal(one, other)
    (seed,) = split("--seed", "3")
    assert set(seed[2]) != set(single[2])

    folds = split("--folds", "3")
    assert sorted(np.concatenate([fold[2] for fold in folds])) == list(range(30))
    assert all(set(fold[1]).isdisjoint(fold[2]) for fold in folds)

    # Both photos of a series are on one side, also where the group is captured.
    for pattern in (r"\w+/series\d+", r"(\w+/series\d+)_"):
        (grouped,) = split("--group-by", pattern)
        for part in grouped:
            inside = {photos.files[place].rsplit("_", 1)[0] for place in part}
            outside = {
                photos.files[place].rsplit("_", 1)[0]
                for place in set(range(30)) - set(part.tolist())
            }
            assert inside.isdisjoint(outside)
    with pytest.raises(RefusedError, match="5 parts cannot be made of"):
        split("--group-by", r"^\w+")  # each class is one group


@pytest.mark.once
def test_refused_in_words(program, folder, monkeypatch):
    def offline(weights, **arguments):
        raise Exception("URL fetch failure: no route to host")  # as Keras says it

    monkeypatch.setattr(keras.applications, "MobileNetV2", offline)
    chosen = program.parse_options(
        [*map(str, (folder, "--out", folder.parent / "out")), "--image-size", "32"]
    )
    with pytest.raises(RefusedError) as ended:
        program.train(chosen)
    message = str(ended.value)
    assert "\n" not in message
    assert "give --weights FILE" in message
    assert "keras.applications.MobileNetV2().save_weights" in message

    for file in list((folder / "dark").glob("*.png"))[4:]:
        file.unlink()
    with pytest.raises(RefusedError, match="at least 5 readable photos, but dark"):
        program.train(chosen)
    shutil.rmtree(folder / "dark")
    with pytest.raises(RefusedError, match="at least two folders of images"):
        program.train(chosen)


@pytest.mark.once
@pytest.mark.slow
def test_cats_and_dogs(shared_data, root, program, tmp_path, capsys):
    """A hundred real photos and real weights, as a user runs it."""
    source = shared_data("cats_dogs")
    weights = shared_data("weights") / "mobilenet_v2_imagenet.weights.h5"
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(50):
            file = tmp_path / "photos" / name / f"{number}.jpg"
            file.symlink_to(source / f"{name}.{number}.jpg")

    out = tmp_path / "out"
    command = [sys.executable, root / "examples" / EXAMPLE, tmp_path / "photos"]
    ended = subprocess.run(
        [*map(str, command), *("--out", str(out), "--weights", str(weights))],
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    program.predict([str(out / "model.keras"), *map(str, source.glob("*.20?.jpg"))])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 20
    named = [line.split(": ")[1].split()[0] for line in lines]
    truth = [line.rsplit("/", 1)[1].split(".")[0] for line in lines]
    assert sum(map(str.__eq__, named, truth)) >= 18
