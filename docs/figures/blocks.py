"""Draws the two blocks of the introduction: python docs/figures/blocks.py."""

from pathlib import Path

ASSETS = Path(__file__).resolve().parents[1] / "assets"
LAYERS = ["3x3 convolution", "batch normalization", "ReLU", "3x3 convolution"]
LAYERS += ["batch normalization"]
BOX, GAP, WIDTH = 34, 18, 190
BLUE, ORANGE, INK = "#0072B2", "#D55E00", "#222222"


def arrow(points, colour=INK):
    path = "M" + " L".join(f"{x} {y}" for x, y in points)
    return (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2" '
        f'marker-end="url(#{colour[1:]})"/>'
    )


def text(x, y, words, colour=INK, weight="normal", anchor="middle"):
    return (
        f'<text x="{x}" y="{y}" fill="{colour}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{words}</text>'
    )


def block(x, title, colour, shortcut):
    """One block, from its input at the top to its output, around the axis x."""
    parts = [text(x, 24, title, colour, "bold"), text(x, 58, "x")]
    y = 66
    branch = y + 4
    for layer in LAYERS:
        parts.append(arrow([(x, y), (x, y + GAP)]))
        y += GAP
        parts.append(
            f'<rect x="{x - WIDTH // 2}" y="{y}" width="{WIDTH}" height="{BOX}" rx="6" '
            f'fill="white" stroke="{colour}" stroke-width="2"/>'
        )
        parts.append(text(x, y + 22, layer))
        y += BOX
    middle = (branch + y) // 2
    parts.append(text(x - WIDTH // 2 - 14, middle, "F", colour, "bold", "end"))
    if shortcut:
        side = x + WIDTH // 2 + 34
        parts.append(arrow([(x, y), (x, y + GAP)]))
        y += GAP + 14
        parts.append(
            f'<circle cx="{x}" cy="{y}" r="13" fill="white" stroke="{colour}" '
            'stroke-width="2"/>'
        )
        parts.append(text(x, y + 6, "+", colour, "bold"))
        parts.append(
            arrow([(x, branch), (side, branch), (side, y), (x + 15, y)], colour)
        )
        parts.append(text(side + 10, middle, "shortcut", colour, "bold", "start"))
        y += 13
        formula = "y = relu(F(x) + x)"
    else:
        parts.append(
            arrow([(x, y), (x, y + GAP + 27)]).replace("marker-end", "data-no")
        )
        y += GAP + 27
        formula = "y = relu(F(x))"
    parts.append(arrow([(x, y), (x, y + GAP)]))
    y += GAP
    parts.append(
        f'<rect x="{x - WIDTH // 2}" y="{y}" width="{WIDTH}" height="{BOX}" rx="6" '
        f'fill="white" stroke="{colour}" stroke-width="2"/>'
    )
    parts.append(text(x, y + 22, "ReLU"))
    parts.append(arrow([(x, y + BOX), (x, y + BOX + GAP)]))
    parts.append(text(x, y + BOX + GAP + 24, formula, INK, "bold"))
    return parts


def draw():
    heads = "".join(
        f'<marker id="{colour[1:]}" viewBox="0 0 10 10" refX="9" refY="5" '
        'markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L10 5L0 10z" fill="{colour}"/></marker>'
        for colour in (INK, BLUE, ORANGE)
    )
    parts = block(160, "PlainBlock (the control)", ORANGE, shortcut=False)
    parts += block(470, "ResidualBlock", BLUE, shortcut=True)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 510" width="700" '
        'height="510" font-family="sans-serif" font-size="16">\n'
        '<rect width="700" height="510" fill="white"/>\n'
        f"<defs>{heads}</defs>\n" + "\n".join(parts) + "\n</svg>\n"
    )


if __name__ == "__main__":
    (ASSETS / "blocks.svg").write_text(draw())
