package crash_test

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/varve-project/varve/test/node"
)

// TestMain runs the tests on a node of their own.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	os.Exit(node.Main("crash", func(context.Context) error {
		if m.Run() != 0 {
			return errors.New("tests failed")
		}
		return nil
	}))
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}
