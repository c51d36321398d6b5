"""Markdown that shows every text as itself, checked by a Markdown parser."""

from typing import Any

import pytest
from markdown_it import MarkdownIt

from reports.document import Code, Column, Comparison, Document, Paragraph, Section, Table
from reports.markdown import code_span, escape, render

HOSTILE = [
    "<script>alert(1)</script>", "a | b", "`code`", "``", "**bold** _it_ ~~gone~~", "[link](https://example.org)",
    "![image](x)", "<https://example.org>", "&amp; &lt;", "\\| \\`", "# heading", "- list", "+ list", "1. list",
    "1) list", "> quote", "---", "===", "| --- |", "```\nfence\n```", "line\nbreak", "$x$", "  indented", "end\\",
    "a`b``c```d", "|", "\\",
]  # fmt: skip


def parser() -> Any:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"])


def texts(markdown: str) -> tuple[list[str], set[str]]:
    """The text of each inline run, and all kinds of tokens, as a parser sees them."""
    inline = [token for token in parser().parse(markdown) if token.type == "inline"]
    kinds = {child.type for token in inline for child in token.children} | {t.type for t in parser().parse(markdown)}
    return ["".join(child.content for child in token.children) for token in inline], kinds


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_in_a_paragraph_is_shown_as_it_is(text: str) -> None:
    shown, kinds = texts(escape(text))

    assert shown == [" ".join(text.split())]
    assert kinds == {"paragraph_open", "inline", "paragraph_close", "text"} | kinds & {"text_special"}


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("align", ["text", "code"])
def test_a_text_in_a_table_stays_in_its_cell(text: str, align: Any) -> None:
    table = Table([Column("one"), Column("two", align), Column("three")], [["a", text, "b"]])
    document = Document("t", "s", [table], [])

    shown, kinds = texts(render(document))

    wanted = " ".join(text.split())
    assert shown[2:] == ["one", "two", "three", "a", wanted, "b"]
    assert not kinds & {"html_inline", "html_block", "link_open", "image", "strong_open", "em_open"}


@pytest.mark.parametrize("text", HOSTILE)
def test_a_models_answer_stays_in_its_block(text: str) -> None:
    document = Document("t", "s", [], [Section("x", "x", [Comparison("Row 1", [Code(text, "answer")])])])

    fences = [token for token in parser().parse(render(document)) if token.type == "fence"]

    assert [fence.content for fence in fences] == [f"{text}\n"]


def test_an_empty_code_span_is_nothing() -> None:
    assert code_span(" ") == ""


def test_a_note_about_what_is_missing_stands_out() -> None:
    document = Document("t", "s", [Paragraph("Gone.", "warning"), Paragraph("Best.", "lead")], [])

    assert "> **Note.** Gone.\n\n**Best.**" in render(document)
