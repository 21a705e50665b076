import type { ContainerRow } from "../plan/plan.ts";
import { html, type Markup } from "./html.ts";
import { countOf, numberCell, size, sortableHead } from "./words.ts";

const COLUMNS = [
  ...["container", "status", "pool", "size", "snapshots", "protected", "what would happen", "why not"],
];

/** Every container of a host: none is left out or summed up. */
export function containerTable(containers: readonly ContainerRow[]): Markup | null {
  if (containers.length === 0) return null;
  return html`<h3>Containers</h3>
<table class="containers">
${sortableHead(COLUMNS)}
<tbody>
${containers.map(row)}</tbody>
</table>
`;
}

function row(one: ContainerRow): Markup {
  const { name, status, pool, driver, bytes, snapshotBytes, snapshots, action, whyNot } = one;
  const all = bytes === null ? null : bytes + (snapshotBytes ?? 0);
  const acts = action === null ? null : html` class="acts"`;
  return html`<tr${acts}><th scope="row">${name}</th><td>${status}</td><td>${driver === "" ? pool : `${pool} (${driver})`}</td>${numberCell(all, size(all))}${numberCell(snapshots, countOf(snapshots, "snapshot"))}<td>${one.protected ? "protected" : "not protected"}</td><td>${action ?? "nothing"}</td><td>${whyNot}</td></tr>
`;
}
