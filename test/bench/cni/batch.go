package cni

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/containernetworking/cni/libcni"
	"golang.org/x/sys/unix"
)

// batch attaches count pods, atOnce at a time, and detaches them in the same
// way. It returns the milliseconds of each call; the namespaces are made and
// dropped outside of them.
func (s *side) batch(ctx context.Context, l load, dir string, count, atOnce int) (adds, dels []float64, err error) {
	pods := make([]*libcni.RuntimeConf, count)
	defer func() {
		for _, p := range pods {
			if p != nil {
				err = errors.Join(err, unix.Unmount(p.NetNS, unix.MNT_DETACH), os.Remove(p.NetNS))
			}
		}
	}()
	for i := range pods {
		id := fmt.Sprintf("pod%d", i)
		path := filepath.Join(dir, s.name+"-"+id)
		if err := pinNamespace(path); err != nil {
			return nil, nil, err
		}
		pods[i] = s.runtime(l, id, path, i)
	}
	if adds, err = timed(ctx, pods, atOnce, s.add); err != nil {
		return nil, nil, fmt.Errorf("%s: ADD: %w", s.name, err)
	}
	if dels, err = timed(ctx, pods, atOnce, s.del); err != nil {
		return nil, nil, fmt.Errorf("%s: DEL: %w", s.name, err)
	}
	return adds, dels, nil
}

// timed makes a call for every pod and returns how long each took.
func timed(ctx context.Context, pods []*libcni.RuntimeConf, atOnce int, call func(context.Context, *libcni.RuntimeConf) error) ([]float64, error) {
	took, errs := make([]float64, len(pods)), make([]error, len(pods))
	next := make(chan int)
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for i := range next {
				start := time.Now()
				errs[i] = call(ctx, pods[i])
				took[i] = float64(time.Since(start).Microseconds()) / 1000
			}
		})
	}
	for i := range pods {
		next <- i
	}
	close(next)
	workers.Wait()
	return took, errors.Join(errs...)
}

// pinNamespace makes a network namespace and pins it to a file.
func pinNamespace(path string) error {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with it
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
		}
		done <- err
	}()
	return <-done
}
