package attach

import (
	"io"
	"os"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/varve-project/varve/cni-plugin/ipam"
)

// Versions are the versions of the CNI spec that are served.
var Versions = version.PluginSupports("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")

// Main is the plug-in's process: one CNI call out of the environment and
// standard input. It returns the exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	stamp := ipam.BootTime()
	e := &Engine{}
	call := func(a *skel.CmdArgs) Call {
		return Call{ContainerID: a.ContainerID, IfName: a.IfName, Netns: a.Netns, Args: a.Args, Stdin: a.StdinData, Stamp: stamp}
	}
	err := skel.PluginMainFuncsWithError(skel.CNIFuncs{
		Add: func(a *skel.CmdArgs) error {
			res, v, err := e.Add(call(a))
			if err != nil {
				return err
			}
			return types.PrintResult(res, v)
		},
		Del: func(a *skel.CmdArgs) error { return e.Del(call(a)) },
	}, Versions, "CNI plug-in varve-cni")
	if err == nil {
		return 0
	}
	if printErr := err.Print(); printErr != nil {
		_, _ = io.WriteString(os.Stderr, printErr.Error())
	}
	return 1
}
