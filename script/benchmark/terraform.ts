import { mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import type { IncusDaemon } from "../../test/testbed/daemon.ts";
import { ALIAS } from "./scene.ts";

/** terraform with its provider for Incus, on instances `peer-0`, `peer-1`, … of the scene. */
export interface Terraform {
  apply(count: number): Promise<void>;
  plan(count: number): Promise<void>;
  remove(): Promise<void>;
}

/** Undefined where `TERRAFORM_PROVIDER_INCUS` names no provider's binary: then there is nothing to compare with. */
export async function openTerraform(daemon: IncusDaemon): Promise<Terraform | undefined> {
  const provider = process.env["TERRAFORM_PROVIDER_INCUS"];
  if (!provider) return undefined;
  const directory = await mkdtemp(join(tmpdir(), "taos-hosts-terraform-"));
  await symlink(provider, join(directory, "terraform-provider-incus"));
  await writeFile(
    join(directory, "rc"),
    `provider_installation {\n  dev_overrides { "lxc/incus" = ${JSON.stringify(directory)} }\n  direct {}\n}\n`,
  );
  await writeFile(join(directory, "main.tf"), MAIN);
  const run = async (...args: string[]): Promise<void> => {
    await execa("terraform", [...args, "-no-color"], {
      cwd: directory,
      env: { ...daemon.env, TF_CLI_CONFIG_FILE: join(directory, "rc"), CHECKPOINT_DISABLE: "1" },
      stdin: "ignore",
      timeout: 300_000,
    });
  };
  return {
    apply: (count) => run("apply", "-auto-approve", `-var=agents=${count}`),
    plan: (count) => run("plan", `-var=agents=${count}`),
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}

const MAIN = `terraform {
  required_providers {
    incus = { source = "lxc/incus" }
  }
}
provider "incus" {
  remote {
    name    = "local"
    address = "unix://"
  }
}
variable "agents" {
  type = number
}
resource "incus_instance" "agent" {
  count = var.agents
  name  = "peer-\${count.index}"
  image = "${ALIAS}"
  wait_for {
    type = "ipv4"
  }
}
`;
