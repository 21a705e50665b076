# shellcheck shell=bash disable=SC2154
# What the tests need: Incus' programs for their own private daemons, and tools to build images with.

test_tools="mksquashfs squashfs-tools
ip iproute2
getfattr attr
setfacl acl
setcap libcap2-bin
openssl openssl
sshd openssh-server
sudo sudo"

ensure_test_packages() {
  local wanted had_sshd=''
  if has_command sshd; then had_sshd=1; fi
  wanted=$(missing_packages "$incus_tools"$'\n'"$test_tools")
  if ! dpkg-query -W -f '${db:Status-Status}' busybox-static 2>/dev/null | grep -x installed >/dev/null; then wanted="$wanted busybox-static"; fi
  if ! has_command incus; then wanted="$(incus_packages) $wanted"; fi
  if [ -n "${wanted# }" ]; then
    install_packages "the tests need them" "$wanted" keep_services_down
    let_services_up
    # The tests run sshd by themselves, in a network of their own.
    if [ -z "$had_sshd" ] && [ -d /run/systemd/system ]; then as_root systemctl disable -q --now ssh.service ssh.socket 2>/dev/null || true; fi
  fi
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
