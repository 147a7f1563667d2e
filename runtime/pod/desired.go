package pod

// Goal is what is wanted of a pod. Goals only ever move forward.
type Goal string

const (
	// Run it as its restart policy says.
	GoalRun Goal = "run"
	// Stop it and release what it holds in the kernel; keep its record.
	GoalStop Goal = "stop"
	// Remove it altogether.
	GoalRemove Goal = "remove"
)

// Desired is the file by which a command tells a pod's supervisor what is
// wanted. The supervisor watches its folder; no signal is sent by pid.
type Desired struct {
	Goal Goal `json:"goal"`
	// GraceSeconds is how long containers may take to stop; nil means the
	// pod's own terminationGracePeriodSeconds.
	GraceSeconds *int64 `json:"graceSeconds,omitempty"`
}

var goalRank = map[Goal]int{GoalRun: 0, GoalStop: 1, GoalRemove: 2}
