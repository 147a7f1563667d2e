package vm

import (
	"os"
	"slices"
	"strings"

	"github.com/varve-project/varve/test/vm/guest"
	"github.com/varve-project/varve/test/vm/kernel"
)

// earlyModules are needed before the guest has a root, and those that have a
// device node only once they are loaded. Others load from the root on demand.
var earlyModules = []string{
	"virtio_pci", "virtio_console", "virtio_blk", "virtio_rng",
	"9pnet_virtio", "9p", "overlay",
	"dm_mod", "loop", "fuse", "tun",
}

// extModules are for an ext4 before there is a root. The second is not among
// what the first says that it needs: it asks for it by name, from modprobe.
var extModules = []string{"ext4", "crc32c_generic"}

// initramfs returns the archive: the program as process 1, the modules that
// every guest needs, and more.
func initramfs(k *kernel.Kernel, program string, more ...string) ([]byte, error) {
	init, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	modules, err := k.Load(append(slices.Clone(earlyModules), more...)...)
	if err != nil {
		return nil, err
	}
	var archive kernel.Archive
	for _, dir := range []string{"dev", "proc", "sys", "modules.d"} {
		archive.Dir(dir)
	}
	archive.File(strings.TrimPrefix(guest.Init, "/"), init)
	var list strings.Builder
	for _, m := range modules {
		archive.File("modules.d/"+m.Name, m.Data)
		list.WriteString("/modules.d/" + m.Name + "\n")
	}
	archive.File(strings.TrimPrefix(guest.ModuleList, "/"), []byte(list.String()))
	return archive.Bytes(), nil
}
