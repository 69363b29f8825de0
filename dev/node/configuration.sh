# shellcheck shell=bash disable=SC2154
# Certificates and configuration files of the node's components. Written anew at each start. Sourced by dev/cluster.

# A key and a certificate of the cluster's own authority. Elliptic curves: made in milliseconds.
certificate() { # NAME SUBJECT [SUBJECT_ALT_NAMES]
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$pki/$1.key" -out "$pki/$1.csr" -subj "$2" 2>/dev/null
  openssl x509 -req -in "$pki/$1.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 365 -out "$pki/$1.crt" \
    -extfile <(echo "subjectAltName=${3:-DNS:$1}"; echo "extendedKeyUsage=serverAuth,clientAuth") 2>/dev/null
  rm "$pki/$1.csr"
}

kubeconfig_for() { # NAME OUT
  local base64="base64 --wrap=0"
  cat >"$2" <<END
apiVersion: v1
kind: Config
clusters: [{name: $node, cluster: {server: "https://$server_host:6443", certificate-authority-data: $($base64 "$pki/ca.crt")}}]
users: [{name: $1, user: {client-certificate-data: $($base64 "$pki/$1.crt"), client-key-data: $($base64 "$pki/$1.key")}}]
contexts: [{name: $node, context: {cluster: $node, user: $1}}]
current-context: $node
END
}

write_certificates() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$pki/ca.key" -out "$pki/ca.crt" -days 365 \
    -subj /CN=budstikke-dev-ca 2>/dev/null
  openssl ecparam -name prime256v1 -genkey -noout -out "$pki/service-accounts.key"
  openssl ec -in "$pki/service-accounts.key" -pubout -out "$pki/service-accounts.pub" 2>/dev/null
  certificate kube-apiserver /CN=kube-apiserver "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost,IP:127.0.0.1,IP:$kubernetes_service,IP:$server_host"
  # The API server calls the kubelet by the node's address: without it here, logs, exec and port-forward fail.
  certificate kubelet "/O=system:nodes/CN=system:node:$node" "DNS:$node,IP:$server_host,IP:127.0.0.1"
  certificate admin /O=system:masters/CN=admin
  certificate kube-controller-manager /CN=system:kube-controller-manager
  certificate kube-scheduler /CN=system:kube-scheduler
  certificate kube-proxy /CN=system:kube-proxy
  local name
  for name in kubelet kube-controller-manager kube-scheduler kube-proxy; do
    kubeconfig_for "$name" "$config/$name.kubeconfig"
  done
  kubeconfig_for admin "$kubeconfig"
}

write_containerd() {
  cat >"$config/containerd.toml" <<END
version = 3
root = "$state/containerd"
state = "$run"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs"]
[grpc]
address = "$containerd_socket"
[plugins."io.containerd.internal.v1.opt"]
path = "$state/opt"
[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "$pause_image"
[plugins."io.containerd.cri.v1.runtime"]
# Without CAP_SYS_RESOURCE, as in many sandboxes, runc dies when it may not lower a score.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
Root = "$run/runc"
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "$config/cni"
END
  cat >"$config/cni/10-$bridge.conflist" <<END
{"cniVersion": "1.0.0", "name": "$bridge", "plugins": [
  {"type": "bridge", "bridge": "$bridge", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$run/addresses", "ranges": [[{"subnet": "$pod_cidr"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
END
}

write_kubelet() {
  # Empty: pods must not inherit this machine's search domains.
  : >"$config/resolv.conf"
  cat >"$config/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $server_host
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $pki/kubelet.crt
tlsPrivateKeyFile: $pki/kubelet.key
containerRuntimeEndpoint: unix://$containerd_socket
clusterDNS: [$dns_service]
clusterDomain: cluster.local
resolvConf: $config/resolv.conf
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
# A developer's disk may be nearly full, and images loaded by hand could not be pulled again.
evictionHard: {nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%, memory.available: 100Mi}
# How soon a running pod sees a changed Secret: not after a minute, so that tests need not wait for it.
syncFrequency: 10s
imageGCHighThresholdPercent: 100
maxPods: 200
podLogsDir: $logs/pods
volumePluginDir: $state/volume-plugins
END
}

write_kube_proxy() {
  cat >"$config/kube-proxy.yaml" <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $config/kube-proxy.kubeconfig}
hostnameOverride: $node
clusterCIDR: $cluster_cidr
mode: iptables
bindAddress: $server_host
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
nodePortAddresses: [$pod_cidr]
iptables: {localhostNodePorts: false}
# Leaves the kernel's connection tracking as it is.
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
END
}

write_configuration() {
  # Keys and kubeconfigs below are for this user alone.
  umask 077
  mkdir -p "$pki" "$config/cni"
  write_certificates
  write_containerd
  write_kubelet
  write_kube_proxy
  umask 022
}
