"""The code in the guides runs, the site is whole, and its numbers are the data's."""

import csv
import inspect
import operator
import re
import statistics
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import matplotlib
import pytest
from code_blocks import python_blocks, run_blocks
from docs_scripts import load_script
from html_site import read_site

import keras_residual

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(DOCS)): path for path in sorted(DOCS.rglob("*.md"))}
WITH_CODE = [
    name
    for name, path in PAGES.items()
    if python_blocks(path.read_text())
    and not name.startswith("notebooks/")  # test_notebooks.py runs them
]
CLASSES = [
    name
    for name in keras_residual.__all__
    if inspect.isclass(getattr(keras_residual, name))
]


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_CODE)
def test_code_of_the_page_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # The gallery draws more figures than a reader has open at a time.
    monkeypatch.setitem(matplotlib.rcParams, "figure.max_open_warning", 0)
    run_blocks(python_blocks(PAGES[name].read_text()), name)


@pytest.mark.once
@pytest.mark.parametrize(
    "name",
    [
        *keras_residual.__all__,
        # What methods of these return.
        "models.CachedFeatures",
        "models.LearningRateRange",
        "datasets.ImageNetReport",
    ],
)
def test_every_export_has_a_reference_page(name):
    page = PAGES[f"api/{name.rsplit('.')[-1]}.md"].read_text()
    assert f"::: keras_residual.{name}\n" in page


@pytest.mark.once
def test_every_page_is_in_the_navigation():
    lines = (ROOT / "mkdocs.yml").read_text().splitlines()
    navigation = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    assert [name for name in PAGES if name not in navigation] == []


@pytest.mark.once
def test_guides_are_short():
    lines = {
        name: len(path.read_text().splitlines())
        for name, path in PAGES.items()
        # A list and notebooks, written by scripts.
        if name != "gallery.md" and not name.startswith("notebooks/")
    }
    assert {name: count for name, count in lines.items() if count > 180} == {}


@pytest.mark.once
def test_gallery_shows_every_plot_function_as_it_is():
    pytest.importorskip("matplotlib")
    text = load_script("gallery").page()
    assert PAGES["gallery.md"].read_text() == text, "run docs/figures/gallery.py"


@pytest.mark.once
def test_images_fit_a_page():
    image_files = pytest.importorskip("PIL.Image")
    too_large = []
    for path in sorted(DOCS.rglob("*.png")):
        with image_files.open(path) as image:
            # A page is 770 pixels wide. Twice the dots per inch are twice the pixels.
            width = image.width / image.info["dpi"][0] * 110
        if path.stat().st_size >= 300_000 or width > 771:
            too_large.append(str(path.relative_to(DOCS)))
    assert too_large == []


@pytest.mark.once
@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_tables_hold_the_recorded_results(page):
    tables = load_script("tables")
    text = (ROOT / page).read_text()
    for name in ("claims", "benchmarks"):
        assert f"<!-- {name} -->" in text
    filled = tables.fill(text, tables.PAGES[ROOT / page])
    assert filled == text, "run docs/figures/tables.py"


@pytest.mark.once
def test_tables_of_new_networks_hold_the_recorded_norms():
    pytest.importorskip("pandas")
    script = load_script("initialization")
    data = script.read()
    for page in script.PAGES:
        text = (ROOT / page).read_text()
        assert "<!-- summary -->" in text
        filled = script.fill(text, data)
        assert filled == text, "run docs/figures/initialization.py draw"
    for blocks in script.BLOCKS:  # the page says that theory lies in each interval
        rows = script.select(data, "residual", "batch_norm", blocks)
        _, low, high = script.mean_and_interval(script.growth(rows))
        assert low <= (blocks + 1) ** 0.5 <= high
    # Every network that the tables speak of was measured, and once.
    networks = data.groupby(["net", "condition", "blocks"])["seed"].nunique()
    assert set(networks) == {len(script.SEEDS)}
    assert len(data) == networks.sum()
    assert len(networks) == len(script.NETS) * len(script.CONDITIONS) * len(
        script.BLOCKS
    )


@pytest.mark.once
def test_tables_of_depths_hold_the_recorded_accuracies():
    pytest.importorskip("pandas")
    script = load_script("depth")
    for page in script.PAGES:
        text = page.read_text()
        assert "<!-- degradation -->" in text
        assert script.fill(text) == text, "run docs/figures/depth.py draw"
    for source in script.SOURCES:
        results, tested = script.read(source)
        key = ["batch_norm", "net", "blocks"]
        seeds = results.groupby(key)["seed"].agg(["nunique", "size"])
        assert set(seeds.index.droplevel("blocks")) == set(script.COLUMNS.values())
        assert (seeds == 10).all(axis=None)
        assert len(seeds) == 20
        # The stated difference is that of the recorded accuracies.
        pairs = results.pivot(index=["batch_norm", "blocks", "seed"], columns="net")
        gain = pairs["accuracy", "residual"] - pairs["accuracy", "plain"]
        gain = gain.groupby(["batch_norm", "blocks"]).mean()
        stated = tested[tested["hypothesis"] == "H2"]
        stated = stated.set_index(["batch_norm", "blocks"])["mean_difference"]
        assert stated.to_dict() == pytest.approx(gain.to_dict(), abs=1e-5)
    # What the pages say in words: of 20 blocks, and of gradients that vanish.
    results, tested = script.read("cifar10")
    deep = tested.set_index(["hypothesis", "batch_norm", "blocks"])
    assert round(100 * deep.loc["H2", "on", 20]["mean_difference"]) == 13
    deepest = script.read("synthetic")[0]
    for network, words in ((script.BRANCH, "it is 82.2 %"), ("residual", "(75.2 %)")):
        condition = "off" if network == script.BRANCH else "on"
        mean = script.accuracy(deepest, condition, network, 20).mean()
        assert f"{mean:.1f} %" in words
        assert words in script.PAGES[0].read_text()
    for page in ("README.md", "docs/index.md"):
        assert "41 convolutions 13 points" in (ROOT / page).read_text()
    key = ["batch_norm", "net", "blocks"]
    first = results.set_index(key).loc["off", "plain", 20]["first_kernel"]
    assert ((first < 1e-4).sum(), (first < 1e-20).sum()) == (9, 3)


@pytest.mark.once
def test_introduction_holds_the_recorded_accuracies():
    with (DOCS / "results/sim4/cifar10/results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    plain, residual = (
        [float(row["accuracy"]) for row in rows if row["net"] == net]
        for net in ("plain", "residual")
    )
    ahead = sum(map(operator.gt, residual, plain))
    text = " ".join(PAGES["introduction.md"].read_text().split())
    assert f"reaches {100 * statistics.mean(residual):.1f} %" in text
    assert f"plain twin {100 * statistics.mean(plain):.1f} %" in text
    assert f"more accurate in {ahead} of {len(plain)} seeds" in text


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages of the site by their path in it."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir"]
    build = subprocess.run(
        [*command, folder], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert build.returncode == 0, build.stderr
    return {
        str(path.relative_to(folder)): page for path, page in read_site(folder).items()
    }


@pytest.mark.once
@pytest.mark.slow
def test_links_images_and_anchors_resolve(site):
    by_path = {page.path.resolve(): page for page in site.values()}
    broken = []
    for name, page in site.items():
        if name == "404.html":  # its links begin with the address of the site
            continue
        for reference in page.references:
            parts = urlsplit(reference)
            if parts.scheme or parts.netloc:
                continue
            target = page.path
            if parts.path:
                target = (page.path.parent / unquote(parts.path)).resolve()
            anchor = unquote(parts.fragment)
            if not target.exists() or (
                anchor
                and target.suffix == ".html"
                and anchor not in by_path[target.resolve()].ids
            ):
                broken.append((name, reference))
    assert len(site) > 40
    assert broken == []


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSES)
def test_page_of_a_class_shows_its_arguments_and_defaults(site, name):
    signature = re.sub(r"\s+", "", site[f"api/{name}.html"].signatures[0])
    for parameter in inspect.signature(
        getattr(keras_residual, name)
    ).parameters.values():
        assert parameter.name in signature
        if isinstance(parameter.default, (bool, int, float)):
            assert f"={parameter.default}" in signature


@pytest.mark.once
@pytest.mark.slow
def test_reference_shows_no_private_name(site):
    for name, page in site.items():
        if name.startswith("api/"):
            private = re.compile(r"(?<![\w\"'])_[a-z]\w*")
            assert [text for text in page.signatures if private.search(text)] == []
            assert [i for i in page.ids if re.search(r"\._[a-z_]*$", i)] == []
