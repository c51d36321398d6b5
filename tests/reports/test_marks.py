"""Points of a figure carry their texts into the SVG, whatever the texts hold."""

from xml.etree import ElementTree as ET

import pytest

from reports import drawing, marks

HOSTILE = '</title><script>alert(1)</script> "\' url(#x) id="a" href="#b" ]]> -- & {% \u202e'
SVG = "{http://www.w3.org/2000/svg}"


def drawn(texts: list[str], *, points: int = 3) -> drawing.Drawing:
    with drawing.styled():
        figure, [axes] = drawing.new_figure(2.0)
        [line] = axes.plot(range(points), range(points), "o-", label="x")
        drawing.label_points(line, texts)
        return drawing.finish(figure, "picture")


def titles(svg: str) -> list[str]:
    root = ET.fromstring(svg)  # noqa: S314 - our own drawing
    return [group[0].text or "" for group in root.iter(f"{SVG}g") if group.get("class") == "mark"]


@pytest.mark.parametrize("form", ["page_svg", "file_svg"])
def test_each_point_gets_its_own_text(form: str) -> None:
    svg = getattr(drawn(["one", "two\n0.5 nats", "three"]), form)

    assert titles(svg) == ["one", "two\n0.5 nats", "three"]
    assert svg.count("<use") >= 3
    assert marks.PREFIX not in svg


def test_one_text_labels_a_line_as_a_whole() -> None:
    assert titles(drawn(["all of it"]).page_svg) == ["all of it"]


def test_texts_that_do_not_fit_the_points_are_left_out() -> None:
    assert titles(drawn(["one", "two"]).page_svg) == []


@pytest.mark.parametrize("form", ["page_svg", "file_svg"])
def test_a_text_stays_a_text(form: str) -> None:
    svg = getattr(drawn([HOSTILE, "b", "c"]), form)

    assert titles(svg)[0] == HOSTILE.replace("\u202e", "\\u202e")
    assert "<script" not in svg
