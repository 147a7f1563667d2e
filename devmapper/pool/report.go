package pool

import (
	"fmt"
	"strconv"
	"strings"
)

// Modes of a pool, as the kernel names them in its status; ModeFail stands for
// the lone words "Fail" and "Error".
const (
	ModeWrite    = "rw"
	ModeReadOnly = "ro"
	ModeNoSpace  = "out_of_data_space"
	ModeFail     = "fail"
)

// MetadataBlock is the size in bytes of a block of a pool's metadata.
const MetadataBlock = 4096

// Report is the status line of a thin-pool target (kernel doc
// admin-guide/device-mapper/thin-provisioning.rst, "Status").
type Report struct {
	TransactionID uint64
	// Metadata blocks are of MetadataBlock bytes, data blocks of the pool's
	// block size.
	MetadataUsed, MetadataTotal uint64
	DataUsed, DataTotal         uint64
	// HeldRoot is the block of the metadata snapshot, 0 for none.
	HeldRoot uint64
	// Mode is one of the constants above. Of a failed pool the numbers are
	// all 0.
	Mode string
	// Passdown: discards go down to the data device. NoDiscard: they are not
	// served at all.
	Passdown, NoDiscard bool
	// ErrorIfFull: a write without space fails instead of waiting.
	ErrorIfFull bool
	NeedsCheck  bool
	// MetadataLowWater in blocks; 0 before Linux 5.1, which does not say.
	MetadataLowWater uint64
}

// ParseReport reads a status line. Words of newer kernels that it does not
// know are passed over.
func ParseReport(line string) (Report, error) {
	words := strings.Fields(line)
	if len(words) == 1 && (words[0] == "Fail" || words[0] == "Error") {
		return Report{Mode: ModeFail}, nil
	}
	if len(words) < 5 {
		return Report{}, fmt.Errorf("status %q of a thin pool: %d words, want 5 or more", line, len(words))
	}
	var r Report
	var err error
	if r.TransactionID, err = strconv.ParseUint(words[0], 10, 64); err != nil {
		return Report{}, fmt.Errorf("status %q of a thin pool: transaction id: %w", line, err)
	}
	if r.MetadataUsed, r.MetadataTotal, err = parseUse(words[1]); err != nil {
		return Report{}, fmt.Errorf("status %q of a thin pool: metadata: %w", line, err)
	}
	if r.DataUsed, r.DataTotal, err = parseUse(words[2]); err != nil {
		return Report{}, fmt.Errorf("status %q of a thin pool: data: %w", line, err)
	}
	if words[3] != "-" {
		if r.HeldRoot, err = strconv.ParseUint(words[3], 10, 64); err != nil {
			return Report{}, fmt.Errorf("status %q of a thin pool: held metadata root: %w", line, err)
		}
	}
	for i, w := range words[4:] {
		r.word(w, i == len(words)-5)
	}
	if r.Mode == "" {
		return Report{}, fmt.Errorf("status %q of a thin pool: it names no mode", line)
	}
	return r, nil
}

// word reads one of the words behind the numbers; the last may be a number.
func (r *Report) word(w string, last bool) {
	switch w {
	case ModeWrite, ModeReadOnly, ModeNoSpace:
		r.Mode = w
	case "out_of_metadata_space":
		// Linux 4.20 and newer say so; nothing can be written.
		r.Mode = ModeReadOnly
	case "discard_passdown":
		r.Passdown = true
	case "ignore_discard":
		r.NoDiscard = true
	case "error_if_no_space":
		r.ErrorIfFull = true
	case "needs_check":
		r.NeedsCheck = true
	default:
		if n, err := strconv.ParseUint(w, 10, 64); err == nil && last {
			r.MetadataLowWater = n
		}
	}
}

func parseUse(s string) (used, total uint64, err error) {
	u, t, ok := strings.Cut(s, "/")
	if !ok {
		return 0, 0, fmt.Errorf("%q is not USED/TOTAL", s)
	}
	if used, err = strconv.ParseUint(u, 10, 64); err != nil {
		return 0, 0, err
	}
	if total, err = strconv.ParseUint(t, 10, 64); err != nil {
		return 0, 0, err
	}
	if used > total {
		return 0, 0, fmt.Errorf("%d of %d are used", used, total)
	}
	return used, total, nil
}
