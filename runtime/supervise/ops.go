package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/varve-project/varve/runtime/config"
	"github.com/varve-project/varve/runtime/pod"
)

// ErrRunning means that a pod must be stopped, or removed by force.
var ErrRunning = errors.New("pod is running")

// Create writes the record of a pod and gives it to a supervisor. The stream
// is the pod's journal; the caller closes it.
func Create(cfg config.Config, manifest *corev1.Pod, spare *Spare) (*pod.Record, io.ReadCloser, error) {
	rec := &pod.Record{
		Key:     pod.Key{Namespace: manifest.Namespace, Name: manifest.Name},
		UID:     uuid.NewString(),
		Created: time.Now().UTC(),
		Config:  cfg,
		Pod:     manifest,
	}
	store := pod.NewStore(cfg)
	lock, err := store.TryLock(rec.Key)
	if errors.Is(err, pod.ErrLocked) {
		return nil, nil, fmt.Errorf("pod %s: %w; `varve pod rm -f %s` removes it", rec.Key, pod.ErrExists, rec.Key)
	}
	if err != nil {
		return nil, nil, err
	}
	if err := store.Create(rec); err != nil {
		return nil, nil, errors.Join(err, lock.Release())
	}
	events, err := spare.Take(rec, lock)
	return rec, events, err
}

// Follow calls each entry of a supervisor's stream until it ends or until
// says that it has seen enough.
func Follow(ctx context.Context, events io.ReadCloser, until func(pod.Entry) bool) error {
	stop := context.AfterFunc(ctx, func() { _ = events.Close() })
	defer stop()
	in := json.NewDecoder(events)
	for {
		var e pod.Entry
		err := in.Decode(&e)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("follow the supervisor: %w", err)
		case until(e):
			return nil
		}
	}
}

// Stop stops a pod and releases what it holds in the kernel, and waits for
// that. A grace of nil is the pod's own. Stopping a pod that has ended is no
// error.
func Stop(ctx context.Context, cfg config.Config, rec *pod.Record, grace *int64) error {
	return settle(ctx, cfg, rec, pod.Desired{Goal: pod.GoalStop, GraceSeconds: grace})
}

// Remove removes a pod. One that has not ended is removed by force only, and
// then its containers are killed. What a daemon that is down keeps from being
// removed is the error; the record stays then, and Remove may be repeated.
func Remove(ctx context.Context, cfg config.Config, rec *pod.Record, force bool) error {
	store := pod.NewStore(cfg)
	desired := pod.Desired{Goal: pod.GoalRemove}
	if force {
		desired.GraceSeconds = new(int64)
	} else if st, err := store.Status(rec); err != nil {
		return err
	} else if !st.Ended() {
		return fmt.Errorf("pod %s: %w; stop it first (`varve pod stop %s`) or use -f", rec.Key, ErrRunning, rec.Key)
	}
	return settle(ctx, cfg, rec, desired)
}

// settle says what is wanted and waits until the pod's supervisor has made it
// true; where there is none, or it dies, this process does it in its place.
func settle(ctx context.Context, cfg config.Config, rec *pod.Record, d pod.Desired) error {
	store := pod.NewStore(cfg)
	if err := store.SetDesired(rec, d); err != nil {
		return err
	}
	lock, err := waitLock(ctx, store, rec, patience(rec, d))
	if err != nil {
		return err
	}
	if now, err := store.Get(rec.Key); errors.Is(err, pod.ErrNotFound) || err == nil && now.UID != rec.UID {
		return drop(store, rec, lock) // the supervisor has removed it
	}
	st, err := store.Status(rec)
	if err != nil {
		return errors.Join(err, lock.Release())
	}
	if d.Goal == pod.GoalStop && st.Ended() && st.Released {
		return lock.Release()
	}
	return errors.Join(withLock(ctx, cfg, rec, nil, (*Supervisor).Run), drop(store, rec, lock))
}

// patience is how long a supervisor may take before it is taken to hang.
func patience(rec *pod.Record, d pod.Desired) time.Duration {
	grace := *rec.Pod.Spec.TerminationGracePeriodSeconds
	if d.GraceSeconds != nil {
		grace = *d.GraceSeconds
	}
	return time.Duration(grace)*time.Second + killTimeout + 3*stepTimeout
}

// waitLock waits until the supervisor lets go of the pod, and kills one that
// does not do so in time: its containers do not depend on it.
func waitLock(ctx context.Context, store *pod.Store, rec *pod.Record, patience time.Duration) (*pod.Lock, error) {
	deadline := time.Now().Add(patience)
	for {
		lock, err := store.TryLock(rec.Key)
		if !errors.Is(err, pod.ErrLocked) {
			return lock, err
		}
		if time.Now().After(deadline) {
			holder, err := store.Holder(rec.Key)
			if err != nil {
				return nil, err
			}
			if err := holder.Signal(unix.SIGKILL); err != nil && !errors.Is(err, pod.ErrNoProcess) {
				return nil, fmt.Errorf("pod %s: its supervisor hangs: %w", rec.Key, err)
			}
			deadline = time.Now().Add(killTimeout)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("pod %s: wait for its supervisor: %w", rec.Key, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Repair starts a supervisor for every pod that has not ended, or is not
// released, and has none, and sweeps what a crash left half made. Every
// command calls it; it costs one look per pod. It waits for nothing.
func Repair(cfg config.Config) error {
	store := pod.NewStore(cfg)
	records, err := store.List()
	errs := []error{err, store.Sweep()}
	for _, rec := range records {
		if err := repair(cfg, store, rec); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func repair(cfg config.Config, store *pod.Store, rec *pod.Record) error {
	if needs, err := needsSupervisor(store, rec); !needs || err != nil {
		return err
	}
	lock, err := store.TryLock(rec.Key)
	if errors.Is(err, pod.ErrLocked) {
		return nil
	}
	if err != nil {
		return err
	}
	// Looked at again under the lock: its supervisor may just have ended.
	if now, err := store.Get(rec.Key); err != nil || now.UID != rec.UID {
		return drop(store, rec, lock)
	}
	if needs, err := needsSupervisor(store, rec); !needs || err != nil {
		return errors.Join(err, lock.Release())
	}
	events, err := Spawn(cfg, rec, lock)
	if err != nil {
		return err
	}
	return events.Close()
}

func needsSupervisor(store *pod.Store, rec *pod.Record) (bool, error) {
	st, err := store.Status(rec)
	if err != nil {
		return false, err
	}
	d, err := store.Desired(rec)
	if err != nil {
		return false, err
	}
	return !st.Ended() || !st.Released || d.Goal == pod.GoalRemove, nil
}
