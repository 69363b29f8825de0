//go:build tools

// Package tools names the programs of this module, so that go.mod and go.sum pin them with checksums.
package tools

import _ "github.com/versity/versitygw/cmd/versitygw"
