package volume

import (
	"fmt"
	"math"
)

// Range is CSI's capacity range in bytes; 0 is "not given".
type Range struct{ Required, Limit int64 }

// Check refuses a range that contradicts itself.
func (r Range) Check() error {
	switch {
	case r.Required < 0:
		return fmt.Errorf("capacity_range.required_bytes %d: must not be negative: %w", r.Required, ErrInvalid)
	case r.Limit < 0:
		return fmt.Errorf("capacity_range.limit_bytes %d: must not be negative: %w", r.Limit, ErrInvalid)
	case r.Limit > 0 && r.Required > r.Limit:
		return fmt.Errorf("capacity_range: required_bytes %d exceeds limit_bytes %d: %w", r.Required, r.Limit, ErrRange)
	}
	return nil
}

// Holds tells whether a volume of size bytes satisfies the range.
func (r Range) Holds(size int64) bool {
	return size >= r.Required && (r.Limit == 0 || size <= r.Limit)
}

// Choose returns the smallest size that satisfies range and limits, but not
// less than floor (a source's size); without any wish the default. ErrRange
// says which bound cannot be met.
func (l Limits) Choose(r Range, floor int64) (int64, error) {
	if err := r.Check(); err != nil {
		return 0, err
	}
	if r.Required > 0 && r.Required < floor {
		return 0, fmt.Errorf("capacity_range.required_bytes %d: the source has %d bytes: %w", r.Required, floor, ErrRange)
	}
	size := max(r.Required, floor)
	if size == 0 {
		size = l.Default
		if r.Limit > 0 {
			size = min(size, r.Limit)
		}
		size -= size % l.Step
	}
	size = max(size, l.Min)
	if size > math.MaxInt64-l.Step {
		return 0, fmt.Errorf("capacity_range.required_bytes %d: at most %d are possible: %w", r.Required, l.Max, ErrRange)
	}
	size = (size + l.Step - 1) / l.Step * l.Step
	switch {
	case size > l.Max:
		return 0, fmt.Errorf("capacity_range.required_bytes %d: at most %d are possible: %w", r.Required, l.Max, ErrRange)
	case r.Limit > 0 && size > r.Limit:
		return 0, fmt.Errorf("capacity_range.limit_bytes %d: the smallest volume that fits the request has %d bytes (sizes are multiples of %d, at least %d): %w",
			r.Limit, size, l.Step, l.Min, ErrRange)
	}
	return size, nil
}
