/**
 * Tells the person what a long piece of work is doing. Pulumi shows a provider's standard output as information on
 * the stack; a line at a time, so that logs of CI stay readable.
 */
export type Progress = (message: string) => void;

/** Progress of one object on one host, at most one line a second apart from the first of each phase. */
export function progressFor(host: string, object: string): Progress {
  let last = 0;
  let lastPhase = "";
  return (message) => {
    const phase = message.replace(/[\d.,%]+.*$/, "");
    const now = Date.now();
    if (phase === lastPhase && now - last < 1_000) return;
    last = now;
    lastPhase = phase;
    process.stdout.write(`${host}: ${object}: ${message}\n`);
  };
}
