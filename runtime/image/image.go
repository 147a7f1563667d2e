package image

import (
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is one platform of one name in the store. It is a value: it holds
// nothing open, and keeping one keeps nothing in the store alive.
type Image struct {
	// Name is the full reference, "docker.io/library/busybox:latest".
	Name string `json:"name"`
	// Target is what the name points at: an index or a manifest.
	Target ocispec.Descriptor `json:"target"`
	// Manifest is the manifest chosen for Platform; equal to Target when
	// that is no index.
	Manifest ocispec.Descriptor `json:"manifest"`
	// ID is the digest of the configuration: what podman and docker call the
	// image's id.
	ID digest.Digest `json:"id"`
	// Config is the image's own configuration (entry point, user, env).
	Config ocispec.Image `json:"config"`
	// ChainID names the committed snapshot of the topmost layer; empty for
	// an image without layers.
	ChainID digest.Digest `json:"chainID,omitempty"`
	// Layers is how many layers the image has.
	Layers int `json:"layers"`
	// Size is the bytes of manifest, configuration and (compressed) layers.
	Size int64 `json:"size"`
	// Created is when the name was first recorded here; Updated when it was
	// last pointed at other content.
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
	// Platform is the platform of the manifest chosen.
	Platform ocispec.Platform `json:"platform"`
}

// PullOptions are what Pull may be told. The zero value pulls for the host's
// platform and reports nothing.
type PullOptions struct {
	// Platform is "os/arch[/variant]"; empty is the host's own.
	Platform string
	// PlainHTTP speaks http to every registry. Loopback registries get http
	// without being asked.
	PlainHTTP bool
	// Unpack brings the layers into the snapshotter before the name is
	// recorded, so that an image that cannot be unpacked is not recorded.
	Unpack bool
	// Progress is told of every blob; nil is silence.
	Progress Progress
}

// LoadOptions are what Load may be told.
type LoadOptions struct {
	// In is what the path "-" reads; nil is os.Stdin.
	In io.Reader
	// Name is the reference for an archive that holds one image; it replaces
	// the name in the archive. An archive without a name needs it.
	Name string
	// Platform is as in PullOptions.
	Platform string
	// Unpack brings the layers into the snapshotter before the name is
	// recorded, so that an image that cannot be unpacked is not recorded.
	Unpack bool
	// Progress is told of every blob; nil is silence.
	Progress Progress
}

// PrepareOptions are the wishes for a container's writable snapshot.
type PrepareOptions struct {
	// MaxSize limits the writable layer, in bytes; 0 is no limit. A
	// snapshotter that cannot enforce it refuses the Prepare.
	MaxSize int64
	// UIDMap and GIDMap are "CONTAINER:HOST:LENGTH" (containerd's labels
	// uidmapping and gidmapping); both empty for no mapping, else both set.
	UIDMap, GIDMap string
	// Labels are further labels for the snapshot.
	Labels map[string]string
}

// Snapshot is a container's snapshot (or a View), as Snapshots reports it.
type Snapshot struct {
	// Key is what Prepare or View was called with.
	Key string `json:"key"`
	// Image is the name of the image that it was made from.
	Image string `json:"image"`
	// Parent is the chain id of the image that it stands on; empty when the
	// image has no layers.
	Parent string `json:"parent,omitempty"`
	// ReadOnly is true for a View.
	ReadOnly bool `json:"readOnly"`
	// Labels are those of PrepareOptions and the snapshotter's own.
	Labels  map[string]string `json:"labels,omitempty"`
	Created time.Time         `json:"created"`
}
