# shellcheck shell=bash disable=SC2154
# Incus on this machine, by the script that prepares other hosts, too.

# Whether a host of the stack is the daemon of this machine.
stack_is_local() {
  local answer=0
  node "$project_root/script/stack-is-local.ts" "$config" || answer=$?
  case $answer in 0) ;; 3) return 1 ;; *) exit 1 ;; esac
}

incus_socket() {
  if [ -S /run/incus/unix.socket ]; then echo /run/incus/unix.socket; else echo /var/lib/incus/unix.socket; fi
}

ensure_incus() {
  # The user points at a daemon of his own.
  if [ -n "${INCUS_SOCKET:-}${INCUS_DIR:-}" ]; then return; fi
  if ! stack_is_local; then
    command -v incus >/dev/null || say "Incus: no host of stack \"$stack\" is this machine, so nothing is installed on it"
    return
  fi
  prepare_machine "this machine is a host of stack \"$stack\"" --only-new
  prove_incus
}

# Debian keeps /usr/sbin off the PATH of ordinary users.
has_command() { PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null; }

# prepare_machine REASON OPTION...: says what is to do here, asks, does it. The options are those of script/prepare/run.sh.
prepare_machine() {
  local reason=$1 script=$state_dir/prepare.sh lines
  shift
  cat "$project_root"/script/prepare/*.sh >"$script"
  if [ "$(id -u)" -ne 0 ]; then set -- "$@" --user "$(id -un)"; fi
  lines=$(sh "$script" --dry-run "$@") || fail "This machine could not be looked at." "See the message above."
  if [ -z "$lines" ]; then return; fi
  say "Host: $reason; this is done to it:"
  while read -r line; do say "  $line"; done <<<"$lines"
  confirm || fail "Nothing was done." "Run this again when you want it."
  "${before_preparing:-true}"
  as_root sh "$script" "$@" >/dev/null || fail "This machine could not be prepared." "See the message above, and run this again."
}

# A terminal is asked; where there is none, what was said above has to do.
confirm() {
  local answer
  if [ -n "$assume_yes" ] || [ ! -t 0 ]; then return; fi
  printf 'taos-hosts: Go on? [Y/n] ' >&2
  read -r answer || return 1
  case $answer in '' | y | Y | yes) ;; *) return 1 ;; esac
}

prove_incus() {
  local answer=0
  incus_answers || answer=$?
  case $answer in
    0) ;;
    # script/stack goes on with the group where /etc/group already has the user in it.
    2)
      if id -nG "$(id -un)" | tr ' ' '\n' | grep -x incus-admin >/dev/null; then return; fi
      fail "No permission for the socket of Incus, $(incus_socket)." \
        "Join its group (as good as root on this machine) and log in again: sudo usermod -aG incus-admin $(id -un)"
      ;;
    *) fail "Incus does not answer at $(incus_socket)." "See: journalctl -u incus, or /var/log/incus/incus.log" ;;
  esac
}

# 0 yes, 1 no, 2 no permission.
incus_answers() { node "$project_root/script/incus-answers.ts" "$(incus_socket)"; }
