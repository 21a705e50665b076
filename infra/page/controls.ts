import type { Outcome } from "../fleet/outcome.ts";
import { html, type Markup } from "./html.ts";
import type { PageHost } from "./types.ts";

/** What asks for a person first comes first, also when hosts are sorted by state. */
const RANKS: readonly Outcome[] = [
  ...(["failed", "unreachable", "refused", "locked", "drifted", "interrupted", "untouched"] as const),
  ...(["changes", "paused", "changed", "unchanged"] as const),
];

export function rankOf(outcome: Outcome): number {
  return RANKS.indexOf(outcome);
}

/** A host's state: a word, so that the colour says nothing alone. */
export function badge(outcome: Outcome): Markup {
  return html`<span class="state ${outcome}">${outcome}</span>`;
}

/** Filters. They need the script, which shows them. */
export function controls(hosts: readonly PageHost[]): Markup {
  const states = [...Map.groupBy(hosts, ({ outcome }) => outcome)];
  const chips = states
    .sort(([a], [b]) => rankOf(a) - rankOf(b))
    .map(
      ([outcome, { length }]) =>
        html`<button type="button" class="state ${outcome}" data-state="${outcome}" aria-pressed="false">${outcome} <b>${length}</b></button>\n`,
    );
  return html`<search id="controls" hidden>
<label for="filter">Filter hosts and containers</label>
<input id="filter" type="search" autocomplete="off" spellcheck="false" placeholder="all of these words">
${hosts.length > 1 ? html`<div class="chips" role="group" aria-label="Hosts by state">\n${chips}</div>` : null}
<p id="shown" role="status"></p>
</search>`;
}
