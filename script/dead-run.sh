# shellcheck shell=bash disable=SC2154
# What a killed run leaves behind with the local backend: its lock, and plugins that nobody stops any more.

run_file() { echo "$state_dir/run.$stack"; }

remember_run() { printf '%s\n' "$TAOS_HOSTS_RUN_ID" >"$(run_file)"; }

# A killed run that nobody has reaped yet is a zombie: it has its name and number still, and does nothing any more.
is_live_run() {
  local status
  status=$(cat "/proc/${1:-none}/status" 2>/dev/null) || return 1
  grep -qx 'Name:[[:space:]]*pulumi' <<<"$status" && ! grep -q '^State:[[:space:]]*[ZX]' <<<"$status"
}

# Releases the stack when every lock on it is of a process of this machine that is gone.
release_dead_run() {
  local lock pid found=
  for lock in "$state_dir"/backend/.pulumi/locks/organization/"$(project_name)"/"$stack"/*.json; do
    [ -f "$lock" ] || continue
    grep -q "\"hostname\":\"$(uname -n)\"" "$lock" || return 0
    pid=$(sed -n 's/.*"pid":\([0-9]*\).*/\1/p' "$lock")
    if is_live_run "$pid"; then return 0; fi
    found=1
  done
  if [ -z "$found" ]; then return 0; fi
  say "Stack \"$stack\": the run that held its lock is gone, releasing it"
  stop_plugins
  local output
  output=$(pulumi cancel --yes --stack "$stack" 2>&1) ||
    fail "The lock of stack \"$stack\" could not be released." "$output" "Run: pulumi cancel --stack $stack"
}

# The plugins of the dead run carry its id in their environment. They must not write beside the next run.
stop_plugins() {
  local id pids attempt
  id=$(cat "$(run_file)" 2>/dev/null) || return 0
  pids=$(plugins_of "$id")
  if [ -z "$pids" ]; then return 0; fi
  # shellcheck disable=SC2086 # a list of numbers
  kill -TERM $pids 2>/dev/null || true
  for attempt in $(seq 1 50); do
    pids=$(plugins_of "$id")
    if [ -z "$pids" ]; then return 0; fi
    # shellcheck disable=SC2086
    if [ "$attempt" -eq 50 ]; then kill -KILL $pids 2>/dev/null || true; fi
    sleep 0.1
  done
}

plugins_of() {
  grep -lzsx "TAOS_HOSTS_RUN_ID=$1" /proc/[0-9]*/environ | sed 's|^/proc/\([0-9]*\)/environ$|\1|' | tr '\n' ' ' || true
}
