package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/varve-project/varve/runtime/pod"
	"github.com/varve-project/varve/runtime/pod/manifest"
	"github.com/varve-project/varve/runtime/supervise"
	"github.com/varve-project/varve/runtime/volume"
)

func runCommand(g *globals) *cobra.Command {
	var file string
	var wait, quiet bool
	cmd := &cobra.Command{
		Use:   "run [-f] FILE",
		Short: "Run the pods of a Kubernetes manifest (- reads standard input)",
		Long: `Run the pods of a Kubernetes manifest.

A file may hold several documents: Pod, PersistentVolumeClaim, StorageClass.
Claims are made before pods. A field that is set and not supported is refused
with its path, and then nothing is made.

The command returns when every container of every pod runs, and prints the
pods' names and addresses. When a pod cannot be started its record stays, so
that "varve why POD" can tell the story; "varve pod rm POD" removes it.`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && file != "" {
				return usagef("run: two files, %q and %q; give one", file, args[0])
			}
			if len(args) == 1 {
				file = args[0]
			}
			if file == "" {
				return usagef("run: no manifest; usage: %s", cmd.UseLine())
			}
			// Started first: it is ready once the manifest has been read
			// and the record is written.
			spare, err := supervise.NewSpare(g.Config)
			if err != nil {
				return err
			}
			defer func() { _ = spare.Close() }()
			f, err := g.parse(file)
			if err != nil {
				return err
			}
			return g.run(cmd.Context(), f, spare, wait, quiet)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the manifest; - is standard input")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the pods are ready, or have ended")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "no progress lines")
	return cmd
}

func (g *globals) parse(path string) (*manifest.File, error) {
	in := g.In
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("read manifest: %w", err)
		}
		defer f.Close()
		in = f
	}
	f, err := manifest.Parse(in)
	if err != nil {
		return nil, fmt.Errorf("%s:\n%w", path, err)
	}
	if len(f.Pods)+len(f.Claims) == 0 {
		return nil, fmt.Errorf("%s: has neither a Pod nor a PersistentVolumeClaim", path)
	}
	return f, nil
}

// started is what `varve run` prints of each pod.
type started struct {
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	UID       string   `json:"uid"`
	IPs       []string `json:"ips"`
	Phase     string   `json:"phase"`
	Ready     bool     `json:"ready"`
}

func (g *globals) run(ctx context.Context, f *manifest.File, spare *supervise.Spare, wait, quiet bool) error {
	if err := g.makeClaims(ctx, f, quiet); err != nil {
		return err
	}
	var all []started
	for i, p := range f.Pods {
		if i > 0 {
			var err error
			if spare, err = supervise.NewSpare(g.Config); err != nil {
				return err
			}
			defer func() { _ = spare.Close() }()
		}
		rec, st, err := g.start(ctx, p, spare, wait, quiet)
		if err != nil {
			return err
		}
		all = append(all, started{rec.Namespace, rec.Name, rec.UID, st.IPs, string(st.Phase), st.Ready})
	}
	if err := supervise.Repair(g.Config); err != nil {
		fmt.Fprintf(g.Err, "varve: %v\n", err)
	}
	if len(all) == 0 {
		return nil
	}
	return g.print(all, func() error {
		for _, s := range all {
			key := pod.Key{Namespace: s.Namespace, Name: s.Name}
			if _, err := fmt.Fprintf(g.Out, "%s\t%s\n", key, firstOf(s.IPs)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (g *globals) makeClaims(ctx context.Context, f *manifest.File, quiet bool) error {
	if len(f.Claims) == 0 {
		return nil
	}
	volumes := volume.Open(g.Config)
	defer func() { _ = volumes.Close() }()
	for _, c := range f.Claims {
		key := pod.Key{Namespace: c.Namespace, Name: c.Name}
		begun := time.Now()
		r, err := volume.RequestOf(c, f.Class)
		if err != nil {
			return err
		}
		v, err := volumes.CreateFor(ctx, key, r, f.Class(className(c)))
		if err != nil {
			return err
		}
		if !quiet {
			fmt.Fprintf(g.Err, "%-24s %6s  volume %s\n", "claim "+key.String(), ms(time.Since(begun)), v.ID)
		}
	}
	return nil
}

func className(c *corev1.PersistentVolumeClaim) string {
	if c.Spec.StorageClassName == nil {
		return ""
	}
	return *c.Spec.StorageClassName
}

// start makes one pod and waits until it runs.
func (g *globals) start(ctx context.Context, p *corev1.Pod, spare *supervise.Spare, wait, quiet bool) (*pod.Record, *pod.Status, error) {
	rec, events, err := supervise.Create(g.Config, p, spare)
	if err != nil {
		return nil, nil, err
	}
	defer events.Close()
	var failed string
	running := false
	err = supervise.Follow(ctx, events, func(e pod.Entry) bool {
		if !quiet {
			g.progress(rec.Key, e)
		}
		switch {
		case e.Phase == "failed":
			failed = e.Text
		case e.Phase == "started":
			running = true
		}
		return running
	})
	if err != nil {
		return nil, nil, fmt.Errorf("pod %s: %w; it goes on starting: `varve pod ls`", rec.Key, err)
	}
	st, err := pod.NewStore(g.Config).Status(rec)
	if err != nil {
		return nil, nil, err
	}
	if failed != "" {
		return nil, nil, fmt.Errorf("pod %s: %s; `varve why %s` tells the story", rec.Key, failed, rec.Key)
	}
	if !running && !st.Ended() {
		return nil, nil, fmt.Errorf("pod %s: its supervisor ended before the pod ran; see %s", rec.Key, pod.PathsOf(g.Config, rec.Key, rec.UID).SupervisorLog())
	}
	if wait {
		st, err = g.waitReady(ctx, rec)
	}
	return rec, st, err
}

// waitReady waits until a pod is ready, or has ended.
func (g *globals) waitReady(ctx context.Context, rec *pod.Record) (*pod.Status, error) {
	store := pod.NewStore(g.Config)
	for {
		st, err := store.Status(rec)
		if err != nil {
			return nil, err
		}
		if st.Phase == corev1.PodFailed {
			return st, fmt.Errorf("pod %s failed: %s; `varve why %s` tells the story", rec.Key, joinWords(st.Reason, st.Message), rec.Key)
		}
		if st.Ready || st.Ended() {
			return st, nil
		}
		select {
		case <-ctx.Done():
			return st, fmt.Errorf("pod %s is not ready: %w", rec.Key, errors.Join(ctx.Err(), notReady(st)))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func notReady(st *pod.Status) error {
	for _, c := range st.Containers {
		if !c.Init && !c.Ready {
			return fmt.Errorf("container %q: %s", c.Name, joinWords(string(c.State), c.Reason, c.Message))
		}
	}
	return nil
}

// progress prints the end of each phase.
func (g *globals) progress(k pod.Key, e pod.Entry) {
	if e.Event != pod.End {
		return
	}
	outcome := ""
	if e.Error != "" {
		outcome = "failed: " + e.Error
	}
	fmt.Fprintf(g.Err, "%-24s %6s  %s\n", joinWords(k.String(), e.Phase, e.Object), ms(e.Took), outcome)
}

func superviseCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:    supervise.Command,
		Hidden: true,
		Args:   usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return supervise.Main(context.Background(), g.Config)
		},
	}
}

func firstOf(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return list[0]
}
