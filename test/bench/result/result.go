// Package result is the JSON form of a benchmark's outcome: one file per
// benchmark in test/bench/results, read by people, by the Markdown table and
// by nothing else.
package result

import "time"

// File is one benchmark run.
type File struct {
	// Bench is the name behind `make bench-NAME`.
	Bench string `json:"bench"`
	// Time is when it started, UTC.
	Time time.Time `json:"time"`
	// Kernel, CPUs and FileSystem say where it ran.
	Kernel     string `json:"kernel"`
	CPUs       int    `json:"cpus"`
	FileSystem string `json:"fileSystem,omitempty"`
	// Rounds is the number of interleaved rounds (ours, peer, ours, peer …).
	Rounds int `json:"rounds"`
	// Rows are the comparisons.
	Rows []Row `json:"rows"`
}

// Row compares one measure of ours with the peer's.
type Row struct {
	// Name is the operation, "prepare/50 clients".
	Name string `json:"name"`
	// Peer names what ours is compared with, with its version.
	Peer string `json:"peer"`
	// Unit of every figure below: "ms", "s", "MiB/s", "count".
	Unit string `json:"unit"`
	// Ours and Theirs are one figure per round, in the order of the rounds.
	Ours   []float64 `json:"ours"`
	Theirs []float64 `json:"theirs"`
	// Ratio is the median over rounds of ours/theirs; Low and High are the
	// smallest and largest round.
	Ratio float64 `json:"ratio"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	// Target is the bound that the ratio should keep; 0 when there is none.
	Target float64 `json:"target,omitempty"`
	// Note says anything a reader must know to trust the row.
	Note string `json:"note,omitempty"`
}
