// cni is the command of the CNI conformance suite; README.md tells its use.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/varve-project/varve/test/conformance/cni/suite"
	"github.com/varve-project/varve/test/node"
)

const (
	passed  = 0
	failed  = 1
	misused = 2
)

type options struct {
	plugin, conf, path, pick, output string
	patience                         time.Duration
	private                          string
	trust                            bool
}

func main() {
	o := options{}
	flag.StringVar(&o.plugin, "plugin", "", "the plug-in's `executable`; its folder is searched for the other types of a list")
	flag.StringVar(&o.conf, "conf", "", "the configuration: a conflist, or a conf of one plug-in (`file`)")
	flag.StringVar(&o.path, "path", "", "more `folders` with executables, colon-separated")
	flag.StringVar(&o.pick, "case", "", "run only the cases whose name begins with `PREFIX`")
	flag.StringVar(&o.output, "o", "text", "`text` or json")
	flag.DurationVar(&o.patience, "patience", 15*time.Second, "how long a plug-in may take for what it does late, and for addresses that rest")
	flag.StringVar(&o.private, "private", "/var/lib/cni:/var/lib/varve", "`folders`, colon-separated, where plug-ins keep their state: empty at the start of each case")
	flag.BoolVar(&o.trust, "trust", true, "count failures of the level trust; false: only the specification's own demands")
	list := flag.Bool("list", false, "list the cases")
	flag.Parse()
	code, err := run(o, *list)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
	}
	os.Exit(code)
}

func run(o options, list bool) (int, error) {
	switch {
	case list:
		return passed, table(os.Stdout, suite.Cases())
	case flag.NArg() > 0:
		return misused, fmt.Errorf("unexpected argument %q; see -h", flag.Arg(0))
	case o.output != "text" && o.output != "json":
		return misused, fmt.Errorf("-o %q: want text or json", o.output)
	case o.plugin == "" || o.conf == "":
		return misused, errors.New("-plugin and -conf must be given; see -h")
	}
	if os.Getenv(oneVariable) != "" || node.Inside() {
		return one(o)
	}
	if os.Geteuid() != 0 {
		return misused, errors.New("making network namespaces needs root; run it with sudo")
	}
	if _, err := o.subject(); err != nil {
		return misused, err
	}
	return all(o)
}

func (o options) subject() (*suite.Subject, error) {
	plugin, err := filepath.Abs(o.plugin)
	if err != nil {
		return nil, err
	}
	path := []string{filepath.Dir(plugin)}
	if o.path != "" {
		path = append(path, strings.Split(o.path, ":")...)
	}
	s, err := suite.Load(o.conf, path, o.patience)
	if err != nil {
		return nil, err
	}
	if kind := s.Plugins[0]["type"]; kind != filepath.Base(plugin) {
		return nil, fmt.Errorf("-plugin %s: the first plug-in of %s has type %q; the executable must have that name", o.plugin, o.conf, kind)
	}
	return s, nil
}

// oneVariable tells a process of this program which case it is to run, in a
// node of its own.
const oneVariable = "CNI_CONFORMANCE_CASE"

// one runs a single case and writes its report to standard output.
func one(o options) (int, error) {
	return node.Main("cni", func(context.Context) error {
		s, err := o.subject()
		if err != nil {
			return err
		}
		if err := hide(strings.Split(o.private, ":")); err != nil {
			return err
		}
		for _, c := range suite.Cases() {
			if c.Name == os.Getenv(oneVariable) {
				return json.NewEncoder(os.Stdout).Encode(suite.Execute(c, s))
			}
		}
		return fmt.Errorf("no case %q", os.Getenv(oneVariable))
	}), nil
}

// hide makes the folders empty, and all that is written below /var/lib the
// node's own.
func hide(dirs []string) error {
	if err := node.Private("/var/lib"); err != nil {
		return err
	}
	for _, dir := range dirs {
		if !strings.HasPrefix(dir, "/var/lib/") {
			return fmt.Errorf("-private %s: want folders below /var/lib; others are the machine's", dir)
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// all runs the cases one after another, each in a process and a node of its
// own, and prints what they found.
func all(o options) (int, error) {
	var reports []suite.Report
	for _, c := range suite.Cases() {
		if !strings.HasPrefix(c.Name, o.pick) {
			continue
		}
		report, err := spawn(c)
		if err != nil {
			return failed, fmt.Errorf("case %s: %w", c.Name, err)
		}
		if o.output == "text" {
			show(os.Stdout, report)
		}
		reports = append(reports, report)
	}
	if len(reports) == 0 {
		return misused, fmt.Errorf("-case %q: no case has such a name; see -list", o.pick)
	}
	if o.output == "json" {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(reports); err != nil {
			return failed, err
		}
	}
	return verdict(o, reports), nil
}

func spawn(c suite.Case) (report suite.Report, err error) {
	self, err := os.Executable()
	if err != nil {
		return report, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), oneVariable+"="+c.Name)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return report, err
	}
	return report, json.Unmarshal(out, &report)
}

func show(w io.Writer, report suite.Report) {
	_, _ = fmt.Fprintf(w, "%-15s %-5s %s\n", report.Outcome, report.Level, report.Case)
	for _, line := range report.Text {
		_, _ = fmt.Fprintf(w, "    %s\n", line)
	}
}

// verdict counts, and is the exit status.
func verdict(o options, reports []suite.Report) int {
	count := map[suite.Outcome]int{}
	code := passed
	for _, r := range reports {
		count[r.Outcome]++
		if r.Outcome == suite.Failed && (r.Level == suite.Must || o.trust) {
			code = failed
		}
	}
	if o.output == "text" {
		fmt.Printf("%d passed, %d failed, %d not applicable\n", count[suite.Passed], count[suite.Failed], count[suite.Refused])
	}
	return code
}

// table prints what is tested, and why.
func table(w io.Writer, cases []suite.Case) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "LEVEL\tSINCE\tCASE\tSOURCE")
	for _, c := range cases {
		since := c.Since
		if since == "" {
			since = "0.3.0"
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", c.Level, since, c.Name, c.Spec)
	}
	return t.Flush()
}
