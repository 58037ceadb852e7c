"""Parts of pages that scripts write, between `<!-- NAME -->` and `<!-- end -->`."""

import re


def fill_part(text, name, lines):
    """The text of a page with other lines in the part of that name."""
    new = f"<!-- {name} -->\n\n{lines}\n\n<!-- end -->"
    return re.sub(rf"<!-- {name} -->.*?<!-- end -->", lambda _: new, text, flags=re.S)
