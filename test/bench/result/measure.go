package result

import (
	"math"
	"slices"
)

// Compare fills in the ratio of a row from its rounds. A round of the peer's
// that took no measurable time gives no ratio and is left out.
func (r Row) Compare() Row {
	var ratios []float64
	for i := range min(len(r.Ours), len(r.Theirs)) {
		if r.Theirs[i] > 0 {
			ratios = append(ratios, r.Ours[i]/r.Theirs[i])
		}
	}
	if len(ratios) == 0 {
		return r
	}
	r.Ratio, r.Low, r.High = Percentile(ratios, 50), slices.Min(ratios), slices.Max(ratios)
	return r
}

// Missed says whether the row has a target and does not keep it.
func (r Row) Missed() bool { return r.Target > 0 && r.Ratio > r.Target }

// Percentile is the smallest of the values that at least p of a hundred of
// them do not exceed (nearest rank); the 50th of an even number is the mean
// of the middle two. It is NaN of no values.
func Percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	if n := len(sorted); p == 50 && n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}
