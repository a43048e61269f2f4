"""Markup whose every text is escaped unless it is markup already."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TypeAlias

from ssdcli.report.style import STYLE

Content: TypeAlias = "str | float | Iterable[Content] | None"


class Safe(str):
    """Markup, to be taken as it is."""


def tag(name: str, /, *contents: Content, **attributes: str | float | None) -> Safe:
    """An element; texts among its contents and its attributes are escaped.

    Attributes may end in `_` (`class_`), `_` inside becomes `-`, and those that are None are left out.
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    text = "".join(f' {key}="{escape(str(value))}"' for key, value in given.items())
    return Safe(f"<{name}{text}>{join(contents)}</{name}>")


def void(name: str, /, **attributes: str | float) -> Safe:
    """An element without contents, such as `img`."""
    return Safe(tag(name, **attributes).removesuffix(f"</{name}>"))


def join(contents: Content) -> Safe:
    """Contents one behind the other."""
    if contents is None:
        return Safe("")
    if isinstance(contents, Safe):
        return contents
    if isinstance(contents, str | float | int):
        return Safe(escape(str(contents)))
    return Safe("".join(map(join, contents)))


def section(title: str, *contents: Content) -> Safe:
    """A part of the page under a heading."""
    return tag("section", tag("h2", title), contents, id=anchor(title))


def anchor(title: str) -> str:
    """The name by which links find a section."""
    return title.lower().replace(" ", "-")


def contents_list(titles: Iterable[str]) -> Safe:
    """Links to sections."""
    return tag("nav", [tag("a", title, href=f"#{anchor(title)}") for title in titles], aria_label="Contents")


def note(*contents: Content) -> Safe:
    """A paragraph that says what is meant."""
    return tag("p", contents, class_="note")


def figure(drawing: Safe, *caption: Content) -> Safe:
    """A drawing above its caption."""
    return tag("figure", drawing, tag("figcaption", caption) if caption else None)


def table(
    caption: str,
    columns: Sequence[Content],
    rows: Iterable[tuple[Content, Sequence[Content]]],
    last: tuple[Content, Sequence[Content]] | None = None,
) -> Safe:
    """A table that can be scrolled sideways: rows with their headings, and perhaps one that sums up.

    A cell that is a `td` element, or a column that is a `th`, is taken as it is.
    """
    head = tag("thead", tag("tr", [_heading(column) for column in columns]))
    foot = tag("tfoot", _row(*last)) if last else None
    body = tag("tbody", [_row(*row) for row in rows])
    whole = tag("table", tag("caption", tag("span", caption)), head, body, foot)
    return tag("div", whole, class_="scroll", role="region", aria_label=caption, tabindex="0")


def _heading(column: Content) -> Safe:
    return column if isinstance(column, Safe) and column.startswith("<th") else tag("th", column, scope="col")


def _row(heading: Content, cells: Sequence[Content]) -> Safe:
    filled = [cell if isinstance(cell, Safe) and cell.startswith("<td") else tag("td", cell) for cell in cells]
    return tag("tr", tag("th", heading, scope="row"), filled)


def facts(values: Mapping[str, Content]) -> Safe:
    """Names and what they stand for."""
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in values.items()], class_="facts")


def number(value: float | None, digits: int = 3) -> str:
    """A number for people; n/a for None."""
    return "n/a" if value is None else f"{value:.{digits}f}"


def difference(value: float | None, base: float | None, better: int = 1, digits: int = 3) -> Safe | None:
    """How much more or less than a base, with its sign; nothing where one is unknown.

    More is `better` (1), worse (-1) or neither (0).
    """
    if value is None or base is None:
        return None
    more = round(value - base, digits)
    kind = ("worse", "same", "better")[1 + better * ((more > 0) - (more < 0))]
    sign = "\N{PLUS-MINUS SIGN}" if more == 0 else "+" if more > 0 else "\N{MINUS SIGN}"
    return tag("span", f"{sign}{abs(more):.{digits}f}", class_=f"difference {kind}")


def jpeg_uri(encoded: bytes) -> str:
    """A JPEG image as an address that holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(encoded).decode()


def page(title: str, *contents: Content) -> str:
    """A whole page, which may load nothing from anywhere."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    head = [
        void("meta", charset="utf-8"),
        void("meta", http_equiv="Content-Security-Policy", content=policy),
        void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        void("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Safe(STYLE)),
    ]
    body = tag("html", tag("head", head), tag("body", tag("main", contents)), lang="en")
    return f"<!doctype html>\n{body}\n"
