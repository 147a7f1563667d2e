package pool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// lvmFields are what start-up asks of a logical volume.
const lvmFields = "lv_name,lv_uuid,segtype,transaction_id,thin_count,lv_when_full,vg_free"

// logicalVolume is one row of lvs.
type logicalVolume struct {
	name, uuid, kind string
	// transactionID is LVM's own, which it raises for each thin volume of its
	// own; 0: LVM leaves the pool's ids to somebody else (decision 0031).
	transactionID, thins uint64
	whenFull             string
	// free is what the volume group has left, in bytes.
	free uint64
}

// errNoLVM says what is missing.
var errNoLVM = errors.New("lvm is not installed; install the package lvm2")

// runLVM runs one LVM command and returns its output. Where no udevd runs
// nobody would answer LVM's cookies and make its nodes, so it does so itself.
func runLVM(ctx context.Context, command string, arg ...string) ([]byte, error) {
	args := []string{command}
	if _, err := os.Stat("/run/udev/control"); err != nil {
		args = append(args, "--config", "activation{udev_sync=0 udev_rules=0} devices{obtain_device_list_from_udev=0}")
	}
	cmd := exec.CommandContext(ctx, "lvm", append(args, arg...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "LVM_SUPPRESS_FD_WARNINGS=1")
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", errNoLVM, errdefs.ErrFailedPrecondition)
	}
	if err != nil {
		return nil, fmt.Errorf("lvm %s %s: %w: %s", command, strings.Join(arg, " "), err, strings.TrimSpace(complaint.String()))
	}
	return out.Bytes(), nil
}

// logicalVolumes lists the volumes of a group.
func logicalVolumes(ctx context.Context, group string) ([]logicalVolume, error) {
	out, err := runLVM(ctx, "lvs", "--reportformat", "json", "--units", "b", "--nosuffix", "--options", lvmFields, group)
	if err != nil {
		return nil, err
	}
	return parseLVs(out)
}

// parseLVs reads the JSON of lvs. A volume of several segments has a row for
// each; all say the same of what is asked here.
func parseLVs(out []byte) ([]logicalVolume, error) {
	var report struct {
		Report []struct {
			LV []map[string]string `json:"lv"`
		} `json:"report"`
	}
	if err := json.Unmarshal(out, &report); err != nil {
		return nil, fmt.Errorf("output of lvs: %w", err)
	}
	var list []logicalVolume
	for _, r := range report.Report {
		for _, row := range r.LV {
			v := logicalVolume{name: row["lv_name"], uuid: row["lv_uuid"], kind: row["segtype"], whenFull: row["lv_when_full"]}
			for field, to := range map[string]*uint64{"transaction_id": &v.transactionID, "thin_count": &v.thins, "vg_free": &v.free} {
				if row[field] == "" {
					continue // a volume that has no such thing
				}
				n, err := strconv.ParseUint(row[field], 10, 64)
				if err != nil {
					return nil, fmt.Errorf("output of lvs: %s of %s: %w", field, v.name, err)
				}
				*to = n
			}
			list = append(list, v)
		}
	}
	return list, nil
}

// mapperName is the device-mapper name of a logical volume: LVM doubles the
// hyphens of both names (lvm2, dm_build_dm_name).
func mapperName(group, lv string) string {
	double := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
	return double(group) + "-" + double(lv)
}
