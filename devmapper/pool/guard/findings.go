package guard

import (
	"fmt"

	"github.com/varve-project/varve/internal/finding"
)

// The ids of the findings. They are a contract.
const (
	DataLow         = "devmapper.pool.data-low"
	DataFull        = "devmapper.pool.data-full"
	MetadataLow     = "devmapper.pool.metadata-low"
	MetadataFull    = "devmapper.pool.metadata-full"
	MetadataAtLimit = "devmapper.pool.metadata-at-limit"
	NoRoom          = "devmapper.pool.no-room"
	ExtendFailed    = "devmapper.pool.extend-failed"
	PoolReadOnly    = "devmapper.pool.read-only"
	PoolFailed      = "devmapper.pool.failed"
	NeedsCheck      = "devmapper.pool.needs-check"
	Unreadable      = "devmapper.pool.unreadable"
	BehaviourUnset  = "devmapper.pool.behaviour-not-set"
	QueueCut        = "devmapper.pool.queue-cut"
	QueueUnbounded  = "devmapper.pool.queue-unbounded"
)

// findings lists what is wrong in a scene.
func findings(l Limits, s Scene, v Verdict) finding.List {
	var list finding.List
	add := func(f finding.Finding) {
		f.Object = l.Pool
		list = append(list, f)
	}
	if s.dead() {
		add(deadFinding(s))
		return list
	}
	if f, ok := dataFinding(l, s); ok {
		add(f)
	}
	if f, ok := metadataFinding(l, s); ok {
		add(f)
	}
	extensionFindings(l, s, v, add)
	behaviourFindings(l, s, add)
	return list
}

func deadFinding(s Scene) finding.Finding {
	f := finding.Finding{
		ID: PoolReadOnly, Severity: finding.Error, Text: "The pool " + broken(s) + ".",
		Meaning: "Reads are served; writes fail, and no snapshot can be made or removed.",
		Remedy:  "Look at the kernel's log (dmesg) for the disk. Stop the daemon, check the metadata, and repair them if the check says so.",
		Command: checkCommand,
	}
	switch {
	case s.Mode == Failed:
		f.ID, f.Meaning, f.Command = PoolFailed, "Every read and write of a container on it fails.", repairCommand
	case s.NeedsCheck:
		f.ID = NeedsCheck
	}
	return f
}

func dataFinding(l Limits, s Scene) (finding.Finding, bool) {
	floor := l.dataFloor(s.Data.Total)
	f := finding.Finding{Severity: finding.Error, Text: spaceText("data", s.Data)}
	f.Remedy, f.Command = remedySentence(l, s, "data")
	switch {
	case s.dataFull():
		f.ID, f.Meaning = DataFull, "Containers that write to blocks they have not written yet "+fate(s)+"; nothing new is admitted."
	case s.Data.Free() < floor:
		f.ID, f.Meaning = DataLow, fmt.Sprintf("Nothing new is admitted until %s are free again (min_free_data = %d). Containers go on.", size(floor), l.MinFreeData)
	case l.ExtendAt > 0 && s.Data.Fill() >= l.ExtendAt:
		f.ID, f.Severity, f.Meaning = DataLow, finding.Warning, fmt.Sprintf("It is past extend_at = %d, and an extension is due.", l.ExtendAt)
	default:
		return f, false
	}
	return f, true
}

// fate is what becomes of writes to a full pool.
func fate(s Scene) string {
	if s.ErrorIfFull {
		return "get an error (no space left)"
	}
	return "wait, and cannot be killed meanwhile"
}

func metadataFinding(l Limits, s Scene) (finding.Finding, bool) {
	floor := l.metadataFloor(s.Metadata.Total)
	f := finding.Finding{Severity: finding.Error, Text: spaceText("metadata", s.Metadata)}
	f.Remedy, f.Command = remedySentence(l, s, "metadata")
	switch {
	case s.metadataFull():
		f.ID, f.Meaning = MetadataFull, "The pool is read-only: containers that write get errors, and nothing can be removed to make room. Only an extension of the metadata ends this."
		if s.Mode != ReadOnly {
			f.Meaning = "The next write makes the pool read-only: containers that write get errors then, and nothing can be removed to make room. Extend the metadata now."
		}
	case s.Metadata.Free() < floor:
		f.ID, f.Meaning = MetadataLow, fmt.Sprintf("Nothing new is admitted until %s are free again (min_free_metadata = %d). Full metadata would make the pool read-only.", size(floor), l.MinFreeMetadata)
	case l.ExtendAt > 0 && s.Metadata.Fill() >= l.ExtendAt && s.Metadata.Total >= MaxMetadata:
		f.ID, f.Severity, f.Meaning = MetadataAtLimit, finding.Warning, "They cannot be extended any more: when they are full the pool turns read-only."
	case l.ExtendAt > 0 && s.Metadata.Fill() >= l.ExtendAt:
		f.ID, f.Severity, f.Meaning = MetadataLow, finding.Warning, fmt.Sprintf("They are past extend_at = %d, and an extension is due.", l.ExtendAt)
	default:
		return f, false
	}
	return f, true
}

func spaceText(space string, s Space) string {
	return fmt.Sprintf("The pool's %s space is %d%% used, %s of %s.", space, s.Fill(), size(s.Used), size(s.Total))
}

func extensionFindings(l Limits, s Scene, v Verdict, add func(finding.Finding)) {
	if s.ExtendFailed != nil {
		add(finding.Finding{
			ID: ExtendFailed, Severity: finding.Error,
			Text:    fmt.Sprintf("The pool could not be extended: %v.", s.ExtendFailed),
			Meaning: "It is tried again, less and less often. Meanwhile the pool fills up.",
			Remedy:  "Mend what the error names; running the extension by hand shows all of it.", Command: failedCommand(l, s),
		})
	}
	if l.Group == "" || l.ExtendAt == 0 || !s.Room.Known {
		return
	}
	need := step(l, s.Data.Total)
	if s.Room.Bytes >= need {
		return
	}
	f := finding.Finding{
		ID: NoRoom, Severity: finding.Warning,
		Text:    fmt.Sprintf("The volume group %s has room for %s, and the next extension of the pool wants %s.", l.Group, size(s.Room.Bytes), size(need)),
		Meaning: "The pool cannot grow as configured when it fills up.",
		Remedy:  "Add a disk: `" + addDisk + "`. Or set extend_at = 0 if the pool is as large as it shall be.",
	}
	if v.Wanted {
		f.Severity, f.Meaning = finding.Error, "An extension is due now."
	}
	add(f)
}

// failedCommand is the extension that failed, to be run by hand.
func failedCommand(l Limits, s Scene) string {
	if s.Metadata.Free() <= l.low(s.Metadata.Total, l.metadataFloor(s.Metadata.Total)) {
		return extendCommand("metadata", step(l, s.Metadata.Total))
	}
	return extendCommand("data", step(l, s.Data.Total))
}

func behaviourFindings(l Limits, s Scene, add func(finding.Finding)) {
	if s.BehaviourFailed != nil {
		add(finding.Finding{
			ID: BehaviourUnset, Severity: finding.Error,
			Text:    fmt.Sprintf("The pool's out-of-space behaviour could not be set: %v.", s.BehaviourFailed),
			Meaning: "Until it is, writes to a full pool " + fate(s) + ".",
			Remedy:  "Mend what the error names; it is tried again.",
		})
	}
	if !l.Queue {
		return
	}
	f := finding.Finding{Severity: finding.Warning}
	switch {
	case s.KernelTimeout == 0:
		f.ID, f.Text = QueueUnbounded, "The kernel lets writes to full thin pools wait for ever (dm_thin_pool.no_space_timeout = 0)."
		f.Meaning = "While the daemon runs it ends the wait after queue_for. While it does not, writers to a full pool hang and cannot be killed."
		f.Command = timeoutCommand(60)
	case s.KernelTimeout > 0 && s.KernelTimeout < l.QueueFor:
		f.ID, f.Text = QueueCut, fmt.Sprintf("queue_for = %s, and the kernel ends the wait after %s (dm_thin_pool.no_space_timeout).", l.QueueFor, s.KernelTimeout)
		f.Meaning = "Writes to a full pool fail after the shorter time."
		f.Command = timeoutCommand(int(l.QueueFor.Seconds() + 0.5))
	default:
		return
	}
	f.Remedy = "Set the kernel's parameter, which is one for all thin pools of the machine; for good with a line `options dm_thin_pool no_space_timeout=SECONDS` in /etc/modprobe.d/."
	add(f)
}
