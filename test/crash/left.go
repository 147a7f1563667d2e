package crash

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/varve-project/varve/test/leak"
)

// settleTime is how long the kernel may take for what it does behind a call:
// namespaces, loop devices and cgroups go a moment later.
const settleTime = 10 * time.Second

// rest is what an emptied world leaves: nothing, or what its part keeps by
// design, such as a bridge.
type rest struct{ disk, kernel []string }

func left(w World, before leak.Snapshot) (rest, error) {
	after, err := w.Kernel()
	if err != nil {
		return rest{}, err
	}
	disk, err := w.Disk()
	r := rest{disk: disk}
	for _, item := range leak.Diff(before, after) {
		r.kernel = append(r.kernel, numbers.ReplaceAllString(item.String(), ""))
	}
	return r, err
}

// numbers are what the kernel gives out anew each time.
var numbers = regexp.MustCompile(`(, index|handle) \d+`)

// beyond names what r holds more than empty.
func (r rest) beyond(empty rest) error {
	var errs []error
	for _, path := range more(empty.disk, r.disk) {
		errs = append(errs, fmt.Errorf("left on the disk: %s", path))
	}
	for _, item := range more(empty.kernel, r.kernel) {
		errs = append(errs, fmt.Errorf("leaked %s", item))
	}
	return errors.Join(errs...)
}

// more lists what got holds and want does not, counting repetitions.
func more(want, got []string) []string {
	have := map[string]int{}
	for _, s := range want {
		have[s]++
	}
	var list []string
	for _, s := range got {
		if have[s]--; have[s] < 0 {
			list = append(list, s)
		}
	}
	return list
}

// Tree lists every path in the folders, each with its folder's own name.
func Tree(dirs ...string) ([]string, error) {
	var all []string
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil {
				all = append(all, strings.TrimPrefix(path, filepath.Dir(dir)+"/"))
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}
