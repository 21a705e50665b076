import { formatBytes } from "@taos-hosts/providers";
import { html, type Markup } from "./html.ts";

/** `1 host`, `2 hosts`. */
export function countOf(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

/** A moment to the minute, in UTC, which is the same wherever the page is read; what is none as it is. @param at ISO 8601 */
export function moment(at: string): Markup {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return html`${at}`;
  const iso = date.toISOString();
  return html`<time datetime="${iso}">${iso.slice(0, 16).replace("T", " ")} UTC</time>`;
}

/** Bytes for people, a dash where they are unknown. */
export function size(bytes: number | null): string {
  return bytes === null ? "-" : formatBytes(bytes);
}

/** A cell of a table that is sorted by a number, or by nothing where that is unknown. */
export function numberCell(value: number | null, content: Markup | string): Markup {
  return html`<td class="number" data-value="${value ?? -1}">${content}</td>`;
}

/** The head of a table whose rows the script sorts; without it the buttons do nothing and look like text. */
export function sortableHead(columns: readonly string[]): Markup {
  const heads = columns.map(
    (column) => html`<th scope="col"><button type="button" class="sort" disabled>${column}</button></th>`,
  );
  return html`<thead><tr>${heads}</tr></thead>`;
}
