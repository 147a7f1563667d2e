package main

import (
	"os"
	"testing"
)

// TestMain makes the test binary the demo itself where there is no compiler at
// hand (TestOnDevmapper).
func TestMain(m *testing.M) {
	if os.Getenv("VARVE_TEST_DEMO") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}
