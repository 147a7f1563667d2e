package leak

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// loopItems lists the loop devices that are bound to a file of the scope's.
// The kernel appends " (deleted)" to the name of a file that has gone.
func loopItems(scope Scope) (map[string]string, error) {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	items := map[string]string{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.ENODEV) {
			continue // released between the listing and the reading
		}
		if err != nil {
			return nil, err
		}
		backing := strings.TrimSpace(string(content))
		if scope.below(strings.TrimSuffix(backing, " (deleted)")) {
			device := "/dev/" + strings.Split(file, "/")[3]
			items[device+" "+backing] = device + " on " + backing
		}
	}
	return items, nil
}
