import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { pageText } from "../../../infra/commands/page-file.ts";
import { escaped } from "../../../infra/page/html.ts";
import { fleetOf, fleetPage } from "./fleets.ts";

const CHARACTERS: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', "#39": "'" };

/** What a browser reads in an element or a quoted attribute. */
function read(text: string): string {
  return text.replaceAll(/&(amp|lt|gt|quot|#39);/g, (_all, name: string) => CHARACTERS[name] ?? "");
}

describe("the page", () => {
  it("escapes any text so that it is that text alone", () => {
    const piece = fc.constantFrom(
      "<script>",
      "&lt;",
      '"',
      "'",
      "-->",
      "</style>",
      "\u0000",
      "\u202e",
      "\ud800",
    );
    const text = fc.array(fc.oneof(piece, fc.string({ unit: "binary" })));
    fc.assert(
      fc.property(text, (pieces) => {
        const given = pieces.join("");
        const made = escaped(given);
        expect(made).not.toMatch(/[<>"'\0\u202e]|&(?!(amp|lt|gt|quot|#39);)/);
        // What can be seen is what was given.
        const seen = (one: string) => one.toWellFormed().replaceAll(/[\p{C}\u2028\u2029\ufffd]/gu, "");
        expect(seen(read(made))).toBe(seen(given));
      }),
    );
  });

  it("has every container, action, refusal, pool and migration of every host", async () => {
    const data = fleetOf(8);
    const text = read((await pageText(data)).replaceAll(/<[^>]*>/g, "\n"));
    for (const { name, plan } of data.hosts) {
      const said = [
        ...[name, ...plan.containers.map((one) => one.name), ...plan.storage.map((one) => one.name)],
        ...plan.containers.map(({ whyNot }) => whyNot ?? ""),
        ...plan.actions.map(({ reason }) => reason),
        ...plan.refusals.map(({ reason }) => reason),
      ];
      for (const one of said) expect(text).toContain(one);
    }
    expect(text).toContain("stop and last copy");
    expect(text).toContain("moved from pool default to default-cow");
    expect(text).toContain("12.0 GiB less than the pool shows");
  });

  it("counts rows as containers, whatever their number", async () => {
    const data = fleetOf(8, 60);
    const rows = (await pageText(data)).split('<table class="containers">').slice(1);
    const count = rows.reduce(
      (sum, table) => sum + (table.split("</tbody>")[0]?.split("<tr").length ?? 0) - 2,
      0,
    );
    expect(count).toBe(data.hosts.reduce((sum, { plan }) => sum + plan.containers.length, 0));
  });

  it("lets nothing run or load but its own style and script, by their digests", async () => {
    const text = await fleetPage(2);
    const digest = (tag: string): string => {
      const [, content = ""] = new RegExp(`<${tag}[^>]*>(.*?)</${tag}>`, "s").exec(text) ?? [];
      return `sha256-${createHash("sha256").update(content).digest("base64")}`;
    };
    const policy = read(/Content-Security-Policy" content="([^"]*)"/.exec(text)?.[1] ?? "");
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain(`style-src '${digest("style")}';`);
    expect(policy).toContain(`script-src '${digest("script")}';`);
    expect(policy).not.toContain("unsafe");
    expect(text.match(/<script/g)).toHaveLength(1);
    expect(text).not.toMatch(/<[^>]*\s(on\w+|style|src)=/);
    expect(text).not.toMatch(/(https?:)?\/\/[^"\s]*"/);
  });
});
