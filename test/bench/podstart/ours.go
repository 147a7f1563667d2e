package podstart

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// ours is `varve run` with the suite's daemons, asked by its command line as
// a user asks.
type ours struct {
	binary string
	dir    string
	flags  []string
}

const podManifest = `apiVersion: v1
kind: Pod
metadata:
  name: %s
spec:
  restartPolicy: Never
  containers:
  - name: stamp
    image: %s
    imagePullPolicy: Never
`

// newOurs starts the daemons and loads the image, which unpacks it.
func newOurs(ctx context.Context, bin, runc, dir, archive string) (*ours, error) {
	o := &ours{binary: filepath.Join(bin, "varve"), dir: dir}
	if _, err := exec.LookPath(o.binary); err != nil {
		return nil, fmt.Errorf("%w; build it with make build", err)
	}
	o.flags = []string{"--root", filepath.Join(dir, "varve"), "--state", "/run/bench/varve", "--oci-runtime", runc}
	for _, args := range [][]string{{"up"}, {"image", "load", archive}} {
		if out, err := o.command(ctx, args...).CombinedOutput(); err != nil {
			return o, fmt.Errorf("varve %v: %w: %s", args, err, out)
		}
	}
	return o, nil
}

func (o *ours) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, o.binary, append(append([]string{}, o.flags...), args...)...)
}

// confDir is where `varve up` puts the network configuration.
func (o *ours) confDir() string { return filepath.Join(o.dir, "varve", "runtime", "cni", "net.d") }

func (o *ours) start(ctx context.Context, id string) (ms float64, phases []phase, err error) {
	manifest := filepath.Join(o.dir, id+".yaml")
	if err := os.WriteFile(manifest, fmt.Appendf(nil, podManifest, id, imageName), 0o644); err != nil {
		return 0, nil, err
	}
	cmd := o.command(ctx, "run", "-f", manifest)
	begin, err := now()
	if err != nil {
		return 0, nil, err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, nil, fmt.Errorf("varve run: %w: %s", err, out)
	}
	defer func() {
		out, failed := o.command(context.WithoutCancel(ctx), "pod", "rm", "-f", id).CombinedOutput()
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("varve pod rm %s: %w: %s", id, failed, out))
		}
	}()
	out, err := o.stamp(ctx, id)
	if err != nil {
		return 0, nil, err
	}
	if ms, err = since(begin, out); err != nil {
		return 0, nil, err
	}
	phases, err = o.phases(ctx, id)
	return ms, phases, err
}

// stamp waits for the pod's output. How long the log takes to show it is not
// measured.
func (o *ours) stamp(ctx context.Context, id string) ([]byte, error) {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		out, err := o.command(ctx, "pod", "logs", id).CombinedOutput()
		if err == nil && stampLine.Match(out) {
			return out, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return nil, fmt.Errorf("varve pod logs %s: %w: %s", id, errors.Join(err, ctx.Err()), out)
		}
	}
}

// phases asks `varve why` for the parts of the start.
func (o *ours) phases(ctx context.Context, id string) ([]phase, error) {
	out, err := o.command(ctx, "why", "-o", "json", id).Output()
	if err != nil {
		return nil, fmt.Errorf("varve why %s: %w: %s", id, err, out)
	}
	var story struct {
		Phases []struct {
			Name, Object string
			Took         time.Duration
			Ended        bool
		}
	}
	if err := json.Unmarshal(out, &story); err != nil {
		return nil, fmt.Errorf("varve why -o json %s: %w: %s", id, err, out)
	}
	var phases []phase
	for _, p := range story.Phases {
		if p.Ended {
			phases = append(phases, phase{p.Name, float64(p.Took) / float64(time.Millisecond)})
		}
	}
	return phases, nil
}

// Close stops the daemons.
func (o *ours) Close() error {
	if out, err := o.command(context.Background(), "down").CombinedOutput(); err != nil {
		return fmt.Errorf("varve down: %w: %s", err, out)
	}
	return nil
}
