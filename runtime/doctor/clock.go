package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/internal/finding"
)

var (
	clockBehind = define(Definition{
		ID: "node.clock.behind", Severity: finding.Error,
		Text:    "the clock says {now}, but {object} was written at {then}",
		Meaning: "The clock went backwards. Registries' certificates are not valid yet, times in logs mislead, and leases seem to last too long.",
		Remedy:  "Set the clock, and let it be kept by NTP.",
		Command: "timedatectl set-ntp true",
	})
	clockUnkept = define(Definition{
		ID: "node.clock.unsynchronised", Severity: finding.Info,
		Text:    "nothing keeps this machine's clock: the kernel calls it unsynchronised",
		Meaning: "It drifts. The suite itself does not depend on it, but certificates and the times in logs do.",
		Remedy:  "Let it be kept by NTP.",
		Command: "timedatectl set-ntp true",
	})
)

// slack allows for file systems that stamp a little ahead and for clocks that
// are stepped by NTP.
const slack = 5 * time.Minute

func (n *node) clock(context.Context) (finding.List, error) {
	var list finding.List
	now := time.Now()
	// The folders change with every pod, image and daemon; our own binary
	// was written before any of them.
	self, _ := os.Executable()
	for _, path := range []string{self, n.config.RuntimeRoot(), n.config.RuntimeState()} {
		info, err := os.Stat(path)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return list, err
		}
		if then := info.ModTime(); then.After(now.Add(slack)) {
			list = append(list, n.found(clockBehind, path,
				"now", now.UTC().Format(time.RFC3339), "then", then.UTC().Format(time.RFC3339)))
		}
	}
	var tx unix.Timex
	if _, err := unix.Adjtimex(&tx); err != nil {
		return list, err
	}
	if tx.Status&unix.STA_UNSYNC != 0 {
		list = append(list, n.found(clockUnkept, ""))
	}
	return list, nil
}
