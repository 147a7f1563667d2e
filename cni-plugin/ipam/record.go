package ipam

import (
	"encoding/json"
	"net/netip"
)

// Key names one attachment: one interface of one container on one network.
type Key struct {
	Network     string `json:"network"`
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`
}

// State says how far an attachment has come. It only moves forward.
type State string

const (
	// Adding: the addresses are held and the record is durable, and any part
	// of the kernel's state may be in place. Found with its key lock free,
	// it is what a crashed ADD left: undo everything, tolerating absence.
	Adding State = "adding"
	// Attached: everything is in place and the link's index is known.
	Attached State = "attached"
	// Deleting: a DEL has begun; what is left is undone by whoever finds it.
	Deleting State = "deleting"
	// Imported: host-local had reserved the addresses (ImportHostLocal). What
	// else there is of the attachment is not ours and not known.
	Imported State = "imported"
)

// RecordVersion is the version of Lease that this code writes. A record of a
// later version is never changed, only reported.
const RecordVersion = 1

// Lease is the record of one attachment, one JSON file. It is written before
// the first effect in the kernel and removed after the last one is undone, so
// whatever ADD makes is named by a lease.
//
// The JSON form is read by later versions of Varve: fields are added, never
// renamed or removed.
type Lease struct {
	// Version is RecordVersion of the writer.
	Version int `json:"version"`
	Key
	State State `json:"state"`

	// Boot is the boot id (/proc/sys/kernel/random/boot_id) under which the
	// ADD ran. Of another boot, the lease is dead: no namespace and no link
	// outlives a reboot.
	Boot string `json:"boot"`
	// Stamp is CLOCK_BOOTTIME in nanoseconds when the ADD's process entered.
	Stamp int64 `json:"stamp"`
	// Written is the wall clock of the ADD, for people.
	Written string `json:"written"`

	// Netns is the path that the runtime gave, NetnsCookie the kernel's own
	// number of that namespace (SO_NETNS_COOKIE), which is never reused
	// within a boot, whereas inode numbers are, at once. A path that is gone
	// proves nothing: the namespace may live on in a process.
	Netns       string `json:"netns"`
	NetnsCookie uint64 `json:"netnsCookie,omitempty"`

	// Link is the host's end of the veth pair.
	Link Link `json:"link"`
	// Addresses are what the attachment holds, in the order of the ranges.
	Addresses []Address `json:"addresses,omitempty"`
	// Effects is what the engine has to undo or check, in the engine's own
	// words. This package keeps it and never looks inside.
	Effects json.RawMessage `json:"effects,omitempty"`
	// Result is the answer of a completed ADD, for CHECK and for people.
	Result json.RawMessage `json:"result,omitempty"`
}

// Link identifies the host's end of a veth pair. The alias carries the key's
// hash and the ADD's stamp: a link with the same name and another alias is
// somebody else's, or another attempt's, and is no sign of life.
type Link struct {
	Name  string `json:"name"`
	Alias string `json:"alias"`
	// Index is 0 until the lease is Attached.
	Index int `json:"index,omitempty"`
}

// Address is one leased address with what a pod needs to use it.
type Address struct {
	// Prefix is the address with the length of its subnet (10.89.0.7/24).
	Prefix netip.Prefix `json:"prefix"`
	// Gateway is the range's gateway.
	Gateway netip.Addr `json:"gateway,omitzero"`
}

// Tombstone is left by every DEL, also one of an attachment nobody knows,
// because a DEL may overtake the ADD that it undoes. It refuses an ADD of the
// same key whose process entered before the DEL's did; an ADD stamped later is
// a new life of the key and goes ahead. Tombstones are dropped after
// TombstoneAge, when no ADD of that time can be under way any more.
type Tombstone struct {
	Key
	Boot string `json:"boot"`
	// Stamp is CLOCK_BOOTTIME in nanoseconds when the DEL's process entered.
	Stamp int64 `json:"stamp"`
}

// Liveness is the verdict on one lease and the reason for it, a sentence for
// people.
type Liveness struct {
	Alive  bool
	Reason string
}

// Probe answers what the store cannot know by itself.
type Probe interface {
	// LinkExists tells whether the host has a link of this name and alias
	// (and index, unless it is 0) now.
	LinkExists(Link) (bool, error)
}
