import { actionLine, launchLines, refusalLine, summary } from "../report/lines.ts";
import { containerTable } from "./container-table.ts";
import { badge } from "./controls.ts";
import { html, type Markup } from "./html.ts";
import { poolBar, poolWords } from "./pool-bar.ts";
import { timeline } from "./timeline.ts";
import type { PageHost } from "./types.ts";
import { moment } from "./words.ts";

/** Everything about one host. @param index of the host on the page */
export function hostSection(host: PageHost, index: number): Markup {
  const { plan, name, outcome } = host;
  const refused = plan.refusals.filter(({ severity }) => severity === "error");
  const waiting = plan.refusals.filter(({ severity }) => severity === "held");
  const todo = outcome === "drifted" ? "Drift: what up would put right" : "To do";
  return html`<section class="host" id="host-${index}" data-state="${outcome}" aria-labelledby="name-${index}">
<div class="head">
<h2 id="name-${index}">${name}</h2> ${badge(outcome)} <p>${summary(plan)}</p>
${facts(host)}</div>
${pools(host)}${list(todo, plan.actions.map(actionLine))}${list("Refused", refused.map(refusalLine))}${list("Waiting", waiting.map(refusalLine))}${containerTable(plan.containers)}${timeline(plan.migrations)}${list("Good to know", [...launchLines(plan), ...plan.remarks])}</section>
`;
}

/** What is said of the host itself, as terms and what they are. */
function facts({ plan, reason, paused, wave, tags, lastUp }: PageHost): Markup | null {
  const rows: [string, Markup | string][] = [
    ...(plan.unreachable === null ? [] : ([["Not reached", plan.unreachable]] as [string, string][])),
    ...(reason === "" || plan.unreachable !== null ? [] : ([["State", reason]] as [string, string][])),
    ...(paused === null ? [] : ([["Paused", paused]] as [string, string][])),
    ...(wave === null ? [] : ([["Wave", String(wave)]] as [string, string][])),
    ...(tags.length === 0 ? [] : ([["Tags", tags.join(", ")]] as [string, string][])),
    ...(lastUp === null ? [] : ([["Last up", lastUpWords(lastUp)]] as [string, Markup][])),
  ];
  if (rows.length === 0) return null;
  return html`<dl>${rows.map(([term, what]) => html`<div><dt>${term}</dt><dd>${what}</dd></div>`)}</dl>\n`;
}

function lastUpWords({ at, standing }: NonNullable<PageHost["lastUp"]>): Markup {
  return at === null ? html`${standing}` : html`${moment(at)}; now ${standing}`;
}

function pools({ plan: { storage, pool, unreachable } }: PageHost): Markup | null {
  if (unreachable !== null) return null;
  const rows = storage.map(
    (one) =>
      html`<li><b>${one.name}</b> <span>${one.driver}${one.status === "Created" ? "" : `, ${one.status}`}${one.name === pool.name ? ", for new containers" : ""}</span>${poolBar(one)}<span>${poolWords(one)}</span></li>\n`,
  );
  return html`<h3>Pools</h3>\n${storage.length === 0 ? html`<p>None.</p>` : html`<ul class="pools">\n${rows}</ul>`}\n`;
}

function list(title: string, lines: readonly string[]): Markup | null {
  if (lines.length === 0) return null;
  return html`<h3>${title}</h3>\n<ul>${lines.map((line) => html`<li>${line}</li>`)}</ul>\n`;
}
