/** `withheld-copy.ts FILE COPY`: the copy of a stack file that Pulumi gets (see infra/config/withheld.ts). */
import { readFileSync, writeFileSync } from "node:fs";
import { withheldCopy } from "../infra/config/withheld.ts";

const [file = "", copy = ""] = process.argv.slice(2);
writeFileSync(copy, withheldCopy(readFileSync(file, "utf8")), { mode: 0o600 });
