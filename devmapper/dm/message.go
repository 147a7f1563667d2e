package dm

import (
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Message tells the target that serves the sector something in its own
// language ("create_thin 7" to a thin pool, sector 0), or device-mapper itself
// where the text begins with '@'. The answer is empty where the message has
// none. What the message does is done when it returns; a thin pool's is
// durable.
//
// One ioctl. An answer of more than 16 KiB is asked for again, so the message
// acts once more; only @stats_print and the like answer at such length.
//
// Errors: NotFound (no such device, or the target has no such thing: ENODATA),
// AlreadyExists (EEXIST), InvalidArgument (the target does not understand it),
// ResourceExhausted (ENOSPC), Unavailable (a pool that is read-only or failed).
func (c *Control) Message(name string, sector uint64, text string) (string, error) {
	h, err := c.message(name, sector, text)
	if err != nil {
		return "", err
	}
	answer, err := h.reply()
	if err != nil {
		return "", fail("message to", name, err)
	}
	return answer, nil
}

func (c *Control) message(name string, sector uint64, message string) (header, error) {
	what := fmt.Sprintf("message %q to", message)
	if strings.TrimSpace(message) == "" || strings.ContainsRune(message, 0) {
		return nil, fmt.Errorf("%s device %s: the message is empty or holds a NUL: %w", what, name, errdefs.ErrInvalidArgument)
	}
	payload := native.AppendUint64(nil, sector)
	payload = append(append(payload, message...), 0)
	return c.device(what, command{request: unix.DM_TARGET_MSG, name: name, payload: payload, answer: answerSize})
}

// reply is the text that a message was answered with.
func (h header) reply() (string, error) {
	if !h.has(unix.DM_DATA_OUT_FLAG) {
		return "", nil
	}
	return read(h, func(data []byte) (string, error) { return text(data), nil })
}
