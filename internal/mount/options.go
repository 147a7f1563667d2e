package mount

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Options are mount options in the form that mount(2) takes.
type Options struct {
	// Flags are MS_* bits.
	Flags uintptr
	// Data holds the file system's own options, separated by commas.
	Data string
}

// ReadOnly tells whether MS_RDONLY is among the flags.
func (o Options) ReadOnly() bool { return o.Flags&unix.MS_RDONLY != 0 }

// With returns o with one more option of the file system, unless it is there.
func (o Options) With(option string) Options {
	if o.Data == "" {
		o.Data = option
	} else if !slices.Contains(strings.Split(o.Data, ","), option) {
		o.Data += "," + option
	}
	return o
}

// dataLimit is what mount(2) copies: one page with its closing zero.
const dataLimit = 4096 - 1

// generic are the options that every file system has (mount(8)); clear is
// applied before set.
var generic = map[string]struct{ clear, set uintptr }{
	"defaults":      {},
	"ro":            {0, unix.MS_RDONLY},
	"rw":            {unix.MS_RDONLY, 0},
	"noatime":       {unix.MS_RELATIME | unix.MS_STRICTATIME, unix.MS_NOATIME},
	"atime":         {unix.MS_NOATIME, 0},
	"relatime":      {unix.MS_NOATIME | unix.MS_STRICTATIME, unix.MS_RELATIME},
	"norelatime":    {unix.MS_RELATIME, 0},
	"strictatime":   {unix.MS_NOATIME | unix.MS_RELATIME, unix.MS_STRICTATIME},
	"nostrictatime": {unix.MS_STRICTATIME, 0},
	"nodiratime":    {0, unix.MS_NODIRATIME},
	"diratime":      {unix.MS_NODIRATIME, 0},
	"nodev":         {0, unix.MS_NODEV},
	"dev":           {unix.MS_NODEV, 0},
	"nosuid":        {0, unix.MS_NOSUID},
	"suid":          {unix.MS_NOSUID, 0},
	"noexec":        {0, unix.MS_NOEXEC},
	"exec":          {unix.MS_NOEXEC, 0},
	"sync":          {0, unix.MS_SYNCHRONOUS},
	"async":         {unix.MS_SYNCHRONOUS, 0},
	"dirsync":       {0, unix.MS_DIRSYNC},
	"lazytime":      {0, unix.MS_LAZYTIME},
	"nolazytime":    {unix.MS_LAZYTIME, 0},
}

// foreign are words of mount(8) that would mount something else than asked.
var foreign = []string{
	"bind", "rbind", "remount", "move", "loop", "offset", "sizelimit",
	"shared", "rshared", "slave", "rslave", "private", "rprivate",
	"unbindable", "runbindable", "user", "users", "group", "owner",
	"noauto", "auto", "nofail", "_netdev", "x-mount.mkdir",
}

// ParseOptions turns the words of mount(8) into Options, starting from flags:
// later words win. Words it does not know are the file system's and go to the
// kernel as they are. It refuses words that are not about a mount of a device
// at all, and more than the kernel takes.
func ParseOptions(flags uintptr, words []string) (Options, error) {
	o := Options{Flags: flags}
	var data []string
	for _, list := range words {
		for _, word := range strings.Split(list, ",") {
			key, _, _ := strings.Cut(word, "=")
			switch g, known := generic[word]; {
			case word == "" || strings.ContainsRune(word, 0):
				return Options{}, fmt.Errorf("mount option %q in %q: empty or with a zero byte", word, list)
			case slices.Contains(foreign, key):
				return Options{}, fmt.Errorf("mount option %q: not an option of the file system; leave it out", word)
			case known:
				o.Flags = o.Flags&^g.clear | g.set
			default:
				data = append(data, word)
			}
		}
	}
	o.Data = strings.Join(data, ",")
	if len(o.Data) > dataLimit {
		return Options{}, fmt.Errorf("mount options: %d bytes, the kernel takes %d", len(o.Data), dataLimit)
	}
	return o, nil
}
