// Filters and sorts what is on the page. It reads the page's own text and makes no HTML.

const controls = document.getElementById("controls");
const filter = document.getElementById("filter");
const shown = document.getElementById("shown");
const sections = document.getElementById("sections");
const chips = [...controls.querySelectorAll("[data-state]")];
const order = new Intl.Collator("en", { numeric: true });

/** Of each host: what is said of it, and of each of its containers, in small letters. */
const hosts = [...sections.children].map((section) => {
  const rows = [...section.querySelectorAll(".containers tbody tr")];
  const parts = [...section.children].filter((part) => !part.matches(".containers"));
  return {
    section,
    overview: null,
    name: textOf(section.querySelector("h2")),
    text: parts.map(textOf).join("\n"),
    rows: rows.map((row) => ({ row, text: textOf(row) })),
  };
});
const byId = new Map(hosts.map((host) => [host.section.id, host]));
for (const row of document.querySelectorAll(".overview tbody tr")) byId.get(row.dataset.host).overview = row;

function textOf(element) {
  return element.textContent.toLowerCase();
}

/**
 * A host is shown with those of its containers in whose row, or the host's name, all words are; where there is none,
 * but all are in what is said of the host, with all of them.
 */
function apply() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  const states = chips.filter((chip) => chip.ariaPressed === "true").map((chip) => chip.dataset.state);
  let hostCount = 0;
  let rowCount = 0;
  let total = 0;
  for (const { section, overview, name, text, rows } of hosts) {
    const isWanted = states.length === 0 || states.includes(section.dataset.state);
    const matching = rows.filter((one) =>
      words.every((word) => one.text.includes(word) || name.includes(word)),
    );
    const isWhole = matching.length === 0 && words.every((word) => text.includes(word));
    const kept = new Set(isWhole ? rows : matching);
    for (const one of rows) one.row.hidden = !kept.has(one);
    const isIn = isWanted && (isWhole || matching.length > 0);
    section.hidden = !isIn;
    if (overview) overview.hidden = !isIn;
    total += rows.length;
    if (!isIn) continue;
    hostCount += 1;
    rowCount += kept.size;
  }
  shown.textContent = `${hostCount} of ${hosts.length} hosts, ${rowCount} of ${total} containers`;
}

/** What a row is sorted by: a number, or the text of the cell. */
function keyOf(row, column) {
  const cell = row.cells[column];
  return cell.dataset.value ?? cell.textContent;
}

/** Sorts by the column of a button; once more, the other way round. */
function sort(button) {
  const head = button.closest("th");
  const table = head.closest("table");
  const direction = head.ariaSort === "ascending" ? -1 : 1;
  for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
  head.ariaSort = direction === 1 ? "ascending" : "descending";
  const [body] = table.tBodies;
  const rows = [...body.rows]
    .map((row) => ({ row, value: keyOf(row, head.cellIndex) }))
    .sort((a, b) => direction * order.compare(a.value, b.value))
    .map(({ row }) => row);
  body.append(...rows);
  if (table.matches(".overview")) sections.append(...rows.map((row) => byId.get(row.dataset.host).section));
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.matches(".sort")) sort(button);
  if (button?.matches("[data-state]")) {
    button.ariaPressed = button.ariaPressed === "true" ? "false" : "true";
    apply();
  }
});
filter.addEventListener("input", apply);
filter.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  filter.value = "";
  apply();
});

for (const button of document.querySelectorAll(".sort")) button.disabled = false;
controls.hidden = false;
apply();
