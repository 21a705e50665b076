import type { MigrationRow } from "../plan/plan.ts";
import { html, type Markup } from "./html.ts";
import { moment, size } from "./words.ts";

/** What a migration comes by, as its journals tell it, and what that is for people. */
const PHASES: readonly (readonly [phases: readonly string[], words: string])[] = [
  [["copying", "seeding"], "first copy"],
  [["seeded"], "copy while it runs"],
  [["stopping"], "stop and last copy"],
  [["verified"], "verified"],
  [["parking"], "swap"],
  [["dressed"], "start"],
  [["healthy"], "healthy"],
];

/** Migrations under way, with how far they are, and past ones as far as their sources are kept. */
export function timeline(migrations: readonly MigrationRow[]): Markup | null {
  if (migrations.length === 0) return null;
  return html`<h3>Migrations</h3>
<ol class="timeline">
${migrations.map(item)}</ol>
`;
}

function item(row: MigrationRow): Markup {
  const { kind, at, kept, bytes, container } = row;
  const time = at === null ? html`at an unknown time` : moment(at);
  const source = kept === null ? null : html`; kept as ${kept}${bytes === null ? "" : `, ${size(bytes)}`}`;
  return html`<li class="${kind}">${time} <b>${container}</b> ${wordsOf(row)}${source}${kind === "under-way" ? phases(row.phase) : null}</li>
`;
}

function wordsOf({ kind, from, to }: MigrationRow): string {
  const way = from === null ? "" : to === null ? ` pool ${from}` : ` pool ${from} to ${to}`;
  switch (kind) {
    case "under-way":
      return `is moving from${way}`;
    case "going-back":
      return `is going back: its move from${way} is undone`;
    case "migrated":
      return `moved from${way}`;
    case "replaced":
      return `was made anew; before, it was on${way}`;
    case "undone":
      return `went back to its source; what it was until then was on${way}`;
  }
}

function phases(phase: string | null): Markup {
  const now = PHASES.findIndex(([names]) => names.includes(phase ?? ""));
  if (now < 0) return html` (${phase ?? "its journal cannot be read"})`;
  const steps = PHASES.map(([, words], index) =>
    index === now
      ? html`<li aria-current="step">${words}</li>`
      : html`<li class="${index < now ? "done" : "ahead"}">${words}</li>`,
  );
  return html`<ol class="phases">${steps}</ol>`;
}
