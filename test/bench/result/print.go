package result

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Markdown is the page of all results.
func Markdown(files []File) string {
	var b strings.Builder
	b.WriteString("# Benchmark results\n\nWritten by the benchmarks (`make bench`); every figure comes from a JSON file beside this one.\n" +
		"Ours and peer are medians over the rounds; the ratio is the median of each round's ours/peer, its spread the smallest and largest round.\n" +
		"Trust ratios, not absolute times. MISSED, in the spread: the median misses the target, the best round keeps it.\n")
	for _, f := range files {
		fmt.Fprintf(&b, "\n## %s\n\n%s, kernel %s, %d CPUs, data on %s, %d interleaved rounds.\n\n", f.Bench,
			f.Time.Format("2006-01-02 15:04 MST"), f.Kernel, f.CPUs, f.FileSystem, f.Rounds)
		b.WriteString("| measure | peer | ours | peer's | unit | ratio | spread | target | |\n|---|---|--:|--:|---|--:|---|--:|---|\n")
		for _, r := range f.Rows {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", r.Name, r.Peer,
				figure(r.Ours), figure(r.Theirs), r.Unit, ratio(r), spread(r), target(r), verdict(r))
		}
		notes(&b, f.Rows)
	}
	return b.String()
}

func notes(b *strings.Builder, rows []Row) {
	seen := map[string]bool{"": true}
	for _, r := range rows {
		if !seen[r.Note] {
			seen[r.Note] = true
			fmt.Fprintf(b, "\n- %s: %s\n", r.Name, r.Note)
		}
	}
}

// Print writes the rows for a terminal.
func (f File) Print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "MEASURE\tPEER\tOURS\tPEER'S\tUNIT\tRATIO\tSPREAD\tTARGET\t")
	for _, r := range f.Rows {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, r.Peer,
			figure(r.Ours), figure(r.Theirs), r.Unit, ratio(r), spread(r), target(r), verdict(r))
	}
	return table.Flush()
}

func figure(rounds []float64) string {
	if len(rounds) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3g", Percentile(rounds, 50))
}

// A row that only lists a figure has no ratio.
func ratio(r Row) string {
	if r.Ratio == 0 {
		return ""
	}
	return short(r.Ratio)
}

func spread(r Row) string {
	if r.Ratio == 0 {
		return ""
	}
	return short(r.Low) + "–" + short(r.High)
}

func target(r Row) string {
	if r.Target == 0 {
		return ""
	}
	return short(r.Target)
}

// short has two places, and three where two would say little.
func short(ratio float64) string {
	if ratio > 0 && ratio < 0.1 {
		return fmt.Sprintf("%.3f", ratio)
	}
	return fmt.Sprintf("%.2f", ratio)
}

func verdict(r Row) string {
	switch {
	case r.Target == 0:
		return ""
	case r.Missed() && r.Low <= r.Target:
		return "MISSED, in the spread"
	case r.Missed():
		return "MISSED"
	default:
		return "kept"
	}
}
