"use strict";
// Fetches the page again every few seconds and replaces the parts that are marked with data-live and have changed;
// shows the case of a point beside the scatter. Without this script the browser loads the whole page again.

const live = () => [...document.querySelectorAll("[data-live]")];

function replace(fresh) {
  for (const part of live()) {
    const other = fresh.getElementById(part.id);
    if (!other || other.innerHTML === part.dataset.shown) continue;
    part.dataset.shown = other.innerHTML;
    const chosen = new Set([...part.querySelectorAll("input:checked")].map((box) => box.value));
    const focused = part.contains(document.activeElement) && document.activeElement;
    part.innerHTML = other.innerHTML;
    for (const box of part.querySelectorAll("input")) box.checked = chosen.has(box.value);
    if (focused) {
      const same = [...part.querySelectorAll("a, input")].find((one) =>
        focused.href ? one.href === focused.href : focused.value === one.value && one.type === focused.type);
      same?.focus({ preventScroll: true });
    }
  }
}

async function refresh() {
  if (!document.hidden) {
    try {
      const answer = await fetch(location.href, { cache: "no-cache" });
      if (answer.ok) replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
      document.body.classList.toggle("lost", !answer.ok);
    } catch {
      document.body.classList.add("lost"); // the server was ended
    }
  }
  later();
}

function later() {
  const [first] = live();
  if (first) setTimeout(refresh, 1000 * Number(first.dataset.live));
}

for (const part of live()) part.dataset.shown = part.innerHTML;
later();

const panel = document.getElementById("case");
let wanted = "";

async function show(point) {
  const address = point.getAttribute("href");
  if (address === wanted) return;
  wanted = address;
  for (const other of document.querySelectorAll("a.case.shown")) other.classList.remove("shown");
  point.classList.add("shown");
  const answer = await fetch(address, { cache: "no-cache" });
  if (!answer.ok || address !== wanted) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  panel.replaceChildren(document.importNode(fresh.getElementById("shown"), true));
}

for (const point of panel ? document.querySelectorAll("a.case") : []) {
  for (const kind of ["mouseenter", "focus"]) point.addEventListener(kind, () => show(point).catch(() => {}));
  point.addEventListener("click", (event) => {
    event.preventDefault();
    show(point).catch(() => {});
  });
}
