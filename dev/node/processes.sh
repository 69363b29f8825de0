# shellcheck shell=bash disable=SC2154
# Starting and ending the node's processes. Only what was started here is ever ended: a process counts as ours while it
# runs the very program that its pid file names. Sourced by dev/cluster.

start() { # COMPONENT ARGUMENTS…
  local name=$1
  shift
  # Its own session: it outlives this script and its terminal. Descriptor 9 is the lock of dev/cluster.
  setsid "$bin/$name" "$@" >"$logs/$name.log" 2>&1 </dev/null 9<&- &
  # The kernel shows the program without symbolic links.
  echo "$! $(readlink -f "$bin/$name")" >"$run/$name.pid"
}

# Prints the pid when the component runs.
pid_of() { # COMPONENT
  local pid program
  { read -r pid program <"$run/$1.pid"; } 2>/dev/null || return 1
  # A program that was rebuilt since is shown as deleted.
  [ "$(readlink "/proc/$pid/exe" 2>/dev/null | sed 's/ (deleted)$//')" = "$program" ] || return 1
  echo "$pid"
}

all_run() {
  local name
  for name in "${components[@]}"; do pid_of "$name" >/dev/null || return 1; done
}

# await SECONDS COMPONENT WHAT COMMAND…: waits until the command succeeds while the component lives.
await() {
  local limit=$1 name=$2 what=$3 deadline
  shift 3
  deadline=$((SECONDS + limit))
  until "$@" >/dev/null 2>&1; do
    pid_of "$name" >/dev/null || failed "$name ended by itself" "$name"
    [ $SECONDS -lt $deadline ] || failed "$what did not happen within $limit s" "$name"
    sleep 0.2
  done
}

failed() { # WHAT COMPONENT
  say ""
  tail -n 15 "$logs/$2.log" | cut -c1-300 | sed 's/^/    /' >&2 || true
  say ""
  say "dev/cluster: $1."
  say "  log:  $logs/$2.log"
  die "next: dev/cluster down undoes what was changed; then dev/cluster up. If it fails again, read the log."
}

# Asks components to end and waits for all of them together.
stop() { # SECONDS COMPONENT…
  local deadline=$((SECONDS + $1)) name pid
  shift
  for name in "$@"; do
    if pid=$(pid_of "$name"); then kill -TERM "$pid" 2>/dev/null || true; fi
  done
  for name in "$@"; do
    while pid=$(pid_of "$name"); do
      if [ $SECONDS -ge $deadline ]; then
        say "  $name does not end by itself: killed"
        kill -KILL "$pid" 2>/dev/null || true
      fi
      sleep 0.1
    done
    rm -f "$run/$name.pid"
  done
}

# The shims of our containerd; each is the parent of one pod's processes.
shims() {
  local process
  for process in /proc/[0-9]*; do
    case $(readlink "$process/exe" 2>/dev/null) in
      */containerd-shim-runc-v2*) ;;
      *) continue ;;
    esac
    if tr '\0' '\n' <"$process/cmdline" 2>/dev/null | grep -qxF "$containerd_socket"; then echo "${process#/proc/}"; fi
  done
}

# Also finds those whose shim was lost. The group is ours alone while our changes to the machine are in force.
in_pods() {
  [ -e "$before" ] || return 0
  find /sys/fs/cgroup -path '*/kubepods/*' -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u || true
}

# Pods outlive containerd and kubelet. Nothing in them is worth a graceful end: their volumes go with the cluster.
end_pods() {
  local i living
  for ((i = 0; i < 50; i++)); do
    living=$(shims; in_pods)
    [ -n "$living" ] || return 0
    # shellcheck disable=SC2086
    kill -KILL $living 2>/dev/null || true
    sleep 0.1
  done
  die "processes of pods do not end: ${living//$'\n'/ }; look at them with ps and run dev/cluster down again."
}
