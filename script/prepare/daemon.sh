# shellcheck shell=sh disable=SC2154 # run.sh reads the options
# The running daemon, at boot too, and its address.

has_systemd() { [ -d /run/systemd/system ]; }

find_daemon() {
  for daemon in /usr/libexec/incus/incusd /opt/incus/bin/incusd /usr/sbin/incusd /usr/bin/incusd; do
    if [ -x "$daemon" ]; then echo "$daemon"; return; fi
  done
  return 1
}

# The units that are there: the socket starts the daemon, the other one the containers at boot.
incus_units() {
  for unit in incus.socket incus-startup.service; do
    if systemctl cat "$unit" >/dev/null 2>&1; then echo "$unit"; fi
  done
}

# Without root a socket is all that can be seen.
answers() {
  if ! daemon=$(find_daemon); then return 1; fi
  if has_systemd; then
    systemctl is-active -q incus.socket || systemctl is-active -q incus.service
    return
  fi
  socket=/var/lib/incus/unix.socket
  if [ -S /run/incus/unix.socket ]; then socket=/run/incus/unix.socket; fi
  if [ -S "$socket" ] && [ ! -w "$socket" ]; then return 0; fi
  "$daemon" waitready --timeout=3 >/dev/null 2>&1
}

starts_at_boot() {
  if ! has_systemd; then return 0; fi
  units=$(incus_units)
  if [ -z "$units" ]; then return 1; fi
  for unit in $units; do
    systemctl is-enabled -q "$unit" 2>/dev/null || return 1
  done
}

ensure_daemon() {
  if [ -n "$no_daemon" ]; then return; fi
  if answers && starts_at_boot; then return; fi
  if has_systemd; then
    todo "daemon: Incus starts, now and at boot" start_with_systemd
  else
    todo "daemon: Incus starts (there is no systemd here, so nothing starts it at boot)" start_by_hand
  fi
}

start_with_systemd() {
  units=$(incus_units)
  case $units in
    *incus.socket*) ;;
    *) fail "systemd knows no incus.socket." "Install Incus from a package, or start its daemon, and run this again." ;;
  esac
  systemctl enable -q --now incus.socket || fail "incus.socket could not be started." "See: systemctl status incus.socket"
  for unit in $units; do
    systemctl enable -q "$unit" || fail "$unit could not be enabled." "See: systemctl status $unit"
  done
  wait_for_daemon
}

# A session of its own, and none of our descriptors: it outlives this script.
start_by_hand() {
  daemon=$(find_daemon) || fail "incusd was not found." "Install Incus' daemon (Debian: incus-base), and run this again."
  mkdir -p /var/log/incus
  # shellcheck disable=SC2016
  setsid --fork sh -c 'ulimit -n 1048576 2>/dev/null; exec "$0" --group incus-admin --logfile=/var/log/incus/incus.log' \
    "$daemon" </dev/null >/dev/null 2>&1 9>&-
  wait_for_daemon
}

wait_for_daemon() {
  daemon=$(find_daemon) || fail "incusd was not found." "Install Incus' daemon (Debian: incus-base), and run this again."
  "$daemon" waitready --timeout=120 >/dev/null 2>&1 ||
    fail "Incus did not become ready within 120 s." "See journalctl -u incus, or /var/log/incus/incus.log."
}

ensure_https_address() {
  if [ -z "$https_address" ] || [ -n "$no_daemon" ]; then return; fi
  if has_command incus && answers && [ "$(incus --force-local config get core.https_address 2>/dev/null)" = "$https_address" ]; then return; fi
  todo "daemon: it listens at $https_address (core.https_address)" set_https_address
}

set_https_address() {
  said=$(incus --force-local config set "core.https_address=$https_address" 2>&1) ||
    fail "Incus does not listen at $https_address: $(echo "$said" | tail -n 1)" "Correct httpsAddress, or free that port, and run this again."
}
