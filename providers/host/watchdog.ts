/** Environment variable of every process that a writer consists of: `<group>.<run>`. */
const ID = "TAOS_WRITER";
/** Seconds without a sign of life after which a writer is ended: the link may be gone, or the run frozen. */
const SILENCE = 12;
/** Milliseconds between two signs of life. */
export const BEAT = 3_000;
/** What the watchdog says, in a line of its own before the writer's output, once it waits for the word to begin. */
export const READY = "ready\n";
/** A sign of life. */
export const SIGN = ".";

/**
 * POSIX sh, with timeout and head of coreutils and setsid of util-linux. Its standard input carries signs of life, and
 * once the word to begin with the input of the writer. The writer is a session of its own: on silence, or at the end of
 * standard input, it is killed with all its children, by a watcher that outlives this shell.
 *
 * The writer's input goes through a file without a name: signs of life come in while the writer still reads.
 */
const WATCHDOG = `
silence=$1
shift
take() { timeout --foreground "$silence" head -c "$1"; }
echo ready
while :; do
  case $(take 1) in
    .) ;;
    g) break ;;
    *) exit 125 ;;
  esac
done
left=$(take 12)
[ "$left" -ge 0 ] || exit 125
input=/dev/null
if [ "$left" -gt 0 ]; then
  size=$left
  spool=$(mktemp) || exit 125
  exec 3<>"$spool"
  rm -f -- "$spool"
  while [ "$left" -gt 0 ]; do
    part=$((left < 65536 ? left : 65536))
    take "$part" >&3 || exit 125
    left=$((left - part))
  done
  input=/proc/self/fd/3
  [ "$(wc -c <"$input")" -eq "$size" ] || exit 125
fi
exec 4<&0
setsid "$@" <"$input" 3<&- 4<&- &
writer=$!
setsid sh -c '
  while [ "$(timeout --foreground "$1" head -c 1)" = . ]; do :; done
  kill -s KILL -- "-$2" "$2"
' watcher "$silence" "$writer" <&4 3<&- 4<&- >/dev/null 2>&1 &
watcher=$!
exec 4<&-
wait "$writer"
code=$?
kill -s KILL -- "-$watcher" "$watcher" 2>/dev/null
exit "$code"
`;

/** Ends processes until two looks, one after the other, have found none; a process that forks may escape one. */
const END = `
found() { grep -lsaz -e "^$1=$2" /proc/[0-9]*/environ; }
clean=0
for look in $(seq 300); do
  files=$(found "$1" "$2")
  if [ -z "$files" ]; then
    clean=$((clean + 1))
    [ "$clean" -ge 2 ] && exit 0
    continue
  fi
  clean=0
  for file in $files; do
    pid=\${file#/proc/}
    kill -s KILL "\${pid%/environ}" 2>/dev/null
  done
  sleep 0.1
done
echo "$files" | tr '\\n' ' '
exit 1
`;

/** The command that runs a writer under its watchdog. */
export function watched(id: string, argv: readonly string[]): string[] {
  return ["env", `${ID}=${id}`, "sh", "-c", WATCHDOG, "watchdog", String(SILENCE), ...argv];
}

/** The word to begin, with the writer's input. */
export function begin(input: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`g${String(input.length).padStart(12)}`), input]);
}

/**
 * The command that ends all writers whose id begins so, and proves by /proc that none is left. It ends with 1 and the
 * rest on standard output where it cannot.
 * @param id letters, digits, `-`, and a dot, which may stand for any character
 */
export function ending(id: string): string[] {
  if (!/^[A-Za-z0-9-]+\.[A-Za-z0-9-]*$/.test(id)) throw new RangeError(`not a writer's id: ${id}`);
  return ["sh", "-c", END, "ending", ID, id];
}
