# shellcheck shell=sh disable=SC2034
# Makes a Debian or Ubuntu machine a host for Incus. It goes with the parts beside it, this one last, to "sh -s", on this
# machine or over a link: cat script/prepare/*.sh | ssh root@HOST sh -s -- --dry-run

usage() {
  cat <<'USAGE'
Usage: cat script/prepare/*.sh | sh -s -- [--dry-run] [OPTION...]

Prints a line for each thing that it does; nothing where nothing is to do. Needs root, but for --dry-run.

  --dry-run            only print what would be done
  --user NAME          joins the group incus-admin
  --https-address A    Incus listens there, as in core.https_address
  --package NAME       a further package
  --only-new           where Incus is already, its ids, its group and the host's limits are left as they are
  --no-daemon          Incus is neither started nor enabled
USAGE
}

note() { printf 'note: %s\n' "$1" >&2; }

fail() {
  printf 'error: %s %s\n' "$1" "$2" >&2
  exit 1
}

# todo LINE COMMAND...: says what is done and does it; in a dry run only says it.
todo() {
  printf '%s\n' "$1"
  shift
  if [ -z "$dry_run" ]; then "$@"; fi
}

prepare() {
  dry_run='' user='' https_address='' packages='' only_new='' no_daemon=''
  while [ $# -gt 0 ]; do
    case $1 in
      --dry-run) dry_run=1 ;;
      --only-new) only_new=1 ;;
      --no-daemon) no_daemon=1 ;;
      --user | --https-address | --package)
        [ $# -gt 1 ] || fail "$1 needs a value." "See --help."
        case $1 in
          --user) user=$2 ;;
          --https-address) https_address=$2 ;;
          *) packages="$packages $2" ;;
        esac
        shift
        ;;
      -h | --help) usage; return ;;
      *) fail "Unknown option \"$1\"." "See --help." ;;
    esac
    shift
  done
  if [ -z "$dry_run" ] && [ "$(id -u)" -ne 0 ]; then
    fail "Preparing a host needs root." "Log in as root, or allow the login sudo without a password."
  fi
  # Debian keeps /usr/sbin off the PATH of ordinary users.
  PATH=$PATH:/usr/sbin:/sbin LC_ALL=C
  export PATH LC_ALL

  was_there=''
  if has_incus; then was_there=1; fi
  ensure_packages
  if [ -z "$only_new" ] || [ -z "$was_there" ]; then
    ensure_ids
    ensure_limits
    ensure_group
  fi
  ensure_module
  ensure_daemon
  ensure_https_address
}

set -eu
# Nothing that is run may read on in this script; and one that was cut off on its way never gets here.
prepare "$@" </dev/null
