package attach

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/varve-project/varve/cni-plugin/ipam"
	"github.com/varve-project/varve/internal/failpoint"
)

// Versions are the versions of the CNI spec that are served.
var Versions = version.PluginSupports("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")

// Main is the program: one CNI call out of the environment and standard input,
// or, without CNI_COMMAND, a command of the arguments. It returns the exit
// code.
func Main(args []string, stdout, stderr io.Writer) int {
	stamp := ipam.BootTime()
	e := &Engine{}
	if failpoint.Enabled {
		e.Boot = os.Getenv("VARVE_TEST_BOOT_ID") // a simulated reboot
	}
	if os.Getenv("CNI_COMMAND") == "" && len(args) > 1 {
		err := e.Command(args[1:], stdout, stderr)
		if err != nil {
			_, _ = fmt.Fprintln(stderr, "varve-cni:", err)
		}
		switch {
		case err == nil:
			return 0
		case errors.Is(err, ErrUsage):
			return 2
		}
		return 1
	}
	// A call lives for milliseconds and leaves little: collecting its garbage
	// would only cost threads and time. What grows beyond this is collected.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(64 << 20)
	asked := "" // the cniVersion of the configuration, once it is read
	err := skel.PluginMainFuncsWithError(e.funcs(stamp, &asked), Versions, "CNI plug-in varve-cni "+Version)
	if err == nil {
		return 0
	}
	if printErr := printError(stdout, err, asked); printErr != nil {
		_, _ = fmt.Fprintln(stderr, "varve-cni:", printErr)
	}
	return 1
}

// printError writes the spec's error object (section 5, Error). libcni's own
// type lacks its cniVersion; where the configuration did not get so far, it
// is the newest that is served.
func printError(w io.Writer, err *types.Error, asked string) error {
	if asked == "" {
		asked = version.Current()
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "    ")
	return encoder.Encode(struct {
		CNIVersion string `json:"cniVersion"`
		*types.Error
	}{asked, err})
}

// versionOf reads the configuration's cniVersion; broken ones have none.
func versionOf(stdin []byte) string {
	v, err := (&version.ConfigDecoder{}).Decode(stdin)
	if err != nil {
		return ""
	}
	return v
}

// funcs joins the engine to the spec's dispatcher, and notes the version that
// the caller speaks.
func (e *Engine) funcs(stamp int64, asked *string) skel.CNIFuncs {
	call := func(a *skel.CmdArgs) Call {
		*asked = versionOf(a.StdinData)
		return Call{ContainerID: a.ContainerID, IfName: a.IfName, Netns: a.Netns, Args: a.Args, Stdin: a.StdinData, Stamp: stamp}
	}
	return skel.CNIFuncs{
		Add: func(a *skel.CmdArgs) error {
			res, v, err := e.Add(call(a))
			if err != nil {
				return err
			}
			return types.PrintResult(res, v)
		},
		Del:    func(a *skel.CmdArgs) error { return e.Del(call(a)) },
		Check:  func(a *skel.CmdArgs) error { return e.Check(call(a)) },
		GC:     func(a *skel.CmdArgs) error { return e.GC(call(a)) },
		Status: func(a *skel.CmdArgs) error { return e.Status(call(a)) },
	}
}
