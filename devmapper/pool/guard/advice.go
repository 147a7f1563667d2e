package guard

import (
	"fmt"
	"strconv"
	"strings"
)

// Commands that mend things. There is one place for each, so that they stay
// what varve-devmapper understands.
const (
	checkCommand  = "varve-devmapper pool check"
	repairCommand = "varve-devmapper pool repair"
	extendBare    = "varve-devmapper pool extend"
	addDisk       = extendBare + " --device /dev/DISK"
	repairAdvice  = "stop the daemon, then run `" + checkCommand + "` and `" + repairCommand + "`"
)

// extendCommand extends one space ("data" or "metadata") by some bytes.
func extendCommand(space string, by uint64) string {
	return fmt.Sprintf("%s --%s-size +%dM", extendBare, space, (by+1<<20-1)>>20)
}

// step is a sensible amount to extend a space by, by hand.
func step(l Limits, total uint64) uint64 {
	by := l.ExtendBy
	if by == 0 {
		by = 20
	}
	return (percent(total, by) + granule - 1) / granule * granule
}

// remedy says what to do about a space that has run low, and the command where
// one suffices.
func remedy(l Limits, s Scene, space string) (text, command string) {
	total := s.Data.Total
	if space == "metadata" {
		total = s.Metadata.Total
		if total >= MaxMetadata {
			return "remove images and snapshots: these metadata are as large as a pool's can be (a pool with larger chunks needs less)", ""
		}
	}
	by := step(l, total)
	command = extendCommand(space, by)
	switch {
	case l.Group == "" && !l.Files:
		return "remove images and snapshots that are not needed, or enlarge the pool's " + space + " device and have the pool use it", extendBare
	case s.Room.Known && s.Room.Bytes < granule:
		return fmt.Sprintf("remove images and snapshots that are not needed, or add a disk to the volume group %s, which has no room (`%s`), and extend the pool", l.Group, addDisk), command
	case s.Room.Known && s.Room.Bytes < by:
		command = extendCommand(space, s.Room.Bytes/granule*granule)
	}
	return "remove images and snapshots that are not needed, or extend the pool", command
}

// remedySentence is the remedy as a finding has it.
func remedySentence(l Limits, s Scene, space string) (text, command string) {
	text, command = remedy(l, s, space)
	return strings.ToUpper(text[:1]) + text[1:] + ".", command
}

// extendAdvice is the remedy in one line.
func extendAdvice(l Limits, s Scene, space string) string {
	text, command := remedy(l, s, space)
	if command == "" {
		return text
	}
	return text + ": `" + command + "`"
}

// broken says in which way a pool is dead.
func broken(s Scene) string {
	switch {
	case s.Mode == Failed:
		return "has failed: its metadata can neither be written nor rolled back (the kernel's log says why; often the disk)"
	case s.NeedsCheck:
		return "needs a check: the kernel met an error in its metadata and writes no more"
	case s.Mode == ReadOnly:
		return "is read-only: its metadata could not be written"
	}
	return fmt.Sprintf("is in a mode that is not known (%q)", string(s.Mode))
}

// size is a number of bytes for people.
func size(n uint64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"}
	v, u := float64(n), 0
	for v >= 1024 && u < len(units)-1 {
		v, u = v/1024, u+1
	}
	digits := 0
	if u > 0 && v < 100 {
		digits = 1
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + " " + units[u]
}
