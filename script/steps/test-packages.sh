# shellcheck shell=bash disable=SC2154
# What the tests need: Incus' programs for their own private daemons, and tools to build images with.

test_tools="mksquashfs squashfs-tools
ip iproute2
getfattr attr
setfacl acl
setcap libcap2-bin
openssl openssl
sshd openssh-server
sudo sudo
debootstrap debootstrap"

ensure_test_packages() {
  local command package had_sshd='' wanted=() before_preparing
  if has_command sshd; then had_sshd=1; fi
  while read -r command package; do
    if ! has_command "$command"; then wanted+=(--package "$package"); fi
  done <<<"$test_tools"
  if ! dpkg-query -W -f '${db:Status-Status}' busybox-static 2>/dev/null | grep -x installed >/dev/null; then wanted+=(--package busybox-static); fi
  # shellcheck disable=SC2034 # prepare_machine runs it
  before_preparing=keep_services_down
  prepare_machine "the tests need it" --no-daemon --only-new ${wanted[@]+"${wanted[@]}"}
  let_services_up
  ensure_browser
  # The tests run sshd by themselves, in a network of their own.
  if [ -z "$had_sshd" ] && [ -d /run/systemd/system ]; then as_root systemctl disable -q --now ssh.service ssh.socket 2>/dev/null || true; fi
}

# The page's test opens it in a real browser, and is skipped where there is none: Ubuntu's is a snap only.
ensure_browser() {
  if has_command chromium || has_command google-chrome; then return; fi
  if ! apt-cache show chromium >/dev/null 2>&1; then return; fi
  say "Packages: chromium, for the page's test"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 chromium >/dev/null 2>&1 ||
    say "Packages: chromium could not be installed, so the page's test is skipped"
}

# Debian's own switch against services that start with their installation.
keep_services_down() {
  if [ -e /usr/sbin/policy-rc.d ]; then return; fi
  trap let_services_up EXIT
  printf '#!/bin/sh\n# taos-hosts: removed when its installation is done\nexit 101\n' | as_root tee /usr/sbin/policy-rc.d >/dev/null
  as_root chmod 0755 /usr/sbin/policy-rc.d
}

let_services_up() {
  if grep -qs '^# taos-hosts:' /usr/sbin/policy-rc.d; then as_root rm -f /usr/sbin/policy-rc.d; fi
  trap - EXIT
}
