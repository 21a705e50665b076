import { describe, expect, it } from "vitest";
import { parseHosts } from "../../../infra/config/config.ts";
import { planErrors, planHosts } from "../../../infra/plan/plan.ts";
import { hostConfig } from "./hosts.ts";
import { CONTEXT, HOST } from "./world.ts";

const CONFIG = { connection: "ssh://pi@board", prepare: true };
const LINES = ["packages: apt-get installs incus-base", "daemon: Incus starts, now and at boot"];

describe("a host that is to be prepared", () => {
  it("and whose content shows only then is no error, and nothing else is planned", () => {
    const facts = { [HOST]: { unseen: "no Incus answers", preparation: LINES } };
    const plan = planHosts({ [HOST]: hostConfig(CONFIG) }, facts, CONTEXT);
    expect(planErrors(plan)).toEqual([]);
    expect(plan.hosts[0]?.actions.map(({ object, kind }) => `${kind} ${object}`)).toEqual([
      "prepare host's packages",
      "prepare host's daemon",
    ]);
    expect(plan.hosts[0]?.pool.decision).toBeNull();
  });

  it.each(["https://board:8443", "unix:/srv/other.socket"])("is refused over %s", (connection) => {
    const tls = connection.startsWith("https") ? { tls: { serverFingerprint: "a".repeat(64) } } : {};
    expect(() => parseHosts({ board: { connection, ...tls, prepare: true } })).toThrow(
      /hosts\.board\.prepare: takes commands on the host/,
    );
  });

  it.each([":8443", "10.0.0.7:8443", "[::]:8443"])("may listen at %s", (httpsAddress) => {
    expect(hostConfig({ ...CONFIG, prepare: { httpsAddress } }).prepare).toEqual({ httpsAddress });
  });

  it("listens at nothing that is no address", () => {
    expect(() => hostConfig({ ...CONFIG, prepare: { httpsAddress: "8443; reboot" } })).toThrow(
      /prepare\.httpsAddress: must be an address with a port/,
    );
  });

  it("is none where the config does not say so", () => {
    expect(hostConfig({ prepare: false }).prepare).toBeUndefined();
    expect(hostConfig({}).prepare).toBeUndefined();
  });
});
