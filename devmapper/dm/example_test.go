package dm_test

import (
	"context"
	"fmt"

	"github.com/varve-project/varve/devmapper/dm"
)

// A snapshot of a thin device that is in use: its file system is frozen for
// the moment of the message.
func Example() {
	ctl, err := dm.Open(dm.WithoutScan())
	if err != nil {
		fmt.Println(err) // "kernel has no device-mapper: load it with modprobe dm_mod, …"
		return
	}
	defer ctl.Close()
	if err := ctl.Suspend("origin", dm.SuspendOptions{}); err != nil {
		fmt.Println(err)
		return
	}
	_, err = ctl.Message("pool", 0, "create_snap 8 7")
	if resumeErr := ctl.Resume("origin"); err != nil || resumeErr != nil {
		fmt.Println(err, resumeErr)
		return
	}
	path, err := ctl.Activate("snapshot", "EXAMPLE-8", false, dm.Target{Length: 1 << 21, Type: "thin", Params: ctl.Path("pool") + " 8"})
	fmt.Println(path, err)
}

// A guardian looks at its pool after every event, and misses none.
func ExampleControl_Wait() {
	ctl, err := dm.Open()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ctl.Close()
	info, status, err := ctl.Status("pool", dm.StatusOptions{NoFlush: true})
	for err == nil {
		fmt.Println(status[0].Status)
		if info, err = ctl.Wait(context.Background(), "pool", info.Event); err == nil {
			info, status, err = ctl.Status("pool", dm.StatusOptions{NoFlush: true})
		}
	}
	fmt.Println(err)
}
