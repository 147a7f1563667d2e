// Command hits hits the failpoints that its arguments name, one after the
// other, and prints each name once it is past it.
package main

import (
	"fmt"
	"os"

	"github.com/varve-project/varve/internal/failpoint"
)

func main() {
	if !failpoint.Enabled {
		fmt.Println("ordinary build")
	}
	for _, name := range os.Args[1:] {
		failpoint.Hit(name)
		fmt.Println(name)
	}
}
