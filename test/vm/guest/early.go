package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/test/vm/wire"
)

// early makes the initramfs usable: kernel file systems, and the modules that
// are needed before there is a root to load others from.
func early() error {
	for _, m := range []mount{
		{"proc", "/proc", "proc", 0, ""},
		{"sysfs", "/sys", "sysfs", 0, ""},
		{"devtmpfs", "/dev", "devtmpfs", 0, "mode=0755"},
	} {
		if err := m.do(); err != nil {
			return err
		}
	}
	list, err := os.ReadFile(ModuleList)
	if err != nil {
		return err
	}
	for _, path := range strings.Fields(string(list)) {
		if err := insert(path); err != nil {
			return err
		}
	}
	return nil
}

// insert loads one module. That it is there already, or built in, is fine.
func insert(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("module: %w", err)
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("loading module %s: %w", filepath.Base(path), err)
	}
	return nil
}

// portWait bounds the wait for the port's device; the bus is probed while
// this program starts.
const portWait = 20 * time.Second

// openPort finds the virtio-serial port by its name, as udev would.
func openPort() (*os.File, error) {
	for end := time.Now().Add(portWait); ; time.Sleep(10 * time.Millisecond) {
		names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil || strings.TrimSpace(string(text)) != wire.PortName {
				continue
			}
			dev := "/dev/" + filepath.Base(filepath.Dir(name))
			// Blocking on purpose: a port that nobody holds reads as ended.
			fd, err := unix.Open(dev, unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err != nil {
				return nil, fmt.Errorf("opening %s: %w", dev, err)
			}
			return os.NewFile(uintptr(fd), dev), nil
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("no virtio-serial port named %s after %v", wire.PortName, portWait)
		}
	}
}
