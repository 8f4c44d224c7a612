// Package getter stands in for hashicorp/go-getter, which x/upgrade imports to
// download upgrade binaries. Koinon never fetches a binary from inside a node,
// so every call is refused, and the S3, GCS and git clients behind the original
// stay out of the build.
package getter

import (
	"context"
	"errors"
	"net/http"
)

var errRefused = errors.New("koinon does not download upgrade binaries: install the new release by hand")

// ChecksumError mirrors the type x/upgrade inspects; it is never returned.
type ChecksumError struct{}

func (*ChecksumError) Error() string { return "checksum mismatch" }

// Getter is the download interface of the original package.
type Getter interface{}

// HttpGetter mirrors the original's HTTP getter options.
type HttpGetter struct { //nolint:revive // the original's name
	Client                *http.Client
	XTerraformGetDisabled bool
}

// Getters is the original's registry of schemes, empty here.
var Getters = map[string]Getter{}

// Client mirrors the original's download request.
type Client struct {
	Ctx             context.Context
	DisableSymlinks bool
	Src, Dst, Pwd   string
	Getters         map[string]Getter
}

// Get always refuses.
func (*Client) Get() error { return errRefused }

// Get always refuses.
func Get(string, string) error { return errRefused }
