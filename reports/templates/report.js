"use strict";
// The page can be read without this: it sorts tables, folds long ones, labels the points of figures, and switches the
// theme. It stands before the page so that a long table is folded before it is drawn.
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const FOLDED_TO = 50;
  const NEAR = 20;
  const NONE = "\u2013";
  const byText = new Intl.Collator("en", { numeric: true });
  const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));

  const say = (text) => { document.getElementById("said").textContent = text; };

  const button = (text, onClick) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.addEventListener("click", onClick);
    return made;
  };

  // Numbers before texts, and nothing at all last, whichever way a column is sorted.
  const keyOf = (cell) => {
    const text = cell.textContent.trim();
    const given = cell.dataset.value;
    const number = given === undefined ? (text === "" ? NaN : Number(text)) : Number(given);
    return { text, number, place: !Number.isNaN(number) ? 0 : text === "" || text === NONE ? 2 : 1 };
  };

  const compare = (one, other, sign) =>
    one.place - other.place ||
    sign * (one.place === 0 ? Math.sign(one.number - other.number) || 0 : byText.compare(one.text, other.text));

  const sorted = (rows, index, sign) =>
    rows
      .map((row) => ({ row, key: keyOf(row.cells[index]) }))
      .sort((one, other) => compare(one.key, other.key, sign))
      .map((entry) => entry.row);

  const makeSortable = (table) => {
    const body = table.tBodies[0];
    const original = Array.from(body.rows);
    const headings = Array.from(table.tHead.rows[0].cells);
    const NEXT = { none: "ascending", ascending: "descending", descending: "none" };
    headings.forEach((heading, index) => {
      const title = heading.textContent;
      heading.setAttribute("aria-sort", "none");
      heading.textContent = "";
      heading.append(button(title, () => {
        const order = NEXT[heading.getAttribute("aria-sort")];
        for (const each of headings) each.setAttribute("aria-sort", each === heading ? order : "none");
        const rows = order === "none" ? original : sorted(original, index, order === "ascending" ? 1 : -1);
        body.append(...rows);
        say(order === "none" ? "In the order of the report." : `Sorted by ${title}, ${order}.`);
      }));
    });
  };

  const foldLong = (table) => {
    const count = table.tBodies[0].rows.length;
    const label = () => (table.classList.contains("whole") ? `Show the first ${FOLDED_TO} rows` : `Show all ${count.toLocaleString("en")} rows`);
    const unfold = button(label(), () => {
      table.classList.toggle("whole");
      unfold.textContent = label();
      unfold.setAttribute("aria-expanded", String(table.classList.contains("whole")));
    });
    unfold.className = "unfold";
    unfold.setAttribute("aria-expanded", "false");
    table.parentElement.after(unfold);
  };

  // A link into a folded table or a closed part opens it.
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target === null) return;
    const long = target.closest("table.long:not(.whole)");
    if (long !== null) long.parentElement.nextElementSibling.click();
    const closed = target.closest("details:not([open])");
    if (closed !== null) closed.open = true;
    if (long !== null || closed !== null) target.scrollIntoView();
  };

  const showTip = (mark) => {
    const tip = document.getElementById("tip");
    tip.textContent = mark.getAttribute("aria-label");
    tip.hidden = false;
    const at = mark.getBoundingClientRect();
    const own = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, at.left + at.width / 2 - own.width / 2), root.clientWidth - own.width - 8);
    const above = at.top - own.height - 8;
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${(above < 8 ? at.bottom + 8 : above) + scrollY}px`;
    for (const each of all(".mark.shown")) each.classList.remove("shown");
    mark.classList.add("shown");
  };

  const hideTip = () => {
    document.getElementById("tip").hidden = true;
    for (const each of all(".mark.shown")) each.classList.remove("shown");
  };

  const makeMarks = (plot) => {
    const marks = all(".mark", plot);
    if (marks.length === 0) return;
    let places = [];
    const measure = () => {
      places = marks.map((mark) => mark.getBoundingClientRect()).map((at, index) => (
        { x: at.left + at.width / 2 + scrollX, y: at.top + at.height / 2 + scrollY, index, small: at.width < 40 && at.height < 40 }));
    };
    const nearest = (event) => {
      const distance = (place) => Math.hypot(place.x - event.pageX, place.y - event.pageY);
      const close = places.filter((place) => place.small && distance(place) < NEAR);
      close.sort((one, other) => distance(one) - distance(other));
      return close.length > 0 ? marks[close[0].index] : event.target.closest(".mark");
    };
    for (const mark of marks) {
      const title = mark.querySelector("title");
      mark.setAttribute("aria-label", title.textContent);
      mark.setAttribute("role", "img");
      mark.setAttribute("tabindex", "-1");
      title.remove();
      mark.addEventListener("focus", () => showTip(mark));
      mark.addEventListener("blur", hideTip);
    }
    const MOVES = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity };
    plot.setAttribute("role", "group");
    plot.setAttribute("aria-description", "Points: arrow keys move from one to the next.");
    marks[0].setAttribute("tabindex", "0");
    plot.addEventListener("keydown", (event) => {
      const from = marks.indexOf(event.target.closest(".mark"));
      if (event.key === "Escape") hideTip();
      if (from < 0 || !(event.key in MOVES)) return;
      event.preventDefault();
      const to = marks[Math.min(Math.max(0, from + MOVES[event.key]), marks.length - 1)];
      marks[from].setAttribute("tabindex", "-1");
      to.setAttribute("tabindex", "0");
      to.focus();
    });
    plot.addEventListener("pointerenter", measure);
    plot.addEventListener("pointermove", (event) => {
      const mark = nearest(event);
      if (mark !== null) showTip(mark); else hideTip();
    });
    plot.addEventListener("pointerdown", (event) => { measure(); const mark = nearest(event); if (mark !== null) showTip(mark); });
    plot.addEventListener("pointerleave", hideTip);
    plot.addEventListener("scroll", () => { measure(); hideTip(); });
  };

  const makeTheme = (control) => {
    const NEXT = { system: "light", light: "dark", dark: "system" };
    let theme = "system";
    const show = () => { control.textContent = `Theme: ${theme}`; };
    control.addEventListener("click", () => {
      theme = NEXT[theme];
      if (theme === "system") delete root.dataset.theme; else root.dataset.theme = theme;
      show();
    });
    show();
    control.hidden = false;
  };

  // Only what scrolls is a stop of the Tab key.
  const markScrolling = () => {
    for (const each of all(".scroll, .plot")) {
      if (each.scrollWidth > each.clientWidth) each.setAttribute("tabindex", "0"); else each.removeAttribute("tabindex");
    }
  };

  document.addEventListener("DOMContentLoaded", () => {
    all("table.sortable").forEach(makeSortable);
    all("table.long").forEach(foldLong);
    all(".plot").forEach(makeMarks);
    makeTheme(document.getElementById("theme"));
    markScrolling();
    reveal();
    addEventListener("resize", markScrolling);
    addEventListener("hashchange", reveal);
    addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
    // Printed, nothing stays closed.
    let opened = [];
    addEventListener("beforeprint", () => { opened = all("details:not([open])"); for (const each of opened) each.open = true; });
    addEventListener("afterprint", () => { for (const each of opened) each.open = false; });
  });
})();
