package image

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/moby/sys/userns"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/failpoint"
)

// applier puts layers on the mounts that the snapshotter gives, within limits.
// It stands where containerd's core/diff/apply stands, because that one reads
// a stream of any length with any number of entries. One applier serves one
// unpack of one image.
type applier struct {
	provider content.Provider
	image    string
	limits   Limits
	budget   *budget
	progress Progress
}

var _ diff.Applier = (*applier)(nil)

// Apply returns the descriptor of the uncompressed layer, whose digest
// core/unpack compares with the diff id of the configuration.
func (a *applier) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, _ ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	failpoint.Hit("image.unpack.apply.before")
	done, err := a.apply(ctx, desc, mounts)
	failpoint.Hit("image.unpack.apply.after")
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("image %s: layer %s: %w", a.image, desc.Digest, err)
	}
	a.progress.emit(Event{Phase: Unpacked, Object: desc.Digest, Kind: "layer", Done: desc.Size, Total: desc.Size})
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: done.diffID, Size: done.size}, nil
}

func (a *applier) apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount) (done applied, err error) {
	ra, err := a.provider.ReaderAt(ctx, desc)
	if err != nil {
		return applied{}, err
	}
	defer func() { _ = ra.Close() }()
	event := Event{Phase: Unpacking, Object: desc.Digest, Kind: "layer", Total: desc.Size}
	layer := &progressReader{struct {
		io.ReadSeeker
		io.Closer
	}{io.NewSectionReader(ra, 0, ra.Size()), io.NopCloser(nil)}, event, a.progress}
	sv := &sieve{limits: a.limits, budget: a.budget}

	if upper, lower := overlayDirs(mounts); upper != "" && !userns.RunningInUserNS() {
		// Straight into the upper directory, as containerd does: no mount is
		// needed, and whiteouts become overlay's own.
		opts := []archive.ApplyOpt{archive.WithConvertWhiteout(archive.OverlayConvertWhiteout)}
		if len(lower) > 0 {
			opts = append(opts, archive.WithParents(lower))
		}
		if done, err = applyLayer(ctx, upper, layer, sv, opts...); err != nil {
			return applied{}, err
		}
		return done, syncFS(upper)
	}
	err = mount.WithTempMount(ctx, noSurprises(mounts), func(root string) error {
		if done, err = applyLayer(ctx, root, layer, sv); err != nil {
			return err
		}
		return syncFS(root)
	})
	return done, err
}

// overlayDirs finds upper and lower directories of a writable overlay mount.
func overlayDirs(mounts []mount.Mount) (upper string, lower []string) {
	if len(mounts) != 1 || mounts[0].Type != "overlay" {
		return "", nil
	}
	for _, o := range mounts[0].Options {
		if dir, ok := strings.CutPrefix(o, "upperdir="); ok {
			upper = dir
		} else if dirs, ok := strings.CutPrefix(o, "lowerdir="); ok {
			lower = strings.Split(dirs, ":")
		}
	}
	return upper, lower
}

// noSurprises keeps devices and setuid files of a layer without effect while
// the host has it mounted.
func noSurprises(mounts []mount.Mount) []mount.Mount {
	safe := make([]mount.Mount, len(mounts))
	for i, m := range mounts {
		m.Options = append(append([]string{}, m.Options...), "nodev", "nosuid")
		safe[i] = m
	}
	return safe
}

// syncFS writes the layer out before it is committed. The snapshotter does so
// as well, but inside the Commit that runs in our metadata's transaction;
// after this it has little left to do there.
func syncFS(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
