package firewall

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// As much of D-Bus as a call with strings and an answer with at most one needs
// (dbus.freedesktop.org, "D-Bus Specification"): a library of it would be
// linked, and started, by every ADD of hosts without firewalld as well.

const busTimeout = 10 * time.Second

// dialBus connects to the system bus and introduces itself.
func dialBus() (net.Conn, error) {
	path := "/run/dbus/system_bus_socket"
	if address := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"); strings.HasPrefix(address, "unix:path=") {
		path, _, _ = strings.Cut(strings.TrimPrefix(address, "unix:path="), ",")
	}
	ctx, cancel := context.WithTimeout(context.Background(), busTimeout)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err = c.SetDeadline(time.Now().Add(busTimeout)); err == nil {
		err = authenticate(c)
	}
	if err == nil {
		_, err = call(c, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("D-Bus %s: %w", path, err)
	}
	return c, nil
}

// authenticate says who we are, which the kernel confirms to the bus.
func authenticate(c net.Conn) error {
	uid := hex.EncodeToString([]byte(strconv.Itoa(os.Getuid())))
	if _, err := io.WriteString(c, "\x00AUTH EXTERNAL "+uid+"\r\n"); err != nil {
		return err
	}
	// Nothing follows this line until BEGIN, so the reader takes no more.
	answer, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(answer, "OK ") {
		return fmt.Errorf("the bus refuses us: %s", strings.TrimSpace(answer))
	}
	_, err = io.WriteString(c, "BEGIN\r\n")
	return err
}

// busError is an error that the called program answered.
type busError struct{ name, text string }

func (e *busError) Error() string { return e.name + ": " + e.text }

// Types of messages and numbers of header fields.
const (
	methodCall, methodReturn, errorReply               = 1, 2, 3
	fieldPath, fieldInterface, fieldMember, fieldError = 1, 2, 3, 4
	fieldDestination, fieldSignature                   = 6, 8
)

// wire builds a message: everything is aligned to its own size, little-endian.
type wire []byte

func (w *wire) align(n int) {
	for len(*w)%n != 0 {
		*w = append(*w, 0)
	}
}

func (w *wire) u32(v uint32) {
	w.align(4)
	*w = binary.LittleEndian.AppendUint32(*w, v)
}

func (w *wire) text(s string) {
	w.u32(uint32(len(s)))
	*w = append(append(*w, s...), 0)
}

// field is one header field: its number, and a variant.
func (w *wire) field(number byte, kind, value string) {
	w.align(8)
	*w = append(*w, number, byte(len(kind)))
	*w = append(append(*w, kind...), 0)
	if kind == "g" {
		*w = append(append(*w, byte(len(value))), value...)
		*w = append(*w, 0)
		return
	}
	w.text(value)
}

// call calls a method with strings and returns the first string of the answer.
func call(c net.Conn, to, path, iface, method string, args ...string) (string, error) {
	var body, fields wire
	for _, a := range args {
		body.text(a)
	}
	fields.field(fieldPath, "o", path)
	fields.field(fieldInterface, "s", iface)
	fields.field(fieldMember, "s", method)
	fields.field(fieldDestination, "s", to)
	if len(args) > 0 {
		fields.field(fieldSignature, "g", strings.Repeat("s", len(args)))
	}
	const serial = 1
	message := wire{'l', methodCall, 0, 1}
	message.u32(uint32(len(body)))
	message.u32(serial)
	message.u32(uint32(len(fields)))
	message = append(message, fields...) // begins at 16, so its alignment holds
	message.align(8)
	if _, err := c.Write(append(message, body...)); err != nil {
		return "", err
	}
	for {
		kind, name, text, err := receive(c)
		switch {
		case err != nil:
			return "", err
		case kind == methodReturn:
			return text, nil
		case kind == errorReply:
			return "", &busError{name, text}
		}
		// A signal, such as NameAcquired, is not for us.
	}
}

// receive reads one message: its type, an error's name, the body's first string.
func receive(c net.Conn) (kind byte, name, text string, err error) {
	head := make([]byte, 16)
	if _, err := io.ReadFull(c, head); err != nil {
		return 0, "", "", err
	}
	if head[0] != 'l' {
		return 0, "", "", fmt.Errorf("a message of another byte order")
	}
	size, fields := binary.LittleEndian.Uint32(head[4:]), binary.LittleEndian.Uint32(head[12:])
	const most = 1 << 20
	if size > most || fields > most {
		return 0, "", "", fmt.Errorf("a message of %d and %d bytes", fields, size)
	}
	padded := (fields + 7) &^ 7
	rest := make([]byte, padded+size)
	if _, err := io.ReadFull(c, rest); err != nil {
		return 0, "", "", err
	}
	name, signature := headerFields(rest[:fields])
	if strings.HasPrefix(signature, "s") {
		text = stringAt(rest[padded:])
	}
	return head[1], name, text, nil
}

// headerFields picks an error's name and the body's signature.
func headerFields(b []byte) (name, signature string) {
	for at := 0; at+5 <= len(b); at = (at + 7) &^ 7 {
		number, kind := b[at], b[at+2]
		at += 4 // number, length of the kind, kind, zero
		switch kind {
		case 'g':
			n := int(b[at])
			if at+1+n > len(b) {
				return name, signature
			}
			if number == fieldSignature {
				signature = string(b[at+1 : at+1+n])
			}
			at += n + 2
		case 's', 'o':
			s := stringAt(b[at:])
			if number == fieldError {
				name = s
			}
			at += 4 + len(s) + 1
		default: // u
			at += 4
		}
	}
	return name, signature
}

func stringAt(b []byte) string {
	if len(b) < 4 {
		return ""
	}
	n := binary.LittleEndian.Uint32(b)
	if int(n) > len(b)-4 {
		return ""
	}
	return string(b[4 : 4+n])
}
