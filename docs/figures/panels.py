"""Splits wide figures of a run into one file for each panel, for pages of this site.

    python docs/figures/panels.py runs/sim4-default/figures/curves.png docs/results/sim4

A report's figures have panels of 7 inches side by side. A page of the site is as wide
as one of them, so it shows them one below the other: `curves_1.png`, `curves_2.png`.
256 colours keep a file below 300 kB. Needs Pillow.
"""

import sys
from pathlib import Path

from PIL import Image

INCHES = 7  # the width of one panel


def split(figure: Path, folder: Path) -> list[Path]:
    """Writes the panels of a figure into a folder and returns their files."""
    image = Image.open(figure).convert("RGB")
    dpi = round(Image.open(figure).info["dpi"][0])
    panel = INCHES * dpi
    written = []
    for number in range(round(image.width / panel)):
        part = image.crop((number * panel, 0, (number + 1) * panel, image.height))
        file = folder / f"{figure.stem}_{number + 1}.png"
        part.quantize(256).save(file, dpi=(dpi, dpi), optimize=True)
        written.append(file)
    return written


if __name__ == "__main__":
    *figures, folder = map(Path, sys.argv[1:])
    for figure in figures:
        print(*split(figure, folder))
