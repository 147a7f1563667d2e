package recorder_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varve-project/varve/devmapper/dm"
	"github.com/varve-project/varve/devmapper/dm/recorder"
)

// kernel answers a stat with a minor number, and nothing else.
type kernel struct{}

func (kernel) Ioctl(request uintptr, buffer []byte) error {
	switch request {
	case unix.DM_DEV_STATUS:
		buffer[40] = 7
		return nil
	case unix.DM_TARGET_MSG:
		return unix.EINVAL
	}
	return errors.New("no kernel here")
}

// record makes a stat, a failed message and an ioctl that never reached a kernel.
func record(t *testing.T) []recorder.Call {
	t.Helper()
	r := recorder.Over(kernel{})
	c := dm.New(r)
	if info, err := c.Stat("a"); err != nil || info.Minor != 7 {
		t.Fatalf("%+v, %v", info, err)
	}
	if _, err := c.Message("a", 0, "x"); !errors.Is(err, unix.EINVAL) {
		t.Fatal(err)
	}
	if _, err := c.List(); err == nil {
		t.Fatal("no error")
	}
	calls := r.Take()
	if len(calls) != 2 || len(r.Take()) != 0 {
		t.Fatalf("%d calls", len(calls))
	}
	return calls
}

func TestTextKeepsEveryByte(t *testing.T) {
	calls := record(t)
	text := recorder.Format(calls)
	again, err := recorder.Parse(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if !reflect.DeepEqual(calls, again) {
		t.Errorf("changed in the text:\n%s\n%s", text, recorder.Format(again))
	}
	if !strings.HasPrefix(string(text), "DEV_STATUS 312\n> 000  04 00 00 00 ") || !bytes.Contains(text, []byte("\nerrno 22 invalid argument\n")) {
		t.Errorf("text:\n%s", text)
	}
}

func TestPlay(t *testing.T) {
	calls := record(t)
	p := recorder.Play(calls)
	c := dm.New(p)
	if _, err := c.Stat("b"); err == nil || !strings.Contains(err.Error(), "other bytes than the record") {
		t.Errorf("another name: %v", err)
	}
	if _, err := c.List(); err == nil || !strings.Contains(err.Error(), "LIST_DEVICES, the record has DEV_STATUS") {
		t.Errorf("another ioctl: %v", err)
	}
	if info, err := c.Stat("a"); err != nil || info.Minor != 7 {
		t.Errorf("%+v, %v", info, err)
	}
	if _, err := c.Message("a", 0, "xy"); err == nil || errors.Is(err, unix.EINVAL) {
		t.Errorf("another message: %v", err)
	}
	if p.Played() != 1 || p.Left() != 1 {
		t.Errorf("%d played, %d left", p.Played(), p.Left())
	}
	if _, err := c.Message("a", 0, "x"); !errors.Is(err, unix.EINVAL) {
		t.Error(err)
	}
	if _, err := c.Stat("a"); err == nil || !strings.Contains(err.Error(), "not in the record") {
		t.Errorf("beyond the end: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"DEV_STATUS", "DEV_STATUS x", "DEV_STATUS -1", "DEV_NONE 312", "> 000  00",
		"DEV_STATUS 312\n> 138  00  |.|", "DEV_STATUS 312\n> 000  0  |.|", "DEV_STATUS 312\n> zz  00  |.|", "DEV_STATUS 312\nerrno x",
	} {
		if calls, err := recorder.Parse([]byte(text)); err == nil {
			t.Errorf("%q: %d calls, no error", text, len(calls))
		}
	}
}
