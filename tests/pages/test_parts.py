"""Parts of pages: everything is escaped, tables say what is whose head, pictures hold the pixels that were given."""

import numpy as np
import pytest
from html_pages import Read, image_of
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from convnet.pages import parts
from convnet.pages.parts import (
    Html,
    data_url,
    details,
    drawing,
    element,
    facts,
    figure,
    html,
    joined,
    picture,
    section,
    table,
)
from convnet.texts import printable_lines


@given(st.text())
def test_texts_are_shown_as_they_are_and_do_nothing(text):
    page = Read(element("p", text, title=text))
    assert len(page.elements) == 1
    shown = printable_lines(text.replace("\r\n", "\n").expandtabs())
    assert page.elements[0].text == page.elements[0].attributes["title"] == shown


@pytest.mark.parametrize(
    "planted, shown",
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ('" onload="x', "&quot; onload=&quot;x"),
        ("'&amp;", "&#x27;&amp;amp;"),
        ("abc\u202egpj.exe", "abc\\u202egpj.exe"),
        ("a\x00b\x1b[31m", "a\\x00b\\x1b[31m"),
        ("a\tb\r\nc", "a       b\nc"),
    ],
)
def test_what_would_act_or_hide_is_written_out(planted, shown):
    assert html(planted) == shown
    assert html(Html("<b>x</b>")) == "<b>x</b>"  # is HTML already


def test_elements():
    assert element("input", type="radio", checked=True, id=None, disabled=False) == '<input type="radio" checked>'
    assert element("th", "a<b", scope="row", class_="x", aria_label="y", tabindex=0) == (
        '<th scope="row" class="x" aria-label="y" tabindex="0">a&lt;b</th>'
    )
    assert joined(["<", element("b", ">")], ", ") == "&lt;, <b>&gt;</b>"
    assert facts([("Seed", 0), ("Data", ""), ("<", ">")]).count("<dt>") == 2


def test_a_page_loads_nothing_and_says_what_it_is():
    parts_of_it = [section("a", "A <b>", details("more", "text"), figure("x", "what it is"))]
    text = parts.page("A & B", "It's said", *parts_of_it, styles=[".x { color: red; }"])
    page = Read(text)
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">') and page.loads == []
    assert page.all("title")[0].text == "A & B"
    assert page.all("meta", name="description")[0].attributes["content"] == "It's said"
    policy = page.all("meta", http_equiv="Content-Security-Policy")[0].attributes["content"]
    assert "default-src 'none'" in policy and "script" not in policy
    assert [style.text for style in page.all("style")] == ["\n" + parts.stylesheet(), "\n.x { color: red; }"]
    (found,) = page.all("section")
    assert page.all("h2", id=found.attributes["aria-labelledby"])[0].text == "A <b>"
    assert not Read(parts.page("A", "B", scripts=["1 < 2"])).all("meta", http_equiv="Content-Security-Policy")


def test_a_table_has_heads_of_rows_and_columns_and_numbers_to_the_right():
    page = Read(table("What", ["a", "b", "c"], [["x", "y", "1"], ["<", "z", "2"]], ["sum", "", "3"], words=2))
    assert page.rows("What") == [["a", "b", "c"], ["x", "y", "1"], ["<", "z", "2"], ["sum", "", "3"]]
    heads = [(head.text, head.attributes["scope"]) for head in page.all("th")]
    assert heads == [("a", "col"), ("b", "col"), ("c", "col"), ("x", "row"), ("<", "row"), ("sum", "row")]
    assert [cell.text for cell in page.elements if cell.attributes.get("class") == "number"] == ["c", "1", "2", "3"]
    (region,) = page.all("div", role="region")
    assert (region.attributes["tabindex"], region.attributes["aria-label"]) == ("0", "What")
    some = Read(table("What", ["a", "b", "c"], [["x", "1", "y"]], words=(0, 2)))
    assert [cell.text for cell in some.elements if cell.attributes.get("class") == "number"] == ["b", "1"]


def test_a_drawing_has_a_form_for_small_screens():
    page = Read(drawing("Curves", "<svg></svg>", "<svg></svg>"))
    assert [found.attributes["class"] for found in page.all("div")] == ["drawing large-only", "drawing small"]
    assert Read(drawing("Graph", "<svg></svg>", is_of_paper=True)).all("div")[0].attributes["class"] == "paper"


@pytest.mark.parametrize("colors, mode", [(1, "L"), (3, "P"), (4096, "RGB")])
def test_pictures_hold_their_pixels_in_the_fewest_bytes(colors, mode):
    """Grey ones as grey, few colours as a palette, and all of them exactly."""
    numbers = np.arange(64 * 64).reshape(64, 64) % colors
    grey = np.arange(64 * 64).reshape(64, 64) % 256
    red, green, blue = (grey, grey, grey) if colors == 1 else (numbers % 256, numbers // 16 % 256, 7 * numbers % 256)
    pixels = np.stack([red, green, blue], axis=-1).astype(np.uint8)
    page = Read(picture(Image.fromarray(pixels), 'a "b"', scale=3))
    (found,) = page.all("img")
    np.testing.assert_array_equal(image_of(found), pixels)
    assert (found.attributes["alt"], found.attributes["width"], found.attributes["class"]) == ('a "b"', "192", "pixels")
    assert parts._smallest(Image.fromarray(pixels)).mode == mode
    assert data_url(Image.fromarray(pixels)) == data_url(Image.fromarray(pixels.copy()))


def test_photos_are_jpeg():
    photo = Image.fromarray(np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8))
    (found,) = Read(picture(photo, "a photo", is_photo=True)).all("img")
    assert found.attributes["src"].startswith("data:image/jpeg;base64,") and "class" not in found.attributes
    assert np.abs(image_of(found).astype(int) - np.asarray(photo)).mean() < 8
