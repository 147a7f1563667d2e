package attach

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/varve-project/varve/cni-plugin/ipam"
)

// ErrUsage means that the command line was wrong; the program exits with 2.
var ErrUsage = errors.New("usage")

// Version is set by the linker.
var Version = ""

const usage = `varve-cni is a CNI plug-in: a runtime calls it with CNI_COMMAND in its environment.
By hand it knows:

  varve-cni doctor  [-o text|json] [--data-dir DIR]    each lease and why it is alive or dead; what belongs to none
  varve-cni reclaim --network NAME [--data-dir DIR]    free the dead leases of a network
  varve-cni dismantle --conf FILE                      take away the bridge and rules of a network without pods (- reads stdin)
  varve-cni version                                    this program's version
`

// Command runs a command that a person, or varve doctor, typed.
func (e *Engine) Command(args []string, stdout, stderr io.Writer) error {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	f := flag.NewFlagSet("varve-cni "+name, flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() { fmt.Fprint(stderr, usage) }
	dataDir := f.String("data-dir", ipam.DefaultDataDir, "folder of the lease stores")
	output := f.String("o", "text", "text or json")
	network := f.String("network", "", "name of the network")
	conf := f.String("conf", "", "configuration list of the network; - is standard input")
	switch name {
	case "doctor", "reclaim", "dismantle", "version":
	case "help", "-h", "--help":
		_, err := io.WriteString(stdout, usage)
		return err
	default:
		return fmt.Errorf("%w: unknown command %q\n%s", ErrUsage, name, usage)
	}
	if err := f.Parse(args[1:]); err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%w: unexpected argument %q", ErrUsage, f.Arg(0))
	}
	switch name {
	case "version":
		return printVersion(stdout)
	case "reclaim":
		if *network == "" {
			return fmt.Errorf("%w: reclaim needs --network NAME", ErrUsage)
		}
		n, err := e.Reclaim(*dataDir, *network)
		_, _ = fmt.Fprintf(stdout, "freed %d\n", n)
		return err
	}
	if name == "dismantle" {
		return e.dismantleCommand(*conf, stdout)
	}
	if *output != "text" && *output != "json" {
		return fmt.Errorf("%w: -o %q: want text or json", ErrUsage, *output)
	}
	found, err := e.Doctor(*dataDir)
	if err != nil {
		return err
	}
	if *output == "json" {
		return found.WriteJSON(stdout)
	}
	return found.WriteText(stdout)
}

func (e *Engine) dismantleCommand(file string, stdout io.Writer) error {
	if file == "" {
		return fmt.Errorf("%w: dismantle needs --conf FILE", ErrUsage)
	}
	var conf []byte
	var err error
	if file == "-" {
		conf, err = io.ReadAll(os.Stdin)
	} else {
		conf, err = os.ReadFile(file)
	}
	if err != nil {
		return err
	}
	stays, err := e.Dismantle(conf)
	for _, s := range stays {
		_, _ = fmt.Fprintln(stdout, "stays:", s)
	}
	return err
}

func printVersion(w io.Writer) error {
	v := Version
	if info, ok := debug.ReadBuildInfo(); v == "" && ok {
		v = info.Main.Version
	}
	_, err := fmt.Fprintf(w, "varve-cni %s\n", v)
	return err
}
