"use strict";
(() => {
  const root = document.documentElement;

  // light and dark
  const button = document.getElementById("theme");
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const name = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.hidden = false;
  button.setAttribute("aria-label", "Switch between light and dark");
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
  name();

  // tables sort by their headings; equal rows keep their order, what has no value comes last
  const before = (a, b, down) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const [x, y] = [Number(a), Number(b)];
    const order = Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, undefined, { numeric: true }) : x - y;
    return down ? -order : order;
  };
  for (const table of document.querySelectorAll("table")) {
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, place) => {
      const sort = document.createElement("button");
      sort.type = "button";
      sort.append(heading.firstChild);
      heading.prepend(sort);
      sort.addEventListener("click", () => {
        const now = heading.getAttribute("aria-sort");
        const down = now ? now === "ascending" : heading.classList.contains("number");
        headings.forEach((other) => other.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => before(a.cells[place].dataset.sort, b.cells[place].dataset.sort, down));
        table.tBodies[0].append(...rows);
      });
    });
  }

  // slices
  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const picture = (source, className, text) => {
    const image = element("img", className);
    image.src = source;
    image.alt = text;
    image.loading = "lazy";
    image.decoding = "async";
    return image;
  };
  const PAGE = 60;

  const grid = (place) => {
    const { classes, runs, cards } = JSON.parse(place.querySelector("script").textContent);
    const [form, count, list, more] = [".controls", ".count", ".cards", ".more"].map((part) => place.querySelector(part));
    let found = [];

    const card = (slice, answer) => {
      const right = answer.p === slice.label;
      const box = element("article", right ? "card right" : "card wrong");
      const shown = element("div", "picture");
      shown.append(picture(slice.image, "", `Slice ${slice.id}, ${classes[slice.label]}`));
      if (answer.h) shown.append(picture(answer.h, "heat", ""));
      if (slice.border) {
        const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
        svg.setAttribute("viewBox", "0 0 1 1");
        svg.setAttribute("aria-hidden", "true");
        const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
        path.setAttribute("d", slice.border);
        svg.append(path);
        shown.append(svg);
      }
      const said = element("div", "said");
      said.append(element("p", "mark", `${right ? "\u2713 right" : "\u2717 wrong"}`));
      said.append(element("p", "", `Pred: ${classes[answer.p]} ${answer.q[answer.p].toFixed(2)}`));
      said.append(element("p", "", `True: ${classes[slice.label]}`));
      said.append(element("p", "where", `Slice ${slice.id}, patient ${slice.patient}${slice.facts ? `, ${slice.facts}` : ""}`));
      box.title = classes.map((one, k) => `${one} ${answer.q[k].toFixed(3)}`).join("\n");
      box.append(shown, said);
      return box;
    };

    const extend = () => {
      const run = Number(form.run.value);
      const start = list.children.length;
      list.append(...found.slice(start, start + PAGE).map((slice) => card(slice, slice.answers[run])));
      more.hidden = list.children.length >= found.length;
    };

    const show = () => {
      const run = Number(form.run.value);
      const [verdict, label, predicted] = [form.verdict.value, form.label.value, form.predicted.value];
      const wanted = form.search.value.trim().toLowerCase();
      const sure = (slice) => slice.answers[run].q[slice.answers[run].p];
      const wrong = (slice) => slice.answers[run].p !== slice.label;
      found = cards.filter((slice) =>
        (!verdict || (verdict === "wrong") === wrong(slice)) &&
        (label === "" || slice.label === Number(label)) &&
        (predicted === "" || slice.answers[run].p === Number(predicted)) &&
        (!wanted || slice.id.toLowerCase().includes(wanted) || slice.patient.toLowerCase().includes(wanted)));
      found.sort((a, b) => wrong(b) - wrong(a) || (wrong(a) ? sure(b) - sure(a) : sure(a) - sure(b)));
      const mistakes = found.filter(wrong).length;
      count.textContent = found.length
        ? `${found.length} of ${cards.length} slices, ${mistakes} wrong, the surest mistakes first; ${runs[run]}`
        : `None of ${cards.length} slices is like that.`;
      list.replaceChildren();
      extend();
    };

    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", (event) => {
      if (event.target === form.heat) list.style.setProperty("--heat", form.heat.value / 100);
      else if (event.target === form.border) list.classList.toggle("borderless", !form.border.checked);
      else show();
    });
    more.addEventListener("click", extend);
    show();
  };
  document.querySelectorAll(".slices").forEach(grid);

  // on paper nothing is folded away
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((one) => { one.open = true; });
  });
  addEventListener("afterprint", () => folded.forEach((one) => { one.open = false; }));
})();
