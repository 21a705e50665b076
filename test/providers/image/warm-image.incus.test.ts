import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { parseHosts } from "../../../infra/config/config.ts";
import { gatherFacts } from "../../../infra/facts/facts.ts";
import { planHosts } from "../../../infra/plan/plan.ts";
import { ProviderError, type ProviderProcess, startProvider } from "../../pulumi/provider-process.ts";
import { type IncusDaemon, startDaemon } from "../../testbed/daemon.ts";
import { recordEvents } from "../../testbed/events.ts";
import { type Site, serveFile } from "../../testbed/https-site.ts";
import { importImage, importUnfitImage, sha256, type TestImage, testImage } from "../../testbed/images.ts";
import { TestResource } from "../resource.ts";

const WANTED = { alias: "taos-base", pool: "default" };

describe("WarmImage", () => {
  let d: IncusDaemon;
  let image: TestImage;
  let warm: TestResource;
  beforeAll(async () => {
    d = await startDaemon({ name: "warm-image" });
    image = await testImage();
  });
  afterAll(() => d?.remove());
  beforeEach(async () => {
    await d.reset();
    await d.incus("storage", "create", "default", "btrfs", "size=1GiB");
    warm = new TestResource(d, "WarmImage", "taos-base");
  });

  /** Fingerprints that are unpacked in the pool. */
  const unpacked = async (): Promise<string[]> =>
    (await d.query<{ name: string; type: string }[]>("/1.0/storage-pools/default/volumes?recursion=1"))
      .filter(({ type }) => type === "image")
      .map(({ name }) => name);
  const images = async (): Promise<string[]> =>
    (await d.query<{ fingerprint: string }[]>("/1.0/images?recursion=1")).map(
      ({ fingerprint }) => fingerprint,
    );
  const aliases = async (): Promise<Record<string, string>> => {
    const list = await d.query<{ name: string; target: string }[]>("/1.0/images/aliases?recursion=1");
    return Object.fromEntries(list.map(({ name, target }) => [name, target]));
  };
  const instances = (): Promise<unknown[]> => d.query("/1.0/instances?all-projects=true");

  test("of a project without images of its own is the default project's, by name and by *", async () => {
    const fingerprint = await importImage(d, "taos-base");
    await d.incus("project", "create", "agents", "-c", "features.images=false", "-c", "limits.containers=0");
    for (const alias of ["taos-base", "*"]) {
      const resource = new TestResource(d, "WarmImage", alias);
      expect(await resource.up({ ...WANTED, alias, project: "agents" })).toBe("create");
      expect(await unpacked()).toEqual([fingerprint]);
      expect(resource.state).toMatchObject({ fingerprint, warmFingerprint: fingerprint });
      expect(await resource.refresh()).toBe(false);
      expect(await resource.up({ ...WANTED, alias, project: "agents" })).toBe("same");
      await resource.destroy();
    }
    expect(await images()).toEqual([fingerprint]);
  });

  test("that is on the host is unpacked once; nothing is left behind; it stays when the stack goes", async () => {
    const fingerprint = await importImage(d, "taos-base");
    expect(await warm.up(WANTED)).toBe("create");
    expect(await unpacked()).toEqual([fingerprint]);
    expect(await instances()).toEqual([]);
    const record = await recordEvents(d);
    expect(await warm.refresh()).toBe(false);
    expect(await warm.up(WANTED)).toBe("same");
    warm.forget();
    expect(await warm.up(WANTED)).toBe("create");
    await warm.destroy();
    await record.stop();
    expect(record.lifecycle()).toEqual([]);
    expect(await images()).toEqual([fingerprint]);
  });

  test("whose alias moves is warmed anew, by fingerprint", async () => {
    await importImage(d, "taos-base");
    await warm.up(WANTED);
    await d.incus("image", "alias", "delete", "taos-base");
    await d.incus("image", "import", image.unifiedFile, "--alias", "taos-base");
    expect(await warm.refresh()).toBe(true);
    expect(await warm.up(WANTED)).toBe("update");
    expect(await unpacked()).toContain(image.unifiedFingerprint);
    expect(await warm.refresh()).toBe(false);
  });

  test("of a unified file is imported under its alias, and goes with the stack", async () => {
    const args = { ...WANTED, source: { file: image.unifiedFile, sha256: image.unifiedFingerprint } };
    expect(await warm.up(args)).toBe("create");
    expect(await aliases()).toEqual({ "taos-base": image.unifiedFingerprint });
    expect(await unpacked()).toEqual([image.unifiedFingerprint]);
    expect(await warm.refresh()).toBe(false);
    expect(await warm.up(args)).toBe("same");
    await warm.destroy();
    expect(await images()).toEqual([]);
  });

  test("of two files, metadata and root, is imported", async () => {
    const { metadataFile: metadata, rootfsFile: rootfs, fingerprint } = image;
    expect(await warm.up({ ...WANTED, source: { metadata, rootfs } })).toBe("create");
    expect(await aliases()).toEqual({ "taos-base": fingerprint });
    expect(await unpacked()).toEqual([fingerprint]);
  });

  test("that vanished is brought again", async () => {
    const args = { ...WANTED, source: { file: image.unifiedFile } };
    await warm.up(args);
    await d.incus("image", "delete", "taos-base");
    expect(await warm.refresh()).toBe(true);
    expect(await warm.up(args)).toBe("create");
    expect(await aliases()).toEqual({ "taos-base": image.unifiedFingerprint });
  });

  test("of a wrong file is refused before anything is imported", async () => {
    const file = join(d.dataDir, "other.tar.gz");
    await copyFile(image.metadataFile, file);
    const source = { file, sha256: image.unifiedFingerprint };
    await expect(warm.up({ ...WANTED, source })).rejects.toThrow(/has sha256 [0-9a-f]{64}, not/);
    await expect(warm.up({ ...WANTED, source: { file: "/nowhere.tar.gz" } })).rejects.toThrow(
      "image file /nowhere.tar.gz does not exist",
    );
    expect(await images()).toEqual([]);
  });

  test("that is nowhere is refused with the nearest alias", async () => {
    await importImage(d, "taos-bases");
    await expect(warm.up(WANTED)).rejects.toThrow(
      /"taos-base" is not on the host and has no source\. There is taos-bases\./,
    );
  });

  test("for two resources at once is unpacked once", async () => {
    const fingerprint = await importImage(d, "taos-base");
    await d.incus("image", "alias", "create", "same", fingerprint);
    const second = new TestResource(d, "WarmImage", "same");
    const record = await recordEvents(d);
    await Promise.all([warm.up(WANTED), second.up({ ...WANTED, alias: "same" })]);
    await record.stop();
    expect(record.lifecycle().filter((line) => line.startsWith("instance-created"))).toHaveLength(1);
    expect(await unpacked()).toEqual([fingerprint]);
    expect(await instances()).toEqual([]);
  });

  test("of one file under two aliases: both point at it, and one going leaves it to the other", async () => {
    const source = { file: image.unifiedFile };
    const second = new TestResource(d, "WarmImage", "same");
    await Promise.all([warm.up({ ...WANTED, source }), second.up({ ...WANTED, alias: "same", source })]);
    expect(await aliases()).toEqual({
      "taos-base": image.unifiedFingerprint,
      same: image.unifiedFingerprint,
    });
    await warm.destroy();
    expect(await aliases()).toEqual({ same: image.unifiedFingerprint });
    expect(await second.refresh()).toBe(false);
    await second.destroy();
    expect(await images()).toEqual([]);
  });

  test("whose unpacking a killed run left half-way is finished", async () => {
    const fingerprint = await importImage(d, "taos-base");
    await warm.up(WANTED);
    await d.incus("image", "delete", "taos-base");
    await importImage(d, "taos-base");
    const name = `taos-warm-${fingerprint.slice(0, 12)}-37a8ee`;
    await d.incus(
      "init",
      "taos-base",
      name,
      "--storage=default",
      "--config=user.taos.owner=p/s/orange/taos-base",
    );
    warm.forget();
    await warm.up(WANTED);
    expect(await unpacked()).toEqual([fingerprint]);
    expect(await instances()).toEqual([]);
  });

  describe("that no container of the host can be made from", () => {
    const both = async (): Promise<void> => {
      await importUnfitImage(d, "foreign", "other architecture");
      await importUnfitImage(d, "machine", "virtual machine");
    };

    test("is left out of *", async () => {
      const fingerprint = await importImage(d, "taos-base");
      await both();
      expect(await warm.up({ ...WANTED, alias: "*" })).toBe("create");
      expect(await unpacked()).toEqual([fingerprint]);
      expect(await warm.refresh()).toBe(false);
      expect(await warm.up({ ...WANTED, alias: "*" })).toBe("same");
      const hosts = parseHosts({ orange: { connection: `unix:${d.socketPath}`, images: ["*"] } });
      const [plan] = planHosts(hosts, await gatherFacts(hosts), { project: "p", stack: "s" }).hosts;
      expect(plan?.refusals).toEqual([]);
      expect(plan?.actions.filter(({ kind }) => kind === "warm-image")).toEqual([]);
      expect(plan?.remarks).toEqual(
        expect.arrayContaining([
          expect.stringMatching(/^image foreign is left out of "\*": it is for \w+, and the host runs /),
          'image machine is left out of "*": it is an image of virtual machines',
        ]),
      );
    });

    test.each(["foreign", "machine"])("is refused where its alias %s is named", async (alias) => {
      await both();
      await expect(warm.up({ ...WANTED, alias })).rejects.toThrow(
        new RegExp(`No container can be made from image "${alias}": it is `),
      );
      expect(await unpacked()).toEqual([]);
      expect(await images()).toHaveLength(2);
    });

    test("is taken off the host again where it was brought from a file", async () => {
      await importUnfitImage(d, "foreign", "other architecture");
      await d.incus("image", "export", "foreign", join(d.dataDir, "foreign"));
      await d.incus("image", "delete", "foreign");
      const source = {
        metadata: join(d.dataDir, "foreign"),
        rootfs: join(d.dataDir, "foreign.root"),
      };
      await expect(warm.up({ ...WANTED, source })).rejects.toThrow(/Give another file or url under images/);
      expect(await images()).toEqual([]);
    });
  });

  test("on a dir pool is left as it is: there is nothing to warm", async () => {
    await importImage(d, "taos-base");
    await d.incus("storage", "create", "plain", "dir");
    const record = await recordEvents(d);
    expect(await warm.up({ ...WANTED, pool: "plain" })).toBe("create");
    expect(await warm.refresh()).toBe(false);
    await record.stop();
    expect(record.lifecycle()).toEqual([]);
  });

  describe("from the web", () => {
    let site: Site;
    let provider: ProviderProcess;
    beforeEach(async () => {
      site = await serveFile(d, image.unifiedFile);
      // Node reads extra certificates at its start alone, so this takes a process of its own.
      provider = await startProvider({
        NODE_EXTRA_CA_CERTS: site.caFile,
        XDG_CACHE_HOME: join(d.dataDir, "cache"),
      });
    });
    const inputs = (url: string, digest: string): Record<string, unknown> =>
      provider.of("WarmImage", {
        ...WANTED,
        host: { name: "orange", connection: `unix:${d.socketPath}` },
        owner: "p/s/orange/taos-base",
        source: { url, sha256: digest },
      });

    test("is downloaded once, by way of a redirect, and imported", async () => {
      try {
        const news = inputs(site.url.replace("/file", "/redirect"), image.unifiedFingerprint);
        expect((await provider.check({}, news)).failures).toEqual([]);
        const { id, properties } = await provider.create(news);
        expect(await aliases()).toEqual({ "taos-base": image.unifiedFingerprint });
        expect(site.requests()).toBe(2);
        await provider.delete(id, properties);
        await provider.create(news);
        expect(site.requests()).toBe(2);
      } finally {
        await provider.stop();
        await site.close();
      }
    });

    test("is refused where its hash is another", async () => {
      try {
        const failure = await provider
          .create(inputs(site.url, await sha256(image.metadataFile)))
          .catch((error: unknown) => error);
        expect(failure).toBeInstanceOf(ProviderError);
        expect(String(failure)).toMatch(
          /has sha256 [0-9a-f]{64}, [0-9a-f]{64} is configured\. Correct the sha256/,
        );
        expect(await images()).toEqual([]);
      } finally {
        await provider.stop();
        await site.close();
      }
    });
  });
});
