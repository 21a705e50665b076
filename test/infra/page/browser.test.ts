import { accessSync, constants } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { pathToFileURL } from "node:url";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pageText } from "../../../infra/commands/page-file.ts";
import { fleetOf, fleetPage } from "./fleets.ts";

const BROWSER = ["chromium", "google-chrome"]
  .flatMap((name) => (process.env["PATH"] ?? "").split(delimiter).map((folder) => join(folder, name)))
  .find((file) => {
    try {
      accessSync(file, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
const REASON = BROWSER === undefined ? " (skipped: neither chromium nor google-chrome is installed)" : "";

/** Lowest contrast of any text that is shown with what is behind it, with that text. Runs in the browser. */
const LOWEST_CONTRAST = `(() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = channels(color).map((value) => value / 255).map((value) =>
      value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const color = getComputedStyle(one).backgroundColor;
      if (channels(color)[3] !== 0) return color;
    }
    return "rgb(255, 255, 255)";
  };
  let least = [99, ""];
  for (const element of document.querySelectorAll("body *")) {
    if (![...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== "")) continue;
    if (element.closest("script")) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < least[0]) least = [ratio, element.outerHTML.slice(0, 80)];
  }
  return least;
})()`;

describe.skipIf(BROWSER === undefined)(`the page in Chromium${REASON}`, { timeout: 120_000 }, () => {
  let browser: Browser;
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "taos-hosts-page-"));
    browser = await chromium.launch({ executablePath: BROWSER ?? "", args: ["--no-sandbox"] });
  }, 60_000);
  afterAll(async () => {
    await browser?.close();
    await rm(directory, { recursive: true, force: true });
  });

  async function open(text: string, width = 1440, colorScheme: "light" | "dark" = "light"): Promise<Page> {
    const file = join(directory, "page.html");
    await writeFile(file, text);
    const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
    await page.goto(pathToFileURL(file).href);
    await page.locator("#controls").waitFor();
    return page;
  }

  it.each([
    [390, "light"],
    [390, "dark"],
    [1440, "light"],
    [1440, "dark"],
  ] as const)("fits %i px and can be read in %s", async (width, scheme) => {
    const page = await open(await fleetPage(8), width, scheme);
    expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(width);
    const [ratio, where] = (await page.evaluate(LOWEST_CONTRAST)) as [number, string];
    expect(ratio, where).toBeGreaterThanOrEqual(4.5);
    await page.close();
  });

  it("is filtered and sorted by keyboard", async () => {
    const page = await open(await fleetPage(8));
    await page.keyboard.press("Tab");
    await page.keyboard.press("Tab");
    await page.keyboard.type("orange-3 mary");
    expect(await page.locator(".host:visible h2").allTextContents()).toEqual(["orange-3"]);
    expect(await page.locator(".containers tbody tr:visible th").allTextContents()).toEqual(["mary"]);
    await page.keyboard.press("Escape");
    expect(await page.locator(".overview tbody tr:visible").count()).toBe(8);
    await page.locator("#filter ~ .chips [data-state=drifted]").focus();
    await page.keyboard.press("Space");
    expect(await page.locator(".host:visible h2").allTextContents()).toEqual(["orange-4"]);
    await page.keyboard.press("Space");
    const state = page.locator(".overview .sort").nth(1);
    await state.focus();
    await page.keyboard.press("Enter");
    expect(await page.locator(".host h2").first().textContent()).toBe("orange-6");
    expect(await page.locator(".overview thead th").nth(1).getAttribute("aria-sort")).toBe("ascending");
    const outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle");
    expect(outline).toBe("solid");
    await page.close();
  });

  it("shows and filters 500 hosts with 20 containers each", async () => {
    const page = await open(await fleetPage(500));
    expect(await page.locator(".host").count()).toBe(500);
    await page.locator("#filter").fill("orange-499");
    expect(await page.locator("#shown").textContent()).toMatch(/^1 of 500 hosts, 20 of 8\d+ containers$/);
    await page.locator("#filter").fill("taos-agent-13");
    expect(await page.locator("#shown").textContent()).toMatch(/^438 of 500 hosts, 438 of/);
    await page.close();
  });

  it("takes hostile names for text: nothing runs, nothing is loaded", async () => {
    const evil = `"><img src=x onerror=alert(1)></style></script><script>alert(2)</script><a href="javascript:alert(3)">\u202ex`;
    const data = fleetOf(3);
    const [first] = data.hosts;
    const row = first?.plan.containers[0];
    if (!first || !row) throw new Error("no container");
    const plan = {
      ...first.plan,
      containers: [{ ...row, name: evil, pool: evil, whyNot: evil, action: evil, status: evil }],
      ...{
        remarks: [evil],
        storage: first.plan.storage.map((pool) => ({ ...pool, name: evil, driver: evil })),
      },
      migrations: first.plan.migrations.map((one) => ({ ...one, container: evil, phase: evil, at: evil })),
    };
    const hostile = { ...first, name: evil, reason: evil, paused: evil, tags: [evil], plan };
    const file = join(directory, "hostile.html");
    await writeFile(file, await pageText({ ...data, title: evil, hosts: [hostile, ...data.hosts.slice(1)] }));
    const page = await browser.newPage();
    const seen: string[] = [];
    page.on("dialog", (dialog) => {
      seen.push("a dialog");
      return dialog.dismiss();
    });
    page.on("request", (request) => seen.push(request.url()));
    page.on("pageerror", (error) => seen.push(String(error)));
    await page.goto(pathToFileURL(file).href, { waitUntil: "load" });
    await page.locator("#filter").fill("onerror");
    await page.locator(".overview .sort").first().click();
    expect(await page.locator("img, a[href^=javascript]").count()).toBe(0);
    expect(await page.locator("script").count()).toBe(1);
    expect(await page.locator(".host:visible h2").allTextContents()).toEqual([
      evil.replace("\u202e", "\ufffd"),
    ]);
    expect(seen).toEqual([pathToFileURL(file).href]);
    await page.close();
  });
});
