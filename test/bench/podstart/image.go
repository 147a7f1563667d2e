package podstart

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// imageName is how every contender knows the image.
const imageName = "bench.varve.dev/stamp:1"

// buildStamp compiles the container's program as a static binary.
func buildStamp(dir string) (string, error) {
	program := filepath.Join(dir, "stamp")
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", program, "github.com/varve-project/varve/test/bench/cmd/stamp")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w: %s", build.Args, err, out)
	}
	return program, nil
}

// writeImage makes an OCI archive with the program as its only file.
func writeImage(program, archive string) error {
	body, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	layer, err := tarOf(map[string][]byte{"stamp": body}, "stamp")
	if err != nil {
		return err
	}
	files := map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`)}
	add := func(mediaType string, blob []byte) ocispec.Descriptor {
		desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(blob), Size: int64(len(blob))}
		files["blobs/sha256/"+desc.Digest.Encoded()] = blob
		return desc
	}
	config, err := json.Marshal(ocispec.Image{
		Platform: ocispec.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH},
		Config:   ocispec.ImageConfig{Cmd: []string{"/stamp"}, Env: []string{"PATH=/"}},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: add(ocispec.MediaTypeImageConfig, config),
		Layers: []ocispec.Descriptor{add(ocispec.MediaTypeImageLayer, layer)},
	})
	if err != nil {
		return err
	}
	top := add(ocispec.MediaTypeImageManifest, manifest)
	top.Annotations = map[string]string{ocispec.AnnotationRefName: imageName, "io.containerd.image.name": imageName}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{top}}
	if files["index.json"], err = json.Marshal(index); err != nil {
		return err
	}
	out, err := tarOf(files, "")
	if err != nil {
		return err
	}
	return os.WriteFile(archive, out, 0o644)
}

// tarOf archives files; the one named executable may be run.
func tarOf(files map[string][]byte, executable string) ([]byte, error) {
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	for name, body := range files {
		header := tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(body))}
		if name == executable {
			header.Mode = 0o755
		}
		if err := archive.WriteHeader(&header); err != nil {
			return nil, err
		}
		if _, err := archive.Write(body); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
