package pool

import (
	"fmt"
	"strconv"
	"strings"
)

// maxID is the largest thin id: 24 bits (MAX_DEV_ID in dm-thin.c).
const maxID ThinID = 1<<24 - 1

const (
	namePrefix = "varve-"
	uuidPrefix = "VARVE-"
	// discardTail marks the block device of a thin device that is being
	// discarded before it is deleted.
	discardTail = "-discard"
)

// names are the device-mapper names of one pool's devices. The name carries a
// part of the pool's UUID, for people; the device's UUID carries all of it and
// is what is looked for.
type names struct{ pool string }

func (n names) name(tail string) string {
	return namePrefix + strings.ReplaceAll(n.pool, "-", "")[:12] + "-" + tail
}
func (n names) uuid(tail string) string { return uuidPrefix + n.pool + "-" + tail }

func (n names) thin(id ThinID) string     { return n.name(strconv.Itoa(int(id))) }
func (n names) thinUUID(id ThinID) string { return n.uuid(strconv.Itoa(int(id))) }

// The devices that a pool without LVM consists of.
const (
	tailCatalog = "catalog"
	tailData    = "data"
	tailPool    = "pool"
)

// parse tells which of the pool's devices has this dm UUID: tail is all that
// follows the pool's own, id is 0 for what is no thin device.
func (n names) parse(uuid string) (tail string, id ThinID, ours bool) {
	tail, ours = strings.CutPrefix(uuid, n.uuid(""))
	if !ours {
		return "", 0, false
	}
	number, err := strconv.ParseUint(tail, 10, 24)
	if err != nil || number == 0 || strconv.FormatUint(number, 10) != tail {
		return tail, 0, true
	}
	return tail, ThinID(number), true
}

// devNumber is a device's number as tables have it.
func devNumber(major, minor uint32) string { return fmt.Sprintf("%d:%d", major, minor) }

// isOurs tells a device of any pool of ours.
func isOurs(uuid string) bool { return strings.HasPrefix(uuid, uuidPrefix) }
