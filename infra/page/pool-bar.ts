import { formatBytes, isCopyOnWrite } from "@taos-hosts/providers";
import type { PoolRow } from "../plan/plan.ts";
import { html, type Markup } from "./html.ts";
import { countOf } from "./words.ts";

/** A part of a bar, as a share of the whole. */
interface Part {
  kind: "held" | "used" | "free" | "short" | "unknown";
  bytes: number;
}

/** A pool as a bar without words; what it says is beside it. */
export function poolBar(pool: PoolRow): Markup {
  const parts = partsOf(pool);
  const whole = parts.reduce((sum, { bytes }) => sum + bytes, 0);
  let from = 0;
  const rects = parts.map(({ kind, bytes }) => {
    const width = (100 * bytes) / whole;
    const rect = html`<rect class="${kind}" x="${from.toFixed(2)}%" width="${width.toFixed(2)}%" height="100%"/>`;
    from += width;
    return rect;
  });
  return html`<svg class="bar" aria-hidden="true">${rects}</svg>`;
}

function partsOf({ sizeBytes, freeBytes, heldBytes, loop }: PoolRow): Part[] {
  if (sizeBytes === null || freeBytes === null || sizeBytes <= 0) return [{ kind: "unknown", bytes: 1 }];
  const free = Math.min(freeBytes, sizeBytes);
  const used = sizeBytes - free;
  const held = Math.min(heldBytes ?? 0, used);
  const backed = Math.min(free, loop?.freeBytes ?? free);
  const parts: Part[] = [
    { kind: "held", bytes: held },
    { kind: "used", bytes: used - held },
    { kind: "free", bytes: backed },
    { kind: "short", bytes: free - backed },
  ];
  return parts.filter(({ bytes }) => bytes > 0);
}

/** What is used, shared and free on a pool, and what its loop file has room for. */
export function poolWords({ driver, sizeBytes, freeBytes, heldBytes, containers, loop }: PoolRow): string {
  const used = sizeBytes === null || freeBytes === null ? null : Math.max(0, sizeBytes - freeBytes);
  const whole = sizeBytes === null ? "" : ` of ${formatBytes(sizeBytes)}`;
  return [
    used === null ? "used space unknown" : `${formatBytes(used)} used${whole}`,
    freeBytes === null ? "free space unknown" : `${formatBytes(freeBytes)} free`,
    countOf(containers, "container"),
    ...sharing(isCopyOnWrite(driver), containers, heldBytes, used),
    ...headroom(loop, freeBytes),
  ].join("; ");
}

function sharing(isShared: boolean, containers: number, held: number | null, used: number | null): string[] {
  if (containers === 0) return [];
  if (held === null)
    return [isShared ? "how much they share is not measured" : "what they occupy is not measured"];
  const each = `they count ${formatBytes(held)}`;
  if (!isShared || used === null || held <= used) return [each];
  return [`${each}, of which at least ${formatBytes(held - used)} is shared`];
}

function headroom(loop: PoolRow["loop"], free: number | null): string[] {
  if (loop === null) return [];
  const file = loop.fileBytes === null ? "loop file" : `loop file of ${formatBytes(loop.fileBytes)}`;
  if (loop.freeBytes === null) return [`${file}, the host's free space under it unknown`];
  const short = free === null ? 0 : free - loop.freeBytes;
  const less = short > 0 ? `, ${formatBytes(short)} less than the pool shows` : "";
  return [`${file}, ${formatBytes(loop.freeBytes)} free on the host under it${less}`];
}
