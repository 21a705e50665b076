import * as pulumi from "@pulumi/pulumi";
import { Instance } from "@taos-hosts/providers/resources";

/** A Host that found the protected container iris on its host and does not declare it. */
class CarelessHost extends pulumi.ComponentResource {
  constructor(name: string) {
    super("taos-hosts:infra:Host", name);
    this.registerOutputs({ protectedAgents: ["iris"] });
  }
}

new CarelessHost("orange");
const host = { name: "orange", connection: "unix:/nowhere" };
new Instance("orange/rose", { host, owner: "careless", name: "rose", image: "bb", pool: "default" });
