package service

import (
	"fmt"
	"time"
)

// String is the text form, "1m30s".
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes the TOML value.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the TOML value. A bare number has no unit and is
// refused.
func (d *Duration) UnmarshalText(text []byte) error { return d.Set(string(text)) }

// Set reads the value of a flag; with String and Type it makes a *Duration a
// pflag.Value.
func (d *Duration) Set(text string) error {
	parsed, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("duration %q: want a number with a unit, such as 30s or 5m", text)
	}
	*d = Duration(parsed)
	return nil
}

// Type names the value in the help text.
func (d *Duration) Type() string { return "duration" }
