// Package manifest reads what people write: files of Kubernetes documents. It
// decodes them with Kubernetes' own types, strictly, and refuses by its path
// every field that is set and not served, all of them at once. What it
// returns has its defaults filled in and has been validated: the rest of the
// runtime asks no more questions.
//
// It touches no file and no kernel object; it is a function from text to
// values. The list of served fields is the one source of docs/pods.md.
package manifest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// MaxBytes bounds a manifest file. Kubernetes' own limit for one object is
// 1.5 MiB (etcd's request size); a file may hold several.
const MaxBytes = 16 << 20

// File is what one manifest file holds, in its order.
type File struct {
	Pods           []*corev1.Pod
	Claims         []*corev1.PersistentVolumeClaim
	StorageClasses []*storagev1.StorageClass
}

// Parse reads every document of a manifest. The error joins everything that
// is wrong, each with its document and field path; then nothing may be made
// of the file.
func Parse(r io.Reader) (*File, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if len(text) > MaxBytes {
		return nil, fmt.Errorf("manifest is larger than %d MiB", MaxBytes>>20)
	}
	file := &File{}
	var errs []error
	docs := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for n := 1; ; n++ {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		if blank(doc) {
			continue
		}
		for _, err := range file.add(doc) {
			errs = append(errs, fmt.Errorf("document %d: %w", n, err))
		}
	}
	if len(errs) == 0 {
		errs = file.checkTogether()
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return file, nil
}

// blank tells whether a document has nothing but comments.
func blank(doc []byte) bool {
	for line := range strings.Lines(string(doc)) {
		line = strings.TrimSpace(line)
		if line != "" && line != "---" && line[0] != '#' {
			return false
		}
	}
	return true
}

func (f *File) add(doc []byte) []error {
	data, err := yaml.YAMLToJSONStrict(doc)
	if err != nil {
		return []error{err}
	}
	var t metav1.TypeMeta
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &t); err != nil {
		return []error{err}
	}
	switch t.APIVersion + " " + t.Kind {
	case "v1 Pod":
		pod := &corev1.Pod{}
		errs := decode(data, pod, podFields)
		if len(errs) == 0 {
			setPodDefaults(pod)
			errs = validatePod(pod)
		}
		f.Pods = append(f.Pods, pod)
		return errs
	case "v1 PersistentVolumeClaim":
		claim := &corev1.PersistentVolumeClaim{}
		errs := decode(data, claim, claimFields)
		if len(errs) == 0 {
			setClaimDefaults(claim)
			errs = validateClaim(claim)
		}
		f.Claims = append(f.Claims, claim)
		return errs
	case "storage.k8s.io/v1 StorageClass":
		class := &storagev1.StorageClass{}
		errs := decode(data, class, classFields)
		if len(errs) == 0 {
			errs = validateClass(class)
		}
		f.StorageClasses = append(f.StorageClasses, class)
		return errs
	case " ":
		return []error{errors.New("no apiVersion and kind: not a Kubernetes document")}
	}
	return []error{fmt.Errorf("kind: %s %s: not supported, only v1 Pod, v1 PersistentVolumeClaim and storage.k8s.io/v1 StorageClass", t.APIVersion, t.Kind)}
}

var (
	podFields   = index(servedPod)
	claimFields = index(servedClaim)
	classFields = index(servedClass)
)

// decode fills v strictly and refuses what is not served.
func decode(data []byte, v any, fields served) []error {
	unknown, err := kjson.UnmarshalStrict(data, v)
	if err != nil {
		return []error{err}
	}
	return append(unknown, fields.refuse(v)...)
}
