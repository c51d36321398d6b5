"""The page as a person meets it, in a real browser: wide and narrow, in both themes, by keyboard, printed, unscripted.

Skips where no Chromium is installed.
"""

import dataclasses
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Tab, find_browser, opened

from reports import figures, html, render
from reports.gather import Gathered, gather
from reports.sections import build_document
from reports.summary import summarize
from reports.verdict import judge_run
from sweep.store import RunDirectory

BROWSER = find_browser()
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here; on Debian: apt-get install chromium")

WIDE, NARROW = 1280, 390
TRIALS = 2000
FIRST_ROW = "document.querySelector('#trials tbody').rows[0].cells"
SORT = "document.querySelector('#trials thead').rows[0].cells[{}].querySelector('button')"
# Relative luminance and contrast as WCAG 2.2 defines them; a colour may stand on several translucent grounds.
CONTRAST = """(() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = (rgb) => { const [r, g, b] = rgb.map((c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = (element) => {
    for (let at = element; at !== null; at = at.parentElement) { const [r, g, b, a = 1] = parse(getComputedStyle(at).backgroundColor); if (a === 1) return [r, g, b]; }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || element.closest("script, style, [hidden], title")) continue;
    const style = getComputedStyle(element);
    const ink = parse(element.closest("svg") ? style.fill : style.color).slice(0, 3);
    const [one, two] = [light(ink), light(ground(element))].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (two + 0.05);
    if (contrast < 4.5) found.push([element.tagName, element.className.baseVal ?? element.className, walker.currentNode.textContent.trim().slice(0, 30), contrast.toFixed(2)]);
  }
  return found;
})()"""  # noqa: E501
# Elements that reach out of the window and do not lie within something that scrolls.
STICKING_OUT = """Array.from(document.body.querySelectorAll("*"))
  .filter((one) => !one.closest(".scroll, .plot, .unseen, .skip") && one.getBoundingClientRect().right > innerWidth + 1)
  .map((one) => one.tagName + "." + one.className)"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with opened(str(BROWSER), tmp_path_factory.mktemp("profile")) as opened_tab:
        yield opened_tab


@pytest.fixture(scope="module")
def page(finished_run: RunDirectory) -> Path:
    return render.build(finished_run)


@pytest.fixture(scope="module")
def long_page(finished_run: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report over 2,000 trials, without writing 2,000 directories."""
    began = time.monotonic()
    gathered = crowded(gather(finished_run), TRIALS)
    summary = summarize(gathered)
    judgement = judge_run(gathered, summary.metric)
    drawn = figures.draw_all(gathered, summary)
    path = tmp_path_factory.mktemp("long") / "index.html"
    document = build_document(gathered, summary, [figure for figure, _ in drawn], judgement)
    path.write_text(html.render(document), "utf-8")
    assert time.monotonic() - began < 30
    return path


def crowded(gathered: Gathered, count: int) -> Gathered:
    """The same study with so many trials in its search."""
    methods = []
    each = -(-count // len(gathered.methods))
    for method in gathered.methods:
        records = []
        for number in range(each):
            record = method.search[number % 6]
            rate = 1e-5 * 1.004**number
            params: dict[str, Any] = {**record.config.params, "training.learning_rate": rate}
            training = record.config.method_spec.training.model_copy(update={"learning_rate": rate})  # type: ignore[union-attr]
            spec = record.config.method_spec.model_copy(update={"training": training})  # type: ignore[union-attr]
            config = record.config.model_copy(update={"number": number, "params": params, "method_spec": spec})
            value = None if record.objective is None else record.objective + 0.0001 * number
            records.append(record.model_copy(update={"config": config, "objective": value}))
        methods.append(dataclasses.replace(method, search=tuple(records), best=records[0]))
    return dataclasses.replace(gathered, methods=tuple(methods))


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("dark", [False, True])
def test_it_opens_without_a_complaint_or_a_request_and_fits(tab: Tab, page: Path, width: int, *, dark: bool) -> None:
    tab.show(width, dark=dark)
    tab.open(page)

    assert tab.complaints == []
    assert tab.requested == [page.as_uri()]
    assert tab.ask("document.documentElement.scrollWidth") <= width
    assert tab.ask(STICKING_OUT) == []
    assert tab.ask("getComputedStyle(document.documentElement).backgroundColor") == (
        "rgb(21, 23, 26)" if dark else "rgb(255, 255, 255)"
    )
    assert tab.ask(CONTRAST) == []


def test_a_policy_keeps_every_other_script_and_the_network_out(tab: Tab, page: Path, tmp_path: Path) -> None:
    broken = tmp_path / "index.html"
    evil = (
        "<script>document.title = 'run'</script><img src='https://example.org/x.png' onerror=\"document.title='run'\">"
    )
    broken.write_text(page.read_text("utf-8").replace("<main>", f"<main>{evil}"), "utf-8")
    tab.show(WIDE)
    tab.open(broken)

    assert tab.ask("document.title") == "tickets"
    assert any("Content Security Policy" in text for text in tab.complaints)
    assert [address for address in tab.requested if address.startswith("http")] == []
    # The page's own script still runs: its hash is right.
    assert tab.ask("document.documentElement.className") == "js"


def test_what_models_wrote_stays_text(tab: Tab, page: Path) -> None:
    tab.show(WIDE)
    tab.open(page)

    assert tab.ask("document.scripts.length") == 1
    assert tab.ask("document.images.length") == 0
    assert tab.ask("document.body.textContent.includes('<img src=x onerror=alert(1)>')")


def test_every_figure_and_point_is_labelled(tab: Tab, page: Path) -> None:
    tab.show(WIDE)
    tab.open(page)

    names = tab.ask("Array.from(document.querySelectorAll('.plot')).map((plot) => plot.getAttribute('aria-label'))")
    assert len(names) == 11
    assert all(names)
    assert tab.ask("Array.from(document.querySelectorAll('figure')).every((one) => one.querySelector('figcaption'))")
    points = tab.ask("Array.from(document.querySelectorAll('.mark')).map((mark) => mark.getAttribute('aria-label'))")
    assert len(points) > 50
    assert "lora trial 3, COMPLETE\nlearning rate 4e-4, rank 64\nobjective 0.323" in points


def test_a_point_says_what_it_is_under_the_pointer_and_by_keyboard(tab: Tab, page: Path) -> None:
    tab.show(WIDE)
    tab.open(page)
    tab.ask("document.getElementById('rate_and_rank').scrollIntoView()")
    at = tab.ask(
        "(() => { const at = document.querySelector('#rate_and_rank .mark').getBoundingClientRect();"
        " return [at.left + at.width / 2 + 4, at.top + at.height / 2]; })()"
    )

    tab.point(*at)
    assert "lora trial 0" in tab.ask("document.getElementById('tip').textContent")
    assert not tab.ask("document.getElementById('tip').hidden")
    tab.press("Escape")
    assert tab.ask("document.getElementById('tip').hidden")

    tab.ask("document.querySelector('#rate_and_rank .mark').focus()")
    tab.press("ArrowRight")
    # Points of one rank lie together: the second trial with the first one's rank.
    assert "lora trial 4" in tab.ask("document.getElementById('tip').textContent")
    # One stop of the Tab key a figure, however many points it has.
    assert tab.ask("document.querySelectorAll('#rate_and_rank .mark[tabindex=\"0\"]').length") == 1


def test_a_table_sorts_by_value_and_by_keyboard(tab: Tab, page: Path) -> None:
    tab.show(WIDE)
    tab.open(page)
    heading = tab.ask(
        "Array.from(document.querySelectorAll('#trials thead')[0].rows[0].cells).map((c) => c.textContent)"
    )
    place = heading.index("learning_rate")
    values = f"Array.from(document.querySelector('#trials tbody').rows).map((row) => row.cells[{place}].textContent)"
    before = tab.ask(values)

    tab.ask(f"{SORT.format(place)}.focus()")
    tab.press("Enter")
    assert tab.ask(values) == sorted(before, key=float)
    assert tab.ask(f"{SORT.format(place)}.parentElement.getAttribute('aria-sort')") == "ascending"
    tab.press("Enter")
    assert tab.ask(values) == sorted(before, key=float, reverse=True)
    tab.press("Enter")
    assert tab.ask(values) == before
    assert tab.ask(f"{SORT.format(place)}.parentElement.getAttribute('aria-sort')") == "none"


def test_the_theme_can_be_switched_and_follows_the_system_until_then(tab: Tab, page: Path) -> None:
    tab.show(WIDE, dark=True)
    tab.open(page)
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    found = [tab.ask(paper)]
    for _ in range(3):
        tab.ask("document.getElementById('theme').click()")
        found.append(tab.ask(paper))

    dark, light = "rgb(21, 23, 26)", "rgb(255, 255, 255)"
    assert found == [dark, light, dark, dark]


def test_a_score_leads_to_its_items_and_commands(tab: Tab, page: Path) -> None:
    tab.show(WIDE)
    tab.open(page)
    tab.ask("document.querySelector('#methods tbody a').click()")
    row = "document.querySelector(location.hash).parentElement"

    assert tab.ask(f"{row}.textContent").endswith(
        "sweep eval runs/tickets/confirm/lora/seed-1sweep rerun runs/tickets confirm/lora/seed-1"
    )
    items = tab.ask(f"{row}.querySelector('td a').getAttribute('href')")
    assert (page.parent / items).is_file()


def test_without_scripts_all_is_there_and_nothing_is_dead(tab: Tab, page: Path, long_page: Path) -> None:
    tab.show(WIDE, scripts=False)
    try:
        tab.open(page)
        assert tab.ask("document.getElementById('theme').hidden")
        assert tab.ask("document.querySelectorAll('thead button').length") == 0
        assert tab.ask("document.querySelectorAll('.plot[role=img]').length") == 11
        assert tab.ask("document.querySelectorAll('.mark title').length") > 50
        tab.open(long_page)
        hidden = "Array.from(document.querySelectorAll('#trials tr')).filter((row) => row.offsetHeight === 0).length"
        assert tab.ask(hidden) == 0
    finally:
        tab.show(WIDE)


def test_two_thousand_trials_open_fold_and_sort_without_lag(tab: Tab, long_page: Path) -> None:
    tab.show(NARROW)
    assert tab.open(long_page) < 5
    assert long_page.stat().st_size < 6_000_000
    shown = "Array.from(document.querySelector('#trials tbody').rows).filter((row) => row.offsetHeight > 0).length"
    assert tab.ask("document.querySelector('#trials tbody').rows.length") == 2001
    assert tab.ask(shown) == 50

    place = tab.ask("Array.from(document.querySelectorAll('#trials thead')[0].rows[0].cells).length") - 1
    seconds = tab.ask(
        f"(() => {{ const began = performance.now(); {SORT.format(place)}.click(); document.body.offsetHeight;"
        " return (performance.now() - began) / 1000; })()"
    )
    assert seconds < 1.0
    assert tab.ask(shown) == 50
    tab.ask("document.querySelector('#trials .unfold').click()")
    assert tab.ask(shown) == 2001
    assert tab.complaints == []


def test_a_link_into_a_folded_table_opens_it(tab: Tab, long_page: Path) -> None:
    tab.show(WIDE)
    tab.open(long_page, "#run-search-full-0600")

    assert tab.ask("document.getElementById('run-search-full-0600').offsetHeight") > 0


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="no pdftotext here")
def test_printed_nothing_is_cut(tab: Tab, page: Path, tmp_path: Path) -> None:
    tab.show(WIDE, dark=True)
    tab.open(page)
    tab.print_to(tmp_path / "page.pdf")
    command = [str(shutil.which("pdftotext")), "-layout", str(tmp_path / "page.pdf"), "-"]
    words = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    assert "Theme" not in words
    assert re.search(r"full\s+trial\s+4", words)
    boxes = "Array.from(document.querySelectorAll('table, svg')).map((one) => one.getBoundingClientRect().right)"
    tab.send("Emulation.setEmulatedMedia", media="print")
    # A4 less its margins, in pixels of CSS.
    tab.send("Emulation.setDeviceMetricsOverride", width=688, height=1000, deviceScaleFactor=1, mobile=False)
    tab.open(page)
    rights = tab.ask(boxes)
    tab.send("Emulation.setEmulatedMedia", media="")
    assert max(rights) <= 690
