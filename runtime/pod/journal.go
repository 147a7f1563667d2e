package pod

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"
)

// Entry is one line of a pod's journal: a phase that began, or that ended.
// The JSON form is what `varve why -o json` prints.
type Entry struct {
	Time time.Time `json:"time"`
	// Phase is what was done: "network", "rootfs", "start".
	Phase string `json:"phase"`
	// Object is what it was done to (a container, a volume); it may be empty.
	Object string `json:"object,omitempty"`
	// Event is begin, end or note.
	Event string `json:"event"`
	// Took is how long it took, on an end.
	Took time.Duration `json:"took,omitempty"`
	// Error says why it failed, on an end.
	Error string `json:"error,omitempty"`
	// Text is what a note says.
	Text string `json:"text,omitempty"`
}

// The events of an Entry.
const (
	Begin = "begin"
	End   = "end"
	Note  = "note"
)

// Journal appends to the journal of one pod. It is written without waiting
// for the disk. Its methods may be called from several goroutines.
type Journal struct {
	mu     sync.Mutex
	file   *os.File
	listen func(Entry)
}

// OpenJournal opens the journal of a pod for appending; the caller holds the
// pod's lock. Every entry is also given to listen, which may be nil.
func (s *Store) OpenJournal(r *Record, listen func(Entry)) (*Journal, error) {
	f, err := os.OpenFile(s.Paths(r).Journal(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("pod %s: journal: %w", r.Key, err)
	}
	return &Journal{file: f, listen: listen}, nil
}

// Begin notes that a phase begins and returns the function that notes its
// end; that function returns the error it was given.
func (j *Journal) Begin(phase, object string) func(error) error {
	start := time.Now()
	j.write(Entry{Time: start, Phase: phase, Object: object, Event: Begin})
	return func(err error) error {
		e := Entry{Time: time.Now(), Phase: phase, Object: object, Event: End, Took: time.Since(start)}
		if err != nil {
			e.Error = err.Error()
		}
		j.write(e)
		return err
	}
}

// Note writes something that happened at one moment.
func (j *Journal) Note(phase, object, format string, a ...any) {
	j.write(Entry{Time: time.Now(), Phase: phase, Object: object, Event: Note, Text: fmt.Sprintf(format, a...)})
}

// write appends one line. A journal that cannot be written must not stop a
// pod, so the error goes no further than the supervisor's log.
func (j *Journal) write(e Entry) {
	line, err := json.Marshal(e)
	if err == nil {
		j.mu.Lock()
		_, err = j.file.Write(append(line, '\n'))
		if j.listen != nil {
			j.listen(e)
		}
		j.mu.Unlock()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "journal:", err)
	}
}

// Close closes the file.
func (j *Journal) Close() error { return j.file.Close() }

// ReadJournal reads the journal of a pod. A last line that a crash cut short
// is left out.
func (s *Store) ReadJournal(r *Record) ([]Entry, error) {
	f, err := os.Open(s.Paths(r).Journal())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("pod %s: journal: %w", r.Key, err)
	}
	defer f.Close()
	return readEntries(f)
}

func readEntries(r io.Reader) ([]Entry, error) {
	var all []Entry
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e Entry
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			all = append(all, e)
		}
	}
	return all, lines.Err()
}
