package volume

import (
	"context"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/varve-project/varve/runtime/pod"
)

// fsTypeKey is the one parameter that the CSI sidecars keep for themselves
// and that means something here; the others name secrets.
const (
	sidecarPrefix = "csi.storage.k8s.io/"
	fsTypeKey     = sidecarPrefix + "fstype"
)

// RequestOf translates a claim; class finds its StorageClass.
func RequestOf(c *corev1.PersistentVolumeClaim, class func(string) *storagev1.StorageClass) (Request, error) {
	size := c.Spec.Resources.Requests[corev1.ResourceStorage]
	limit := c.Spec.Resources.Limits[corev1.ResourceStorage]
	r := Request{
		Bytes: size.Value(), Limit: limit.Value(),
		Block: *c.Spec.VolumeMode == corev1.PersistentVolumeBlock,
	}
	for _, m := range c.Spec.AccessModes {
		r.AccessModes = append(r.AccessModes, string(m))
	}
	if d := c.Spec.DataSource; d != nil && d.Kind == "VolumeSnapshot" {
		r.Snapshot = d.Name
	} else if d != nil {
		r.Volume = d.Name
	}
	if c.Spec.StorageClassName == nil || *c.Spec.StorageClassName == "" {
		return r, nil
	}
	sc := class(*c.Spec.StorageClassName)
	r.MountFlags = sc.MountOptions
	r.Parameters = maps.Clone(sc.Parameters)
	for key, value := range r.Parameters {
		switch {
		case key == fsTypeKey:
			r.FSType = value
			delete(r.Parameters, key)
		case strings.HasPrefix(key, sidecarPrefix):
			return r, fmt.Errorf("StorageClass %s: parameters[%s]: not supported, only %s", sc.Name, key, fsTypeKey)
		}
	}
	return r, nil
}

// CreateFor is Create for a claim with a StorageClass, which may be nil: the
// class must name the driver at the socket.
func (s *Store) CreateFor(ctx context.Context, k pod.Key, r Request, class *storagev1.StorageClass) (*Volume, error) {
	if class != nil {
		d, err := s.connect(ctx)
		if err != nil {
			return nil, err
		}
		if d.name != class.Provisioner {
			return nil, fmt.Errorf("StorageClass %s: provisioner %q: the driver at %s is %q", class.Name, class.Provisioner, s.cfg.CSISocket(), d.name)
		}
	}
	return s.Create(ctx, k, r)
}

// SourceSize is the size of what a new volume shall be filled from; 0 when
// it has no source.
func (s *Store) SourceSize(namespace string, r Request) (int64, error) {
	switch {
	case r.Snapshot != "":
		snap, err := s.GetSnapshot(pod.Key{Namespace: namespace, Name: r.Snapshot})
		if err != nil {
			return 0, err
		}
		return snap.Size, nil
	case r.Volume != "":
		v, err := s.Get(pod.Key{Namespace: namespace, Name: r.Volume})
		if err != nil {
			return 0, err
		}
		return v.Capacity, nil
	}
	return 0, nil
}
