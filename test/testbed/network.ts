import { createHash } from "node:crypto";
import { execa } from "execa";
import type { DaemonPaths } from "./paths.ts";

/** The addresses of one daemon's veth pair. */
export type DaemonNetwork = {
  /** Number of the pair; the third byte of both addresses. */
  number: number;
  /** The daemon's address, reachable from the first network namespace. */
  address: string;
  /** The other end's address. */
  hostAddress: string;
};

const highest = 250;

/** Where a daemon's search begins: apart from the others', so that none takes a number that another gives up and takes back in a reset. */
function firstNumber(netns: string): number {
  return 1 + ((createHash("sha256").update(netns).digest()[0] ?? 0) % highest);
}

/**
 * Makes a network namespace joined to the first one by a veth pair.
 *
 * @param wanted number to take, for a daemon that is set up anew; else the first free one.
 * @throws Error when no number is free.
 */
export async function createNetwork(paths: DaemonPaths, wanted?: number): Promise<DaemonNetwork> {
  await ip("netns", "add", paths.netns);
  const first = wanted ?? firstNumber(paths.netns);
  for (let step = 0; step < (wanted === undefined ? highest : 1); step++) {
    const number = ((first + step - 1) % highest) + 1;
    // The kernel refuses a name that is taken, which makes this the lock between test workers.
    const added = await execa(
      "ip",
      ["link", "add", hostSide(number), "type", "veth", "peer", "name", "host0", "netns", paths.netns],
      {
        reject: false,
        stdin: "ignore",
      },
    );
    if (added.exitCode !== 0) {
      if (added.stderr.includes("File exists")) continue;
      throw new Error(`Failed to make a veth pair for ${paths.netns}: ${added.stderr}`);
    }
    const network = { number, address: `10.77.${number}.2`, hostAddress: `10.77.${number}.1` };
    await ip("link", "set", hostSide(number), "alias", paths.netns);
    await ip("address", "add", `${network.hostAddress}/30`, "dev", hostSide(number));
    await ip("link", "set", hostSide(number), "up");
    await ip("-netns", paths.netns, "address", "add", `${network.address}/30`, "dev", "host0");
    await ip("-netns", paths.netns, "link", "set", "host0", "up");
    await ip("-netns", paths.netns, "link", "set", "lo", "up");
    return network;
  }
  throw new Error(`No free veth pair for ${paths.netns}: ${hostSide(first)} and all after it are taken`);
}

/** Removes the veth pair and the network namespace, where they are. */
export async function removeNetwork(paths: DaemonPaths): Promise<void> {
  for (const link of await linksWithAlias(paths.netns))
    await execa("ip", ["link", "delete", link], { reject: false, stdin: "ignore" });
  const { stdout } = await execa("ip", ["netns", "list"], { stdin: "ignore" });
  const names = stdout.split("\n").map((line) => line.split(" ")[0]);
  if (names.includes(paths.netns)) await ip("netns", "delete", paths.netns);
}

/** Names of the links in the first namespace that belong to a network namespace. */
export async function linksWithAlias(alias: string): Promise<string[]> {
  const { stdout } = await execa("ip", ["-json", "link", "show"], { stdin: "ignore" });
  const links = JSON.parse(stdout) as { ifname: string; ifalias?: string }[];
  return links.filter((link) => link.ifalias === alias).map((link) => link.ifname);
}

function hostSide(number: number): string {
  return `taost${number}`;
}

async function ip(...args: string[]): Promise<void> {
  await execa("ip", args, { stdin: "ignore", timeout: 10_000 });
}
