package pod

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Key names a pod among its fellows. Two pods of one key never live at once.
type Key struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// ParseKey reads NAME (in the namespace "default") or NAMESPACE/NAME, the two
// ways in which a person names a pod, a claim or a snapshot.
func ParseKey(s string) (Key, error) {
	k := Key{Namespace: corev1.NamespaceDefault, Name: s}
	if ns, name, ok := strings.Cut(s, "/"); ok {
		k = Key{Namespace: ns, Name: name}
	}
	if msgs := validation.IsDNS1123Label(k.Namespace); len(msgs) > 0 {
		return k, fmt.Errorf("name %q: namespace %q: %s", s, k.Namespace, msgs[0])
	}
	if msgs := validation.IsDNS1123Subdomain(k.Name); len(msgs) > 0 {
		return k, fmt.Errorf("name %q: %s", s, msgs[0])
	}
	return k, nil
}

// String is the form that ParseKey reads, short for the default namespace.
func (k Key) String() string {
	if k.Namespace == corev1.NamespaceDefault {
		return k.Name
	}
	return k.Namespace + "/" + k.Name
}

// FileName is the key as a file name. A valid namespace or name has no "_".
func (k Key) FileName() string { return k.Namespace + "_" + k.Name }

func parseFileName(s string) (Key, bool) {
	ns, name, ok := strings.Cut(s, "_")
	if !ok {
		return Key{}, false
	}
	k, err := ParseKey(ns + "/" + name)
	return k, err == nil
}
