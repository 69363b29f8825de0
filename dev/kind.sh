# shellcheck shell=bash disable=SC2034,SC2154
# The cluster where a container engine runs: kind does everything. Sourced by dev/cluster, which sets $state and $kubeconfig.

kind_name=budstikke
# The node image brings the rest.
programs=("${clients[@]}")

cluster_up() {
  mkdir -p "$state"
  remember_mode
  if kind get clusters 2>/dev/null | grep -qx "$kind_name"; then
    say "The kind cluster $kind_name is there."
  else
    say "A container engine answers: creating the kind cluster $kind_name. On this machine that adds one container and $state."
    kind create cluster --name "$kind_name" --kubeconfig "$kubeconfig" --wait 180s ||
      die "kind could not create the cluster: see above; kind export logs --name $kind_name"
  fi
  kind get kubeconfig --name "$kind_name" >"$kubeconfig"
  chmod 600 "$kubeconfig"
}

cluster_down() {
  engine_answers || die "this cluster is kind's, and no container engine answers: start the engine and run this again."
  kind delete cluster --name "$kind_name"
  rm -rf "$state/loaded" "$state/mode" "$kubeconfig"
}

cluster_reset() {
  cluster_down
  rm -rf "$state/log"
  rmdir "$state" 2>/dev/null || true
}

cluster_status() { kind get clusters 2>/dev/null | grep -x "$kind_name" || die "no cluster: dev/cluster up"; }
cluster_logs() { kind export logs --name "$kind_name" "$state/log" && ls "$state/log"; }
import_image() { kind load image-archive --name "$kind_name" "$1"; }
