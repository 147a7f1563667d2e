package firewall

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/cni-plugin/rules"
	"github.com/varve-project/varve/internal/failpoint"
)

// legacyTable is one of the two tables "filter" of iptables-legacy, which only
// getsockopt reads and only iptables should write (it replaces the whole).
type legacyTable struct {
	names   string // the file that lists the namespace's tables
	program string
	domain  int
	level   int
	header  int // bytes of an entry before its matches (struct ipt_entry)
	address int // of them, those that the packet is compared with
}

var legacyTables = []legacyTable{
	{"/proc/net/ip_tables_names", "iptables", unix.AF_INET, unix.SOL_IP, 112, 84},
	{"/proc/net/ip6_tables_names", "ip6tables", unix.AF_INET6, unix.SOL_IPV6, 168, 136},
}

// From linux/netfilter_ipv4/ip_tables.h.
const soGetInfo, soGetEntries, hookForward = 64, 65, 2

// legacyDrops looks at the tables of iptables-legacy that this namespace has.
func legacyDrops() ([]Drop, error) {
	var out []Drop
	for _, t := range legacyTables {
		list, err := os.ReadFile(t.names)
		if err != nil || !bytes.Contains(append([]byte("\n"), list...), []byte("\nfilter\n")) {
			continue // no such table, or no iptables-legacy in this kernel
		}
		c, err := t.read()
		if err != nil {
			return nil, fmt.Errorf("%s-legacy: read the table filter: %w", t.program, err)
		}
		if c.drops || c.open {
			out = append(out, t.drop(c))
		}
	}
	return out, nil
}

// legacyChain is what FORWARD holds.
type legacyChain struct {
	rules  int
	drops  bool
	closed bool // its last rule refuses the rest
	open   bool // our rule is there
}

func (t legacyTable) drop(c legacyChain) Drop {
	d := Drop{Chain: t.program + "-legacy FORWARD", Open: c.open}
	program, err := t.path()
	if err != nil {
		d.Blocked = fmt.Sprintf("neither %[1]s-legacy nor %[1]s is installed: install it, or allow the pods' subnet and set forwardRule to \"none\"", t.program)
	}
	mark := fmt.Sprintf("%#[1]x/%#[1]x", 1<<rules.ForwardBit)
	rule := []string{"-m", "mark", "--mark", mark, "-m", "comment", "--comment", Comment, "-j", "ACCEPT"}
	run := func(args ...string) error {
		failpoint.Hit("cni.firewall.legacy.before")
		defer failpoint.Hit("cni.firewall.legacy.after")
		args = append(append([]string{"-w", "5"}, args...), rule...)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if out, err := exec.CommandContext(ctx, program, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, bytes.TrimSpace(out))
		}
		return nil
	}
	d.open = func() error {
		args := []string{"-A", "FORWARD"}
		if c.closed {
			args = []string{"-I", "FORWARD", strconv.Itoa(c.rules)}
		}
		if err := run(args...); err != nil {
			return err
		}
		now, err := t.read()
		if err == nil && !now.open {
			err = fmt.Errorf("%s did not put it into the legacy table: install iptables-legacy", program)
		}
		return err
	}
	d.close = func() error { return run("-D", "FORWARD") }
	return d
}

func (t legacyTable) path() (string, error) {
	path := os.Getenv("PATH") + ":/usr/sbin:/sbin"
	for _, name := range []string{t.program + "-legacy", t.program} {
		for dir := range strings.SplitSeq(path, ":") {
			if file := dir + "/" + name; dir != "" && unix.Access(file, unix.X_OK) == nil {
				return file, nil
			}
		}
	}
	return "", exec.ErrNotFound
}

// read takes the table's rules as the kernel keeps them: entries one behind
// the other, a chain's policy as its last.
func (t legacyTable) read() (legacyChain, error) {
	s, err := unix.Socket(t.domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return legacyChain{}, err
	}
	defer unix.Close(s)
	const name, hooks = 32, 5
	info := make([]byte, name+4+hooks*4*2+8)
	copy(info, "filter")
	if err := getsockopt(s, t.level, soGetInfo, info); err != nil {
		return legacyChain{}, err
	}
	word := func(i int) int { return int(binary.NativeEndian.Uint32(info[name+4*i:])) }
	first, policy, size := word(1+hookForward), word(1+hooks+hookForward), word(2+2*hooks)
	var head struct {
		_ [0]uint64 // the entries behind it are aligned like this
		_ [name]byte
		_ uint32
	}
	at := int(unsafe.Sizeof(head))
	table := make([]byte, at+size)
	copy(table, "filter")
	binary.NativeEndian.PutUint32(table[name:], uint32(size))
	if err := getsockopt(s, t.level, soGetEntries, table); err != nil {
		return legacyChain{}, err // EAGAIN: it changed in between
	}
	return t.parse(table[at:], first, policy)
}

// parse walks the chain from its first entry to its policy.
func (t legacyTable) parse(table []byte, first, policy int) (legacyChain, error) {
	var c legacyChain
	for at := first; ; {
		if at < 0 || at+t.header > len(table) {
			return c, fmt.Errorf("an entry at byte %d of %d", at, len(table))
		}
		entry := table[at:]
		offsets := t.address + 4
		target := int(binary.NativeEndian.Uint16(entry[offsets:]))
		next := int(binary.NativeEndian.Uint16(entry[offsets+2:]))
		if next < t.header || next > len(entry) || target+36 > next {
			return c, fmt.Errorf("an entry of %d bytes with its target at %d", next, target)
		}
		refuses := refuses(entry[target:next])
		if at >= policy {
			c.drops = c.closed || refuses
			return c, nil
		}
		c.rules++
		c.open = c.open || bytes.Contains(entry[:next], []byte(Comment+"\x00"))
		c.closed = refuses && target == t.header && len(bytes.Trim(entry[:t.address], "\x00")) == 0
		at += next
	}
}

// refuses reads a target (struct xt_standard_target): its name and verdict.
func refuses(target []byte) bool {
	name, _, _ := bytes.Cut(target[2:31], []byte{0})
	verdict := int32(binary.NativeEndian.Uint32(target[32:]))
	const drop = -1 // -NF_DROP - 1
	return string(name) == "REJECT" || len(name) == 0 && verdict == drop
}

func getsockopt(s, level, name int, data []byte) error {
	size := uint32(len(data))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(&data[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
