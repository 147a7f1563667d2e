package kernel

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// distribution is apt with one kernel, made by the test; what dpkg and depmod
// do with it is real.
type distribution struct {
	t   *testing.T
	dir string
}

func newDistribution(t *testing.T) *distribution {
	t.Helper()
	d := &distribution{t, t.TempDir()}
	t.Setenv("PATH", d.dir+":"+os.Getenv("PATH"))
	return d
}

func (d *distribution) program(name, script string) {
	d.t.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.WriteFile(path+".new", []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		d.t.Fatal(err)
	}
}

// offers makes release the newest kernel, with a module folder below prefix.
func (d *distribution) offers(release, prefix string) {
	d.t.Helper()
	tree := d.t.TempDir()
	modules := filepath.Join(tree, prefix, "lib/modules", release)
	for path, text := range map[string]string{
		filepath.Join(tree, "boot/vmlinuz-"+release):  "kernel",
		filepath.Join(modules, "modules.order"):       "",
		filepath.Join(modules, "modules.builtin"):     "kernel/fs/built-in.ko\n",
		filepath.Join(tree, "DEBIAN/control"):         "Package: linux-image-" + release + "\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n",
		filepath.Join(modules, "kernel/fs/nobody.ko"): "no module",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			d.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			d.t.Fatal(err)
		}
	}
	deb := filepath.Join(d.dir, "linux-image-"+release+".deb")
	if out, err := exec.Command("dpkg-deb", "--root-owner-group", "-Znone", "-b", tree, deb).CombinedOutput(); err != nil {
		d.t.Fatalf("dpkg-deb: %v\n%s", err, out)
	}
	d.program("apt-cache", fmt.Sprintf("echo linux-image-amd64; echo '  Depends: linux-image-%s'", release))
	d.program("apt-get", fmt.Sprintf("echo \"$*\" >>%s/asked; case $* in *download*) cp %s . ;; esac", d.dir, deb))
}

// asked counts what apt-get was asked for.
func (d *distribution) asked() int {
	text, _ := os.ReadFile(filepath.Join(d.dir, "asked"))
	return bytes.Count(text, []byte("\n"))
}

func fetch(t *testing.T, dir, release string) (said []string) {
	t.Helper()
	k, err := Fetch(context.Background(), dir, func(text string) { said = append(said, text) })
	if err != nil {
		t.Fatal(err)
	}
	if k.Release != release {
		t.Fatalf("release %s, want %s", k.Release, release)
	}
	for _, path := range []string{k.Image, filepath.Join(k.Modules, release, "modules.dep")} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "fetch-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	return said
}

func TestFetch(t *testing.T) {
	d, dir := newDistribution(t), filepath.Join(t.TempDir(), "cache")
	d.offers("6.1.0-1-amd64", "")
	if said := fetch(t, dir, "6.1.0-1-amd64"); len(said) != 1 {
		t.Errorf("it said %q", said)
	}
	asked := d.asked()
	if said := fetch(t, dir, "6.1.0-1-amd64"); len(said) != 0 || d.asked() != asked {
		t.Errorf("what is there was fetched again: %q", said)
	}
	d.offers("6.12.3-amd64", "usr")
	fetch(t, dir, "6.12.3-amd64")

	d.program("apt-get", "echo no network >&2; exit 100")
	d.program("apt-cache", "echo '  Depends: linux-image-6.13.0-amd64'")
	said := fetch(t, dir, "6.12.3-amd64")
	if last := said[len(said)-1]; !strings.Contains(last, "6.12.3-amd64 serves") || !strings.Contains(last, "no network") {
		t.Errorf("without a network it said %q", said)
	}
	d.program("apt-cache", "exit 100")
	fetch(t, dir, "6.12.3-amd64")
	k, err := Cached(dir)
	if err != nil || k.Release != "6.12.3-amd64" {
		t.Errorf("%+v, %v", k, err)
	}
}

func TestFetchRefusals(t *testing.T) {
	d := newDistribution(t)
	for want, programs := range map[string][2]string{
		"apt knows no package linux-image-amd64": {"exit 0", "exit 0"},
		"no network":                             {"echo '  Depends: linux-image-1-amd64'", "echo no network >&2; exit 100"},
		"left 0 packages":                        {"echo '  Depends: linux-image-1-amd64'", "exit 0"},
	} {
		d.program("apt-cache", programs[0])
		d.program("apt-get", programs[1])
		dir := t.TempDir()
		_, err := Fetch(context.Background(), dir, func(string) {})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if _, err := Cached(dir); err == nil || !strings.Contains(err.Error(), "run: make vm") {
			t.Errorf("after a failed fetch: %v", err)
		}
	}
}

// TestLoad: what is needed comes first, once, and what is built in not at all.
func TestLoad(t *testing.T) {
	dir := t.TempDir()
	k := &Kernel{Release: "6", Modules: dir}
	for path, text := range map[string]string{
		"modules.dep":     "kernel/a-top.ko: kernel/middle.ko kernel/base.ko\nkernel/middle.ko: kernel/base.ko\nkernel/base.ko:\nkernel/x.ko.xz:\n",
		"modules.builtin": "kernel/fs/built-in.ko\n",
		"kernel/a-top.ko": "top", "kernel/middle.ko": "middle", "kernel/base.ko": "base",
	} {
		path = filepath.Join(dir, "6", path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	packed := filepath.Join(dir, "6/kernel/x.ko")
	if err := os.WriteFile(packed, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("xz", packed).CombinedOutput(); err != nil {
		t.Fatalf("xz: %v\n%s", err, out)
	}
	modules, err := k.Load("a_top", "built_in", "base", "x")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range modules {
		got = append(got, m.Name+"="+string(m.Data))
	}
	if want := "base.ko=base middle.ko=middle a_top.ko=top x.ko=x"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if _, err := k.Load("none"); err == nil || !strings.Contains(err.Error(), "kernel 6 has no module none") {
		t.Errorf("%v", err)
	}
}

// TestArchive has cpio read what was written.
func TestArchive(t *testing.T) {
	var a Archive
	a.Dir("d")
	a.File("d/f", []byte("abcde"))
	bytes := a.Bytes()
	if len(bytes)%4 != 0 {
		t.Errorf("%d bytes, which is not a multiple of four", len(bytes))
	}
	dir := t.TempDir()
	cmd := exec.Command("busybox", "cpio", "-idm")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(string(bytes))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "d/f"))
	if err != nil || string(text) != "abcde" {
		t.Errorf("%q, %v", text, err)
	}
}
