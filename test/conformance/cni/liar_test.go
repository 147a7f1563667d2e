package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The liar stands before the real plug-in and spoils one thing. It is this
// test binary under the plug-in's name.
const (
	faultVariable = "CNI_CONFORMANCE_FAULT"
	realVariable  = "CNI_CONFORMANCE_REAL"
)

// liar is one execution of it.
type liar struct {
	verb, fault string
	stdin       []byte
	conf        map[string]any
	env         map[string]string
	out         []byte
	code        int
}

// lie runs the fault and ends the process.
func lie() {
	l := &liar{verb: os.Getenv("CNI_COMMAND"), fault: os.Getenv(faultVariable), env: map[string]string{}}
	var input bytes.Buffer
	_, _ = input.ReadFrom(os.Stdin)
	l.stdin = input.Bytes()
	_ = json.Unmarshal(l.stdin, &l.conf)
	if before, ok := faults[l.fault]; !ok {
		l.fail("no fault " + l.fault)
	} else {
		before(l)
	}
	_, _ = os.Stdout.Write(l.out)
	os.Exit(l.code)
}

// real executes the plug-in itself.
func (l *liar) real() {
	cmd := exec.Command(os.Getenv(realVariable))
	cmd.Env = os.Environ()
	for name, value := range l.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Stdin = bytes.NewReader(l.stdin)
	l.out, _ = cmd.Output()
	l.code = cmd.ProcessState.ExitCode()
}

// with is another execution, beside the real one, and returns its exit
// status.
func (l *liar) with(env map[string]string, change func(conf map[string]any)) int {
	other := &liar{verb: l.verb, env: env, conf: map[string]any{}}
	_ = json.Unmarshal(l.stdin, &other.conf)
	if change != nil {
		change(other.conf)
	}
	other.stdin, _ = json.Marshal(other.conf)
	other.real()
	return other.code
}

func (l *liar) fail(text string) {
	l.out, l.code = []byte(`{"cniVersion":"1.1.0","code":100,"msg":"`+text+`"}`), 1
}

func (l *liar) succeed(out string) { l.out, l.code = []byte(out), 0 }

// edit changes the answer's JSON.
func (l *liar) edit(change func(answer map[string]any)) {
	var answer map[string]any
	if json.Unmarshal(l.out, &answer) == nil {
		change(answer)
		l.out, _ = json.Marshal(answer)
	}
}

// leak makes a link that nobody removes.
func leak() {
	_ = netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("leak%d", os.Getpid())}})
}

// phantom attaches a container that nobody knows. The one address that is
// left may have to rest first.
func (l *liar) phantom() {
	path := fmt.Sprintf("/run/netns/phantom%d", os.Getpid())
	_ = os.WriteFile(path, nil, 0o400)
	runtime.LockOSThread()
	own, _ := netns.Get()
	_ = unix.Unshare(unix.CLONE_NEWNET)
	_ = unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	_ = netns.Set(own)
	for range 20 {
		code := l.with(map[string]string{"CNI_COMMAND": "ADD", "CNI_CONTAINERID": filepath.Base(path), "CNI_NETNS": path, "CNI_IFNAME": "eth0"},
			func(conf map[string]any) { delete(conf, "prevResult") })
		if code == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (l *liar) bridgeDown() {
	name, _ := l.conf["bridge"].(string)
	if bridge, err := netlink.LinkByName(name); err == nil {
		_ = netlink.LinkSetDown(bridge)
	}
}

// mark is a file that says that the container was attached.
func mark() string { return "/run/liar-" + os.Getenv("CNI_CONTAINERID") + os.Getenv("CNI_IFNAME") }

func marked() bool {
	_, err := os.Stat(mark())
	return err == nil
}

// at runs the fault at one verb, and the plug-in at the others.
func at(verb string, fault func(l *liar)) func(l *liar) {
	return func(l *liar) {
		if l.verb == verb {
			fault(l)
		} else {
			l.real()
		}
	}
}

// behind runs the plug-in, and then the fault.
func behind(verb string, fault func(l *liar)) func(l *liar) {
	return func(l *liar) {
		l.real()
		if l.verb == verb {
			fault(l)
		}
	}
}

func gone(path string) bool {
	_, err := os.Stat(path)
	return err != nil
}

var faults = map[string]func(l *liar){
	"none":       func(l *liar) { l.real() },
	"versions":   at("VERSION", func(l *liar) { l.succeed(`{"cniVersion":"1.1.0","supportedVersions":["0.9.9"]}`) }),
	"form":       behind("ADD", func(l *liar) { l.edit(func(a map[string]any) { a["cniVersion"] = "0.2.0" }) }),
	"chatty":     behind("ADD", func(l *liar) { l.out = append([]byte("attaching\n"), l.out...) }),
	"wrong code": func(l *liar) { l.real(); l.edit(func(a map[string]any) { a["code"] = 999 }) },
	"no version": func(l *liar) {
		l.real()
		if l.code != 0 {
			l.edit(func(a map[string]any) { delete(a, "cniVersion") })
		}
	},
	"any version": func(l *liar) {
		if l.real(); l.conf["cniVersion"] == "99.0.0" {
			l.succeed("{}")
		}
	},
	"leaks when it fails": behind("ADD", func(l *liar) {
		if l.code != 0 {
			leak()
		}
	}),
	"other address": behind("ADD", func(l *liar) {
		l.edit(func(a map[string]any) { a["ips"] = []any{map[string]any{"address": "1.2.3.4/24", "interface": 2}} })
	}),
	"always eth0": func(l *liar) { l.env["CNI_IFNAME"] = "eth0"; l.real() },
	"cuts off":    behind("ADD", (*liar).bridgeDown),
	"ADD never fails": behind("ADD", func(l *liar) {
		if l.code != 0 {
			l.succeed(`{"cniVersion":"1.1.0"}`)
		}
	}),
	"keeps an address when it fails": behind("ADD", func(l *liar) {
		if l.code != 0 {
			l.phantom()
		}
	}),
	"strict arguments": at("ADD", func(l *liar) {
		if l.real(); strings.Contains(os.Getenv("CNI_ARGS"), "Strange") {
			l.fail("unknown argument")
		}
	}),
	"DEL leaks":               behind("DEL", func(*liar) { leak() }),
	"DEL keeps an address":    behind("DEL", (*liar).phantom),
	"DEL cuts others off":     behind("DEL", (*liar).bridgeDown),
	"DEL of every interface":  behind("DEL", func(l *liar) { l.with(map[string]string{"CNI_IFNAME": "eth0"}, nil) }),
	"DEL needs the namespace": at("DEL", func(l *liar) { l.unless(gone(os.Getenv("CNI_NETNS"))) }),
	"DEL needs prevResult":    at("DEL", func(l *liar) { l.unless(l.conf["prevResult"] == nil) }),
	"DEL only once": func(l *liar) {
		if l.verb == "DEL" && !marked() {
			l.fail("no such attachment")
			return
		}
		l.remember()
	},
	"DEL only of what it remembers": func(l *liar) {
		if l.verb == "DEL" && !marked() {
			return
		}
		l.remember()
	},
	"DEL goes by the path": behind("DEL", func(*liar) {
		runtime.LockOSThread()
		if ns, err := netns.GetFromPath(os.Getenv("CNI_NETNS")); err == nil && netns.Set(ns) == nil {
			if link, err := netlink.LinkByName("eth0"); err == nil {
				_ = netlink.LinkDel(link)
			}
		}
	}),
	"CHECK is blind":      at("CHECK", func(*liar) {}),
	"CHECK fails":         at("CHECK", func(l *liar) { l.fail("nothing is right") }),
	"STATUS fails":        at("STATUS", func(l *liar) { l.fail("not ready") }),
	"GC keeps an address": behind("GC", (*liar).phantom),
	"GC does nothing":     at("GC", func(*liar) {}),
	"GC takes no list for an empty one": at("GC", func(l *liar) {
		l.with(nil, func(conf map[string]any) {
			if conf["cni.dev/valid-attachments"] == nil {
				conf["cni.dev/valid-attachments"] = []any{}
			}
		})
	}),
	"GC of every network": behind("GC", func(l *liar) {
		l.with(nil, func(conf map[string]any) { conf["name"] = fmt.Sprint(conf["name"], "-other") })
	}),
	"GC knows all": at("GC", func(l *liar) {
		if l.real(); bytes.Contains(l.stdin, []byte("nobody")) {
			l.fail("unknown attachment")
		}
	}),
	"no host ports": func(l *liar) {
		delete(l.conf, "runtimeConfig")
		l.stdin, _ = json.Marshal(l.conf)
		l.real()
	},
}

// unless leaves the plug-in out and answers with success.
func (l *liar) unless(out bool) {
	if !out {
		l.real()
	}
}

// remember runs the plug-in and keeps the mark.
func (l *liar) remember() {
	l.real()
	switch {
	case l.verb == "ADD" && l.code == 0:
		_ = os.WriteFile(mark(), nil, 0o600)
	case l.verb == "DEL":
		_ = os.Remove(mark())
	}
}
