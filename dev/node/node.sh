# shellcheck shell=bash disable=SC2154
# Starting and ending the one-node cluster. Sourced by dev/cluster.

# Debian keeps runc and iptables where only root's PATH looks.
export PATH=$PATH:/usr/sbin:/sbin

on_node() { "$bin/kubectl" --kubeconfig "$kubeconfig" "$@"; }
# On cgroup v1 every call warns that containerd will give it up.
images() { "$bin/ctr" --address "$containerd_socket" --namespace k8s.io images "$@" 2> >(grep -v DEPRECATION >&2); }
import_image() {
  bin=$(tools "${components[@]}" ctr containerd-shim-runc-v2)
  pid_of containerd >/dev/null || die "the cluster does not run: dev/cluster up"
  images import "$1"
}

cluster_up() {
  local begin=$SECONDS
  bin=$(tools "${programs[@]}")
  if all_run && on_node get --raw /readyz >/dev/null 2>&1; then
    say "The cluster runs already. To reach it: eval \"\$(dev/cluster env)\""
    return
  fi
  if [ -e "$mark" ]; then
    say "Clearing away what an earlier run left."
    cluster_down
  elif [ -n "$(ls -A "$state" 2>/dev/null)" ]; then
    die "$state holds something else: set BUDSTIKKE_STATE to a directory of its own."
  fi
  announce
  require_free_host
  mkdir -p "$run" "$logs" "$volumes"
  touch "$mark"
  remember_mode
  change_host
  write_configuration
  PATH=$bin:$PATH
  start_control_plane
  start_node
  on_node apply --filename "$dev/node/cluster.yaml" >/dev/null
  await 180 kubelet "a node that is Ready" ready_node
  await 180 kubelet "a working cluster DNS (CoreDNS)" on_node --namespace kube-system rollout status deployment/coredns --timeout 1s
  say "The cluster runs after $((SECONDS - begin)) s. To reach it: eval \"\$(dev/cluster env)\""
}

ready_node() { on_node wait --for condition=Ready "node/$node" --timeout 0; }

start_control_plane() {
  # Nothing here outlives the machine, so nothing is synced to its disk.
  start etcd --data-dir "$state/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380
  start containerd --config "$config/containerd.toml"
  start kube-apiserver --etcd-servers http://127.0.0.1:2379 \
    --bind-address "$server_host" --advertise-address "$server_host" --secure-port 6443 \
    --service-cluster-ip-range "$service_cidr" --allow-privileged --authorization-mode Node,RBAC \
    --enable-admission-plugins NodeRestriction \
    --tls-cert-file "$pki/kube-apiserver.crt" --tls-private-key-file "$pki/kube-apiserver.key" \
    --client-ca-file "$pki/ca.crt" \
    --kubelet-client-certificate "$pki/admin.crt" --kubelet-client-key "$pki/admin.key" \
    --kubelet-certificate-authority "$pki/ca.crt" --kubelet-preferred-address-types InternalIP \
    --service-account-issuer https://kubernetes.default.svc \
    --service-account-key-file "$pki/service-accounts.pub" \
    --service-account-signing-key-file "$pki/service-accounts.key"
  load_own_images
  await 180 kube-apiserver "an answering API server" on_node get --raw /readyz
  start kube-controller-manager --kubeconfig "$config/kube-controller-manager.kubeconfig" --bind-address 127.0.0.1 \
    --leader-elect=false --use-service-account-credentials \
    --allocate-node-cidrs --cluster-cidr "$cluster_cidr" --service-cluster-ip-range "$service_cidr" \
    --service-account-private-key-file "$pki/service-accounts.key" --root-ca-file "$pki/ca.crt" \
    --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key"
  start kube-scheduler --kubeconfig "$config/kube-scheduler.kubeconfig" --bind-address 127.0.0.1 --leader-elect=false
}

start_node() {
  start kubelet --config "$config/kubelet.yaml" --kubeconfig "$config/kubelet.kubeconfig" --root-dir "$state/kubelet" \
    --hostname-override "$node" --node-ip "$server_host"
  start kube-proxy --config "$config/kube-proxy.yaml"
  start local-volumes --kubeconfig "$kubeconfig" --root "$volumes" --node "$node"
}

# The two images that every start needs; packed once.
load_own_images() {
  local name archive tag
  await 180 containerd "a socket of containerd" images list
  for name in pause coredns; do
    tag=${name}_image
    archive=$BUDSTIKKE_CACHE/images/$name-$(basename "$(dirname "$bin")").tar
    [ -f "$archive" ] || "$dev/image" "$name" "$archive" "${!tag}" || die "could not pack the image of $name: see above"
    images import "$archive" >/dev/null
  done
}

cluster_down() {
  if [ ! -e "$mark" ]; then
    say "No cluster has its state in $state."
    return
  fi
  # Those that bring pods back end first; the API server drains for up to a minute and holds its port meanwhile.
  stop 20 local-volumes kubelet kube-proxy kube-scheduler kube-controller-manager
  end_pods
  stop 70 containerd kube-apiserver
  stop 20 etcd
  restore_host
  # The logs stay for whoever asks why it failed; everything else of a cluster is worthless without its network.
  find "$state" -mindepth 1 -maxdepth 1 ! -name log ! -path "$mark" -exec rm -rf --one-file-system {} + 2>/dev/null || true
  say "The cluster is down. Logs stay in $logs."
}

cluster_reset() {
  cluster_down
  if [ -e "$mark" ]; then
    rm -rf --one-file-system "$state"
    say "Deleted $state."
  fi
}

cluster_status() {
  local name pid whole=0
  for name in "${components[@]}"; do
    if pid=$(pid_of "$name"); then
      printf '%-24s runs, process %d, %.0f MB resident\n' "$name" "$pid" "$(awk '/^VmRSS/ { print $2 / 1024 }' "/proc/$pid/status")"
    else
      printf '%-24s does not run\n' "$name"
      whole=1
    fi
  done
  [ $whole = 0 ] || return 1
  bin=$(tools kubectl)
  on_node get nodes --output wide
}

cluster_logs() { # [COMPONENT]
  if [ -z "$1" ]; then
    ls "$logs"
  else
    [ -f "$logs/$1.log" ] || die "no log of '$1': one of ${components[*]}"
    cat "$logs/$1.log"
  fi
}
