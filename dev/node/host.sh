# shellcheck shell=bash disable=SC2154
# What the cluster changes on this machine, and how that is undone. Sourced by dev/cluster.

# Directories that the components insist on outside the state directory. Removed again where they were not there before.
outside=(/run/containerd/s /run/containerd /var/lib/kubelet/device-plugins /var/lib/kubelet /var/log/containers
  /var/lib/cni/results /var/lib/cni/cache /var/lib/cni /run/netns)

# Kernel settings that kubelet, kube-proxy and the bridge plugin change.
sysctls=(net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.bridge.bridge-nf-call-iptables
  net.bridge.bridge-nf-call-ip6tables net.ipv4.conf.all.route_localnet net.netfilter.nf_conntrack_max
  net.netfilter.nf_conntrack_tcp_timeout_established net.netfilter.nf_conntrack_tcp_timeout_close_wait
  net.netfilter.nf_conntrack_tcp_be_liberal vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops
  kernel.keys.root_maxkeys kernel.keys.root_maxbytes)

# Loaded where they are not there yet, and unloaded again. Some kernels have them built in.
modules=(br_netfilter overlay)

# What a node takes from Debian, as packages() reads it.
node_packages=(runc containernetworking-plugins:/usr/lib/cni/bridge iptables conntrack ethtool socat iproute2:ip
  procps:sysctl openssl curl jq)

announce() {
  local missing
  missing=$(missing_packages "${node_packages[@]}")
  cat >&2 <<END
The cluster runs on this machine itself and changes it as follows; 'dev/cluster down' undoes all but the packages:
  state        $state (about 1 GB), with mounts below it
  network      bridge $bridge with $server_host, a pair of interfaces per pod
  firewall     iptables chains KUBE-* and CNI-* (nat, filter, mangle; IPv4 and IPv6)
  kernel       modules ${modules[*]}; ${sysctls[*]}
  cgroups      kubepods
  directories  ${outside[*]}
  ports        on $server_host and 127.0.0.1: ${ports[*]}
  packages     ${missing:-none: all that it needs are here}
END
}

require_free_host() {
  [ "$(id -u)" = 0 ] || die "a node needs root (namespaces, mounts, iptables): run this as root, or start a container engine with kind on PATH."
  [ ${#containerd_socket} -lt 100 ] || die "$state is too long a path for a socket: set BUDSTIKKE_STATE to a shorter one."
  packages "${node_packages[@]}"
  local port taken=
  for port in "${ports[@]}"; do
    if [ -n "$(ss --no-header --listening --tcp --numeric "sport = :$port")" ]; then
      taken+=$(printf '\n  %s' "$(ss --no-header --listening --tcp --numeric --processes "sport = :$port" | head -n 1)")
    fi
  done
  [ -z "$taken" ] || die "ports that the cluster needs are taken (another Kubernetes?). Free them and run this again:$taken"
  if iptables-save 2>/dev/null | grep -q '^:KUBE-'; then
    die "iptables has chains of another Kubernetes (KUBE-*): this machine cannot hold two. Remove it first."
  fi
  if ip link show "$bridge" >/dev/null 2>&1; then die "there is an interface $bridge already: ip link delete $bridge, if it is nobody's."; fi
}

change_host() {
  local name directory
  mkdir -p "$before"
  for name in "${modules[@]}"; do
    [ -e "/sys/module/$name" ] || echo "$name"
  done >"$before/absent-modules"
  modprobe --all --quiet "${modules[@]}" 2>/dev/null || true
  for name in "${sysctls[@]}"; do
    sysctl --ignore "$name" 2>/dev/null || true
  done >"$before/sysctls"
  for directory in "${outside[@]}"; do
    if [ -e "$directory" ]; then echo "$directory"; fi
  done >"$before/directories"
  # Service addresses reach pods of the same bridge only when its packets pass through iptables.
  sysctl --quiet --write net.ipv4.ip_forward=1
  sysctl --quiet --ignore --write net.bridge.bridge-nf-call-iptables=1
  ip link add "$bridge" type bridge
  ip address add "$server_host/24" dev "$bridge"
  ip link set "$bridge" up
}

# Components and pods must have ended before.
restore_host() {
  [ -e "$before" ] || return 0
  unmount_below "$state"
  remove_interfaces
  local tables
  for tables in iptables ip6tables; do remove_chains "$tables"; done
  remove_cgroups
  sysctl --quiet --load "$before/sysctls" >/dev/null 2>&1 || true
  # One that is in use by then, or was built in all along, stays.
  xargs --no-run-if-empty --max-args 1 modprobe --quiet --remove 2>/dev/null <"$before/absent-modules" || true
  local directory
  for directory in "${outside[@]}"; do
    grep -qxF "$directory" "$before/directories" || remove_outside "$directory"
  done
  rm -rf "$before"
}

unmount_below() { # DIRECTORY
  local target
  # Youngest first; a busy one is detached and goes with its last user.
  awk -v below="$1/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo | tac | while read -r target; do
    # The kernel writes blanks in paths as octal.
    umount "$(printf '%b' "$target")" 2>/dev/null || umount --lazy "$(printf '%b' "$target")" 2>/dev/null || true
  done
}

remove_interfaces() {
  local interface
  ip -json link show master "$bridge" 2>/dev/null | jq --raw-output '.[].ifname // empty' | while read -r interface; do
    ip link delete "$interface" 2>/dev/null || true
  done
  ip link delete "$bridge" 2>/dev/null || true
}

# Rules that jump into the cluster's chains first, then the chains: a chain in use cannot go.
remove_chains() { # iptables | ip6tables
  local table chains
  command -v "$1" >/dev/null || return 0
  for table in nat filter mangle; do
    chains=$("$1-save" --table "$table" 2>/dev/null | sed -nE 's/^:((KUBE|CNI)-[^ ]*) .*/\1/p') || true
    [ -n "$chains" ] || continue
    {
      echo "*$table"
      "$1-save" --table "$table" 2>/dev/null | grep -E '^-A (PREROUTING|INPUT|FORWARD|OUTPUT|POSTROUTING) .*-j (KUBE|CNI)-' | sed 's/^-A/-D/' || true
      # One line per chain: their names hold no blanks.
      # shellcheck disable=SC2086
      printf -- '-F %s\n' $chains
      # shellcheck disable=SC2086
      printf -- '-X %s\n' $chains
      echo COMMIT
    } | "$1-restore" --noflush || say "some $1 chains of table $table could not be removed: $1-save --table $table"
  done
}

remove_cgroups() {
  find /sys/fs/cgroup -depth -type d \( -path '*/kubepods' -o -path '*/kubepods/*' \) -exec rmdir {} + 2>/dev/null || true
}

# Only ever what the components left there: links and sockets of their own, and then empty directories.
remove_outside() { # DIRECTORY
  [ -d "$1" ] || return 0
  case $1 in
    /var/log/containers) find "$1" -maxdepth 1 -type l -delete ;;
    /var/lib/kubelet/device-plugins | /run/containerd/s) find "$1" -maxdepth 1 \( -type s -o -type f \) -delete ;;
    /var/lib/cni/results | /var/lib/cni/cache) find "$1" -mindepth 1 -delete ;;
  esac
  rmdir "$1" 2>/dev/null || true
}
