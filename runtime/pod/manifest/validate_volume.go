package manifest

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

func validateVolumes(p *problems, volumes []corev1.Volume) map[string]corev1.VolumeSource {
	names := map[string]corev1.VolumeSource{}
	for i, v := range volumes {
		at := fmt.Sprintf("spec.volumes[%d]", i)
		if _, ok := names[v.Name]; ok {
			p.add(at+".name", "%q: is used twice", v.Name)
		}
		names[v.Name] = v.VolumeSource
		p.check(at+".name", v.Name, validation.IsDNS1123Label(v.Name))
		validateSource(p, at, &v.VolumeSource)
	}
	return names
}

func validateSource(p *problems, at string, v *corev1.VolumeSource) {
	sources := 0
	if e := v.EmptyDir; e != nil {
		sources++
		if e.SizeLimit != nil && e.Medium != corev1.StorageMediumMemory {
			p.add(at+".emptyDir.sizeLimit", "not supported on disk, only with medium: Memory")
		}
		if e.SizeLimit != nil && e.SizeLimit.Sign() <= 0 {
			p.add(at+".emptyDir.sizeLimit", "%s: must be more than 0", e.SizeLimit.String())
		}
	}
	if h := v.HostPath; h != nil {
		sources++
		if !path.IsAbs(h.Path) || slices.Contains(strings.Split(h.Path, "/"), "..") {
			p.add(at+".hostPath.path", "%q: must be an absolute path without \"..\"", h.Path)
		}
		p.oneOf(at+".hostPath.type", string(*h.Type), string(corev1.HostPathUnset), "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice")
	}
	if c := v.PersistentVolumeClaim; c != nil {
		sources++
		p.check(at+".persistentVolumeClaim.claimName", c.ClaimName, validation.IsDNS1123Subdomain(c.ClaimName))
	}
	if sources != 1 {
		p.add(at, "must have exactly one of emptyDir, hostPath and persistentVolumeClaim, has %d", sources)
	}
}

func validateClaim(claim *corev1.PersistentVolumeClaim) []error {
	var p problems
	validateMeta(&p, &claim.ObjectMeta)
	spec := &claim.Spec
	for i, m := range spec.AccessModes {
		p.oneOf(fmt.Sprintf("spec.accessModes[%d]", i), string(m), "ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")
	}
	p.oneOf("spec.volumeMode", string(*spec.VolumeMode), "Filesystem", "Block")
	for _, list := range []struct {
		path string
		list corev1.ResourceList
	}{{"spec.resources.requests", spec.Resources.Requests}, {"spec.resources.limits", spec.Resources.Limits}} {
		for _, name := range slices.Sorted(maps.Keys(list.list)) {
			q := list.list[name]
			if name != corev1.ResourceStorage {
				p.add(list.path+"["+string(name)+"]", "not supported, only storage")
			} else if q.Sign() <= 0 {
				p.add(list.path+"[storage]", "%s: must be more than 0", q.String())
			}
		}
	}
	request, ok := spec.Resources.Requests[corev1.ResourceStorage]
	if !ok {
		p.add("spec.resources.requests[storage]", "missing: how large shall the volume be?")
	}
	if limit, has := spec.Resources.Limits[corev1.ResourceStorage]; ok && has && request.Cmp(limit) > 0 {
		p.add("spec.resources.requests[storage]", "%s: is more than the limit, %s", request.String(), limit.String())
	}
	if d := spec.DataSource; d != nil {
		group := ""
		if d.APIGroup != nil {
			group = *d.APIGroup
		}
		want := map[string]string{"VolumeSnapshot": "snapshot.storage.k8s.io", "PersistentVolumeClaim": ""}[d.Kind]
		if group != want {
			p.add("spec.dataSource.apiGroup", "%q: kind %s is of group %q", group, d.Kind, want)
		}
		p.check("spec.dataSource.name", d.Name, validation.IsDNS1123Subdomain(d.Name))
	}
	return p
}

func validateClass(class *storagev1.StorageClass) []error {
	var p problems
	validateMeta(&p, &class.ObjectMeta)
	if class.Provisioner == "" {
		p.add("provisioner", "missing: the name of the CSI driver, such as csi.varve.dev")
	}
	if m := class.VolumeBindingMode; m != nil {
		p.oneOf("volumeBindingMode", string(*m), "Immediate", "WaitForFirstConsumer")
	}
	return p
}

// checkTogether looks at what documents say of each other.
func (f *File) checkTogether() []error {
	var p problems
	seen := map[string]bool{}
	once := func(kind, namespace, name string) {
		if key := kind + " " + namespace + "/" + name; seen[key] {
			p.add("metadata.name", "%s %q is in the file twice", kind, name)
		} else {
			seen[key] = true
		}
	}
	for _, x := range f.StorageClasses {
		once("StorageClass", "", x.Name)
	}
	for _, x := range f.Claims {
		once("PersistentVolumeClaim", x.Namespace, x.Name)
		if n := x.Spec.StorageClassName; n != nil && *n != "" && f.Class(*n) == nil {
			p.add("spec.storageClassName", "%q of claim %q: no such StorageClass in this file", *n, x.Name)
		}
	}
	for _, x := range f.Pods {
		once("Pod", x.Namespace, x.Name)
	}
	return p
}

// Class finds a StorageClass of the file by name; nil when there is none.
func (f *File) Class(name string) *storagev1.StorageClass {
	for _, c := range f.StorageClasses {
		if c.Name == name {
			return c
		}
	}
	return nil
}
