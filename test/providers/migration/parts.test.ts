import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { withSlot } from "../../../providers/common/slots.ts";
import { Instance } from "../../../providers/incus/schemas.ts";
import { readJournal } from "../../../providers/marks/journal.ts";
import { copyName, parkedName } from "../../../providers/marks/made-names.ts";
import { originalsOf, parkedChange } from "../../../providers/marks/parked-record.ts";
import { parseProgress } from "../../../providers/migration/copy/rsync.ts";
import { observationOf } from "../../../providers/migration/observation.ts";

const UUID = "2f47f9a1-10c2-4ea2-bdf4-01f64f5de095";

function instance(change: Partial<Instance> = {}): Instance {
  return Instance.parse({ name: "mary", type: "container", status: "Stopped", ...change });
}

describe("names", () => {
  it("come from name and uuid alone and fit into 63 characters", () => {
    expect(parkedName("mary", UUID)).toBe("mary-parked-2f47f9a1");
    expect(copyName("mary", UUID)).toBe("mary-copy-2f47f9a1");
    expect(parkedName("a".repeat(63), UUID)).toHaveLength(63);
    expect(() => parkedName("mary", "")).toThrow(RangeError);
  });
});

describe("the journal", () => {
  it("stops the container it is on when it cannot be read, and no other", () => {
    const odd = instance({ config: { "user.taos.migration": '{"role":"source","id":1}' } });
    expect(() => readJournal(odd)).toThrow(/"mary" carries a migration journal .* cannot be read/);
    expect(() => observationOf([odd], "mary")).toThrow(/cannot be read/);
    expect(observationOf([odd, instance({ name: "naira" })], "naira").named?.name).toBe("naira");
  });
});

describe("parking", () => {
  const eth0 = { type: "nic", network: "incusbr0" };
  const root = { type: "disk", path: "/", pool: "default", size: "10GiB" };
  const web = { type: "proxy", nat: "true", listen: "tcp:127.0.0.1:80", connect: "tcp:10.0.0.7:80" };
  const memory = { type: "disk", pool: "default", source: "memory", path: "/memory" };

  const ABOUT: Parameters<typeof parkedChange>[1] = {
    ...{ name: "mary", project: "default", pool: "default", owner: "test" },
    ...{ reason: "migrated", wasRunning: true },
  };

  it("pins the root, frees the MAC and keeps what it changes", () => {
    const mary = instance({
      config: {
        "volatile.eth0.hwaddr": "10:66:6a:00:00:01",
        "volatile.eth0.host_name": "veth1",
        "boot.autostart": "true",
      },
      expanded_devices: { root, eth0, memory },
    });
    const { config, devices } = parkedChange(mary, ABOUT);
    const { "user.taos.parked": record, ...settings } = config;
    expect(JSON.parse(record ?? "")).toMatchObject({ ...ABOUT, originals: originalsOf(mary) });
    expect({ config: settings, devices }).toEqual({
      config: {
        "boot.autostart": "false",
        "snapshots.schedule.stopped": "false",
        "volatile.eth0.hwaddr": "",
      },
      devices: { root },
    });
    expect(originalsOf(mary)).toEqual({
      config: {
        "boot.autostart": "true",
        "snapshots.schedule.stopped": "",
        "volatile.apply_template": "",
        "volatile.cloud-init.instance-id": "",
        "volatile.eth0.hwaddr": "10:66:6a:00:00:01",
      },
      devices: {},
    });
  });

  it("takes static addresses, proxies that need them, and volumes of an isolated container away", () => {
    const fixed = { ...eth0, "ipv4.address": "10.0.0.7" };
    const mary = instance({
      devices: { eth0: fixed, web },
      expanded_devices: { root, eth0: fixed, web, memory },
    });
    const none = { type: "none" };
    expect(parkedChange(mary, ABOUT).devices).toEqual({ root, eth0: none, web: none });
    const isolated = { ...mary, expanded_config: { "security.idmap.isolated": "true" } };
    expect(parkedChange(isolated, ABOUT).devices).toEqual({ root, eth0: none, web: none, memory: none });
  });
});

describe("progress of rsync", () => {
  it("is read from its last line", () => {
    expect(parseProgress("     32,768 100%  103.56MB/s    0:00:00 (xfr#1, to-chk=0/2)")).toEqual({
      bytes: 32_768,
      percent: 100,
      rate: "103.56MB/s",
    });
    expect(parseProgress("Number of files: 304")).toBeUndefined();
  });
});

describe("withSlot", () => {
  it("runs at most the given number at a time, in order", async () => {
    let running = 0;
    let most = 0;
    const order: number[] = [];
    const task = (n: number) => async (): Promise<void> => {
      order.push(n);
      running += 1;
      most = Math.max(most, running);
      await delay(1);
      running -= 1;
      if (n === 2) throw new Error("one that fails frees its slot");
    };
    const ended = await Promise.allSettled([0, 1, 2, 3, 4, 5].map((n) => withSlot("host", 2, task(n))));
    expect(ended.map(({ status }) => status).filter((status) => status === "rejected")).toHaveLength(1);
    expect(most).toBe(2);
    expect(order).toEqual([0, 1, 2, 3, 4, 5]);
  });
});
