import { describe, expect, it } from "vitest";
import { missingSources, requiredSources, workingPools } from "../../../providers/host/device-sources.ts";

const DISK = { type: "disk", path: "/srv" };

describe("what an instance needs of its host at a start", () => {
  it.each<[string, Record<string, string>, string | undefined]>([
    ["a directory", { ...DISK, source: "/srv/data" }, "/srv/data"],
    ["a directory that may be missing", { ...DISK, source: "/srv/data", required: "false" }, undefined],
    ["a share", { ...DISK, source: "cephfs:shared/data" }, undefined],
    ["a volume of a pool", { ...DISK, source: "memory", pool: "usb" }, "usb"],
    ["its root disk, which is moved", { type: "disk", path: "/", pool: "default" }, undefined],
    ["a device node", { type: "unix-char", path: "/dev/ttyUSB0" }, "/dev/ttyUSB0"],
    [
      "one under another name",
      { type: "unix-char", source: "/dev/ttyUSB0", path: "/dev/tty" },
      "/dev/ttyUSB0",
    ],
    ["one by numbers", { type: "unix-block", path: "/dev/x", major: "7", minor: "1" }, undefined],
    ["a bridge of the host", { type: "nic", nictype: "bridged", parent: "br0" }, "br0"],
    ["an interface that it has itself", { type: "nic", nictype: "physical", parent: "eth1" }, undefined],
    ["a network of Incus, which cannot go", { type: "nic", network: "incusbr0" }, undefined],
    ["a USB device, which may come and go", { type: "usb", vendorid: "1a86" }, undefined],
  ])("%s", (_what, device, source) => {
    expect(requiredSources({ it: device }).map((one) => one.source)).toEqual(
      source === undefined ? [] : [source],
    );
  });

  it("is looked for by kind: a path of an interface's name is none", async () => {
    const devices = {
      lan: { type: "nic", nictype: "macvlan", parent: "usb" },
      data: { ...DISK, source: "memory", pool: "usb" },
      other: { ...DISK, source: "/srv/other" },
    };
    const pools = workingPools([
      { name: "usb", status: "Unavailable" },
      { name: "default", status: "Created" },
    ]);
    const files = { existing: async (paths: readonly string[]) => [...paths] };
    expect(await missingSources(files, [devices, {}], { interfaces: ["usb"], pools })).toEqual([
      [{ device: "data", source: "usb", kind: "pool" }],
      [],
    ]);
  });
});
