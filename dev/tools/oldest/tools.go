//go:build tools

// Package oldest pins the oldest Kubernetes that is supported; only its API server is built, see ../build.
package oldest

import _ "k8s.io/kubernetes/cmd/kube-apiserver/app"
