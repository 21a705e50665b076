/**
 * Init of the test containers. A shell instead of busybox' own init, because
 * it ends a second after the stop signal's arrival at the latest (busybox takes
 * 2.7 s), and because tests can steer it:
 * - `/etc/ignore-stop` exists: the stop signal is ignored, as by a container still booting
 * - `/etc/rc.local` is executable: it is run at each start
 * - `environment.NETWORK_DELAY`: seconds to wait before asking for an address
 */
export const init = `#!/bin/sh
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

halt_now() {
	[ -e /etc/ignore-stop ] && return
	trap '' TERM INT PWR USR1 USR2
	kill -TERM -1
	n=0
	# Init, the substitution's shell, ls and wc are the last four.
	while [ $n -lt 20 ] && [ "$(ls -d /proc/[0-9]* | wc -l)" -gt 4 ]; do
		usleep 50000
		n=$((n + 1))
	done
	exit 0
}
trap halt_now TERM INT PWR USR1 USR2

keep_address() {
	sleep "\${NETWORK_DELAY:-0}"
	while :; do
		udhcpc -f -t 5 -T 1 -A 1 -i eth0 -s /etc/udhcpc.script -x "hostname:$(hostname)"
		usleep 200000
	done
}

hostname -F /etc/hostname
ifconfig lo 127.0.0.1 up
[ -x /etc/rc.local ] && /etc/rc.local </dev/null >/dev/null 2>&1 &
[ -e /sys/class/net/eth0 ] && keep_address </dev/null >/dev/null 2>&1 &
while :; do
	wait
	usleep 100000
done
`;

/** What udhcpc calls when it gains or loses its lease. */
export const udhcpcScript = `#!/bin/sh
case "$1" in
deconfig)
	ip address flush dev "$interface"
	ip link set "$interface" up
	;;
renew | bound)
	ip address flush dev "$interface"
	ip address add "$ip/\${mask:-24}" dev "$interface"
	[ -n "$router" ] && ip route add default via "\${router%% *}"
	;;
esac
exit 0
`;

/** Templates Incus runs at create, copy and rename: re-runs show in /etc/template-stamp. */
export const templates: Record<string, { target: string; text: string }> = {
  "hostname.tpl": { target: "/etc/hostname", text: "{{ container.name }}\n" },
  "template-stamp.tpl": { target: "/etc/template-stamp", text: "{{ trigger }} {{ container.name }}\n" },
};

/** metadata.yaml (JSON is YAML) for an architecture as `uname -m` names it. */
export function metadata(architecture: string, description: string): string {
  const entries = Object.entries(templates).map(([template, { target }]) => [
    target,
    { when: ["create", "copy", "rename"], create_only: false, template },
  ]);
  return `${JSON.stringify(
    {
      architecture,
      creation_date: 1_700_000_000,
      properties: { os: "busybox", release: "test", description },
      templates: Object.fromEntries(entries),
    },
    undefined,
    2,
  )}\n`;
}
