package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/go-digest"

	"github.com/varve-project/varve/internal/atomicfile"
	"github.com/varve-project/varve/internal/failpoint"
)

// Mounted is an image that a person has mounted to look into. Its record is
// written before anything else and removed after everything else, so that
// Unmount finds what a crash left at any point.
type Mounted struct {
	// Path is the mount point, absolute and without symlinks.
	Path  string    `json:"path"`
	Image string    `json:"image"`
	Since time.Time `json:"since"`
	// Made is true when the folder was made for this, and goes with it.
	Made bool `json:"made"`
}

func (m Mounted) id() string  { return digest.FromString(m.Path).Encoded()[:16] }
func (m Mounted) key() string { return "mount/" + m.id() }

func (s *Store) mountsDir() string          { return filepath.Join(s.opts.Root, "mounts") }
func (s *Store) mountFile(m Mounted) string { return filepath.Join(s.mountsDir(), m.id()+".json") }

// Mount shows the image's root file system at path, read-only, without device
// nodes and setuid programs having any effect. An empty path means a folder
// under the store. Mounting the same again is no error.
func (s *Store) Mount(ctx context.Context, img Image, path string) (Mounted, error) {
	if path == "" {
		path = filepath.Join(s.mountsDir(), img.ID.Encoded()[:12])
	}
	m, err := mountAt(path)
	if err != nil {
		return Mounted{}, fmt.Errorf("mount image %s: %w", img.Name, err)
	}
	m.Image = img.Name
	lock, err := s.locks.lock(ctx, m.key())
	if err != nil {
		return Mounted{}, err
	}
	defer lock.Release()
	if err := s.mountImage(ctx, img, &m); err != nil {
		return Mounted{}, fmt.Errorf("mount image %s at %s: %w", img.Name, m.Path, err)
	}
	return m, nil
}

// mountAt finds out what path really is.
func mountAt(path string) (Mounted, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return Mounted{}, err
	}
	info, err := os.Stat(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return Mounted{Path: abs, Made: true}, nil
	}
	if err != nil {
		return Mounted{}, err
	}
	if !info.IsDir() {
		return Mounted{}, fmt.Errorf("%s is not a folder: %w", abs, errdefs.ErrInvalidArgument)
	}
	real, err := filepath.EvalSymlinks(abs)
	return Mounted{Path: real}, err
}

func (s *Store) mountImage(ctx context.Context, img Image, m *Mounted) error {
	var before Mounted
	err := atomicfile.ReadJSON(s.mountFile(*m), &before)
	switch {
	case err == nil && before.Image != m.Image:
		return fmt.Errorf("image %s is mounted there; unmount it first: %w", before.Image, errdefs.ErrAlreadyExists)
	case err == nil:
		*m = before
	case !errors.Is(err, fs.ErrNotExist):
		return err
	default:
		m.Since = time.Now().UTC()
	}
	if err := os.MkdirAll(s.mountsDir(), 0o700); err != nil {
		return err
	}
	mounted, err := isMountPoint(m.Path)
	if err != nil {
		return err
	}
	if mounted && before.Path == "" {
		return fmt.Errorf("something else is mounted there: %w", errdefs.ErrFailedPrecondition)
	}
	if mounted {
		return nil
	}
	failpoint.Hit("image.mount.record.before")
	if err := atomicfile.WriteJSON(s.mountFile(*m), m); err != nil {
		return err
	}
	failpoint.Hit("image.mount.record.after")
	mounts, err := s.View(ctx, m.key(), img)
	if err == nil {
		err = os.MkdirAll(m.Path, 0o700)
	}
	if err == nil {
		failpoint.Hit("image.mount.mount.before")
		err = mount.All(noSurprises(mounts), m.Path)
		failpoint.Hit("image.mount.mount.after")
	}
	if err != nil {
		return errors.Join(err, s.unmount(context.WithoutCancel(ctx), *m))
	}
	return nil
}

// Unmount undoes a Mount, named by its path or by its image; what a crash left
// half-done as well. The error wraps errdefs.ErrNotFound when there is none.
func (s *Store) Unmount(ctx context.Context, what string) error {
	all, err := s.Mounted(ctx)
	if err != nil {
		return err
	}
	var found []Mounted
	paths := []string{what}
	if at, err := mountAt(what); err == nil {
		paths = append(paths, at.Path)
	}
	names := candidates(what)
	for _, m := range all {
		if slices.Contains(paths, m.Path) {
			found = []Mounted{m}
			break
		}
		if slices.Contains(names, m.Image) {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 0:
		return fmt.Errorf("no image is mounted at %q, and no image of that name; `varve image mount` lists them: %w", what, errdefs.ErrNotFound)
	case 1:
	default:
		return fmt.Errorf("image %s is mounted %d times; name the path: %w", what, len(found), errdefs.ErrInvalidArgument)
	}
	m := found[0]
	lock, err := s.locks.lock(ctx, m.key())
	if err != nil {
		return err
	}
	defer lock.Release()
	if err := s.unmount(ctx, m); err != nil {
		return fmt.Errorf("unmount %s: %w", m.Path, err)
	}
	return nil
}

func (s *Store) unmount(ctx context.Context, m Mounted) error {
	failpoint.Hit("image.unmount.unmount.before")
	if err := mount.UnmountAll(m.Path, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	failpoint.Hit("image.unmount.unmount.after")
	if m.Made {
		if err := os.Remove(m.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := s.Release(ctx, m.key()); err != nil {
		return err
	}
	failpoint.Hit("image.unmount.record.before")
	err := atomicfile.Remove(s.mountFile(m))
	failpoint.Hit("image.unmount.record.after")
	return err
}

// Mounted lists what Mount has mounted and nobody has unmounted.
func (s *Store) Mounted(context.Context) ([]Mounted, error) {
	files, err := os.ReadDir(s.mountsDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []Mounted
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".json") {
			continue
		}
		var m Mounted
		err := atomicfile.ReadJSON(filepath.Join(s.mountsDir(), f.Name()), &m)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

func isMountPoint(path string) (bool, error) {
	mounted, err := mountinfo.Mounted(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return mounted, err
}
