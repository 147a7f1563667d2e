package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// units of a size, all of 1024.
var units = map[string]int64{"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

// parseSize reads "4G", "512M" or a number of bytes.
func parseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "KMGT")
	unit, ok := units[s[len(digits):]]
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || n <= 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("size %q: give a positive number with K, M, G or T, for example 512M", s)
	}
	return n * unit, nil
}
