package supervise

import (
	"context"
	"errors"
	"path/filepath"
	"sync"

	"github.com/containernetworking/cni/pkg/types"
	corev1 "k8s.io/api/core/v1"

	"github.com/varve-project/varve/runtime/config"
	"github.com/varve-project/varve/runtime/image"
	"github.com/varve-project/varve/runtime/network"
	"github.com/varve-project/varve/runtime/oci"
	"github.com/varve-project/varve/runtime/pod"
	"github.com/varve-project/varve/runtime/volume"
)

// Supervisor makes the effects of one pod. Whoever has one holds the pod's
// lock.
type Supervisor struct {
	cfg     config.Config
	store   *pod.Store
	rec     *pod.Record
	paths   pod.Paths
	journal *pod.Journal
	runtime *oci.Runtime
	images  *image.Store
	net     *network.CNI
	volumes *volume.Store
	boot    string

	mu     sync.Mutex
	status *pod.Status

	// stop is closed when the pod shall stop, for whatever reason.
	stop     chan struct{}
	stopOnce sync.Once
	// killed is the process of each container that stop has killed, guarded
	// by mu.
	killed map[string]int
	// desired is the latest word of a command, guarded by mu.
	desired pod.Desired

	// leaving counts the commands of probes that were given up.
	leaving sync.WaitGroup

	// ahead has one entry per container whose first run is being made ahead
	// of its turn; read-only once the sandbox starts.
	ahead     map[string]*ahead
	furnished furnished
	// dns is what the network said of name servers.
	dns types.DNS
	// inits are the names of the init containers.
	inits map[string]bool
}

// Open readies a supervisor for a pod; the caller holds the pod's lock.
// listen is told of every journal entry; it may be nil.
func Open(ctx context.Context, cfg config.Config, rec *pod.Record, listen func(pod.Entry)) (*Supervisor, error) {
	// The pod is run with the configuration it was made with; Root and
	// State are the reader's.
	made := rec.Config
	made.Root, made.State = cfg.Root, cfg.State
	store := pod.NewStore(made)
	s := &Supervisor{
		cfg: made, store: store, rec: rec, paths: store.Paths(rec),
		net: network.New(made), volumes: volume.Open(made),
		furnished: furnished{decided: make(chan struct{})},
		stop:      make(chan struct{}), ahead: map[string]*ahead{}, inits: map[string]bool{}, killed: map[string]int{},
	}
	for _, c := range rec.Pod.Spec.InitContainers {
		s.inits[c.Name] = true
	}
	var err error
	if s.boot, err = pod.BootID(); err != nil {
		return nil, err
	}
	if s.status, err = store.Status(rec); err != nil {
		return nil, err
	}
	if s.runtime, err = oci.Find(made.OCIRuntime, filepath.Join(made.RuntimeState(), "oci"), made.BinDirs()...); err != nil {
		return nil, err
	}
	if s.images, err = image.Open(ctx, ImageOptions(made)); err != nil {
		return nil, err
	}
	if s.journal, err = store.OpenJournal(rec, listen); err != nil {
		return nil, errors.Join(err, s.images.Close())
	}
	return s, nil
}

// ImageOptions say where the image store of a configuration is.
func ImageOptions(c config.Config) image.Options {
	return image.Options{
		Root:        filepath.Join(c.RuntimeRoot(), "images"),
		Snapshotter: c.SnapshotterName(),
		Address:     c.SnapshotterSocket(),
	}
}

// Close releases connections and files; the pod stays as it is.
func (s *Supervisor) Close() error {
	return errors.Join(s.journal.Close(), s.images.Close(), s.volumes.Close())
}

// Status is a copy of how the pod is doing.
func (s *Supervisor) Status() pod.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := *s.status
	st.Containers = append([]pod.ContainerStatus(nil), st.Containers...)
	return st
}

// update changes the status and writes it.
func (s *Supervisor) update(change func(*pod.Status)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s.status)
	s.status.Boot = s.boot
	s.status.Ready = s.allReady()
	return s.store.SetStatus(s.rec, s.status, s.status.Ended())
}

// container changes the status of one container and writes it.
func (s *Supervisor) container(name string, change func(*pod.ContainerStatus)) error {
	return s.update(func(st *pod.Status) { change(st.Container(name)) })
}

func (s *Supervisor) allReady() bool {
	for i := range s.status.Containers {
		if c := &s.status.Containers[i]; !c.Init && !c.Ready {
			return false
		}
	}
	return s.status.Phase == corev1.PodRunning
}

// current is a copy of the status of one container.
func (s *Supervisor) current(name string) pod.ContainerStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.status.Container(name)
}

func (s *Supervisor) requestStop() { s.stopOnce.Do(func() { close(s.stop) }) }

func (s *Supervisor) stopping() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}
