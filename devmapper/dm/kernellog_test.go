package dm

import "testing"

// The lines are from a Linux 6.1.
func TestReason(t *testing.T) {
	for _, test := range []struct{ record, message, number string }{
		{"3,901,5000000,-;device-mapper: table: 253:7: linear: Device lookup failed (-ENODEV)\n SUBSYSTEM=block\n", "table: 253:7: linear: Device lookup failed (-ENODEV)", "253:7"},
		{"3,902,5000000,-;device-mapper: ioctl: error adding target to table\n", "ioctl: error adding target to table", ""},
		{"3,903,5000000,c;device-mapper: ioctl: error: 2 of 3\n", "ioctl: error: 2 of 3", ""},
		{"6,905,5000000,-;EXT4-fs (dm-7): mounted filesystem\n", "", ""},
		{"garbage", "", ""},
		{"", "", ""},
	} {
		if message, number := reason([]byte(test.record)); message != test.message || number != test.number {
			t.Errorf("%q: %q about %q", test.record, message, number)
		}
	}
}
