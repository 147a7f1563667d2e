package setup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Host is the machine that plans run on.
type Host struct {
	// Root is the daemon's folder, where the journal lies.
	Root string
	// Progress gets a line per step; nil is silence.
	Progress io.Writer
	// patience bounds one program; LVM can wait for locks and devices.
	patience time.Duration
	// command runs a program and returns what it printed; tests replace it.
	command func(ctx context.Context, argv []string) (stdout []byte, err error)
}

// programPatience is how long one program may take. thin_check and
// thin_repair of a 16 GiB metadata device are the longest.
const programPatience = 30 * time.Minute

// NewHost is the machine itself; root is the daemon's.
func NewHost(root string, progress io.Writer) *Host {
	return &Host{Root: root, Progress: progress, patience: programPatience, command: execute}
}

func (h *Host) say(format string, args ...any) {
	if h.Progress != nil {
		fmt.Fprintf(h.Progress, format+"\n", args...)
	}
}

// run runs a program. Its error holds what the program said.
func (h *Host) run(ctx context.Context, argv ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, h.patience)
	defer cancel()
	return h.command(ctx, argv)
}

// errNotInstalled: the program that is needed is not there.
var errNotInstalled = errors.New("is not installed")

func execute(ctx context.Context, argv []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	// LVM warns of every file that its parent left open, and translates.
	cmd.Env = append(os.Environ(), "LVM_SUPPRESS_FD_WARNINGS=1", "LC_ALL=C", "LANG=C")
	cmd.WaitDelay = 10 * time.Second
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	if err == nil {
		return out.Bytes(), nil
	}
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("%s %w; install the distribution's package %s", argv[0], errNotInstalled, packageOf(argv[0]))
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("%w (%w)", ctx.Err(), err)
	}
	said := strings.Join(strings.FieldsFunc(complaint.String(), func(r rune) bool { return r == '\n' }), "; ")
	if said == "" {
		said = strings.TrimSpace(out.String())
	}
	return out.Bytes(), fmt.Errorf("%s: %w: %s", quote(argv), err, said)
}

// packageOf names the Debian package of a program.
func packageOf(program string) string {
	switch program {
	case "lvm":
		return "lvm2"
	case "thin_check", "thin_repair", "thin_dump":
		return "thin-provisioning-tools"
	case "mkfs.ext4", "e2fsck", "resize2fs":
		return "e2fsprogs"
	}
	return "util-linux"
}

// Exec is the action of running a program.
type Exec []string

// Shell is the command line.
func (e Exec) Shell() string { return quote(e) }

func (e Exec) do(ctx context.Context, h *Host) error {
	_, err := h.run(ctx, e...)
	return err
}
