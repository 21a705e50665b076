import { summary } from "../report/lines.ts";
import { badge, rankOf } from "./controls.ts";
import { html, type Markup } from "./html.ts";
import { poolBar } from "./pool-bar.ts";
import type { PageHost } from "./types.ts";
import { countOf, moment, numberCell, size, sortableHead } from "./words.ts";

const COLUMNS = ["host", "state", "to do", "main pool", "free", "containers"];

/** All hosts as a table, each a link to its section. */
export function overview(hosts: readonly PageHost[]): Markup {
  const isFleet = hosts.some(({ wave }) => wave !== null);
  return html`<section aria-labelledby="overview">
<h2 id="overview">Overview</h2>
<table class="overview">
${sortableHead(isFleet ? [...COLUMNS, "wave", "last up"] : COLUMNS)}
<tbody>
${hosts.map((host, index) => row(host, index, isFleet))}</tbody>
</table>
</section>
`;
}

function row({ name, outcome, wave, lastUp, plan }: PageHost, index: number, isFleet: boolean): Markup {
  const pool = plan.storage.find((one) => one.name === plan.pool.name);
  const free = pool ? pool.freeBytes : plan.pool.freeBytes;
  const containers = plan.containers.length;
  const at = lastUp?.at ?? null;
  const fleet = html`${numberCell(wave, wave === null ? "-" : `wave ${wave}`)}<td data-value="${at ?? ""}">${at === null ? "never" : moment(at)}</td>`;
  return html`<tr data-host="host-${index}"><th scope="row"><a href="#host-${index}">${name}</a></th><td data-value="${rankOf(outcome)}">${badge(outcome)}</td>${numberCell(plan.actions.length, summary(plan))}<td data-value="${pool?.sizeBytes ?? -1}">${pool ? poolBar(pool) : "-"}</td>${numberCell(free, free === null ? "-" : `${size(free)} free`)}${numberCell(containers, plan.unreachable === null ? countOf(containers, "container") : "-")}${isFleet ? fleet : null}</tr>
`;
}
