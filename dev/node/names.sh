# shellcheck shell=bash disable=SC2034,SC2154
# Names, addresses and places of the one-node cluster. Sourced by dev/cluster.

node=budstikke
# A name of its own, so that no other network of this machine is touched.
bridge=budst0
# The node is its bridge: nothing of the cluster listens where the local network can reach it.
server_host=10.88.0.1
pod_cidr=10.88.0.0/24
cluster_cidr=10.88.0.0/16
service_cidr=10.96.0.0/16
kubernetes_service=10.96.0.1
dns_service=10.96.0.10

# Says that the state directory is ours to delete.
mark=$state/.budstikke-dev
run=$state/run
logs=$state/log
pki=$state/pki
config=$state/config
volumes=$state/volumes
containerd_socket=$run/containerd.sock
# Its presence says that the changes of host.sh are in force, and it holds what was there before.
before=$state/before

# In the order of their start.
components=(etcd kube-apiserver kube-controller-manager kube-scheduler containerd kubelet kube-proxy local-volumes)
# All that a start needs, and what its user needs.
programs=("${components[@]}" containerd-shim-runc-v2 ctr coredns pause "${clients[@]}")
# TCP ports that must be free: etcd, its peers, the API server, the kubelet, its health, kube-proxy's two, and those of
# the controller manager and the scheduler.
ports=(2379 2380 6443 10250 10248 10249 10256 10257 10259)
