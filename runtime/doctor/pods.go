package doctor

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/varve-project/varve/internal/finding"
	"github.com/varve-project/varve/runtime/pod"
)

var (
	recordBroken = define(Definition{
		ID: "runtime.pod.record-broken", Severity: finding.Error,
		Text:    "the record of a pod cannot be read: {reason}",
		Meaning: "The pod can neither be shown nor stopped nor removed, and what it holds cannot be told from what nobody owns: nothing of it is called an orphan.",
		Remedy:  "Restore the file from a backup; or move its folder out of {object} and look again: what the pod left is then named piece by piece.",
	})
	supervisorLost = define(Definition{
		ID: "runtime.pod.unsupervised", Severity: finding.Warning,
		Text:    "the pod {object} has no supervisor: it was killed, or the machine went down",
		Meaning: "Its containers go on where they run, but nobody restarts, probes or logs them.",
		Remedy:  "Any command on pods starts its supervisor again.",
		Command: "{varve} pod ls",
	})
	podLeftovers = define(Definition{
		ID: "runtime.pod.leftovers", Severity: finding.Warning,
		Text:    "the pod {object} has stopped, and this could not be taken away: {reason}",
		Meaning: "It is held until the pod is removed.",
		Remedy:  "Removing the pod tries again, and says what is in the way.",
		Command: "{varve} pod rm {object}",
	})
)

// hasPods tells whether any pod is recorded, readable or not.
func (n *node) hasPods() bool {
	entries, err := os.ReadDir(pod.PodsDir(n.config))
	return err == nil && len(entries) > 0
}

// pods looks at each recorded pod, and whether somebody looks after it.
func (n *node) pods(ctx context.Context) (finding.List, error) { return twice(ctx, n.podsNow) }

func (n *node) podsNow() (finding.List, error) {
	store := pod.NewStore(n.config)
	records, err := store.List()
	var list finding.List
	for _, broken := range split(err) {
		list = append(list, n.found(recordBroken, pod.PodsDir(n.config), "reason", broken.Error()))
	}
	held, err := heldLocks()
	if err != nil {
		return list, err
	}
	for _, r := range records {
		if _, err := n.supervisor(r.FileName()); err == nil || held.has(n.lock(r.FileName())) {
			continue
		}
		// Read after the lock was looked at: a supervisor writes its last
		// status before it lets go, so what is read here is the last word.
		now, err := store.Get(r.Key)
		if err != nil || now.UID != r.UID {
			continue
		}
		status, err := store.Status(r)
		switch {
		case err != nil:
			list = append(list, n.found(recordBroken, pod.PodsDir(n.config), "reason", err.Error()))
		case !status.Released:
			list = append(list, n.found(supervisorLost, r.Key.String()))
		default:
			for _, what := range status.Leftovers {
				list = append(list, n.found(podLeftovers, r.Key.String(), "reason", what))
			}
		}
	}
	return list, nil
}

// lock is the lock file of a pod's key.
func (n *node) lock(key string) string {
	return filepath.Join(pod.LocksDir(n.config), key+".lock")
}

// supervisor is the living process that calls itself the holder of a key's
// lock. /proc/locks does not show that lock: it names the process that took
// it, and a supervisor inherits its lock from a command that has ended.
func (n *node) supervisor(key string) (pod.Process, error) {
	data, err := os.ReadFile(n.lock(key))
	if err != nil {
		return pod.Process{}, err
	}
	holder, err := pod.ParseProcess(string(data))
	if err != nil {
		return holder, err
	}
	now, err := pod.FindProcess(holder.Pid)
	if err == nil && now != holder {
		err = pod.ErrNoProcess
	}
	return holder, err
}

// split takes apart what errors.Join put together.
func split(err error) []error {
	if err == nil {
		return nil
	}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	return []error{err}
}
