package conformance

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sort"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/snapshotter"
)

func overlays(c snapshotter.Capabilities) bool { return c.Overlay }

var contentCases = []Case{
	{Name: "hard links stay links", Run: on(hardLinks)},
	{Name: "extended attributes are kept", Run: on(attributes)},
	{Name: "a directory made anew hides the parent's", Run: on(opaque)},
	{Name: "a layer's own overlay attributes steer nothing", When: overlays, Run: on(foreignMarks)},
	{Name: "an active snapshot without parent takes whiteouts", When: overlays, Run: on(parentlessWhiteout)},
	{Name: "holes stay holes", Run: on(holes)},
	{Name: "strange names are kept", Run: on(names)},
	{Name: "special files are kept", Run: on(special)},
}

func hardLinks(r *run) {
	r.layer("base", "", func(dir string) {
		r.write(dir, "a", "x")
		r.must(os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")), "link")
	})
	r.layer("top", "base", func(dir string) { r.write(dir, "other", "y") })
	r.look("top", func(dir string) {
		var a, b unix.Stat_t
		r.must(unix.Lstat(filepath.Join(dir, "a"), &a), "stat")
		r.must(unix.Lstat(filepath.Join(dir, "b"), &b), "stat")
		if a.Ino != b.Ino || a.Nlink != 2 {
			r.Errorf("hard links a and b are inodes %d and %d with %d links", a.Ino, b.Ino, a.Nlink)
		}
	})
	// New links, made in an upper layer to a file of its own.
	r.layer("links", "top", func(dir string) {
		r.write(dir, "c", "z")
		r.must(os.Link(filepath.Join(dir, "c"), filepath.Join(dir, "d")), "link")
	})
	r.look("links", func(dir string) {
		var c, d unix.Stat_t
		r.must(unix.Lstat(filepath.Join(dir, "c"), &c), "stat")
		r.must(unix.Lstat(filepath.Join(dir, "d"), &d), "stat")
		if c.Ino != d.Ino || c.Nlink != 2 {
			r.Errorf("hard links c and d are inodes %d and %d with %d links", c.Ino, d.Ino, c.Nlink)
		}
	})
}

// fileCapability is a version 2 security.capability: cap_net_raw+ep.
var fileCapability = []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

func attributes(r *run) {
	want := map[string][]byte{
		"user.plain": []byte("value"), "user.binary": {0, 1, 0xff, 0}, "user.empty": {},
		"trusted.own": []byte("t"), "security.capability": fileCapability,
	}
	r.layer("base", "", func(dir string) {
		r.write(dir, "f", "x")
		for name, value := range want {
			r.must(unix.Lsetxattr(filepath.Join(dir, "f"), name, value, 0), "set "+name)
		}
	})
	check := func(dir string) {
		for name, value := range want {
			got := make([]byte, 256)
			n, err := unix.Lgetxattr(filepath.Join(dir, "f"), name, got)
			if err != nil {
				r.Errorf("attribute %s: %v", name, err)
			} else if !bytes.Equal(got[:n], value) {
				r.Errorf("attribute %s is %x, want %x", name, got[:n], value)
			}
		}
	}
	r.look("base", check)
	r.layer("top", "base", func(dir string) {
		r.must(os.Chmod(filepath.Join(dir, "f"), 0o600), "copy-up")
		check(dir)
	})
	r.look("top", check)
}

func opaque(r *run) {
	r.layer("base", "", func(dir string) {
		r.must(os.MkdirAll(filepath.Join(dir, "d/sub"), 0o755), "mkdir")
		r.write(dir, "d/old", "x")
		r.write(dir, "d/sub/older", "x")
	})
	r.layer("top", "base", func(dir string) {
		r.must(os.RemoveAll(filepath.Join(dir, "d")), "remove")
		r.must(os.Mkdir(filepath.Join(dir, "d"), 0o755), "mkdir")
		r.write(dir, "d/new", "y")
	})
	check := func(dir string) {
		r.holds(dir, "d/new", "y")
		r.lacks(dir, "d/old")
		r.lacks(dir, "d/sub")
	}
	r.look("top", check)
	r.layer("third", "top", func(dir string) { r.write(dir, "d/newer", "z") })
	r.look("third", check)
}

// foreignMarks: a hostile layer carries overlay's own attributes, which a
// mount that follows them would take for its own and show what the layer
// chooses.
func foreignMarks(r *run) {
	r.layer("base", "", func(dir string) {
		r.must(os.Mkdir(filepath.Join(dir, "secret"), 0o700), "mkdir")
		r.write(dir, "secret/key", "hidden")
		r.write(dir, "other", "other content")
	})
	m := r.prepare("a", "base")
	for _, own := range ownDirs(m) {
		r.must(os.Mkdir(filepath.Join(own, "public"), 0o755), "mkdir")
		r.must(unix.Setxattr(filepath.Join(own, "public"), "trusted.overlay.redirect", []byte("/secret"), 0), "plant a redirect")
		r.write(own, "file", "honest")
		r.must(unix.Setxattr(filepath.Join(own, "file"), "trusted.overlay.redirect", []byte("/other"), 0), "plant a redirect")
		r.must(unix.Setxattr(filepath.Join(own, "file"), "trusted.overlay.metacopy", nil, 0), "plant a metacopy")
	}
	r.commit("hostile", "a")
	check := func(dir string) {
		r.lacks(dir, "public/key")
		// Kernels show the file as it is or refuse to open it; none may
		// show another's content.
		if got, err := os.ReadFile(filepath.Join(dir, "file")); err == nil && string(got) != "honest" {
			r.Errorf("a file with a planted redirect shows %q", got)
		}
	}
	r.look("hostile", check)
	r.mounted(r.prepare("top", "hostile"), check)
	r.layer("above", "hostile", func(dir string) { r.write(dir, "f", "x") })
	r.look("above", check)
}

// parentlessWhiteout: the mounts of a snapshot without a parent tell an
// unpacker to write whiteouts as overlay has them.
func parentlessWhiteout(r *run) {
	m := r.prepare("a", "")
	if len(m) != 1 || m[0].Type != "overlay" || len(ownDirs(m)) != 1 {
		r.Fatalf("Prepare without a parent gives %v, want an overlay with an upper directory", m)
	}
	r.mounted(m, func(dir string) {
		r.write(dir, "f", "x")
		r.must(os.Remove(filepath.Join(dir, "f")), "remove")
		r.lacks(dir, "f")
	})
}

func holes(r *run) {
	const size = 64 * mib
	r.layer("base", "", func(dir string) {
		r.write(dir, "f", "head")
		r.must(os.Truncate(filepath.Join(dir, "f"), size), "truncate")
	})
	r.look("base", func(dir string) {
		var st unix.Stat_t
		r.must(unix.Lstat(filepath.Join(dir, "f"), &st), "stat")
		if st.Size != size || st.Blocks*512 > mib {
			r.Errorf("a file of %d bytes with 4 bytes of data has %d bytes and takes %d", size, st.Size, st.Blocks*512)
		}
	})
}

// strangeNames are what POSIX allows and programs forget.
var strangeNames = []string{
	"with space", " leading", "trailing ", "new\nline", "tab\tname", "back\\slash", "quote\"'`", "comma,colon:equal=",
	"\xff\xfe not UTF-8", "ünïcödé", "-rf", "...", "%s%n", "$(reboot)", "*?[]", "\x01\x7f",
	string(bytes.Repeat([]byte("n"), 255)),
}

func names(r *run) {
	want := append([]string{}, strangeNames...)
	sort.Strings(want)
	r.layer("base", "", func(dir string) {
		for _, n := range want {
			r.write(dir, n, "base "+n)
		}
	})
	r.layer("top", "base", func(dir string) {
		for i, n := range want {
			if i%2 == 0 {
				r.write(dir, n, "top "+n)
			}
		}
	})
	r.look("top", func(dir string) {
		entries, err := os.ReadDir(dir)
		r.must(err, "read")
		seen := map[string]bool{}
		for _, e := range entries {
			seen[e.Name()] = true
		}
		for i, n := range want {
			if !seen[n] {
				r.Errorf("%q is not listed", n)
			}
			if i%2 == 0 {
				r.holds(dir, n, "top "+n)
			} else {
				r.holds(dir, n, "base "+n)
			}
		}
	})
	// Keys, too, are any bytes that gRPC's strings take.
	for _, key := range []string{"with space", "a/b/../c", "new\nline", "ünïcödé", "../../etc"} {
		r.prepare(key, "top")
		r.remove(key)
	}
}

func special(r *run) {
	r.layer("base", "", func(dir string) {
		r.must(unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600), "mkfifo")
		r.must(unix.Mknod(filepath.Join(dir, "null"), unix.S_IFCHR, int(unix.Mkdev(1, 3))), "mknod")
		r.must(os.Chmod(filepath.Join(dir, "null"), 0o666), "chmod")
		r.must(os.Symlink("../../../../etc/passwd", filepath.Join(dir, "link")), "symlink")
		r.write(dir, "suid", "x")
		r.must(os.Chmod(filepath.Join(dir, "suid"), 0o755|os.ModeSetuid|os.ModeSticky), "chmod")
	})
	r.layer("top", "base", func(dir string) { r.write(dir, "f", "x") })
	r.look("top", func(dir string) {
		for name, mode := range map[string]os.FileMode{
			"fifo": os.ModeNamedPipe | 0o600, "null": os.ModeDevice | os.ModeCharDevice | 0o666,
			"suid": os.ModeSetuid | os.ModeSticky | 0o755,
		} {
			st, err := os.Lstat(filepath.Join(dir, name))
			if err != nil {
				r.Errorf("%s: %v", name, err)
			} else if st.Mode() != mode {
				r.Errorf("%s has mode %v, want %v", name, st.Mode(), mode)
			}
		}
		target, err := os.Readlink(filepath.Join(dir, "link"))
		if err := errors.Join(err); err != nil || target != "../../../../etc/passwd" {
			r.Errorf("link points to %q (%v)", target, err)
		}
	})
}
