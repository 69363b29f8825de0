// Serves Vault's transit engine over TLS, for the tests: Vault's own core and handler, with the two back ends that they use and none
// of the program around them, which brings hundreds of others.
//
//	vault --listen 127.0.0.1:0 --dir DIR --cert FILE --key FILE
//
// What it holds is in DIR, which begins empty; `unseal` (in base64) and `token` there are for whoever tests. It unseals itself when it
// starts, prints its address once it serves, and ends when its standard input does.
package main

import (
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/command/server"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/vault"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to serve on")
	dir := flag.String("dir", "", "directory of what is kept")
	cert := flag.String("cert", "", "file with the certificate")
	key := flag.String("key", "", "file with the certificate's key")
	flag.Parse()
	if err := run(*listen, *dir, *cert, *key); err != nil {
		log.Fatalf("vault: %v", err)
	}
}

func run(listen, dir, cert, key string) error {
	core, err := open(dir)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Println(listener.Addr())
	return http.ServeTLS(listener, vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core}), cert, key)
}

func open(dir string) (*vault.Core, error) {
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: os.Stderr})
	kept, err := file.NewFileBackend(map[string]string{"path": filepath.Join(dir, "data")}, logger)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical:           kept,
		LogicalBackends:    map[string]logical.Factory{"transit": transit.Factory},
		CredentialBackends: map[string]logical.Factory{"kubernetes": kubernetes.Factory},
		BuiltinRegistry:    noPlugins{},
		RawConfig:          &server.Config{SharedConfig: &configutil.SharedConfig{}},
		DisableMlock:       true,
		Logger:             logger,
	})
	if err != nil {
		return nil, fmt.Errorf("make the core: %w", err)
	}
	unseal := filepath.Join(dir, "unseal")
	if _, err := os.Stat(unseal); errors.Is(err, os.ErrNotExist) {
		one := &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}
		made, err := core.Initialize(context.Background(), &vault.InitParams{BarrierConfig: one})
		if err != nil {
			return nil, fmt.Errorf("initialise: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, "token"), []byte(made.RootToken), 0o600); err != nil {
			return nil, err
		}
		if err := os.WriteFile(unseal, []byte(base64.StdEncoding.EncodeToString(made.SecretShares[0])), 0o600); err != nil {
			return nil, err
		}
	}
	text, err := os.ReadFile(unseal)
	if err != nil {
		return nil, err
	}
	share, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", unseal, err)
	}
	if opened, err := core.Unseal(share); err != nil || !opened {
		return nil, fmt.Errorf("unseal: %v, %w", opened, err)
	}
	return core, nil
}

// noPlugins: the two back ends are linked in.
type noPlugins struct{}

func (noPlugins) Contains(string, consts.PluginType) bool { return false }

func (noPlugins) Get(string, consts.PluginType) (func() (interface{}, error), bool) {
	return nil, false
}

func (noPlugins) Keys(consts.PluginType) []string { return nil }

func (noPlugins) DeprecationStatus(string, consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Unknown, false
}
