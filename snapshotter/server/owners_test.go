package server_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/varve-project/varve/overlay"
	"github.com/varve-project/varve/snapshotter/server"
)

// master is one client with its owner, "" for none.
type master struct {
	snapshots.Snapshotter
	owner string
}

func (m master) ctx(t *testing.T) context.Context {
	if m.owner == "" {
		return t.Context()
	}
	return metadata.AppendToOutgoingContext(t.Context(), server.OwnerHeader, m.owner)
}

func (m master) names(t *testing.T, query ...string) []string {
	t.Helper()
	var names []string
	err := m.Walk(m.ctx(t), func(_ context.Context, info snapshots.Info) error {
		names = append(names, info.Name+"<"+info.Parent)
		return nil
	}, query...)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// masters serves a real driver to three clients: one without an owner, as
// containerd is, and two with.
func masters(t *testing.T) []master {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	d, err := overlay.Open(t.Context(), filepath.Join(t.TempDir(), "root"), overlay.DefaultConfig(), log.L)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	server.New(d, server.DefaultConfig()).Register(g)
	go func() { _ = g.Serve(l) }()
	conn, err := server.Dial(t.Context(), socket, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(); g.Stop(); _ = d.Close() })
	sn := proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), "varve-overlay")
	return []master{{sn, ""}, {sn, "a"}, {sn, "b"}}
}

// TestMastersDoNotMeet: masters use the same keys, and what one lists,
// rebases and collects is its own.
func TestMastersDoNotMeet(t *testing.T) {
	all := masters(t)
	for _, m := range all {
		ctx := m.ctx(t)
		for _, step := range []func() error{
			func() error { _, err := m.Prepare(ctx, "p1", ""); return err },
			func() error { return m.Commit(ctx, "base", "p1") },
			func() error { _, err := m.Prepare(ctx, "p2", ""); return err },
			func() error { return m.Commit(ctx, "top", "p2", snapshots.WithParent("base")) },
			func() error { _, err := m.Prepare(ctx, "run", "top"); return err },
			func() error { _, err := m.View(ctx, "look", "top"); return err },
			func() error { _, err := m.Mounts(ctx, "run"); return err },
			func() error { _, err := m.Usage(ctx, "top"); return err },
		} {
			if err := step(); err != nil {
				t.Fatalf("owner %q: %v", m.owner, err)
			}
		}
	}
	want := []string{"base<", "look<top", "run<top", "top<base"}
	for _, m := range all {
		if got := m.names(t); !slices.Equal(got, want) {
			t.Errorf("owner %q sees %q, want %q", m.owner, got, want)
		}
		if got := m.names(t, `parent==top,kind==active`); !slices.Equal(got, []string{"run<top"}) {
			t.Errorf("owner %q filters %q", m.owner, got)
		}
		info, err := m.Stat(m.ctx(t), "top")
		if err != nil || info.Name != "top" || info.Parent != "base" {
			t.Errorf("owner %q: stat %+v, %v", m.owner, info, err)
		}
		info.Labels = map[string]string{"who": "me" + m.owner}
		if info, err = m.Update(m.ctx(t), info, "labels.who"); err != nil || info.Name != "top" || info.Labels["who"] != "me"+m.owner {
			t.Errorf("owner %q: update %+v, %v", m.owner, info, err)
		}
	}
	// What containerd's collection does: remove everything that one sees.
	for _, key := range []string{"run", "look", "top", "base"} {
		if err := all[0].Remove(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	for i, m := range all {
		got := m.names(t)
		if (i == 0) != (len(got) == 0) {
			t.Errorf("after the ownerless client removed all it saw, owner %q sees %q", m.owner, got)
		}
	}
}

// TestOwnerIsChecked: a header that is no name is refused, and nobody reaches
// another's snapshots by spelling their stored keys.
func TestOwnerIsChecked(t *testing.T) {
	all := masters(t)
	for _, owner := range []string{"a/b", " ", "ü"} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), server.OwnerHeader, owner)
		if _, err := all[0].Prepare(ctx, "k", ""); err == nil {
			t.Errorf("owner %q was taken", owner)
		}
	}
	twice := metadata.AppendToOutgoingContext(t.Context(), server.OwnerHeader, "a", server.OwnerHeader, "b")
	if err := all[0].Walk(twice, func(context.Context, snapshots.Info) error { return nil }); !errdefs.IsInvalidArgument(err) {
		t.Errorf("two owners: %v, want invalid argument", err)
	}
	if _, err := all[1].Prepare(all[1].ctx(t), "k", ""); err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if _, err := m.Stat(m.ctx(t), "varve.owner=a/k"); !errdefs.IsInvalidArgument(err) {
			t.Errorf("owner %q reached a's snapshot by its stored key: %v", m.owner, err)
		}
		if _, err := m.Stat(m.ctx(t), "varve.owner="); !errdefs.IsInvalidArgument(err) {
			t.Errorf("owner %q: a reserved key: %v", m.owner, err)
		}
	}
	if _, err := all[2].Stat(all[2].ctx(t), "k"); !errdefs.IsNotFound(err) {
		t.Errorf("b sees a's snapshot: %v", err)
	}
}
