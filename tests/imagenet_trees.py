"""Little trees in ImageNet's layouts, each image of one grey that tells it apart."""

import json
import os

import numpy as np
from PIL import Image

IDS = ["n01", "n02", "n03"]
NAMES = ["sea snake", "crane", "crane"]
TRAIN = {"n01": 2, "n02": 3, "n03": 4}  # images of each class
VAL = ["n03", "n01", "n01", "n02", "n03"]  # of ILSVRC2012_val_00000001.JPEG, ...
ILSVRC_IDS = {"n01": 3, "n02": 1, "n03": 2}  # the order of the kit is another
DATA = "ILSVRC/Data/CLS-LOC"


def save(file, grey, size=(16, 16)):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey,) * 3).save(file, quality=95)


def write_train(folder):
    for label, (class_id, count) in enumerate(TRAIN.items()):
        for number in range(count):
            save(folder / class_id / f"{class_id}_{number}.JPEG", 60 * label + number)


def write_val(folder, by_class=False):
    for number, class_id in enumerate(VAL):
        name = f"ILSVRC2012_val_{number + 1:08d}.JPEG"
        save(folder / (class_id if by_class else "") / name, 200 + 10 * number)


def write_mapping(root):
    lines = [f"{i} {name}, Other name" for i, name in zip(IDS, NAMES, strict=True)]
    (root / "LOC_synset_mapping.txt").write_text("\n".join(lines))


def write_solution(root):
    rows = [f"ILSVRC2012_val_{k + 1:08d},{c} 85 1 499 272 " for k, c in enumerate(VAL)]
    # In no order, and with two boxes in a row, as in Kaggle's.
    rows[0] += f"{VAL[0]} 3 4 5 6 "
    text = "\n".join(["ImageId,PredictionString", *reversed(rows)])
    (root / "LOC_val_solution.csv").write_text(text + "\n")


def write_class_index(root):
    index = {str(k): [c, NAMES[k].replace(" ", "_")] for k, c in enumerate(IDS)}
    (root / "imagenet_class_index.json").write_text(json.dumps(index))


def write_val_labels(root):
    labels = {f"ILSVRC2012_val_{k + 1:08d}.JPEG": c for k, c in enumerate(VAL)}
    (root / "ILSVRC2012_val_labels.json").write_text(json.dumps(labels))


def write_ground_truth(folder):
    lines = [f"{ILSVRC_IDS[class_id]}\n" for class_id in VAL]
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(lines))


def write_meta(folder):
    from scipy.io import savemat

    # The fields of the kit, and one of its synsets that have others below them.
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("children", "O")]
    rows = [(number, wnid, "words", 0.0) for wnid, number in ILSVRC_IDS.items()]
    rows.append((1001, "n00", "entity", np.array([1.0, 2.0])))
    synsets = np.array(rows, fields).reshape(-1, 1)
    savemat(folder / "meta.mat", {"synsets": synsets})


def write_kaggle(root):
    write_train(root / DATA / "train")
    write_val(root / DATA / "val")
    (root / DATA / "test").mkdir()
    (root / "ILSVRC" / "Annotations").mkdir()
    write_mapping(root)
    write_solution(root)
    return root


def make_old(root):
    """As if nothing in it had changed for an hour."""
    for path in [root, *root.rglob("*")]:
        before = path.stat().st_mtime_ns
        os.utime(path, ns=(before, before - 3_600_000_000_000))


def greys(images):
    """The grey of each image, to within what JPEG changes."""
    images = np.asarray(images)
    assert images.max(axis=(1, 2, 3)).tolist() == images.min(axis=(1, 2, 3)).tolist()
    return images[:, 0, 0, 0].tolist()


def below(files, folder):
    assert all(file.startswith(f"{folder}/") for file in files)
    return [file.removeprefix(f"{folder}/") for file in files]
