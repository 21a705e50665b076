import { messageOf, VisibleError } from "@taos-hosts/providers";

/**
 * Runs a command to its end and leaves with the exit code that it gives, once its output is written; what it throws is
 * told on stderr, exit code 1. Connections to hosts are kept alive, so the process would not end by itself.
 */
export function runCommand(main: (args: string[]) => Promise<number>): void {
  main(process.argv.slice(2)).then(
    (code) => {
      process.exitCode = code;
      process.stdout.write("", () => process.exit(code));
    },
    (error: unknown) => {
      const isUsage =
        error instanceof Error && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS");
      const isForPeople = error instanceof VisibleError || isUsage || !(error instanceof Error);
      process.stderr.write(`taos-hosts: error: ${isForPeople ? messageOf(error) : error.stack}\n`);
      process.exit(1);
    },
  );
}
