package setup

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a number of bytes that reads and prints as people write sizes:
// 512, 64K, 10G, 1.5T, always in powers of 1,024. It is a pflag.Value.
type Bytes uint64

// String is exact where a unit divides the number, else rounded to two digits
// behind the point.
func (b Bytes) String() string {
	units := []struct {
		size uint64
		name string
	}{{tib, "TiB"}, {gib, "GiB"}, {mib, "MiB"}, {kib, "KiB"}}
	for _, u := range units {
		if uint64(b) >= u.size {
			text := strconv.FormatFloat(float64(b)/float64(u.size), 'f', 2, 64)
			return strings.TrimSuffix(strings.TrimRight(text, "0"), ".") + " " + u.name
		}
	}
	return strconv.FormatUint(uint64(b), 10) + " bytes"
}

// Set reads a size. Without a unit it is bytes; K, M, G, T with or without B
// or iB are powers of 1,024.
func (b *Bytes) Set(text string) error {
	number := strings.TrimRight(text, "KMGTkmgtiBb ")
	unit := strings.ToUpper(strings.TrimSpace(text[len(number):]))
	unit = strings.TrimSuffix(strings.TrimSuffix(unit, "B"), "I")
	scale, known := map[string]float64{"": 1, "K": kib, "M": mib, "G": gib, "T": tib}[unit]
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || !known || value < 0 || math.IsNaN(value) || value*scale >= math.MaxInt64 {
		return fmt.Errorf("size %q: want a number and a unit of K, M, G or T, such as 64K or 100G", text)
	}
	*b = Bytes(value * scale)
	return nil
}

// Type names the value in the help text.
func (b *Bytes) Type() string { return "size" }

// Change is a size to have, or with a plus sign how much to add.
type Change struct {
	Bytes Bytes
	Add   bool
}

func (c Change) String() string {
	switch {
	case c == Change{}:
		return ""
	case c.Add:
		return "+" + c.Bytes.String()
	}
	return c.Bytes.String()
}

// Set reads "+10G" or "110G".
func (c *Change) Set(text string) error {
	rest, add := strings.CutPrefix(text, "+")
	c.Add = add
	return c.Bytes.Set(rest)
}

// Type names the value in the help text.
func (c *Change) Type() string { return "size" }

// from is the size that c asks for where now is the present one.
func (c Change) from(now uint64) uint64 {
	switch {
	case c == Change{}:
		return now
	case c.Add:
		return now + uint64(c.Bytes)
	}
	return uint64(c.Bytes)
}
