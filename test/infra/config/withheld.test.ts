import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { withDecrypted } from "../../../infra/config/stack-config.ts";
import { parseStackYaml } from "../../../infra/config/stack-yaml.ts";
import { WITHHELD, withheldCopy } from "../../../infra/config/withheld.ts";

const TEXT = `encryptionsalt: v1:abc
config:
  taos-hosts:hosts:
    orange: # a comment
      connection: https://orange:8443
      tls:
        token: s3cret-six
      agents:
        iris: &iris
          image: bb
          cpu: 0-1
          environment: &variables
            TOKEN: &token s3cret-one
            QUOTED: "s3cret-two"
            BLOCK: |
              s3cret-three
              more
            NUMBER: 0123
            EMPTY:
            HIDDEN: { secure: AAABBB }
          files:
            - { path: /a, content: s3cret-four, mode: "0600" }
            - path: /b
              content: >-
                s3cret-five
              uid: 1
        rose:
          <<: *iris
          environment: { <<: *variables, AGAIN: *token }
          config: { user.plain: 1.10 }
`;

describe("the copy of a stack file that Pulumi gets", () => {
  const copy = withheldCopy(TEXT);

  it("holds no trust token, no value of the environment and no content of a file", () => {
    expect(copy).not.toMatch(/s3cret|0123|more/);
    expect(copy).toContain("HIDDEN: { secure: AAABBB }");
    const agents = parse(copy, { merge: true }).config["taos-hosts:hosts"].orange.agents;
    expect(agents.rose.environment).toMatchObject({
      TOKEN: WITHHELD,
      AGAIN: WITHHELD,
      BLOCK: WITHHELD,
      EMPTY: null,
    });
    expect(agents.iris.files[1]).toEqual({ path: "/b", content: WITHHELD, uid: 1 });
  });

  it("is the same to the letter in everything else", () => {
    for (const line of TEXT.split("\n").filter(
      (text) => text !== "" && !/s3cret|0123|more|BLOCK|content|AGAIN|token/.test(text),
    ))
      expect(copy).toContain(line);
  });

  it("gives the program the values of the file itself", () => {
    const read = parseStackYaml(TEXT);
    if ("problem" in read) throw new Error(read.problem);
    const given = parse(copy, { merge: true }).config["taos-hosts:hosts"];
    for (const agent of Object.values<{ environment: Record<string, unknown> }>(given.orange.agents))
      agent.environment["HIDDEN"] = "decrypted";
    const hosts = withDecrypted({ file: "s", ...read }, given) as typeof given;
    expect(hosts.orange.agents.rose.environment).toEqual({
      TOKEN: "s3cret-one",
      QUOTED: "s3cret-two",
      BLOCK: "s3cret-three\nmore\n",
      NUMBER: "0123",
      EMPTY: null,
      HIDDEN: "decrypted",
      AGAIN: "s3cret-one",
    });
  });

  it("is the text itself where there is nothing to keep, or it is no YAML", () => {
    expect(withheldCopy("config: {}\n")).toBe("config: {}\n");
    expect(withheldCopy("a: [\n")).toBe("a: [\n");
  });
});
