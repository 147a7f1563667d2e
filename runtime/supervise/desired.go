package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/runtime/pod"
)

// watchDesired follows what commands want of the pod by watching its folder;
// the returned function ends that. The file is read once more after the
// watch is in place, so that no word is missed.
func (s *Supervisor) watchDesired() (func(), error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", s.paths.Dir, err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, s.paths.Dir, unix.IN_MOVED_TO); err != nil {
		return nil, errors.Join(fmt.Errorf("watch %s: %w", s.paths.Dir, err), f.Close())
	}
	read := func() {
		d, err := s.store.Desired(s.rec)
		if err != nil {
			s.journal.Note("desired", "", "%v", err)
			return
		}
		s.setDesired(d)
	}
	read()
	go func() {
		buf := make([]byte, 16<<10)
		for {
			n, err := f.Read(buf)
			if err != nil {
				return
			}
			// The status is renamed into the same folder all the time.
			if bytes.Contains(buf[:n], []byte(pod.DesiredFile)) {
				read()
			}
		}
	}()
	return func() { _ = f.Close() }, nil
}
