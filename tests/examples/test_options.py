"""Options of the examples: what is refused in one line, and what the help says."""

import pytest
from PIL import Image

pytestmark = pytest.mark.once

REFUSED_SIM4 = {
    "--blocks 0": "--blocks: must be a whole number above 0, not 0",
    "--blocks 2 x": "--blocks",
    "--seeds -1": "--seeds: must be a whole number above 0, not -1",
    "--epochs 1.5": "--epochs",
    "--strength 2": "--strength: must be from 0 to 1, not 2.0",
    "--learning-rate nan": "--learning-rate: must be a number above 0, not nan",
    "--images 3": "--images: must be 10 or more, not 3",
    "--preset slow": "--preset: invalid choice: 'slow'",
    "--batch-norm maybe": "invalid choice 'maybe' for argument '--batch-norm'",
    "--dataset cifar9": "unknown dataset 'cifar9'",
    "--dataset {tmp}/nowhere": "unknown dataset",
    "--dataset {tmp}/file": "or an existing folder",
    "--dataset cifar10 --data-dir {tmp}/nowhere": "must be an existing folder, not ",
    "--out {tmp}/file": "file is a file",
    "--out {tmp}/file/below": "file is a file",
    "--dataset {tmp}/images": "has 30 x 20 pixels, but 32 x 32 are needed",
    "--dataset {tmp}/empty": "at least two folders of images",
    "--dataset cifar10 --data-dir {tmp}/empty": "must hold CIFAR-10's binary",
    "--out {tmp}/images": "is not empty and holds no run",
    "--data-dir {tmp}/images": "--data-dir is for cifar10 and tfds:<name>",
    "--dataset {tmp}/images --strength 0.5": "--strength is for --dataset synthetic",
}
REFUSED_SIM5 = {
    "--dataset cats": "unknown dataset 'cats'",
    "--data-dir {tmp}/nowhere": "--data-dir: must be an existing folder, not ",
    "--data-dir {tmp}/images --dataset synthetic": "--data-dir is for photos",
    "--data-dir {tmp}/images --strength 0.2": "--strength is for --dataset synthetic",
    "--per-class 9": "--per-class: must be 10 or more, not 9",
    "--source-classes 51": "--source-classes: must be 2 to 50, not 51",
    "--shares 0 1": "--shares: must be above 0, and at most 1, not 0.0",
    "--shares 1.5": "--shares: must be above 0, and at most 1, not 1.5",
    "--epochs 1 2": "--epochs",
    "--source-images 9": "--source-images: must be 10 or more, not 9",
    "--shares 0.001 0.01": "--shares must give different numbers of training images",
    "--image-size 7": "--image-size: must be 8 or more, not 7",
    "--source generated --weights imagenet": "not allowed with argument --weights",
    "--data-dir {tmp}/images --per-class 10": "Received: per_class=10",
    "--backbone ResNet51": "Near names: ResNet50",
    "--backbone VGG16 --image-size 32": "20",
    "--weights {tmp}/nowhere.weights.h5": "nowhere.weights.h5",
    "--out {tmp}/images": "is not empty and holds no run",
}
REFUSED = {"sim4_residual.py": REFUSED_SIM4, "sim5_transfer.py": REFUSED_SIM5}
HELP = {
    "sim4_residual.py": "--images INT|2000)|python examples/sim4_residual.py --preset",
    "sim5_transfer.py": "scratch|frozen|fine-tuned|(default: 32)",
    "imagenet_cutout.py": "source|he2015|modern|--hosts|--devices|examples:",
}


@pytest.mark.parametrize(
    ("example", "options"),
    [(example, options) for example in REFUSED for options in REFUSED[example]],
)
def test_bad_input_is_one_line_and_status_2(run_here, tmp_path, example, options):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for name in ("ant", "bee"):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("RGB", (30, 20)).save(tmp_path / "images" / name / "0.png")
    before = sorted(tmp_path.rglob("*"))

    status, out, err = run_here(
        *(example, "--preset", "quick", "--out", tmp_path / "run"),
        *options.format(tmp=tmp_path).split(),
    )

    assert (status, out) == (2, "")
    assert err.startswith(f"{example}: error: ")
    assert len(err.splitlines()) == 1
    assert REFUSED[example][options] in err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("example", HELP)
def test_the_help_names_the_ways_and_the_defaults(run_here, example):
    status, out, err = run_here(example, "--help")

    assert (status, err) == (0, "")
    for words in HELP[example].split("|"):
        assert words in out
