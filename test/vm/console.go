package vm

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

// consoleKept is how much of the console's end is kept.
const consoleKept = 256 << 10

// console keeps the end of what a guest's console said, over all its boots.
type console struct {
	tee io.Writer

	mu   sync.Mutex
	text []byte
}

// follow reads until r ends.
func (c *console) follow(r io.Reader) {
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		c.add(buf[:n])
		if err != nil {
			return
		}
	}
}

func (c *console) add(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = append(c.text, p...)
	if over := len(c.text) - consoleKept; over > consoleKept {
		c.text = append([]byte(nil), c.text[over:]...)
	}
	if c.tee != nil {
		_, _ = c.tee.Write(p) // whoever wanted to see it may be gone
	}
}

// String returns what is kept, without carriage returns.
func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(bytes.ReplaceAll(c.text, []byte("\r"), nil))
}

// tail returns the last lines, each indented.
func (c *console) tail(lines int) string {
	all := strings.Split(strings.TrimSpace(c.String()), "\n")
	all = all[max(0, len(all)-lines):]
	return "  | " + strings.Join(all, "\n  | ")
}
