package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/varve-project/varve/snapshotter"
)

var usageCases = []Case{
	{Name: "usage of an active snapshot grows with it", Run: on(usageGrows)},
	{Name: "usage of a committed snapshot stays", Run: on(usageCommitted)},
	{Name: "usage leaves the parent's files out", Run: on(usageOwn)},
	{Name: "usage counts inodes", When: func(c snapshotter.Capabilities) bool { return c.Inodes }, Run: on(usageInodes)},
	{Name: "usage counts hard links once", Run: on(usageHardLinks)},
	{Name: "usage counts holes as nothing", Run: on(usageSparse)},
	{Name: "usage of a view is small", Run: on(usageView)},
}

const mib = 1 << 20

// slack is what a file system's own blocks may add, reserve what it may have
// counted already: blocks that it holds ready for a file and gives back.
const (
	slack   = 2 * mib
	reserve = 64 << 10
)

func (r *run) fill(dir, name string, bytes int) {
	r.Helper()
	f, err := os.Create(filepath.Join(dir, name))
	r.must(err, "create "+name)
	defer f.Close()
	block := make([]byte, mib)
	for i := range block {
		block[i] = byte(i*7 + i>>8)
	}
	for bytes > 0 {
		n, err := f.Write(block[:min(bytes, len(block))])
		r.must(err, "write "+name)
		bytes -= n
	}
	r.must(f.Sync(), "sync "+name)
}

func usageGrows(r *run) {
	r.mounted(r.prepare("a", ""), func(dir string) {
		before := r.usage("a").Size
		for i := range 3 {
			r.fill(dir, fmt.Sprint("f", i), 8*mib)
			now := r.usage("a").Size
			if grown := now - before; grown < 8*mib-reserve || grown > 8*mib+slack {
				r.Errorf("usage grew by %d bytes after 8 MiB were written", grown)
			}
			before = now
		}
		r.must(os.Remove(filepath.Join(dir, "f0")), "remove")
		// What a block snapshot has allocated it keeps until it is trimmed.
		if r.Capabilities.Inodes {
			r.shrinks("a", before-8*mib+slack)
		}
	})
}

// shrinks waits for the usage to come down to size: xfs gives a deleted
// file's blocks back a moment later, in the background.
func (r *run) shrinks(key string, size int64) {
	r.Helper()
	for end := time.Now().Add(r.patience()); ; time.Sleep(20 * time.Millisecond) {
		u := r.usage(key).Size
		if u <= size {
			return
		}
		if time.Now().After(end) {
			r.Fatalf("usage is %d bytes after deletions, want %d at most", u, size)
		}
	}
}

func usageCommitted(r *run) {
	var active int64
	m := r.prepare("a", "")
	r.mounted(m, func(dir string) {
		r.fill(dir, "f", 8*mib)
		active = r.usage("a").Size
	})
	r.commit("c", "a")
	first, second := r.usage("c"), r.usage("c")
	if first != second {
		r.Errorf("usage of a committed snapshot was %+v, and then %+v", first, second)
	}
	if first.Size < 8*mib || first.Size > active+slack {
		r.Errorf("usage of a committed snapshot is %d bytes, it was %d while active", first.Size, active)
	}
}

func usageOwn(r *run) {
	r.layer("base", "", func(dir string) { r.fill(dir, "big", 16*mib) })
	r.mounted(r.prepare("a", "base"), func(dir string) { r.fill(dir, "small", mib) })
	if u := r.usage("a").Size; u < mib || u > mib+slack {
		r.Errorf("usage of 1 MiB on a parent of 16 MiB is %d bytes", u)
	}
	r.commit("c", "a")
	if u := r.usage("c").Size; u < mib || u > mib+slack {
		r.Errorf("usage of a committed 1 MiB on a parent of 16 MiB is %d bytes", u)
	}
}

func usageInodes(r *run) {
	r.mounted(r.prepare("a", ""), func(dir string) {
		before := r.settledInodes("a")
		for i := range 100 {
			r.write(dir, fmt.Sprint(i), "")
		}
		r.must(os.Mkdir(filepath.Join(dir, "d"), 0o755), "mkdir")
		if grown := r.settledInodes("a") - before; grown != 101 {
			r.Errorf("usage grew by %d inodes after 101 were made", grown)
		}
	})
	active := r.settledInodes("a")
	r.commit("c", "a")
	if u := r.usage("c").Inodes; u != active {
		r.Errorf("usage is %d inodes committed and was %d active", u, active)
	}
}

// settledInodes reads the inodes of a snapshot once they stay as they are.
// The mount itself makes and removes some in its work directory, and xfs
// counts a deleted one until it is gone in the background (see shrinks).
func (r *run) settledInodes(key string) int64 {
	r.Helper()
	const rest = 200 * time.Millisecond
	last, since := r.usage(key).Inodes, time.Now()
	for end := time.Now().Add(r.patience()); time.Since(since) < rest; time.Sleep(20 * time.Millisecond) {
		if u := r.usage(key).Inodes; u != last {
			last, since = u, time.Now()
		}
		if time.Now().After(end) {
			r.Fatalf("usage still changes, it is %d inodes now, and nobody writes", last)
		}
	}
	return last
}

func usageHardLinks(r *run) {
	r.mounted(r.prepare("a", ""), func(dir string) {
		r.fill(dir, "f", 8*mib)
		before := r.usage("a")
		for i := range 10 {
			r.must(os.Link(filepath.Join(dir, "f"), filepath.Join(dir, fmt.Sprint("l", i))), "link")
		}
		after := r.usage("a")
		if after.Size > before.Size+mib || after.Inodes > before.Inodes {
			r.Errorf("usage went from %+v to %+v by ten hard links", before, after)
		}
	})
}

func usageSparse(r *run) {
	r.mounted(r.prepare("a", ""), func(dir string) {
		before := r.usage("a").Size
		path := filepath.Join(dir, "f")
		r.write(dir, "f", "head")
		r.must(os.Truncate(path, 1<<30), "truncate")
		if grown := r.usage("a").Size - before; grown > slack {
			r.Errorf("usage grew by %d bytes for a hole", grown)
		}
	})
}

func usageView(r *run) {
	r.layer("base", "", func(dir string) { r.fill(dir, "big", 16*mib) })
	_, err := r.sn.View(r.ctx, "v", "base")
	r.must(err, "View")
	if u := r.usage("v").Size; u > slack {
		r.Errorf("usage of a view is %d bytes", u)
	}
}
