// Command local-volumes serves the cluster's default StorageClass: a directory per claim, below one folder of the
// host. It stands in for a storage provider on the one-node development cluster, where none can be downloaded.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// Named by the StorageClass in dev/node/cluster.yaml.
const provisionerName = "budstikke.dev/local"

// directories makes and removes the folders behind the volumes.
type directories struct {
	root string
	node string
}

// Provision makes the folder of one claim. Everyone may write to it: pods run as users of their own, and a claim
// says nothing about them.
func (d directories) Provision(_ context.Context, o controller.ProvisionOptions) (*v1.PersistentVolume, controller.ProvisioningState, error) {
	path := filepath.Join(d.root, o.PVName)
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("make the folder of %s: %w", o.PVName, err)
	}
	// The umask took bits away.
	if err := os.Chmod(path, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("open the folder of %s: %w", o.PVName, err)
	}
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: o.PVName},
		Spec: v1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
			AccessModes:                   o.PVC.Spec.AccessModes,
			Capacity:                      v1.ResourceList{v1.ResourceStorage: o.PVC.Spec.Resources.Requests[v1.ResourceStorage]},
			// "local" rather than "hostPath": only the former honours a pod's fsGroup.
			PersistentVolumeSource: v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: path}},
			NodeAffinity: &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{
				NodeSelectorTerms: []v1.NodeSelectorTerm{{
					MatchExpressions: []v1.NodeSelectorRequirement{{
						Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: []string{d.node},
					}},
				}},
			}},
		},
	}, controller.ProvisioningFinished, nil
}

// Delete removes a released volume's folder, and never anything outside the root.
func (d directories) Delete(_ context.Context, volume *v1.PersistentVolume) error {
	if volume.Spec.Local == nil {
		return &controller.IgnoredError{Reason: "not a local volume"}
	}
	name, err := filepath.Rel(d.root, volume.Spec.Local.Path)
	if err != nil || name == "." || strings.HasPrefix(name, "..") {
		return &controller.IgnoredError{Reason: "outside of " + d.root}
	}
	return os.RemoveAll(filepath.Join(d.root, name))
}

func run() error {
	kubeconfig := flag.String("kubeconfig", "", "how to reach the cluster")
	root := flag.String("root", "", "folder that holds the volumes")
	node := flag.String("node", "", "name of the node")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	// One process, started by dev/cluster: no leader to elect.
	controller.NewProvisionController(ctx, client, provisionerName, directories{*root, *node},
		controller.LeaderElection(false)).Run(ctx)
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "local-volumes:", err)
		os.Exit(1)
	}
}
