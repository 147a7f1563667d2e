package node

import "os"

// Inside says whether this process is in a node already. Before, a program
// can do what needs the machine's own network, such as building an image.
func Inside() bool { return os.Getenv(stageVariable) != "" }
